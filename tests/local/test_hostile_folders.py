"""Hostile files in the folder of a job: nothing hangs, nothing outside is touched, other jobs continue."""

from __future__ import annotations

import asyncio
import os
import shlex
import stat
import sys
from typing import TYPE_CHECKING

import anyio
import pytest

import aiomig
from aiomig import JobState
from tests.programs.support import pipes, processes, worker

if TYPE_CHECKING:
    from pathlib import Path

PLACES = (
    "$MIG_JOBID.stdout",
    "$MIG_JOBID.stderr",
    "$MIG_JOBID.status",
    "$MIG_JOBID.io-status",
    "$MIG_JOBID.log",
    "$MIG_LOCALJOBNAME.job",
    "$MIG_LOCALJOBNAME.user.outputfiles",
    "$MIG_LOCALJOBNAME.syntax",
    "syntax",
    "out",
    "folder/out",
)
"""The files that aiomig reads or writes in the folder of a job, and similar names."""

SOCKET = shlex.quote(f"{sys.executable} -c \"import socket; socket.socket(socket.AF_UNIX).bind('s')\"")
KINDS = {
    "fifo": "mkfifo P",
    "socket": f"bash -c {SOCKET} && mv s P",
    "link in": "echo x > inside; ln -s inside P",
    "link out": "ln -s OUTSIDE/precious P",
    "link to a folder": "ln -s OUTSIDE P",
    "dangling link": "ln -s nowhere P",
    "link to itself": "ln -s P P",
    "folder": "mkdir -p P/deeper; echo x > P/deeper/f; ln -s OUTSIDE P/deeper/link",
    "sparse": "truncate -s 1T P",
    "unreadable": "echo x > P; chmod 000 P",
    "hard link": "ln OUTSIDE/precious P",
    "nothing": "true",
}
if os.geteuid() == 0:
    KINDS |= {"device": "mknod P c 1 5", "block device": "mknod P b 7 99"}

ENDS = ("true", "exit 3")


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    folder = tmp_path / "outside"
    (folder / "deeper").mkdir(parents=True)
    for name in ("precious", "deeper/thesis.tex"):
        (folder / name).write_text("precious\n")
        (folder / name).chmod(0o640)
    return folder


def picture(folder: Path) -> dict[str, tuple[int, int, str]]:
    """The content of a folder: the mode, link count and content of each file."""
    paths = sorted(folder.rglob("*"))
    return {
        str(path.relative_to(folder)): (
            path.lstat().st_mode,
            path.lstat().st_nlink if path.is_file() else 0,
            path.read_text() if path.is_file() else "",
        )
        for path in paths
    }


def commands(place: str, kind: str, end: str, outside: Path) -> list[str]:
    make = KINDS[kind].replace("OUTSIDE", shlex.quote(str(outside))).replace("P", f'"{place}"')
    return [f'rm -rf "{place}"; mkdir -p folder; {make}', end]


@pytest.mark.parametrize("kind", KINDS)
async def test_anything_in_the_place_of_a_file(tmp_path: Path, outside: Path, kind: str) -> None:
    home, before = tmp_path / "home", picture(outside)
    descriptors = len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 0
    async with aiomig.local(home, slots=6, wall_time_grace=0) as mig:
        mig.check_commands = False
        jobs = await mig.submit_many(
            [
                # A script that writes to a pipe exceeds its wall time.
                aiomig.JobSpec(
                    commands(place, kind, end, outside),
                    outputs=["out", "folder/out"],
                    resources=aiomig.Resources(wall_time=4),
                )
                for place in PLACES
                for end in ENDS
            ]
        )
        innocent = await mig.submit("echo innocent", resources=aiomig.Resources(wall_time=600))
        with anyio.fail_after(600):
            statuses = [await job.wait() for job in jobs]
            assert {status.state for status in statuses} <= {JobState.FINISHED, JobState.FAILED}
            for job in jobs:
                try:
                    await job.result(check=False)
                    async for _line in job.tail("stdout"):
                        pass
                    await job.fetch(tmp_path / "fetched" / job.id)
                except aiomig.MigError:
                    pass
            assert await innocent.stdout() == "innocent\n"
            await mig.files.ls(recursive=True, hidden=True)
            assert await mig.statuses(jobs)
    after = picture(outside)
    if kind in {"hard link", "link out"}:  # the shell of the job writes its status files through them
        assert before["precious"][0] == after["precious"][0] or kind == "hard link"
        del before["precious"], after["precious"]
    assert after == before
    assert (outside / "precious").read_text().startswith("precious\n")
    assert list((home / ".aiomig" / "run").iterdir()) == []
    async with aiomig.local(home) as mig:
        assert (await (await mig.submit("echo again"))).stdout == "again\n"
    if descriptors:
        assert len(os.listdir("/proc/self/fd")) <= descriptors


