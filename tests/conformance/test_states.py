"""The states of a job, and what a user can do in each."""

from __future__ import annotations

from datetime import UTC
from typing import TYPE_CHECKING

import pytest

import aiomig
from aiomig import ActionRefused, JobCanceled, JobExpired, JobFailed, JobState, Resources

from .gates import until

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from .gates import Gate
    from .modes import Settings

    Submit = Callable[[str], Awaitable[aiomig.Job]]

CANCELED, EXECUTING, EXPIRED, FAILED = (
    JobState.CANCELED,
    JobState.EXECUTING,
    JobState.EXPIRED,
    JobState.FAILED,
)
FINISHED, FROZEN, QUEUED = JobState.FINISHED, JobState.FROZEN, JobState.QUEUED


async def test_a_job_is_queued_then_executing_then_finished(waiting: Submit, gate: Gate) -> None:
    job = await waiting("true")
    seen = []
    async for status in job:
        if status.state is QUEUED:
            gate.open(2)
        seen.append(status.state)
    assert seen in ([QUEUED, EXECUTING, FINISHED], [QUEUED, FINISHED])


async def test_a_job_goes_through_its_states(mig: aiomig.Session) -> None:
    job = await mig.submit("true")
    seen = [status.state async for status in job]
    assert seen == [state for state in (JobState.PARSE, QUEUED, EXECUTING, FINISHED) if state in seen]
    assert seen[-1] is FINISHED


async def test_waiting_for_a_state_returns_when_it_or_a_later_one_is_reached(mig: aiomig.Session, gate: Gate) -> None:
    job = await mig.submit(gate.command)
    for early in (JobState.PARSE, JobState.QUEUED):
        assert not (await job.wait(until=early)).state.is_final
    gate.open()
    assert (await job.wait(until=EXECUTING)).state in (EXECUTING, FINISHED)
    assert (await job.wait()).state is FINISHED
    for late in (JobState.QUEUED, EXECUTING, FINISHED, JobState.CANCELED):
        assert (await job.wait(until=late)).state is FINISHED
    with pytest.raises(ValueError, match="RUNNING"):
        await job.wait(until="RUNNING")  # type: ignore[arg-type]


@pytest.mark.job("true")
async def test_times_are_in_utc_and_in_order(job: aiomig.Job) -> None:
    status = await job.wait()
    assert status.received_at is not None
    assert status.queued_at is not None
    assert status.executing_at is not None
    assert status.finished_at is not None
    assert status.received_at <= status.queued_at <= status.executing_at <= status.finished_at
    assert status.received_at.tzinfo is UTC
    assert (status.failed_at, status.canceled_at, status.attempts) == (None, None, ())


async def test_only_ends_are_final() -> None:
    assert {state for state in JobState if state.is_final} == {FINISHED, FAILED, CANCELED, EXPIRED}


@pytest.mark.job(["echo before", "exit 3", "echo after"], retries=0)
async def test_a_failed_shell_fails_the_job(job: aiomig.Job) -> None:
    with pytest.raises(JobFailed) as caught:
        await job
    status = caught.value.status
    assert status is not None
    assert status.state is FAILED
    assert status.failed_at is not None
    assert [attempt.reason for attempt in status.attempts] == ["RESOURCE DIED"]
    assert caught.value.job_id == job.id


@pytest.mark.job("exit 3", retries=2)
async def test_a_failed_attempt_is_repeated(job: aiomig.Job) -> None:
    status = await job.wait()
    assert status.state is FAILED
    assert len(status.attempts) == 3
    for attempt in status.attempts:
        assert attempt.queued_at is not None
        assert attempt.executing_at is not None
        assert attempt.failed_at is not None
        assert attempt.queued_at <= attempt.executing_at <= attempt.failed_at


async def test_a_later_attempt_may_succeed(mig: aiomig.Session, settings: Settings) -> None:
    if not settings.here:
        pytest.skip("jobs run on another machine")
    marker = settings.folder / "marker"
    job = await mig.submit([f"[ -e '{marker}' ] || {{ touch '{marker}'; exit 1; }}", "echo ok"], retries=1)
    result = await job
    assert (result.stdout, len(result.status.attempts)) == ("ok\n", 1)


async def test_a_retry_is_seen_as_queued_again(mig: aiomig.Session, gate: Gate) -> None:
    job = await mig.submit([gate.command, "exit 1"], retries=1)
    await until(job, EXECUTING)
    first = (await job.status()).queued_at
    gate.open()
    async for status in job:
        if status.attempts:
            break
    assert status.queued_at is not None
    assert first is not None
    assert status.queued_at >= first
    gate.open()
    assert (await job.wait()).state is FAILED


async def test_too_much_wall_time_ends_an_attempt(local_settings: Settings, gate: Gate) -> None:
    async with local_settings.session(wall_time_grace=0) as mig:
        job = await mig.submit(gate.command, resources=Resources(wall_time=1))
        status = await job.wait()
    assert (status.state, [attempt.reason for attempt in status.attempts]) == (FAILED, ["JOB TIMEOUT"])


