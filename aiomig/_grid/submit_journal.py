"""Write-ahead journal of submits: records each submit before it is sent, and its outcome afterwards.

Each session has its own file, locked while the session is open. The next session of the same user on the same grid
takes over the files that dead sessions have left, so that the jobs of interrupted submits are not forgotten.
"""

from __future__ import annotations

import hashlib
import logging
import secrets
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from .._core.errors import LocalError, SpecError
from .._core.journal import JsonLinesLog
from .._core.models import Fault, Unconfirmed
from .._core.validation import expanded, state_directory
from .._home.folders import make_private

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from .._spec.plan import Plan

    Row = Mapping[str, object]

logger = logging.getLogger("aiomig.grid")

_NAMES = "submits-*.jsonl"
_REMEDY = "make room, give another folder as journal=, or do without: journal=False"
_OLD_KEYS = {"m": "submit", "t": "at", "n": "name", "p": "project", "id": "job"}
"""The keys in rows of versions before 1.0. A row with ``m`` and ``id`` or ``x`` means that the submit is settled."""


def folder_of(journal: str | os.PathLike[str] | bool | None) -> tuple[Path | None, bool]:
    """Return the folder of the journals, and whether the user chose it.

    Raises:
        SpecError: the value is not a path, a bool or ``None``.
    """
    if journal is None or journal is False:
        return None, False
    if journal is True:
        return state_directory() / "submits", False
    try:
        if not journal:
            raise ValueError("is empty")
        return expanded(journal).absolute(), True
    except (TypeError, ValueError) as error:
        remedy = "give the path of a folder, True for this user's own, or False for none"
        raise SpecError([Fault("journal", journal, str(error), remedy)]) from error


class SubmitJournal:
    """The submits of one session whose jobs the user may not know: in memory and, with a folder, on disk.

    A submit enters the journal before it is sent. It stays there until it is settled: it created no job, the caller has
    the handle of its job, or the job was canceled.

    Args:
        folder: the folder for all grids and users; ``None`` to write no files.
        owner: returns a string that identifies the grid and the user.
        required: whether an unusable folder is an error; otherwise aiomig logs a warning and writes no file.
        compact_at: the size in bytes from which on a file is rewritten without its settled rows.
    """

    def __init__(
        self,
        folder: Path | None = None,
        owner: Callable[[], str] = lambda: "",
        *,
        required: bool = False,
        compact_at: int = 1 << 16,
    ) -> None:
        self._parent = folder
        self._owner = owner
        self._required = required
        self._compact_at = self._next_compact = compact_at
        self._folder: Path | None = None
        self._log: JsonLinesLog | None = None
        self._open: dict[str, Unconfirmed] = {}  # by marker
        self._markers: dict[str, str] = {}  # by job id
        self._in_flight: set[str] = set()

    @property
    def folder(self) -> Path | None:
        """The folder of this grid and user while the journal is open; ``None`` if no files are written."""
        return self._folder

    # -- the file

    def open(self) -> None:
        """Take over the files of dead sessions.

        Raises:
            LocalError: the folder that the user chose cannot be used.
        """
        if self._parent is None:
            return
        folder = self._parent / hashlib.sha256(self._owner().encode("utf-8", "surrogatepass")).hexdigest()[:20]
        try:
            make_private(folder)
            folder.chmod(0o700)
            for path in sorted(folder.glob(_NAMES)):
                self._take_over(path)
        except OSError as error:
            if self._required:
                raise _unusable(folder, error) from error
            logger.warning("no journal of submits is kept: %s cannot be used: %s; %s", folder, error, _REMEDY)
            self.close()
            self._open.clear()
            return
        self._folder = folder
        if self._open:
            logger.warning(
                "%d submits of earlier sessions may have made jobs that no program knows; "
                "await session.unconfirmed() lists them",
                len(self._open),
            )

    def _take_over(self, path: Path) -> None:
        try:
            log = JsonLinesLog.open(path, create=False)
        except FileNotFoundError:
            return
        if log is None:
            return
        left = read_rows(log.rows())
        if not left:
            log.remove()
        elif self._log is None:
            self._log = log
        else:
            self._log.append(map(_row, left.values()), sync=True)
            log.remove()
        self._open |= left
        self._markers |= {job_id: marker for marker, entry in left.items() for job_id in entry.job_ids}

    def close(self) -> None:
        """Keep the file for the next session if a submit is open; otherwise remove it."""
        log, self._log = self._log, None
        if log is not None:
            try:
                log.close() if self._open else log.remove()
            except OSError as error:
                logger.warning("the journal %s is left behind: %s", log.path, error)

    # -- recording

    @contextmanager
    def sending(self, plans: Sequence[Plan]) -> Iterator[None]:
        """Record submits before they are sent. Inside the block, `unconfirmed` does not list them.

        Raises:
            LocalError: they cannot be recorded, and so must not be sent.
        """
        now = datetime.now(UTC)
        new = {
            plan.marker: Unconfirmed(
                plan.marker, plan.description.text("JOBNAME"), plan.description.text("PROJECT"), now
            )
            for plan in plans
        }
        if self._folder is not None:
            try:
                self._log = self._log or _new_log(self._folder)
                self._log.append(map(_row, new.values()), sync=True)
            except OSError as error:
                raise _unusable(self._folder, error) from error
        self._open |= new
        self._in_flight |= new.keys()
        try:
            yield
        finally:
            self._in_flight -= new.keys()

    def made(self, jobs: Iterable[tuple[str, str]]) -> None:
        """Record the jobs of submits, as pairs of marker and job id."""
        rows: list[Row] = []
        for marker, job_id in jobs:
            if marker in self._open:
                self._open[marker] = replace(self._open[marker], job_ids=(job_id,))
                self._markers[job_id] = marker
                rows.append({"made": marker, "job": job_id})
        self._write(rows)

    def settle(self, markers: Iterable[str]) -> list[Unconfirmed]:
        """Settle submits. Return those that were open."""
        settled = [entry for marker in markers if (entry := self._open.pop(marker, None)) is not None]
        for entry in settled:
            for job_id in entry.job_ids:
                self._markers.pop(job_id, None)
        self._write([{"settled": entry.marker} for entry in settled])
        return settled

    def settle_jobs(self, job_ids: Iterable[str]) -> None:
        """Settle the submits of jobs."""
        self.settle([marker for job_id in job_ids if (marker := self._markers.get(job_id)) is not None])

    def reopen(self, entries: Iterable[Unconfirmed]) -> None:
        """Record jobs that are to be canceled, until it is certain that they are."""
        new = [entry for entry in entries if self._markers.keys().isdisjoint(entry.job_ids)]
        self._open |= {entry.marker: entry for entry in new}
        self._markers |= {job_id: entry.marker for entry in new for job_id in entry.job_ids}
        self._write(map(_row, new))

    def _write(self, rows: Iterable[Row]) -> None:
        rows = list(rows)
        if not rows or self._folder is None:
            return
        try:
            self._log = self._log or _new_log(self._folder)
            self._log.append(rows)
            if self._log.size >= self._next_compact:
                self._compact(self._log, self._folder)
        except OSError as error:
            # At worst, the next session looks for the jobs of settled submits.
            logger.warning("the journal of submits in %s cannot be written: %s", self._folder, error)

    def _compact(self, log: JsonLinesLog, folder: Path) -> None:
        new = _new_log(folder)
        try:
            new.append(map(_row, self._open.values()), sync=True)
        except OSError:
            new.remove()
            raise
        self._log = new
        self._next_compact = max(self._compact_at, 2 * new.size)
        log.remove()

    def find(self, marker: str) -> Unconfirmed | None:
        """Return the entry of an open submit, or ``None``."""
        return self._open.get(marker)

    def unconfirmed(self) -> list[Unconfirmed]:
        """Return the open submits of this session and of earlier ones, the oldest first."""
        left = [entry for marker, entry in self._open.items() if marker not in self._in_flight]
        return sorted(left, key=lambda entry: entry.sent_at)


