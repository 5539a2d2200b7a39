"""Files and messages of running local jobs: hostile files in their place, and impossible requests."""

from __future__ import annotations

import logging
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import anyio
import pytest

import aiomig
from aiomig import FileNotFound, JobState, MigError, PathRefused

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

WAIT = "until [ -e go ]; do sleep 0.02; done"


@asynccontextmanager
async def running(home: Path, *commands: str) -> AsyncIterator[tuple[aiomig.Session, aiomig.Job]]:
    """Run a job that has carried out some commands and waits for a file ``go``."""
    async with aiomig.local(home, on_exit="cancel") as mig:
        job = await mig.submit([*commands, "echo ready", WAIT])
        async for _ in job.tail():
            break
        yield mig, job


async def test_links_are_not_followed(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("secret")
    links = f"ln -s {tmp_path}/secret link; ln -s {tmp_path} up; mkfifo pipe; mkdir folder"
    async with running(tmp_path / "home", links) as (mig, job):
        for source in ("link", "up/secret", "pipe", "folder", "missing"):
            with pytest.raises(MigError):
                await job.send_live(source, "out")
        await mig.files.write_text("a.txt", "a")
        with pytest.raises(MigError):
            await job.get_live("a.txt", "up")
        assert not (tmp_path / "a.txt").exists()
        assert await mig.files.ls("out") == []
        (tmp_path / "home" / "away").symlink_to(tmp_path)
        with pytest.raises(PathRefused, match="leads out of the MiG home"):
            await job.send_live("link", "away")
        with pytest.raises(MigError):
            await job.get_live("away/secret", "in")


async def test_a_missing_file_is_said_by_name(tmp_path: Path) -> None:
    async with running(tmp_path / "home") as (_, job):
        with pytest.raises(FileNotFound, match=r"missing\.txt: no such file or directory in the job directory"):
            await job.send_live("missing.txt", "out")


async def test_what_was_sent_does_not_change_any_more(tmp_path: Path) -> None:
    async with running(
        tmp_path / "home", "echo one > a.txt; (until [ -e on ]; do sleep 0.02; done; echo two >> a.txt; touch go) &"
    ) as (
        mig,
        job,
    ):
        await job.send_live("a.txt", "out")
        await mig.files.write_text("on", "")
        await job.get_live("on")
        assert (await job).ok
        assert await mig.files.read_text("out/a.txt") == "one\n"


@pytest.mark.parametrize(
    ("request_lines", "reason"),
    [
        ("target mqueue\\nsource missing\\ndestination default\\n", "No such file"),
        ("target mqueue\\nsource good\\ndestination a-b\\n", "not a valid name of a message queue"),
        ("target mqueue\\nsource good\\ndestination nosuch\\n", "there is no such message queue"),
        ("target mqueue\\nsource bad\\ndestination default\\n", "which message queues do not accept"),
        ("target mqueue\\nsource binary\\ndestination default\\n", "can't decode byte"),
        ("source ../../x\\ndestination out\\n", "leads out of the job directory"),
        ("source good\\ndestination ../out\\n", "leads out of the MiG home"),
        ("source good\\n", "no line: destination VALUE"),
    ],
)
async def test_a_request_that_cannot_be_fulfilled_stays(
    request_lines: str, reason: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    files = "echo good > good; echo '<' > bad; printf '\\xff' > binary"
    ask = f"printf '{request_lines}' > $MIG_LOCALJOBNAME.sendupdate"
    with caplog.at_level(logging.WARNING, "aiomig.local"):
        async with running(tmp_path / "home", files, ask) as (mig, job):
            with anyio.fail_after(60):
                while "the request of the job waits" not in caplog.text:  # noqa: ASYNC110 - the log tells nobody
                    await anyio.sleep(0.01)
            assert reason in caplog.text
            assert await mig.queue().list() == []
            (folder,) = (tmp_path / "home").rglob("job-dir_*")
            assert [path.name.endswith(".sendupdate") for path in folder.glob("*update*")] == [True]
            assert (await job.status()).state is JobState.EXECUTING


async def test_a_request_that_is_a_link_is_not_read(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "request").write_text("source good\ndestination out\n")
    ask = f"echo good > good; ln -s {tmp_path}/request $MIG_LOCALJOBNAME.sendupdate"
    async with running(tmp_path / "home", ask) as (mig, _):
        with anyio.fail_after(60):
            while "the request of the job waits" not in caplog.text:  # noqa: ASYNC110 - the log tells nobody
                await anyio.sleep(0.01)
        assert not await mig.files.exists("out")
