"""Faults of the machine, for which no job is to blame: a full disk, a shortage, a folder that cannot be written."""

from __future__ import annotations

import errno

from .._core.errors import LocalError
from .._home.disk import RAISE_THE_LIMIT

FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
"""What the system says if there is no room on the disk."""

_SHORTAGES = frozenset({errno.EMFILE, errno.ENFILE, errno.EAGAIN, errno.ENOMEM})
"""What the system says if it has no descriptor, process or memory left."""


class HomeBroken(LocalError):
    """Nothing can be written where jobs run. No attempt can begin, and that is not the fault of any job."""

    def __init__(self, path: str, error: OSError) -> None:
        remedy = RAISE_THE_LIMIT if error.errno == errno.EFBIG else "make room, or make the folder writable"
        super().__init__(
            f"{path} cannot be made: {error.strerror}",
            path=path,
            remedy=f"{remedy}, then open the home again: its jobs wait there",
        )


def is_shortage(error: BaseException) -> bool:
    """Return whether the system is short of something for a while."""
    cause = error.__cause__ if isinstance(error, LocalError) else error
    return isinstance(cause, OSError) and cause.errno in _SHORTAGES
