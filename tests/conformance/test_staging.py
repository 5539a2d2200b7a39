"""Files: into a job, and out of it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import aiomig
from aiomig import Remote, ResultsMissing, SpecError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from .gates import Gate

NAMES = (
    "plain.txt",
    "two words.txt",
    "blåbær 漢字.txt",
    "it's.txt",
    'say "hi".txt',
    "-dash",
    "a;b&c$(d).txt",
    "sub/deep/x.txt",
)


@pytest.fixture
def local(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory of the program."""
    folder = tmp_path / "work"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


def make(folder: Path, **contents: str) -> None:
    for name, content in contents.items():
        path = folder / name.replace("__", "/").replace("_", ".")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)


@pytest.mark.combined("test_local_files_of_all_kinds")
async def test_a_local_file_keeps_its_base_name(mig: aiomig.Session, local: Path) -> None:
    make(local, sub__data_csv="content")
    assert await (await mig.submit("cat data.csv", inputs=["sub/data.csv"])).stdout() == "content"


@pytest.mark.combined("test_local_files_of_all_kinds")
async def test_a_path_object_and_an_absolute_path(mig: aiomig.Session, local: Path) -> None:
    make(local, a_txt="a", b_txt="b")
    job = await mig.submit("cat a.txt b.txt", inputs=[Path("a.txt"), str(local / "b.txt")])
    assert await job.stdout() == "ab"


@pytest.mark.combined("test_local_files_of_all_kinds")
async def test_a_local_file_under_another_name(mig: aiomig.Session, local: Path) -> None:
    make(local, runs__7_csv="content")
    job = await mig.submit("cat deep/data.csv", inputs=[("runs/7.csv", "deep/data.csv")])
    assert await job.stdout() == "content"


@pytest.mark.combined("test_local_files_of_all_kinds")
async def test_equal_base_names_of_different_folders(mig: aiomig.Session, local: Path) -> None:
    make(local, one__x_txt="1", two__x_txt="2")
    inputs = [("one/x.txt", "1.txt"), ("two/x.txt", "2.txt")]
    assert await (await mig.submit("cat 1.txt 2.txt", inputs=inputs)).stdout() == "12"


@pytest.mark.usefixtures("no_new_job")
async def test_two_inputs_with_one_name_are_refused(mig: aiomig.Session, local: Path) -> None:
    make(local, one__x_txt="1", two__x_txt="2")
    with pytest.raises(SpecError, match=r"x\.txt"):
        await mig.submit("true", inputs=["one/x.txt", "two/x.txt"])


@pytest.mark.combined("test_local_files_of_all_kinds")
async def test_a_directory_is_carried_as_a_tree(mig: aiomig.Session, local: Path) -> None:
    make(local, tree__a_txt="a", tree__sub__b_txt="b")
    job = await mig.submit(["cat tree/a.txt tree/sub/b.txt", "cat t/sub/b.txt"], inputs=["tree", ("tree", "t")])
    assert await job.stdout() == "abb"


@pytest.mark.combined("test_local_files_of_all_kinds")
async def test_a_glob_is_expanded_here(mig: aiomig.Session, local: Path) -> None:
    make(local, d__1_dat="1", d__2_dat="2", d__3_txt="3")
    job = await mig.submit("ls *.dat *.txt; cat *.dat", inputs=["d/*.dat"])
    result = await job.result(check=False)
    assert result.stdout == "1.dat\n2.dat\n12"


async def test_local_files_of_all_kinds(mig: aiomig.Session, local: Path) -> None:
    make(local, a_txt="a", one__x_txt="1", two__x_txt="2", tree__sub__b_txt="b", d__1_dat="3", d__2_dat="4")
    job = await mig.submit(
        "cat a.txt 1.txt 2.txt t/sub/b.txt ?.dat",
        inputs=[str(local / "a.txt"), ("one/x.txt", "1.txt"), (Path("two/x.txt"), "2.txt"), ("tree", "t"), "d/*.dat"],
    )
    assert await job.stdout() == "a12b34"


