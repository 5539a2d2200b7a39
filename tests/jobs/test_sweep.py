"""Sweeps: any number of jobs with back pressure; leaving a sweep early leaves no job behind."""

from __future__ import annotations

import gc
from collections import Counter
from itertools import count
from typing import TYPE_CHECKING, Any

import anyio
import pytest

import aiomig
from aiomig import JobSpec, JobState
from aiomig.testing import Site
from tests.clocks import anyio_backend
from tests.virtual import REAL_TIME, left_in, session_on, tasks, world

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator
    from pathlib import Path

    from aiomig.testing import FakeGrid, GridJob

__all__ = ["anyio_backend"]


def number_of(job: GridJob) -> int:
    """The parameter of a job."""
    return int(job.commands[0].split()[-1])


def spec(number: int) -> JobSpec:
    return JobSpec(f"echo {number}")


def lasting(seconds: Callable[[int], float] = lambda number: 10.0) -> Callable[[GridJob], object]:
    """A script for jobs: print the number, and finish after so many seconds."""
    return lambda job: job.finish(stdout=f"{number_of(job)}\n", after=seconds(number_of(job)))


def alive(grid: FakeGrid) -> list[int]:
    return [number_of(job) for job in grid.jobs if not job.is_final]


async def test_each_parameter_gives_a_job() -> None:
    async with world() as (grid, session):
        grid.script(lambda job: job.finish(stdout="ok\n", after=10))
        seen = {}
        async for job in session.sweep(
            "echo $SEED $KIND", ({"SEED": n, "KIND": "a b"} for n in range(20)), in_flight=7
        ):
            assert isinstance(job.parameter, dict)
            seen[job.parameter["SEED"]] = (await job).stdout
        assert seen == dict.fromkeys(range(20), "ok\n")
        assert [job.description.lines("ENVIRONMENT") for job in grid.jobs] == [
            (f"SEED={n}", "KIND=$'a b'") for n in range(20)
        ]
        assert left_in(session) == 0


async def test_jobs_come_as_they_end_and_never_more_than_so_many_are_in_flight() -> None:
    most: list[int] = []

    def script(job: GridJob) -> None:
        lasting(lambda number: 100.0 if number % 10 == 0 else 5.0 + number % 3)(job)
        most.append(len(alive(grid)))

    async with world() as (grid, session):
        grid.script(script)
        seen = [job.parameter async for job in session.sweep(spec, range(100), in_flight=8)]
        assert sorted(seen) == list(range(100))
        assert seen.index(0) > 40
        assert max(most) == 8


async def test_in_the_order_of_submission() -> None:
    ahead: list[int] = []

    def script(job: GridJob) -> None:
        lasting(lambda number: 50.0 - number % 5 * 10)(job)
        ahead.append(number_of(job) - len(seen))

    seen: list[object] = []
    async with world() as (grid, session):
        grid.script(script)
        async for job in session.sweep(spec, range(40), in_flight=5, order="submission"):
            seen.append(job.parameter)
        assert seen == list(range(40))
        assert max(ahead) <= 5


