"""Labels of jobs: short strings of the user, which a description contains as one line of ENVIRONMENT."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any, ClassVar
from urllib.parse import quote, unquote

from .._core.models import Fault

NO_LABELS: Mapping[str, str] = MappingProxyType({})
VARIABLE = "AIOMIG_LABELS"
"""The environment variable that contains the labels of a job: ``name:value,name:value``, percent-encoded."""

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,62}", re.ASCII)
_LONGEST = 200
_MOST = 32
# It is not recorded how servers show a variable (docs/protocol.md#finding-a-submit), so this accepts any form.
_LINE = re.compile(rf"(?:\A|\W){VARIABLE}[^\w%]{{1,6}}([\w%.:,-]*)", re.ASCII)


def labels_in(lines: Iterable[str]) -> dict[str, str]:
    """Return the labels in lines of ENVIRONMENT."""
    for line in lines:
        if match := _LINE.search(line):
            pairs = (pair.partition(":") for pair in match[1].split(",") if pair)
            return {unquote(name): unquote(value, errors="replace") for name, _, value in pairs}
    return {}


def labels_line(labels: Mapping[str, str]) -> str:
    """Return the line of ENVIRONMENT for some labels. It contains no characters that are special in a shell."""
    return f"{VARIABLE}={','.join(f'{name}:{_quoted(value)}' for name, value in sorted(labels.items()))}"


def are_labels(line: str) -> bool:
    """Return whether `labels_line` produces this line of ENVIRONMENT."""
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
        """Return the labels as a read-only mapping, and add faults to `faults`."""
        if value is NO_LABELS:
            return NO_LABELS
        new_faults = label_faults(value)
        faults += new_faults
        return NO_LABELS if new_faults or not value else MappingProxyType(dict(value))  # type: ignore[call-overload]

    def to_lines(self, value: Mapping[str, str]) -> tuple[str, ...]:
        """Return the line of ENVIRONMENT; empty without labels."""
        return (labels_line(value),) if value else ()

    def from_lines(self, lines: tuple[str, ...]) -> dict[str, str]:
        """Return the labels in lines of ENVIRONMENT."""
        return labels_in(lines)


def label_faults(labels: object) -> list[Fault]:
    """Return the faults of labels."""
    if not isinstance(labels, Mapping):
        remedy = "give a dict: labels={'owner': 'ada'}"
        return [Fault("labels", labels, f"is of type {type(labels).__name__}, not a mapping", remedy)]
    faults = []
    if len(labels) > _MOST:
        faults.append(Fault("labels", len(labels), "too many labels", f"give at most {_MOST}"))
    for name, value in labels.items():
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            problem = "not a valid name of a label"
            faults.append(Fault("labels", name, problem, "use at most 63 letters, digits, _ . and -, no . or - first"))
        elif not isinstance(value, str):
            problem = f"is of type {type(value).__name__}, not a string"
            faults.append(Fault(f"labels[{name!r}]", value, problem, f"give a string: {{{name!r}: '…'}}"))
        elif not value.isprintable() or len(value) > _LONGEST:
            problem = "too long, or not printable"
            faults.append(Fault(f"labels[{name!r}]", value, problem, f"give at most {_LONGEST} printable characters"))
    return faults
