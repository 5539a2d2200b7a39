"""The records of local mode: every job of a home, in one SQLite database that several processes share.

Each job has an *owner*, the session that runs it. A change that a session makes to a job is one SQL statement that
also says from which state and for which owner, so that two sessions, or a session and its successor after a crash,
never run one job twice. A session is alive while it holds a lock on its file; the system releases that lock with
the process, however it ends.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import sqlite3
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .._core.errors import LocalError
from .._core.models import Attempt, JobState, JobStatus
from .._spec.mrsl import Description
from .._spec.plan import Plan, PlannedOutput

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

SCHEMA_VERSION = 1
SERVER = "local.0"

_SCHEMA = """
CREATE TABLE jobs (
    number INTEGER PRIMARY KEY,   -- the counter in the job id
    state TEXT NOT NULL,
    owner INTEGER,                -- the session that runs it
    rank INTEGER NOT NULL,        -- place in the queue
    plan TEXT NOT NULL,
    received REAL NOT NULL,       -- times are seconds since the epoch
    queued REAL NOT NULL,
    executing REAL,
    ended REAL,
    attempt INTEGER NOT NULL DEFAULT 0,
    local_name TEXT,
    attempts TEXT,                -- the failed ones, as JSON
    verified TEXT
) STRICT;
CREATE INDEX unfinished ON jobs (owner, rank) WHERE state IN ('QUEUED', 'EXECUTING', 'FROZEN');
CREATE TABLE sessions (number INTEGER PRIMARY KEY AUTOINCREMENT, boot TEXT NOT NULL, opened REAL NOT NULL) STRICT;
CREATE TABLE signals (session INTEGER NOT NULL, job INTEGER NOT NULL) STRICT;
"""

_UNFINISHED = "state IN ('QUEUED', 'EXECUTING', 'FROZEN')"
_COLUMNS = "number, state, owner, plan, received, queued, executing, ended, attempt, local_name, attempts, verified"
_CHUNK = 500
"""How many values one statement names."""

_JOB_ID = re.compile(r"([1-9]\d{0,17})_\d+_\d+_\d+__\d+_\d+_\d+_" + re.escape(SERVER))


def boot_id() -> str:
    """A text that changes when the machine restarts; empty where the system has none."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text("ascii").strip()
    except OSError:
        return ""


def job_id_of(number: int, received: float) -> str:
    """A job id in MiG's form: counter, UTC time stamp without padding, server."""
    at = datetime.fromtimestamp(received, UTC)
    return f"{number}_{at.month}_{at.day}_{at.year}__{at.hour}_{at.minute}_{at.second}_{SERVER}"


@dataclass(frozen=True, slots=True)
class Record:
    """One row of the job table."""

    number: int
    state: JobState
    owner: int | None
    plan_text: str
    received: float
    queued: float
    executing: float | None
    ended: float | None
    attempt: int
    local_name: str | None
    attempts_text: str | None
    verified: str | None

    @property
    def job_id(self) -> str:
        """The job's id."""
        return job_id_of(self.number, self.received)

    @property
    def plan(self) -> Plan:
        """What is to be done."""
        return decode_plan(self.plan_text)

    @property
    def attempts(self) -> tuple[Attempt, ...]:
        """The failed attempts so far."""
        return decode_attempts(self.attempts_text)

    def status(self) -> JobStatus:
        """The record as a user sees it."""
        ended = moment(self.ended)
        return JobStatus(
            job_id=self.job_id,
            state=self.state,
            native=self.state.value,
            received_at=moment(self.received),
            queued_at=moment(self.queued),
            executing_at=moment(self.executing),
            finished_at=ended if self.state is JobState.FINISHED else None,
            failed_at=ended if self.state is JobState.FAILED else None,
            canceled_at=ended if self.state is JobState.CANCELED else None,
            attempts=self.attempts,
            verified=self.verified,
            resource=RESOURCE if self.executing is not None else None,
        )


RESOURCE = "localhost_exe"


def moment(seconds: float | None) -> datetime | None:
    """Seconds since the epoch as an aware time."""
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC)


