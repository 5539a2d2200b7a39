"""Cancels a coroutine at its n-th checkpoint."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import anyio
import sniffio

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine, Generator


class _Counted:
    """Awaits an awaitable. Calls a function before the n-th wait, and before each later one."""

    def __init__(self, inner: Awaitable[Any], number: int, act: Callable[[], object], times: int) -> None:
        self._inner = inner
        self._number = number
        self._act = act
        self._times = times
        self.waits = 0

    def __await__(self) -> Generator[Any, Any, Any]:
        steps = self._inner.__await__()
        advance: Callable[[], Any] = lambda: next(steps)  # noqa: E731
        while True:
            try:
                waited_for = advance()
            except StopIteration as end:
                return end.value
            if self._number <= self.waits < self._number + self._times:
                self._act()
            self.waits += 1
            try:
                value = yield waited_for
            except BaseException as error:  # noqa: BLE001
                advance = lambda error=error: steps.throw(error)  # type: ignore[misc]  # noqa: E731
            else:
                advance = lambda value=value: steps.send(value)  # type: ignore[misc]  # noqa: E731

    @property
    def reached(self) -> bool:
        return self.waits > self._number


async def waits_of(action: Callable[[], Coroutine[Any, Any, Any]]) -> int:
    """Run an action; return the number of its waits."""
    counted = _Counted(action(), -1, lambda: None, 0)
    await counted
    return counted.waits


async def cancelled_at(number: int, action: Callable[[], Coroutine[Any, Any, Any]]) -> tuple[bool, Any]:
    """Run an action, and cancel it with an anyio cancel scope at its n-th wait.

    Returns:
        Whether it reached that wait, and its result: ``None`` if it was cancelled.
    """
    result = None
    with anyio.CancelScope() as scope:
        counted = _Counted(action(), number, scope.cancel, 1)
        result = await counted
    return counted.reached, result


async def task_cancelled_at(
    number: int, action: Callable[[], Coroutine[Any, Any, Any]], *, times: int = 1
) -> tuple[bool, Any]:
    """Do the same with asyncio's ``Task.cancel``, which ignores shields; on trio with a cancel scope.

    Args:
        number: the wait to cancel.
        action: the action.
        times: how many waits in a row to cancel.
    """
    if sniffio.current_async_library() != "asyncio":
        return await cancelled_at(number, action)

    counted: list[_Counted] = []

    async def run() -> Any:
        task = asyncio.current_task()
        assert task is not None
        counted.append(_Counted(action(), number, task.cancel, times))
        return await counted[0]

    try:
        result = await asyncio.create_task(run())
    except asyncio.CancelledError:
        result = None
    return counted[0].reached, result
