"""The journal of submits: whatever happens to the program, no job of the grid is forgotten."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import stat
import sys
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio
import httpx
import pytest

import aiomig
from aiomig import JobSpec, LocalError, RequestLimits, SpecError, SubmitErrors, SubmitUnknown
from aiomig._grid import submit_journal as module
from aiomig._grid.submit_journal import SubmitJournal, folder_of
from aiomig._spec.mrsl import Description
from aiomig._spec.plan import Plan
from aiomig.testing import FakeGrid
from tests.cancel_points import cancelled_at, task_cancelled_at
from tests.clocks import anyio_backend
from tests.virtual import EPOCH, REAL_TIME

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable

    from aiomig import Session
    from aiomig.testing import FaultTime as When

__all__ = ["anyio_backend"]


def plan(marker: str, **keywords: str) -> Plan:
    return Plan(
        Description({"EXECUTE": ("true",), **{name: (value,) for name, value in keywords.items()}}), marker=marker
    )


def journal(
    folder: Path | None, owner: str = "me", *, required: bool = True, compact_at: int = 1 << 16
) -> SubmitJournal:
    opened = SubmitJournal(folder, lambda: owner, required=required, compact_at=compact_at)
    opened.open()
    return opened


def files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file() and not path.name.startswith("jobs.sqlite")]


def send(records: SubmitJournal, *markers: str, settled: Iterable[str] = ()) -> None:
    with records.sending([plan(marker) for marker in markers]):
        records.settle(settled)


def die(records: SubmitJournal) -> None:
    """What happens to the file if the program is killed."""
    assert records._log is not None
    records._log.close()
    records._log = None


def markers(records: SubmitJournal) -> list[str]:
    return [each.marker for each in records.unconfirmed()]


# -- the file


def test_what_is_sent_is_on_the_disk_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def sync(descriptor: int) -> None:
        if stat.S_ISREG(os.fstat(descriptor).st_mode):
            synced.append(os.pread(descriptor, 1 << 16, 0))
        else:
            folders.append(len(files(tmp_path)))

    synced: list[bytes] = []
    folders: list[int] = []
    monkeypatch.setattr(os, "fsync", sync)
    records = journal(tmp_path / "a" / "b")
    with records.sending([plan("m1", JOBNAME="fit-7", PROJECT="mine"), plan("m2")]):
        assert b'"m1"' in synced[0]
        assert b'"m2"' in synced[0]
        assert records.unconfirmed() == []  # the submit is in progress
    first, second = records.unconfirmed()
    assert (first.marker, first.name, first.project, first.job_ids) == ("m1", "fit-7", "mine", ())
    assert (second.marker, second.name, second.project) == ("m2", "", "")
    assert datetime.now(UTC) - first.sent_at < timedelta(minutes=1)
    assert (len(synced), folders) == (1, [1])
    (path,) = files(tmp_path)
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700
    records.close()


def test_a_session_that_leaves_nothing_in_doubt_leaves_no_file(tmp_path: Path) -> None:
    records = journal(tmp_path)
    assert files(tmp_path) == []
    send(records, "m1", "m2", settled=["m1", "m2"])
    assert len(files(tmp_path)) == 1
    assert records.unconfirmed() == []
    records.close()
    assert files(tmp_path) == []


def test_the_next_session_takes_over_what_the_dead_have_left(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for number in range(3):
        records = journal(tmp_path / str(number))
        send(records, f"m{number}", f"done{number}", settled=[f"done{number}"])
        die(records)
    (folder,) = {path.parent.name for path in files(tmp_path)}
    for number in (1, 2):
        for path in files(tmp_path / str(number)):
            path.rename(tmp_path / "0" / folder / path.name)
    caplog.clear()
    records = journal(tmp_path / "0")
    assert markers(records) == ["m0", "m1", "m2"]
    assert "3 submits of earlier sessions" in caplog.text
    assert len(files(tmp_path)) == 1
    records.settle(["m1"])
    send(records, "m3")
    records.close()
    again = journal(tmp_path / "0")
    assert markers(again) == ["m0", "m2", "m3"]
    again.settle(markers(again))
    again.close()
    assert files(tmp_path) == []


def test_sessions_that_live_keep_their_own(tmp_path: Path) -> None:
    first, second = journal(tmp_path), journal(tmp_path)
    send(first, "m1")
    send(second, "m2")
    third = journal(tmp_path)
    assert (markers(first), markers(second), markers(third)) == (["m1"], ["m2"], [])
    die(first)
    fourth = journal(tmp_path)
    assert markers(fourth) == ["m1"]
    for each in (second, third, fourth):
        each.close()


def test_each_grid_and_user_has_its_own(tmp_path: Path) -> None:
    mine = journal(tmp_path, "https://a /CN=me")
    send(mine, "m1")
    mine.close()
    assert markers(journal(tmp_path, "https://a /CN=you")) == []
    assert markers(journal(tmp_path, "https://a /CN=me")) == ["m1"]


def test_wherever_a_crash_cuts_the_file_off_what_is_whole_counts(tmp_path: Path) -> None:
    records = journal(tmp_path)
    send(records, "m1", "m2", settled=["m1"])
    records.made([("m2", "7_1")])
    send(records, "m3")
    (path,) = files(tmp_path)
    data = path.read_bytes()
    die(records)
    ends = [data.index(part) + len(part) for part in (b'"m1","at"', b'"m2","at"', b'"settled":"m1"', b'"made":"m2"')]
    ends = [data.index(b"\n", end) for end in ends]
    third = data.index(b"\n", data.index(b'"m3"'))
    for size in range(len(data) + 1):
        path.write_bytes(data[:size])
        records = journal(tmp_path)
        expected = ["m1"] * (ends[0] <= size < ends[2]) + ["m2"] * (ends[1] <= size) + ["m3"] * (third <= size)
        assert markers(records) == expected, size
        assert all(entry.job_ids == (("7_1",) if ends[3] <= size else ()) for entry in records.unconfirmed()[:1]), size
        if records._log is not None:
            die(records)
    # A line that was cut off does not spoil the next one.
    path.write_bytes(data[: data.index(b'"m3"') + 2])
    after = journal(tmp_path)
    assert markers(after) == ["m2"]
    send(after, "m4")
    die(after)
    last = journal(tmp_path)
    assert markers(last) == ["m2", "m4"]
    last.close()


ROW = '{"submit":"m1","at":1,"name":"","project":""}'


@pytest.mark.parametrize(
    "line",
    ["{}", '{"m":1}', '{"submit":"x","at":1e99,"name":"","project":""}', '{"submit":"x","at":"y"}', '{"made":"m1"}'],
)
def test_lines_that_mean_nothing_are_passed_over(line: str) -> None:
    first = aiomig.Unconfirmed("m1", "", "", datetime.fromtimestamp(1, UTC))
    assert module.read_rows(map(json.loads, [ROW, line])) == {"m1": first}


def test_files_of_older_versions_are_read() -> None:
    lines = [
        '{"m":"m1","t":1,"n":"fit","p":"mine"}',
        '{"m":"m2","t":2,"n":"","p":""}',
        '{"m":"m3","t":3,"n":"","p":""}',
        '{"m":"m2","id":"7_1"}',
        '{"m":"m3","x":1}',
    ]
    first = aiomig.Unconfirmed("m1", "fit", "mine", datetime.fromtimestamp(1, UTC))
    assert module.read_rows(map(json.loads, lines)) == {"m1": first}


def test_a_job_is_in_the_journal_until_it_is_confirmed_or_canceled(tmp_path: Path) -> None:
    records = journal(tmp_path)
    with records.sending([plan("m1"), plan("m2")]):
        records.made([("m1", "7_1"), ("m2", "8_1")])
    first, second = records.unconfirmed()
    assert (first.job_ids, second.job_ids) == (("7_1",), ("8_1",))
    assert records.settle(["m1"]) == [first]
    records.settle_jobs(["8_1", "9_1"])
    assert records.unconfirmed() == []
    records.reopen([first])
    records.reopen([first])
    die(records)
    records = journal(tmp_path)
    assert records.unconfirmed() == [first]
    records.settle_jobs(["7_1"])
    records.close()
    assert files(tmp_path) == []


def test_the_file_stays_small(tmp_path: Path) -> None:
    records = journal(tmp_path, compact_at=4096)
    send(records, "lost")
    for number in range(200):
        send(records, f"m{number}", settled=[f"m{number}"])
        assert sum(path.stat().st_size for path in files(tmp_path)) < 5000
    assert len(files(tmp_path)) == 1
    die(records)
    records = journal(tmp_path, compact_at=4096)
    assert markers(records) == ["lost"]
    records.settle(["lost"])
    for number in range(100):
        send(records, f"m{number}", settled=[f"m{number}"])
        assert sum(path.stat().st_size for path in files(tmp_path)) < 5000
    records.close()


def test_a_file_of_open_submits_is_not_rewritten_all_the_time(tmp_path: Path) -> None:
    records = journal(tmp_path, compact_at=1000)
    names = set()
    for number in range(1000):
        with records.sending([plan(f"m{number}")]):
            records.made([(f"m{number}", f"{number}_1")])
        names |= {path.name for path in files(tmp_path)}
    assert len(names) < 12
    records.settle(f"m{number}" for number in range(1000))
    records.close()


def full(monkeypatch: pytest.MonkeyPatch) -> None:
    def write(descriptor: int, data: bytes) -> int:
        if len(data) > 10:
            return really(descriptor, data[:10])
        raise OSError(28, "No space left on device")

    really = os.write
    monkeypatch.setattr(os, "write", write)


def test_a_full_disk_is_said_before_anything_is_sent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    records = journal(tmp_path)
    send(records, "m1")
    (path,) = files(tmp_path)
    before = path.read_bytes()
    with monkeypatch.context() as patch:
        full(patch)
        with (
            pytest.raises(LocalError, match=r"No space left on device; make room.*journal=False"),
            records.sending([plan("m2")]),
        ):
            pytest.fail("it may not be sent")
        assert path.read_bytes() == before
    assert markers(records) == ["m1"]
    records.close()


def test_an_id_is_not_lost_over_a_full_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    records = journal(tmp_path)
    with records.sending([plan("m1")]), monkeypatch.context() as patch:
        full(patch)
        records.settle(["m1"])
    assert "cannot be written" in caplog.text
    assert markers(records) == []
    records.close()


def test_a_folder_that_is_none(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    place = tmp_path / "file"
    place.write_text("")
    with pytest.raises(
        LocalError, match=r"journal of submits in .* cannot be used: Not a directory; make room, give another"
    ):
        journal(place)
    records = journal(place, required=False)
    assert "no journal of submits is kept" in caplog.text
    send(records, "m1")
    assert markers(records) == ["m1"]
    records.close()


@pytest.mark.parametrize("given", ["", 7, b"x", "a\0b", ["x"]])
def test_what_is_no_place_for_a_journal(given: Any) -> None:
    with pytest.raises(SpecError) as caught:
        folder_of(given)
    assert caught.value.faults[0].field == "journal"
    assert "False" in caught.value.faults[0].remedy


def test_where_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    assert folder_of(True) == (tmp_path / "aiomig" / "submits", False)
    assert folder_of(False) == folder_of(None) == (None, False)
    assert folder_of("~/x") == (Path("~/x").expanduser(), True)


# -- sessions


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


def session(
    grid: FakeGrid, folder: Path | None, transport: Any = None, url: str = "https://grid.example.org", **limits: Any
) -> Session:
    return aiomig.grid(
        url=url,
        certificate="none.pem",
        key="none.pem",
        transport=transport or grid.transport(),
        journal=folder,
        request_limits=RequestLimits(**limits),
    )


@asynccontextmanager
async def opened(tmp_path: Path) -> AsyncIterator[FakeGrid]:
    async with FakeGrid(tmp_path / "home", epoch=EPOCH) as grid:
        grid.hold()
        yield grid


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
