"""The journal of a sweep: the same call continues after a crash at any moment, without duplicates or losses."""

from __future__ import annotations

import hashlib
import json
import os
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest

import aiomig
from aiomig import JobSpec
from aiomig._core.journal import JsonLinesLog
from aiomig._jobs.sweep_journal import Entry, SweepJournal
from tests.clocks import anyio_backend
from tests.virtual import REAL_TIME, session_on, world

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from aiomig.testing import FakeGrid, GridJob

__all__ = ["anyio_backend"]

COUNT = 4


class PowerCut(BaseException):
    """Stands for a crash of the program."""


def number_of(job: GridJob) -> int:
    return int(job.commands[0].split()[-1])


def spec(number: int) -> JobSpec:
    return JobSpec(f"echo {number}")


def script(job: GridJob) -> object:
    return job.finish(stdout=f"{number_of(job)}\n", after=10 * (number_of(job) % 4 + 1))


def made(grid: FakeGrid) -> Counter[int]:
    """Return the number of jobs for each parameter, without canceled ones."""
    return Counter(number_of(job) for job in grid.jobs if job.state != "CANCELED")


async def collect(sweep: aiomig.Sweep) -> list[Any]:
    return [job.parameter async for job in sweep]


def cut_after(monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    """Let the program crash when it has written so many bytes of the journal."""
    left = size
    append = JsonLinesLog.append

    def limited(self: JsonLinesLog, rows: Any, *, sync: bool = False) -> None:
        nonlocal left
        before = self.size
        append(self, rows)
        left -= self.size - before
        if left < 0:
            os.truncate(self.path, self.size + left)
            left = 0
            raise PowerCut

    monkeypatch.setattr(JsonLinesLog, "append", limited)


def die(sweep: aiomig.Sweep) -> None:
    """Stop a sweep without any clean-up, as after a crash."""
    sweep._closed = True
    sweep._journal.close()


def cuts(text: str) -> list[int]:
    """Return positions before, in the middle of, just before the end of, and after every line."""
    found: set[int] = set()
    start = 0
    for line in text.splitlines(keepends=True):
        found |= {start, start + len(line) // 2, start + len(line) - 1}
        start += len(line)
    return sorted(found)


async def died_and_resumed(path: Path, size: int, options: Any) -> bool:
    """Run a sweep until its journal has so many bytes, run it again, and check both; return whether it crashed."""
    path.unlink(missing_ok=True)
    first: list[Any] = []
    async with world() as (grid, session):
        grid.script(script)
        sweep = None
        with pytest.MonkeyPatch.context() as patch:
            cut_after(patch, size)
            try:
                sweep = session.sweep(spec, range(COUNT), journal=path, **options)
                async for job in sweep:
                    first.append(job.parameter)
            except PowerCut:
                died = True
            else:
                died = False
        if sweep is not None and died:
            die(sweep)
        async with session_on(grid) as second:
            jobs = [job async for job in second.sweep(spec, range(COUNT), journal=path, **options)]
            seen = [job.parameter for job in jobs]
            assert [(await job).stdout for job in jobs] == [f"{number}\n" for number in seen]
            assert await collect(second.sweep(spec, range(COUNT), journal=path, **options)) == []
        assert made(grid) == dict.fromkeys(range(COUNT), 1)
        assert len(grid.jobs) == COUNT
        assert set(first) | set(seen) == set(range(COUNT))
        # The last job is yielded again, unless the next one was requested.
        assert set(first) & set(seen) <= set(first[-1:])
    return died


@pytest.mark.parametrize(("options", "step"), [({"in_flight": 3}, 1), ({"in_flight": 2, "order": "submission"}, 3)])
async def test_whenever_the_program_dies_nothing_is_doubled_or_lost(tmp_path: Path, options: Any, step: int) -> None:
    path = tmp_path / "journal"
    assert not await died_and_resumed(path, 1 << 20, options)
    places = cuts(path.read_text())
    assert len(places) > 3 * COUNT * 3
    for size in places[::step]:
        assert await died_and_resumed(path, size, options), size


async def test_a_program_that_dies_in_a_retry_doubles_nothing(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    options: dict[str, Any] = {"journal": path, "retries": 1, "in_flight": 2}
    tries: Counter[int] = Counter()

    def failing(job: GridJob) -> None:
        tries[number_of(job)] += 1
        if tries[number_of(job)] == 1:
            job.fail("RESOURCE DIED", after=5)
        else:
            job.finish(after=5)

    async def run(size: int) -> None:
        path.unlink(missing_ok=True)
        tries.clear()
        async with world() as (grid, session):
            grid.script(failing)
            with pytest.MonkeyPatch.context() as patch:
                cut_after(patch, size)
                sweep = None
                try:
                    sweep = session.sweep(spec, range(2), **options)
                    await collect(sweep)
                except PowerCut:
                    if sweep is not None:
                        die(sweep)
            async with session_on(grid) as second:
                await collect(second.sweep(spec, range(2), **options))
            assert tries == {0: 2, 1: 2}, (size, path.read_text())

    await run(1 << 20)
    for size in cuts(path.read_text()):
        await run(size)


async def test_what_ended_meanwhile_is_given_without_a_submit(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    async with world() as (grid, session):
        grid.hold()
        sweep = session.sweep(spec, range(5), journal=path)
        await sweep._fill()
        die(sweep)
        for number, job in enumerate(grid.jobs):
            job.finish(stdout=f"{number}\n")
        async with session_on(grid) as second:
            grid.requests.clear()
            jobs = [job async for job in second.sweep(spec, range(5), journal=path)]
            assert sorted([(job.parameter, (await job).stdout) for job in jobs]) == [(n, f"{n}\n") for n in range(5)]
            assert grid.count("textarea") == 0


async def test_more_parameters_can_be_given_later(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    async with world() as (grid, session):
        grid.script(script)
        assert sorted(await collect(session.sweep(spec, range(3), journal=path))) == [0, 1, 2]
        assert sorted(await collect(session.sweep(spec, range(5), journal=path))) == [3, 4]


async def test_an_asynchronous_source_is_taken_up_too(tmp_path: Path) -> None:
    async def source() -> AsyncIterator[int]:
        for number in range(COUNT):
            yield number

    path = tmp_path / "journal"
    async with world() as (grid, session):
        grid.script(script)
        seen = []
        async for job in session.sweep(spec, source(), journal=path, in_flight=2):
            seen.append(job.parameter)
            if len(seen) == 3:
                break
        again = await collect(session.sweep(spec, source(), journal=path, in_flight=2))
        assert sorted(seen[:2] + again) == list(range(COUNT))


async def test_what_was_canceled_with_a_sweep_is_made_anew_unless_it_had_ended(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    async with world() as (grid, session):
        grid.script(lambda job: job.finish(after=10 if number_of(job) < 2 else 1000))
        async with session.sweep(spec, range(4), journal=path) as sweep:
            first = [(await anext(sweep)).parameter]
        assert Counter(job.state for job in grid.jobs) == {"FINISHED": 2, "CANCELED": 2}
        second = await collect(session.sweep(spec, range(4), journal=path))
        assert sorted(second) == [0, 1, 2, 3]
        assert first[0] in (0, 1)
        assert made(grid) == dict.fromkeys(range(4), 1)
        assert len(grid.jobs) == 6


async def test_what_could_not_be_canceled_is_taken_up(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "journal"
    async with world() as (grid, session):
        grid.script(lambda job: job.finish(after=1000 if number_of(job) else 5))
        async with session.sweep(spec, range(4), journal=path) as sweep:
            await anext(sweep)
            grid.faults.add("jobaction", "error", times=None)
        assert "could not be canceled" in caplog.text
        grid.faults.clear()
        assert sorted(await collect(session.sweep(spec, range(4), journal=path))) == [0, 1, 2, 3]
        assert len(grid.jobs) == 4


async def test_a_failure_that_was_raised_is_tried_anew(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    async with world() as (grid, session):
        grid.script(lambda job: job.finish(status=[1], after=5))
        with pytest.raises(aiomig.CommandFailed):
            await collect(session.sweep(spec, range(1), journal=path, on_failure="raise"))
        grid.script(script)
        assert await collect(session.sweep(spec, range(1), journal=path, on_failure="raise")) == [0]
        assert len(grid.jobs) == 2


async def test_an_outage_leaves_what_is_in_flight_to_the_next_call(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    async with world(failures=2) as (grid, session):
        grid.script(lambda job: job.finish(after=500))
        grid.faults.add("jobstatus", "error", times=None)
        with pytest.raises(aiomig.GridError):
            await collect(session.sweep(spec, range(4), journal=path))
        grid.faults.clear()
        assert {job.state for job in grid.jobs} == {"QUEUED"}
        assert sorted(await collect(session.sweep(spec, range(4), journal=path))) == [0, 1, 2, 3]
        assert len(grid.jobs) == 4


@pytest.mark.parametrize("when", ["before", "after"])
async def test_a_submit_whose_fate_is_unknown_is_looked_for_again(tmp_path: Path, when: Any) -> None:
    path = tmp_path / "journal"
    async with world() as (grid, session):
        grid.script(script)
        grid.faults.add("textarea", "drop", when=when)
        grid.faults.add("jobstatus", "error", times=30)  # nor can aiomig look for it
        sweep = session.sweep(spec, range(3), journal=path)
        first = await collect(sweep)
        grid.faults.clear()
        assert first == []
        assert [type(error) for _, error in sweep.errors] == [aiomig.SubmitUnknown] * 3
        assert sorted(await collect(session.sweep(spec, range(3), journal=path))) == [0, 1, 2]
        assert made(grid) == dict.fromkeys(range(3), 1)


async def test_other_jobs_under_a_journal_are_submitted_and_those_of_before_left_alone(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def other(number: int) -> JobSpec:
        return spec(number if number < 2 else number + 100)

    path = tmp_path / "journal"
    async with world() as (grid, session):
        grid.script(lambda job: job.finish(after=50))
        sweep = session.sweep(spec, range(4), journal=path)
        await sweep._fill()
        die(sweep)
        assert sorted(await collect(session.sweep(other, range(4), journal=path))) == [0, 1, 2, 3]
        assert made(grid) == dict.fromkeys([0, 1, 2, 3, 102, 103], 1)
        assert "2 jobs of earlier runs" in caplog.text
        assert sorted(await collect(session.sweep(spec, range(4), journal=path))) == [2, 3]
        assert len(grid.jobs) == 6


@pytest.mark.parametrize(
    "content", ['{"some": "json"}\n', "a,b\n1,2\n", "{", '{"aiomig sweep":3}\n', '[1]\n{"i":0,"d":1}\n']
)
async def test_what_is_no_journal_is_refused_and_kept(tmp_path: Path, content: str) -> None:
    path = tmp_path / "results.csv"
    path.write_text(content)
    async with world() as (grid, session):
        if content == "{":  # the beginning of a first line, after a crash
            assert await collect(session.sweep(spec, [], journal=path)) == []
            return
        with pytest.raises(aiomig.SpecError) as caught:
            session.sweep(spec, range(3), journal=path)
        assert [(fault.field, fault.value) for fault in caught.value.faults] == [("journal", str(path))]
        assert path.read_text() == content
        assert grid.jobs == []


async def test_what_cannot_be_read_or_written_is_said(tmp_path: Path) -> None:
    binary = tmp_path / "binary"
    binary.write_bytes(b"\xff\xfe\x00")
    async with world() as (_, session):
        for path in (tmp_path, tmp_path / "none" / "journal"):
            with pytest.raises(aiomig.LocalError, match="journal"):
                session.sweep(spec, range(3), journal=path)
        with pytest.raises(aiomig.SpecError, match="not the journal of a sweep"):
            session.sweep(spec, range(3), journal=binary)


async def test_a_journal_that_cannot_be_written_any_more_cancels(tmp_path: Path) -> None:
    def full(self: JsonLinesLog, rows: Any, **options: Any) -> None:
        raise OSError("disk full")

    async with world() as (grid, session):
        grid.script(lambda job: job.finish(after=10 if number_of(job) == 0 else 1000))
        sweep = session.sweep(spec, range(4), journal=tmp_path / "journal")
        await anext(sweep)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(JsonLinesLog, "append", full)
            with pytest.raises(aiomig.LocalError, match="disk full"):
                await anext(sweep)
        assert Counter(job.state for job in grid.jobs) == {"FINISHED": 1, "CANCELED": 3}


async def test_two_sweeps_do_not_share_a_journal(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    async with world() as (grid, session):
        grid.script(script)
        first = session.sweep(spec, range(COUNT), journal=path)
        await anext(first)
        content = path.read_bytes()
        with pytest.raises(aiomig.LocalError, match=r"in use by another sweep.*give another file") as caught:
            session.sweep(spec, range(COUNT), journal=path)
        assert caught.value.path == str(path)
        assert path.read_bytes() == content
        await first.aclose()
        assert sorted(await collect(session.sweep(spec, range(COUNT), journal=path))) == list(range(COUNT))
    assert path.stat().st_mode & 0o777 == 0o600


def test_markers_are_on_the_disk_before_a_submit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[bytes] = []
    path = tmp_path / "journal"
    journal = SweepJournal(path)
    monkeypatch.setattr("os.fsync", lambda descriptor: synced.append(path.read_bytes()))
    journal.record_submits([("aa", "x", "")])
    assert b'"aa"' in synced[0]
    journal.record_ids([("aa", "7_1")])
    journal.record_state(["aa"], "done")
    journal.close()
    assert len(synced) == 1


def entries(path: Path) -> list[Entry]:
    journal = SweepJournal(path)
    journal.close()
    return [entry for some in journal._earlier.values() for entry in some]


def test_lines_that_say_nothing_are_skipped(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    rows = [
        {"marker": "aa", "job": "x"},
        {"marker": "aa", "id": "7_1"},
        {"marker": "bb", "id": "8_1"},
        {"marker": "cc", "state": "done"},
        {"marker": "aa", "state": "lost"},
        {"marker": 7, "job": "y"},
        {"marker": "dd", "job": "z", "replaces": "aa"},
        {"state": "done"},
        {"i": "0", "m": "ee"},
    ]
    lines = [json.dumps(row) for row in rows]
    path.write_text('{"aiomig sweep":2}\n' + "\n".join([*lines[:6], "{", "7", "null", "", '{"marker": "aa", "sta']))
    assert entries(path) == [Entry("aa", "x", "7_1")]
    journal = SweepJournal(path)
    journal.record_state(["aa"], "failed")
    journal.close()
    assert entries(path) == [Entry("aa", "x", "7_1", "failed")]
    path.write_text('{"aiomig sweep":2}\n' + "\n".join(lines))
    assert entries(path) == [Entry("dd", "z")]


# -- known by what was submitted


async def test_jobs_are_known_by_what_they_are_and_not_by_position(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    async with world() as (grid, session):
        grid.script(script)

        async def sweep(*parameters: int, command: str = "echo {}") -> list[int]:
            jobs = session.sweep(lambda number: command.format(number), parameters, journal=path)
            return sorted(await collect(jobs))

        assert await sweep(1, 2, 3) == [1, 2, 3]
        assert await sweep(1, 2, 3) == []
        assert await sweep(7, 8, 9) == [7, 8, 9]
        assert await sweep(3, 10, 7) == [10]
        assert await sweep(1, 2, 3, command="printf %s {}") == [1, 2, 3]
        assert await sweep(9, 9, 9) == [9, 9]
        assert await sweep(9, 9, 9) == []
        assert await sweep() == []


async def test_the_content_of_an_input_belongs_to_what_a_job_is(tmp_path: Path) -> None:
    path, data = tmp_path / "journal", tmp_path / "data.csv"
    data.write_text("1")

    def template(number: int) -> JobSpec:
        return JobSpec("echo 0", inputs=[data, (b"%d" % number, "number")])

    async with world() as (grid, session):
        grid.script(script)
        assert sorted(await collect(session.sweep(template, [1, 2], journal=path))) == [1, 2]
        assert await collect(session.sweep(template, [2, 3], journal=path)) == [3]
        data.write_text("2")  # corrected
        assert sorted(await collect(session.sweep(template, [1, 2], journal=path))) == [1, 2]
        data.write_text("1")
        assert await collect(session.sweep(template, [1, 2, 3], journal=path)) == []


async def test_failures_of_earlier_runs_count_and_can_be_run_again(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    broken = {0, 1}

    def failing(job: GridJob) -> None:
        if number_of(job) == 0 and 0 in broken:
            job.fail("RESOURCE DIED", after=5)
        else:
            job.finish(status=[int(number_of(job) in broken)], after=5)

    async with world() as (grid, session):
        grid.script(failing)
        first = session.sweep(spec, range(3), journal=path)
        assert sorted(await collect(first)) == [0, 1, 2]
        assert first.counts == aiomig.SweepCounts(submitted=3, running=0, done=3, failed=2, earlier=0)
        second = session.sweep(spec, range(3), journal=path)
        assert await collect(second) == []
        assert second.counts == aiomig.SweepCounts(submitted=0, running=0, done=0, failed=2, earlier=3)
        broken.remove(1)
        third = session.sweep(spec, range(3), journal=path, again="failed")
        assert sorted(await collect(third)) == [0, 1]
        assert third.counts == aiomig.SweepCounts(submitted=2, running=0, done=2, failed=1, earlier=1)
        broken.remove(0)
        assert await collect(session.sweep(spec, range(3), journal=path, on_failure="raise")) == [0]
        fourth = session.sweep(spec, range(3), journal=path, again="failed")
        assert await collect(fourth) == []
        assert fourth.counts == aiomig.SweepCounts(earlier=3)
        assert len(grid.jobs) == 6


async def test_jobs_of_the_journal_that_are_gone_are_submitted_anew(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "journal"
    async with world() as (grid, session):
        grid.script(lambda job: job.finish(after=1000))
        sweep = session.sweep(spec, range(3), journal=path)
        await sweep._fill()
        die(sweep)
    async with world() as (grid, session):  # another grid, which does not have the jobs
        grid.script(script)
        assert sorted(await collect(session.sweep(spec, range(3), journal=path))) == [0, 1, 2]
        assert caplog.text.count("no longer exists and is submitted again") == 3
        assert await collect(session.sweep(spec, range(3), journal=path)) == []


@pytest.mark.parametrize("order", ["completion", "submission"])
async def test_earlier_results_are_given_again(tmp_path: Path, order: Any) -> None:
    path = tmp_path / "journal"
    async with world() as (grid, session):
        grid.script(script)
        await collect(session.sweep(spec, range(3), journal=path))
        async with session_on(grid) as second:
            sweep = second.sweep(spec, [2, 1, 7, 0], journal=path, order=order, replay=True)
            results = {job.parameter: (await job).stdout async for job in sweep}
            assert results == {number: f"{number}\n" for number in (2, 1, 7, 0)}
            assert order == "completion" or list(results) == [2, 1, 7, 0]
            assert sweep.counts == aiomig.SweepCounts(submitted=1, done=1, earlier=3)
            again = await collect(second.sweep(spec, [2, 1, 7, 0], journal=path, replay=True))
            assert sorted(again) == [0, 1, 2, 7]
        assert len(grid.jobs) == 4


OLD = """{"aiomig sweep":1}
{"i":0,"m":"m0","h":"@0"}
{"i":1,"m":"m1","h":"@1"}
{"i":2,"m":"m2","h":"@2"}
{"i":0,"id":"#0"}
{"i":1,"id":"#1"}
{"i":2,"id":"#2"}
{"i":0,"d":1}
{"i":1,"x":1}
{"i":1,"m":"m3","h":"@1"}
{"i":2,"c":1}
"""


async def test_a_journal_of_version_1_is_continued(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    async with world() as (grid, session):
        jobs = await session.submit_many([spec(number) for number in range(3)])
        await session.cancel(jobs[2])
        text = OLD
        for number, job in enumerate(jobs):
            grid.job(job.id).finish(status=[int(number == 0)])
            digest = hashlib.sha256(spec(number).mrsl_text().encode()).hexdigest()[:16]
            text = text.replace(f"@{number}", digest).replace(f"#{number}", job.id)
        path.write_text(text)
        grid.script(script)
        assert sorted(await collect(session.sweep(spec, [2, 1, 0], journal=path))) == [1, 2]
        assert made(grid) == {0: 1, 1: 2, 2: 1}
        assert await collect(session.sweep(spec, [1, 0, 2], journal=path)) == []
        assert await collect(session.sweep(spec, [1, 0, 2], journal=path, again="failed")) == [0]
        assert await collect(session.sweep(spec, [1, 0, 2], journal=path, again="failed")) == []


# -- local mode


@REAL_TIME
async def test_local_the_next_program_goes_on(tmp_path: Path) -> None:
    path, marks = tmp_path / "journal", tmp_path / "marks"

    def template(number: int) -> JobSpec:
        return JobSpec([f"echo {number} >>{marks}", f"echo {number}"])

    for size in (30, 200, 450):
        path.unlink(missing_ok=True)
        marks.unlink(missing_ok=True)
        home = tmp_path / f"home-{size}"
        first: list[Any] = []
        async with aiomig.local(home, slots=2, on_exit="leave") as session:
            with pytest.MonkeyPatch.context() as patch:
                cut_after(patch, size)
                sweep = session.sweep(template, range(COUNT), journal=path, in_flight=2)
                with pytest.raises(PowerCut):
                    async for job in sweep:
                        first.append(job.parameter)
                die(sweep)
        async with aiomig.local(home, slots=2) as session:
            jobs = [job async for job in session.sweep(template, range(COUNT), journal=path, in_flight=2)]
            seen = [job.parameter for job in jobs]
            assert [(await job).stdout for job in jobs] == [f"{number}\n" for number in seen]
        assert set(first) | set(seen) == set(range(COUNT))
        assert sorted(marks.read_text().split()) == [str(number) for number in range(COUNT)]
