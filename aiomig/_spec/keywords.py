"""The keywords of mRSL, and the checks of their values. See docs/protocol.md#keywords."""

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
"""The values of SANDBOX that mean true; case does not matter."""

_ENVIRONMENT_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_INTEGER = re.compile("[0-9]+")
# All line breaks, also those that only str.splitlines recognises, NUL, and surrogates, which UTF-8 cannot encode.
_NOT_ALLOWED = re.compile("[\x00\n\r\v\f\x1c-\x1e\x85\u2028\u2029\ud800-\udfff]")


def line_fault(keyword: str, line: str) -> Fault | None:
    """Return why mRSL cannot represent a line of any keyword, or ``None``."""
    if _NOT_ALLOWED.search(line):
        problem = "contains a line break, NUL or a lone surrogate, which mRSL does not allow"
        return Fault(keyword, line, problem, "give one line, or several values")
    if not line or line.isspace():
        return Fault(keyword, line, "is an empty line, which mRSL does not allow", "leave it out")
    if line != line.strip():
        return Fault(keyword, line, "begins or ends with blanks, which mRSL does not allow", "strip them")
    return None


def _path_fault(keyword: str, line: str) -> Fault | None:
    if len(line) > MAX_LENGTH:
        return Fault(keyword, line, f"is longer than {MAX_LENGTH} characters", "use a shorter path")
    stray = stray_character(line)
    if stray is not None:
        return Fault(keyword, line, f"contains {stray!r}, which MiG does not accept in a path", "rename the file")
    return None


def _staging_fault(keyword: str, line: str) -> Fault | None:
    paths = line.split(" ")
    if len(paths) > 2 or "" in paths:
        problem = "must be 1 or 2 items separated by one space"
        return Fault(keyword, line, problem, "write SOURCE or SOURCE DESTINATION; names must not contain blanks")
    fault = next((fault for path in paths if (fault := _path_fault(keyword, path))), None)
    return fault and replace(fault, value=line)


def _environment_fault(keyword: str, line: str) -> Fault | None:
    name, equals, value = line.partition("=")
    if not equals:
        return Fault(keyword, line, "has no '='", "write NAME=VALUE")
    if not _ENVIRONMENT_NAME.fullmatch(name):
        problem = f"{short_repr(name)} is not a valid name of a variable"
        return Fault(keyword, line, problem, "use letters, digits and _, and do not begin with a digit")
    refused = next((character for character in "<>" if character in value), None)
    if refused is not None:
        return Fault(keyword, line, f"contains {refused!r}, which servers refuse", "leave it out")
    return None


def _integer_fault(keyword: str, line: str) -> Fault | None:
    if not _INTEGER.fullmatch(line):
        return Fault(keyword, line, "is not a whole number", "write only digits, without a sign or a unit")
    if len(line) > 18:
        return Fault(keyword, line, "is too large", "write a number of at most 18 digits")
    return None


def _matching(pattern: str, allowed: str) -> LineCheck:
    matches = re.compile(pattern).fullmatch

    def character_fault(keyword: str, line: str) -> Fault | None:
        if matches(line):
            return None
        return Fault(keyword, line, "contains characters that MiG does not accept", f"use only {allowed}")

    return character_fault


def _one_of(*values: str, fold: bool = False) -> LineCheck:
    def value_fault(keyword: str, line: str) -> Fault | None:
        if (line.lower() if fold else line) in values:
            return None
        return Fault(keyword, line, "is not an allowed value", f"use one of {', '.join(values)}")

    return value_fault


class KeywordRule(NamedTuple):
    """The rule for the lines of a keyword.

    Attributes:
        type: the type of its value, as sites document it.
        find_fault: returns why a server refuses a line, or ``None``.
        many: whether the keyword can have more than one line.
        may_be_empty: whether a section without lines is equivalent to no section.
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
    "MAXFILL": KeywordRule("list", _one_of("ALL", "CPUTIME", "NODECOUNT", "CPUCOUNT", "MEMORY", "DISK")),
    "SANDBOX": KeywordRule("boolean", _one_of(*TRUE_WORDS, "false", "0", "off", fold=True), many=False),
    "NOTIFY": KeywordRule("list"),
    "JOBNAME": KeywordRule("text", _job_name, many=False),
    "PROJECT": KeywordRule("text", _alphanumeric, many=False),
    "MAXPRICE": KeywordRule("text", _alphanumeric, many=False),
}
"""All keywords, in the order in which they are written."""


def unknown_keyword(keyword: str, *, line: int | None = None) -> Fault:
    """Return the fault for an unknown keyword, with suggestions of similar ones."""
    import difflib

    near = difflib.get_close_matches(keyword[:80], KEYWORDS)
    remedy = f"did you mean {' or '.join(near)}?" if near else f"use one of {', '.join(KEYWORDS)}"
    return Fault(keyword[:80], keyword, "unknown keyword", remedy, line)


def validate_lines(keyword: str, lines: Sequence[str], numbers: Sequence[int] | None = None) -> list[Fault]:
    """Return all faults in the lines of a keyword, with the keyword as their field.

    Args:
        keyword: the keyword in upper case.
        lines: its values, unescaped.
        numbers: the line numbers of the values, from 1. If there are no values, the line number of the keyword.
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
        faults.append(Fault(keyword, tuple(lines), "takes one line, not several", "keep one line", line))
    for position, text in enumerate(lines):
        fault = line_fault(keyword, text)
        if fault is None and definition.find_fault is not None:
            fault = definition.find_fault(keyword, text)
        if fault is not None:
            faults.append(replace(fault, line=numbers[position]) if numbers else fault)
    return faults
