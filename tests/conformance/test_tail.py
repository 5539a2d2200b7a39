"""Output while a job runs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import anyio
import pytest

from aiomig import JobState

from .gates import Gate, until

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    import aiomig

    from .modes import Settings


async def test_lines_come_while_the_job_runs(mig: aiomig.Session, gate: Gate) -> None:
    job = await mig.submit(["echo one; echo two", gate.command, "echo three; printf four"])
    tail = job.tail()
    assert [await anext(tail), await anext(tail)] == ["one", "two"]
    assert await job.stdout(wait=False) == "one\ntwo\n"
    gate.open()
    assert [line async for line in tail] == ["three", "four"]
    assert await job.stdout() == "one\ntwo\nthree\nfour"


async def test_a_line_comes_before_the_end(mig: aiomig.Session, settings: Settings) -> None:
    pause = 0 if settings.here else 100  # live output comes within a minute (docs/protocol.md#live-output)
    job = await mig.submit(["echo one", f"sleep {pause}", "echo two"])
    lines: list[str] = []
    was_live = False
    async for line in job.tail():
        was_live = was_live or not (await job.status()).state.is_final
        lines.append(line)
    assert lines == ["one", "two"]
    if settings.mode == "live" and not was_live:
        pytest.skip("the site has no live output of running jobs (liveio): all lines came at the end")


async def test_a_line_comes_whole(mig: aiomig.Session, gate: Gate) -> None:
    job = await mig.submit(["printf 'begin '", "echo first >&2", gate.command, "echo end"])
    errors, output = job.tail("stderr"), job.tail("stdout")
    assert await anext(errors) == "first"
    with anyio.move_on_after(0) as scope:
        await anext(output)
    assert scope.cancelled_caught
    gate.open()
    assert [line async for line in output] == ["begin end"]
    assert [line async for line in errors] == []


@pytest.mark.job(["echo one", "echo", "printf '\\377\\n'"])
async def test_tail_of_what_has_ended(mig: aiomig.Session, job: aiomig.Job) -> None:
    await job
    assert [line async for line in job.tail()] == ["one", "", "\ufffd"]
    assert [line async for line in mig.job(job.id).tail("stderr")] == []


async def test_tail_of_what_is_queued_begins_with_the_job(
    waiting: Callable[[str], Awaitable[aiomig.Job]], gate: Gate
) -> None:
    job = await waiting("echo one")
    tail = job.tail()
    with anyio.move_on_after(0):
        await anext(tail)
    gate.open(2)
    assert [line async for line in tail] == ["one"]


async def test_tail_can_be_left(mig: aiomig.Session, gate: Gate) -> None:
    job = await mig.submit(["echo one; echo two", gate.command])
    async for line in job.tail():
        assert line == "one"
        break
    gate.open()
    assert [line async for line in job.tail()] == ["one", "two"]


async def test_tail_of_a_canceled_job_ends(mig: aiomig.Session, gate: Gate) -> None:
    job = await mig.submit(["echo one", gate.command])
    tail = job.tail()
    assert await anext(tail) == "one"
    await job.cancel()
    assert [line async for line in tail] == []


async def test_tail_of_all_attempts(mig: aiomig.Session, gate: Gate) -> None:
    job = await mig.submit(["printf 'try\\nhalf a line'", gate.command, "exit 1"], retries=1)
    tail = job.tail()
    lines = [await anext(tail)]
    gate.open()
    lines += [await anext(tail), await anext(tail)]
    gate.open()
    assert [*lines, *[line async for line in tail]] == ["try", "half a line"] * 2


async def test_tail_of_an_attempt_that_waits_to_be_repeated(
    mig: aiomig.Session, settings: Settings, gate: Gate, tmp_path: Path
) -> None:
    first = Gate(tmp_path / "first")
    job = await mig.submit(["echo try", first.command, "exit 1"], retries=1)
    tail = job.tail()
    lines = [await anext(tail)]
    for _ in range(settings.slots):
        await until(await mig.submit(gate.command), JobState.QUEUED, JobState.EXECUTING)
    first.open(2)
    async for status in job:
        if status.attempts:
            break
    assert status.state is JobState.QUEUED
    await job.cancel()
    assert [*lines, *[line async for line in tail]] == ["try"]
    first.close()


async def test_there_are_two_streams(mig: aiomig.Session) -> None:
    job = await mig.submit("true")
    with pytest.raises(ValueError, match="stdlog"):
        job.tail("stdlog")  # type: ignore[arg-type]


async def test_output_that_is_asked_for_early_is_empty(waiting: Callable[[str], Awaitable[aiomig.Job]]) -> None:
    job = await waiting("echo x")
    assert (await job.stdout(wait=False), await job.stderr_bytes(wait=False)) == ("", b"")


async def test_lines_that_were_read_before_are_left_out(mig: aiomig.Session, gate: Gate) -> None:
    job = await mig.submit(["echo one; echo two", gate.command, "echo three"])
    read = [await anext(job.tail())]
    again = job.tail(skip=len(read))
    assert await anext(again) == "two"
    gate.open()
    assert [line async for line in again] == ["three"]
    assert [line async for line in job.tail(skip=2)] == ["three"]
    assert [line async for line in job.tail(skip=9)] == []
    for skip in (-1, 1.5, True):
        with pytest.raises(ValueError, match="skip"):
            job.tail(skip=skip)  # type: ignore[arg-type]
