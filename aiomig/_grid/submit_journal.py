"""The record of the submits of a session: what was sent, before it is sent, and what became of it.

Each session keeps a file of its own, locked while it lives. The next session of the same user on the same grid takes
over the files of those that are gone, so that no job whose submit was cut off by a crash is forgotten.
"""

from __future__ import annotations

import hashlib
import json
import logging
import secrets
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from .._core.errors import LocalError, SpecError
from .._core.journal import AppendFile
from .._core.models import Fault, Unconfirmed
from .._core.validation import expanded
from .._home.folders import make_private

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from pathlib import Path

    from .._core.errors import MigError
    from .._spec.plan import Plan

logger = logging.getLogger("aiomig.grid")

_NAMES = "submits-*.jsonl"
_COMPACT_AT = 1 << 16
"""Bytes of a file that are looked through for what still counts."""

_REMEDY = "make room, give another folder as journal=, or do without: journal=False"


def folder_of(journal: str | os.PathLike[str] | bool | None) -> tuple[Path | None, bool]:
    """Where journals are kept, and whether the user said so.

    Raises:
        SpecError: it is neither a path nor a choice.
    """
    if journal is None or journal is False:
        return None, False
    if journal is True:
        import platformdirs  # only who reaches a grid pays for it

        return platformdirs.user_state_path("aiomig") / "submits", False
    try:
        if not journal:
            raise ValueError("is empty")
        return expanded(journal).absolute(), True
    except (TypeError, ValueError) as error:
        remedy = "give the path of a folder, True for this user's own, or False for none"
        raise SpecError([Fault("journal", journal, str(error), remedy)]) from error


class SubmitJournal:
    """The submits of one session whose outcome is not known, in memory and, given a folder, on disk.

    Args:
        folder: where the files of all grids and users are; ``None`` to keep none.
        owner: tells whose submits these are: the grid and the user.
        required: whether a folder that cannot be used is an error; else it is a warning, and no file is kept.
    """

    def __init__(
        self, folder: Path | None = None, owner: Callable[[], str] = lambda: "", *, required: bool = False
    ) -> None:
        self._parent = folder
        self._owner = owner
        self._required = required
        self._folder: Path | None = None
        self._file: AppendFile | None = None
        self._pending: dict[str, Unconfirmed] = {}
        self._in_flight: set[str] = set()

    # -- the life of the file

    def open(self) -> None:
        """Takes over what sessions have left that are gone.

        Raises:
            LocalError: the folder was asked for and cannot be used.
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
            self._pending.clear()
            return
        self._folder = folder
        if self._pending:
            logger.warning(
                "of %d submits of earlier sessions it is not known whether they made jobs; "
                "await session.unconfirmed() finds out",
                len(self._pending),
            )

    def _take_over(self, path: Path) -> None:
        try:
            file = AppendFile.open(path, create=False)
        except FileNotFoundError:
            return
        if file is None:
            return
        left = _read(file.read())
        if not left:
            file.remove()
        elif self._file is None:
            self._file, self._pending = file, left
        else:
            self._file.append(_lines(left.values()), sync=True)
            self._pending |= left
            file.remove()

    def close(self) -> None:
        """Leaves the file to the next session, if anything in it counts."""
        file, self._file = self._file, None
        if file is not None:
            try:
                file.close() if self._pending else file.remove()
            except OSError as error:
                logger.warning("the journal %s is left behind: %s", file.path, error)

    # -- what is recorded

    @contextmanager
    def sending(self, plans: Sequence[Plan]) -> Iterator[None]:
        """Records, before anything is sent, what is about to be; while it is under way nobody else is told of it.

        Raises:
            LocalError: it cannot be recorded; nothing may be sent.
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
                self._file = self._file or _new_file(self._folder)
                self._file.append(_lines(new.values()), sync=True)
            except OSError as error:
                raise _unusable(self._folder, error) from error
        self._pending |= new
        self._in_flight |= new.keys()
        try:
            yield
        finally:
            self._in_flight -= new.keys()

    def settle(self, outcomes: Iterable[tuple[str, str | MigError | None]]) -> None:
        """Records what became of submits: markers, with the id of the job, or why there is none."""
        rows: list[dict[str, Any]] = []
        for marker, outcome in outcomes:
            if self._pending.pop(marker, None) is not None:
                rows.append({"m": marker, "id": outcome} if isinstance(outcome, str) else {"m": marker, "x": 1})
        if self._file is None or not rows:
            return
        try:
            self._file.append(_dump(rows))
            if self._file.size >= _COMPACT_AT:
                self._compact(self._file)
        except OSError as error:
            # The ids are known to whoever submitted; the next session only asks once more than it needs to.
            logger.warning("the journal %s cannot be written: %s", self._file.path, error)

    def _compact(self, file: AppendFile) -> None:
        if not self._pending:
            file.clear()
        elif self._folder is not None and len(left := _lines(self._pending.values())) < file.size / 2:
            new = _new_file(self._folder)
            try:
                new.append(left, sync=True)
            except OSError:
                new.remove()
                raise
            self._file = new
            file.remove()

    def project_of(self, marker: str) -> str | None:
        """The PROJECT that the user gave a job; ``None`` where nothing is known of the marker."""
        known = self._pending.get(marker)
        return None if known is None else known.project

    def unconfirmed(self) -> list[Unconfirmed]:
        """What was sent, by this session or those before it, and has no known outcome; the oldest first."""
        left = [each for marker, each in self._pending.items() if marker not in self._in_flight]
        return sorted(left, key=lambda each: each.sent_at)


def _new_file(folder: Path) -> AppendFile:
    while True:
        # Between its making and its locking another session may take it for a leftover, and remove it.
        file = AppendFile.open(folder / _NAMES.replace("*", secrets.token_hex(8)))
        if file is not None:
            return file


def _unusable(folder: Path, error: OSError) -> LocalError:
    reason = error.strerror or str(error)
    return LocalError(f"the journal of submits in {folder} cannot be used: {reason}", path=str(folder), remedy=_REMEDY)


def _lines(entries: Iterable[Unconfirmed]) -> bytes:
    return _dump(
        {"m": each.marker, "t": each.sent_at.timestamp(), "n": each.name, "p": each.project} for each in entries
    )


def _dump(rows: Iterable[dict[str, Any]]) -> bytes:
    # A line that a crash cut off is ended by the next one's beginning.
    return "".join("\n" + json.dumps(row, separators=(",", ":")) + "\n" for row in rows).encode("ascii")


def _read(data: bytes) -> dict[str, Unconfirmed]:
    """What has no outcome; lines that a crash has cut off, or that mean nothing, are passed over."""
    pending: dict[str, Unconfirmed] = {}
    for line in data.splitlines():
        try:
            row = json.loads(line)
            marker = str(row["m"])
            if "t" in row:
                at = datetime.fromtimestamp(row["t"], UTC)
                pending[marker] = Unconfirmed(marker, str(row["n"]), str(row["p"]), at)
            elif "id" in row or "x" in row:
                pending.pop(marker, None)
        except (ValueError, TypeError, KeyError, OverflowError, OSError, RecursionError):
            continue
    return pending
