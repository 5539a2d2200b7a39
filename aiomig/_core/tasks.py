"""Task groups, shielded work, background tasks of sessions, and interrupts."""

from __future__ import annotations

import math
import signal
import sys
from contextlib import suppress
from contextvars import copy_context
from typing import TYPE_CHECKING, Any, Generic, Literal, Self, TypeVar

import anyio
import anyio.lowlevel

from .errors import NoSession

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine, Iterable
    from contextlib import AbstractAsyncContextManager
    from types import FrameType, TracebackType

T = TypeVar("T")


class InternalTaskGroup:
    """A task group that raises the first error of its tasks itself, not wrapped in an ExceptionGroup.

    A KeyboardInterrupt, which trio raises where the main task waits, takes precedence over other errors.
    """

    def __init__(self) -> None:
        interrupt_only_waits(InternalTaskGroup.__aenter__, InternalTaskGroup.__aexit__, _run)
        self._group = anyio.create_task_group()

    @property
    def cancel_scope(self) -> anyio.CancelScope:
        """The scope around the tasks."""
        return self._group.cancel_scope

    def start_soon(self, function: Callable[..., Awaitable[object]], *arguments: Any, name: str | None = None) -> None:
        """Start a task."""
        self._group.start_soon(_run, function, *arguments, name=name)

    async def __aenter__(self) -> Self:
        await self._group.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool | None:
        try:
            return await self._group.__aexit__(kind, error, trace)
        except BaseExceptionGroup as group:
            first: BaseException = group.subgroup(KeyboardInterrupt) or group
        while isinstance(first, BaseExceptionGroup):
            first = first.exceptions[0]
        raise first


async def _run(function: Callable[..., Awaitable[object]], *arguments: Any) -> None:
    await function(*arguments)


def interrupt_only_waits(*functions: Callable[..., Coroutine[Any, Any, Any]]) -> None:
    """Make trio raise KeyboardInterrupt only while these functions, and those that they call, are waiting.

    Otherwise trio raises it at any line, so a cancel scope might be only partly entered, or a task group never closed.
    asyncio does not need this, because it turns the first interrupt into a cancellation of the main task.
    """
    trio_lowlevel = sys.modules.get(type(anyio.lowlevel.current_token().native_token).__module__)
    protect: Any = getattr(trio_lowlevel, "enable_ki_protection", None)
    for function in functions if protect else ():
        protect(function)


async def run_shielded(
    work: Callable[[], Awaitable[object]], *, seconds: float = math.inf, seconds_if_cancelled: float = math.inf
) -> None:
    """Run a function in its own task, shielded from cancellations of the caller.

    If the caller is cancelled, even repeatedly, it first waits for the end of the function. A shielded cancel scope in
    the caller's task would not be enough, because it does not stop ``asyncio.Task.cancel``.

    Args:
        work: the function. Its exception is raised, unless the caller was cancelled.
        seconds: the time after which the function is cancelled.
        seconds_if_cancelled: the time after a cancellation of the caller after which the function is cancelled.
    """
    errors: list[Exception] = []
    ended = anyio.Event()
    scope = anyio.CancelScope(shield=True, deadline=anyio.current_time() + seconds)

    async def run() -> None:
        try:
            with scope:
                await work()
        except Exception as error:  # noqa: BLE001 - raised below, unless the caller was cancelled
            errors.append(error)
        finally:
            ended.set()

    async with InternalTaskGroup() as group:
        group.start_soon(run, name="aiomig shielded")
        try:
            await ended.wait()
        except BaseException:
            scope.deadline = min(scope.deadline, anyio.current_time() + seconds_if_cancelled)
            raise
    if errors:
        raise errors[0]


async def run_to_completion(
    work: Callable[[], Awaitable[T]], undo: Callable[[], Awaitable[object]], *, seconds: float
) -> T:
    """Run a function to completion even if the caller is cancelled or interrupted, and undo it in that case.

    An example is a request that creates a job: closing the connection would not stop the server from creating the job,
    but its id would be lost.

    Args:
        work: the function; not called if the caller has already been cancelled.
        undo: the function to call after a cancellation, also shielded.
        seconds: the time limit for each of the two functions after a cancellation.

    Returns:
        The result of ``work``.
    """
    await anyio.lowlevel.checkpoint_if_cancelled()
    results: list[T] = []

    async def keep_result() -> None:
        results.append(await work())

    try:
        await run_shielded(keep_result, seconds_if_cancelled=seconds)
    except (anyio.get_cancelled_exc_class(), KeyboardInterrupt):
        with anyio.CancelScope(shield=True):
            await run_shielded(undo, seconds=seconds)
        raise
    return results[0]


async def run_all(function: Callable[[T], Awaitable[object]], items: Iterable[T], *, at_once: int) -> None:
    """Run a function for each item, at most ``at_once`` at a time. On the first error, cancel the rest and raise it."""
    remaining = iter(items)

    async def work() -> None:
        for item in remaining:
            await function(item)

    async with InternalTaskGroup() as group:
        for _ in range(at_once):
            group.start_soon(work)


async def first_of(*functions: Callable[[], Awaitable[object]]) -> None:
    """Run functions concurrently until one of them returns or raises, then cancel the others. Raise its error."""

    async def run(function: Callable[[], Awaitable[object]]) -> None:
        await function()
        group.cancel_scope.cancel()

    async with InternalTaskGroup() as group:
        for function in functions:
            group.start_soon(run, function)


