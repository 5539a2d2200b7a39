"""Sessions with a journal of submits: whatever is lost, cancelled or killed, no job of the grid is forgotten."""

from __future__ import annotations

import asyncio
import signal
import sys
from typing import TYPE_CHECKING, Any

import anyio
import httpx
import pytest

import aiomig
from aiomig import JobSpec, LocalError, SubmitErrors, SubmitUnknown
from aiomig.testing import FakeGrid
from tests.cancel_points import cancelled_at, task_cancelled_at
from tests.clocks import anyio_backend
from tests.unit.grid.journals import files, full, opened, session
from tests.virtual import REAL_TIME

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from aiomig import Session
    from aiomig.testing import FaultTime as When

__all__ = ["anyio_backend"]


class Spying(httpx.AsyncBaseTransport):
    """Calls a function before and after each request reaches the server."""

    def __init__(self, grid: FakeGrid, act: Callable[[str, str], object]) -> None:
        self._inner = grid.transport()
        self._act = act

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        operation = request.url.path.rpartition("/")[2].removesuffix(".py")
        self._act(operation, "before")
        response = await self._inner.handle_async_request(request)
        self._act(operation, "after")
        return response


def project_of(kind: str | None) -> dict[str, Any]:
    return {"project": kind} if kind else {}


@pytest.mark.parametrize("project", [None, "mine"])
async def test_what_was_lost_is_reported_until_it_is_confirmed(tmp_path: Path, project: str | None) -> None:
    async with opened(tmp_path) as grid:
        async with session(grid, tmp_path / "journal") as mig:
            whens: tuple[When, ...] = ("before", "after")
            for when in whens:
                grid.faults.add("submitfields", "drop", when=when)
                grid.faults.add("jobstatus", "drop", times=None)
                with pytest.raises(SubmitUnknown):
                    await mig.submit("echo hello", name=f"fit-{when}", **project_of(project))
                grid.faults.clear()
            assert [bool(each.job_ids) for each in await mig.unconfirmed()] == [False, True]
        (made,) = grid.jobs
        async with session(grid, tmp_path / "journal", url="https://other.example.org") as other:
            assert await other.unconfirmed() == []
        async with session(grid, tmp_path / "journal") as mig:
            lost, found = await mig.unconfirmed()
            assert (lost.name, lost.job_ids) == ("fit-before", ())
            assert (found.name, found.job_ids) == ("fit-after", (made.id,))
            assert await mig.unconfirmed() == [lost, found]
        async with session(grid, tmp_path / "journal") as mig:
            mig.confirm(lost, "nobody knows me")
            (job,) = await mig.find_submitted(found.marker)
            assert job.id == made.id
            assert await mig.unconfirmed() == []
        assert files(tmp_path / "journal") == []


async def test_what_is_known_is_not_reported(tmp_path: Path) -> None:
    async with opened(tmp_path) as grid, session(grid, tmp_path / "journal") as mig:
        await mig.submit("echo 1")
        with pytest.raises(aiomig.SubmitRejected):
            await mig.submit("echo 2", resources=aiomig.Resources(architecture="ZX81"))
        grid.faults.add("submitfields", "login")
        with pytest.raises(aiomig.AuthenticationFailed):
            await mig.submit("echo 3")
        grid.faults.add("submitfields", "crash", when="before")
        with pytest.raises(aiomig.ServerError):
            await mig.submit("echo 4")
        grid.faults.add("submitfields", "crash", when="after")  # as for JOBTYPE interactive
        await mig.submit("echo 5", kind="interactive")
        grid.faults.add("textarea", "crash", when="after")
        await mig.submit_many(["echo 6", "echo 7"])
        assert await mig.unconfirmed() == []
        assert [job.commands[0] for job in grid.jobs] == ["echo 1", "echo 5", "echo 6", "echo 7"]


async def test_a_job_of_a_project_is_found_by_whoever_knows_its_marker_only(tmp_path: Path) -> None:
    async with opened(tmp_path) as grid, session(grid, None, descriptions_a_request=3) as mig:
        jobs = await mig.submit_many([JobSpec(f"echo {number}", project="mine") for number in range(8)])
        other = await mig.submit("echo other")
        for number in (0, 7):
            (line,) = grid.job(jobs[number].id).description.lines("ENVIRONMENT")
            marker = line.partition("=")[2]
            for given in (None, "mine"):
                assert [job.id for job in await mig.find_submitted(marker, project=given)] == [jobs[number].id]
            before = grid.count("mrslview")
            assert await mig.find_submitted(marker, project="") == []
            assert await mig.find_submitted(marker, project="theirs") == []
            assert grid.count("mrslview") == before
        (marker,) = grid.job(other.id).description.lines("PROJECT")
        before = grid.count("mrslview")
        assert [job.id for job in await mig.find_submitted(marker)] == [other.id]
        assert grid.count("mrslview") == before
        assert await mig.find_submitted("f" * 24) == []


