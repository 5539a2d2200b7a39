"""Rules for paths of the MiG home, the same for both backends. No I/O.

Inside aiomig, such a path is a normalised string relative to the home, without a leading or trailing ``/``. ``"."`` is
the home itself.
"""

from __future__ import annotations

import posixpath
import re
import unicodedata
from dataclasses import dataclass
from datetime import datetime  # noqa: TC003 - for those who ask for the types of the fields
from fnmatch import fnmatchcase
from pathlib import PurePosixPath
from typing import Literal, TypeAlias

from .errors import PathRefused
from .models import Fault
from .validation import plain_text

HomePath: TypeAlias = str | PurePosixPath
"""A path of the MiG home, as users give it."""

ArchiveFormat: TypeAlias = Literal["zip", "tar", "gz", "bz2"]

OWN_FOLDER = ".aiomig"
"""The folder in a local home for the state of local mode."""

INVISIBLE = frozenset({".htaccess", ".vgridwiki", ".vgridscm", ".vgridtracker", ".vgridforum", ".trash"})
"""Names that a MiG server hides and does not allow to be written. See docs/protocol.md#hidden-names."""

_LONGEST_NAME = 255

MAX_LENGTH = 4096
"""The longest path that a MiG server accepts, in characters. See docs/protocol.md#characters."""

# The characters that MiG accepts (docs/protocol.md#characters). Letters are determined after normalisation to NFC.
_SIGNS = frozenset("0123456789 /.,_-+=:;@'%()~!&¤$€£¢¥₣₤±×÷½¾§‰¶")
_LETTERS = frozenset({"Lu", "Ll", "Lt"})
_PLAIN = re.compile(r"[A-Za-z0-9_./+=:@%,-]*")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
# Python represents undecodable bytes in file names as U+DC80…U+DCFF. Other lone surrogates cannot occur.
_INVALID_SURROGATE = re.compile("[\ud800-\udc7f\udd00-\udfff]")
_PATTERN = re.compile(r"[*?]")
_ARCHIVES: tuple[tuple[str, ArchiveFormat], ...] = (
    (".zip", "zip"),
    (".tar", "tar"),
    (".tar.gz", "gz"),
    (".tgz", "gz"),
    (".tar.bz2", "bz2"),
    (".tbz", "bz2"),
)


def home_path(path: HomePath, *, pattern: bool = False) -> str:
    """Validate and normalise a path of the MiG home.

    Args:
        path: a path relative to the home; a leading ``/`` is the home, and so is ``"."``.
        pattern: whether ``*`` and ``?`` are allowed in the last component. They are refused anywhere else, because a
            server would expand them: removing ``*`` would remove everything. See docs/protocol.md#patterns.

    Returns:
        The normalised path relative to the home.

    Raises:
        PathRefused: the path leaves the home, is hidden by MiG, belongs to aiomig, contains control characters or
            wildcards that are not allowed, or is too long.
        TypeError: the path is neither a string nor a `PurePosixPath`.
    """
    if not isinstance(path, str | PurePosixPath):
        raise TypeError(f"path={path!r}: a path of the MiG home is str or PurePosixPath, not {type(path).__name__}")
    text = plain_text(path)
    if control := _CONTROL.search(text):
        raise PathRefused(text, f"contains the control character U+{ord(control[0]):04X}; use a name without it")
    clean = _normalise(text)
    folder = posixpath.dirname(clean) if pattern else clean
    if _PATTERN.search(folder):
        where = "in the last component" if pattern else "in the paths of get, put, ls and find"
        raise PathRefused(text, f"contains a pattern (* or ?), which is allowed only {where}")
    return clean


def job_path(path: HomePath) -> str:
    """Validate and normalise a path in a job's directory.

    Raises:
        PathRefused: the path leaves the directory, or contains characters that MiG does not accept.
    """
    text = plain_text(path)
    clean = posixpath.normpath(text) if text else ""
    if not clean or clean.startswith(("/", "../")) or clean == "..":
        raise PathRefused(text, "is not below the job directory; give a relative path without '..'")
    if control := _CONTROL.search(clean):
        raise PathRefused(clean, f"contains the control character U+{ord(control[0]):04X}; use a name without it")
    check_characters(clean)
    return clean


def listed_path(path: str) -> str:
    """Check a path from a server's listing before it is used as the path of a local file.

    Characters that MiG does not accept are allowed, because jobs can create such files, and they can be downloaded.

    Raises:
        PathRefused: the path is not a normalised path inside the home.
    """
    if path != _normalise(path):
        raise PathRefused(path, "the listing of the home contains a path that is not normalised")
    return path


def _normalise(text: str) -> str:
    if fault := path_fault(text):
        raise PathRefused(text if len(text) <= MAX_LENGTH else text[:60] + "…", f"{fault.problem}; {fault.remedy}")
    return posixpath.normpath(text.lstrip("/") or ".")


