"""Opening and closing sessions, and finding the current session."""

from __future__ import annotations

from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Literal, NoReturn, Self

from anyio.lowlevel import RunVar

from ._core.errors import MigError, NoSession
from ._core.tasks import BackgroundContext, interrupt_only_waits

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import TracebackType

    from ._backend import Backend

_entered_sessions: ContextVar[tuple[SessionLifecycle, ...]] = ContextVar("aiomig_open_sessions", default=())
# Per event loop, not per context: each notebook cell and each request handler runs in its own context.
_background_sessions: RunVar[tuple[SessionLifecycle, ...]] = RunVar("aiomig_background_sessions", default=())


def open_sessions() -> Iterator[SessionLifecycle]:
    """Yield the open sessions of the current context, innermost first, and then those of the event loop."""
    try:
        background = _background_sessions.get()
    except RuntimeError:  # no event loop is running
        background = ()
    for session in (*reversed(_entered_sessions.get()), *reversed(background)):
        if session.is_open:
            yield session


@contextmanager
def entered(session: SessionLifecycle) -> Iterator[None]:
    """Make a session the current one in a block, without opening or closing it."""
    _enter(session)
    try:
        yield
    finally:
        _leave(session)


def _enter(session: SessionLifecycle) -> None:
    _entered_sessions.set((*_entered_sessions.get(), session))


def _leave(session: SessionLifecycle) -> None:
    sessions = list(_entered_sessions.get())
    if session in sessions:
        del sessions[len(sessions) - 1 - sessions[::-1].index(session)]
        _entered_sessions.set(tuple(sessions))


class SessionLifecycle:
    """The methods that open and close a `Session`. Each session can be opened once."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self._tasks = backend.tasks
        self._background: BackgroundContext[SessionLifecycle] | None = None

    def __repr__(self) -> str:
        return f"<Session {self._backend.mode} {self._tasks.state}>"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a session cannot be copied or pickled: open one in each program, on the same home or account")

    @property
    def mode(self) -> Literal["grid", "local"]:
        """``"grid"`` or ``"local"``."""
        return self._backend.mode

    @property
    def is_open(self) -> bool:
        """Whether the session is open."""
        return self._tasks.state == "open"

    @property
    def has_own_jobs(self) -> bool:
        """Whether this session has submitted jobs that are not known to have ended."""
        return self.is_open and any(self._backend.own_jobs())

    async def __aenter__(self) -> Self:
        interrupt_only_waits(SessionLifecycle.__aenter__, SessionLifecycle.__aexit__)
        if self._tasks.state != "new":
            raise MigError(f"this session is {self._tasks.state} already; make a new one")
        await self._backend.open()
        self._tasks.state = "open"
        _enter(self)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        _leave(self)
        try:
            await self._backend.close(error)
        finally:
            self._tasks.state = "closed"
            self._backend.subscriptions.fail(NoSession("the session was closed while a task was waiting in it"))

    async def open(self) -> Self:
        """Open the session without a block, for example in one cell of a notebook for all others.

        Example::

            mig = await aiomig.local().open()
            job = await mig.submit("echo hello")
            await mig.aclose()

        Any task may close it. If it is still open when the event loop ends, it is closed as after a cancellation.

        Returns:
            The session. Until it is closed, it is the current session outside the blocks of other sessions.

        Raises:
            MigError: the session was opened before. `aiomig.grid` and `aiomig.local` list the other errors.
        """
        background: BackgroundContext[SessionLifecycle] = BackgroundContext(self)
        await background.open()
        self._background = background
        _background_sessions.set((*_background_sessions.get(), self))
        return self

    async def aclose(self) -> None:
        """Close a session that `open` opened, as leaving a block does. Do nothing if it is already closed.

        Cancelling this while a local session waits for its jobs cancels the jobs.

        Raises:
            MigError: the session was opened by ``async with``; leave its block.
        """
        background, self._background = self._background, None
        if background is not None:
            _background_sessions.set(tuple(session for session in _background_sessions.get() if session is not self))
            await background.close()
        elif self._tasks.state == "open":
            raise MigError("this session was opened with async with: leave its block to close it")
