"""Records facts about jobs that ``jobstatus`` does not report: names, labels, exit codes and private folders."""

from __future__ import annotations

import json
import logging
import sqlite3
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable, Mapping, Sequence
    from pathlib import Path

    from .._core.models import JobStatus

logger = logging.getLogger("aiomig.grid")

_SCHEMA = """
CREATE TABLE IF NOT EXISTS jobs (
    job_id TEXT PRIMARY KEY,
    name TEXT,
    labels TEXT NOT NULL DEFAULT '{}',   -- as JSON
    exit_code INTEGER,
    folder TEXT,                         -- the private folder of the job in the home, if it may exist
    described INTEGER NOT NULL DEFAULT 0,  -- whether name and labels are set
    noted REAL NOT NULL                  -- when the row was inserted, in seconds since 1970
) WITHOUT ROWID
"""

_LOCK_SECONDS = 0.5
"""How long SQLite waits for another process, which holds the lock for milliseconds."""

_CHUNK = 200


class JobRecords:
    """The job records of one account, in a SQLite database that all its sessions on this machine share.

    Without a folder, they last as long as the session. They only supplement the server's data, so a problem with the
    file is logged and raises no error.
    """

    def __init__(self) -> None:
        self._path: Path | None = None
        self._database: sqlite3.Connection | None = None

    def open(self, folder: Path | None) -> None:
        """Use the database in a private folder, or one in memory. The first write creates the file."""
        self._path = folder / "jobs.sqlite" if folder is not None else None

    def close(self) -> None:
        """Close the database. May be called more than once."""
        database, self._database = self._database, None
        if database is not None:
            database.close()

    def note_descriptions(
        self, jobs: Iterable[tuple[str, str | None, Mapping[str, str]]], folders: Mapping[str, str | None] | None = None
    ) -> None:
        """Record names and labels (triples of job id, name and labels), and the private folders of this user's jobs."""
        now, folders = time.time(), folders or {}
        self._write(
            "INSERT INTO jobs (job_id, name, labels, folder, described, noted) VALUES (?, ?, ?, ?, 1, ?)"
            " ON CONFLICT (job_id) DO UPDATE SET name = excluded.name, labels = excluded.labels, described = 1",
            [(job_id, name, json.dumps(dict(labels)), folders.get(job_id), now) for job_id, name, labels in jobs],
        )

    def noted_before(self, before: float) -> dict[str, str | None]:
        """Return the private folder, or ``None``, of each job recorded before a time, by job id."""
        return dict(self._query("SELECT job_id, folder FROM jobs WHERE noted < ?", (before,)))

    def note_removed(self, job_id: str) -> None:
        """Record that the private folder of a job no longer exists."""
        self._write("UPDATE jobs SET folder = NULL WHERE job_id = ?", [(job_id,)])

    def forget(self, job_ids: Iterable[str]) -> None:
        """Remove the records of jobs."""
        self._write("DELETE FROM jobs WHERE job_id = ?", [(job_id,) for job_id in job_ids])

    def note_exit_code(self, job_id: str, exit_code: int) -> None:
        """Record the exit code of a job that has ended."""
        self._write(
            "INSERT INTO jobs (job_id, exit_code, noted) VALUES (?, ?, ?) ON CONFLICT (job_id)"
            " DO UPDATE SET exit_code = excluded.exit_code",
            [(job_id, exit_code, time.time())],
        )

    def undescribed(self, job_ids: Sequence[str]) -> list[str]:
        """Return the jobs whose names and labels are not recorded."""
        described = {row[0] for row in self._rows(job_ids) if row[4]}
        return [job_id for job_id in job_ids if job_id not in described]

    def completed(self, statuses: Iterable[JobStatus]) -> Generator[None, None, list[JobStatus]]:
        """Add the recorded names, labels and exit codes to statuses. Yields between steps."""
        result: list[JobStatus] = list(statuses)
        for start in range(0, len(result), _CHUNK):
            chunk = result[start : start + _CHUNK]
            rows = {row[0]: row for row in self._rows([status.job_id for status in chunk])}
            if rows:
                result[start : start + _CHUNK] = [_with(status, rows.get(status.job_id)) for status in chunk]
            yield
        return result

    def complete(self, status: JobStatus) -> JobStatus:
        """Add the recorded name, labels and exit code to a status."""
        rows = self._rows([status.job_id])
        return _with(status, rows[0]) if rows else status

    # -- the database

    def _rows(self, job_ids: Sequence[str]) -> list[tuple[Any, ...]]:
        rows: list[tuple[Any, ...]] = []
        for start in range(0, len(job_ids), _CHUNK):
            chunk = job_ids[start : start + _CHUNK]
            marks = ",".join("?" * len(chunk))
            query = f"SELECT job_id, name, labels, exit_code, described FROM jobs WHERE job_id IN ({marks})"
            rows += self._query(query, chunk)
        return rows

    def _query(self, query: str, values: Sequence[Any]) -> list[tuple[Any, ...]]:
        if self._database is None and (self._path is None or not self._path.exists()):
            return []
        try:
            return self._opened().execute(query, values).fetchall()
        except (sqlite3.Error, OSError) as error:
            self._give_up(error)
            return []

    def _write(self, statement: str, rows: Sequence[Sequence[Any]]) -> None:
        if not rows:
            return
        try:
            database = self._opened()
            with database:
                database.executemany(statement, rows)
        except (sqlite3.Error, OSError) as error:
            self._give_up(error)

    def _opened(self) -> sqlite3.Connection:
        if self._database is None:
            self._database = database = sqlite3.connect(self._path or ":memory:", timeout=_LOCK_SECONDS)
            database.execute("PRAGMA journal_mode=WAL")
            database.execute("PRAGMA synchronous=NORMAL")
            database.execute(_SCHEMA)
        return self._database

    def _give_up(self, error: Exception) -> None:
        logger.warning(
            "names, labels and exit codes of jobs are kept in memory only: %s: %s; move it away, or make it writable",
            self._path,
            error,
        )
        self.close()
        self._path = None


def _with(status: JobStatus, row: tuple[Any, ...] | None) -> JobStatus:
    if row is None:
        return status
    _, name, labels, exit_code, _ = row
    return replace(status, name=name, labels=json.loads(labels), exit_code=exit_code)
