"""`Events`: the changes of all jobs of a user, from `Session.events`."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Self

import anyio

from .._core.errors import EventsLost, SpecError
from .._core.models import Fault
from .._core.validation import is_count

if TYPE_CHECKING:
    from types import TracebackType

    from .._backend import Backend
    from .._core.models import JobStatus


class Events:
    """Async iterator of the changes of all jobs from now on. Made by `Session.events`.

    The loop may be left or cancelled at any time, and needs no cleanup. A cancelled `__anext__` loses nothing and may
    be called again. Once ``async with`` has entered its block, every later change will be reported; use it in programs
    that list the current jobs first.

    Raises, while iterating:
        EventsLost: the reader was too slow. Continue to iterate, and list the current jobs to find what is missing.
        GridError: requests to the grid kept failing for too long.
        LocalError: local mode has failed.
        NoSession: the session was closed.
    """

    def __init__(self, backend: Backend, buffer: int) -> None:
        if not is_count(buffer):
            raise SpecError([Fault("buffer", buffer, "not a positive whole number", "give a count")])
        self._backend = backend
        self._size = buffer
        self._buffer: deque[JobStatus] = deque()
        self._lost = 0
        self._error: BaseException | None = None
        self._event: anyio.Event | None = None
        self._is_following = False
        backend.subscriptions.readers.add(self)

    def offer(self, status: JobStatus) -> None:
        """Buffer a change and wake the reader; for aiomig's own use."""
        if len(self._buffer) >= self._size:
            self._lost += len(self._buffer)
            self._buffer.clear()
        self._buffer.append(status)
        self._wake()

    def fail(self, error: BaseException) -> None:
        """Make the current or next `__anext__` raise an error; for aiomig's own use."""
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
        """Stop recording changes. Optional."""
        self._backend.subscriptions.readers.discard(self)

    async def __aenter__(self) -> Self:
        await self._begin()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
