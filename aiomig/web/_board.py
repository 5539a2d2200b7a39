"""The jobs of one session as the page shows them, kept up to date by the session's changes."""

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
from .._core.tasks import Paced
from ._views import job_view

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .. import JobStatus, Session

_SLACK = 5.0
"""Seconds by which the clocks of a server and of this machine may differ."""

_GROUP = 50
"""How many readers are woken at once."""


class Entry:
    """One job.

    Attributes:
        status: its latest status.
        revision: the number of its last change.
        text: its JSON, written once.
    """

    __slots__ = ("_text", "revision", "status")

    def __init__(self, status: JobStatus, revision: int) -> None:
        self.status = status
        self.revision = revision
        self._text: str | None = None

    @property
    def text(self) -> str:
        """The JSON of the job."""
        if self._text is None:
            self._text = json.dumps(job_view(self.status), separators=(",", ":"))
        return self._text


class _Group:
    """Some readers that wait for a change. They wake those of the next group, so that other tasks run in between."""

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
    """All jobs of a session. Each change has a number, so that a reader needs to keep one number only.

    A reader that is slow gets the latest status of each job that changed, and misses none.

    Args:
        session: an open session.
    """

    def __init__(self, session: Session) -> None:
        self._backend = session._backend
        self._epoch = secrets.token_hex(4)
        self._revision = 0
        self._entries: dict[str, Entry] = {}
        self._changes: OrderedDict[str, Entry] = OrderedDict()  # the last change last
        self._groups = [_Group()]
        self._starting = anyio.Lock()
        self._is_started = False
        self.error: BaseException | None = None
        self._backend.subscriptions.readers.add(self)

    async def start(self) -> None:
        """Find all jobs, if that was not done before.

        Raises:
            GridError: the grid could not be asked.
        """
        async with self._starting:
            if self._is_started:
                return
            await self._backend.follow_all()
            statuses = await self._backend.find(JobFilter())
            async for status in Paced(sorted(statuses, key=_changed_at)):
                if status.job_id not in self._entries:
                    self._take(status)
            for status in reversed(statuses):  # newest first, as they came
                self._entries[status.job_id] = self._entries.pop(status.job_id)
            self._is_started = True

    def offer(self, status: JobStatus) -> None:
        """Take a change."""
        self._take(status)
        self._wake()

    def fail(self, error: BaseException) -> None:
        """Take an error that concerns all jobs."""
        self.error = error
        self._wake()

    def _take(self, status: JobStatus) -> None:
        self._revision += 1
        entry = Entry(status, self._revision)
        self._entries[status.job_id] = entry
        self._changes[status.job_id] = entry
        self._changes.move_to_end(status.job_id)

    def _wake(self) -> None:
        groups = [group for group in self._groups if group.readers]
        self._groups = [_Group()]
        for group, following in pairwise(groups):
            group.next = following
        if groups:
            groups[0].event.set()

    def newest_first(self) -> Iterator[Entry]:
        """Iterate over all jobs."""
        return reversed(self._entries.values())

    def get(self, job_id: str) -> Entry | None:
        """Return a job."""
        return self._entries.get(job_id)

    # -- reading changes

    def mark(self, revision: int | None = None) -> str:
        """Return where a reader is, as the id of an event; it also says when, for a service that was started again."""
        return f"{self._epoch}-{self._revision if revision is None else revision}-{int(time.time())}"

    @property
    def revision(self) -> int:
        """The number of the last change."""
        return self._revision

    def since(self, mark: str | None) -> tuple[int, list[Entry]]:
        """Return where a reader begins that comes back, and what it may have missed in another process.

        Args:
            mark: the id of the last event that it has; ``None`` if it is new.
        """
        epoch, _, rest = (mark or "").partition("-")
        revision, _, at = rest.partition("-")
        if not (revision.isdecimal() and at.isdecimal()):
            return self._revision, []
        if epoch == self._epoch:
            return min(int(revision), self._revision), []
        then = int(at) - _SLACK
        missed = [
            entry
            for entry in self._changes.values()
            if not entry.status.state.is_final or _changed_at(entry.status) >= then
        ]
        return self._revision, missed

    def after(self, revision: int) -> list[Entry]:
        """Return the jobs that changed after a number, in the order of their changes."""
        entries: list[Entry] = []
        for entry in reversed(self._changes.values()):
            if entry.revision <= revision:
                break
            entries.append(entry)
        entries.reverse()
        return entries

    async def wait(self, revision: int) -> None:
        """Wait until there is a change after a number, or an error."""
        if self._revision <= revision:
            if self._groups[-1].readers >= _GROUP:
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
    """The boards of an application, by session."""

    def __init__(self) -> None:
        self._boards: WeakKeyDictionary[Session, JobBoard] = WeakKeyDictionary()

    def known(self, session: Session) -> JobBoard | None:
        """Return the board of a session if there is one."""
        return self._boards.get(session)

    async def of(self, session: Session) -> JobBoard:
        """Return the board of a session, with all of its jobs.

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
