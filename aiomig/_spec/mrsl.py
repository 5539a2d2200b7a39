"""Reading and writing mRSL, the language of job descriptions on a MiG server. No I/O.

Both backends use `Description`: the grid gets its text, and local mode runs it. See docs/protocol.md#mrsl-syntax.
"""

from __future__ import annotations

import posixpath
import re
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import TYPE_CHECKING

from .._core.errors import SpecError
from .._core.models import Fault
from .keywords import KEYWORDS, line_fault, unknown_keyword, validate_lines

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Iterator, Mapping, Sequence

DEFAULTS: Mapping[str, int] = MappingProxyType({"CPUTIME": 600, "NODECOUNT": 1, "CPUCOUNT": 1, "MEMORY": 64, "DISK": 0})
"""The server's defaults of numeric keywords. See docs/protocol.md#keywords."""


@dataclass(frozen=True, slots=True)
class Transfer:
    """A line of INPUTFILES, EXECUTABLES or OUTPUTFILES.

    Attributes:
        source: for an input, a path in the MiG home or a URL; for an output, a path in the job directory.
        destination: for an input, a path in the job directory; for an output, a path in the home or a URL.
    """

    source: str
    destination: str


@dataclass(frozen=True, slots=True)
class Description:
    """A job description: keywords with their lines.

    Attributes:
        keywords: the unescaped lines by upper-case keyword.
    """

    keywords: Mapping[str, tuple[str, ...]]

    def lines(self, keyword: str) -> tuple[str, ...]:
        """Return the lines of a keyword; empty if it is absent."""
        return self.keywords.get(keyword, ())

    def text(self, keyword: str, default: str = "") -> str:
        """Return the value of a single-line keyword."""
        lines = self.keywords.get(keyword, ())
        return lines[-1] if lines else default

    def number(self, keyword: str) -> int:
        """Return the value of a numeric keyword, or the server's default."""
        lines = self.keywords.get(keyword, ())
        return int(lines[-1]) if lines else DEFAULTS[keyword]

    def transfers(self, keyword: str) -> tuple[Transfer, ...]:
        """Return the parsed lines of a staging keyword. See docs/protocol.md#staging-lines."""
        return tuple(transfer(line) for line in self.keywords.get(keyword, ()))

    def map_lines(self, keywords: Container[str], change: Callable[[str], str]) -> Description:
        """Return a copy in which a function has changed the lines of some keywords."""
        return Description(
            {
                keyword: tuple(map(change, lines)) if keyword in keywords else lines
                for keyword, lines in self.keywords.items()
            }
        )


def transfer(line: str) -> Transfer:
    """Parse a staging line as a server does: add a missing destination, and normalise paths but not URLs."""
    source, _, destination = line.partition(" ")
    if not destination:
        destination = source.partition("://")[2] if "://" in source else source
    return Transfer(_clean(source), _clean(destination))


def _clean(path: str) -> str:
    return path if "://" in path else posixpath.normpath(path.lstrip("/"))


_MOST_FAULTS = 100
"""After this number of faults, parsing stops: the text is not a job description."""

_LINE_END = re.compile(r"\r\n|\r|\n")
_MARKED = re.compile(r"\\([\\#])|\\\Z|#.*")


def render(description: Description) -> str:
    """Return the mRSL text of a description, with the keywords in the order of `KEYWORDS`.

    `parse` and a server read the text as the same description.

    Raises:
        SpecError: a keyword is unknown, or a line cannot be written; see `line_fault`.
    """
    keywords = description.keywords
    faults = [unknown_keyword(keyword) for keyword in keywords if keyword not in KEYWORDS]
    blocks = []
    for keyword in KEYWORDS:
        lines = keywords.get(keyword)
        if lines:
            faults += [fault for line in lines if (fault := line_fault(keyword, line))]
            blocks.append("\n".join([f"::{keyword}::", *map(escape, lines)]))
    if faults:
        raise SpecError(faults)
    return "\n\n".join(blocks) + "\n"


def escape(line: str) -> str:
    r"""Escape a line: double each ``\``, and write each ``#`` as ``\#``."""
    return line.replace("\\", "\\\\").replace("#", "\\#")


@dataclass(slots=True)
class _Section:
    head: int
    lines: list[str] = field(default_factory=list)
    numbers: list[int] = field(default_factory=list)


def parse(text: str) -> Description:
    r"""Parse a hand-written description as a server does.

    Blocks are separated by blank lines. The first line of a block is the keyword (colons and case do not matter), and
    the others are its values, even if they look like a keyword. ``#`` begins a comment, also inside a line, unless it
    is written as ``\#``. ``\\`` is one backslash. Keywords with a list of values may be repeated. Unlike a server,
    which reports an unknown keyword, aiomig skips comment lines before the keyword of a block.

    Args:
        text: the whole file, with any line ends.

    Returns:
        The keywords that have lines, in the order of the text.

    Raises:
        SpecError: a server would refuse the description. The fields of the faults are keywords, with line numbers.
    """
    if not isinstance(text, str):
        raise SpecError([Fault("text", text, "is not a string", "decode the file as UTF-8 first")])
    sections: dict[str, _Section] = {}
    faults: list[Fault] = []
    for block in _blocks(text):
        _read_block(block, sections, faults)
        if len(faults) >= _MOST_FAULTS:
            raise SpecError(faults)
    for keyword, section in sections.items():
        faults += validate_lines(keyword, section.lines, section.numbers or [section.head])
    if "EXECUTE" not in sections or not sections["EXECUTE"].lines:
        remedy = "give ::EXECUTE:: and at least one command line in one block"
        faults.append(Fault("EXECUTE", None, "the required keyword is missing or has no command", remedy))
    if faults:
        raise SpecError(sorted(faults, key=lambda fault: fault.line or 0))
    return Description({keyword: tuple(section.lines) for keyword, section in sections.items() if section.lines})


def _blocks(text: str) -> Iterator[list[tuple[int, str]]]:
    block: list[tuple[int, str]] = []
    for number, raw in enumerate(_LINE_END.split(text.removeprefix("\ufeff")), 1):
        line = raw.strip()
        if not line:
            yield block
            block = []
        elif block or not line.startswith("#"):
            block.append((number, line))
    yield block


def _read_block(block: Sequence[tuple[int, str]], sections: dict[str, _Section], faults: list[Fault]) -> None:
    if not block:
        return
    number, head = block[0]
    keyword = head.upper().replace(":", "")
    definition = KEYWORDS.get(keyword)
    if definition is None:
        faults.append(replace(unknown_keyword(keyword, line=number), value=head))
        return
    if keyword in sections and not definition.many:
        faults.append(Fault(keyword, head, "the keyword is repeated, but takes one line", "keep one", number))
        return
    section = sections.setdefault(keyword, _Section(number))
    for line_number, line in block[1:]:
        value = _unescape(line)
        if value:
            section.lines.append(value)
            section.numbers.append(line_number)


def _unescape(line: str) -> str:
    return _MARKED.sub(lambda mark: mark[1] or "", line).strip()