async def test_a_slow_source_does_not_hold_back_results() -> None:
    async def slowly() -> AsyncIterator[int]:
        for number in range(4):
            yield number
            await anyio.sleep(1000)

    async with world() as (grid, session):
        grid.script(lasting())
        began = anyio.current_time()
        found = [(job.parameter, (anyio.current_time() - began) // 100) async for job in session.sweep(spec, slowly())]
        assert found == [(0, 0), (1, 10), (2, 20), (3, 30)]
        assert left_in(session) == 0


@pytest.mark.parametrize("retries", [0, 2])
async def test_a_parameter_that_comes_while_a_result_is_fetched_loses_no_job(retries: int) -> None:
    async def ticking() -> AsyncIterator[int]:
        for number in range(60):
            yield number
            await anyio.sleep(0.7)

    async with world() as (grid, session):
        grid.script(lasting())
        grid.faults.add("cert_redirect", "slow", seconds=1, times=None)
        sweep = session.sweep(spec, ticking(), in_flight=30, on_failure="raise", retries=retries)
        assert sorted([job.parameter async for job in sweep]) == list(range(60))


async def test_an_endless_source_is_left_by_break() -> None:
    taken: list[int] = []

    def endless() -> Iterator[int]:
        for number in count():
            taken.append(number)
            yield number

    async with world() as (grid, session):
        grid.script(lasting())
        before = tasks()
        seen = []
        async for job in session.sweep(spec, endless(), in_flight=5):
            seen.append(job.parameter)
            if len(seen) == 12:
                break
        await anyio.sleep(1)
        assert len(taken) <= 12 + 5 + 1
        assert alive(grid) == []
        assert Counter(job.state for job in grid.jobs)["FINISHED"] >= 12
        assert (tasks(), left_in(session)) == (before, 0)


async def leave_by_break(sweep: aiomig.Sweep) -> None:
    async for _ in sweep:
        break


async def leave_by_exception(sweep: aiomig.Sweep) -> None:
    with pytest.raises(ZeroDivisionError):
        async for _ in sweep:
            raise ZeroDivisionError


async def leave_by_aclose(sweep: aiomig.Sweep) -> None:
    await anext(sweep)
    await sweep.aclose()
    await sweep.aclose()
    with pytest.raises(StopAsyncIteration):
        await anext(sweep)


async def leave_by_context(sweep: aiomig.Sweep) -> None:
    with pytest.raises(ZeroDivisionError):
        async with sweep:
            async for _ in sweep:
                raise ZeroDivisionError


async def leave_by_cancellation(sweep: aiomig.Sweep) -> None:
    with anyio.move_on_after(35) as scope:
        async with sweep:
            async for _ in sweep:
                pass
    assert scope.cancelled_caught


async def leave_at_once(sweep: aiomig.Sweep) -> None:
    del sweep


WAYS = [leave_by_break, leave_by_exception, leave_by_aclose, leave_by_context, leave_by_cancellation, leave_at_once]


@pytest.mark.parametrize("leave", WAYS)
@pytest.mark.parametrize("kind", ["plain", "async", "waiting"])
async def test_leaving_early_cancels_what_is_in_flight(leave: Callable[[Any], Any], kind: str) -> None:
    closed: list[str] = []

    async def source() -> AsyncIterator[int]:
        try:
            for number in count():
                yield number
                if number == 20 and kind == "waiting":
                    await anyio.sleep_forever()
        finally:
            closed.append("closed")

    async with world() as (grid, session):
        grid.script(lasting())
        before = tasks()
        await leave(session.sweep(spec, count() if kind == "plain" else source(), in_flight=7))
        gc.collect()
        await anyio.sleep(1)
        assert alive(grid) == []
        assert (tasks(), left_in(session)) == (before, 0)
        if kind != "plain" and leave is not leave_at_once:
            assert closed == ["closed"]
        grid.requests.clear()
        await anyio.sleep(1000)
        assert grid.counts == {}


@pytest.mark.parametrize("kind", ["plain", "async"])
async def test_the_users_own_error_comes_out_as_it_is_and_cancels(kind: str) -> None:
    cause = KeyError("cause")

    def plain() -> Iterator[int]:
        yield from range(10)
        raise ValueError("mine") from cause

    async def asynchronous() -> AsyncIterator[int]:
        for number in plain():
            yield number

    async with world() as (grid, session):
        grid.script(lasting(lambda number: 1000.0 * number + 5))
        sweep = session.sweep(spec, plain() if kind == "plain" else asynchronous(), in_flight=20)
        with pytest.raises(ValueError, match="mine") as caught:
            async for _ in sweep:
                pass
        assert caught.value.__cause__ is cause
        assert alive(grid) == []
        assert await anext(sweep, None) is None


async def test_an_error_of_the_template_comes_out_as_it_is() -> None:
    def template(number: int) -> JobSpec:
        return spec(10 // (5 - number))

    async with world() as (grid, session):
        grid.script(lasting())
        with pytest.raises(ZeroDivisionError):
            async for _ in session.sweep(template, range(10), in_flight=2):
                pass
        assert alive(grid) == []


def failing(*numbers: int) -> Callable[[GridJob], object]:
    def script(job: GridJob) -> object:
        return job.finish(status=[1 if number_of(job) in numbers else 0], after=5 + number_of(job))

    return script


async def test_failures_are_collected() -> None:
    async with world() as (grid, session):
        grid.script(failing(3, 4))
        codes = {}
        async for job in session.sweep(spec, range(10), in_flight=4, on_failure="collect"):
            codes[job.parameter] = (await job.result(check=False)).exit_code
        assert codes == {number: int(number in (3, 4)) for number in range(10)}


async def test_a_failure_is_raised_and_the_rest_canceled() -> None:
    async with world() as (grid, session):
        grid.script(failing(3))
        seen = []
        with pytest.raises(aiomig.CommandFailed) as caught:
            async for job in session.sweep(spec, range(100), in_flight=4, on_failure="raise"):
                seen.append(job.parameter)
        assert caught.value.exit_code == 1
        assert set(seen) <= {0, 1, 2}
        assert alive(grid) == []
        assert len(grid.jobs) < 10


@pytest.mark.parametrize("order", ["completion", "submission"])
async def test_a_failed_job_is_submitted_again(order: Any) -> None:
    tries: Counter[int] = Counter()

    def script(job: GridJob) -> None:
        number = number_of(job)
        tries[number] += 1
        if number % 3 == 0 and tries[number] < 3:
            job.fail("RESOURCE DIED", after=5)
        else:
            job.finish(after=5)

    async with world() as (grid, session):
        grid.script(script)
        sweep = session.sweep(spec, range(12), in_flight=4, retries=2, on_failure="raise", order=order)
        seen = [(job.parameter, (await job.result()).ok) async for job in sweep]
        assert sorted(seen) == [(number, True) for number in range(12)]
        assert tries == {number: 3 if number % 3 == 0 else 1 for number in range(12)}
        if order == "submission":
            assert seen == sorted(seen)


async def test_a_job_that_fails_too_often_counts_as_failed() -> None:
    async with world() as (grid, session):
        grid.script(lambda job: job.fail("RESOURCE DIED", after=5))
        (job,) = [job async for job in session.sweep(spec, [7], retries=2)]
        assert (await job.status()).state == "FAILED"
        with pytest.raises(aiomig.JobFailed):
            await anext(session.sweep(spec, [8], retries=1, on_failure="raise"))
        assert [number_of(job) for job in grid.jobs] == [7, 7, 7, 8, 8]


def partly_refused(number: int) -> JobSpec:
    return JobSpec(f"echo {number}", runtime_environments=["NOWHERE-1"] if number % 4 == 1 else [])


def partly_wrong(number: int) -> JobSpec:
    return JobSpec("" if number % 4 == 1 else f"echo {number}")


@pytest.mark.parametrize("template", [partly_refused, partly_wrong])
@pytest.mark.parametrize("order", ["completion", "submission"])
async def test_what_could_not_be_submitted_is_collected(template: Any, order: Any) -> None:
    async with world() as (grid, session):
        grid.script(lasting())
        sweep = session.sweep(template, range(12), in_flight=3, order=order)
        assert [job.parameter async for job in sweep] == [number for number in range(12) if number % 4 != 1]
        assert [parameter for parameter, _ in sweep.errors] == [1, 5, 9]
        assert all(isinstance(error, aiomig.SubmitRejected | aiomig.SpecError) for _, error in sweep.errors)


@pytest.mark.parametrize("template", [partly_refused, partly_wrong])
async def test_what_could_not_be_submitted_is_raised(template: Any) -> None:
    async with world() as (grid, session):
        grid.script(lasting())
        with pytest.raises(aiomig.SubmitRejected if template is partly_refused else aiomig.SpecError):
            async for _ in session.sweep(template, range(12), in_flight=3, on_failure="raise"):
                pass
        assert alive(grid) == []


async def test_nothing_but_wrong_descriptions_can_be_cancelled() -> None:
    async with world() as (_, session):
        sweep = session.sweep(lambda number: "", count(), in_flight=3)
        with anyio.CancelScope() as scope:
            scope.cancel()
            await anext(sweep)
        assert scope.cancelled_caught


@pytest.mark.parametrize("order", ["completion", "submission"])
@pytest.mark.parametrize("slow", ["textarea", "jobstatus", "cert_redirect"])
async def test_a_wait_that_is_cancelled_and_repeated_loses_nothing(order: Any, slow: str) -> None:
    async with world() as (grid, session):
        grid.script(lasting())
        grid.faults.add(slow, "slow", seconds=2, times=None)
        sweep = session.sweep(spec, range(12), in_flight=4, order=order, on_failure="raise")
        seen: list[Any] = []
        pause = 0.7
        while True:
            with anyio.move_on_after(pause) as scope:
                job = await anext(sweep, None)
            pause = 0.7 if pause > 30 else pause * 2
            if scope.cancelled_caught:
                continue
            if job is None:
                break
            seen.append(job.parameter)
        assert sorted(seen) == list(range(12))
        done = Counter(number_of(job) for job in grid.jobs if job.state == "FINISHED")
        assert done == dict.fromkeys(range(12), 1)
        assert {job.state for job in grid.jobs} <= {"FINISHED", "CANCELED"}


async def test_what_the_jobs_share_is_carried_once() -> None:
    def template(number: int) -> JobSpec:
        return JobSpec(f"echo {number}", inputs=[(b"shared", "data")])

    async with world() as (grid, session):
        grid.script(lasting(lambda number: 3.0 * number + 1))
        assert len([job async for job in session.sweep(template, range(20), in_flight=3)]) == 20
        assert grid.count("uploadchunked") == 1


async def test_an_outage_ends_a_sweep_and_cancels_what_can_be_cancelled() -> None:
    async with world(failures=2) as (grid, session):
        grid.script(lasting(lambda number: 500.0))
        sweep = session.sweep(spec, range(3))
        with anyio.move_on_after(30):
            await anext(sweep)
        grid.faults.add("jobstatus", "error", times=None)
        with pytest.raises(aiomig.GridError):
            await anext(sweep)
        assert [job.state for job in grid.jobs] == ["CANCELED"] * 3


async def test_memory_does_not_grow_with_the_number_of_parameters() -> None:
    def objects() -> Counter[str]:
        gc.collect()
        kinds = Counter(type(each) for each in gc.get_objects())
        ours = {kind: kinds[kind] for kind in kinds if str(kind.__module__).startswith("aiomig.")}
        return Counter({kind.__name__: number for kind, number in ours.items()})

    counted = []
    async with world(Site(expire_after=0), remembered=50) as (grid, session):
        grid.script(lambda job: job.fail(after=10))
        done = 0
        async for _ in session.sweep(spec, range(1500), in_flight=150):
            done += 1
            if done % 300 == 150:
                # The server's own records of its jobs do not count.
                for job in grid.jobs:
                    if job.is_final:
                        job.forget()
                grid.requests.clear()
                counted.append(objects())
        assert done == 1500
        assert len(counted) == 5
        # Two objects of a kind for each job in flight, and the 50 jobs that are remembered.
        assert all(max(kinds.values()) <= 2 * 150 + 50 for kinds in counted), counted


@pytest.mark.parametrize(
    ("options", "field"),
    [
        ({"in_flight": 0}, "in_flight"),
        ({"in_flight": 1.5}, "in_flight"),
        ({"retries": -1}, "retries"),
        ({"retries": "1"}, "retries"),
        ({"order": "random"}, "order"),
        ({"on_failure": "ignore"}, "on_failure"),
        ({"journal": 7}, "journal"),
        ({"journal": ""}, "journal"),
    ],
)
async def test_wrong_options(options: Any, field: str) -> None:
    async with world() as (_, session):
        with pytest.raises(aiomig.SpecError) as caught:
            session.sweep(spec, range(3), **options)
        assert [fault.field for fault in caught.value.faults] == [field]


async def test_wrong_parameters() -> None:
    async with world() as (grid, session):
        with pytest.raises(aiomig.SpecError, match="cannot be iterated"):
            session.sweep(spec, 7)  # type: ignore[arg-type]
        with pytest.raises(aiomig.SpecError, match="names and values"):
            await anext(session.sweep("true", [1, 2], on_failure="raise"))
        assert [job async for job in session.sweep(spec, [])] == []
        assert grid.counts == {}


def missing_input(number: int) -> JobSpec:
    return JobSpec("true", inputs=["no-such-file"])


@pytest.mark.parametrize(
    ("template", "parameters"),
    [
        ("echo $X", ["a", "b"]),
        ("echo x", [{"learning-rate": 1}]),
        ("echo x", {"X": 1}),
        (missing_input, [1, 2]),
        (lambda number: "", [1]),
    ],
)
async def test_a_sweep_that_can_submit_nothing_raises(
    template: Any, parameters: Any, caplog: pytest.LogCaptureFixture
) -> None:
    async with world() as (grid, session):
        sweep = session.sweep(template, parameters)
        with pytest.raises(aiomig.SpecError) as caught:
            await anext(sweep)
        assert caught.value is sweep.errors[0][1]
        assert len(sweep.errors) == len(parameters)
        assert caught.value.__notes__ == [f"none of the {len(parameters)} parameters of the sweep could be submitted"]
        assert "a parameter could not be submitted" in caplog.text
        assert await anext(sweep, None) is None
        assert grid.jobs == []


async def test_what_the_grid_refuses_altogether_is_raised() -> None:
    async with world() as (_, session):
        with pytest.raises(aiomig.SubmitRejected):
            await anext(session.sweep(partly_refused, [1, 5, 9]))


async def test_numbers_for_a_progress_bar() -> None:
    async with world() as (grid, session):
        grid.script(failing(3))
        sweep = session.sweep(spec, range(6), in_flight=2)
        seen = []
        async for job in sweep:
            await job.result(check=False)
            counts = sweep.counts
            assert counts.submitted == counts.running + counts.done
            assert counts.running <= 2
            seen.append((counts.failed, counts.earlier))
        assert seen[0] == (0, 0)
        assert seen[-1] == (1, 0)
        assert sweep.counts == aiomig.SweepCounts(submitted=6, running=0, done=6, failed=1, earlier=0)


async def test_the_function_of_the_module_and_two_sweeps_at_once() -> None:
    seen: list[Any] = []

    async def run(first: int) -> None:
        async for job in aiomig.sweep(spec, range(first, first + 30), in_flight=5):
            seen.append(job.parameter)

    async with world() as (grid, _):
        grid.script(lasting())
        async with anyio.create_task_group() as group:
            group.start_soon(run, 0)
            group.start_soon(run, 100)
        assert sorted(seen) == [*range(30), *range(100, 130)]


async def test_a_sweep_that_outlives_its_session_is_harmless() -> None:
    async with world() as (grid, session):
        grid.script(lasting(lambda number: 100.0 * number + 5))
        async with session_on(grid) as other:
            sweep = other.sweep(spec, range(10), in_flight=3)
            await anext(sweep)
        del sweep
        gc.collect()
        assert alive(grid) != []
        assert session.is_open


# -- local mode


@REAL_TIME
@pytest.mark.parametrize("order", ["completion", "submission"])
async def test_local_sweep(tmp_path: Path, order: Any) -> None:
    async with aiomig.local(tmp_path / "home", slots=2) as session:
        before = tasks()
        most, seen = 0, []
        async for job in session.sweep(
            "echo $N; (exit $((N % 2)))", ({"N": n} for n in range(30)), in_flight=5, order=order
        ):
            states = await session.statuses(await session.jobs())
            most = max(most, sum(not status.state.is_final for status in states.values()))
            assert isinstance(job.parameter, dict)
            result = await job.result(check=False)
            assert (result.stdout, result.exit_code) == (f"{job.parameter['N']}\n", job.parameter["N"] % 2)
            seen.append(job.parameter["N"])
        assert sorted(seen) == list(range(30))
        assert order == "completion" or seen == sorted(seen)
        assert most <= 5
        assert (tasks(), left_in(session)) == (before, 0)


@REAL_TIME
@pytest.mark.parametrize("leave", [leave_by_break, leave_by_exception, leave_by_aclose, leave_by_context])
async def test_local_leaving_early_cancels_what_is_in_flight(tmp_path: Path, leave: Any) -> None:
    async def source() -> AsyncIterator[str]:
        yield "true"
        for _ in count():
            yield "sleep 1000"

    async with aiomig.local(tmp_path / "home", slots=2) as session:
        await leave(session.sweep(lambda command: command, source(), in_flight=4))
        gc.collect()
        jobs = await session.jobs()
        assert len(jobs) >= 1
        done, pending = await session.wait(jobs)
        assert pending == []
        states = Counter(status.state for status in (await session.statuses(done)).values())
        assert states[JobState.FINISHED] == 1
        assert states[JobState.CANCELED] == len(jobs) - 1
        assert left_in(session) == 0


@REAL_TIME
async def test_local_failure_and_retries(tmp_path: Path) -> None:
    async with aiomig.local(tmp_path / "home", slots=2) as session:
        folder = tmp_path / "tries"
        folder.mkdir()
        template = f"echo >>{folder}/$N; test $(wc -l <{folder}/$N) -ge 3"
        parameters = [{"N": n} for n in range(4)]
        sweep = session.sweep(template, parameters, retries=2, on_failure="raise")
        assert len([job async for job in sweep]) == 4
        assert [len((folder / str(n)).read_text()) for n in range(4)] == [3] * 4
        with pytest.raises(aiomig.CommandFailed):
            async for _ in session.sweep("(exit 3)", [{}], on_failure="raise"):
                pass
