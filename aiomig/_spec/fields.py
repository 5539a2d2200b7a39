"""The table of the fields of a `JobSpec` and their mRSL keywords.

Each field validates and normalises values (`Field.validate`), converts them to lines of its keyword (`Field.to_lines`),
and parses such lines (`Field.from_lines`).
"""

from __future__ import annotations

import operator
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar, SupportsIndex

from .._core.display import short_repr
from .._core.models import Fault
from .._core.validation import plain_text
from .keywords import KEYWORDS, TRUE_WORDS, line_fault, unknown_keyword, validate_lines
from .labels import VARIABLE as LABELS_VARIABLE
from .labels import LabelsField, are_labels
from .quoting import quote, unquote
from .values import Resources

if TYPE_CHECKING:
    from .mrsl import Description

NOTHING: Mapping[str, str] = MappingProxyType({})
NO_LINES: Mapping[str, tuple[str, ...]] = MappingProxyType({})
DEFAULT_RESOURCES = Resources()

RawValue = str | int | bool | Sequence[str | int]
"""The value of a keyword in ``JobSpec.mrsl``."""

_ENVIRONMENT_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
# bash refuses to export these, and then does not export the variables after them. See docs/protocol.md#the-script.
_READ_ONLY = frozenset({"BASHOPTS", "BASH_VERSINFO", "EUID", "PPID", "SHELLOPTS", "UID"})
# The server's script writes exit codes to files below this directory. See docs/protocol.md#exit-codes.
_NEEDED_BY_MIG = frozenset({"MIG_JOBDIR"})
_LARGEST = 10**18 - 1
_VERIFIABLE = (".status", ".stdout", ".stderr")


@dataclass(frozen=True)
class Field:
    """A field that is one line of text.

    Attributes:
        name: its name in faults, such as ``"project"`` or ``"resources.platform"``.
        keyword: its mRSL keyword, such as ``"PROJECT"``.
    """

    name: str
    keyword: str
    absent: ClassVar[Any] = None

    @property
    def attribute(self) -> str:
        """The name of the attribute of `JobSpec` or `Resources`."""
        return self.name.rpartition(".")[2]

    def validate(self, value: Any, faults: list[Fault]) -> Any:
        """Return the normalised value, and add faults to `faults`."""
        return None if value is None else self._line(self.name, value, faults)

    def to_lines(self, value: Any) -> tuple[str, ...]:
        """Convert a normalised value to lines of the keyword."""
        return () if value is None else (value,)

    def from_lines(self, lines: tuple[str, ...]) -> Any:
        """Parse lines of the keyword."""
        return lines[-1] if lines and lines[-1] else None

    def _line(self, name: str, value: object, faults: list[Fault]) -> str | None:
        if not isinstance(value, str):
            problem = f"is of type {type(value).__name__}, not a string"
            faults.append(Fault(name, value, problem, f"give a string: {name}='…'"))
            return None
        line = value.strip()
        line_faults = validate_lines(self.keyword, (line,))
        faults += [replace(fault, field=name, value=value) for fault in line_faults]
        return None if line_faults else line


class LinesField(Field):
    """A field that is several lines of text."""

    absent: ClassVar[Any] = ()

    def validate(self, value: Any, faults: list[Fault]) -> tuple[str, ...]:
        if isinstance(value, tuple) and not value:
            return ()
        if isinstance(value, str | bytes | Mapping) or not isinstance(value, Iterable):
            remedy = f"put it into a list: {self.name}=[…]"
            faults.append(Fault(self.name, value, "is not a sequence of strings", remedy))
            return ()
        lines = [self._line(f"{self.name}[{position}]", item, faults) for position, item in enumerate(value)]
        return tuple(line for line in lines if line is not None)

    def to_lines(self, value: Any) -> tuple[str, ...]:
        return tuple(value)

    def from_lines(self, lines: tuple[str, ...]) -> tuple[str, ...]:
        return lines


