"""Faults of the machine, through no fault of a job: a full disk, a shortage, a directory that cannot be written."""

from __future__ import annotations

import errno

from .._core.errors import LocalError
from .._home.disk import RAISE_THE_LIMIT

FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
"""Error numbers of a full disk."""

_SHORTAGES = frozenset({errno.EMFILE, errno.ENFILE, errno.EAGAIN, errno.ENOMEM})
"""Error numbers of a system without free descriptors, processes or memory."""


class HomeBroken(LocalError):
    """aiomig cannot write to the directory where jobs run, so no attempt can begin."""

    def __init__(self, path: str, error: OSError) -> None:
        remedy = RAISE_THE_LIMIT if error.errno == errno.EFBIG else "make room, or make the folder writable"
        super().__init__(
            f"{path} cannot be made: {error.strerror}",
            path=path,
            remedy=f"{remedy}, then open the home again: its jobs wait there",
        )


def is_shortage(error: BaseException) -> bool:
    """Return whether an error is due to a temporary shortage of the system."""
    cause = error.__cause__ if isinstance(error, LocalError) else error
    return isinstance(cause, OSError) and cause.errno in _SHORTAGES
