"""Checks of arguments, for callers without a type checker."""

from __future__ import annotations

import os
from pathlib import Path


def is_count(value: object) -> bool:
    """Return whether a value is a whole number of at least 1. ``True`` is not."""
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1


def is_text(value: object) -> bool:
    """Return whether a value is text that is not blank."""
    return isinstance(value, str) and bool(value.strip())


def expanded(path: str | os.PathLike[str]) -> Path:
    """Return a path with a leading ``~`` expanded.

    Raises:
        ValueError: it cannot name a file; the message says why and what to do.
    """
    text = os.fspath(path)
    if "\0" in text or any("\ud800" <= character < "\udc80" for character in text):
        raise ValueError("holds a NUL or half a character, which no file name can; give another path")
    try:
        return Path(text).expanduser()
    except RuntimeError as error:
        raise ValueError("begins with the home of a user who does not exist here; write the whole path") from error
