"""Reads mRSL as the server does, with the same error messages (docs/protocol.md#mrsl-syntax).

This code is independent of `aiomig._spec.mrsl`, so that tests can compare the two.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from .._spec.mrsl import Description
from ._operation import character_error

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from ._operation import Characters
    from ._site import Site

_FAILED = "parse failed, Error in mRSL file - or parser -\nor subsystem :)\n"
_MARKED = re.compile(r"\\([\\#])|\\\Z|#.*")
_EXAMPLES = {"CPUTIME": "60", "EXECUTE": "echo hello grid", "MEMORY": "128"}
_DESCRIPTIONS = {
    "CPUTIME": "The time required to execute the job. The time is specified in seconds",
    "ARCHITECTURE": "CPU architecture required for execution",
    "EXECUTE": "The command(s) to execute, one per line",
}

Shape = Literal["lines", "number", "text", "switch"]


@dataclass(frozen=True, slots=True)
class _Keyword:
    shape: Shape
    characters: Characters = "any"
    transfers: bool = False


KEYWORDS: Mapping[str, _Keyword] = {
    "EXECUTE": _Keyword("lines"),
    "INPUTFILES": _Keyword("lines", "path", transfers=True),
    "OUTPUTFILES": _Keyword("lines", "path", transfers=True),
    "EXECUTABLES": _Keyword("lines", "path", transfers=True),
    "VERIFYFILES": _Keyword("lines", "path"),
    "MOUNT": _Keyword("lines", "path", transfers=True),
    "ENVIRONMENT": _Keyword("lines", "text"),
    "RUNTIMEENVIRONMENT": _Keyword("lines", "text"),
    "RESOURCE": _Keyword("lines", "text"),
    "VGRID": _Keyword("lines", "path"),
    "NODECOUNT": _Keyword("number", "digits"),
    "CPUCOUNT": _Keyword("number", "digits"),
    "CPUTIME": _Keyword("number", "digits"),
    "MEMORY": _Keyword("number", "digits"),
    "DISK": _Keyword("number", "digits"),
    "RETRIES": _Keyword("number", "digits"),
    "MAXFILL": _Keyword("lines", "text"),
    "ARCHITECTURE": _Keyword("text", "text"),
    "PLATFORM": _Keyword("text", "text"),
    "JOBTYPE": _Keyword("text", "text"),
    "SANDBOX": _Keyword("switch", "word"),
    "NOTIFY": _Keyword("lines", "text"),
    "JOBNAME": _Keyword("text", "text"),
    "PROJECT": _Keyword("text", "word"),
    "MAXPRICE": _Keyword("text", "word"),
}
"""The keywords, in the order in which ``mrslview`` shows them."""

_JOB_NAME = re.compile(r"[A-Za-z0-9.\-_+@%]{1,255}")


class Refused(Exception):
    """The server refuses a description, with this message."""


def parse(text: str, site: Site) -> Description:
    """Read a description.

    Raises:
        Refused: the description is wrong.
    """
    sections: dict[str, list[str]] = {}
    faults: list[str] = []
    for head, lines in _blocks(text):
        keyword = head.replace(":", "").upper().strip()
        rule = KEYWORDS.get(keyword)
        if rule is None:
            faults.append(f"unknown keyword: {keyword}\n")
        elif rule.shape == "lines":
            sections.setdefault(keyword, []).extend(lines)
        else:
            sections[keyword] = lines  # if it is repeated, the last block counts
    if not sections.get("EXECUTE"):
        faults.append("REQUIRED keyword EXECUTE was not found in your file!")
    for keyword, lines in sections.items():
        faults += [_type_error(keyword, lines, problem, site) for problem in _problems(keyword, lines, site)]
    if faults:
        raise Refused(f"{_FAILED}Parse failed (typecheck) {''.join(faults)}")
    _check_site(sections, site)
    return Description({keyword: tuple(lines) for keyword, lines in sections.items() if lines})


def _blocks(text: str) -> Iterator[tuple[str, list[str]]]:
    for block in re.split(r"\n[ \t\r\f\v]*\n", text.replace("\r\n", "\n").replace("\r", "\n")):
        lines = [line.strip() for line in block.split("\n") if line.strip()]
        if lines:
            values = [_MARKED.sub(lambda mark: mark[1] or "", line).strip() for line in lines[1:]]
            yield lines[0], [value for value in values if value]


def _problems(keyword: str, lines: Sequence[str], site: Site) -> Iterator[str]:
    rule = KEYWORDS[keyword]
    for line in lines:
        if problem := character_error(line, rule.characters):
            yield f"invalid data value: {problem}"
        if rule.transfers and (len(items := line.split(" ")) > 2 or "" in items):
            yield f"{keyword} entries must contain 1 or 2 space-separated items"
    if rule.shape == "number" and (len(lines) != 1 or not lines[0].lstrip("-").isdigit()):
        yield "requires an integer"
    elif rule.shape == "text" and len(lines) > 1:
        yield "requires a single value"
    yield from _choices(keyword, lines, site)


def _choices(keyword: str, lines: Sequence[str], site: Site) -> Iterator[str]:
    if keyword == "ARCHITECTURE" and any(line not in site.architectures for line in lines or [""]):
        yield f"specified architecture not valid, should be {list(site.architectures)}"
    if keyword == "JOBTYPE" and any(line not in site.job_types for line in lines or [""]):
        yield f"specified jobtype not valid, should be {list(site.job_types)}"
    if keyword == "JOBNAME" and any(not _JOB_NAME.fullmatch(line) for line in lines):
        yield "invalid data value: found invalid character in job name"
    if keyword == "ENVIRONMENT" and any("=" not in line for line in lines):
        yield "requires KEY=VALUE lines"


def _type_error(keyword: str, lines: Sequence[str], problem: str, site: Site) -> str:
    supplied = "\n".join(lines)
    description = _DESCRIPTIONS.get(keyword, f"The value of {keyword}")
    example = _EXAMPLES.get(keyword, "")
    if keyword == "ARCHITECTURE":
        example = (
            f"::ARCHITECTURE::<br/>{site.architectures[0]}<br/><br/>This particular server supports the following"
            f" values:<br/>{', '.join(site.architectures)}<br/>"
        )
    return f"""<table border=1>
    <tr><td>Keyword</td><td>{keyword}</td></tr>
    <tr><td>Error</td><td>{problem}</td></tr>
    <tr><td>You supplied</td><td>{supplied}</td></tr>
    <tr><td>Keyword example</td><td>{example}</td></tr>
    <tr><td>Keyword description</td><td>{description}</td></tr>
    </table><br />

    <!-- ****** INFORMATION ABOUT THE TYPE ERROR IN TEXT FORMAT ******
    Keyword: {keyword}
    Error: {problem}
    You supplied: {supplied}
    Keyword example: {example}
    Keyword description: {description}
    *******************************************************************
    -->
    """


def _check_site(sections: Mapping[str, Sequence[str]], site: Site) -> None:
    environments = {name.upper() for name in site.runtime_environments}
    for name in sections.get("RUNTIMEENVIRONMENT", ()):
        if name.upper() not in environments:
            raise Refused(
                f"{_FAILED}You have specified a non-nexisting runtime\n"
                f"environment '{name}', therefore the job can not be run on any resources."
            )
    for name in sections.get("VGRID", ()):
        if name != "ANY" and name not in site.vgrids:
            raise Refused(
                f"{_FAILED}Failure: You must be an owner or member of the\n'{name}' vgrid to submit a job to it!"
            )


def view_lines(description: Description, site: Site) -> list[str]:
    """Return the lines of ``mrslview``: the effective values, unescaped, each with its line end."""
    numbers = {"NODECOUNT": "1", "CPUCOUNT": "1", "CPUTIME": "600", "MEMORY": "64"}
    defaults = {
        **{keyword: (value,) for keyword, value in numbers.items()},
        "VGRID": ("Generic",),
        "RETRIES": (str(site.retries),),
        "JOBTYPE": ("batch",),
        "MAXPRICE": ("0",),
    }
    lines: list[str] = []
    for keyword in KEYWORDS:
        if values := description.lines(keyword) or defaults.get(keyword, ()):
            lines += [f"::{keyword}::\n", *(f"{value}\n" for value in values), "\n"]
    return lines
