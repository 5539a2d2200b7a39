"""Parses responses about the files of a home. Pure functions, no I/O."""

from __future__ import annotations

import posixpath
import re
import stat as modes
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, NamedTuple

from ..._core.errors import FileNotFound, ProtocolError, ServerError
from ..._core.paths import INVISIBLE, OWN_FOLDER, FileInfo, listed_path
from .answer import (
    Answer,
    Object,
    faults,
    integer_of,
    lines_of,
    members,
    of_type,
    plain,
    raise_for_errors,
    rows,
    shown,
    text_of,
)

if TYPE_CHECKING:
    from collections.abc import Generator

_LARGEST_MODE = 0xFFFFFFFF
_CHECKSUM = re.compile(r"(?P<sum>[0-9a-f]{8,}) (?P<path>.+)", re.ASCII | re.DOTALL)


class Listing(NamedTuple):
    """A response to ``ls``.

    Attributes:
        entries: the entries, without ``.``, ``..`` and inaccessible folders. Without the flag ``f``, sizes are 0 and
            times are ``None``.
        missing: the paths and patterns that match nothing.
    """

    entries: tuple[FileInfo, ...]
    missing: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Stat:
    """One result of ``statpath``.

    Attributes:
        path: the path; empty if the server does not report it.
        is_dir: whether it is a directory.
        size: in bytes; 0 for a directory.
        modified_at: an aware datetime in UTC, or ``None``.
    """

    path: str
    is_dir: bool
    size: int
    modified_at: datetime | None


@dataclass(frozen=True, slots=True)
class UploadPart:
    """The result of ``uploadchunked`` for one file.

    Attributes:
        path: its path in the home, or the name in the request.
        size: the bytes that have arrived, or ``None``.
        ok: whether the request succeeded.
        message: why it failed.
    """

    path: str
    size: int | None
    ok: bool
    message: str = ""


def read_listing(answer: Answer, operation: str = "ls") -> Generator[None, None, Listing]:
    """Return the entries of a response, and the paths that do not exist. Yields after each entry.

    Raises:
        PathRefused: a path is not allowed, or the path of an entry is not a clean path below the home.
        ServerError: the request was refused.
        ProtocolError: the response is about something else.
    """
    for error in faults(operation, answer, but=FileNotFound):
        raise error
    missing = tuple(text_of(item, "name") for item in of_type(answer, "file_not_found"))
    if missing and not of_type(answer, "dir_listings"):
        return Listing((), missing)
    entries: list[FileInfo] = []
    for listing in rows(operation, answer, "dir_listings"):
        for row in members(operation, listing, "entries"):
            entry = _entry(operation, row)
            if entry:
                entries.append(entry)
            yield
    return Listing(tuple(entries), missing)


def _entry(operation: str, row: Object) -> FileInfo | None:
    path, name, kind = row.get("rel_path"), row.get("name"), row.get("type")
    if not isinstance(path, str) or not isinstance(name, str) or kind not in ("file", "directory"):
        raise ProtocolError(f"{operation}: an entry without type, name or path", excerpt=shown(row))
    parts = path.split("/")
    if name in (".", "..") or parts[0] == OWN_FOLDER or INVISIBLE.intersection(parts):
        return None
    info = row.get("file_info")
    info = info if isinstance(info, dict) else {}
    return FileInfo(
        path=listed_path(path),
        name=posixpath.basename(path),
        is_dir=kind == "directory",
        size=(integer_of(info, "size") or 0) if kind == "file" else 0,
        modified_at=epoch(info.get("modified")),
    )


def epoch(value: object) -> datetime | None:
    """Convert a time of a file from seconds since 1970 (docs/protocol.md#timestamps); ``None`` if it is not one."""
    if not isinstance(value, int | float) or isinstance(value, bool):
        return None
    try:
        return datetime.fromtimestamp(value, UTC)
    except (ValueError, OverflowError, OSError):
        return None


