"""Logs the events of jobs at INFO, one line each, in both modes."""

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

_REMEMBERED = 10_000
"""The number of jobs whose last logged state is remembered."""

_resubmitting: ContextVar[bool] = ContextVar("aiomig_resubmitting", default=False)


@contextmanager
def resubmitting() -> Iterator[None]:
    """Log jobs as resubmitted if they are submitted inside the block."""
    token = _resubmitting.set(True)
    try:
        yield
    finally:
        _resubmitting.reset(token)


class JobLog:
    """Logs each event of a job once, even if it is reported several times.

    If INFO is disabled, it does nothing and remembers nothing.

    Args:
        mode: the mode of the session; selects the logger ``aiomig.grid`` or ``aiomig.local``.
    """

    def __init__(self, mode: Literal["grid", "local"]) -> None:
        self._logger = logging.getLogger(f"aiomig.{mode}")
        self._mode = mode
        self._logged: OrderedDict[str, tuple[JobState, int]] = OrderedDict()

    @property
    def is_on(self) -> bool:
        """Whether the logger is enabled for INFO."""
        return self._logger.isEnabledFor(logging.INFO)

    def submitted(self, job_ids: Iterable[str]) -> None:
        """Log that jobs were submitted."""
        if self.is_on:
            name, message = "job_submitted", "was submitted"
            if _resubmitting.get():
                name, message = "job_resubmitted", "was submitted again"
            for job_id in job_ids:
                self._log(name, job_id, message, None, None)

    def learned(self, statuses: Iterable[JobStatus]) -> None:
        """Log the states of jobs that have changed."""
        if self.is_on:
            for status in statuses:
                self.state(status.job_id, status.state, len(status.attempts) + 1)

    def state(self, job_id: str, state: JobState, attempt: int = 1) -> None:
        """Log the state of a job if it has changed.

        Args:
            job_id: the job.
            state: its state. After a final state, nothing more is logged about the job.
            attempt: the number of the attempt if the job is EXECUTING.
        """
        if not self.is_on:
            return
        running = attempt if state is JobState.EXECUTING else None
        before = self._logged.pop(job_id, None)
        self._logged[job_id] = current = (state, running or 0)
        if before is not None and (before == current or before[0].is_final):
            self._logged[job_id] = before
            return
        if len(self._logged) > _REMEMBERED:
            self._logged.popitem(last=False)
        message = f"is {state}" if (running or 1) == 1 else f"is {state}, attempt {running}"
        self._log("job_ended" if state.is_final else "job_state", job_id, message, state, running)

    def _log(self, name: str, job_id: str, message: str, state: JobState | None, attempt: int | None) -> None:
        extra = {
            "event_name": name,
            "job_id": job_id,
            "mode": self._mode,
            "state": state.value if state is not None else None,
            "attempt": attempt,
        }
        self._logger.info("job %s %s", job_id, message, extra=extra)
