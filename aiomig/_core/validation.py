"""Whether what a caller gave is what the signature says: for callers without a type checker."""

from __future__ import annotations

import os
from pathlib import Path


def is_count(value: object) -> bool:
    """A whole number of at least 1; True is none."""
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1


def is_text(value: object) -> bool:
    """Text that is not blank."""
    return isinstance(value, str) and bool(value.strip())


def expanded(given: str | os.PathLike[str]) -> Path:
    """A path with a leading ``~`` expanded.

    Raises:
        ValueError: it can name no file; says why, and what to do.
    """
    text = os.fspath(given)
    if "\0" in text or any("\ud800" <= character < "\udc80" for character in text):
        raise ValueError("holds a NUL or half a character, which no file name can; give another path")
    try:
        return Path(text).expanduser()
    except RuntimeError as error:
        raise ValueError("begins with the home of a user that is not known here; write the whole path") from error