@dataclass(frozen=True)
class NumberField(Field):
    """A field that is a whole number.

    Attributes:
        least: the smallest valid number.
        example: an example for the messages of faults.
    """

    least: int
    example: str

    def validate(self, value: Any, faults: list[Fault]) -> int | None:
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, SupportsIndex):
            problem = f"is of type {type(value).__name__}, not a whole number"
        else:
            whole = operator.index(value)
            if self.least <= whole <= _LARGEST:
                return whole
            problem = f"is less than {self.least}" if whole < self.least else "is too large"
        faults.append(Fault(self.name, value, problem, f"give a whole number: {self.example}"))
        return None

    def to_lines(self, value: Any) -> tuple[str, ...]:
        return () if value is None else (str(value),)

    def from_lines(self, lines: tuple[str, ...]) -> int | None:
        return int(lines[-1]) if lines and lines[-1] else None


class FlagField(Field):
    """A field that is True, False or absent."""

    def validate(self, value: Any, faults: list[Fault]) -> Any:
        if value is not None and not isinstance(value, bool):
            faults.append(Fault(self.name, value, "is not a bool", "give True, False or None"))
        return value

    def to_lines(self, value: Any) -> tuple[str, ...]:
        return () if value is None else (str(value).lower(),)

    def from_lines(self, lines: tuple[str, ...]) -> bool | None:
        return lines[-1].lower() in TRUE_WORDS if lines and lines[-1] else None


class MountField(LinesField):
    """Pairs of a home path and a mount point, or lines ``home mountpoint``."""

    def validate(self, value: Any, faults: list[Fault]) -> tuple[str, ...]:
        if isinstance(value, tuple | list):
            value = tuple(
                " ".join(item) if isinstance(item, tuple) and all(isinstance(part, str) for part in item) else item
                for item in value
            )
        return super().validate(value, faults)


class VerifyField(LinesField):
    """Files of the home, each to compare with the result that its suffix names. See docs/protocol.md#keywords."""

    def validate(self, value: Any, faults: list[Fault]) -> tuple[str, ...]:
        names = super().validate(value, faults)
        for name in names:
            if not name.endswith(_VERIFIABLE):
                problem = "has no suffix that names the result to compare with"
                remedy = f"use a file whose name ends in one of {', '.join(_VERIFIABLE)}"
                faults.append(Fault(self.name, name, problem, remedy))
        return names


class EnvironmentField(Field):
    """Names and literal values, as a read-only mapping."""

    absent: ClassVar[Any] = NOTHING

    def validate(self, value: object, faults: list[Fault]) -> Mapping[str, str]:
        if value is NOTHING:
            return NOTHING
        if not isinstance(value, Mapping):
            problem = f"is of type {type(value).__name__}, not a mapping"
            faults.append(Fault(self.name, value, problem, "give a dict: environment={'NAME': 'value'}"))
            return NOTHING
        variables: dict[str, str] = {}
        for name, content in value.items():
            if fault := _variable_fault(name, content):
                faults.append(fault)
            else:
                variables[plain_text(name)] = plain_text(content)
        return MappingProxyType(variables) if variables else NOTHING

    def to_lines(self, value: Any) -> tuple[str, ...]:
        return tuple(f"{name}={quote(content)}" for name, content in value.items())

    def from_lines(self, lines: tuple[str, ...]) -> dict[str, str] | None:
        """Return the variables, or ``None`` if a value is not literal or a name is repeated."""
        variables: dict[str, str] = {}
        for line in lines:
            name, _, word = line.partition("=")
            value = (word if are_labels(line) else None) if name == LABELS_VARIABLE else unquote(word)
            if value is None or name in variables:
                return None
            variables[name] = value
        variables.pop(LABELS_VARIABLE, None)
        return variables


def _variable_fault(name: object, value: object) -> Fault | None:
    field = f"environment[{short_repr(name)}]"
    if not isinstance(name, str) or not _ENVIRONMENT_NAME.fullmatch(name):
        problem = "is not a valid name of a variable"
        return Fault(field, name, problem, "use letters, digits and _, and do not begin with a digit")
    if name in _READ_ONLY:
        problem = "is read-only in bash, and the variables after it would be lost"
        return Fault(field, name, problem, "use another name")
    if name in _NEEDED_BY_MIG:
        return Fault(field, name, "is used by MiG, and the exit codes would be lost", "use another name")
    if name == LABELS_VARIABLE:
        return Fault(field, name, "is used by aiomig for the labels", "use labels={…}, or another name")
    if not isinstance(value, str):
        problem = f"is of type {type(value).__name__}, not a string"
        return Fault(field, value, problem, f"give a string: {{{name!r}: '{short_repr(value)}'}}")
    if "\0" in value:
        problem = "contains NUL, which variables cannot"
        return Fault(field, value, problem, "write the value to a file, and make the file an input")
    try:
        value.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return Fault(field, value, "contains a lone surrogate", "give a string that can be encoded as UTF-8")
    return None


