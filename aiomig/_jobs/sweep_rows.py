"""Bookkeeping of a sweep: its rows, the order in which they are handed out, and their numbers."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .._core.models import JobState

if TYPE_CHECKING:
    from .._spec.jobspec import JobSpec
    from .job import Job
    from .sweep_journal import Entry


@dataclass(frozen=True, slots=True)
class SweepCounts:
    """Numbers of jobs of a sweep, such as for a progress bar.

    Attributes:
        submitted: jobs that the sweep has submitted, or taken over unfinished from an earlier run; retries not counted.
        running: those of them that have not ended.
        done: those of them that have ended, well or not.
        failed: those that did not end well, of this run and of earlier ones that are not run again. Exit codes count
            as soon as the result of a job was read, and always if there is a journal.
        earlier: jobs that an earlier run brought to an end, and that this one does not submit.
    """

    submitted: int = 0
    running: int = 0
    done: int = 0
    failed: int = 0
    earlier: int = 0


@dataclass(slots=True, eq=False)
class Row:
    """One parameter of a sweep.

    Attributes:
        index: its position.
        parameter: as the user gave it.
        spec: its job.
        digest: of the job, for the journal.
        marker: of its entry in the journal; empty if there is none.
        earlier: what an earlier run recorded; ``None`` if nothing is left to find out about that.
        tries: how often the job was submitted again.
        job: its handle.
        state: the final state of the job.
    """

    index: int
    parameter: object
    spec: JobSpec
    digest: str = ""
    marker: str = ""
    earlier: Entry | None = None
    tries: int = 0
    job: Job | None = None
    state: JobState | None = None

    @property
    def handle(self) -> Job:
        """The handle of the job, which was submitted."""
        assert self.job is not None
        return self.job

    @property
    def has_failed(self) -> bool:
        """Whether the job did not end well, as far as is known without asking; not of a job that ended earlier."""
        result = self.handle.known_result
        return self.earlier is None and (self.state is not JobState.FINISHED if result is None else not result.ok)


class Outbox:
    """Rows on their way to the user, as they end or in the order of the parameters.

    Args:
        in_order: whether the order of the parameters is kept.

    Attributes:
        next_index: the row that is to be handed out next, if the order is kept.
    """

    def __init__(self, *, in_order: bool) -> None:
        self._in_order = in_order
        self._ready: deque[Row] = deque()
        self._waiting: dict[int, Row | None] = {}
        self.next_index = 0

    def __bool__(self) -> bool:
        return bool(self._ready)

    def pop(self) -> Row:
        """Return the next row."""
        return self._ready.popleft()

    def add(self, index: int, row: Row | None) -> None:
        """Add a row whose job has ended, or ``None`` for one that is not handed out."""
        if not self._in_order:
            self._ready += [row] if row is not None else []
            return
        self._waiting[index] = row
        while self.next_index in self._waiting:
            row = self._waiting.pop(self.next_index)
            self._ready += [row] if row is not None else []
            self.next_index += 1
