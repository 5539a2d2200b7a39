"""The keywords of mRSL, and what a server checks of their values. See docs/protocol.md#keywords."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING, Literal, NamedTuple, TypeAlias

from .._core.display import short_repr
from .._core.models import Fault
from .._core.paths import MAX_LENGTH, stray_character

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

Type = Literal["list", "key-value", "integer", "text", "boolean"]
LineCheck: TypeAlias = "Callable[[str, str], Fault | None]"
"""Takes a keyword and one of its lines."""

TRUE_WORDS = ("true", "1", "on")
"""The words of SANDBOX that mean True, in any case."""

_ENVIRONMENT_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
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


def _matching(pattern: str, allowed: str) -> LineCheck:
    matches = re.compile(pattern).fullmatch

    def character_fault(keyword: str, line: str) -> Fault | None:
        if matches(line):
            return None
        return Fault(keyword, line, "holds what MiG does not take", f"use only {allowed}")

    return character_fault


def _words(*words: str, fold: bool = False) -> LineCheck:
    def word_fault(keyword: str, line: str) -> Fault | None:
        if (line.lower() if fold else line) in words:
            return None
        return Fault(keyword, line, "is not one of the words it can be", f"use one of {', '.join(words)}")

    return word_fault


class KeywordRule(NamedTuple):
    """What the lines of a keyword can be.

    Attributes:
        type: as sites document it.
        find_fault: returns what a server refuses in one line.
        many: whether it can have more than one line.
        may_be_empty: whether a section without lines means the same as no section.
    """

    type: Type
    find_fault: LineCheck | None = None
    many: bool = True
    may_be_empty: bool = True


_NUMBER = KeywordRule("integer", _integer_fault, many=False, may_be_empty=False)
_alphanumeric = _matching("[A-Za-z0-9]+", "letters and digits")
_host_name = _matching("[A-Za-z0-9._-]+", "letters, digits, '.', '-' and '_'")
_job_name = _matching("[A-Za-z0-9._+@%-]{1,255}", "at most 255 letters, digits, '.', '-', '_', '+', '@' and '%'")
_resource = _matching("[A-Za-z0-9._*?-]+", "letters, digits, '.', '-', '_', '*' and '?'")
_vgrid = _matching("[A-Za-z0-9._ /-]+", "letters, digits, '.', '-', '_', ' ' and '/'")

KEYWORDS: Mapping[str, KeywordRule] = {
    "EXECUTE": KeywordRule("list"),
    "INPUTFILES": KeywordRule("list", _staging_fault),
    "OUTPUTFILES": KeywordRule("list", _staging_fault),
    "EXECUTABLES": KeywordRule("list", _staging_fault),
    "VERIFYFILES": KeywordRule("list", _path_fault),
    "MOUNT": KeywordRule("list", _staging_fault),
    "ENVIRONMENT": KeywordRule("key-value", _environment_fault),
    "RUNTIMEENVIRONMENT": KeywordRule("list", _host_name),
    **dict.fromkeys(("CPUTIME", "NODECOUNT", "CPUCOUNT", "MEMORY", "DISK", "RETRIES"), _NUMBER),
    "ARCHITECTURE": KeywordRule("text", _host_name, many=False, may_be_empty=False),
    "PLATFORM": KeywordRule("text", _host_name, many=False),
    "JOBTYPE": KeywordRule("text", _alphanumeric, many=False, may_be_empty=False),
    "RESOURCE": KeywordRule("list", _resource),
    "VGRID": KeywordRule("list", _vgrid),
    "MAXFILL": KeywordRule("list", _words("ALL", "CPUTIME", "NODECOUNT", "CPUCOUNT", "MEMORY", "DISK")),
    "SANDBOX": KeywordRule("boolean", _words(*TRUE_WORDS, "false", "0", "off", fold=True), many=False),
    "NOTIFY": KeywordRule("list"),
    "JOBNAME": KeywordRule("text", _job_name, many=False),
    "PROJECT": KeywordRule("text", _alphanumeric, many=False),
    "MAXPRICE": KeywordRule("text", _alphanumeric, many=False),
}
"""All keywords, in the order in which they are written."""


def unknown_keyword(keyword: str, *, line: int | None = None) -> Fault:
    """Return the fault of a keyword that mRSL does not have, with the keywords that look like it."""
    import difflib

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
        fault = line_fault(keyword, text)
        if fault is None and definition.find_fault is not None:
            fault = definition.find_fault(keyword, text)
        if fault is not None:
            faults.append(replace(fault, line=numbers[position]) if numbers else fault)
    return faults