def _new_log(folder: Path) -> JsonLinesLog:
    while True:
        # Before the lock, another session may take the new file for a leftover and remove it.
        log = JsonLinesLog.open(folder / _NAMES.replace("*", secrets.token_hex(8)))
        if log is not None:
            return log


def _unusable(folder: Path, error: OSError) -> LocalError:
    reason = error.strerror or str(error)
    return LocalError(f"the journal of submits in {folder} cannot be used: {reason}", path=str(folder), remedy=_REMEDY)


def _row(entry: Unconfirmed) -> Row:
    row = {
        "submit": entry.marker,
        "at": entry.sent_at.timestamp(),
        "name": entry.name,
        "project": entry.project,
    }
    return {**row, "job": entry.job_ids[0]} if entry.job_ids else row


def read_rows(rows: Iterable[Row]) -> dict[str, Unconfirmed]:
    """Return the submits that are open after these rows. Skip invalid rows."""
    entries: dict[str, Unconfirmed] = {}
    for row in rows:
        row = _translated(row)
        try:
            if "submit" in row:
                marker, job_ids = str(row["submit"]), (str(row["job"]),) if "job" in row else ()
                at = datetime.fromtimestamp(row["at"], UTC)  # type: ignore[arg-type]
                entries[marker] = Unconfirmed(marker, str(row["name"]), str(row["project"]), at, job_ids)
            elif "made" in row and (marker := str(row["made"])) in entries:
                entries[marker] = replace(entries[marker], job_ids=(str(row["job"]),))
            elif "settled" in row:
                entries.pop(str(row["settled"]), None)
        except (ValueError, TypeError, KeyError, OverflowError, OSError):
            continue
    return entries


def _translated(row: Row) -> Row:
    """Convert a row of an older version."""
    if "m" in row and "t" not in row:
        return {"settled": row["m"]}
    return {_OLD_KEYS.get(key, key): value for key, value in row.items()} if "m" in row else row