def path_fault(path: str) -> Fault | None:
    """Return why a string cannot be a path in the home, or ``None``. Does not check for wildcards and characters."""
    if not path:
        return Fault("path", path, "is empty", "use '.' for the home itself")
    if len(path) > MAX_LENGTH:
        problem = f"has {len(path)} characters; MiG accepts at most {MAX_LENGTH}"
        return Fault("path", path, problem, "use a shorter path")
    if "\0" in path or _INVALID_SURROGATE.search(path):
        problem = "contains NUL or a lone surrogate, which file names cannot"
        return Fault("path", path, problem, "use another name")
    parts = posixpath.normpath(path.lstrip("/") or ".").split("/")
    if any(len(part) * 4 > _LONGEST_NAME < len(part.encode("utf-8", "surrogateescape")) for part in parts):
        problem = f"contains a name of more than {_LONGEST_NAME} bytes, which file systems do not support"
        return Fault("path", path, problem, "use a shorter name")
    if parts[0] == "..":
        return Fault("path", path, "leads out of the MiG home", "give a path inside it, without '..'")
    if hidden := INVISIBLE.intersection(parts):
        return Fault("path", path, f"{min(hidden)} is hidden by MiG and cannot be used", "use another name")
    if parts[0] == OWN_FOLDER:
        return Fault("path", path, f"{OWN_FOLDER} belongs to aiomig's local mode", "use another name")
    return None


def stray_character(path: str) -> str | None:
    """Return the first character that MiG does not accept in a path, or ``None``. See docs/protocol.md#characters."""
    if _PLAIN.fullmatch(path):
        return None
    for character in unicodedata.normalize("NFC", path):
        if character not in _SIGNS and unicodedata.category(character) not in _LETTERS:
            return character
    return None


def check_characters(path: str) -> None:
    """Check the characters of the path of a new file or directory in the home.

    Args:
        path: a normalised path of the home.

    Raises:
        PathRefused: the path contains a character that MiG does not accept in its operations.
    """
    if (character := stray_character(path)) is not None:
        name = unicodedata.name(character, "no name")
        raise PathRefused(
            path,
            f"MiG does not accept the character {character!r} (U+{ord(character):04X}, {name}) in a path; "
            "use letters, digits, space and . , _ - + = : ; @ ' % ( ) ~ ! & $",
        )


def has_pattern(path: str) -> bool:
    """Return whether a path contains ``*`` or ``?``."""
    return _PATTERN.search(path) is not None


def name_matches(name: str, pattern: str) -> bool:
    """Return whether a name matches a pattern. As on a MiG server, ``*`` and ``?`` are the only wildcards."""
    return fnmatchcase(name, pattern.replace("[", "[[]"))


def folder_of(path: str) -> str:
    """Return the parent directory of a path; ``"."`` at the top of the home."""
    return posixpath.dirname(path) or "."


def name_of(path: str) -> str:
    """Return the last component of a path; ``"."`` for the home."""
    return posixpath.basename(path)


def join(folder: str, name: str) -> str:
    """Join a directory of the home and a relative path, and normalise the result."""
    return posixpath.normpath(posixpath.join(folder, name))


def below(folder: str, path: str) -> str:
    """Return the path relative to a directory that contains it."""
    return path if folder == "." else path.removeprefix(f"{folder}/")


def is_inside(path: str, folder: str) -> bool:
    """Return whether a path is below a directory, at any depth. A directory is not below itself."""
    return path != folder and (folder == "." or path.startswith(f"{folder}/"))


def is_hidden(path: str) -> bool:
    """Return whether a component of a relative path begins with a dot."""
    return path != "." and any(part.startswith(".") for part in path.split("/"))


def chain(path: str) -> tuple[str, ...]:
    """Return the parent directories of a path except the home, from the top down, and the path itself."""
    if path == ".":
        return ()
    parts = path.split("/")
    return tuple("/".join(parts[:count]) for count in range(1, len(parts) + 1))


def archive_format(path: str) -> ArchiveFormat:
    """Return the format of an archive from the suffix of its name. See docs/protocol.md#archives.

    Raises:
        PathRefused: MiG does not support archives with this suffix.
    """
    return _archive(path)[1]


def archive_suffix(path: str) -> str:
    """Return the suffix of an archive, such as ``".tar.gz"``. Raises the errors of `archive_format`."""
    return _archive(path)[0]


def _archive(path: str) -> tuple[str, ArchiveFormat]:
    for suffix, kind in _ARCHIVES:
        if name_of(path).lower().endswith(suffix):
            return suffix, kind
    suffixes = " ".join(suffix for suffix, _ in _ARCHIVES)
    raise PathRefused(path, f"has no suffix of an archive; use one of {suffixes}")


# -- what is at a path


@dataclass(frozen=True, slots=True)
class FileInfo:
    """One file or directory of the MiG home.

    Attributes:
        path: the path relative to the home; ``"."`` is the home itself.
        name: the last component of the path.
        is_dir: whether it is a directory.
        size: the size in bytes; 0 for a directory.
        modified_at: an aware datetime in UTC, or ``None`` if the server does not report it.
    """

    path: str
    name: str
    is_dir: bool
    size: int
    modified_at: datetime | None


@dataclass(frozen=True, slots=True)
class WordCount:
    """The counts of one file, as ``wc`` reports them.

    Attributes:
        lines: the number of line ends.
        words: the number of words, separated by white space.
        bytes: the size in bytes.
    """

    lines: int
    words: int
    bytes: int
