"""The keywords of mRSL, and what a server checks of their values. See docs/protocol.md#keywords."""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal, TypeAlias

from .._core.display import short_repr
from .._core.models import Fault
from .._core.paths import MAX_LENGTH, stray_character

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

Type = Literal["list", "key-value", "integer", "text", "boolean"]
LineCheck: TypeAlias = "Callable[[str, str], Fault | None]"
"""Takes a keyword and one of its lines."""

FILL_WORDS = ("ALL", "CPUTIME", "NODECOUNT", "CPUCOUNT", "MEMORY", "DISK")
"""The words of MAXFILL."""

TRUE_WORDS, FALSE_WORDS = ("true", "1", "on"), ("false", "0", "off")
"""The words of SANDBOX, in any case."""

_ENVIRONMENT_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_JOB_NAME = re.compile(r"[A-Za-z0-9._+@%-]{1,255}")
_ALPHANUMERIC = re.compile(r"[A-Za-z0-9]+")
_HOST_NAME = re.compile(r"[A-Za-z0-9._-]+")
_RESOURCE = re.compile(r"[A-Za-z0-9._*?-]+")
_VGRID = re.compile(r"[A-Za-z0-9._ /-]+")
_INTEGER = re.compile("[0-9]+")
# Every character at which some reader of text begins a new line; NUL; half characters, which UTF-8 cannot hold.
_UNHOLDABLE = re.compile("[\x00\n\r\v\f\x1c-\x1e\x85\u2028\u2029\ud800-\udfff]")


def line_fault(keyword: str, line: str) -> Fault | None:
    """Return why mRSL cannot hold `line` in any keyword: a line break, NUL, half a character, outer blanks, empty."""
    if _UNHOLDABLE.search(line):
        problem = "holds a line break, NUL or half a character, which mRSL cannot hold"
        return Fault(keyword, line, problem, "give one line, or several values")
    if not line or line.isspace():
        return Fault(keyword, line, "is an empty line, which mRSL cannot hold", "leave it out")
    if line != line.strip():
        return Fault(keyword, line, "has blanks at an end, which mRSL cannot hold", "strip them")
    return None


def _any_fault(_keyword: str, _line: str) -> Fault | None:
    return None


def _path_fault(keyword: str, line: str) -> Fault | None:
    if len(line) > MAX_LENGTH:
        return Fault(keyword, line, f"is longer than {MAX_LENGTH} characters", "use a shorter path")
    stray = stray_character(line)
    if stray is not None:
        return Fault(keyword, line, f"holds {stray!r}, which MiG does not take in a path", "rename the file")
    return None


def _staging_fault(keyword: str, line: str) -> Fault | None:
    paths = line.split(" ")
    if len(paths) > 2 or "" in paths:
        problem = "must be 1 or 2 items separated by one space"
        return Fault(keyword, line, problem, "write SOURCE or SOURCE DESTINATION; names with blanks cannot be carried")
    fault = next((fault for path in paths if (fault := _path_fault(keyword, path))), None)
    return fault and replace(fault, value=line)


def _environment_fault(keyword: str, line: str) -> Fault | None:
    name, equals, value = line.partition("=")
    if not equals:
        return Fault(keyword, line, "has no '='", "write NAME=VALUE")
    if not _ENVIRONMENT_NAME.fullmatch(name):
        problem = f"{short_repr(name)} is not a name of the shell"
        return Fault(keyword, line, problem, "use letters, digits and _, no digit first")
    refused = next((character for character in "<>" if character in value), None)
    if refused is not None:
        return Fault(keyword, line, f"holds {refused!r}, which a server refuses", "leave it out")
    return None


def _integer_fault(keyword: str, line: str) -> Fault | None:
    if not _INTEGER.fullmatch(line):
        return Fault(keyword, line, "is not a whole number of digits only", "write digits, without sign and unit")
    if len(line) > 18:
        return Fault(keyword, line, "is too large", "write a number of at most 18 digits")
    return None


def _words(*words: str, fold: bool = False) -> LineCheck:
    def word_fault(keyword: str, line: str) -> Fault | None:
        if (line.lower() if fold else line) in words:
            return None
        return Fault(keyword, line, "is not one of the words it can be", f"use one of {', '.join(words)}")

    return word_fault


def _matching(pattern: re.Pattern[str], allowed: str) -> LineCheck:
    def character_fault(keyword: str, line: str) -> Fault | None:
        if pattern.fullmatch(line):
            return None
        return Fault(keyword, line, "holds what MiG does not take", f"use only {allowed}")

    return character_fault


