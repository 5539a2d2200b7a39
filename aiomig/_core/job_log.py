"""The log of what happens to jobs: one line at INFO for each event, in both modes."""

from __future__ import annotations

import logging
from collections import OrderedDict
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING

from .models import JobState

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import Literal

    from .models import JobStatus

_TOLD = 10_000
"""The number of jobs with remembered events."""

_again: ContextVar[bool] = ContextVar("aiomig_again", default=False)


@contextmanager
def resubmitting() -> Iterator[None]:
    """Log jobs that are submitted inside the block as resubmitted."""
    token = _again.set(True)
    try:
        yield
    finally:
        _again.reset(token)


class JobLog:
    """Logs each event of a job once, however often and in whatever way it is learned.

    If nobody listens to INFO, it does nothing and remembers nothing.

    Args:
        mode: the logger is ``aiomig.grid`` or ``aiomig.local``.
    """

    def __init__(self, mode: Literal["grid", "local"]) -> None:
        self._logger = logging.getLogger(f"aiomig.{mode}")
        self._mode = mode
        self._told: OrderedDict[str, tuple[JobState, int]] = OrderedDict()

    @property
    def is_on(self) -> bool:
        """Whether anyone listens."""
        return self._logger.isEnabledFor(logging.INFO)

    def submitted(self, job_ids: Iterable[str]) -> None:
        """Log that jobs were made."""
        if self.is_on:
            again = _again.get()
            name, said = ("job_resubmitted", " again") if again else ("job_submitted", "")
            for job_id in job_ids:
                self._tell(name, job_id, f"was submitted{said}", None, None)

    def learned(self, statuses: Iterable[JobStatus]) -> None:
        """Log the states of jobs, if they are new."""
        if self.is_on:
            for status in statuses:
                self.state(status.job_id, status.state, len(status.attempts) + 1)

    def state(self, job_id: str, state: JobState, attempt: int = 1) -> None:
        """Log the state of a job, if it is new.

        Args:
            job_id: the job.
            state: its state; after a final one nothing is logged about the job.
            attempt: the number of the attempt if the job is EXECUTING.
        """
        if not self.is_on:
            return
        running = attempt if state is JobState.EXECUTING else None
        before = self._told.pop(job_id, None)
        self._told[job_id] = known = (state, running or 0)
        if before is not None and (before == known or before[0].is_final):
            self._told[job_id] = before
            return
        if len(self._told) > _TOLD:
            self._told.popitem(last=False)
        said = f"is {state}" if (running or 1) == 1 else f"is {state}, attempt {running}"
        self._tell("job_ended" if state.is_final else "job_state", job_id, said, state, running)

    def _tell(self, name: str, job_id: str, said: str, state: JobState | None, attempt: int | None) -> None:
        extra = {
            "event_name": name,
            "job_id": job_id,
            "mode": self._mode,
            "state": state.value if state is not None else None,
            "attempt": attempt,
        }
        self._logger.info("job %s %s", job_id, said, extra=extra)
