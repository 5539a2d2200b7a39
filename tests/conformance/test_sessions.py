"""Opening and leaving sessions, and which one is the current session."""

from __future__ import annotations

from typing import TYPE_CHECKING

import anyio
import pytest

import aiomig
from aiomig import JobState, MigError, NoSession, Resources

from .gates import until

if TYPE_CHECKING:
    from pathlib import Path

    from .gates import Gate
    from .modes import Settings

FINISHED, CANCELED, EXECUTING, QUEUED = JobState.FINISHED, JobState.CANCELED, JobState.EXECUTING, JobState.QUEUED


async def state_of(settings: Settings, job: aiomig.Job) -> JobState:
    """The state of a job as the next session sees it."""
    async with settings.session(on_exit="leave") as mig:
        return (await mig.job(job.id).status()).state


async def test_module_functions_need_a_session() -> None:
    with pytest.raises(NoSession):
        await aiomig.submit("true")
    with pytest.raises(NoSession):
        await aiomig.submit_mrsl("x.mRSL")
    with pytest.raises(NoSession):
        aiomig.watch("1_1_1_2020__1_1_1_local.0")
    with pytest.raises(NoSession):
        await aiomig.statuses(["1_1_1_2020__1_1_1_local.0"])
    with pytest.raises(NoSession):
        aiomig.current_session()


async def test_module_functions_act_on_the_open_session(settings: Settings) -> None:
    async with settings.session() as mig:
        assert aiomig.current_session() is mig
        job = await aiomig.submit("echo x")
        assert [status.state async for status in aiomig.watch(job.id)][-1] is FINISHED
        assert (await aiomig.wait([job.id])).done == [job]
        assert [each async for each in aiomig.as_completed([job.id])] == [job]
        assert list(await aiomig.statuses(job.id)) == [job.id]
        assert not (await aiomig.cancel(job.id))[job.id].changed


async def test_the_innermost_session_counts(settings: Settings, tmp_path: Path) -> None:
    async with settings.session() as outer:
        first = await aiomig.submit("echo outer")
        async with aiomig.local(tmp_path / "other") as inner:
            assert aiomig.current_session() is inner
            second = await aiomig.submit("echo inner")
            assert [job.id for job in await inner.jobs()] == [second.id]
            assert (await first).stdout == "outer\n"
            with pytest.raises(MigError, match="several sessions"):
                await aiomig.wait([first, second])
        assert aiomig.current_session() is outer
    with pytest.raises(NoSession):
        aiomig.current_session()


async def test_child_tasks_have_the_session_of_their_parent(settings: Settings) -> None:
    seen = []

    async def child() -> None:
        seen.append(aiomig.current_session())

    async with settings.session() as mig, anyio.create_task_group() as tasks:
        tasks.start_soon(child)
    assert seen == [mig]


async def test_a_session_is_opened_once(settings: Settings) -> None:
    session = settings.session()
    with pytest.raises(NoSession, match="not open yet"):
        await session.submit("true")
    async with session:
        assert session.is_open
        with pytest.raises(MigError, match="open already"):
            await session.__aenter__()
    with pytest.raises(NoSession, match="closed"):
        await session.submit("true")
    with pytest.raises(MigError, match="closed already"):
        await session.__aenter__()


class Mishap(Exception):
    pass


@pytest.mark.parametrize("error", [Mishap("x"), KeyError("x"), TimeoutError(), aiomig.JobNotFound("1"), SystemExit(3)])
async def test_an_exception_comes_out_as_it_is(settings: Settings, idle: Resources, error: BaseException) -> None:
    with pytest.raises(BaseException) as caught:  # noqa: PT011 - any kind, out of a whole block
        async with settings.session() as mig:
            await mig.submit("true", resources=idle)
            raise error
    assert caught.value is error


async def test_an_error_of_a_job_comes_out_as_it_is(settings: Settings) -> None:
    with pytest.raises(aiomig.CommandFailed):
        async with settings.session() as mig:
            await (await mig.submit("false"))


async def test_leaving_by_an_exception_cancels(local_settings: Settings, gate: Gate) -> None:
    jobs: list[aiomig.Job] = []
    with pytest.raises(Mishap):
        async with local_settings.session(on_exit="wait", slots=1) as mig:
            jobs += [await mig.submit(gate.command) for _ in range(3)]
            await until(jobs[0], EXECUTING)
            await jobs[2].freeze()
            raise Mishap
    assert [await state_of(local_settings, job) for job in jobs] == [CANCELED] * 3


async def test_leaving_by_cancellation_cancels(local_settings: Settings, gate: Gate) -> None:
    jobs: list[aiomig.Job] = []
    with anyio.CancelScope() as scope:
        async with local_settings.session(on_exit="wait") as mig:
            jobs.append(await mig.submit(gate.command))
            await until(jobs[0], EXECUTING)
            scope.cancel()
            await jobs[0].wait()
    assert scope.cancelled_caught
    assert await state_of(local_settings, jobs[0]) is CANCELED


async def test_cancellation_while_leaving_cancels(local_settings: Settings, gate: Gate) -> None:
    jobs: list[aiomig.Job] = []
    leaving = anyio.Event()

    async def program() -> None:
        async with local_settings.session(on_exit="wait") as mig:
            jobs.append(await mig.submit(gate.command))
            await until(jobs[0], EXECUTING)
            leaving.set()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(program)
        await leaving.wait()
        tasks.cancel_scope.cancel()
    assert await state_of(local_settings, jobs[0]) is CANCELED


