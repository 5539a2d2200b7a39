"""The task group of a session, which never shows in what the user's block raises."""

from __future__ import annotations

from typing import TYPE_CHECKING

import anyio

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from typing import Any

    from anyio.abc import TaskGroup


class SessionTasks:
    """Background tasks of a session.

    A task group around the user's block would wrap the block's exceptions in an ExceptionGroup. This one is
    entered and left by hand and not told of them. The tasks must not raise.
    """

    def __init__(self) -> None:
        self._group: TaskGroup

    async def open(self) -> None:
        """Begins; in the task that will also close."""
        self._group = anyio.create_task_group()  # here, for a session may be made where no event loop runs
        await self._group.__aenter__()

    def start(self, function: Callable[..., Coroutine[Any, Any, None]], *arguments: Any, name: str) -> None:
        """Starts a task. It should shield itself where cancelling what is around the session must not end it."""
        self._group.start_soon(function, *arguments, name=f"aiomig {name}")

    def shield(self) -> None:
        """From here on cancellation from outside waits until `close` is through."""
        self._group.cancel_scope.shield = True

    def cancel(self) -> None:
        """Cancels the tasks that do not shield themselves."""
        self._group.cancel_scope.cancel()

    async def close(self) -> None:
        """Waits for the tasks to end."""
        await self._group.__aexit__(None, None, None)
