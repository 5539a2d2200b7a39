"""A job as a MiG server knows it: mRSL keywords and their lines. Pure values, no I/O.

Both modes run on this: the grid is sent its text, local mode runs it, so that what works here works there.
"""

from __future__ import annotations

import posixpath
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

DEFAULTS: Mapping[str, int] = MappingProxyType({"CPUTIME": 600, "NODECOUNT": 1, "CPUCOUNT": 1, "MEMORY": 64, "DISK": 0})
"""The numbers that a server takes where a keyword is absent (mRSL keyword table, mig-protocol 4.2)."""


@dataclass(frozen=True, slots=True)
class Transfer:
    """One line of INPUTFILES, EXECUTABLES or OUTPUTFILES.

    Attributes:
        source: for inputs a path in the MiG home or a URL, for outputs a path in the job directory.
        destination: for inputs a path in the job directory, for outputs a path in the home or a URL.
    """

    source: str
    destination: str


@dataclass(frozen=True, slots=True)
class Description:
    """The keywords of one job and their lines, unescaped, in the order of the lines.

    Attributes:
        keywords: upper-case keyword to its lines.
    """

    keywords: Mapping[str, tuple[str, ...]]

    def lines(self, keyword: str) -> tuple[str, ...]:
        """The lines of a keyword; none where it is absent."""
        return self.keywords.get(keyword, ())

    def text(self, keyword: str, default: str = "") -> str:
        """The value of a keyword that has one line."""
        lines = self.keywords.get(keyword, ())
        return lines[-1] if lines else default

    def number(self, keyword: str) -> int:
        """The value of a keyword that is a number, with the server's default."""
        lines = self.keywords.get(keyword, ())
        return int(lines[-1]) if lines else DEFAULTS[keyword]

    def transfers(self, keyword: str) -> tuple[Transfer, ...]:
        """The lines of a staging keyword, with the implied destinations filled in (mig-protocol 4.3)."""
        return tuple(transfer(line) for line in self.keywords.get(keyword, ()))


def transfer(line: str) -> Transfer:
    """One staging line as a server reads it: a leading ``/`` is dropped, paths are normalised, URLs are kept."""
    source, _, destination = line.partition(" ")
    if not destination:
        destination = source.partition("://")[2] if "://" in source else source
    return Transfer(_clean(source), _clean(destination))


def _clean(path: str) -> str:
    return path if "://" in path else posixpath.normpath(path.lstrip("/"))
