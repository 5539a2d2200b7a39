"""The jobs of a session, as the page lists them. The backend reports each change."""

from __future__ import annotations

import json
import secrets
import time
from collections import OrderedDict
from datetime import datetime
from itertools import pairwise
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

import anyio

from .. import NoSession
from .._core.job_filter import JobFilter
from .._core.turns import Paced
from ._views import job_view

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .. import JobStatus, Session

_SLACK = 5.0
"""The largest expected difference between the clocks of a server and of this machine, in seconds."""

_GROUP_SIZE = 50
"""The number of readers that are woken at once."""


class Entry:
    """A job on the board.

    Attributes:
        status: the latest status of the job.
        revision: the board's revision at the latest change of the job.
    """

    __slots__ = ("_text", "revision", "status")

    def __init__(self, status: JobStatus, revision: int) -> None:
        self.status = status
        self.revision = revision
        self._text: str | None = None

    @property
    def text(self) -> str:
        """The JSON of the job, encoded once."""
        if self._text is None:
            self._text = json.dumps(job_view(self.status), separators=(",", ":"))
        return self._text


class _Group:
    """Readers that wait for the next change. After waking up, they wake the next group: other tasks run in between."""

    def __init__(self) -> None:
        self.readers = 0
        self.event = anyio.Event()
        self.next: _Group | None = None

    async def wait(self) -> None:
        self.readers += 1
        try:
            await self.event.wait()
        finally:
            self.readers -= 1
            if self.event.is_set() and self.next is not None:
                self.next.event.set()


class JobBoard:
    """All jobs of a session. Each change gets the next revision number; a reader remembers only the last one it saw.

    A slow reader may miss intermediate statuses, but gets the latest status of every changed job.

    Args:
        session: an open session.
    """

    def __init__(self, session: Session) -> None:
        self._backend = session._backend
        self._epoch = secrets.token_hex(4)
        self._revision = 0
        self._entries: dict[str, Entry] = {}
        self._changes: OrderedDict[str, Entry] = OrderedDict()  # latest change last
        self._groups = [_Group()]
        self._starting = anyio.Lock()
        self._is_started = False
        self.error: BaseException | None = None
        self._backend.subscriptions.readers.add(self)

    async def start(self) -> None:
        """Load all jobs, once.

        Raises:
            GridError: the request to the grid failed.
        """
        async with self._starting:
            if self._is_started:
                return
            await self._backend.follow_all()
            statuses = await self._backend.find(JobFilter())
            async for status in Paced(sorted(statuses, key=_changed_at)):
                if status.job_id not in self._entries:
                    self._record(status)
            for status in reversed(statuses):  # the backend returns the newest job first
                self._entries[status.job_id] = self._entries.pop(status.job_id)
            self._is_started = True

    def offer(self, status: JobStatus) -> None:
        """Record a change and wake the readers. The backend calls this."""
        self._record(status)
        self._wake()

    def fail(self, error: BaseException) -> None:
        """Record an error that concerns all jobs and wake the readers. The backend calls this."""
        self.error = error
        self._wake()

    def _record(self, status: JobStatus) -> None:
        self._revision += 1
        entry = Entry(status, self._revision)
        self._entries[status.job_id] = entry
        self._changes[status.job_id] = entry
        self._changes.move_to_end(status.job_id)

    def _wake(self) -> None:
        groups = [group for group in self._groups if group.readers]
        self._groups = [_Group()]
        for group, next_group in pairwise(groups):
            group.next = next_group
        if groups:
            groups[0].event.set()

    def newest_first(self) -> Iterator[Entry]:
        """Iterate over all jobs, newest first."""
        return reversed(self._entries.values())

    def get(self, job_id: str) -> Entry | None:
        """Return the entry of a job, or ``None``."""
        return self._entries.get(job_id)

    # -- reading changes

    def event_id(self, revision: int | None = None) -> str:
        """Return an event id for a revision. It contains the time, so that `resume` works after a restart, too."""
        return f"{self._epoch}-{self._revision if revision is None else revision}-{int(time.time())}"

    def resume(self, event_id: str | None) -> tuple[int, list[Entry]]:
        """Return the revision at which a returning reader resumes, and the changes it may have missed.

        Args:
            event_id: the id of the last event that the reader received, maybe from another process; ``None`` if the
                reader is new.
        """
        epoch, _, rest = (event_id or "").partition("-")
        revision, _, time_sent = rest.partition("-")
        if not (revision.isdecimal() and time_sent.isdecimal()):
            return self._revision, []
        if epoch == self._epoch:
            return min(int(revision), self._revision), []
        then = int(time_sent) - _SLACK
        missed = [
            entry
            for entry in self._changes.values()
            if not entry.status.state.is_final or _changed_at(entry.status) >= then
        ]
        return self._revision, missed

    def changes_after(self, revision: int) -> list[Entry]:
        """Return the jobs that changed after a revision, in the order of their latest changes."""
        entries: list[Entry] = []
        for entry in reversed(self._changes.values()):
            if entry.revision <= revision:
                break
            entries.append(entry)
        entries.reverse()
        return entries

    async def wait(self, revision: int) -> None:
        """Wait until there is a change after a revision, or an error."""
        if self._revision <= revision:
            if self._groups[-1].readers >= _GROUP_SIZE:
                self._groups.append(_Group())
            await self._groups[-1].wait()


def _changed_at(status: JobStatus) -> float:
    times = (
        status.received_at,
        status.queued_at,
        status.executing_at,
        status.finished_at,
        status.failed_at,
        status.canceled_at,
    )
    return max((moment.timestamp() for moment in times if isinstance(moment, datetime)), default=0.0)


class Boards:
    """The job boards of an application, one for each session."""

    def __init__(self) -> None:
        self._boards: WeakKeyDictionary[Session, JobBoard] = WeakKeyDictionary()

    def get(self, session: Session) -> JobBoard | None:
        """Return the board of a session, or ``None`` if it has none yet."""
        return self._boards.get(session)

    async def load(self, session: Session) -> JobBoard:
        """Return the board of a session with all jobs of the session.

        Raises:
            NoSession: the session is not open.
        """
        if not session.is_open:
            raise NoSession("the session of this service is closed")
        board = self._boards.get(session)
        if board is None:
            board = self._boards[session] = JobBoard(session)
        await board.start()
        return board
