"""Homes in bad places and in bad condition: they work, or an error names path and remedy. Nothing is lost."""

from __future__ import annotations

import os
import shutil
import sqlite3
import stat
import subprocess
import sys
import tempfile
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import anyio
import pytest

import aiomig
from aiomig import JobState, LocalError
from tests.programs.support import environment, pipes, processes, run, worker

if TYPE_CHECKING:
    from collections.abc import Iterator

NOBODY = 65534
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")


async def _open(home: Path | str, lock_timeout: float = 60.0) -> None:
    async with aiomig.local(home, lock_timeout=lock_timeout) as mig:
        await mig.submit("true")


async def _refused(home: Path | str, *words: str) -> LocalError:
    with pytest.raises(LocalError) as caught:
        await _open(home)
    for word in (str(home), *words):
        assert word in str(caught.value)
    return caught.value


# -- places


@pytest.mark.parametrize(
    "name", ["with space", 'quote\'s "double"', "Übung-日本-€", "$HOME `x` $(y) \\ *?[a]", "-dash;&|<>#", "tab\there"]
)
async def test_a_home_of_any_name_works(tmp_path: Path, name: str) -> None:
    home = tmp_path / name / "home"
    async with aiomig.local(home) as mig:
        job = await mig.submit(
            ["cat in.txt", "pwd > out.txt", 'basename "$(dirname "$MIG_JOBDIR")"'],
            inputs=[(b"input\n", "in.txt")],
            outputs=["out.txt"],
        )
        assert (await job).stdout == "input\nrun\n"
        (path,) = await job.fetch(tmp_path)
        assert path.read_text().startswith(f"{home}/.aiomig/run/")
        bad = await mig.submit("exit 3")
        with pytest.raises(aiomig.JobFailed):
            await bad
    async with worker(home, "asyncio", on_exit="leave", slots=1) as other:
        job_id = await other.ask("submit", ["echo here"], {})
        assert await other.ask("wait", job_id) == "FINISHED"
        other.kill()
    async with aiomig.local(home) as mig:
        assert await mig.job(job_id).stdout() == "here\n"


async def test_a_new_home_is_private(tmp_path: Path) -> None:
    home = tmp_path / "deep" / "home"
    await _open(home)
    for folder in (home, home / ".aiomig", home / ".aiomig" / "run", home / ".aiomig" / "kept"):
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700


async def test_a_home_that_was_there_keeps_its_mode_but_aiomigs_own_folder_is_closed(tmp_path: Path) -> None:
    home = tmp_path / "home"
    (home / ".aiomig").mkdir(parents=True)
    home.chmod(0o755)
    (home / ".aiomig").chmod(0o755)
    await _open(home)
    assert stat.S_IMODE(home.stat().st_mode) == 0o755
    assert stat.S_IMODE((home / ".aiomig").stat().st_mode) == 0o700


async def test_folders_above_a_new_home_are_private_under_any_umask(tmp_path: Path) -> None:
    for mask in (0o000, 0o777):
        top = tmp_path / f"{mask}"
        before = os.umask(mask)
        try:
            async with aiomig.local(top / "deep" / "home") as mig:
                assert (await (await mig.submit("echo here"))).stdout == "here\n"
        finally:
            os.umask(before)
        for folder in (top, top / "deep", top / "deep" / "home", top / "deep" / "home" / ".aiomig" / "run"):
            assert stat.S_IMODE(folder.stat().st_mode) == 0o700


@pytest.mark.parametrize("name", [".", ".aiomig", ".aiomig/run"])
async def test_a_folder_that_everyone_can_write_to_is_refused(tmp_path: Path, name: str) -> None:
    home = tmp_path / "home"
    await _open(home)
    (home / name).chmod(0o777)
    await _refused(home, name, "everyone can write to it")
    (home / name).chmod(0o700)
    await _open(home)


async def test_a_relative_home_stays_where_it_was_when_it_was_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path)
    async with aiomig.local("home") as mig:
        monkeypatch.chdir(tmp_path / "elsewhere")
        assert (await (await mig.submit("echo here"))).stdout == "here\n"
    assert not list((tmp_path / "elsewhere").iterdir())


async def test_a_home_below_a_file(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(aiomig.MigError, match="file") as caught:
        await _open(tmp_path / "file" / "home")
    assert str(tmp_path / "file" / "home") in str(caught.value)


async def test_a_home_that_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "home").write_text("precious")
    with pytest.raises(aiomig.MigError) as caught:
        await _open(tmp_path / "home")
    assert str(tmp_path / "home") in str(caught.value)
    assert (tmp_path / "home").read_text() == "precious"


