"""Kills this program, or does something else to it, before or after the K-th call of a function."""

from __future__ import annotations

import inspect
import os
import signal
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


class Countdown:
    """Calls an action at the K-th event. The default kills this program."""

    def __init__(self, count: int, action: Callable[[], None] = die) -> None:
        self._left = count
        self._action = action

    def __call__(self) -> None:
        self._left -= 1
        if self._left == 0:
            self._action()


def _wrapped(original: Callable[..., Any], before: bool, tick: Countdown) -> Callable[..., Any]:
    if inspect.iscoroutinefunction(original):

        async def asynchronous(*arguments: Any, **keywords: Any) -> Any:
            if before:
                tick()
            answer = await original(*arguments, **keywords)
            if not before:
                tick()
            return answer

        return asynchronous

    def synchronous(*arguments: Any, **keywords: Any) -> Any:
        if before:
            tick()
        answer = original(*arguments, **keywords)
        if not before:
            tick()
        return answer

    return synchronous


def lay(moment: str, action: Callable[[], None] = die) -> None:
    """Wrap the function of a point with a countdown: ``before:POINT:K`` or ``after:POINT:K``, see `POINTS`."""
    from tests.unit.local.points import POINTS

    when, point, count = moment.split(":")
    owner, name = POINTS[point]
    setattr(owner, name, _wrapped(getattr(owner, name), when == "before", Countdown(int(count), action)))
