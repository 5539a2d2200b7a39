"""Opens the SQLite database of a home, creates its tables, and translates its errors."""

from __future__ import annotations

import os
import resource
import sqlite3
from functools import partial
from typing import TYPE_CHECKING, TypeVar

import anyio

from .._core.errors import LocalError
from .._home.disk import RAISE_THE_LIMIT

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

T = TypeVar("T")

SCHEMA_VERSION = 2
"""The format of homes. Versions for format 1 cannot read the control files, and would run jobs a second time."""

_READABLE = (0, 1, SCHEMA_VERSION)
"""Formats that can be opened: of an empty database, and of earlier versions."""

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
CREATE TABLE sessions (number INTEGER PRIMARY KEY AUTOINCREMENT, boot TEXT NOT NULL, opened REAL NOT NULL) STRICT;
CREATE TABLE signals (session INTEGER NOT NULL, job INTEGER NOT NULL) STRICT;
"""

_BUSY_SECONDS = 0.02
"""How long SQLite itself waits for a lock, which blocks the event loop. `retry_while_locked` waits for longer ones."""

_ADDED = {
    "cores": "ALTER TABLE jobs ADD COLUMN cores INTEGER NOT NULL DEFAULT 1",
    "exit_code": "ALTER TABLE jobs ADD COLUMN exit_code INTEGER",
    "submit_key": "ALTER TABLE jobs ADD COLUMN submit_key TEXT",
    "key_digests": "ALTER TABLE jobs ADD COLUMN key_digests TEXT",
    "forgotten": "CREATE TABLE forgotten (highest INTEGER NOT NULL) STRICT",
    "submit_keys": "CREATE UNIQUE INDEX submit_keys ON jobs (submit_key) WHERE submit_key IS NOT NULL",
    "not_ended": "CREATE INDEX not_ended ON jobs (owner, rank) WHERE ended IS NULL",
}
"""Statements that add what databases of earlier versions lack, by name."""


class DatabaseLocked(LocalError):
    """Another process holds the lock of the database."""


async def retry_while_locked(call: Callable[[], T], seconds: float) -> T:
    """Call a function of the store, again while another process holds the database's lock; return its result.

    Raises:
        DatabaseLocked: the lock was held for longer.
    """
    deadline = anyio.current_time() + seconds
    while True:
        try:
            return call()
        except DatabaseLocked:
            if anyio.current_time() > deadline:
                raise
        await anyio.sleep(_BUSY_SECONDS)


def open_database(path: Path, is_alive: Callable[[int], bool]) -> sqlite3.Connection:
    """Open the database of a home, and create it if needed.

    Args:
        path: the database.
        is_alive: returns whether a session is open.

    Raises:
        LocalError: it cannot be made, read or written, is not a database of aiomig, or is in use by an earlier version.
    """
    if path.exists() and not os.access(path, os.R_OK | os.W_OK):
        # Before SQLite creates its other files with the same permissions.
        raise LocalError(f"{path} is not writable", path=str(path), remedy="chmod u+rw it")
    database = None
    try:
        database = sqlite3.connect(path, timeout=_BUSY_SECONDS, isolation_level=None)
        # An error message must be able to quote damaged text.
        database.text_factory = partial(str, encoding="utf-8", errors="surrogateescape")
        _prepare(database, path, is_alive)
    except BaseException as error:
        if database is not None:
            database.close()
        if isinstance(error, sqlite3.Error):
            raise explain(error, str(path)) from error
        raise
    return database


def _prepare(database: sqlite3.Connection, path: Path, is_alive: Callable[[int], bool]) -> None:
    run = database.execute
    run("PRAGMA journal_mode=WAL")
    # In WAL mode, NORMAL loses nothing if a process dies. A power cut can undo the last transactions.
    run("PRAGMA synchronous=NORMAL")
    # Only a few pages are used often. The rest of a long history need not be in memory.
    run("PRAGMA cache_size=-512")
    version = run("PRAGMA user_version").fetchone()[0]
    if version not in _READABLE:
        raise LocalError(
            f"{path} was made by another version of aiomig (format {version}, this one is {SCHEMA_VERSION})",
            path=str(path),
            remedy="use that version, or another home",
        )
    if version != SCHEMA_VERSION or _missing(database):
        run("BEGIN IMMEDIATE")
        if version == 1 and any(is_alive(number) for (number,) in run("SELECT number FROM sessions")):
            raise LocalError(
                f"{path} is in use by an earlier version of aiomig",
                path=str(path),
                remedy="end its programs, then open the home again: their jobs run on",
            )
        _create_tables(database)
        run("COMMIT")


def _create_tables(database: sqlite3.Connection) -> None:
    run = database.execute
    if run("PRAGMA user_version").fetchone()[0] == 0:
        for statement in _SCHEMA.split(";\n"):
            if statement.strip():
                run(statement)
    for statement in _missing(database):
        run(statement)
    run(f"PRAGMA user_version={SCHEMA_VERSION}")
    run("DROP INDEX IF EXISTS unfinished")  # of earlier versions: each change of a state changed it, too


def _missing(database: sqlite3.Connection) -> list[str]:
    names = "SELECT name FROM sqlite_schema UNION SELECT name FROM pragma_table_info('jobs')"
    present = {name for (name,) in database.execute(names)}
    return [statement for name, statement in _ADDED.items() if name not in present]


def explain(error: sqlite3.Error, path: str) -> LocalError:
    """Return the error for the user."""
    name = getattr(error, "sqlite_errorname", "") or ""
    if name.startswith("SQLITE_FULL"):
        return LocalError(f"the disk of {path} is full", path=path, remedy="make room, then open the home again")
    if name.startswith(("SQLITE_CORRUPT", "SQLITE_NOTADB")):
        return LocalError(
            f"{path} is damaged: {error}",
            path=path,
            remedy="move it away to begin with empty records; the results in job_output are not affected",
        )
    if name.startswith(("SQLITE_BUSY", "SQLITE_LOCKED")):
        return DatabaseLocked(
            f"{path} is locked by another process", path=path, remedy="see what holds it (lsof), or wait"
        )
    if name.startswith("SQLITE_IOERR") and resource.getrlimit(resource.RLIMIT_FSIZE)[0] != resource.RLIM_INFINITY:
        return LocalError(f"{path}: {error}", path=path, remedy=RAISE_THE_LIMIT)
    return LocalError(f"{path}: {error}", path=path, remedy="check that the home is a local, writable folder")