@dataclass(frozen=True, slots=True)
class KeywordRule:
    """One keyword of mRSL and what its lines can be.

    Attributes:
        name: in upper case.
        type: what its lines are.
        many: whether it may have more than one line.
        find_fault: returns what a server finds wrong with one line, given the keyword and the line.
        may_be_empty: whether a section without lines means the same as no section.
    """

    name: str
    type: Type
    many: bool
    find_fault: LineCheck
    may_be_empty: bool = True


_letters_and_digits = _matching(_ALPHANUMERIC, "letters and digits")
_host_characters = _matching(_HOST_NAME, "letters, digits, '.', '-' and '_'")


def _many(name: str, find_fault: LineCheck, type: Type = "list") -> KeywordRule:
    return KeywordRule(name, type, True, find_fault)


def _number(name: str) -> KeywordRule:
    return KeywordRule(name, "integer", False, _integer_fault, may_be_empty=False)


def _text(name: str, find_fault: LineCheck, *, may_be_empty: bool = True) -> KeywordRule:
    return KeywordRule(name, "text", False, find_fault, may_be_empty)


KEYWORDS: Mapping[str, KeywordRule] = {
    keyword.name: keyword
    for keyword in (
        _many("EXECUTE", _any_fault),
        _many("INPUTFILES", _staging_fault),
        _many("OUTPUTFILES", _staging_fault),
        _many("EXECUTABLES", _staging_fault),
        _many("VERIFYFILES", _path_fault),
        _many("MOUNT", _staging_fault),
        _many("ENVIRONMENT", _environment_fault, "key-value"),
        _many("RUNTIMEENVIRONMENT", _host_characters),
        _number("CPUTIME"),
        _number("NODECOUNT"),
        _number("CPUCOUNT"),
        _number("MEMORY"),
        _number("DISK"),
        _number("RETRIES"),
        _text("ARCHITECTURE", _host_characters, may_be_empty=False),
        _text("PLATFORM", _host_characters),
        _text("JOBTYPE", _letters_and_digits, may_be_empty=False),
        _many("RESOURCE", _matching(_RESOURCE, "letters, digits, '.', '-', '_', '*' and '?'")),
        _many("VGRID", _matching(_VGRID, "letters, digits, '.', '-', '_', ' ' and '/'")),
        _many("MAXFILL", _words(*FILL_WORDS)),
        KeywordRule("SANDBOX", "boolean", False, _words(*TRUE_WORDS, *FALSE_WORDS, fold=True)),
        _many("NOTIFY", _any_fault),
        _text("JOBNAME", _matching(_JOB_NAME, "at most 255 letters, digits, '.', '-', '_', '+', '@' and '%'")),
        _text("PROJECT", _letters_and_digits),
        _text("MAXPRICE", _letters_and_digits),
    )
}
"""All keywords, in the order in which they are written."""


def unknown_keyword(keyword: str, *, line: int | None = None) -> Fault:
    """Return the fault of a keyword that mRSL does not have, with the keywords that look like it."""
    near = difflib.get_close_matches(keyword[:80], KEYWORDS)
    remedy = f"did you mean {' or '.join(near)}?" if near else f"use one of {', '.join(KEYWORDS)}"
    return Fault(keyword[:80], keyword, "unknown keyword", remedy, line)


def validate_lines(keyword: str, lines: Sequence[str], numbers: Sequence[int] | None = None) -> list[Fault]:
    """Return everything that a server would refuse in the lines of one keyword.

    Args:
        keyword: in upper case.
        lines: its values, unescaped.
        numbers: the line numbers of the values in their text, counted from 1; the line number of the
            keyword if there are no values.

    Returns:
        The faults, each with the keyword as its field.
    """
    definition = KEYWORDS.get(keyword)
    if definition is None:
        return [unknown_keyword(keyword, line=numbers[0] if numbers else None)]
    faults: list[Fault] = []
    if not lines and not definition.may_be_empty:
        line = numbers[0] if numbers else None
        faults.append(Fault(keyword, "", "has no value", "give it one line, or leave the keyword out", line))
    if len(lines) > 1 and not definition.many:
        line = numbers[1] if numbers else None
        faults.append(Fault(keyword, tuple(lines), "takes one line, not several", "leave one line", line))
    for position, text in enumerate(lines):
        if fault := line_fault(keyword, text) or definition.find_fault(keyword, text):
            faults.append(replace(fault, line=numbers[position]) if numbers else fault)
    return faults