SPEC_FIELDS: tuple[Field | LabelsField, ...] = (
    EnvironmentField("environment", "ENVIRONMENT"),
    Field("name", "JOBNAME"),
    LinesField("runtime_environments", "RUNTIMEENVIRONMENT"),
    LinesField("vgrids", "VGRID"),
    NumberField("retries", "RETRIES", 0, "retries=2 (extra attempts)"),
    LinesField("notify", "NOTIFY"),
    VerifyField("verify", "VERIFYFILES"),
    MountField("mount", "MOUNT"),
    Field("project", "PROJECT"),
    Field("kind", "JOBTYPE"),
    LabelsField(),
)
"""The fields of `JobSpec` except commands, files, resources, the key and raw keywords."""

RESOURCE_FIELDS: tuple[Field, ...] = (
    NumberField("resources.wall_time", "CPUTIME", 0, "wall_time=3600 (seconds)"),
    NumberField("resources.memory_mb", "MEMORY", 0, "memory_mb=4096 (megabytes)"),
    NumberField("resources.disk_gb", "DISK", 0, "disk_gb=10 (gigabytes)"),
    NumberField("resources.cores", "CPUCOUNT", 1, "cores=8 (cores per node, at least 1)"),
    NumberField("resources.nodes", "NODECOUNT", 1, "nodes=2 (nodes, at least 1)"),
    FlagField("resources.sandbox", "SANDBOX"),
    Field("resources.architecture", "ARCHITECTURE"),
    Field("resources.platform", "PLATFORM"),
    LinesField("resources.fill", "MAXFILL"),
    LinesField("resources.hosts", "RESOURCE"),
    Field("resources.max_price", "MAXPRICE"),
)
"""The fields of `Resources`."""


def validate_fields(fields: Mapping[str, Any], faults: list[Fault]) -> dict[str, Any]:
    """Return the normalised values of all `SPEC_FIELDS`, and add faults to `faults`."""
    return {
        field.name: field.validate(fields[field.name], faults) if field.name in fields else field.absent
        for field in SPEC_FIELDS
    }


def lines_of(spec: object, resources: Resources) -> dict[str, tuple[str, ...]]:
    """Return the lines of a `JobSpec` and its resources, by keyword."""
    lines = {field.keyword: field.to_lines(getattr(resources, field.attribute)) for field in RESOURCE_FIELDS}
    for field in SPEC_FIELDS:  # environment and labels share a keyword
        if (value := getattr(spec, field.name)) is not field.absent:
            lines[field.keyword] = lines.get(field.keyword, ()) + field.to_lines(value)
    return {keyword: values for keyword, values in lines.items() if values}


def validate_commands(value: object, faults: list[Fault]) -> tuple[str, ...]:
    """Return the commands, stripped as a server does, and add faults to `faults`."""
    single = isinstance(value, str)
    if isinstance(value, bytes | Mapping) or not isinstance(value, Iterable):
        remedy = "give a command line, or a list of command lines"
        faults.append(Fault("commands", value, f"is of type {type(value).__name__}", remedy))
        return ()
    commands: tuple[object, ...] = (value,) if single else tuple(value)
    if not commands:
        faults.append(Fault("commands", value, "there is no command", "give at least one command line"))
    stripped: list[str] = []
    for position, command in enumerate(commands):
        if fault := _command_fault("commands" if single else f"commands[{position}]", command):
            faults.append(fault)
        elif isinstance(command, str):
            stripped.append(command.strip())
    return tuple(stripped)


