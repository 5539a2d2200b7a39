"""Kills this program, or does something else to it, before or after the K-th call of a function."""

from __future__ import annotations

import importlib
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


def mine(when: str, module: str, name: str, tick: Countdown) -> None:
    """Wrap a function with a countdown before or after it."""
    owner: Any = importlib.import_module(module)
    *path, last = name.split(".")
    for part in path:
        owner = getattr(owner, part)
    setattr(owner, last, _wrapped(getattr(owner, last), when == "before", tick))


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
    """Wrap the function of ``before:MODULE:NAME:K`` or ``after:MODULE:NAME:K``."""
    when, module, name, count = moment.split(":")
    mine(when, module, name, Countdown(int(count), action))