async def test_a_job_that_vanishes_between_two_requests(tmp_path: Path) -> None:
    def forget(operation: str, when: str) -> None:
        if (operation, when) == ("mrslview", "before"):
            grid._jobs.records.pop(gone.id, None)

    async with opened(tmp_path) as grid, session(grid, None, Spying(grid, forget)) as mig:
        gone, job = await mig.submit_many([JobSpec(f"echo {number}", project="mine") for number in range(2)])
        marker = grid.job(job.id).description.lines("ENVIRONMENT")[0].partition("=")[2]
        assert [each.id for each in await mig.find_submitted(marker)] == [job.id]


async def test_a_journal_that_cannot_be_written_keeps_a_job_from_being_sent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with opened(tmp_path) as grid, session(grid, tmp_path / "journal") as mig:
        with monkeypatch.context() as patch:
            full(patch)
            with pytest.raises(LocalError, match="nothing was sent|cannot be used"):
                await mig.submit("echo 1")
            with pytest.raises(SubmitErrors):
                await mig.submit_many(["echo 2", "echo 3"])
        assert grid.jobs == []
        assert await mig.unconfirmed() == []


async def test_local_mode_has_no_doubts(tmp_path: Path) -> None:
    async with aiomig.local(tmp_path / "home") as mig:
        assert await mig.unconfirmed() == []
        mig.confirm("marker")
        assert await mig.find_submitted("marker", project="mine") == []


# -- cancelled at every moment


async def known_or_canceled(grid: FakeGrid, mig: Session, jobs: list[aiomig.Job] | None) -> None:
    """Each submitted job was returned, is canceled, or is reported."""
    returned = {job.id for job in jobs or ()}
    reported = {job_id for each in await mig.unconfirmed() for job_id in each.job_ids}
    for job in grid.jobs:
        assert job.id in returned | reported or job.state == "CANCELED", job.commands
    assert returned <= {job.id for job in grid.jobs if job.state != "CANCELED"}


def act(mig: Session, many: bool) -> Callable[[], Any]:
    async def one() -> list[aiomig.Job]:
        return [await mig.submit("echo hello", inputs=[(b"data", "in.txt")])]

    async def more() -> list[aiomig.Job]:
        inputs = [(b"data", "in.txt")]
        refused = JobSpec("echo 4", inputs=[(b"for nothing", "y")], vgrids=["Elsewhere"])
        own = JobSpec("echo 2", inputs=[(b"own", "x")])
        try:
            return await mig.submit_many([JobSpec("echo 1", inputs=inputs), refused, own, JobSpec("echo 3")])
        except SubmitErrors as error:
            return list(error.jobs)

    return more if many else one


@pytest.mark.parametrize("cancel", [cancelled_at, task_cancelled_at], ids=["scope", "task"])
@pytest.mark.parametrize("lost", [False, True], ids=["answered", "lost"])
@pytest.mark.parametrize("many", [False, True], ids=["one", "many"])
async def test_a_submit_that_is_cancelled_wherever_it_waits(
    tmp_path: Path, cancel: Any, lost: bool, many: bool
) -> None:
    number, reached = 0, True
    async with opened(tmp_path) as grid:
        while reached:
            grid.faults.clear()
            if lost:
                grid.faults.add("textarea" if many else "submitfields", "drop", when="after")
            async with session(grid, tmp_path / "journal", jobs_a_submit=2) as mig:
                reached, jobs = await cancel(number, act(mig, many))
                await known_or_canceled(grid, mig, jobs)
                unknown = await mig.unconfirmed()  # only refused descriptions whose response was lost
                assert [each.job_ids for each in unknown] in ([], [()])
                mig.confirm(*unknown)
                await mig.cancel([job.id for job in grid.jobs])
            number += 1
        assert number > 5
        assert files(tmp_path / "journal") == []