@pytest.mark.job("cat blob", inputs=[(bytes(range(256)), "blob")])
async def test_bytes_need_no_file(job: aiomig.Job) -> None:
    assert await job.stdout_bytes() == bytes(range(256))


@pytest.mark.job("wc -c < empty", inputs=[(b"", "empty")])
async def test_an_empty_input(job: aiomig.Job) -> None:
    assert await job.stdout() == "0\n"


async def test_a_file_of_the_home(mig: aiomig.Session, top: str) -> None:
    await mig.files.write_text(f"{top}/data/x.txt", "from the home")
    job = await mig.submit("cat x.txt y", inputs=[Remote(f"{top}/data/x.txt"), (Remote(f"/{top}/data/x.txt"), "y")])
    assert await job.stdout() == "from the home" * 2


def doubling(name: str) -> str:
    """A command that makes a file twice as long."""
    path = "./'" + name.replace("'", "'\\''") + "'"
    return f"cat {path} {path} > both && mv both {path}"


@pytest.mark.combined("test_all_names_come_in_and_go_out")
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.job.with_args(lambda name: doubling(name), inputs=lambda name: [(b"x", name)], outputs=lambda name: [name])
async def test_any_name_comes_in_and_goes_out(job: aiomig.Job, tmp_path: Path, name: str) -> None:
    await job
    (path,) = await job.fetch(tmp_path / "fetched")
    assert path == tmp_path / "fetched" / name
    assert path.read_bytes() == b"xx"


@pytest.mark.job([doubling(name) for name in NAMES], inputs=[(name.encode(), name) for name in NAMES], outputs=NAMES)
async def test_all_names_come_in_and_go_out(job: aiomig.Job, tmp_path: Path) -> None:
    paths = await job.fetch(tmp_path / "fetched")
    assert paths == [tmp_path / "fetched" / name for name in NAMES]
    assert [path.read_text() for path in paths] == [name * 2 for name in NAMES]


async def test_executables_are_executable_and_inputs_are_not(mig: aiomig.Session, local: Path) -> None:
    make(local, run_sh="#!/bin/sh\necho ran $1\n")
    job = await mig.submit(
        ["./run.sh a", "bin/run b", "./plain.sh"],
        executables=["run.sh", ("run.sh", "bin/run")],
        inputs=[("run.sh", "plain.sh")],
    )
    result = await job.result(check=False)
    assert (result.stdout, [each.exit_code for each in result.commands]) == ("ran a\nran b\n", [0, 0, 126])


@pytest.mark.usefixtures("no_new_job")
async def test_a_missing_local_input_is_refused(mig: aiomig.Session, local: Path) -> None:
    with pytest.raises(SpecError) as caught:
        await mig.submit("true", inputs=["nosuch.txt", "nosuch*.dat"], executables=["nosuch.sh"])
    assert [fault.field for fault in caught.value.faults] == ["inputs[0]", "inputs[1]", "executables[0]"]
    assert all("nosuch" in str(fault) and fault.remedy for fault in caught.value.faults)


@pytest.mark.job(
    ["cat good.txt nosuch.txt", "echo on"],
    inputs=[Remote("aiomig-conformance-nosuch.txt", "nosuch.txt"), (b"good", "good.txt")],
)
async def test_a_missing_file_of_the_home_does_not_stop_the_job(job: aiomig.Job) -> None:
    result = await job.result(check=False)
    assert (result.stdout, result.exit_code) == ("goodon\n", 1)
    assert ("get_input_files", 22) in result.transfers


async def test_a_file_of_the_home_is_read_when_the_job_begins(
    mig: aiomig.Session, waiting: Callable[[str], Awaitable[aiomig.Job]], gate: Gate, top: str
) -> None:
    flag = f"{top}/flag.txt"
    await mig.files.write_text(flag, "before")
    await waiting("true")
    job = await mig.submit("cat flag.txt", inputs=[Remote(flag)])
    await mig.files.write_text(flag, "after")
    gate.open(2)
    assert await job.stdout() == "after"


