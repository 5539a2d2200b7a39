"""Paths of the MiG home: one rule for both modes, so that what works locally works on the grid.

Inside aiomig such a path is text, relative to the home, normalised, without a leading or trailing ``/``;
``"."`` is the home itself.
"""

from __future__ import annotations

import posixpath
import re
import unicodedata
from fnmatch import fnmatchcase
from pathlib import PurePosixPath
from typing import Literal, TypeAlias

from .errors import PathRefused

HomePath: TypeAlias = str | PurePosixPath
"""What a user may give as a path of the MiG home."""

ArchiveFormat: TypeAlias = Literal["zip", "tar", "gz", "bz2"]

OWN_FOLDER = ".aiomig"
"""The folder at the top of a local home in which local mode keeps its own state."""

INVISIBLE = frozenset({".htaccess", ".vgridwiki", ".vgridscm", ".vgridtracker", ".vgridforum", ".trash"})
"""Names that a MiG server neither shows nor lets anyone write (mig-protocol 8.4)."""

MAX_LENGTH = 4096
"""The longest path that a MiG server takes, in characters (mig-protocol 8.1)."""

# mig-protocol 8.1; letters are those of the Unicode categories below, after NFC.
_SIGNS = frozenset("0123456789 /.,_-+=:;@'%()~!&¤$€£¢¥₣₤±×÷½¾§‰¶")
_LETTERS = frozenset({"Lu", "Ll", "Lt"})
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
# Python carries file names that are not UTF-8 as U+DC80…U+DCFF; other lone surrogates are no text at all.
_NO_TEXT = re.compile("[\ud800-\udc7f\udd00-\udfff]")
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
    """Normalise a path of the MiG home.

    Args:
        path: relative to the home; a leading ``/`` is the home, and so is ``"."``.
        pattern: whether ``*`` and ``?`` may stand in the last component. Anywhere else they are refused: a
            server would expand them, so that removing ``*`` would remove everything (mig-protocol 2.3).

    Returns:
        The path relative to the home, without ``.``, ``..``, double, leading or trailing slashes.

    Raises:
        PathRefused: it leaves the home, is hidden by MiG or is aiomig's own, holds control characters or
            misplaced wildcards, or is too long.
        TypeError: it is neither text nor a `PurePosixPath`.
    """
    if not isinstance(path, str | PurePosixPath):
        raise TypeError(f"path={path!r}: a path of the MiG home is str or PurePosixPath, not {type(path).__name__}")
    text = str(path)
    if found := _CONTROL.search(text):
        raise PathRefused(text, f"holds the control character U+{ord(found[0]):04X}; use a name without it")
    clean = _normalise(text)
    folder = posixpath.dirname(clean) if pattern else clean
    if _PATTERN.search(folder):
        remedy = "only their last component takes one" if pattern else "only get, put, ls and find take one"
        raise PathRefused(text, f"holds a pattern (* or ?) where none is taken; {remedy}")
    return clean


def listed_path(path: str) -> str:
    """Check a path that a listing of the home gave, before anything local is named after it.

    Odd characters are let through: a job may have made such names, and they can be fetched.

    Raises:
        PathRefused: it is not a normalised path inside the home.
    """
    if path != _normalise(path):
        raise PathRefused(path, "the listing of the home holds a name that is no clean path below it")
    return path


def _normalise(text: str) -> str:
    if not text:
        raise PathRefused(text, "is empty; use '.' for the home itself")
    if len(text) > MAX_LENGTH:
        raise PathRefused(text[:60] + "…", f"has {len(text)} characters; MiG takes {MAX_LENGTH} at most")
    if "\0" in text or _NO_TEXT.search(text):
        raise PathRefused(text, "holds a NUL or half a surrogate pair, which no file name can; use another name")
    clean = posixpath.normpath(text.lstrip("/") or ".")
    parts = clean.split("/")
    if parts[0] == "..":
        raise PathRefused(text, "leads out of the MiG home; give a path inside it")
    if hidden := INVISIBLE.intersection(parts):
        raise PathRefused(text, f"{min(hidden)} is hidden by MiG, which lets nobody use it; use another name")
    if parts[0] == OWN_FOLDER:
        raise PathRefused(text, f"{OWN_FOLDER} belongs to aiomig's local mode; use another name")
    return clean


def check_characters(path: str) -> None:
    """Check that MiG's operations can address a path, for whatever makes a name in the home.

    The allowed characters are those of mig-protocol 8.1.

    Args:
        path: a normalised path of the home.

    Raises:
        PathRefused: it holds a character that they cannot carry; the message says which.
    """
    for character in unicodedata.normalize("NFC", path):
        if character not in _SIGNS and unicodedata.category(character) not in _LETTERS:
            name = unicodedata.name(character, "no name")
            raise PathRefused(
                path,
                f"MiG cannot carry the character {character!r} (U+{ord(character):04X}, {name}) in a path; "
                "use letters, digits, space and . , _ - + = : ; @ ' % ( ) ~ ! & $",
            )


def has_pattern(path: str) -> bool:
    """Whether a path holds ``*`` or ``?``."""
    return _PATTERN.search(path) is not None


def name_matches(name: str, pattern: str) -> bool:
    """Whether a name matches a pattern of ``*`` and ``?``; brackets are plain, as on a MiG server."""
    return fnmatchcase(name, pattern.replace("[", "[[]"))


def folder_of(path: str) -> str:
    """The directory that holds a path; ``"."`` for what lies at the top of the home."""
    return posixpath.dirname(path) or "."


def name_of(path: str) -> str:
    """The last component of a path; ``"."`` for the home."""
    return posixpath.basename(path)


def join(folder: str, name: str) -> str:
    """A name, or a relative path, below a directory of the home; both normalised."""
    return posixpath.normpath(posixpath.join(folder, name))


def below(folder: str, path: str) -> str:
    """The path of something inside a directory, relative to that directory."""
    return path if folder == "." else path.removeprefix(f"{folder}/")


def is_inside(path: str, folder: str) -> bool:
    """Whether a path lies below a directory, at any depth, without being it."""
    return path != folder and (folder == "." or path.startswith(f"{folder}/"))


def is_hidden(path: str) -> bool:
    """Whether a component of a relative path is a dot name."""
    return path != "." and any(part.startswith(".") for part in path.split("/"))


def chain(path: str) -> tuple[str, ...]:
    """A path and the directories above it, from the top down, without the home."""
    if path == ".":
        return ()
    parts = path.split("/")
    return tuple("/".join(parts[:count]) for count in range(1, len(parts) + 1))


def archive_format(path: str) -> ArchiveFormat:
    """The kind of archive that the suffix of a name says, as a MiG server reads it (mig-protocol 2.3).

    Raises:
        PathRefused: the suffix is none of those.
    """
    return _archive(path)[1]


def archive_suffix(path: str) -> str:
    """That suffix, such as ``".tar.gz"``. Raises as `archive_format`."""
    return _archive(path)[0]


def _archive(path: str) -> tuple[str, ArchiveFormat]:
    for suffix, kind in _ARCHIVES:
        if name_of(path).lower().endswith(suffix):
            return suffix, kind
    known = " ".join(suffix for suffix, _ in _ARCHIVES)
    raise PathRefused(path, f"no archive can be told from this name; end it with one of {known}")