@pytest.mark.parametrize("cancel", [cancelled_at, task_cancelled_at], ids=["scope", "task"])
async def test_a_resubmit_that_is_cancelled_wherever_it_waits(tmp_path: Path, cancel: Any) -> None:
    number, returned, reached = 0, 0, True
    async with opened(tmp_path) as grid, session(grid, None) as mig:
        first = await mig.submit("echo hello", inputs=[(b"data", "in.txt")])
        while reached:
            reached, job = await cancel(number, first.resubmit)
            await known_or_canceled(grid, mig, [first, job] if job is not None else [first])
            await mig.cancel([each.id for each in grid.jobs if each.id != first.id])
            number, returned = number + 1, returned + (job is not None)
        assert number > 5
        assert len([path for path in files(grid.home) if path.name == "in.txt"]) == 1 + returned


@pytest.mark.parametrize("many", [False, True], ids=["one", "many"])
async def test_a_submit_that_is_cancelled_at_each_request(tmp_path: Path, many: bool) -> None:
    left, scope = 0, anyio.CancelScope()

    def count(operation: str, when: str) -> None:
        nonlocal left
        left -= 1
        if left == -1:
            scope.cancel()

    number, reached = 0, True
    async with opened(tmp_path) as grid:
        while reached:
            async with session(grid, tmp_path / "journal", Spying(grid, count)) as mig:
                left, scope, jobs = number, anyio.CancelScope(), None
                with scope:
                    jobs = await act(mig, many)()
                reached = left < 0
                await known_or_canceled(grid, mig, jobs)
                unknown = await mig.unconfirmed()  # only refused descriptions whose response was lost
                assert [each.job_ids for each in unknown] in ([], [()])
                mig.confirm(*unknown)
                await mig.cancel([job.id for job in grid.jobs])
            number += 1
        assert number > 10
        assert files(tmp_path / "journal") == []


@REAL_TIME
@pytest.mark.parametrize("cancel", [cancelled_at, task_cancelled_at], ids=["scope", "task"])
@pytest.mark.parametrize("many", [False, True], ids=["one", "many"])
async def test_a_local_submit_that_is_cancelled_wherever_it_waits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cancel: Any, many: bool
) -> None:
    monkeypatch.setattr("aiomig._local.backend._SUBMIT_CHUNK", 2)
    number, reached = 0, True
    async with aiomig.local(tmp_path / "home", slots=1, on_exit="cancel") as mig:
        await mig.submit("sleep 1000")  # nothing else runs
        while reached:
            reached, jobs = await cancel(number, act(mig, many))
            returned = {job.id for job in jobs or ()}
            alive = {
                status.job_id for status in (await mig.statuses(await mig.jobs())).values() if not status.state.is_final
            }
            assert alive - returned == {(await mig.jobs())[-1].id}
            if returned:
                await mig.cancel(list(returned))
            number += 1
        assert number > 2


async def alive_and_known(grid: FakeGrid, mig: Session) -> tuple[set[str], set[str]]:
    """The ids of the jobs that have not ended, and of those that `unconfirmed` lists."""
    alive = {job.id for job in grid.jobs if not job.is_final}
    return alive, {job_id for entry in await mig.unconfirmed() for job_id in entry.job_ids}


@pytest.mark.parametrize("many", [False, True], ids=["one", "many"])
async def test_a_cancelled_submit_whose_job_cannot_be_canceled_is_remembered(tmp_path: Path, many: bool) -> None:
    async with opened(tmp_path) as grid:
        async with session(grid, tmp_path / "journal") as mig:
            grid.faults.add("textarea" if many else "submitfields", "slow", seconds=2)
            grid.faults.add("jobaction", "error", times=None)
            with anyio.move_on_after(1):
                await act(mig, many)()
            grid.faults.clear()
            alive, known = await alive_and_known(grid, mig)
            assert alive == known != set()
        async with session(grid, tmp_path / "journal") as mig:
            assert await alive_and_known(grid, mig) == (alive, alive)
            await mig.cancel(list(alive))
            assert await alive_and_known(grid, mig) == (set(), set())
        assert files(tmp_path / "journal") == []


