"""Hostile files in the place of local mode's own files: nothing hangs, nothing outside is touched."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import sqlite3
from typing import TYPE_CHECKING

import anyio
import pytest

import aiomig

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

PLACES = (
    ".aiomig/jobs.sqlite",
    ".aiomig/kept",
    ".aiomig/kept/JOB.remarks",
    ".aiomig/run",
    ".aiomig/run/010126-000000.1.control",
    ".aiomig/run/job-dir_010126-000000.1",
    ".aiomig/sessions/99",
    ".aiomig/tmp",
    "job_output/JOB",
    "job_output/JOB/JOB.status",
)
OWNER = "UPDATE jobs SET owner = 99, state = 'QUEUED', ended = NULL"
SESSION = "INSERT INTO sessions VALUES (99, (SELECT boot FROM sessions), 0)"


def make_folder(path: Path) -> None:
    path.mkdir()
    (path / "x").touch()


def make_socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as endpoint:
        endpoint.bind("s")  # the path of a socket must be short
    os.rename("s", path)


def make_sparse(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(1 << 40)


KINDS: dict[str, Callable[[Path], object]] = {
    "fifo": os.mkfifo,
    "socket": make_socket,
    "link to a file": lambda path: path.symlink_to(OUTSIDE),
    "link to a folder": lambda path: path.symlink_to(os.path.abspath("elsewhere")),
    "dangling link": lambda path: path.symlink_to("nowhere"),
    "link to itself": lambda path: path.symlink_to(path.name),
    "folder": make_folder,
    "sparse": make_sparse,
    "nonsense": lambda path: path.write_bytes(b"pid 99999999999999999999\n\xff\0" * 1000),
    "closed": lambda path: os.close(os.open(path, os.O_CREAT, 0)),
}
OUTSIDE = "../../../outside"
if os.geteuid() == 0:
    KINDS["device"] = lambda path: os.mknod(path, 0o20600, os.makedev(1, 5))


@pytest.fixture
async def template(tmp_path: Path) -> tuple[Path, str]:
    """A home with one job, and its id."""
    async with aiomig.local(tmp_path / "template") as mig:
        job = await mig.submit("echo done")
        await job.wait()
    return tmp_path / "template", job.id


async def use(home: Path, job_id: str) -> None:
    async with aiomig.local(home, on_exit="cancel") as mig:
        for action in (
            lambda: mig.job(job_id).result(check=False),
            lambda: mig.submit("cat in", inputs=[(b"x", "in")]),
            mig.jobs,
            lambda: mig.files.ls(recursive=True),
        ):
            with contextlib.suppress(aiomig.MigError):
                await action()


@pytest.mark.parametrize("kind", KINDS)
async def test_anything_in_the_place_of_a_file_of_a_home(
    tmp_path: Path, template: tuple[Path, str], kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    home, job_id = tmp_path / "home", template[1]
    monkeypatch.chdir(tmp_path)
    outside = tmp_path / "outside"
    outside.write_text("precious")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir(mode=0o755)
    for place in PLACES:
        shutil.copytree(template[0], home, symlinks=True)
        if place.endswith("99"):  # the job belongs to a session that may be open
            database = sqlite3.connect(home / ".aiomig" / "jobs.sqlite")
            with database:
                database.execute(OWNER)
                database.execute(SESSION)
            database.close()
        path = home / place.replace("JOB", job_id)
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
        KINDS[kind](path)
        with anyio.fail_after(300):
            with contextlib.suppress(aiomig.MigError):
                await use(home, job_id)
        assert outside.read_text() == "precious", place
        assert (list(elsewhere.iterdir()), elsewhere.stat().st_mode & 0o777) == ([], 0o755), place
        shutil.rmtree(home)


@pytest.mark.parametrize("name", [".aiomig", ".aiomig/run", ".aiomig/kept"])
async def test_a_link_in_the_place_of_a_folder_of_aiomig_is_refused(tmp_path: Path, name: str) -> None:
    home, elsewhere = tmp_path / "home", tmp_path / "elsewhere"
    async with aiomig.local(home):
        pass
    (home / name).rename(elsewhere)
    elsewhere.chmod(0o755)
    (home / name).symlink_to(elsewhere)
    with pytest.raises(aiomig.LocalError, match="is a symbolic link") as caught:
        async with aiomig.local(home):
            pass
    assert str(home / name) in str(caught.value)
    assert elsewhere.stat().st_mode & 0o777 == 0o755
    (home / name).unlink()
    elsewhere.rename(home / name)
    async with aiomig.local(home) as mig:
        assert (await (await mig.submit("echo again"))).stdout == "again\n"
