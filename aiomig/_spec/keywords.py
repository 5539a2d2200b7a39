"""The keywords of mRSL, and what a server checks of their values (mig-protocol 4.2, golden 4.2)."""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from .._core.models import Fault
from .names import Complaint, stray_character

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

Type = Literal["list", "key-value", "integer", "text", "boolean"]

JOB_TYPES = ("batch", "interactive", "bulk", "all")
"""What some server takes as JOBTYPE; each has its own list (golden 4.2)."""

FILL_WORDS = ("ALL", "CPUTIME", "NODECOUNT", "CPUCOUNT", "MEMORY", "DISK")
"""The words of MAXFILL."""

TRUE_WORDS, FALSE_WORDS = ("true", "1", "on"), ("false", "0", "off")
"""The words of SANDBOX, in any case."""

_LONGEST_PATH = 4096
_ENVIRONMENT_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_JOB_NAME = re.compile(r"[A-Za-z0-9._+@%-]{1,255}")
_ALPHANUMERIC = re.compile(r"[A-Za-z0-9]+")
_HOST_NAME = re.compile(r"[A-Za-z0-9._-]+")
_RESOURCE = re.compile(r"[A-Za-z0-9._*?-]+")
_VGRID = re.compile(r"[A-Za-z0-9._ /-]+")
# Every character at which some reader of text begins a new line; NUL; half characters, which UTF-8 cannot
# hold.
_UNHOLDABLE = re.compile("[\x00\n\r\v\f\x1c-\x1e\x85\u2028\u2029\ud800-\udfff]")


def line_complaint(line: str) -> Complaint | None:
    """Why mRSL cannot hold `line` at all: line breaks, NUL, half characters; blank, or blanks at an end."""
    if _UNHOLDABLE.search(line):
        return Complaint(
            "holds a line break, NUL or half a character, which mRSL cannot hold",
            "give one line, or several values",
        )
    if not line or line.isspace():
        return Complaint("is an empty line, which mRSL cannot hold", "leave it out")
    if line != line.strip():
        return Complaint("has blanks at an end, which mRSL cannot hold", "strip them")
    return None


def _anything(_line: str) -> Complaint | None:
    return None


def _path(line: str) -> Complaint | None:
    if len(line) > _LONGEST_PATH:
        return Complaint(f"is longer than {_LONGEST_PATH} characters", "use a shorter path")
    stray = stray_character(line)
    if stray is not None:
        return Complaint(f"holds {stray!r}, which MiG does not take in a path", "rename the file")
    return None


def _staging(line: str) -> Complaint | None:
    items = line.split(" ")
    if len(items) > 2 or "" in items:
        return Complaint(
            "must be 1 or 2 items separated by one space",
            "write SOURCE or SOURCE DESTINATION; names with blanks cannot be carried",
        )
    return next((complaint for complaint in map(_path, items) if complaint), None)


def _environment(line: str) -> Complaint | None:
    name, equals, value = line.partition("=")
    if not equals:
        return Complaint("has no '='", "write NAME=VALUE")
    if not _ENVIRONMENT_NAME.fullmatch(name):
        return Complaint(f"{name!r} is not a name of the shell", "use letters, digits and _, no digit first")
    refused = next((character for character in "<>" if character in value), None)
    if refused is not None:
        return Complaint(f"holds {refused!r}, which a server refuses", "leave it out")
    return None


def _integer(line: str) -> Complaint | None:
    if not re.fullmatch("[0-9]+", line):
        return Complaint("is not a whole number of digits only", "write digits, without sign and unit")
    return Complaint("is too large", "write a number of at most 18 digits") if len(line) > 18 else None


def _words(*words: str, fold: bool = False) -> Callable[[str], Complaint | None]:
    def complain(line: str) -> Complaint | None:
        if (line.lower() if fold else line) in words:
            return None
        return Complaint("is not one of the words it can be", f"use one of {', '.join(words)}")

    return complain


def _matching(pattern: re.Pattern[str], allowed: str) -> Callable[[str], Complaint | None]:
    def complain(line: str) -> Complaint | None:
        return None if pattern.fullmatch(line) else Complaint("holds what MiG does not take", f"use only {allowed}")

    return complain


