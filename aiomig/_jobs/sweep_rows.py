"""The bookkeeping of a sweep: its rows, the order in which they are yielded, and its counts."""

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
    """Numbers of jobs of a sweep, for example for a progress bar.

    Attributes:
        submitted: jobs that the sweep has submitted, or has continued from an earlier run. Retries are not counted.
        running: the submitted jobs that have not ended.
        done: the submitted jobs that have ended, successfully or not.
        failed: the failed jobs of this run, and those of earlier runs that are not run again. Exit codes are taken
            into account once the result of a job has been read; with a journal, always.
        earlier: jobs that ended in an earlier run and are not submitted again.
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
        index: the position of the parameter.
        parameter: the parameter.
        spec: the description of the job.
        digest: the checksum of the job, for the journal.
        marker: the marker of the job's entry in the journal; empty if there is none.
        earlier: the entry of an earlier run; ``None`` if there is none, or if the job is submitted or continued.
        tries: how often the job was resubmitted.
        job: the handle of the job, once it is submitted.
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
        """The handle of the submitted job."""
        assert self.job is not None
        return self.job

    @property
    def has_failed(self) -> bool:
        """Whether the job has failed, judged without I/O; false for a job that ended in an earlier run."""
        result = self.handle.known_result
        return self.earlier is None and (self.state is not JobState.FINISHED if result is None else not result.ok)


class Outbox:
    """A queue of the rows to yield, as they end or in the order of the parameters.

    Args:
        in_order: whether to yield the rows in the order of the parameters.

    Attributes:
        next_index: with ``in_order``, the index of the next row to yield.
    """

    def __init__(self, *, in_order: bool) -> None:
        self._in_order = in_order
        self._ready: deque[Row] = deque()
        self._waiting: dict[int, Row | None] = {}
        self.next_index = 0

    def __bool__(self) -> bool:
        return bool(self._ready)

    def pop(self) -> Row:
        """Remove and return the next row."""
        return self._ready.popleft()

    def add(self, index: int, row: Row | None) -> None:
        """Add a row whose job has ended, or ``None`` for a parameter that yields no job."""
        if not self._in_order:
            self._ready += [row] if row is not None else []
            return
        self._waiting[index] = row
        while self.next_index in self._waiting:
            row = self._waiting.pop(self.next_index)
            self._ready += [row] if row is not None else []
            self.next_index += 1
