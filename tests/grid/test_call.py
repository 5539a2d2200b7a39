"""`Session.call`: any operation of a server by its name."""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

import pytest

import aiomig
from aiomig import FileExists, FileNotFound, JobNotFound, ServerError, SpecError
from aiomig.testing import Site
from tests.clocks import anyio_backend
from tests.virtual import REAL_TIME, seeded, world

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["anyio_backend"]


async def test_the_objects_of_an_operation_come_without_decoration() -> None:
    async with world() as (grid, mig):
        (job_id,) = seeded(grid, 1)
        objects = await mig.call("jobstatus", job_id=job_id, max_jobs=1)
        assert [each["object_type"] for each in objects] == ["job_list"]
        jobs: Any = objects[0]["jobs"]
        assert [job["job_id"] for job in jobs] == [job_id]
        (stats,) = await mig.call("userstats", stats=["jobs"])
        assert stats["jobs"] == {"total": 1, "parse": 1}


async def test_several_values_are_sent_one_by_one() -> None:
    async with world() as (grid, mig):
        await mig.call("mkdir", path=("a", PurePosixPath("a/b")), flags="p")
        assert grid.requests[-1].parameters == {"path": ("a", "a/b"), "flags": ("p",), "output_format": ("json",)}
        assert (grid.home / "a/b").is_dir()


async def test_what_changes_is_sent_once_with_a_token() -> None:
    async with world(Site(csrf="FULL")) as (grid, mig):
        await mig.call("mkdir", path="a")
        grid.renew_tokens()
        await mig.call("mkdir", path="b")
        grid.faults.add("mkdir", "drop", times=1)
        with pytest.raises(aiomig.ConnectionFailed):
            await mig.call("mkdir", path="c")
        assert grid.count("mkdir", path="c") == 1


async def test_what_reads_is_retried() -> None:
    async with world() as (grid, mig):
        await mig.call("mqueue", action="listqueues")
        for operation, fields in (("ls", {}), ("mqueue", {"action": "show"}), ("userstats", {})):
            grid.faults.add(operation, "error", times=1)
            before = grid.count(operation)
            await mig.call(operation, **fields)
            assert grid.count(operation) == before + 2
        grid.faults.add("mqueue", "error", times=1)
        with pytest.raises(ServerError):
            await mig.call("mqueue", action="receive")


async def test_errors_are_those_of_every_operation() -> None:
    async with world() as (_, mig):
        with pytest.raises(FileNotFound, match="nothing"):
            await mig.call("ls", path="nothing")
        with pytest.raises(JobNotFound):
            await mig.call("jobstatus", job_id="7_1_1_2026__1_1_1_localhost.0")
        await mig.call("mkdir", path="there")
        with pytest.raises(FileExists):
            await mig.call("mkdir", path="there")
        with pytest.raises(ServerError, match="unexpected field: colour"):
            await mig.call("ls", colour="red")


async def test_what_a_server_does_not_offer_is_said_by_name() -> None:
    async with world(Site(jobs_enabled=False)) as (grid, mig):
        with pytest.raises(ServerError, match="this site does not offer jobstatus") as caught:
            await mig.call("jobstatus")
        assert caught.value.messages == ("Job execution is not enabled on this system",)
        with pytest.raises(ServerError, match="this server has no operation nosuch: check the spelling"):
            await mig.call("nosuch")
        assert grid.count("nosuch") == 1


async def test_a_broken_operation_is_said_by_name() -> None:
    async with world() as (grid, mig):
        (job_id,) = seeded(grid, 1)
        with pytest.raises(
            ServerError, match="resubmit is known to fail: it is broken in servers on Python 3; use job"
        ):
            await mig.call("resubmit", job_id=job_id)
        with pytest.raises(ServerError, match=r"rangefileaccess is known to fail.*use session\.files\.read_range"):
            await mig.call("rangefileaccess", path="x")


@pytest.mark.parametrize(
    ("operation", "fields", "words"),
    [
        ("", {}, "not the name of an operation"),
        ("../ls", {}, "not the name of an operation"),
        ("ls.py", {}, "not the name of an operation"),
        (7, {}, "not the name of an operation"),
        ("ls", {"path": ""}, "a server ignores empty fields"),
        ("ls", {"path": None}, "neither a string nor a number"),
        ("ls", {"path": True}, "neither a string nor a number"),
        ("ls", {"path": ["a", b"b"]}, "neither a string nor a number"),
        ("ls", {"path": "a\0b"}, "contains a NUL"),
        ("ls", {"_csrf": "AllowMe"}, "aiomig sets it"),
        ("ls", {"output_format": "txt"}, "aiomig sets it"),
    ],
)
async def test_bad_input_is_refused_before_anything_is_sent(operation: Any, fields: dict[str, Any], words: str) -> None:
    async with world() as (grid, mig):
        with pytest.raises(SpecError, match=words):
            await mig.call(operation, **fields)
        assert grid.requests == []


@REAL_TIME
async def test_local_mode_has_no_server(tmp_path: Path) -> None:
    async with aiomig.local(tmp_path / "home") as mig:
        with pytest.raises(aiomig.LocalError, match=r"jobstatus is an operation .* use session\.statuses"):
            await mig.call("jobstatus")
        with pytest.raises(aiomig.LocalError, match=r"open a session on a grid: aiomig\.grid\(\)"):
            await mig.call("userstats")
    with pytest.raises(aiomig.NoSession):
        await mig.call("userstats")