@dataclass(frozen=True, slots=True)
class Keyword:
    """One keyword of mRSL.

    Attributes:
        name: in upper case.
        type: what its lines are.
        many: whether it may have more than one line.
        complain: what a server finds wrong with one line.
        may_be_empty: whether a section of it without lines means the same as none.
    """

    name: str
    type: Type
    many: bool
    complain: Callable[[str], Complaint | None]
    may_be_empty: bool = True


_letters_and_digits = _matching(_ALPHANUMERIC, "letters and digits")
_host_characters = _matching(_HOST_NAME, "letters, digits, '.', '-' and '_'")


def _many(name: str, complain: Callable[[str], Complaint | None], type: Type = "list") -> Keyword:
    return Keyword(name, type, True, complain)


def _number(name: str) -> Keyword:
    return Keyword(name, "integer", False, _integer, may_be_empty=False)


def _text(name: str, complain: Callable[[str], Complaint | None], *, may_be_empty: bool = True) -> Keyword:
    return Keyword(name, "text", False, complain, may_be_empty)


KEYWORDS: Mapping[str, Keyword] = {
    keyword.name: keyword
    for keyword in (
        _many("EXECUTE", _anything),
        _many("INPUTFILES", _staging),
        _many("OUTPUTFILES", _staging),
        _many("EXECUTABLES", _staging),
        _many("VERIFYFILES", _path),
        _many("MOUNT", _staging),
        _many("ENVIRONMENT", _environment, "key-value"),
        _many("RUNTIMEENVIRONMENT", _host_characters),
        _number("CPUTIME"),
        _number("NODECOUNT"),
        _number("CPUCOUNT"),
        _number("MEMORY"),
        _number("DISK"),
        _number("RETRIES"),
        _text("ARCHITECTURE", _host_characters, may_be_empty=False),
        _text("PLATFORM", _host_characters),
        _text("JOBTYPE", _words(*JOB_TYPES), may_be_empty=False),
        _many("RESOURCE", _matching(_RESOURCE, "letters, digits, '.', '-', '_', '*' and '?'")),
        _many("VGRID", _matching(_VGRID, "letters, digits, '.', '-', '_', ' ' and '/'")),
        _many("MAXFILL", _words(*FILL_WORDS)),
        Keyword("SANDBOX", "boolean", False, _words(*TRUE_WORDS, *FALSE_WORDS, fold=True)),
        _many("NOTIFY", _anything),
        _text("JOBNAME", _matching(_JOB_NAME, "at most 255 letters, digits, '.', '-', '_', '+', '@' and '%'")),
        _text("PROJECT", _letters_and_digits),
        _text("MAXPRICE", _letters_and_digits),
    )
}
"""All keywords, in the order in which they are written."""


def unknown(keyword: str, *, line: int | None = None) -> Fault:
    """The fault of a keyword that mRSL does not have, with those that look like it."""
    near = difflib.get_close_matches(keyword[:80], KEYWORDS)
    remedy = f"did you mean {' or '.join(near)}?" if near else f"use one of {', '.join(KEYWORDS)}"
    return Fault(keyword[:80], keyword, "unknown keyword", remedy, line)


def check(keyword: str, lines: Sequence[str], numbers: Sequence[int] | None = None) -> list[Fault]:
    """Everything that a server would refuse in the lines of one keyword.

    Args:
        keyword: in upper case.
        lines: its values, unescaped.
        numbers: the line numbers of the values in the text they come from, counted from 1; that of the
            keyword where there are no values.

    Returns:
        The faults, each with the keyword as its field; none where a server takes it.
    """
    known = KEYWORDS.get(keyword)
    if known is None:
        return [unknown(keyword, line=numbers[0] if numbers else None)]
    faults: list[Fault] = []
    if not lines and not known.may_be_empty:
        line = numbers[0] if numbers else None
        faults.append(Fault(keyword, "", "has no value", "give it one line, or leave the keyword out", line))
    if len(lines) > 1 and not known.many:
        line = numbers[1] if numbers else None
        faults.append(Fault(keyword, tuple(lines), "takes one line, not several", "leave one line", line))
    for position, text in enumerate(lines):
        complaint = line_complaint(text) or known.complain(text)
        if complaint:
            faults.append(Fault(keyword, text, *complaint, numbers[position] if numbers else None))
    return faults
