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
    """Return whether a value is a positive whole number, including NumPy's, but not ``True``."""
    return not isinstance(value, bool) and isinstance(value, Integral) and int(value) >= 1


def is_number(value: object) -> TypeGuard[float]:
    """Return whether a value is a finite number, but not a `bool`."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def is_text(value: object) -> bool:
    """Return whether a value is a string that is not blank."""
    return isinstance(value, str) and bool(value.strip())


def spent_fault(field: str, values: object) -> Fault | None:
    """Return the fault of an exhausted generator, or ``None`` for anything else."""
    if getattr(values, "gi_frame", ...) is not None and getattr(values, "ag_frame", ...) is not None:
        return None
    return Fault(field, values, "a generator that was read before and is exhausted", "give a new one, or a list")


def plain_text(value: str | PurePath) -> str:
    """Convert a path or a string to `str`. A member of a `str` enumeration becomes its value."""
    return str.__str__(value) if isinstance(value, str) else str(value)


def expanded(path: str | os.PathLike[str]) -> Path:
    """Return a path with a leading ``~`` expanded.

    Raises:
        ValueError: the path is invalid, for the reason in the message.
    """
    text = os.fspath(path)
    if not isinstance(text, str):
        raise ValueError("is bytes; give a string or a Path")  # noqa: TRY004 - handled like other invalid paths
    text = plain_text(text)
    if "\0" in text or any("\ud800" <= character < "\udc80" for character in text):
        raise ValueError("contains NUL or a lone surrogate, which file names cannot; give another path")
    try:
        return Path(text).expanduser()
    except RuntimeError as error:
        if text.partition("/")[0] == "~":
            raise ValueError("there is no home directory; set HOME, or give an absolute path") from error
        raise ValueError("begins with the home of an unknown user; give an absolute path") from error


def state_directory() -> Path:
    """Return the directory for aiomig's state of this user.

    Raises:
        ConfigError: there is no home directory, as in some containers.
    """
    import platformdirs

    try:
        return platformdirs.user_state_path("aiomig")
    except RuntimeError as error:
        raise ConfigError(
            "there is no home directory for aiomig's files; set HOME or XDG_STATE_HOME, or choose a folder: "
            "aiomig.local(home=…), AIOMIG_HOME or --home for local mode, aiomig.grid(journal=…) for a grid"
        ) from error
