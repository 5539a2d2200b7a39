"""The job records of a home, in one SQLite database that several processes share.

Each job has an *owner*, the session that runs it. Each change of a job is one SQL statement with the expected state and
owner as its condition, so two sessions, or a session and its successor after a crash, never run one job twice.
"""

from __future__ import annotations

import json
import sqlite3
from contextlib import nullcontext, suppress
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from .._core.errors import LocalError, SpecError
from .._core.models import Attempt, JobState
from .database import explain, open_database
from .liveness import Origin, SessionLocks
from .records import COLUMNS, DamagedRecord, Record, encode_attempts, encode_plan, job_id_of, moment, number_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from pathlib import Path

    from .._spec.plan import Plan
    from .._spec.submit_key import SubmitKey
    from .liveness import Place

T = TypeVar("T")

_UNFINISHED = "(ended IS NULL AND state IN ('QUEUED', 'EXECUTING', 'FROZEN'))"
_CHUNK = 500
"""The most values in one statement."""


class Progress(NamedTuple):
    """A snapshot of the states of a home's jobs.

    Attributes:
        unfinished: the state, the attempt and the time in the queue of each unfinished job, by its number.
        newest: the number of the newest job.
    """

    unfinished: dict[int, list[Any]]
    newest: int


class _Transaction:
    # A class and not a generator, which would cost as much as the statements themselves.
    __slots__ = ("_database", "_run")

    def __init__(self, database: sqlite3.Connection, run: Callable[[str], object]) -> None:
        self._database = database
        self._run = run

    def __enter__(self) -> None:
        self._run("BEGIN IMMEDIATE")

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            if kind is None:
                self._run("COMMIT")
        finally:
            # Some errors, a full disk among them, have ended the transaction already.
            if self._database.in_transaction:
                self._run("ROLLBACK")


