"""Labels of a job: short texts of the user's, carried in one line of ENVIRONMENT, which every server keeps."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any, ClassVar
from urllib.parse import quote, unquote

from .._core.models import Fault

NO_LABELS: Mapping[str, str] = MappingProxyType({})
VARIABLE = "AIOMIG_LABELS"
"""The variable of the job that has its labels, as ``name:value,name:value`` with other characters as ``%XX``."""

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,62}", re.ASCII)
_LONGEST = 200
_MOST = 32
# How servers show a variable is not recorded (docs/protocol.md#finding-a-submit), so this allows all ways.
_LINE = re.compile(rf"(?:\A|\W){VARIABLE}[^\w%]{{1,6}}([\w%.:,-]*)", re.ASCII)


def labels_in(lines: Iterable[str]) -> dict[str, str]:
    """Return the labels that lines of ENVIRONMENT carry."""
    for line in lines:
        if match := _LINE.search(line):
            pairs = (pair.partition(":") for pair in match[1].split(",") if pair)
            return {unquote(name): unquote(value, errors="replace") for name, _, value in pairs}
    return {}


def labels_line(labels: Mapping[str, str]) -> str:
    """Return the line of ENVIRONMENT that carries labels, in characters that mean nothing to a shell."""
    return f"{VARIABLE}={','.join(f'{name}:{_quoted(value)}' for name, value in sorted(labels.items()))}"


def are_labels(line: str) -> bool:
    """Return whether a line of ENVIRONMENT is one that `labels_line` makes."""
    labels = labels_in([line])
    return bool(labels) and not label_faults(labels) and labels_line(labels) == line


def _quoted(value: str) -> str:
    return quote(value, safe="").replace("~", "%7E")


class LabelsField:
    """The field ``labels`` of a `JobSpec`."""

    name: ClassVar[str] = "labels"
    keyword: ClassVar[str] = "ENVIRONMENT"
    absent: ClassVar[Any] = NO_LABELS

    def validate(self, value: object, faults: list[Fault]) -> Mapping[str, str]:
        """Return the labels as a read-only mapping; add what is wrong with them to `faults`."""
        if value is NO_LABELS:
            return NO_LABELS
        found = label_faults(value)
        faults += found
        return NO_LABELS if found or not value else MappingProxyType(dict(value))  # type: ignore[call-overload]

    def to_lines(self, value: Mapping[str, str]) -> tuple[str, ...]:
        """Return the line of ENVIRONMENT, if there are labels."""
        return (labels_line(value),) if value else ()

    def from_lines(self, lines: tuple[str, ...]) -> dict[str, str]:
        """Return the labels among the lines of ENVIRONMENT."""
        return labels_in(lines)


def label_faults(labels: object) -> list[Fault]:
    """Return what is wrong with labels."""
    if not isinstance(labels, Mapping):
        remedy = "give a dict: labels={'owner': 'ada'}"
        return [Fault("labels", labels, f"is of type {type(labels).__name__}, not a mapping", remedy)]
    faults = []
    if len(labels) > _MOST:
        faults.append(Fault("labels", len(labels), "too many labels", f"give at most {_MOST}"))
    for name, value in labels.items():
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            problem = "not the name of a label"
            faults.append(Fault("labels", name, problem, "use letters, digits, _ . and -, at most 63, no . or - first"))
        elif not isinstance(value, str):
            problem = f"is of type {type(value).__name__}, not text"
            faults.append(Fault(f"labels[{name!r}]", value, problem, f"give text: {{{name!r}: '…'}}"))
        elif not value.isprintable() or len(value) > _LONGEST:
            problem = "not a short text of one line"
            faults.append(Fault(f"labels[{name!r}]", value, problem, f"give at most {_LONGEST} printable characters"))
    return faults