async def test_a_job_that_waits_too_long_expires(local_settings: Settings, gate: Gate) -> None:
    async with local_settings.session(slots=1, on_exit="leave") as mig:
        await mig.submit(gate.command)
        left = await mig.submit("true")
    async with local_settings.session(expire_after=1e-6) as mig:
        job = mig.job(left.id)
        assert (await job.wait()).state is EXPIRED
        with pytest.raises(JobExpired):
            await job
        gate.open()


@pytest.mark.parametrize("before", [QUEUED, FROZEN, EXECUTING])
async def test_cancel(mig: aiomig.Session, waiting: Submit, holding: str, before: JobState) -> None:
    if before is EXECUTING:
        job = await mig.submit(holding)
        await until(job, EXECUTING)
    else:
        job = await waiting("true")
        if before is FROZEN:
            await job.freeze()
    outcome = await job.cancel()
    assert (outcome.changed, outcome.before, outcome.after) == (True, before, CANCELED)
    status = await job.status()
    assert status.state is CANCELED
    assert status.canceled_at is not None
    with pytest.raises(JobCanceled):
        await job
    result = await job.result(check=False)
    assert (result.ok, result.exit_code) == (False, None)


async def test_a_canceled_job_leaves_no_results(mig: aiomig.Session, holding: str) -> None:
    job = await mig.submit(["echo x > x.txt", holding], outputs=["x.txt"])
    await until(job, EXECUTING)
    await job.cancel()
    await job.wait()
    assert not await mig.files.exists(f"job_output/{job.id}")
    assert await job.fetch(check=False) == []


@pytest.mark.parametrize("command", ["true", "exit 1"])
@pytest.mark.job.with_args(lambda command: command, retries=0)
async def test_cancel_of_what_has_ended_changes_nothing(job: aiomig.Job, command: str) -> None:
    before = await job.wait()
    outcome = await job.cancel()
    assert (outcome.changed, outcome.before, outcome.after) == (False, before.state, None)
    assert "You can only cancel jobs with status" in outcome.message
    assert await job.status() == before


async def test_cancel_twice(waiting: Submit) -> None:
    job = await waiting("true")
    assert (await job.cancel()).changed
    assert not (await job.cancel()).changed


@pytest.mark.job("true")
async def test_cancel_of_many(mig: aiomig.Session, job: aiomig.Job, waiting: Submit) -> None:
    ended = job
    await ended.wait()
    queued = await waiting("true")
    outcomes = await mig.cancel([queued, ended, "1_1_1_2020__1_1_1_nowhere.0"])
    assert [outcome.changed for outcome in outcomes.values()] == [True, False, False]
    assert [outcome.before for outcome in outcomes.values()] == [QUEUED, FINISHED, None]


async def test_freeze_and_thaw_of_what_waits(waiting: Submit) -> None:
    job = await waiting("true")
    assert (await job.freeze()).after is FROZEN
    assert (await job.status()).state is FROZEN
    assert (await job.thaw()).after is QUEUED
    assert (await job.status()).state is QUEUED


async def test_freeze_holds_a_job_and_thaw_lets_it_go(waiting: Submit, gate: Gate) -> None:
    job = await waiting("echo thawed")
    assert (await job.freeze()).after is FROZEN
    other = await waiting("true")
    gate.open(4)
    await other.wait()
    assert (await job.status()).state is FROZEN
    assert (await job.thaw()).after is QUEUED
    assert (await job).stdout == "thawed\n"


async def test_freeze_of_what_executes_is_refused(executing: aiomig.Job) -> None:
    with pytest.raises(ActionRefused, match="You can only freeze jobs with status: QUEUED or RETRY") as caught:
        await executing.freeze()
    assert caught.value.outcome.before is EXECUTING
    assert (await executing.status()).state is EXECUTING


@pytest.mark.parametrize("action", ["freeze", "thaw"])
@pytest.mark.job("true")
async def test_an_ended_job_stays_as_it_is(job: aiomig.Job, action: str) -> None:
    await job.wait()
    with pytest.raises(ActionRefused):
        await getattr(job, action)()
    assert (await job.status()).state is FINISHED


async def test_thaw_of_what_is_not_frozen_is_refused(waiting: Submit) -> None:
    job = await waiting("true")
    with pytest.raises(ActionRefused, match="You can only thaw jobs with status: FROZEN"):
        await job.thaw()
    assert (await job.status()).state is QUEUED


@pytest.mark.parametrize("command", ["echo again", "exit 1"])
@pytest.mark.job.with_args(lambda command: command, retries=0)
async def test_resubmit_makes_a_new_job(job: aiomig.Job, command: str) -> None:
    before = await job.wait()
    second = await job.resubmit()
    assert second.id != job.id
    assert (await second.wait()).state is before.state
    assert await second.stdout() == await job.stdout()
    assert await job.status() == before


@pytest.mark.job("cat in.txt > out.txt", inputs=[(b"content", "in.txt")], outputs=["out.txt"])
async def test_resubmit_by_id_has_files_of_its_own(mig: aiomig.Session, job: aiomig.Job, settings: Settings) -> None:
    first = job
    await first
    second = await mig.job(first.id).resubmit()
    await first.clean()
    await second
    (path,) = await second.fetch(settings.folder / "fetched")
    assert path.read_bytes() == b"content"
    await first.plan()
    assert second.output("out.txt").path != first.output("out.txt").path
