"""Files: into a job, and out of it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import aiomig
from aiomig import Remote, ResultsMissing, SpecError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from .conftest import Settings
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


async def test_a_local_file_keeps_its_base_name(mig: aiomig.Session, local: Path) -> None:
    make(local, sub__data_csv="content")
    assert await (await mig.submit("cat data.csv", inputs=["sub/data.csv"])).stdout() == "content"


async def test_a_path_object_and_an_absolute_path(mig: aiomig.Session, local: Path) -> None:
    make(local, a_txt="a", b_txt="b")
    job = await mig.submit("cat a.txt b.txt", inputs=[Path("a.txt"), str(local / "b.txt")])
    assert await job.stdout() == "ab"


async def test_a_local_file_under_another_name(mig: aiomig.Session, local: Path) -> None:
    make(local, runs__7_csv="content")
    job = await mig.submit("cat deep/data.csv", inputs=[("runs/7.csv", "deep/data.csv")])
    assert await job.stdout() == "content"


async def test_equal_base_names_of_different_folders(mig: aiomig.Session, local: Path) -> None:
    make(local, one__x_txt="1", two__x_txt="2")
    inputs = [("one/x.txt", "1.txt"), ("two/x.txt", "2.txt")]
    assert await (await mig.submit("cat 1.txt 2.txt", inputs=inputs)).stdout() == "12"


@pytest.mark.usefixtures("no_new_job")
async def test_two_inputs_with_one_name_are_refused(mig: aiomig.Session, local: Path) -> None:
    make(local, one__x_txt="1", two__x_txt="2")
    with pytest.raises(SpecError, match=r"x\.txt"):
        await mig.submit("true", inputs=["one/x.txt", "two/x.txt"])


async def test_a_directory_is_carried_as_a_tree(mig: aiomig.Session, local: Path) -> None:
    make(local, tree__a_txt="a", tree__sub__b_txt="b")
    job = await mig.submit(["cat tree/a.txt tree/sub/b.txt", "cat t/sub/b.txt"], inputs=["tree", ("tree", "t")])
    assert await job.stdout() == "abb"


async def test_a_glob_is_expanded_here(mig: aiomig.Session, local: Path) -> None:
    make(local, d__1_dat="1", d__2_dat="2", d__3_txt="3")
    job = await mig.submit("ls *.dat *.txt; cat *.dat", inputs=["d/*.dat"])
    result = await job.result(check=False)
    assert result.stdout == "1.dat\n2.dat\n12"


async def test_bytes_need_no_file(mig: aiomig.Session) -> None:
    content = bytes(range(256))
    job = await mig.submit("cat blob", inputs=[(content, "blob")])
    assert await job.stdout_bytes() == content


async def test_an_empty_input(mig: aiomig.Session) -> None:
    assert await (await mig.submit("wc -c < empty", inputs=[(b"", "empty")])).stdout() == "0\n"


async def test_a_file_of_the_home(mig: aiomig.Session) -> None:
    await mig.files.write_text("data/x.txt", "from the home")
    job = await mig.submit("cat x.txt y", inputs=[Remote("data/x.txt"), (Remote("/data/x.txt"), "y")])
    assert await job.stdout() == "from the home" * 2


@pytest.mark.parametrize("name", NAMES)
async def test_any_name_comes_in_and_goes_out(mig: aiomig.Session, settings: Settings, name: str) -> None:
    quoted = "'" + name.replace("'", "'\\''") + "'"
    job = await mig.submit(
        f"cat ./{quoted} ./{quoted} > both && mv both ./{quoted}", inputs=[(b"x", name)], outputs=[name]
    )
    await job
    (path,) = await job.fetch(settings.folder / "fetched")
    assert path == settings.folder / "fetched" / name
    assert path.read_bytes() == b"xx"


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


async def test_a_missing_file_of_the_home_does_not_stop_the_job(mig: aiomig.Session) -> None:
    job = await mig.submit(["cat good.txt nosuch.txt", "echo on"], inputs=[Remote("nosuch.txt"), (b"good", "good.txt")])
    result = await job.result(check=False)
    assert (result.stdout, result.exit_code) == ("goodon\n", 1)
    assert ("get_input_files", 22) in result.transfers


async def test_a_file_of_the_home_is_read_when_the_job_begins(
    mig: aiomig.Session, waiting: Callable[[str], Awaitable[aiomig.Job]], gate: Gate
) -> None:
    await mig.files.write_text("flag.txt", "before")
    await waiting("true")
    job = await mig.submit("cat flag.txt", inputs=[Remote("flag.txt")])
    await mig.files.write_text("flag.txt", "after")
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


async def test_outputs_come_in_the_order_asked_for(mig: aiomig.Session, settings: Settings) -> None:
    job = await mig.submit(
        ["mkdir sub", "echo c > sub/c.txt", "echo a > a.txt", "echo b > b.txt"],
        outputs=["sub/c.txt", ("a.txt", "plots/a.png"), "b.txt"],
    )
    folder = settings.folder / "results"
    paths = await job.fetch(folder)
    assert paths == [folder / "sub/c.txt", folder / "plots/a.png", folder / "b.txt"]
    assert [path.read_text() for path in paths] == ["c\n", "a\n", "b\n"]


async def test_fetch_waits_for_the_end(executing: aiomig.Job, mig: aiomig.Session, gate: Gate, tmp_path: Path) -> None:
    job = await mig.submit([gate.command, "echo x > x"], outputs=["x"])
    gate.open(2)
    (path,) = await job.fetch(tmp_path / "f")
    assert path.read_text() == "x\n"
    await executing.wait()


async def test_fetch_replaces_what_is_there(mig: aiomig.Session, tmp_path: Path) -> None:
    job = await mig.submit("echo new > x", outputs=["x"])
    (tmp_path / "x").write_text("a longer old content")
    await job.fetch(tmp_path)
    assert (tmp_path / "x").read_text() == "new\n"


async def test_fetch_by_id(mig: aiomig.Session, tmp_path: Path) -> None:
    job = await mig.submit("echo x > x", outputs=[("x", "named")])
    assert await mig.job(job.id).fetch(tmp_path / "f") == [tmp_path / "f/named"]


async def test_a_missing_output_is_told_and_the_others_come(mig: aiomig.Session, tmp_path: Path) -> None:
    job = await mig.submit("echo x > x", outputs=["nosuch", "x"])
    with pytest.raises(ResultsMissing) as caught:
        await job.fetch(tmp_path / "f")
    assert caught.value.missing == ("nosuch",)
    assert (tmp_path / "f/x").read_text() == "x\n"
    result = await job
    assert ("output_files_missing", 1) in result.transfers
    assert await job.fetch(tmp_path / "g", check=False) == [tmp_path / "g/x"]


async def test_an_output_that_is_a_directory_is_told(mig: aiomig.Session, tmp_path: Path) -> None:
    job = await mig.submit("mkdir d", outputs=["d"])
    with pytest.raises(ResultsMissing):
        await job.fetch(tmp_path)


@pytest.mark.parametrize("name", ["d/", "*.txt", "../x", "/etc/x", "", ("x", "../x"), ("x", Remote("y.status"))])
async def test_an_output_that_would_be_lost_is_refused(mig: aiomig.Session, name: str) -> None:
    with pytest.raises(SpecError) as caught:
        await mig.submit("true", outputs=[name])
    assert [fault.field for fault in caught.value.faults] == ["outputs[0]"]


async def test_outputs_of_failed_commands_come(mig: aiomig.Session, tmp_path: Path) -> None:
    job = await mig.submit(["echo x > x", "false"], outputs=["x"])
    with pytest.raises(aiomig.CommandFailed):
        await job.fetch(tmp_path)
    assert (tmp_path / "x").read_text() == "x\n"


async def test_outputs_are_those_of_the_job_directory(mig: aiomig.Session, tmp_path: Path) -> None:
    job = await mig.submit(["echo x > x", "mkdir sub", "cd sub", "echo y > x"], outputs=["x"])
    await job.fetch(tmp_path)
    assert (tmp_path / "x").read_text() == "x\n"


async def test_equal_output_names_do_not_collide(mig: aiomig.Session, tmp_path: Path) -> None:
    jobs = [await mig.submit(f"echo {number} > out.txt", outputs=["out.txt"]) for number in range(4)]
    for number, job in enumerate(jobs):
        (path,) = await job.fetch(tmp_path / str(number))
        assert path.read_text() == f"{number}\n"


async def test_an_output_to_a_place_in_the_home(mig: aiomig.Session, tmp_path: Path) -> None:
    job = await mig.submit("echo x > x", outputs=[("x", Remote("kept/here.txt"))])
    await job
    assert await mig.files.read_text("kept/here.txt") == "x\n"
    assert await job.fetch(tmp_path) == []


async def test_an_output_is_the_next_jobs_input(mig: aiomig.Session) -> None:
    first = await mig.submit("echo passed > x", outputs=["x"])
    await first
    second = await mig.submit("cat x renamed", inputs=[first.output("x"), (first.output("x"), "renamed")])
    assert await second.stdout() == "passed\npassed\n"
    with pytest.raises(aiomig.MigError, match="no output 'y'"):
        first.output("y")


async def test_clean_removes_what_was_left_in_the_home(mig: aiomig.Session) -> None:
    await mig.files.write_text("mine.txt", "mine")
    before = await mig.files.ls(recursive=True)
    job = await mig.submit("echo x > x", inputs=[(b"i", "i"), Remote("mine.txt")], outputs=["x"])
    await job
    await job.clean()
    await job.clean()
    left = [info for info in await mig.files.ls(recursive=True) if not info.is_dir]
    assert [info for info in left if job.id not in info.path] == [info for info in before if not info.is_dir]
    assert await job.stdout() == ""
    await job.clean(results=True)
    assert not await mig.files.exists(f"job_output/{job.id}")


async def test_a_refused_submit_leaves_nothing_in_the_home(mig: aiomig.Session) -> None:
    before = await mig.files.ls(recursive=True)
    with pytest.raises((aiomig.SubmitRejected, SpecError)):
        await mig.submit("true", inputs=[(b"x", "x")], vgrids=["NoSuchVGrid"])
    after = await mig.files.ls(recursive=True)
    assert [info.path for info in after if not info.is_dir] == [info.path for info in before if not info.is_dir]
