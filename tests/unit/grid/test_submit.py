"""Submitting to a grid exactly once: lost responses, failing servers, cancelled tasks."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import anyio
import pytest

import aiomig
from aiomig import (
    ConnectionFailed,
    ProtocolError,
    RequestLimits,
    ServerError,
    Session,
    SubmitErrors,
    SubmitRejected,
    SubmitUnknown,
)
from aiomig._grid.protocol import jobs as _protocol_jobs
from aiomig._grid.protocol.jobs import SubmitReply
from aiomig.testing import FakeGrid, Site
from tests.clocks import anyio_backend

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from aiomig import JobSpec
    from aiomig.testing import FaultKind as Kind
    from aiomig.testing import FaultTime as When


__all__ = ["anyio_backend"]


def session(grid: FakeGrid, limits: RequestLimits | None = None) -> Session:
    return aiomig.grid(
        url="https://grid.example.org",
        certificate="c.pem",
        key="k.pem",
        transport=grid.transport(),
        request_limits=limits,
    )


@pytest.fixture
def limits() -> RequestLimits:
    return RequestLimits()


@pytest.fixture
async def grid(tmp_path: Path) -> AsyncIterator[FakeGrid]:
    async with FakeGrid(tmp_path / "home") as opened:
        opened.hold()
        yield opened


@pytest.fixture
async def mig(grid: FakeGrid, limits: RequestLimits) -> AsyncIterator[Session]:
    async with session(grid, limits) as opened:
        yield opened


def specs(count: int, **fields: str) -> list[JobSpec]:
    return [aiomig.JobSpec(f"echo {number}", **fields) for number in range(count)]  # type: ignore[arg-type]


def files(grid: FakeGrid) -> list[str]:
    found = (path.relative_to(grid.home).as_posix() for path in grid.home.rglob("*") if path.is_file())
    return sorted(found)


LOST: list[tuple[Kind, When]] = [
    ("drop", "after"),
    ("error", "after"),
    ("unavailable", "after"),
    ("crash", "after"),
    ("html", "after"),
    ("truncate", "after"),
]
UNDONE: list[tuple[Kind, type[Exception]]] = [
    ("drop", SubmitUnknown),
    ("html", SubmitUnknown),
    ("error", ServerError),
    ("unavailable", ServerError),
    ("crash", ServerError),
]


# -- one


@pytest.mark.parametrize("project", [None, "mine"])
@pytest.mark.parametrize(("kind", "when"), LOST)
async def test_a_job_whose_answer_was_lost_is_found(
    grid: FakeGrid, mig: Session, kind: Kind, when: When, project: str | None
) -> None:
    await mig.submit("echo another", project=project)
    grid.faults.add("submitfields", kind, when=when)
    job = await mig.submit("echo hello", project=project)
    assert [each.commands for each in grid.jobs] == [("echo another",), ("echo hello",)]
    assert job.id == grid.jobs[1].id
    assert grid.count("submitfields") == 2


@pytest.mark.parametrize(("kind", "error"), UNDONE)
async def test_a_job_that_was_not_made_is_not_sent_again(
    grid: FakeGrid, mig: Session, kind: Kind, error: type[Exception]
) -> None:
    grid.faults.add("submitfields", kind, when="before")
    began = anyio.current_time()
    with pytest.raises(error):
        await mig.submit("echo hello", inputs=[(b"data", "in.txt")])
    assert anyio.current_time() - began == pytest.approx(7.7)
    assert grid.jobs == []
    assert grid.count("submitfields") == 1
    # If the job may still exist, it may need its inputs.
    assert bool(files(grid)) == (error is SubmitUnknown)


async def test_what_is_unknown_can_be_looked_for_later(grid: FakeGrid, mig: Session) -> None:
    grid.faults.add("submitfields", "drop", when="after")
    grid.faults.add("jobstatus", "drop", times=None)
    with pytest.raises(SubmitUnknown) as caught:
        await mig.submit("echo hello")
    assert caught.value.marker in str(caught.value)
    assert "session.find_submitted(marker)" in str(caught.value)
    assert "broke: Server disconnected" in str(caught.value)
    grid.faults.clear()
    (job,) = await mig.find_submitted(caught.value.marker)
    assert job.id == grid.jobs[0].id
    assert await mig.find_submitted("0" * 24) == []


async def test_a_server_error_is_not_believed_where_nobody_can_look(grid: FakeGrid, mig: Session) -> None:
    grid.faults.add("submitfields", "error", when="after")
    grid.faults.add("jobstatus", "error", times=None)
    with pytest.raises(SubmitUnknown):
        await mig.submit("echo hello")


async def test_a_refused_token_is_renewed(grid: FakeGrid, mig: Session) -> None:
    await mig.submit("echo 1")
    grid.renew_tokens()
    await mig.submit("echo 2")
    assert len(grid.jobs) == 2
    assert grid.count("jobman") == 2


async def test_what_was_never_sent_is_not_looked_for(grid: FakeGrid, mig: Session) -> None:
    grid.faults.add("jobman", "drop", times=None)
    with pytest.raises(ConnectionFailed) as caught:
        await mig.submit("echo hello")
    assert caught.value.sent is False or grid.count("submitfields") == 0
    assert grid.count("submitfields") == 0
    assert grid.count("jobstatus") == 1


async def test_a_refusal_comes_at_once_in_the_words_of_the_server(grid: FakeGrid, mig: Session) -> None:
    with pytest.raises(SubmitRejected) as caught:
        await mig.submit("echo hello", resources=aiomig.Resources(architecture="ZX81"), inputs=[(b"x", "in.txt")])
    assert "ARCHITECTURE" in str(caught.value)
    assert caught.value.faults[0].field == "ARCHITECTURE"
    assert grid.count("jobstatus") == 1
    assert files(grid) == []


async def test_a_list_of_nothing_is_an_unknown_fate(
    grid: FakeGrid, mig: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_protocol_jobs, "submitted", lambda answer, operation: [])
    job = await mig.submit("echo hello")
    assert job.id == grid.jobs[0].id


# -- one, cancelled


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("project", [None, "mine"])
async def test_a_cancelled_submit_leaves_no_job(grid: FakeGrid, mig: Session, when: When, project: str | None) -> None:
    grid.faults.add("submitfields", "slow", seconds=3, when=when)
    with anyio.move_on_after(1) as scope:
        await mig.submit("echo hello", project=project, inputs=[(b"data", "in.txt")])
    assert scope.cancelled_caught
    assert [job.state for job in grid.jobs] == ["CANCELED"]
    assert grid.count("submitfields") == 1
    assert files(grid) == []


@pytest.mark.parametrize("when", ["before", "after"])
async def test_a_cancelled_submit_to_a_hanging_server_ends_and_leaves_no_job(
    grid: FakeGrid, mig: Session, when: When
) -> None:
    grid.faults.add("submitfields", "slow", seconds=200, when=when)
    began = anyio.current_time()
    with anyio.move_on_after(1) as scope:
        await mig.submit("echo hello")
    assert scope.cancelled_caught
    assert anyio.current_time() - began < 25
    assert [job.state for job in grid.jobs] == ["CANCELED"]


async def test_a_submit_cancelled_while_its_job_is_looked_for(grid: FakeGrid, mig: Session) -> None:
    grid.faults.add("submitfields", "drop", when="after")
    grid.faults.add("jobstatus", "drop", times=3)
    with anyio.move_on_after(0.3) as scope:
        await mig.submit("echo hello")
    assert scope.cancelled_caught
    assert [job.state for job in grid.jobs] == ["CANCELED"]
    assert grid.count("submitfields") == 1


async def test_a_submit_cancelled_before_it_is_sent_sends_nothing(grid: FakeGrid, mig: Session) -> None:
    grid.faults.add("jobman", "slow", seconds=5)
    with anyio.move_on_after(1) as scope:
        await mig.submit("echo hello")
    assert scope.cancelled_caught
    assert grid.jobs == []
    assert grid.count("submitfields") == 0
    assert grid.count("jobstatus") == 1


async def test_a_cancelled_submit_says_what_it_may_have_left(
    grid: FakeGrid, mig: Session, caplog: pytest.LogCaptureFixture
) -> None:
    grid.faults.add("submitfields", "drop", when="after")
    grid.faults.add("jobstatus", "drop", times=None)
    with anyio.move_on_after(1):
        await mig.submit("echo hello")
    (marker,) = grid.jobs[0].description.lines("PROJECT")
    warnings = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert any(marker in said and "may have made jobs" in said for said in warnings)


@pytest.mark.parametrize("moment", [0, 0.5, 1, 1.5, 2, 2.5, 3, 3.5])
async def test_a_submit_cancelled_at_any_moment_gives_a_job_or_none(
    grid: FakeGrid, mig: Session, moment: float
) -> None:
    for operation in ("jobman", "submitfields", "mkdir"):
        grid.faults.add(operation, "slow", seconds=0.5, when="before")
        grid.faults.add(operation, "slow", seconds=0.5, when="after")
    jobs = []
    with anyio.move_on_after(moment):
        jobs.append(await mig.submit("echo hello", inputs=[(b"data", "in.txt")]))
    assert [job.id for job in grid.jobs if job.state != "CANCELED"] == [job.id for job in jobs]
    assert bool(files(grid)) == bool(jobs)


# -- many


@pytest.mark.parametrize("limits", [RequestLimits(jobs_a_submit=10)])
async def test_many_in_few_requests(grid: FakeGrid, mig: Session) -> None:
    jobs = await mig.submit_many(specs(25))
    assert [grid.job(job.id).commands for job in jobs] == [(f"echo {number}",) for number in range(25)]
    assert grid.count("textarea") == 3
    assert grid.count("submitfields") == 0
    assert files(grid) == []


async def test_many_of_none_asks_nothing(grid: FakeGrid, mig: Session) -> None:
    before = len(grid.requests)
    assert await mig.submit_many([]) == []
    assert len(grid.requests) == before


@pytest.mark.parametrize("limits", [RequestLimits(jobs_a_submit=2)])
@pytest.mark.parametrize("project", [None, "mine"])
@pytest.mark.parametrize(("kind", "when"), LOST)
async def test_jobs_whose_answer_was_lost_are_found(
    grid: FakeGrid,
    mig: Session,
    kind: Kind,
    when: When,
    project: str | None,
) -> None:
    grid.faults.add("textarea", kind, when=when, skip=1)
    jobs = await mig.submit_many(specs(5, **({"project": project} if project else {})))
    assert [grid.job(job.id).commands for job in jobs] == [(f"echo {number}",) for number in range(5)]
    assert len(grid.jobs) == 5
    assert grid.count("textarea") == 3


@pytest.mark.parametrize("limits", [RequestLimits(jobs_a_submit=2)])
@pytest.mark.parametrize(("kind", "error"), UNDONE)
async def test_of_many_those_that_were_not_made_are_told(
    grid: FakeGrid, mig: Session, kind: Kind, error: type[Exception]
) -> None:
    grid.faults.add("textarea", kind, when="before", skip=1)
    with pytest.raises(SubmitErrors) as caught:
        await mig.submit_many(specs(6))
    assert sorted(caught.value.errors) == [2, 3]
    assert all(isinstance(each, error) for each in caught.value.errors.values())
    assert [grid.job(job.id).commands[0] for job in caught.value.jobs] == ["echo 0", "echo 1", "echo 4", "echo 5"]
    assert grid.count("textarea") == 3


@pytest.mark.parametrize("limits", [RequestLimits(jobs_a_submit=2)])
async def test_of_many_a_login_page_in_the_middle_loses_no_job(grid: FakeGrid, mig: Session) -> None:
    grid.faults.add("textarea", "login", when="before", skip=1)
    with pytest.raises(SubmitErrors) as caught:
        await mig.submit_many(specs(4))
    assert [type(each) for each in caught.value.errors.values()] == [aiomig.AuthenticationFailed] * 2
    assert len(caught.value.jobs) == len(grid.jobs) == 2


async def test_of_many_one_that_is_refused(grid: FakeGrid, mig: Session) -> None:
    bad = aiomig.JobSpec("echo bad", resources=aiomig.Resources(architecture="ZX81"))
    with pytest.raises(SubmitErrors) as caught:
        await mig.submit_many([*specs(2), bad])
    (refused,) = caught.value.errors.values()
    assert isinstance(refused, SubmitRejected)
    assert len(caught.value.jobs) == len(grid.jobs) == 2
    assert "1 of 3 jobs could not be submitted, 2 were" in str(caught.value)


@pytest.mark.parametrize("limits", [RequestLimits(jobs_a_submit=2)])
@pytest.mark.parametrize("when", ["before", "after"])
async def test_many_cancelled_leave_no_job(grid: FakeGrid, mig: Session, when: When) -> None:
    grid.faults.add("textarea", "slow", seconds=3, when=when, skip=1)
    with anyio.move_on_after(1) as scope:
        await mig.submit_many(specs(6))
    assert scope.cancelled_caught
    assert [job.state for job in grid.jobs] == ["CANCELED"] * 4
    assert grid.count("textarea") == 2
    assert files(grid) == []


async def test_a_site_without_jobs_says_so_at_once(tmp_path: Path) -> None:
    async with FakeGrid(tmp_path / "home", site=Site(jobs_enabled=False)) as grid, session(grid) as mig:
        began = anyio.current_time()
        with pytest.raises(ServerError, match="Job execution is not enabled on this system"):
            await mig.submit("echo hello")
        assert anyio.current_time() - began < 1


async def test_a_job_without_an_id_is_a_protocol_error(mig: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_protocol_jobs, "submitted", lambda answer, operation: [SubmitReply("x", None)])
    with pytest.raises(ProtocolError, match="neither a job nor an error"):
        await mig.submit("echo hello")
