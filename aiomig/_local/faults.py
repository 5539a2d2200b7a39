"""Faults of the machine, through no fault of a job: a full disk, a shortage, a directory that cannot be written."""

from __future__ import annotations

import errno

from .._core.errors import LocalError
from .._home.disk import RAISE_THE_LIMIT

FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
"""Error numbers of a full disk."""

_SHORTAGES = frozenset({errno.EMFILE, errno.ENFILE, errno.EAGAIN, errno.ENOMEM})
"""Error numbers of a system without free descriptors, processes or memory."""


_REMEDIES = {
    errno.EFBIG: RAISE_THE_LIMIT,
    errno.ENOENT: "the home was moved or removed while it was open: put it back",
}


class HomeBroken(LocalError):
    """aiomig cannot write to the directory where jobs run, so no attempt can begin."""

    def __init__(self, path: str, error: OSError) -> None:
        remedy = _REMEDIES.get(error.errno or 0, "make room, or make the directory writable")
        super().__init__(
            f"{path} cannot be made: {error.strerror}",
            path=path,
            remedy=f"{remedy}, then open the home again: its jobs wait there",
        )


def is_shortage(error: BaseException) -> bool:
    """Return whether an error is due to a temporary shortage of the system."""
    cause = error.__cause__ if isinstance(error, LocalError) else error
    return isinstance(cause, OSError) and cause.errno in _SHORTAGES
