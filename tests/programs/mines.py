"""Death at a chosen moment: SIGKILL around the K-th call of a function, as sudden as the real one."""

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
    """Kills this program at the K-th event."""

    def __init__(self, count: int) -> None:
        self._left = count

    def __call__(self) -> None:
        self._left -= 1
        if self._left == 0:
            die()


def mine(when: str, module: str, name: str, count: int) -> None:
    """Puts a countdown before or after a function."""
    owner: Any = importlib.import_module(module)
    *path, last = name.split(".")
    for part in path:
        owner = getattr(owner, part)
    setattr(owner, last, _wrapped(getattr(owner, last), when == "before", Countdown(count)))


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


def lay(moment: str) -> None:
    """Lays what ``before:MODULE:NAME:K`` or ``after:MODULE:NAME:K`` says."""
    when, module, name, count = moment.split(":")
    mine(when, module, name, int(count))
