"""The jobs of the server: their records, and what happens to them as time passes. No I/O, no tasks.

Future events are in a queue. `Jobs.advance` runs those that are due, each with the clock at its own time. So a test
with virtual time sees the same as one that waits.
"""

from __future__ import annotations

import fnmatch
import heapq
import re
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import count
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    from .._spec.mrsl import Description
    from ._site import Site

RESOURCE = "ee6f88c5f68e506ce379ef437c530fc0_exe1"
FINAL = frozenset({"FINISHED", "FAILED", "CANCELED", "EXPIRED"})
ALLOWED_STATES = {
    "cancel": ("PARSE", "QUEUED", "RETRY", "EXECUTING", "FROZEN"),
    "freeze": ("QUEUED", "RETRY"),
    "thaw": ("FROZEN",),
}
_NEW_STATES = {"cancel": "CANCELED", "freeze": "FROZEN", "thaw": "QUEUED"}
_TIMES = ("received", "queued", "schedule", "executing", "finished", "failed", "canceled")


@dataclass(frozen=True, slots=True)
class History:
    """One failed attempt."""

    queued: float
    executing: float
    failed: float
    reason: str


@dataclass(slots=True)
class Job:
    """The record of one job.

    Attributes:
        times: seconds since the epoch, by the first word of the field of ``jobstatus``.
        scripted: whether the test decides what happens to it; otherwise `Runner` runs it.
        reported_state: the state that the server reports instead of ``state``, or ``None``.
        live: the output so far of a scripted job, and the files sent to it.
        live_asked: when ``liveio`` was last requested.
    """

    number: int
    id: str
    user: str
    description: Description
    times: dict[str, float]
    scripted: bool = True
    state: str = "PARSE"
    reported_state: str | None = None
    verified: str = "NO"
    histories: list[History] = field(default_factory=list)
    live: dict[str, bytes] = field(default_factory=dict)
    live_asked: float | None = None

    def status_row(self, *, verbose: bool) -> dict[str, Any]:
        """Return the object of ``jobstatus``."""
        row: dict[str, Any] = {
            "object_type": "job",
            "job_id": self.id,
            "status": self.reported_state or self.state,
        }
        if self.state == "FINISHED":
            row["verified"] = self.verified
        row |= {f"{name}_timestamp": stamp(self.times[name]) for name in _TIMES if name in self.times}
        if "schedule" in self.times:
            row |= {"schedule_hint": "STAY", "schedule_hits": 0, "expected_delay": 0}
        if verbose:
            row["execute"] = "; ".join(self.description.lines("EXECUTE"))[:256]
            if "executing" in self.times:
                row |= {"resource": RESOURCE, "vgrid": self.vgrid}
        row["execution_histories"] = self._histories() if verbose else []
        return row

    @property
    def vgrid(self) -> str:
        """The vgrid whose resource runs it."""
        return self.description.text("VGRID", "Generic")

    def _histories(self) -> list[dict[str, Any]]:
        return [
            {
                "execution_history": {
                    "object_type": "execution_history",
                    "queued": stamp(attempt.queued),
                    "executing": stamp(attempt.executing),
                    "resource": "HIDDEN",
                    "vgrid": self.vgrid,
                    "failed": stamp(attempt.failed),
                    "failed_message": attempt.reason,
                },
                "count": number,
            }
            for number, attempt in enumerate(self.histories)
        ]