async def test_leaving_normally_waits(local_settings: Settings) -> None:
    async with local_settings.session(on_exit="wait", slots=1) as mig:
        jobs = [await mig.submit("true") for _ in range(5)]
    assert [await state_of(local_settings, job) for job in jobs] == [FINISHED] * 5


async def test_leaving_normally_does_not_wait_for_frozen_jobs(local_settings: Settings, gate: Gate) -> None:
    async with local_settings.session(on_exit="wait", slots=1) as mig:
        await mig.submit(gate.command)
        job = await mig.submit("echo thawed")
        await job.freeze()
        gate.open()
    assert await state_of(local_settings, job) is JobState.FROZEN
    async with local_settings.session() as mig:
        await mig.job(job.id).thaw()
        assert (await mig.job(job.id)).stdout == "thawed\n"


async def test_leaving_may_cancel(local_settings: Settings, gate: Gate) -> None:
    async with local_settings.session(on_exit="cancel", slots=1) as mig:
        jobs = [await mig.submit(gate.command) for _ in range(2)]
    assert [await state_of(local_settings, job) for job in jobs] == [CANCELED] * 2


async def test_leaving_may_leave_and_the_next_session_goes_on(settings: Settings, gate: Gate) -> None:
    async with settings.session(on_exit="leave") as mig:
        running = await mig.submit([gate.command, "echo ran on"])
        for _ in range(1, settings.slots):
            await mig.submit(gate.command)
        await until(running, EXECUTING)
        queued = await mig.submit("echo ran later")
        await until(queued, QUEUED)
    async with settings.session(on_exit="leave") as mig:
        assert [(await mig.job(job.id).status()).state for job in (running, queued)] == [EXECUTING, QUEUED]
        gate.open(settings.slots)
        assert (await mig.job(running.id)).stdout == "ran on\n"
        assert (await mig.job(queued.id)).stdout == "ran later\n"
        assert (await mig.job(running.id).status()).attempts == ()


async def test_what_was_left_can_be_canceled_by_the_next_session(settings: Settings, holding: str) -> None:
    async with settings.session(on_exit="leave") as mig:
        job = await mig.submit(holding)
        await until(job, EXECUTING)
    async with settings.session() as mig:
        assert (await mig.job(job.id).cancel()).changed
        assert (await mig.job(job.id).wait()).state is CANCELED


async def test_two_sessions_on_one_home(settings: Settings, gate: Gate) -> None:
    async with settings.session(on_exit="leave") as one, settings.session() as other:
        job = await one.submit([gate.command, "echo x"])
        statuses = other.watch([job.id])
        await anext(statuses)
        gate.open()
        assert [status async for status in statuses][-1].state is FINISHED
        assert await other.job(job.id).stdout() == "x\n"
        second = await one.submit(gate.command)
        assert (await other.job(second.id).cancel()).changed
        assert (await second.wait()).state is CANCELED


async def test_leaving_a_grid_leaves_its_jobs(grid_settings: Settings, holding: str) -> None:
    with pytest.raises(Mishap):
        async with grid_settings.session() as mig:
            job = await mig.submit(holding)
            raise Mishap
    async with grid_settings.session() as mig:
        assert not (await mig.job(job.id).status()).state.is_final


async def test_old_jobs_are_known_to_later_sessions(settings: Settings) -> None:
    async with settings.session() as mig:
        job = await mig.submit("echo old", outputs=[])
        before = await job
    async with settings.session() as mig:
        assert await mig.job(job.id) == before


@pytest.mark.usefixtures("local_settings")
@pytest.mark.parametrize("mode", [None, "local"])
async def test_connect_chooses_local_mode(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, mode: str | None, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("AIOMIG_MODE", raising=False)
    monkeypatch.delenv("AIOMIG_CONFIG", raising=False)
    async with aiomig.connect(mode, home=tmp_path / "home") as mig:  # type: ignore[arg-type]
        assert (await (await mig.submit("echo x"))).stdout == "x\n"
    warnings = [record for record in caplog.records if record.levelname == "WARNING"]
    assert len(warnings) == (mode is None)


@pytest.mark.usefixtures("local_settings")
async def test_connect_follows_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("AIOMIG_MODE", "local")
    monkeypatch.setenv("AIOMIG_HOME", str(tmp_path / "home"))
    async with aiomig.connect() as mig:
        assert mig.mode == "local"
    assert (tmp_path / "home").is_dir()
    monkeypatch.setenv("AIOMIG_MODE", "cloud")
    with pytest.raises(aiomig.SpecError, match="AIOMIG_MODE"):
        aiomig.connect()


@pytest.mark.parametrize("fields", [{"slots": 0}, {"slots": True}, {"default_retries": -1}, {"on_exit": "maybe"}])
async def test_settings_out_of_range_are_refused(local_settings: Settings, fields: dict[str, object]) -> None:
    with pytest.raises(aiomig.SpecError) as caught:
        local_settings.session(**fields)
    assert [fault.field for fault in caught.value.faults] == list(fields)
