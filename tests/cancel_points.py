"""Cancels a coroutine at its n-th checkpoint."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import anyio
import sniffio

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine, Generator


class _Counted:
    """Awaits an awaitable, and calls a function when it waits for the n-th time."""

    def __init__(self, inner: Awaitable[Any], number: int, act: Callable[[], object]) -> None:
        self._inner = inner
        self._left = number
        self._act = act

    def __await__(self) -> Generator[Any, Any, Any]:
        steps = self._inner.__await__()
        advance: Callable[[], Any] = lambda: next(steps)  # noqa: E731
        while True:
            try:
                waited_for = advance()
            except StopIteration as end:
                return end.value
            if self._left == 0:
                self._act()
            self._left -= 1
            try:
                value = yield waited_for
            except BaseException as error:  # noqa: BLE001
                advance = lambda error=error: steps.throw(error)  # type: ignore[misc]  # noqa: E731
            else:
                advance = lambda value=value: steps.send(value)  # type: ignore[misc]  # noqa: E731

    @property
    def reached(self) -> bool:
        return self._left < 0


async def cancelled_at(number: int, action: Callable[[], Coroutine[Any, Any, Any]]) -> tuple[bool, Any]:
    """Run a coroutine, and cancel it by a scope of anyio when it waits for the n-th time.

    Returns:
        Whether it waited so often, and its result, or ``None`` if it was cancelled.
    """
    result = None
    with anyio.CancelScope() as scope:
        counted = _Counted(action(), number, scope.cancel)
        result = await counted
    return counted.reached, result


async def task_cancelled_at(number: int, action: Callable[[], Coroutine[Any, Any, Any]]) -> tuple[bool, Any]:
    """Do the same by asyncio's ``Task.cancel``, which no scope shields from; on trio, by a scope."""
    if sniffio.current_async_library() != "asyncio":
        return await cancelled_at(number, action)

    counted: list[_Counted] = []

    async def run() -> Any:
        task = asyncio.current_task()
        assert task is not None
        counted.append(_Counted(action(), number, task.cancel))
        return await counted[0]

    try:
        result = await asyncio.create_task(run())
    except asyncio.CancelledError:
        result = None
    return counted[0].reached, result