def encode_plan(plan: Plan) -> str:
    """A plan as JSON text; uploads are done by then and left out."""
    data: dict[str, Any] = {"k": dict(plan.description.keywords)}
    if plan.outputs:
        data["o"] = [[each.name, each.path, each.destination] for each in plan.outputs]
    if plan.folder is not None:
        data["f"] = plan.folder
    if plan.marker:
        data["m"] = plan.marker
    if plan.prologue_lines or plan.epilogue_lines:
        data["l"] = [plan.prologue_lines, plan.epilogue_lines]
    return json.dumps(data, ensure_ascii=False, separators=(",", ":"))


def decode_plan(text: str) -> Plan:
    """The plan of `encode_plan`."""
    data = json.loads(text)
    before, after = data.get("l", (0, 0))
    return Plan(
        Description({keyword: tuple(lines) for keyword, lines in data["k"].items()}),
        outputs=tuple(PlannedOutput(*each) for each in data.get("o", ())),
        folder=data.get("f"),
        marker=data.get("m", ""),
        prologue_lines=before,
        epilogue_lines=after,
    )


def encode_attempts(attempts: Iterable[tuple[float, float | None, float, str, str]]) -> str:
    """Failed attempts as JSON: queued, executing, failed, reason, detail."""
    return json.dumps(list(attempts), ensure_ascii=False, separators=(",", ":"))


def decode_attempts(text: str | None) -> tuple[Attempt, ...]:
    """The attempts of `encode_attempts`."""
    if not text:
        return ()
    return tuple(
        Attempt(moment(queued), moment(executing), moment(failed), reason, detail, RESOURCE)
        for queued, executing, failed, reason, detail in json.loads(text)
    )


class _Transaction:
    # A class, for every job has several: a generator would cost as much as the statements.
    __slots__ = ("_database", "_explain")

    def __init__(self, database: sqlite3.Connection, explain: Callable[[sqlite3.Error], LocalError]) -> None:
        self._database = database
        self._explain = explain

    def __enter__(self) -> None:
        self._run("BEGIN IMMEDIATE")

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        try:
            if kind is None:
                self._run("COMMIT")
        finally:
            # Some errors, a full disk among them, have ended the transaction already.
            if self._database.in_transaction:
                self._run("ROLLBACK")
        if isinstance(error, sqlite3.Error):
            raise self._explain(error) from error

    def _run(self, statement: str) -> None:
        try:
            self._database.execute(statement)
        except sqlite3.Error as error:
            raise self._explain(error) from error