REPLACEMENTS = {
    "a link": 'ln -s OUTSIDE "${MIG_JOBDIR%/}"',
    "a link to a copy": 'cp -r /proc/self/cwd/. OUTSIDE/; ln -s OUTSIDE "${MIG_JOBDIR%/}"',
    "a dangling link": 'ln -s nowhere "${MIG_JOBDIR%/}"',
    "a file": 'echo x > "${MIG_JOBDIR%/}"',
    "a pipe": 'mkfifo "${MIG_JOBDIR%/}"',
    "nothing": "true",
}


@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("kind", REPLACEMENTS)
async def test_anything_in_the_place_of_the_folder(tmp_path: Path, outside: Path, kind: str, end: str) -> None:
    home, before = tmp_path / "home", picture(outside)
    replace = REPLACEMENTS[kind].replace("OUTSIDE", shlex.quote(str(outside)))
    async with aiomig.local(home) as mig:
        mig.check_commands = False
        job = await mig.submit([f'cd ..; rm -rf "$MIG_JOBDIR"; {replace}', end], outputs=["thesis.tex"])
        status = await job.wait()
        assert status.state is JobState.FAILED
        if end == "true":
            assert "removed or replaced its directory" in (status.attempts[0].detail or "")
    after = picture(outside)
    assert {name: entry for name, entry in after.items() if name in before} == before
    assert not (home / "job_output").exists() or not list((home / "job_output").iterdir())
    assert list((home / ".aiomig" / "run").iterdir()) == []


async def test_another_folder_in_the_place_of_the_folder_stays(tmp_path: Path, outside: Path) -> None:
    home, before = tmp_path / "home", picture(outside)
    async with aiomig.local(home) as mig:
        mig.check_commands = False
        move = f'cd ..; mv "$MIG_JOBDIR" aside; mv {shlex.quote(str(outside))} "${{MIG_JOBDIR%/}}"'
        job = await mig.submit([move, "true"])
        assert (await job.wait()).state is JobState.FAILED
    (moved,) = (home / ".aiomig" / "run").glob("job-dir_*")
    after = picture(moved)  # the shell of the job has written into it
    assert {name: entry for name, entry in after.items() if name in before} == before


@pytest.mark.parametrize("end", ENDS)
async def test_another_folder_in_its_place_stays_after_a_crash(
    tmp_path: Path, outside: Path, end: str, anyio_backend: str, caplog: pytest.LogCaptureFixture
) -> None:
    home, before = tmp_path / "home", picture(outside)
    move = f'cd ..; mv "$MIG_JOBDIR" aside; mv {shlex.quote(str(outside))} "${{MIG_JOBDIR%/}}"'
    with pipes(tmp_path, "news", "gate") as (news, gate):
        async with worker(home, anyio_backend) as other:
            job_id = await other.ask("submit", [move, news.write("$$"), gate.wait, end], {})
            with processes(await news.line()):
                other.kill()
                async with aiomig.local(home) as mig:
                    gate.send()
                    assert (await mig.job(job_id).wait()).state is JobState.FAILED
    for _ in range(2):
        (moved,) = (home / ".aiomig" / "run").glob("job-dir_*")
        after = picture(moved)  # the shell of the job has written into it
        assert {name: entry for name, entry in after.items() if name in before} == before
        assert "Another directory has its name" in caplog.text
        caplog.clear()
        async with aiomig.local(home) as mig:  # looks for leftovers
            await (await mig.submit("true"))


