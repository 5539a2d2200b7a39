"""The task group of a session, which never shows in what the user's block raises.

A context that one task opens and another closes, as cells of a notebook and fixtures of tests do.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Generic, TypeVar

import anyio
import anyio.lowlevel

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from contextlib import AbstractAsyncContextManager
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


T = TypeVar("T")


class Host(Generic[T]):
    """Opens a context in a task of its own, where the event loop has tasks that belong to nobody: asyncio.

    Task groups and cancel scopes must be left by the task that entered them. Trio has no tasks without a parent; there
    the context is entered by the task that calls `open`, which must be the one that calls `close`.

    Args:
        context: what to open.
    """

    def __init__(self, context: AbstractAsyncContextManager[T]) -> None:
        self._context = context
        self._opened = anyio.Event()
        self._leave = anyio.Event()
        self._left = anyio.Event()
        self._scope = anyio.CancelScope()
        self._task: object = None
        self._value: list[T] = []
        self._error: Exception | None = None

    async def open(self) -> T:
        """Opens it. Cancelled meanwhile, it leaves nothing open.

        Returns:
            What the context gives.
        """
        create_task: Callable[[Coroutine[object, object, None]], object] | None = getattr(
            anyio.lowlevel.current_token().native_token, "create_task", None
        )
        if create_task is None:
            return await self._context.__aenter__()
        self._task = create_task(self._run())  # kept, for the loop itself does not
        try:
            await self._opened.wait()
        except BaseException:
            await self._end()
            raise
        self._raise()
        if not self._value:
            raise RuntimeError("the event loop ended while something was opened in it")
        return self._value[0]

    async def _run(self) -> None:
        try:
            with self._scope:
                async with self._context as value:
                    self._value.append(value)
                    self._opened.set()
                    await self._leave.wait()
        except Exception as error:  # noqa: BLE001 - raised again where it is waited for
            self._error = error
        finally:
            self._opened.set()
            self._left.set()

    async def close(self) -> None:
        """Leaves it as at the normal end of its block. Cancelled meanwhile, it is left as by cancellation."""
        if self._task is None:
            await self._context.__aexit__(None, None, None)
            return
        self._leave.set()
        try:
            await self._left.wait()
        except BaseException:
            await self._end()
            raise
        self._raise()

    async def _end(self) -> None:
        self._scope.cancel()
        with anyio.CancelScope(shield=True):
            await self._left.wait()

    def _raise(self) -> None:
        error, self._error = self._error, None
        if error is not None:
            raise error
