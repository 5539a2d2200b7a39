"""`Tail`: the output of a job while it runs."""

from __future__ import annotations

from itertools import chain, islice
from typing import TYPE_CHECKING, Literal

import anyio
from anyio.lowlevel import checkpoint

from .._core.models import JobState
from .watch import Watch

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .._backend import Backend
    from .._core.models import JobStatus

Stream = Literal["stdout", "stderr"]

_LINES_PER_TURN = 100
"""Number of lines after which other tasks can run."""


class Tail:
    """Async iterator of the lines of a job's ``stdout`` or ``stderr``, without line ends. Made by `Job.tail`.

    It ends after the last line, when the job has ended. The lines of a failed attempt are followed by those of the next
    attempt. The loop may be left or cancelled at any time, and needs no cleanup. A cancelled `__anext__` loses nothing
    and may be called again.
    """

    def __init__(self, backend: Backend, job_id: str, name: Stream, skip: int = 0) -> None:
        self._backend = backend
        self._job_id = job_id
        self._name = name
        self._watch = Watch(backend, [job_id])
        self._status: JobStatus | None = None
        self._attempt = 0
        self._offset = 0
        self._rest: list[bytes] = []  # the chunks of an unfinished line
        self._lines: Iterator[bytes] = iter(())
        self._done = False
        self._skip = skip
        self._taken = 0

    def __aiter__(self) -> Tail:
        return self

    async def __anext__(self) -> str:
        while True:
            self._taken += 1
            if self._taken % _LINES_PER_TURN == 0:
                await checkpoint()
            line = next(self._lines, None)
            if line is None:
                if self._done:
                    raise StopAsyncIteration
                await self._advance()
            elif self._skip:
                self._skip -= 1
            else:
                return line.decode("utf-8", "replace")

    def ready(self, most: int) -> list[str]:
        """Return up to ``most`` available lines, without waiting."""
        return [line.decode("utf-8", "replace") for line in islice(self._lines, most)]

    async def _advance(self) -> None:
        # The state is older than the data: if the job has ended here, the next read contains all its output.
        previous, final = await self._next_attempt(), self._final
        # Read nothing before the first attempt is known to have begun, because it would be read twice.
        readable = self._begun > 0 and not self._lost
        data = await self._backend.read_stream(self._job_id, self._name, self._offset) if readable else b""
        for status in self._watch.ready():
            self._status = status
        if self._begun > self._attempt:
            data = b""  # it may belong to a new attempt, which is read from its beginning next
        self._offset += len(data)
        end = data.rfind(b"\n") + 1
        lines: Iterator[bytes] = iter(())
        if end:
            first = data[: data.index(b"\n")]
            lines = chain([b"".join((*self._rest, first))], _lines(data, len(first) + 1, end))
            self._rest = []
        self._rest += [data[end:]] if end < len(data) else []
        if final and not data:
            previous += self._end_of_attempt()
            self._done = True
        self._lines = chain(previous, lines)

    @property
    def _final(self) -> bool:
        return self._status is not None and self._status.state.is_final

    @property
    def _begun(self) -> int:
        """The number of attempts that are known to have begun.

        While the job is queued again, the failed attempt is the last one, and its output is read to the end.
        """
        if self._status is None:
            return 0
        return len(self._status.attempts) + (self._status.state in (JobState.EXECUTING, JobState.FINISHED))

    @property
    def _lost(self) -> bool:
        """Whether the attempt was canceled. The output that is kept then belongs to the previous attempt."""
        status = self._status
        return status is not None and status.state is JobState.CANCELED and len(status.attempts) < self._attempt

    async def _next_attempt(self) -> list[bytes]:
        """Wait briefly for a change. If another attempt has begun, return the unfinished line of the previous one."""
        if not self._final and self._begun <= self._attempt:
            with anyio.move_on_after(self._backend.look_again if self._status is not None else None):
                self._status = await anext(self._watch)
        if self._begun <= self._attempt:
            return []
        line = self._end_of_attempt() if self._attempt else []
        self._attempt, self._offset = self._begun, 0
        return line

    def _end_of_attempt(self) -> list[bytes]:
        rest, self._rest = self._rest, []
        return [b"".join(rest)] if rest else []


def _lines(data: bytes, start: int, end: int) -> Iterator[bytes]:
    """Yield the lines between two positions. The end position must follow a line end."""
    while start < end:
        stop = data.index(b"\n", start)
        yield data[start:stop]
        start = stop + 1
