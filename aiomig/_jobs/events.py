"""Reading the changes of all jobs of a session: `Session.events`."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Self

import anyio

from .._core.errors import EventsLost

if TYPE_CHECKING:
    from types import TracebackType

    from .._backend import Backend
    from .._core.models import JobStatus


class Events:
    """Async iterator of the changes of all jobs of a session, from now on. Made by `Session.events`.

    Leaving the loop, cancelling it, or dropping the object leaves nothing behind; `__anext__` may be cancelled and
    called again, and loses nothing. ``async with`` returns when every later change will be reported, which a program
    needs that looks at the present jobs first.

    Raises, while it is iterated:
        EventsLost: the reader was too slow. Iterate on; look at the present jobs for what is missing.
        GridError: the grid could not be asked for too long.
        LocalError: local mode had to stop.
        NoSession: the session was closed.
    """

    def __init__(self, backend: Backend, size: int) -> None:
        self._backend = backend
        self._size = size
        self._buffer: deque[JobStatus] = deque()
        self._lost = 0
        self._error: BaseException | None = None
        self._event: anyio.Event | None = None
        self._is_following = False
        backend.subscriptions.readers.add(self)

    def offer(self, status: JobStatus) -> None:
        """Take a change; for aiomig's own use."""
        if len(self._buffer) >= self._size:
            self._lost += len(self._buffer)
            self._buffer.clear()
        self._buffer.append(status)
        self._wake()

    def fail(self, error: BaseException) -> None:
        """Make the present or next `__anext__` raise an error; for aiomig's own use."""
        self._error = error
        self._wake()

    def _wake(self) -> None:
        if self._event is not None:
            self._event.set()
            self._event = None

    def __aiter__(self) -> Events:
        return self

    async def __anext__(self) -> JobStatus:
        await self._begin()
        while True:
            if self._lost:
                count, self._lost = self._lost, 0
                raise EventsLost(count)
            if self._buffer:
                return self._buffer.popleft()
            if self._error is not None:
                error, self._error = self._error, None
                raise error
            if self._event is None:
                self._event = anyio.Event()
            await self._event.wait()

    async def _begin(self) -> None:
        if not self._is_following:
            await self._backend.follow_all()
            self._is_following = True

    def close(self) -> None:
        """Take no more changes; allowed, but not needed."""
        self._backend.subscriptions.readers.discard(self)

    async def __aenter__(self) -> Self:
        await self._begin()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
