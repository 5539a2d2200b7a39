"""Following what a job writes while it runs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import anyio

from ._watch import Watch

if TYPE_CHECKING:
    from ._backend import Backend
    from ._status import JobStatus

Stream = Literal["stdout", "stderr"]


class Tail:
    """The lines of a job's ``stdout`` or ``stderr``, without their ends, as they come. Made by `Job.tail`.

    The loop ends when the job has ended and everything was delivered. When a failed attempt is followed by another,
    the lines of that follow. Dropping the object leaves nothing behind; `__anext__` may be cancelled and called
    again, and loses nothing.
    """

    def __init__(self, backend: Backend, job_id: str, name: Stream) -> None:
        self._backend = backend
        self._job_id = job_id
        self._name = name
        self._watch = Watch(backend, [job_id])
        self._status: JobStatus | None = None
        self._offset = 0
        self._rest = b""
        self._lines: list[str] = []
        self._done = False

    def __aiter__(self) -> Tail:
        return self

    async def __anext__(self) -> str:
        while not self._lines:
            if self._done:
                raise StopAsyncIteration
            await self._advance()
        return self._lines.pop()

    async def _advance(self) -> None:
        final = self._status is not None and self._status.state.is_final
        if not final:
            await self._look()
            # The state is from before the reading: a job seen final here has written all that is read next.
            final = self._status is not None and self._status.state.is_final
        data = await self._backend.read_stream(self._job_id, self._name, self._offset)
        self._offset += len(data)
        *whole, self._rest = (self._rest + data).split(b"\n")
        if final and not data:
            whole += [self._rest] if self._rest else []
            self._done = True
        self._lines = [line.decode("utf-8", "replace") for line in reversed(whole)]

    async def _look(self) -> None:
        attempts = len(self._status.attempts) if self._status is not None else 0
        with anyio.move_on_after(self._backend.look_again if self._status is not None else None):
            self._status = await anext(self._watch)
        if self._status is not None and len(self._status.attempts) > attempts:
            self._offset, self._rest = 0, b""