def stamp(seconds: float) -> str:
    """Return a time as the server writes it: UTC, C style, without a zone."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%a %b %d %H:%M:%S %Y")


class Jobs:
    """All jobs of all users.

    Args:
        site: how the server is set up.
    """

    def __init__(self, site: Site) -> None:
        self.site = site
        self.records: dict[str, Job] = {}
        self.now: float = 0.0
        self.on_created: Callable[[Job], None] = lambda job: None
        """Called with each new job."""
        self.on_changed: Callable[[Job], None] = lambda job: None
        """Called after each change of state."""
        self.read_live: Callable[[Job, str], bytes] = lambda job, name: job.live.get(name, b"")
        """Returns what a running job has written to ``stdout`` or ``stderr``."""
        self.copy_live_files: Callable[[Job, str, list[str], str], None] = lambda job, action, sources, folder: None
        """Copies files between a running job and the home, for ``liveio``."""
        self._events: list[tuple[float, int, Callable[[], object], bool]] = []
        self._order = count()
        self._numbers = count()

    def number(self) -> int:
        """Return the next number. Refused descriptions use up a number too (docs/protocol.md#job-ids)."""
        return next(self._numbers)

    def make(self, user: str, description: Description) -> Job:
        """Create a job, in the state PARSE."""
        number = self.number()
        at = datetime.fromtimestamp(self.now, UTC)
        job_id = f"{number}_{at.month}_{at.day}_{at.year}__{at.hour}_{at.minute}_{at.second}_{self.site.server_id}"
        job = Job(number, job_id, user, description, {"received": self.now})
        self.records[job_id] = job
        self.later(self.site.parse_time, lambda: self._parsed(job))
        self.on_created(job)
        return job

    def _parsed(self, job: Job) -> None:
        if job.state == "PARSE":
            self.queue(job)

    def later(self, delay: float, act: Callable[[], object], *, is_change: bool = True) -> None:
        """Call a function after some seconds; ``is_change`` says that a client may be waiting for it."""
        heapq.heappush(self._events, (self.now + delay, next(self._order), act, is_change))

    def advance(self, now: float) -> None:
        """Advance the clock, and run the events that are due."""
        while self._events and self._events[0][0] <= now:
            self.now, _, act, _ = heapq.heappop(self._events)
            act()
        self.now = max(now, self.now)

    def next_due(self) -> float | None:
        """Return the seconds until the next event; ``None`` if there is none."""
        return max(self._events[0][0] - self.now, 0.0) if self._events else None

    def next_change(self) -> float | None:
        """Return the seconds until the next event that a client may be waiting for; ``None`` if there is none."""
        due = min((event[0] for event in self._events if event[3]), default=None)
        return None if due is None else max(due - self.now, 0.0)

    def find(self, user: str, pattern: str) -> list[Job]:
        """Return the jobs of a user with ids that match a pattern, in the order of their numbers."""
        exact = self.records.get(pattern)
        if exact is not None:
            return [exact] if exact.user == user else []
        match = re.compile(fnmatch.translate(pattern)).match
        return [job for job in self.records.values() if job.user == user and match(job.id)]

    # -- changes of state

    def set(self, job: Job, state: str) -> None:
        """Set the state of a job, unless it has ended."""
        if job.state in FINAL:
            return
        job.state = state
        name = {"CANCELED": "canceled", "FAILED": "failed", "FINISHED": "finished"}.get(state)
        if name is not None:
            job.times[name] = self.now
        self.on_changed(job)

    def queue(self, job: Job) -> None:
        """Put a job into the queue."""
        if job.state in FINAL:
            return
        job.times["queued"] = self.now
        job.times.pop("executing", None)
        self.set(job, "QUEUED")
        if self.site.expire_after > 0:
            queued = self.now
            self.later(self.site.expire_after, lambda: self._expire(job, queued), is_change=False)

    def _expire(self, job: Job, queued: float) -> None:
        if job.state in ("QUEUED", "FROZEN") and job.times["queued"] == queued:
            self.set(job, "EXPIRED")

    def execute(self, job: Job) -> None:
        """Hand a job to a resource."""
        if job.state in FINAL or job.state == "FROZEN":
            return
        job.times.setdefault("queued", self.now)
        job.times["executing"] = self.now
        job.live.clear()
        self.set(job, "EXECUTING")

    def fail(self, job: Job, reason: str, *, again: bool) -> None:
        """End an attempt without results: put the job back into the queue, or set it to FAILED."""
        if job.state in FINAL:
            return
        if job.state != "EXECUTING":
            self.execute(job)
        job.histories.append(History(job.times["queued"], job.times["executing"], self.now, reason))
        if again:
            self.queue(job)
        else:
            self.set(job, "FAILED")

    def attempts_left(self, job: Job) -> bool:
        """Return whether a failed job has attempts left."""
        retries = job.description.lines("RETRIES")
        return len(job.histories) < (int(retries[-1]) if retries else self.site.retries)

    def act(self, action: str, job: Job) -> dict[str, Any]:
        """Cancel, freeze or thaw a job; return the object of ``jobaction``."""
        before = job.state
        row = {"object_type": "changedstatusjob", "job_id": job.id, "oldstatus": before}
        if before not in ALLOWED_STATES[action]:
            states = " or ".join(ALLOWED_STATES[action])
            return {**row, "message": f"You can only {action} jobs with status: {states}."}
        if action == "thaw":
            self.queue(job)
        else:
            self.set(job, _NEW_STATES[action])
        # The state that the action set; the job may be in another state already.
        return {**row, "newstatus": _NEW_STATES[action]}