async def test_a_home_where_the_system_lets_nobody_write() -> None:
    with pytest.raises(LocalError, match=r"/proc/aiomig/home"):
        await _open("/proc/aiomig/home")


@pytest.mark.parametrize("name", [".aiomig", ".aiomig/run", ".aiomig/kept", ".aiomig/sessions"])
async def test_a_file_where_one_of_aiomigs_folders_must_be(tmp_path: Path, name: str) -> None:
    home = tmp_path / "home"
    (home / name).parent.mkdir(parents=True)
    (home / name).write_text("")
    error = await _refused(home, name)
    assert error.path is not None


# -- other users


def _as_stranger(backend: str, home: Path) -> str:
    ended = run("stranger", backend, home, NOBODY)
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


@pytest.fixture
def common() -> Iterator[Path]:
    """A folder that every user can enter, unlike those of pytest."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


@as_root
@pytest.mark.parametrize("mode", [0o755, 0o777, 0o700])
def test_a_home_made_by_another_user(common: Path, mode: int) -> None:
    home = common / "home"
    anyio.run(_open, home)
    home.chmod(mode)
    before = sorted(path.name for path in home.iterdir())
    told = _as_stranger("asyncio", home)
    assert told.startswith("LocalError: ")
    assert f"{home} cannot be used: it belongs to another user" in told
    assert "aiomig.local(home=" in told
    assert sorted(path.name for path in home.iterdir()) == before


@as_root
def test_a_home_that_may_not_be_made(common: Path) -> None:
    told = _as_stranger("trio", common / "home")
    assert told.startswith("LocalError: ")
    assert f"{common / 'home'} cannot be used: Permission denied" in told
    assert "aiomig.local(home=" in told


@as_root
@pytest.mark.parametrize("place", [".", ".aiomig", ".aiomig/run", ".aiomig/sessions", ".aiomig/jobs.sqlite"])
def test_a_home_of_ones_own_that_is_not_writable(common: Path, place: str) -> None:
    home = common / "home"
    home.mkdir()
    os.chown(home, NOBODY, NOBODY)
    assert _as_stranger("asyncio", home) == "open\n"
    (home / place).chmod(0o500 if (home / place).is_dir() else 0o400)
    told = _as_stranger("asyncio", home)
    assert told.startswith("LocalError: ")
    assert str(home / place) in told
    assert "writ" in told
    (home / place).chmod(0o700)
    assert _as_stranger("asyncio", home) == "open\n"


# -- records in bad shape


def _database(home: Path) -> Path:
    return home / ".aiomig" / "jobs.sqlite"


@pytest.mark.parametrize("content", [b"this is no database" * 100, b"SQLite format 3\0" + b"\xff" * 5000])
async def test_records_that_are_no_database(tmp_path: Path, content: bytes) -> None:
    home = tmp_path / "home"
    await _open(home)
    _database(home).write_bytes(content)
    error = await _refused(home, "jobs.sqlite", "damaged", "move it away")
    assert error.path == str(_database(home))
    assert _database(home).read_bytes() == content
    _database(home).unlink()
    await _open(home)


async def test_damage_inside_of_the_records(tmp_path: Path) -> None:
    home = tmp_path / "home"
    async with aiomig.local(home) as mig:
        for _ in range(30):
            await mig.submit(": " + "x" * 1000)
    content = bytearray(_database(home).read_bytes())
    content[4096:] = b"\xa5" * (len(content) - 4096)
    _database(home).write_bytes(content)
    with pytest.raises(LocalError, match="damaged") as caught:
        async with aiomig.local(home) as mig:
            await mig.jobs()
    assert "job_output" in str(caught.value)


async def test_records_of_a_newer_version(tmp_path: Path) -> None:
    home = tmp_path / "home"
    await _open(home)
    database = sqlite3.connect(_database(home))
    database.execute("PRAGMA user_version = 99")
    database.close()
    await _refused(home, "format 99", "another version of aiomig", "another home")
    database = sqlite3.connect(_database(home))
    assert database.execute("SELECT count(*) FROM jobs").fetchone() == (1,)
    database.close()


async def test_a_truncated_log_of_the_database(tmp_path: Path, anyio_backend: str) -> None:
    home = tmp_path / "home"
    with pipes(tmp_path, "news", "gate") as (news, gate):
        async with worker(home, anyio_backend, slots=1) as other:
            first = await other.ask("submit", [news.write("$$"), gate.wait, "echo first"], {})
            with processes(await news.line()) as shell:
                last = await other.ask("submit", "echo last", {})
                other.kill()
                log = _database(home).with_name("jobs.sqlite-wal")
                os.truncate(log, log.stat().st_size - 100)  # as after a power failure
                gate.send()
                await shell.gone()
    async with aiomig.local(home) as mig:
        assert (await mig.job(first)).stdout == "first\n"
        with pytest.raises(aiomig.JobNotFound):
            await mig.job(last).status()
        assert (await (await mig.submit("echo new"))).stdout == "new\n"


@pytest.mark.parametrize("command", ["true", "exit 3"])
async def test_a_job_that_ended_while_nobody_looked_ended_then(
    tmp_path: Path, anyio_backend: str, command: str
) -> None:
    home = tmp_path / "home"
    with pipes(tmp_path, "news", "gate") as (news, gate):
        async with worker(home, anyio_backend, slots=1) as other:
            job_id = await other.ask("submit", [news.write("$$"), gate.wait, command], {})
            with processes(await news.line()) as shell:
                other.kill()
                gate.send()
                await shell.gone()
    (control,) = (home / ".aiomig" / "run").glob("*.control")
    database = sqlite3.connect(_database(home))
    ended = database.execute("SELECT executing FROM jobs").fetchone()[0] + 1e-4
    database.close()
    os.utime(control, (ended, ended))
    async with aiomig.local(home) as mig:
        status = await mig.job(job_id).wait()
    at = status.finished_at or status.failed_at
    assert at is not None
    assert at.timestamp() == pytest.approx(ended, abs=1e-5)


async def test_a_home_that_vanishes_under_an_open_session(tmp_path: Path) -> None:
    home = tmp_path / "home"
    with pytest.raises(aiomig.MigError):
        async with aiomig.local(home) as mig:
            await mig.submit("true")
            await mig.wait(await mig.jobs())
            shutil.rmtree(home)
            await (await mig.submit("echo lost"))


async def test_records_locked_by_another_program(tmp_path: Path) -> None:
    home = tmp_path / "home"
    await _open(home)
    holder = sqlite3.connect(_database(home), isolation_level=None)
    holder.execute("BEGIN EXCLUSIVE")
    try:
        with pytest.raises(LocalError, match="locked by another process") as caught:
            await _open(home, lock_timeout=0)
        assert caught.value.path == str(_database(home))
    finally:
        holder.execute("ROLLBACK")
        holder.close()
    await _open(home)


# -- a full disk


@contextmanager
def small_disk(folder: Path, size: str) -> Iterator[Path]:
    """A small file system, which is soon full."""
    folder.mkdir()
    made = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size}", "aiomig-test", str(folder)], capture_output=True, check=False
    )
    if made.returncode != 0:
        pytest.skip("may not mount a file system")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


async def _all_end(home: Path) -> dict[str, tuple[JobState, str]]:
    """Run all jobs of a home to their end; return state and output by id."""
    endings: dict[str, tuple[JobState, str]] = {}
    async with aiomig.local(home, slots=2) as mig:
        jobs = await mig.jobs()
        await mig.wait(jobs)
        for job in jobs:
            result = await job.result(check=False)
            endings[job.id] = (result.status.state, result.stdout)
    return endings


def _fill_up(backend: str, home: Path, limit: int) -> tuple[list[str], str]:
    """Return the ids of the jobs that fitted on the disk, and the error."""
    home.mkdir()
    os.mkfifo(home / "gate")
    ended = run("full", backend, home, limit)
    assert ended.returncode == 0, ended.stderr
    *ids, error = ended.stdout.splitlines()
    assert len(ids) > 10
    assert error.startswith("LocalError: ")
    assert str(_database(home)) in error
    return ids, error


def _let_go(home: Path) -> None:
    """Replace the gate by a file, so that jobs no longer wait at it."""
    descriptor = os.open(home / "gate", os.O_RDWR | os.O_NONBLOCK)
    (home / "gate").unlink()
    (home / "gate").touch()
    os.write(descriptor, b"\n" * 8)
    os.close(descriptor)


def _check(backend: str, home: Path, ids: list[str]) -> None:
    endings = anyio.run(_all_end, home, backend=backend)
    assert set(ids) <= set(endings)
    assert [endings[job_id] for job_id in ids] == [(JobState.FINISHED, f"{n}\n") for n in range(len(ids))]


@as_root
@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_a_full_disk_takes_no_more_jobs_and_loses_none(tmp_path: Path, backend: str) -> None:
    with small_disk(tmp_path / "disk", "600k") as disk:
        ids, error = _fill_up(backend, disk / "home", 0)
        assert "full" in error
        assert "make room" in error
        subprocess.run(["mount", "-o", "remount,size=64m", str(disk)], check=True)
        _let_go(disk / "home")
        _check(backend, disk / "home", ids)


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_files_that_may_not_grow(tmp_path: Path, backend: str) -> None:
    home = tmp_path / "home"
    ids, error = _fill_up(backend, home, 300_000)
    assert "ulimit -f" in error
    _let_go(home)
    _check(backend, home, ids)


def test_a_program_that_may_write_no_file_at_all(tmp_path: Path) -> None:
    home = tmp_path / "home"
    for _ in range(2):
        ended = subprocess.run(
            [
                "bash",
                "-c",
                'ulimit -f 0; exec "$@"',
                "bash",
                sys.executable,
                "-m",
                "aiomig",
                "--local",
                "run",
                "echo 1",
            ],
            env=environment(AIOMIG_HOME=str(home)),
            capture_output=True,
            text=True,
            check=False,
        )
        assert ended.returncode not in (0, 70)
        assert "ulimit -f" in ended.stderr
        assert "Traceback" not in ended.stderr
        anyio.run(_all_end, home)  # without the limit, the home can be used


@as_root
async def test_a_disk_that_fills_up_while_a_job_runs(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", "4m") as disk, pipes(tmp_path, "news", "gate") as (news, gate):
        home = disk / "home"
        with pytest.raises(LocalError, match=r"(full|No space left on device).*make room") as caught:
            async with aiomig.local(home, slots=1) as mig:
                first = await mig.submit(["echo first", news.write("up"), gate.wait])
                second = await mig.submit("echo second")
                await news.line()
                _fill(disk / "filler")
                gate.send()
                await second
        assert str(caught.value.path) in {str(_database(home)), str(home / "job_output" / first.id)}
        (disk / "filler").unlink()
        async with aiomig.local(home) as mig:
            assert (await mig.job(first.id)).stdout == "first\n"
            assert (await mig.job(second.id)).stdout == "second\n"


def _fill(path: Path) -> None:
    with path.open("wb", buffering=0) as stream, suppress(OSError):
        while True:
            stream.write(bytes(4096))


async def test_the_error_of_a_full_disk_comes_out_of_a_session_that_nobody_waits_in(tmp_path: Path) -> None:
    home = tmp_path / "home"
    with pytest.raises(LocalError, match="cannot be made") as caught:
        async with aiomig.local(home) as mig:
            (home / ".aiomig" / "run").rmdir()
            job = await mig.submit("echo later")
    assert str(home / ".aiomig" / "run") in str(caught.value)
    assert "open the home again" in str(caught.value)
    async with aiomig.local(home) as mig:
        result = await mig.job(job.id)
    assert result.stdout == "later\n"
    assert result.status.attempts == ()


# -- bash


def test_no_bash(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(os, "defpath", str(tmp_path))
    with pytest.raises(LocalError, match="no bash") as caught:
        aiomig.local(tmp_path / "home")
    assert "install bash" in str(caught.value)


async def test_bash_outside_of_the_path_of_the_program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    async with aiomig.local(tmp_path / "home") as mig:
        assert (await (await mig.submit("echo found"))).stdout == "found\n"


async def test_bash_that_goes_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bash = tmp_path / "bin" / "bash"
    bash.parent.mkdir()
    bash.symlink_to(shutil.which("bash") or "/bin/bash")
    monkeypatch.setenv("PATH", str(bash.parent), prepend=os.pathsep)
    async with aiomig.local(tmp_path / "home") as mig:
        assert (await (await mig.submit("echo found"))).ok
        bash.unlink()
        with pytest.raises(aiomig.JobFailed, match="RESOURCE DIED") as caught:
            await (await mig.submit("echo lost"))
    assert caught.value.status is not None
    assert "could not be started" in caught.value.status.attempts[0].detail
    assert str(bash) in caught.value.status.attempts[0].detail


async def test_a_home_that_is_removed_while_it_is_open(tmp_path: Path) -> None:
    home = tmp_path / "home"
    with pytest.raises(LocalError, match="the home was moved or removed while it was open: put it back"):
        async with aiomig.local(home) as mig:
            shutil.rmtree(home)
            await mig.submit("true")
