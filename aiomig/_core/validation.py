"""Checks of arguments, for callers without a type checker."""

from __future__ import annotations

import math
import os
from numbers import Integral
from pathlib import Path, PurePath
from typing import TypeGuard

from .errors import ConfigError
from .models import Fault


def is_count(value: object) -> bool:
    """Return whether a value is a whole number of at least 1, also one of NumPy. ``True`` is not."""
    return not isinstance(value, bool) and isinstance(value, Integral) and int(value) >= 1


def is_number(value: object) -> TypeGuard[float]:
    """Return whether a value is a finite number. ``True`` is not."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def is_text(value: object) -> bool:
    """Return whether a value is text that is not blank."""
    return isinstance(value, str) and bool(value.strip())


def spent_fault(field: str, values: object) -> Fault | None:
    """Return what is wrong with a generator that was read to its end before; ``None`` for anything else."""
    if getattr(values, "gi_frame", ...) is not None and getattr(values, "ag_frame", ...) is not None:
        return None
    return Fault(field, values, "a generator that was read before, and gives nothing more", "make a new one, or a list")


def plain_text(value: str | PurePath) -> str:
    """Return the text of a path or a string; that of a member of an enumeration is its value, and not its name."""
    return str.__str__(value) if isinstance(value, str) else str(value)


def expanded(path: str | os.PathLike[str]) -> Path:
    """Return a path with a leading ``~`` expanded.

    Raises:
        ValueError: it cannot name a file; the message says why and what to do.
    """
    text = os.fspath(path)
    if not isinstance(text, str):
        raise ValueError("is bytes; give text or a Path")  # noqa: TRY004 - callers handle it like other bad paths
    text = plain_text(text)
    if "\0" in text or any("\ud800" <= character < "\udc80" for character in text):
        raise ValueError("holds a NUL or half a character, which no file name can; give another path")
    try:
        return Path(text).expanduser()
    except RuntimeError as error:
        if text.partition("/")[0] == "~":
            raise ValueError("there is no home directory; set HOME, or write the whole path") from error
        raise ValueError("begins with the home of a user who does not exist here; write the whole path") from error


def state_directory() -> Path:
    """Return the directory for what aiomig keeps for this user.

    Raises:
        ConfigError: there is no home directory, as in containers that run as an arbitrary user.
    """
    import platformdirs

    try:
        return platformdirs.user_state_path("aiomig")
    except RuntimeError as error:
        raise ConfigError(
            "there is no home directory for aiomig's files; set HOME or XDG_STATE_HOME, or name a place: "
            "aiomig.local(home=…), AIOMIG_HOME or --home for local mode, aiomig.grid(journal=…) for a grid"
        ) from error
