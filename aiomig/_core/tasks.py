"""Tasks: the background tasks of a session, and work that a cancellation must not cut off."""

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
    """A task group of aiomig's own: the first error comes out as it is, without a group.

    A KeyboardInterrupt, which trio raises where the main task waits, goes before other errors.
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
    """Have trio raise KeyboardInterrupt in functions, and in what they call, only where they wait.

    Elsewhere trio raises it at any line: a cancel scope might be half entered, or a task group stay open for ever.
    asyncio takes the first one to the main task as a cancellation, and needs nothing.
    """
    trio_lowlevel = sys.modules.get(type(anyio.lowlevel.current_token().native_token).__module__)
    protect: Any = getattr(trio_lowlevel, "enable_ki_protection", None)
    for function in functions if protect else ():
        protect(function)


async def run_shielded(
    work: Callable[[], Awaitable[object]], *, seconds: float = math.inf, seconds_if_cancelled: float = math.inf
) -> None:
    """Run something in a task of its own, which no cancellation of the caller reaches.

    A shielded cancel scope in the caller's task would not do: ``asyncio.Task.cancel`` goes through it.
    The caller waits for the end even if it is cancelled, more than once; then the cancellation goes on.

    Args:
        work: what to run. An exception of it comes out as it is, unless the caller was cancelled.
        seconds: the longest time that it may take; then it is cancelled.
        seconds_if_cancelled: the longest time that it may go on after the caller was cancelled.
    """
    errors: list[Exception] = []
    ended = anyio.Event()
    scope = anyio.CancelScope(shield=True, deadline=anyio.current_time() + seconds)

    async def run() -> None:
        try:
            with scope:
                await work()
        except Exception as error:  # noqa: BLE001 - raised below; a cancellation of the caller goes before it
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
    """Run something to completion even if the caller is cancelled or interrupted, then undo it.

    Example: a request that makes a job. Breaking the connection would not keep the server from making the job, only
    hide its id.

    Args:
        work: what to run; not begun if the caller is cancelled by then.
        undo: called after a cancellation; shielded likewise.
        seconds: the longest time that each of the two may take after a cancellation.

    Returns:
        What ``work`` returns.
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
    """Run a function for each item, some at a time. Raise the first error, and cancel the others then."""
    remaining = iter(items)

    async def work() -> None:
        for item in remaining:
            await function(item)

    async with InternalTaskGroup() as group:
        for _ in range(at_once):
            group.start_soon(work)


async def first_of(*functions: Callable[[], Awaitable[object]]) -> None:
    """Run functions until one of them has ended, then cancel the others. Raise its error."""

    async def run(function: Callable[[], Awaitable[object]]) -> None:
        await function()
        group.cancel_scope.cancel()

    async with InternalTaskGroup() as group:
        for function in functions:
            group.start_soon(run, function)


class SessionTasks:
    """Background tasks of a session, and where and whether it can be used.

    A task group around the user's block would wrap the block's exceptions in an ExceptionGroup. This one is
    entered and left by hand and not told of them. The tasks must not raise.

    Attributes:
        state: of the session, which sets it.
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
        self._group = InternalTaskGroup()  # here, for a session may be made where no event loop runs
        await self._group.__aenter__()

    def start(self, function: Callable[..., Coroutine[Any, Any, None]], *arguments: Any, name: str) -> None:
        """Start a task. It should shield itself if a cancellation around the session must not end it."""
        self._group.start_soon(function, *arguments, name=f"aiomig {name}")

    def shield(self) -> None:
        """From now on hold back cancellations from outside until `close` is through."""
        self._group.cancel_scope.shield = True

    def cancel(self) -> None:
        """Cancel the tasks that do not shield themselves."""
        self._group.cancel_scope.cancel()

    async def close(self) -> None:
        """Wait for the tasks to end."""
        await self._group.__aexit__(None, None, None)


class HeldInterrupts:
    """Holds SIGINT back in its block, and lets it take effect at the end.

    asyncio raises KeyboardInterrupt at a second SIGINT, in whatever code runs, and trio wherever the main task waits.
    What opens or closes a task group must run to its end. Blocks of several tasks may end in any order.
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
            with suppress(ValueError):  # outside of the main thread, where no signal is handled
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

    Task groups and cancel scopes must be left by the task that entered them. That task belongs to the event loop
    itself. If the context is still open when the loop ends, the loop cancels the task.

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
        """Enter the context. If this is cancelled, nothing stays open.

        Returns:
            What the context manager gives.
        """
        self._task = _start_loop_task(self._run)  # kept, because asyncio does not keep its tasks
        try:
            await self._opened.wait()
        except BaseException:
            await self._cancel()
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
        except Exception as error:  # noqa: BLE001 - raised in `open` or `close`
            self._error = error
        finally:
            self._opened.set()
            self._left.set()

    async def close(self) -> None:
        """Leave the context as at the normal end of its block; if this is cancelled, as by a cancellation."""
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
    """Start a task that belongs to the event loop and to no task group; anyio has no function for it."""
    loop: Any = anyio.lowlevel.current_token().native_token
    if hasattr(loop, "create_task"):  # asyncio
        return loop.create_task(function())
    trio_lowlevel: Any = sys.modules[type(loop).__module__]
    return trio_lowlevel.spawn_system_task(function, name="aiomig background context", context=copy_context())