def _command_fault(field: str, command: object) -> Fault | None:
    if not isinstance(command, str):
        problem = f"is of type {type(command).__name__}, not a string"
        return Fault(field, command, problem, "give each command as a string of one line")
    stripped = command.strip()
    if not stripped:
        return Fault(field, command, "is an empty command", "leave it out, or give 'true'")
    if "\0" in stripped:
        problem = "contains NUL, which bash does not accept"
        return Fault(field, command, problem, "remove it, or use printf: printf '\\0'")
    if line_fault("EXECUTE", stripped):
        script = "send a script as an executable: executables=['script.sh']"
        try:
            stripped.encode()
        except UnicodeEncodeError:
            problem = "contains bytes that are not UTF-8, or a lone surrogate"
            return Fault(field, command, problem, f"write UTF-8, or {script}")
        problem = "has several lines; in MiG, a command is one line"
        return Fault(field, command, problem, f"give several commands, or {script}")
    return None


def validate_resources(value: object, faults: list[Fault]) -> Resources:
    """Return the normalised resources, and add faults to `faults`."""
    if value is DEFAULT_RESOURCES:
        return DEFAULT_RESOURCES
    if not isinstance(value, Resources):
        remedy = "give aiomig.Resources(wall_time=3600, memory_mb=4096)"
        faults.append(Fault("resources", value, f"is of type {type(value).__name__}", remedy))
        return DEFAULT_RESOURCES
    return Resources(
        **{field.attribute: field.validate(getattr(value, field.attribute), faults) for field in RESOURCE_FIELDS}
    )


def validate_raw(value: object, faults: list[Fault]) -> Mapping[str, tuple[str, ...]]:
    """Return the normalised ``mrsl`` field, and add faults to `faults`."""
    if value is NO_LINES:
        return NO_LINES
    if not isinstance(value, Mapping):
        remedy = "give a dict: mrsl={'KEYWORD': 'value'}"
        faults.append(Fault("mrsl", value, f"is of type {type(value).__name__}, not a mapping", remedy))
        return NO_LINES
    keywords: dict[str, tuple[str, ...]] = {}
    for key, entry in value.items():
        name = key.strip().upper().replace(":", "") if isinstance(key, str) else short_repr(key)
        lines = _raw_lines(entry)
        if name in keywords:
            new_faults = [Fault(name, key, "the keyword is given twice", "give it once")]
        elif name not in KEYWORDS:
            new_faults = [replace(unknown_keyword(name), value=key)]
        elif lines is None:
            remedy = "give a string, a whole number, a bool, or a list of strings"
            new_faults = [Fault(name, entry, f"is of type {type(entry).__name__}", remedy)]
        else:
            new_faults = validate_lines(name, lines)
        faults += [replace(fault, field=f"mrsl[{name!r}]") for fault in new_faults]
        if lines and not new_faults:
            keywords[name] = lines
    return MappingProxyType(keywords) if keywords else NO_LINES


def _raw_lines(content: object) -> tuple[str, ...] | None:
    items = tuple(content) if isinstance(content, list | tuple) else (content,)
    if not all(isinstance(item, str | int) for item in items):
        return None
    return tuple(_raw_line(item) for item in items)


def _raw_line(item: str | int) -> str:
    if isinstance(item, str):
        return item.strip()
    # Python refuses to convert numbers with thousands of digits. The bounds are invalid in mRSL, too.
    return str(item).lower() if isinstance(item, bool) else str(max(-1, min(item, _LARGEST + 1)))


def fields_of(description: Description) -> dict[str, Any]:
    """Return the arguments of the equivalent `JobSpec`, except its files.

    If a value in ENVIRONMENT is not literal, all lines of ENVIRONMENT are kept in ``mrsl``.
    """
    values = {field.name: field.from_lines(description.lines(field.keyword)) for field in SPEC_FIELDS}
    resources = {field.attribute: field.from_lines(description.lines(field.keyword)) for field in RESOURCE_FIELDS}
    if values["environment"] is None:
        values |= {"environment": {}, "labels": {}, "mrsl": {"ENVIRONMENT": description.lines("ENVIRONMENT")}}
    return {"commands": description.lines("EXECUTE"), **values, "resources": Resources(**resources)}