async def test_a_local_file_is_read_when_it_is_submitted(
    mig: aiomig.Session, local: Path, waiting: Callable[[str], Awaitable[aiomig.Job]], gate: Gate
) -> None:
    make(local, a_txt="before")
    await waiting("true")
    job = await mig.submit("cat a.txt", inputs=["a.txt"])
    make(local, a_txt="after")
    gate.open(2)
    assert await job.stdout() == "before"


@pytest.mark.job(
    ["mkdir sub", "echo c > sub/c.txt", "echo a > a.txt", "echo b > b.txt"],
    outputs=["sub/c.txt", ("a.txt", "plots/a.png"), "b.txt"],
)
async def test_outputs_come_in_the_order_asked_for(job: aiomig.Job, tmp_path: Path) -> None:
    folder = tmp_path / "results"
    paths = await job.fetch(folder)
    assert paths == [folder / "sub/c.txt", folder / "plots/a.png", folder / "b.txt"]
    assert [path.read_text() for path in paths] == ["c\n", "a\n", "b\n"]


async def test_fetch_waits_for_the_end(executing: aiomig.Job, mig: aiomig.Session, gate: Gate, tmp_path: Path) -> None:
    job = await mig.submit([gate.command, "echo x > x"], outputs=["x"])
    gate.open(2)
    (path,) = await job.fetch(tmp_path / "f")
    assert path.read_text() == "x\n"
    await executing.wait()


@pytest.mark.job("echo new > x", outputs=["x"])
async def test_fetch_replaces_what_is_there(job: aiomig.Job, tmp_path: Path) -> None:
    (tmp_path / "x").write_text("a longer old content")
    await job.fetch(tmp_path)
    assert (tmp_path / "x").read_text() == "new\n"


@pytest.mark.job("echo x > x", outputs=[("x", "named")])
async def test_fetch_by_id(mig: aiomig.Session, job: aiomig.Job, tmp_path: Path) -> None:
    assert await mig.job(job.id).fetch(tmp_path / "f") == [tmp_path / "f/named"]


@pytest.mark.job("echo x > x", outputs=["nosuch", "x"])
async def test_a_missing_output_is_told_and_the_others_come(job: aiomig.Job, tmp_path: Path) -> None:
    with pytest.raises(ResultsMissing) as caught:
        await job.fetch(tmp_path / "f")
    assert caught.value.missing == ("nosuch",)
    assert (tmp_path / "f/x").read_text() == "x\n"
    result = await job
    assert ("output_files_missing", 1) in result.transfers
    assert await job.fetch(tmp_path / "g", check=False) == [tmp_path / "g/x"]