async def test_the_folder_of_an_earlier_version_is_taken_up(tmp_path: Path, anyio_backend: str) -> None:
    home = tmp_path / "home"
    with pipes(tmp_path, "news", "gate") as (news, gate):
        async with worker(home, anyio_backend) as other:
            job_id = await other.ask("submit", [news.write("$$"), gate.wait, "echo done"], {})
            with processes(await news.line()):
                other.kill()
                (control,) = (home / ".aiomig" / "run").glob("*.control")
                control.write_text(control.read_text().partition(" inode")[0] + "\n")
                control.with_suffix(".inode").symlink_to("1234")
                async with aiomig.local(home) as mig:
                    gate.send()
                    assert await mig.job(job_id).stdout() == "done\n"
    async with aiomig.local(home):  # looks for leftovers
        pass
    assert list((home / ".aiomig" / "run").iterdir()) == []


TREES = {
    "1,500 levels": "import os\nfor _ in range(1500): os.mkdir('d'); os.chdir('d')",
    "5,000 levels": "import os\nfor _ in range(5000): os.mkdir('d'); os.chdir('d')",
    "10,000 files": "for n in range(10000): open(f'f{n}', 'w').close()",
    "10,000 folders": "import os\nfor n in range(10000): os.mkdir(f'd{n}')",
    "odd names": "import os\n"
    "for name in (b'x' * 255, b'a\\nb', b'\\xff\\xfe', b'-rf', b'*', b' ', b'\\x1b[2J', b'\"', b'\\\\'):\n"
    "    os.mkdir(name); open(name + b'/' + name, 'w').close()",
    "closed folders": "import os\nos.makedirs('a/b/c'); open('a/b/f', 'w').close()\n"
    "for name in ('a/b/c', 'a/b', 'a'): os.chmod(name, 0)",
    "a closed job folder": "import os\nos.mkdir('a'); os.chmod('.', 0o500)",
    "links": "import os\nos.symlink('.', 'here'); os.symlink('..', 'up'); os.symlink('/', 'root')\n"
    "os.mkdir('d'); os.symlink(OUTSIDE, 'd/out')",
    "pipes": "import os\nfor n in range(20): os.mkfifo(f'p{n}')",
}


@pytest.mark.parametrize("kind", TREES)
async def test_any_tree_is_removed(tmp_path: Path, outside: Path, kind: str) -> None:
    home, before = tmp_path / "home", picture(outside)
    program = TREES[kind].replace("OUTSIDE", repr(str(outside)))
    async with aiomig.local(home, slots=2) as mig:
        job = await mig.submit(f"{sys.executable} prog", inputs=[(program.encode(), "prog")])
        other = await mig.submit("echo innocent")
        assert (await job).exit_code == 0
        assert (await other).stdout == "innocent\n"
    assert picture(outside) == before
    assert list((home / ".aiomig" / "run").iterdir()) == []
    assert sorted(path.name.rpartition(".")[2] for path in (home / "job_output" / job.id).iterdir()) == [
        "io-status",
        "status",
        "stderr",
        "stdout",
    ]


async def test_the_files_of_a_job_are_its_own(tmp_path: Path) -> None:
    async with aiomig.local(tmp_path / "home") as mig:
        mig.check_commands = False
        await (await mig.submit(["for f in *.givejob; do echo SECRET > $f; done", "chmod 000 *.givejob"]))
        result = await (await mig.submit(["cat *.user.outputfiles *.givejob", "stat -c %h,%a *.givejob"]))
        assert result.stdout == "1,644\n"


