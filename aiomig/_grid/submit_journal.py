"""Write-ahead journal of submits: what is sent is recorded first, and what became of it afterwards.

Each session keeps a file of its own, locked while the session lives. The next session of the same user on the same
grid takes over the files that dead sessions have left, so that no job is forgotten whose submit was cut off.
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
"""The keys that versions before 1.0 wrote; a row of ``m`` and ``id`` or ``x`` meant that the submit is settled."""


def folder_of(journal: str | os.PathLike[str] | bool | None) -> tuple[Path | None, bool]:
    """Return where journals are kept, and whether the user chose it.

    Raises:
        SpecError: it is neither a path nor a choice.
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
    """The submits of one session whose jobs may be unknown to the user, in memory and, given a folder, on disk.

    A submit is in the journal from before it is sent until it is settled: it made no job, the caller has the handle
    of its job, or the job was canceled.

    Args:
        folder: where the files of all grids and users are; ``None`` to keep none.
        owner: returns a text that names the grid and the user.
        required: whether a folder that cannot be used is an error; otherwise aiomig logs a warning and keeps no file.
        compact_at: the size in bytes from which a file is rewritten without its settled rows.
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
        self._markers: dict[str, str] = {}  # by the ids of the jobs that are known
        self._in_flight: set[str] = set()

    @property
    def folder(self) -> Path | None:
        """The folder for the records of this grid and user, once it is open; ``None`` if nothing is kept."""
        return self._folder

    # -- the file

    def open(self) -> None:
        """Take over the files of dead sessions.

        Raises:
            LocalError: the user chose the folder, and it cannot be used.
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
        """Leave the file to the next session if a submit in it is open; otherwise remove it."""
        log, self._log = self._log, None
        if log is not None:
            try:
                log.close() if self._open else log.remove()
            except OSError as error:
                logger.warning("the journal %s is left behind: %s", log.path, error)

    # -- what is recorded

    @contextmanager
    def sending(self, plans: Sequence[Plan]) -> Iterator[None]:
        """Record submits before they are sent. Inside the block `unconfirmed` does not list them.

        Raises:
            LocalError: they cannot be recorded; they must not be sent.
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
        """Record the ids of jobs that submits made: pairs of marker and job id."""
        rows: list[Row] = []
        for marker, job_id in jobs:
            if marker in self._open:
                self._open[marker] = replace(self._open[marker], job_ids=(job_id,))
                self._markers[job_id] = marker
                rows.append({"made": marker, "job": job_id})
        self._write(rows)

    def settle(self, markers: Iterable[str]) -> list[Unconfirmed]:
        """Record that submits need no more attention. Return those that were open."""
        settled = [entry for marker in markers if (entry := self._open.pop(marker, None)) is not None]
        for entry in settled:
            for job_id in entry.job_ids:
                self._markers.pop(job_id, None)
        self._write([{"settled": entry.marker} for entry in settled])
        return settled

    def settle_jobs(self, job_ids: Iterable[str]) -> None:
        """Record that jobs need no more attention."""
        self.settle([marker for job_id in job_ids if (marker := self._markers.get(job_id)) is not None])

    def reopen(self, entries: Iterable[Unconfirmed]) -> None:
        """Record jobs that the user has no use for and that are not known to be canceled yet."""
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
            # At worst, the next session asks the server about submits that are settled.
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
        """Return what is known of a submit that is not settled."""
        return self._open.get(marker)

    def unconfirmed(self) -> list[Unconfirmed]:
        """Return the open submits of this session and of earlier ones, the oldest first."""
        left = [entry for marker, entry in self._open.items() if marker not in self._in_flight]
        return sorted(left, key=lambda entry: entry.sent_at)


def _new_log(folder: Path) -> JsonLinesLog:
    while True:
        # Before the new file is locked, another session may take it for a leftover and remove it.
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
    """Return the submits that are open after these rows. Rows that make no sense are skipped."""
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
    """Return a row of an older version as this version writes it."""
    if "m" in row and "t" not in row:
        return {"settled": row["m"]}
    return {_OLD_KEYS.get(key, key): value for key, value in row.items()} if "m" in row else row