@pytest.mark.job(["echo x > epoch-1", "ln -s epoch-1 latest"], outputs=["latest", "epoch-1"])
async def test_an_output_that_is_a_relative_link_is_told(
    job: aiomig.Job, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level("WARNING", "aiomig"):
        result = await job
    words, *_details = result.staging  # local mode also names the file and the reason
    assert "latest" in words
    assert "symbolic link" in words
    assert words in [record.getMessage().partition(": ")[2] for record in caplog.records]
    with pytest.raises(aiomig.ResultsMissing, match="symbolic link") as caught:
        await job.fetch(tmp_path)
    assert (caught.value.missing, caught.value.arrived) == (("latest",), ("epoch-1",))


@pytest.mark.job("mkdir d", outputs=["d"])
async def test_an_output_that_is_a_directory_is_told(job: aiomig.Job, tmp_path: Path) -> None:
    with pytest.raises(ResultsMissing):
        await job.fetch(tmp_path)


@pytest.mark.parametrize("name", ["d/", "*.txt", "../x", "/etc/x", "", ("x", "../x"), ("x", Remote("y.status"))])
async def test_an_output_that_would_be_lost_is_refused(mig: aiomig.Session, name: str) -> None:
    with pytest.raises(SpecError) as caught:
        await mig.submit("true", outputs=[name])
    assert [fault.field for fault in caught.value.faults] == ["outputs[0]"]


@pytest.mark.job(["echo x > x", "false"], outputs=["x"])
async def test_outputs_of_failed_commands_come(job: aiomig.Job, tmp_path: Path) -> None:
    with pytest.raises(aiomig.CommandFailed):
        await job.fetch(tmp_path)
    assert (tmp_path / "x").read_text() == "x\n"


@pytest.mark.job(["echo x > x", "mkdir sub", "cd sub", "echo y > x"], outputs=["x"])
async def test_outputs_are_those_of_the_job_directory(job: aiomig.Job, tmp_path: Path) -> None:
    await job.fetch(tmp_path)
    assert (tmp_path / "x").read_text() == "x\n"


async def test_equal_output_names_do_not_collide(mig: aiomig.Session, tmp_path: Path) -> None:
    jobs = [await mig.submit(f"echo {number} > out.txt", outputs=["out.txt"]) for number in range(2)]
    for number, job in enumerate(jobs):
        (path,) = await job.fetch(tmp_path / str(number))
        assert path.read_text() == f"{number}\n"


async def test_an_output_to_a_place_in_the_home(mig: aiomig.Session, tmp_path: Path, top: str) -> None:
    job = await mig.submit("echo x > x", outputs=[("x", Remote(f"{top}/kept/here.txt"))])
    await job
    assert await mig.files.read_text(f"{top}/kept/here.txt") == "x\n"
    assert await job.fetch(tmp_path) == []


async def test_an_output_is_the_next_jobs_input(mig: aiomig.Session) -> None:
    first = await mig.submit("echo passed > x", outputs=["x"])
    await first
    second = await mig.submit("cat x renamed", inputs=[first.output("x"), (first.output("x"), "renamed")])
    assert await second.stdout() == "passed\npassed\n"
    with pytest.raises(aiomig.MigError, match="no output 'y'"):
        first.output("y")


async def private_folders(mig: aiomig.Session) -> set[str]:
    """The files that aiomig keeps in the home for jobs."""
    if not await mig.files.exists("aiomig_jobs"):
        return set()
    return {info.path for info in await mig.files.ls("aiomig_jobs")}


async def test_clean_removes_what_was_left_in_the_home(mig: aiomig.Session, top: str) -> None:
    await mig.files.write_text(f"{top}/mine.txt", "mine")
    before = await private_folders(mig)
    job = await mig.submit("echo x > x", inputs=[(b"i", "i"), Remote(f"{top}/mine.txt")], outputs=["x"])
    assert await private_folders(mig) > before
    await job
    await job.clean()
    await job.clean()
    assert await private_folders(mig) == before
    assert await mig.files.read_text(f"{top}/mine.txt") == "mine"
    assert await job.stdout() == ""
    await job.clean(results=True)
    assert not await mig.files.exists(f"job_output/{job.id}")


async def test_a_refused_submit_leaves_nothing_in_the_home(mig: aiomig.Session) -> None:
    before = await private_folders(mig)
    with pytest.raises((aiomig.SubmitRejected, SpecError)):
        await mig.submit("true", inputs=[(b"x", "x")], vgrids=["NoSuchVGrid"])
    assert await private_folders(mig) == before


async def test_which_outputs_have_arrived(mig: aiomig.Session) -> None:
    job = await mig.submit("echo 1 > a; printf 12345 > b", outputs=["b", ("a", "kept/a"), "never made"])
    await job.wait()
    for handle in (job, mig.job(job.id)):
        assert [info.size for info in await handle.outputs()] == [5, 2]


async def test_the_results_of_many_are_downloaded_once(mig: aiomig.Session) -> None:
    jobs = await mig.submit_many([f"echo {n}; (exit {n})" for n in range(3)])
    results = await mig.results([*jobs, jobs[0]])
    assert list(results) == [job.id for job in jobs]
    assert [(result.stdout, result.exit_code) for result in results.values()] == [("0\n", 0), ("1\n", 1), ("2\n", 2)]
    assert all([await job.result(check=False) is results[job.id] for job in jobs])
    assert [await job.stdout() for job in jobs] == ["0\n", "1\n", "2\n"]
    assert (await mig.results(jobs[1].id))[jobs[1].id] == results[jobs[1].id]
    assert await mig.results([]) == {}
    with pytest.raises(aiomig.JobNotFound):
        await mig.results([jobs[0], "0_0"])