async def test_results_are_not_changed_by_what_a_job_leaves_running(tmp_path: Path) -> None:
    home, gate = tmp_path / "home", shlex.quote(str(tmp_path / "gate"))
    os.mkfifo(tmp_path / "gate")
    write = f"read -r _ <{gate}; echo late; echo late >> out; echo late > junk; echo >{gate}"
    async with aiomig.local(home) as mig:
        job = await mig.submit(["echo first > out", f"setsid bash -c {shlex.quote(write)} & echo ok"], outputs=["out"])
        assert (await job).stdout == "ok\n"
        folder = home / "job_output" / job.id
        before = {path.name: path.read_bytes() for path in folder.iterdir()}
        try:
            os.close(os.open(tmp_path / "gate", os.O_WRONLY | os.O_NONBLOCK))
        except OSError:
            pass  # the leftover processes were killed before they got that far, or have not started
        else:
            with anyio.fail_after(300):
                await anyio.run_process(["cat", tmp_path / "gate"])
        (path,) = await job.fetch(tmp_path / "fetched")
        assert path.read_text() == "first\n"
        assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
        assert await job.stdout() == "ok\n"


async def test_an_output_that_did_not_arrive_is_told_with_its_reason(tmp_path: Path) -> None:
    make = ["echo weights > epoch-10", "ln -s epoch-10 latest", "mkfifo pipe", "mkdir d", "echo x > good"]
    async with aiomig.local(tmp_path / "home") as mig:
        mig.check_commands = False
        job = await mig.submit(
            make, outputs=["latest", "pipe", "missing", "good"], inputs=[(aiomig.Remote("no/such"), "data")]
        )
        words = "\n".join((await job.result()).staging)
        assert "output latest did not arrive: it is a symbolic link to 'epoch-10'" in words
        assert "output pipe did not arrive: it is neither a file nor a directory" in words
        assert "output missing did not arrive: it was not there when the commands had ended" in words
        assert "input data did not arrive: no/such: No such file" in words
        assert "good did not" not in words
        with pytest.raises(aiomig.ResultsMissing, match="symbolic link"):
            await job.fetch(tmp_path / "fetched")
        assert (tmp_path / "fetched" / "good").read_text() == "x\n"


async def test_results_that_cannot_be_stored_are_kept(tmp_path: Path) -> None:
    home = tmp_path / "home"
    async with aiomig.local(home) as mig:
        await mig.files.write_bytes("job_output", b"a file is in the way")
        job = await mig.submit("echo work > extra; echo 42; true")
        result = await job
        assert (result.stdout, result.exit_code) == ("42\n", 0)
        (words,) = result.staging
        assert "could not be stored" in words
        assert str(home / ".aiomig" / "kept" / job.id) in words
        assert (home / ".aiomig" / "kept" / job.id / "extra").read_text() == "work\n"
    async with aiomig.local(home) as mig:
        assert await mig.job(job.id).stdout() == "42\n"


async def test_a_folder_that_others_may_enter_is_not_made(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        async with aiomig.local(tmp_path / "home") as mig:
            await mig.queue("q").create()
            await (await mig.submit("true", inputs=[(b"x", "x")]))
    finally:
        os.umask(before)
    for name in (".aiomig", ".aiomig/run", ".aiomig/kept", ".aiomig/tmp", ".aiomig/sessions"):
        assert stat.S_IMODE((tmp_path / "home" / name).stat().st_mode) == 0o700


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_a_session_whose_task_is_cancelled_twice_leaves_no_descriptor(tmp_path: Path) -> None:
    async def block(begun: asyncio.Event) -> None:
        async with aiomig.local(tmp_path / "home") as mig:
            await mig.submit("sleep 600")
            begun.set()
            await asyncio.sleep(600)

    async def cancel_twice() -> int:
        begun = asyncio.Event()
        task = asyncio.create_task(block(begun))
        await begun.wait()
        task.cancel()
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])
        assert task.cancelled()
        return len(os.listdir("/dev/fd"))

    assert await cancel_twice() == await cancel_twice()
    async with aiomig.local(tmp_path / "home") as mig:
        assert {str(status.state) for status in (await mig.statuses(await mig.jobs())).values()} == {"CANCELED"}