class SessionTasks:
    """The background tasks of a session, its state and its event loop. The tasks must not raise exceptions.

    They run in a task group that is entered and left explicitly. A task group around the user's block would wrap the
    block's exceptions in an ExceptionGroup.

    Attributes:
        state: the state of the session, which the session sets.
    """

    def __init__(self) -> None:
        self.state: Literal["new", "open", "closed"] = "new"
        self._group: InternalTaskGroup
        self._loop: object = None

    def require_open(self) -> None:
        """Raise `NoSession` if the session is not open, or the caller runs in another event loop."""
        if self.state != "open":
            reason = "closed; open another" if self.state == "closed" else "not open yet; enter its block"
            raise NoSession(f"this session is {reason}")
        self.ensure_own_loop()

    def ensure_own_loop(self) -> None:
        """Raise `NoSession` if the caller runs in another event loop than the session."""
        with suppress(anyio.NoEventLoopError):
            if self._loop is not None and anyio.lowlevel.current_token() != self._loop:
                raise NoSession("this session was opened in another event loop; open one in this loop")

    async def open(self) -> None:
        """Create the task group, in the task that will also close it."""
        self._loop = anyio.lowlevel.current_token()
        self._group = InternalTaskGroup()  # not in __init__, where no event loop may be running
        await self._group.__aenter__()

    def start(self, function: Callable[..., Coroutine[Any, Any, None]], *arguments: Any, name: str) -> None:
        """Start a task. It must shield itself if a cancellation from outside the session must not end it."""
        self._group.start_soon(function, *arguments, name=f"aiomig {name}")

    def shield(self) -> None:
        """Shield the tasks from cancellations from outside until `close` returns."""
        self._group.cancel_scope.shield = True

    def cancel(self) -> None:
        """Cancel the tasks that do not shield themselves."""
        self._group.cancel_scope.cancel()

    async def close(self) -> None:
        """Wait for the tasks to end."""
        await self._group.__aexit__(None, None, None)


class HeldInterrupts:
    """A context manager that delays SIGINT until the end of its block.

    asyncio raises KeyboardInterrupt at a second SIGINT in any code, and trio wherever the main task waits. Code that
    opens or closes a task group must run to its end, though. The blocks of several tasks may end in any order.
    """

    def __init__(self) -> None:
        self._previous: Any = None
        self._is_active = False
        self._is_closed = False
        self._is_held = False

    def __call__(self, number: int, frame: FrameType | None) -> None:
        if self._is_closed:
            self._previous(number, frame)
        else:
            self._is_held = True

    def __enter__(self) -> None:
        self._previous = signal.getsignal(signal.SIGINT)
        if callable(self._previous):
            with suppress(ValueError):  # outside the main thread, where signals are not handled
                signal.signal(signal.SIGINT, self)
                self._is_active = True

    def __exit__(self, *_: object) -> None:
        self._is_closed = True
        if self._is_active:
            handler = signal.getsignal(signal.SIGINT)
            while isinstance(handler, HeldInterrupts) and handler._is_closed:
                handler = handler._previous
            signal.signal(signal.SIGINT, handler)
        if self._is_held:
            signal.raise_signal(signal.SIGINT)


class BackgroundContext(Generic[T]):
    """Runs an async context manager in its own task, so that another task can close it.

    Task groups and cancel scopes must be left by the task that entered them. The task does not belong to a task group.
    If the context is still open when the event loop ends, the loop cancels the task.

    Args:
        context: the context manager.
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
        """Enter the context and return its value. After a cancellation, nothing stays open."""
        self._task = _start_loop_task(self._run)  # asyncio keeps only weak references to tasks
        try:
            await self._opened.wait()
        except BaseException:
            await self._cancel()
            raise
        self._raise()
        if not self._value:
            raise RuntimeError("the event loop ended while a context was being opened")
        return self._value[0]

    async def _run(self) -> None:
        try:
            with self._scope:
                async with self._context as value:
                    self._value.append(value)
                    self._opened.set()
                    await self._leave.wait()
        except Exception as error:  # noqa: BLE001 - raised in `open` or `close`
            self._error = error
        finally:
            self._opened.set()
            self._left.set()

    async def close(self) -> None:
        """Leave the context as at the end of its block. If this method is cancelled, the context is cancelled."""
        self._leave.set()
        try:
            await self._left.wait()
        except BaseException:
            await self._cancel()
            raise
        self._raise()

    async def _cancel(self) -> None:
        self._scope.cancel()
        await run_shielded(self._left.wait)

    def _raise(self) -> None:
        error, self._error = self._error, None
        if error is not None:
            raise error


def _start_loop_task(function: Callable[[], Coroutine[Any, Any, None]]) -> object:
    """Start a task outside any task group, for which anyio has no function."""
    loop: Any = anyio.lowlevel.current_token().native_token
    if hasattr(loop, "create_task"):  # asyncio
        return loop.create_task(function())
    trio_lowlevel: Any = sys.modules[type(loop).__module__]
    return trio_lowlevel.spawn_system_task(function, name="aiomig background context", context=copy_context())