def stats(answer: Answer, operation: str = "statpath") -> tuple[list[Stat], frozenset[str]]:
    """Return the results of ``statpath``, and the paths that do not exist.

    The results have paths only with the flag ``v``. Repeated results count once (docs/protocol.md#statpath).

    Raises:
        PathRefused: a path is not allowed.
        ServerError: the request was refused.
        ProtocolError: the response is about something else.
    """
    for error in faults(operation, answer, but=FileNotFound):
        raise error
    missing = frozenset(text_of(item, "name") for item in of_type(answer, "file_not_found"))
    if missing and not of_type(answer, "stats"):
        return [], missing
    results = (_stat(operation, row) for row in rows(operation, answer, "stats"))
    return list(dict.fromkeys(results)), missing


def _stat(operation: str, row: Object) -> Stat:
    mode, size = integer_of(row, "mode"), integer_of(row, "size")
    if mode is None or size is None or mode > _LARGEST_MODE:
        raise ProtocolError(f"{operation}: mode or size is not a number", excerpt=shown(row))
    is_dir = modes.S_ISDIR(mode)
    name = text_of(row, "name")
    path = posixpath.normpath(name.lstrip("/") or ".") if name else ""
    return Stat(path, is_dir, 0 if is_dir else size, epoch(row.get("mtime")))


def uploads(answer: Answer, operation: str = "uploadchunked") -> tuple[UploadPart, ...]:
    """Return the outcome for each file that was to be uploaded, moved or removed (docs/protocol.md#uploads).

    A failure is in the result, with the server's message, and raises no error.

    Raises:
        PathRefused: a path is not allowed.
        ServerError: the request was refused as a whole.
        ProtocolError: the response is about something else.
    """
    if not of_type(answer, "uploadfiles"):
        raise_for_errors(operation, answer, "uploadfiles")
    files = rows(operation, answer, "uploadfiles", "files")
    if not files:
        raise_for_errors(operation, answer)
    errors = "; ".join(plain(text_of(item, "text")) for item in of_type(answer, "error_text"))
    return tuple(_part(operation, row, errors) for row in files)


def _part(operation: str, row: Object, errors: str) -> UploadPart:
    # For moving and removing, the path is a key with a boolean value.
    done = {key: value for key, value in row.items() if isinstance(value, bool)}
    path = text_of(row, "name") or next(iter(done), "")
    if not path:
        raise ProtocolError(f"{operation}: an upload without a name", excerpt=shown(row))
    message = plain(text_of(row, "error")) or ("" if all(done.values()) else errors or "refused without a reason")
    return UploadPart(path, integer_of(row, "size"), not message, message)


def output_lines(answer: Answer, operation: str) -> list[str]:
    """Return the lines of a file or a result, with their line ends.

    This works only for text: ``head`` and ``tail`` return nothing for binary files (docs/protocol.md#head-and-tail).

    Raises:
        FileNotFound: a path does not exist.
        PathRefused: a path is not allowed.
        ServerError: the file is a directory, or not text.
        ProtocolError: the response is about something else.
    """
    raise_for_errors(operation, answer, "file_output")
    return [line for item in of_type(answer, "file_output") for line in lines_of(operation, item)]


def checksums(answer: Answer, operation: str = "chksum") -> dict[str, str]:
    """Return checksums in hexadecimal by path.

    Raises:
        FileNotFound: a path does not exist.
        PathRefused: a path is not allowed.
        ServerError: there is no such algorithm, a path is a directory, or only the beginning was read.
        ProtocolError: the response is about something else.
    """
    sums: dict[str, str] = {}
    for line in output_lines(answer, operation):
        match = _CHECKSUM.fullmatch(line.removesuffix("\n"))
        # Instead of a sum, the line may contain an error, or a sum "(of first N bytes)".
        if match is None or match["path"].endswith(" bytes)"):
            raise ServerError(operation, [plain(line)])
        sums[posixpath.normpath(match["path"])] = match["sum"]
    return sums