class Store:
    """The database of one home, as one session sees it.

    Args:
        folder: local mode's private folder in the home; it must exist.

    Raises:
        LocalError: the database cannot be made, read or written, or is not one of ours.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / "jobs.sqlite"
        self._locks = folder / "sessions"
        self._lock: int | None = None
        self.session = 0
        if self._path.exists() and not os.access(self._path, os.R_OK | os.W_OK):
            # Before SQLite gives the files beside it the same permissions.
            raise LocalError(f"{self._path} is not writable", path=str(self._path), remedy="chmod u+rw it")
        with self._translated():
            self._database = sqlite3.connect(self._path, timeout=20, isolation_level=None)
            try:
                self._prepare()
            except BaseException:
                self._database.close()
                raise
        self._version = self._data_version()

    def _prepare(self) -> None:
        run = self._database.execute
        run("PRAGMA journal_mode=WAL")
        # In WAL mode NORMAL loses nothing when a process dies; only a power cut can take the last moments back.
        run("PRAGMA synchronous=NORMAL")
        run("PRAGMA wal_autocheckpoint=4000")
        # Few pages are used again and again; the rest of a long history need not be in memory.
        run("PRAGMA cache_size=-512")
        version = run("PRAGMA user_version").fetchone()[0]
        if version == 0:
            with self.transaction():
                if run("PRAGMA user_version").fetchone()[0] == 0:
                    for statement in _SCHEMA.split(";\n"):
                        if statement.strip():
                            run(statement)
                    run(f"PRAGMA user_version={SCHEMA_VERSION}")
        elif version != SCHEMA_VERSION:
            raise LocalError(
                f"{self._path} was made by another version of aiomig (format {version}, this one is {SCHEMA_VERSION})",
                path=str(self._path),
                remedy="use that version, or another home",
            )

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise self._explain(error) from error

    def _explain(self, error: sqlite3.Error) -> LocalError:
        path = str(self._path)
        name = getattr(error, "sqlite_errorname", "") or ""
        if name.startswith("SQLITE_FULL"):
            return LocalError(f"the disk of {path} is full", path=path, remedy="make room, then open the home again")
        if name.startswith(("SQLITE_CORRUPT", "SQLITE_NOTADB")):
            return LocalError(
                f"{path} is damaged: {error}",
                path=path,
                remedy="move it away to begin with empty records; the results in job_output are not affected",
            )
        if name.startswith("SQLITE_BUSY"):
            return LocalError(
                f"{path} is locked by another process", path=path, remedy="see what holds it (lsof), or wait"
            )
        return LocalError(f"{path}: {error}", path=path, remedy="check that the home is a local, writable folder")

    def transaction(self) -> _Transaction:
        """Several statements as one; rolled back by an error."""
        return _Transaction(self._database, self._explain)

    def _run(self, statement: str, values: Sequence[Any] = ()) -> sqlite3.Cursor:
        try:
            return self._database.execute(statement, values)
        except sqlite3.Error as error:
            raise self._explain(error) from error

    # -- sessions

    def begin_session(self, now: float) -> None:
        """Enters this session, with its lock."""
        with self.transaction():
            cursor = self._run("INSERT INTO sessions (boot, opened) VALUES (?, ?)", (boot_id(), now))
            self.session = cursor.lastrowid or 0
            try:
                self._locks.mkdir(mode=0o700, exist_ok=True)
                path = self._locks / str(self.session)
                self._lock = os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
                fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                raise LocalError(
                    f"{self._locks} cannot be used: {error.strerror}",
                    path=str(self._locks),
                    remedy="make it a folder that you may write to, with room on its disk",
                ) from error

    def is_alive(self, session: int) -> bool:
        """Whether a session is still open, in whatever process."""
        if session == self.session:
            return True
        try:
            descriptor = os.open(self._locks / str(session), os.O_RDWR | os.O_CLOEXEC)
        except FileNotFoundError:
            return False
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return True
        finally:
            os.close(descriptor)
        return False

    def same_boot(self, session: int | None) -> bool:
        """Whether a session began after the last start of this machine."""
        row = self._run("SELECT boot FROM sessions WHERE number IS ?", (session,)).fetchone()
        return row is not None and row[0] == boot_id()

    def names_in_use(self, names: Iterable[str]) -> set[str]:
        """Which of these local names are of attempts under way, or of another open session, which cleans up itself."""
        wanted = list(names)
        used: set[str] = set()
        for start in range(0, len(wanted), _CHUNK):
            some = wanted[start : start + _CHUNK]
            marks = ",".join("?" * len(some))
            rows = self._run(f"SELECT local_name, state, owner FROM jobs WHERE local_name IN ({marks})", some)
            for name, state, owner in rows.fetchall():
                if state == "EXECUTING" or (owner not in (None, self.session) and self.is_alive(owner)):
                    used.add(name)
        return used

    def adopt(self) -> list[Record]:
        """Makes the unfinished jobs of dead sessions ours; in the order of the queue."""
        owners = self._run(f"SELECT DISTINCT owner FROM jobs WHERE {_UNFINISHED}").fetchall()
        if all(owner is not None and self.is_alive(owner) for (owner,) in owners):
            return []
        adopted: list[Record] = []
        with self.transaction():
            for (owner,) in self._run(f"SELECT DISTINCT owner FROM jobs WHERE {_UNFINISHED}").fetchall():
                if owner is not None and self.is_alive(owner):
                    continue
                adopted += self._select(f"WHERE {_UNFINISHED} AND owner IS ? ORDER BY rank", (owner,))
                self._run(f"UPDATE jobs SET owner = ? WHERE {_UNFINISHED} AND owner IS ?", (self.session, owner))
        return sorted(adopted, key=lambda record: record.queued)

    def signaled(self) -> list[int]:
        """Jobs of ours that another process put back into the queue."""
        if self._run("SELECT 1 FROM signals WHERE session = ? LIMIT 1", (self.session,)).fetchone() is None:
            return []
        rows = self._run("DELETE FROM signals WHERE session = ? RETURNING job", (self.session,)).fetchall()
        return [number for (number,) in rows]

    def changed_elsewhere(self) -> bool:
        """Whether another connection wrote since the last call."""
        before, self._version = self._version, self._data_version()
        return before != self._version

    def _data_version(self) -> int:
        return int(self._run("PRAGMA data_version").fetchone()[0])

    def close(self) -> None:
        """Ends the session: what is unfinished is free for others."""
        self._database.close()
        if self._lock is not None:
            (self._locks / str(self.session)).unlink(missing_ok=True)
            os.close(self._lock)
            self._lock = None

    # -- jobs

    def insert(self, plans: Iterable[str], now: float, rank: int) -> list[int]:
        """New QUEUED jobs of ours; their numbers."""
        return [
            self._run(
                "INSERT INTO jobs (state, owner, rank, plan, received, queued) VALUES ('QUEUED', ?, ?, ?, ?, ?)",
                (self.session, rank + offset, plan, now, now),
            ).lastrowid
            or 0
            for offset, plan in enumerate(plans)
        ]

    def claim(self, number: int, now: float, local_name: str) -> Record | None:
        """Makes a QUEUED job of ours EXECUTING; ``None`` where it is not that any more."""
        return self._one(
            self._run(
                "UPDATE jobs SET state = 'EXECUTING', executing = ?, attempt = attempt + 1, local_name = ?"
                f" WHERE number = ? AND state = 'QUEUED' AND owner = ? RETURNING {_COLUMNS}",
                (now, local_name, number, self.session),
            )
        )

    def finish(self, number: int, attempt: int, now: float, verified: str) -> Record | None:
        """An attempt ended well; ``None`` where it was canceled meanwhile."""
        return self._one(
            self._run(
                "UPDATE jobs SET state = 'FINISHED', ended = ?, verified = ?"
                f" WHERE number = ? AND attempt = ? AND state = 'EXECUTING' RETURNING {_COLUMNS}",
                (now, verified, number, attempt),
            )
        )

    def fail(self, number: int, attempt: int, now: float, attempts: str, *, again: bool) -> Record | None:
        """An attempt failed: back to the end of the queue, or FAILED. ``None`` where it was canceled meanwhile."""
        if again:
            change, values = "state = 'QUEUED', queued = ?, executing = NULL, rank = ?", [now, int(now * 1e6)]
        else:
            change, values = "state = 'FAILED', ended = ?", [now]
        return self._one(
            self._run(
                f"UPDATE jobs SET {change}, attempts = ?"
                f" WHERE number = ? AND attempt = ? AND state = 'EXECUTING' RETURNING {_COLUMNS}",
                (*values, attempts, number, attempt),
            )
        )

    def unclaim(self, number: int, local_name: str | None) -> bool:
        """Puts a job whose attempt never began back where it was in the queue; False where that is done already."""
        changed = self._run(
            "UPDATE jobs SET state = 'QUEUED', executing = NULL, attempt = attempt - 1"
            " WHERE number = ? AND state = 'EXECUTING' AND local_name IS ?",
            (number, local_name),
        )
        return changed.rowcount > 0

    def change(self, number: int, before: Iterable[JobState], after: JobState, now: float) -> Record | None:
        """A user's transition; ``None`` where the job is in none of the states before."""
        states = ", ".join(f"'{state}'" for state in before)
        time = {JobState.QUEUED: "queued", JobState.FROZEN: None}.get(after, "ended")
        stamp = f", {time} = {now!r}" if time else ""
        return self._one(
            self._run(
                f"UPDATE jobs SET state = ?{stamp} WHERE number = ? AND state IN ({states}) RETURNING {_COLUMNS}",
                (after, number),
            )
        )

    def signal(self, session: int, number: int) -> None:
        """Tells another session that one of its jobs is in the queue again."""
        self._run("INSERT INTO signals (session, job) VALUES (?, ?)", (session, number))

    def take(self, number: int) -> None:
        """Makes a job ours."""
        self._run("UPDATE jobs SET owner = ? WHERE number = ?", (self.session, number))

    def cancel_waiting(self, now: float, numbers: Sequence[int] | None) -> list[Record]:
        """Cancels what of ours waits, or of these numbers."""
        if numbers is None:
            rows = self._run(
                "UPDATE jobs SET state = 'CANCELED', ended = ? WHERE owner = ? AND state IN ('QUEUED', 'FROZEN')"
                f" RETURNING {_COLUMNS}",
                (now, self.session),
            ).fetchall()
            return [_record(row) for row in rows]
        records = (self.change(n, (JobState.QUEUED, JobState.FROZEN), JobState.CANCELED, now) for n in numbers)
        return [record for record in records if record is not None]

    def expire(self, queued_before: float, now: float) -> list[Record]:
        """Ends what has waited for too long."""
        rows = self._run(
            "UPDATE jobs SET state = 'EXPIRED', ended = ?"
            f" WHERE owner = ? AND state IN ('QUEUED', 'FROZEN') AND queued < ? RETURNING {_COLUMNS}",
            (now, self.session, queued_before),
        ).fetchall()
        return [_record(row) for row in rows]

    def oldest_waiting(self) -> float | None:
        """When the job of ours that waits longest was queued."""
        row = self._run(
            "SELECT min(queued) FROM jobs WHERE owner = ? AND state IN ('QUEUED', 'FROZEN')", (self.session,)
        ).fetchone()
        return row[0] if row else None

    # -- looking things up

    def number_of(self, job_id: str) -> int | None:
        """The number in a job id, if it has the form of ours."""
        match = _JOB_ID.fullmatch(job_id)
        return int(match[1]) if match else None

    def find(self, job_id: str) -> Record | None:
        """The record of a job, by its whole id."""
        number = self.number_of(job_id)
        if number is None:
            return None
        record = self._one(self._run(f"SELECT {_COLUMNS} FROM jobs WHERE number = ?", (number,)))
        return record if record is not None and record.job_id == job_id else None

    def records(self, numbers: Sequence[int]) -> list[Record]:
        """Several records, in no order."""
        found: list[Record] = []
        for start in range(0, len(numbers), _CHUNK):
            some = numbers[start : start + _CHUNK]
            found += self._select(f"WHERE number IN ({','.join('?' * len(some))})", some)
        return found

    def find_by_marker(self, marker: str, among: int = 10_000) -> list[Record]:
        """The jobs that were submitted with a mark, among the newest."""
        return self._select(
            "WHERE number > (SELECT coalesce(max(number), 0) FROM jobs) - ? AND plan LIKE ? ORDER BY number",
            (among, f'%"m":"{marker}"%'),
        )

    def newest(self, limit: int | None, before: int | None = None) -> list[Record]:
        """Records from the newest back, at most ``limit``, below a number."""
        return self._select(
            "WHERE number < ? ORDER BY number DESC LIMIT ?",
            (before if before is not None else 1 << 62, -1 if limit is None else limit),
        )

    def _select(self, clause: str, values: Sequence[Any]) -> list[Record]:
        return [_record(row) for row in self._run(f"SELECT {_COLUMNS} FROM jobs {clause}", values).fetchall()]

    def _one(self, cursor: sqlite3.Cursor) -> Record | None:
        try:
            # fetchall, for a statement that returns rows is carried out and committed at its end only.
            rows = cursor.fetchall()
        except sqlite3.Error as error:
            raise self._explain(error) from error
        return _record(rows[0]) if rows else None


def _record(row: Sequence[Any]) -> Record:
    return Record(row[0], JobState(row[1]), *row[2:])
