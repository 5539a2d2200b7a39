"""Work that a cancellation does not cut off, and contexts that another task closes."""

from __future__ import annotations

import asyncio
import signal
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from aiomig._core.tasks import BackgroundContext, run_shielded, run_to_completion
from aiomig._core.turns import give_way, sort_steps
from tests.clocks import anyio_backend

__all__ = ["anyio_backend"]


async def interrupted(function: Any, backend: str, times: int, pause: float = 1.0) -> BaseException | None:
    """Run a function in a task that is cancelled after a second, so many times; on asyncio with `Task.cancel`."""
    if backend == "asyncio":
        task = asyncio.ensure_future(function())
        for _ in range(times):
            await anyio.sleep(pause)
            task.cancel()
        await asyncio.wait([task])
        return asyncio.CancelledError() if task.cancelled() else task.exception()
    with anyio.CancelScope() as scope:
        scope.deadline = anyio.current_time() + pause
        await function()
    return asyncio.CancelledError() if scope.cancelled_caught else None


@pytest.fixture
def backend(anyio_backend: Any) -> str:
    return anyio_backend if isinstance(anyio_backend, str) else str(anyio_backend[0])


@pytest.mark.parametrize("times", [1, 2, 3])
async def test_cancelled_work_runs_to_completion_and_is_undone(backend: str, times: int) -> None:
    events: list[Any] = []

    async def work() -> str:
        await anyio.sleep(5)
        events.append("made")
        return "7_1"

    async def undo() -> None:
        await anyio.sleep(5)
        events.append("undone")

    error = await interrupted(lambda: run_to_completion(work, undo, seconds=20), backend, times, 2.5)
    assert isinstance(error, asyncio.CancelledError)
    assert events == ["made", "undone"]


@pytest.mark.parametrize("loop", ["asyncio", "trio"])
@pytest.mark.parametrize("anyio_backend", ["none"])
def test_interrupted_work_runs_to_completion_and_is_undone(loop: str, anyio_backend: str) -> None:
    events: list[str] = []

    async def work() -> None:
        signal.raise_signal(signal.SIGINT)
        for _ in range(5):
            await anyio.lowlevel.checkpoint()
        events.append("made")

    async def undo() -> None:
        await anyio.lowlevel.checkpoint()
        events.append("undone")

    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # programs in the background ignore it
    try:
        with pytest.raises(KeyboardInterrupt):
            anyio.run(lambda: run_to_completion(work, undo, seconds=20), backend=loop)
    finally:
        signal.signal(signal.SIGINT, before)
    assert events == ["made", "undone"]


async def test_work_that_takes_too_long_after_a_cancellation_is_cut_off(backend: str) -> None:
    events: list[Any] = []

    async def undo() -> None:
        events.append("undoing")
        await anyio.sleep_forever()

    began = anyio.current_time()
    await interrupted(lambda: run_to_completion(anyio.sleep_forever, undo, seconds=10), backend, 1)
    assert events == ["undoing"]
    assert anyio.current_time() - began == pytest.approx(21)


async def test_what_is_not_cancelled_is_not_undone() -> None:
    async def work() -> int:
        await anyio.sleep(1000)
        return 7

    async def undo() -> None:
        raise AssertionError

    assert await run_to_completion(work, undo, seconds=1) == 7


async def test_the_error_of_the_work_comes_out_as_it_is() -> None:
    async def work() -> None:
        await anyio.sleep(1)
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        await run_shielded(work)


async def test_a_caller_that_is_cancelled_before_does_nothing() -> None:
    async def work() -> None:
        raise AssertionError

    async def undo() -> None:
        raise AssertionError

    with anyio.CancelScope() as scope:
        scope.cancel()
        await run_to_completion(work, undo, seconds=1)
    assert scope.cancelled_caught


async def test_shielded_work_has_a_time_limit() -> None:
    ended: list[int] = []

    async def work(seconds: int) -> None:
        await anyio.sleep(seconds)
        ended.append(seconds)

    began = anyio.current_time()
    await run_shielded(lambda: work(1), seconds=2)
    await run_shielded(lambda: work(3), seconds=2)
    assert ended == [1]
    assert anyio.current_time() - began == pytest.approx(3)


class Context:
    """Records whether it was closed normally or cancelled."""

    def __init__(self) -> None:
        self.events: list[str] = []

    async def __aenter__(self) -> str:
        self.events.append("entered")
        return "value"

    async def __aexit__(self, kind: object, error: object, trace: object) -> None:
        self.events.append("left" if kind is None else "cancelled")


async def test_another_task_closes_a_context() -> None:
    context = Context()
    background: BackgroundContext[str] = BackgroundContext(context)

    async def open_it() -> None:
        assert await background.open() == "value"

    async with anyio.create_task_group() as group:
        group.start_soon(open_it)
    async with anyio.create_task_group() as group:
        group.start_soon(background.close)
    assert context.events == ["entered", "left"]


@pytest.mark.parametrize("loop", ["asyncio", "trio"])
@pytest.mark.parametrize("anyio_backend", ["none"])
def test_a_context_that_is_open_at_the_end_hides_no_error(loop: str, anyio_backend: str) -> None:
    context = Context()

    async def main() -> None:
        await BackgroundContext(context).open()
        raise ValueError("the user's own")

    with pytest.raises(ValueError, match="the user's own"):
        anyio.run(main, backend=loop)
    assert context.events == ["entered", "cancelled"]


@pytest.mark.parametrize("count", [0, 1, 2000, 2001, 6001])
@pytest.mark.parametrize("reverse", [False, True])
async def test_sorting_in_steps_gives_what_sorting_gives(count: int, reverse: bool) -> None:
    items = [(number * 7919 % 503, number) for number in range(count)]
    expected = sorted(items, key=lambda item: item[0], reverse=reverse)  # equal ones keep their order
    assert await give_way(sort_steps(iter(items), lambda item: item[0], reverse=reverse)) == expected