@pytest.mark.parametrize("scoped", [False, True], ids=["submit", "scope"])
@pytest.mark.parametrize("times", [1, 2, 3])
async def test_nothing_is_forgotten_however_often_a_task_is_cancelled(
    tmp_path: Path, scoped: bool, times: int, anyio_backend_name: str
) -> None:
    async def block(mig: Session) -> None:
        if not scoped:
            await mig.submit("true")
            return
        async with mig.scope() as scope:
            await scope.submit("true")
            await anyio.sleep_forever()

    async with opened(tmp_path) as grid, session(grid, tmp_path / "journal") as mig:
        grid.faults.add("submitfields", "slow", seconds=0 if scoped else 4)
        grid.faults.add("jobaction", "slow", seconds=3)
        if anyio_backend_name == "asyncio":
            task = asyncio.ensure_future(block(mig))
            for _ in range(times):
                await anyio.sleep(2)
                task.cancel()
            await asyncio.wait([task])
        else:
            with anyio.move_on_after(2):
                await block(mig)
        assert len(grid.jobs) == 1
        alive, known = await alive_and_known(grid, mig)
        assert alive <= known


async def test_a_job_of_a_scope_that_cannot_be_canceled_is_remembered(tmp_path: Path) -> None:
    async with opened(tmp_path) as grid:
        async with session(grid, tmp_path / "journal") as mig:
            grid.faults.add("jobaction", "error", times=None)
            with anyio.move_on_after(1):
                async with mig.scope() as scope:
                    job = await scope.submit("true", name="fit", project="mine")
                    await anyio.sleep_forever()
            (entry,) = await mig.unconfirmed()
            assert (entry.name, entry.project, entry.job_ids) == ("fit", "mine", (job.id,))
        grid.faults.clear()
        async with session(grid, tmp_path / "journal") as mig:
            assert [each.job_ids for each in await mig.unconfirmed()] == [(job.id,)]
            assert [found.id for found in await mig.find_submitted(entry.marker)] == [job.id]
            assert await mig.unconfirmed() == []


# -- killed

KILLED = """
import sys, anyio, aiomig
url, certificate, key, ca = sys.argv[1:]
async def main():
    async with aiomig.grid(url=url, certificate=certificate, key=key, ca=ca) as mig:
        await mig.submit("echo hello", name="fit-7", project="mine")
        print("never said", flush=True)
anyio.run(main)
"""


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_the_job_of_a_program_that_was_killed_is_known_to_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    made = anyio.Event()
    async with FakeGrid(tmp_path / "home") as grid, grid.serve() as address:
        grid.script(lambda job: made.set())
        grid.faults.add("submitfields", "slow", when="after", seconds=600)
        paths = (address.url, str(address.certificate), str(address.key), str(address.ca))
        with anyio.fail_after(60):
            async with await anyio.open_process([sys.executable, "-c", KILLED, *paths], stderr=None) as process:
                await made.wait()
                process.send_signal(signal.SIGKILL)
                assert await process.wait() == -signal.SIGKILL
            assert len(files(tmp_path / "state" / "aiomig" / "submits")) == 1
            url, certificate, key, ca = paths
            async with aiomig.grid(url=url, certificate=certificate, key=key, ca=ca) as mig:
                (lost,) = await mig.unconfirmed()
                assert (lost.name, lost.project) == ("fit-7", "mine")
                assert lost.job_ids == tuple(job.id for job in grid.jobs)
                assert len(grid.jobs) == 1
                mig.confirm(lost)
        assert files(tmp_path / "state") == []


KILLED_MANY = """
import sys, anyio, aiomig
url, certificate, key, ca = sys.argv[1:]
async def main():
    limits = aiomig.RequestLimits(jobs_a_submit=5)
    async with aiomig.grid(url=url, certificate=certificate, key=key, ca=ca, request_limits=limits) as mig:
        await mig.submit_many(["true"] * 20)
anyio.run(main)
"""


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_no_job_of_a_bulk_submit_is_forgotten_before_the_caller_has_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    made = anyio.Event()
    async with FakeGrid(tmp_path / "home") as grid, grid.serve() as address:
        grid.script(lambda job: made.set() if len(grid.jobs) == 15 else None)
        grid.faults.add("textarea", "slow", when="after", seconds=600, skip=2)
        paths = (address.url, str(address.certificate), str(address.key), str(address.ca))
        with anyio.fail_after(60):
            async with await anyio.open_process([sys.executable, "-c", KILLED_MANY, *paths], stderr=None) as process:
                await made.wait()
                process.send_signal(signal.SIGKILL)
                await process.wait()
            url, certificate, key, ca = paths
            async with aiomig.grid(url=url, certificate=certificate, key=key, ca=ca) as mig:
                lost = await mig.unconfirmed()
                assert {job_id for entry in lost for job_id in entry.job_ids} == {job.id for job in grid.jobs}
                mig.confirm(*lost)
        assert files(tmp_path / "state") == []