class Store:
    """The database of one home, as one session sees it.

    Args:
        folder: local mode's private folder in the home; it must exist.

    Raises:
        LocalError: the database cannot be made, read or written, or is not a database of aiomig.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / "jobs.sqlite"
        self._locks = SessionLocks(folder / "sessions")
        self.session = 0
        self._database = open_database(self._path, self.is_alive)
        self._version = self._data_version()

    def transaction(self) -> _Transaction:
        """Return a context manager for one transaction. An error rolls it back."""
        return _Transaction(self._database, self._run)

    # -- sessions

    def begin_session(self, now: float) -> None:
        """Record this session, and lock its file."""
        with self.transaction():
            values = (Origin.here().encode(), now)
            self.session = self._run("INSERT INTO sessions (boot, opened) VALUES (?, ?)", values).lastrowid or 0
            self._locks.acquire(self.session)

    def is_alive(self, session: int) -> bool:
        """Return whether a session is open in any process."""
        return self._locks.is_alive(session)

    def place_of(self, session: int | None) -> Place:
        """Return where a session ran, relative to this process."""
        row = self._run("SELECT boot FROM sessions WHERE number IS ?", (session,)).fetchone()
        return "before restart" if row is None else Origin.decode(row[0]).place(self._path.parent)

    def names_in_use(self, names: Iterable[str]) -> set[str]:
        """Return the local names of running attempts and of jobs of other open sessions.

        An open session cleans up after its own jobs.
        """
        used: set[str] = set()
        for some in _chunks(list(names)):
            marks = ",".join("?" * len(some))
            rows = self._run(f"SELECT local_name, state, owner FROM jobs WHERE local_name IN ({marks})", some)
            for name, state, owner in rows.fetchall():
                if state == "EXECUTING" or (owner not in (None, self.session) and self.is_alive(owner)):
                    used.add(name)
        return used

    def dead_owners(self) -> list[int | None]:
        """Return the sessions that have unfinished jobs and are not open.

        Raises:
            LocalError: one of them ran on another machine, and it cannot be known whether it still does.
        """
        owners = [owner for (owner,) in self._rows(f"SELECT DISTINCT owner FROM jobs WHERE {_UNFINISHED}")]
        dead = [owner for owner in owners if owner is None or not self.is_alive(owner)]
        for owner in dead:
            if self.place_of(owner) == "other machine":
                raise LocalError(
                    f"session {owner} on another machine has jobs in this home; it cannot be seen from here whether"
                    " it still runs them",
                    path=str(self._path),
                    remedy=f"open the home there; if that machine is gone for good: sqlite3 {self._path}"
                    f' "DELETE FROM sessions WHERE number = {owner}"',
                )
        return dead

    def adopt(self) -> list[Record]:
        """Make the unfinished jobs of dead sessions jobs of this session; return them in the order of the queue."""
        if not self.dead_owners():
            return []
        adopted: list[Record] = []
        with self.transaction():
            for owner in self.dead_owners():
                adopted += self._select(f"WHERE {_UNFINISHED} AND owner IS ? ORDER BY rank", (owner,))
                self._run(f"UPDATE jobs SET owner = ? WHERE {_UNFINISHED} AND owner IS ?", (self.session, owner))
        return sorted(adopted, key=lambda record: record.queued)

    def signaled(self) -> list[int]:
        """Return the jobs of this session that another process put back into the queue."""
        if self._run("SELECT 1 FROM signals WHERE session = ? LIMIT 1", (self.session,)).fetchone() is None:
            return []
        rows = self._rows("DELETE FROM signals WHERE session = ? RETURNING job", (self.session,))
        return [number for (number,) in rows]

    def changed_elsewhere(self) -> bool:
        """Return whether another connection wrote since the last call."""
        before, self._version = self._version, self._data_version()
        return before != self._version

    def _data_version(self) -> int:
        return int(self._run("PRAGMA data_version").fetchone()[0])

    def close(self) -> None:
        """End the session: other sessions may take its unfinished jobs."""
        self._database.close()
        self._locks.release()

    # -- jobs

    def insert(self, jobs: Sequence[tuple[Plan, int]], now: float, place: int = 0) -> dict[int, str]:
        """Insert QUEUED jobs of this session; return their ids by number.

        Args:
            jobs: the plan and the cores of each job.
            now: the time.
            place: the number of jobs of the same time that precede them in the queue.
        """
        ids: dict[int, str] = {}
        statement = (
            "INSERT INTO jobs (number, state, owner, rank, plan, cores, received, queued, submit_key, key_digests)"
            " VALUES (1 + max((SELECT coalesce(max(number), 0) FROM jobs),"
            " (SELECT coalesce(max(highest), 0) FROM forgotten)), 'QUEUED', ?, ?, ?, ?, ?, ?, ?, ?)"
        )
        with nullcontext() if len(jobs) == 1 or self._database.in_transaction else self.transaction():
            for offset, (plan, cores) in enumerate(jobs, place):
                key = (plan.key.text, plan.key.encode()) if plan.key is not None else (None, None)
                values = (self.session, int(now * 1e6) + offset, encode_plan(plan), cores, now, now, *key)
                try:
                    number = self._database.execute(statement, values).lastrowid or 0
                except sqlite3.Error as error:
                    raise explain(error, str(self._path)) from error
                ids[number] = job_id_of(number, now)
        return ids

    def find_key(self, key: SubmitKey) -> str | SpecError | None:
        """Return the id of the job with a key, or the error of using it again; ``None`` if it is free."""
        columns = "number, received, key_digests"
        row = self._run(f"SELECT {columns} FROM jobs WHERE submit_key = ?", (key.text,)).fetchone()
        if row is None:
            return None
        job_id = job_id_of(row[0], row[1])
        try:
            key.ensure_same(json.loads(row[2]), job_id)
        except SpecError as error:
            return error
        return job_id

    def free_keys(self, numbers: Sequence[int]) -> None:
        """Free the keys of unfinished jobs that will be canceled."""
        for some in _chunks(numbers):
            marks = ",".join("?" * len(some))
            self._run(f"UPDATE jobs SET submit_key = NULL WHERE {_UNFINISHED} AND number IN ({marks})", some)

    def claim(self, number: int, now: float, local_name: str, shared: int | None = None) -> Record | None:
        """Make a QUEUED job of this session EXECUTING.

        Args:
            number: the job.
            now: the time.
            local_name: the name of its new attempt.
            shared: the most cores that running jobs of all sessions may occupy together, if limited.

        Returns:
            The record; ``None`` if the job is not QUEUED any more, or not enough cores are left.
        """
        # The index of unfinished jobs is used only if its own condition is repeated.
        room = (
            f" AND cores + (SELECT coalesce(sum(cores), 0) FROM jobs WHERE {_UNFINISHED} AND state = 'EXECUTING')"
            f" <= max(cores, {shared})"
        )
        return self._one(
            "UPDATE jobs SET state = 'EXECUTING', executing = ?, attempt = attempt + 1, local_name = ?"
            f" WHERE number = ? AND state = 'QUEUED' AND owner = ?{room if shared else ''} RETURNING {COLUMNS}",
            (now, local_name, number, self.session),
        )

    def finish(
        self, number: int, attempt: int, now: float, verified: str, exit_code: int | None = None
    ) -> Record | None:
        """Record that an attempt ended well; ``None`` if the job was canceled meanwhile."""
        return self._one(
            "UPDATE jobs SET state = 'FINISHED', ended = ?, verified = ?, exit_code = ?"
            f" WHERE number = ? AND attempt = ? AND state = 'EXECUTING' RETURNING {COLUMNS}",
            (now, verified, exit_code, number, attempt),
        )

    def fail(self, number: int, attempt: int, now: float, attempts: str, *, again: bool) -> Record | None:
        """Record that an attempt failed: the job goes to the end of the queue, or is FAILED.

        Returns:
            The record; ``None`` if the job was canceled meanwhile.
        """
        if again:
            change, values = "state = 'QUEUED', queued = ?, executing = NULL, rank = ?", [now, int(now * 1e6)]
        else:
            change, values = "state = 'FAILED', ended = ?", [now]
        return self._one(
            f"UPDATE jobs SET {change}, attempts = ?"
            f" WHERE number = ? AND attempt = ? AND state = 'EXECUTING' RETURNING {COLUMNS}",
            (*values, attempts, number, attempt),
        )

    def reject(self, number: int, now: float, reason: str) -> None:
        """Make an unfinished job that cannot run FAILED."""
        failed = Attempt(moment(now), None, moment(now), "RESOURCE DIED", reason)
        self._run(
            f"UPDATE jobs SET state = 'FAILED', ended = ?, attempts = ? WHERE number = ? AND {_UNFINISHED}",
            (now, encode_attempts([failed]), number),
        )

    def unclaim(self, number: int, local_name: str | None) -> bool:
        """Put a job whose attempt never began back into its place in the queue; return False if it is there already."""
        changed = self._run(
            "UPDATE jobs SET state = 'QUEUED', executing = NULL, attempt = attempt - 1"
            " WHERE number = ? AND state = 'EXECUTING' AND local_name IS ?",
            (number, local_name),
        )
        return changed.rowcount > 0

    def change(self, number: int, before: Iterable[JobState], after: JobState, now: float) -> Record | None:
        """Change the state of a job; return ``None`` if it is in none of the required states."""
        states = ", ".join(f"'{state}'" for state in before)
        time = {JobState.QUEUED: "queued", JobState.FROZEN: None}.get(after, "ended")
        stamp = f", {time} = {now!r}" if time else ""
        return self._one(
            f"UPDATE jobs SET state = ?{stamp} WHERE number = ? AND state IN ({states}) RETURNING {COLUMNS}",
            (after, number),
        )

    def signal(self, session: int, number: int) -> None:
        """Tell another session that one of its jobs is in the queue again."""
        self._run("INSERT INTO signals (session, job) VALUES (?, ?)", (session, number))

    def take(self, number: int) -> None:
        """Assign a job to this session."""
        self._run("UPDATE jobs SET owner = ? WHERE number = ?", (self.session, number))

    def expire(self, queued_before: float, now: float) -> list[Record]:
        """Make the jobs EXPIRED that have waited too long."""
        return self._many(
            "UPDATE jobs SET state = 'EXPIRED', ended = ?"
            f" WHERE owner = ? AND ended IS NULL AND state IN ('QUEUED', 'FROZEN') AND queued < ? RETURNING {COLUMNS}",
            (now, self.session, queued_before),
        )

    def oldest_waiting(self) -> float | None:
        """Return when the longest waiting job of this session was queued."""
        waiting = "owner = ? AND ended IS NULL AND state IN ('QUEUED', 'FROZEN')"
        oldest: float | None
        (oldest,) = self._run(f"SELECT min(queued) FROM jobs WHERE {waiting}", (self.session,)).fetchone()
        return oldest

    def forget(self, number: int, before: float) -> bool:
        """Delete the record of a job that ended before a time. Its number, a part of its id, is not used again."""
        with self.transaction():
            self._run(
                "INSERT INTO forgotten SELECT ? WHERE ? > (SELECT coalesce(max(highest), 0) FROM forgotten)",
                (number, number),
            )
            done = self._run(f"DELETE FROM jobs WHERE number = ? AND NOT {_UNFINISHED} AND ended < ?", (number, before))
        return done.rowcount > 0

    # -- queries

    def progress(self) -> Progress:
        """Return a snapshot of the jobs."""
        rows = self._rows(f"SELECT number, state, attempt, queued FROM jobs WHERE {_UNFINISHED}")
        newest = self._run("SELECT coalesce(max(number), 0) FROM jobs").fetchone()[0]
        return Progress({number: state for number, *state in rows}, newest)

    def numbers_after(self, number: int) -> list[int]:
        """Return the numbers of newer jobs."""
        return [row[0] for row in self._rows("SELECT number FROM jobs WHERE number > ?", (number,))]

    def find(self, job_id: str) -> Record | None:
        """Return the record of a job, by its whole id."""
        number = number_of(job_id)
        if number is None:
            return None
        record = self._one(f"SELECT {COLUMNS} FROM jobs WHERE number = ?", (number,))
        with suppress(DamagedRecord):  # without its times, the job has no id
            return record if record is not None and record.job_id == job_id else None
        return None

    def records(self, numbers: Sequence[int]) -> list[Record]:
        """Return several records, in no order."""
        records: list[Record] = []
        for some in _chunks(numbers):
            records += self._select(f"WHERE number IN ({','.join('?' * len(some))})", some)
        return records

    def find_by_marker(self, marker: str, among: int = 10_000) -> list[Record]:
        """Return the jobs that were submitted with a marker, among the newest."""
        return self._select(
            "WHERE number > (SELECT coalesce(max(number), 0) FROM jobs) - ? AND plan LIKE ? ORDER BY number",
            (among, f'%"m":"{marker}"%'),
        )

    def newest(self, limit: int | None, before: int | None = None, since: float | None = None) -> list[Record]:
        """Return records from the newest back, at most ``limit``, below a number, not received before a time."""
        return self._select(
            "WHERE number < ? AND received >= ? ORDER BY number DESC LIMIT ?",
            (before if before is not None else 1 << 62, since or 0.0, -1 if limit is None else limit),
        )

    def ended_before(self, before: float, limit: int, after: int) -> list[Record]:
        """Return the first records above a number of jobs that ended before a time."""
        clause = f"WHERE number > ? AND NOT {_UNFINISHED} AND ended < ? ORDER BY number LIMIT ?"
        return self._select(clause, (after, before, limit))

    def _select(self, clause: str, values: Sequence[Any]) -> list[Record]:
        return self._many(f"SELECT {COLUMNS} FROM jobs {clause}", values)

    def _one(self, statement: str, values: Sequence[Any]) -> Record | None:
        records = self._many(statement, values)
        return records[0] if records else None

    def _many(self, statement: str, values: Sequence[Any]) -> list[Record]:
        return [Record(*row) for row in self._rows(statement, values)]

    def _rows(self, statement: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        try:
            # fetchall: SQLite completes and commits a statement with RETURNING only after its last row.
            return self._database.execute(statement, values).fetchall()
        except sqlite3.Error as error:
            raise explain(error, str(self._path)) from error

    def _run(self, statement: str, values: Sequence[Any] = ()) -> sqlite3.Cursor:
        try:
            return self._database.execute(statement, values)
        except sqlite3.Error as error:
            raise explain(error, str(self._path)) from error


def _chunks(values: Sequence[T]) -> Iterator[Sequence[T]]:
    return (values[start : start + _CHUNK] for start in range(0, len(values), _CHUNK))
