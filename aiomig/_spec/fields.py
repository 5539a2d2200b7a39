"""The plain fields of a `JobSpec`: each takes what was given, adds faults, and returns it normalised.

From a description to the fields of a `JobSpec`: the way back of `_lowering`.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, SupportsIndex

from .._core.models import Fault
from .keywords import KEYWORDS, TRUE_WORDS, check, line_complaint, unknown
from .names import is_url
from .quoting import unquote
from .values import Remote, Resources

if TYPE_CHECKING:
    from .mrsl import Description, Transfer

NOTHING: Mapping[str, str] = MappingProxyType({})
NO_LINES: Mapping[str, tuple[str, ...]] = MappingProxyType({})
DEFAULT_RESOURCES = Resources()

RawValue = str | int | bool | Sequence[str | int]
"""A value in ``mrsl``."""

_ENVIRONMENT_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
# bash refuses to export these, and with them the rest of ENVIRONMENT (golden 5.5).
_READ_ONLY = frozenset({"BASHOPTS", "BASH_VERSINFO", "EUID", "PPID", "SHELLOPTS", "UID"})
# The server's script writes the exit codes below it (golden 5.4).
_NEEDED_BY_MIG = frozenset({"MIG_JOBDIR"})
_LARGEST = 10**18 - 1
_VERIFIABLE = (".status", ".stdout", ".stderr")


def checked_commands(value: object, faults: list[Fault]) -> tuple[str, ...]:
    """One command or several, stripped as the server strips them."""
    single = isinstance(value, str)
    if isinstance(value, bytes | Mapping) or not isinstance(value, Iterable):
        remedy = "give a command line, or a list of command lines"
        faults.append(Fault("commands", value, f"is of type {type(value).__name__}", remedy))
        return ()
    given: tuple[object, ...] = (value,) if single else tuple(value)
    if not given:
        faults.append(Fault("commands", value, "there is no command", "give at least one command line"))
    good: list[str] = []
    for position, command in enumerate(given):
        wrong = _command_problem(command)
        if wrong:
            faults.append(Fault("commands" if single else f"commands[{position}]", command, *wrong))
        else:
            good.append(str(command).strip())
    return tuple(good)


def _command_problem(command: object) -> tuple[str, str] | None:
    if not isinstance(command, str):
        return f"is of type {type(command).__name__}, not text", "give each command as one line of text"
    stripped = command.strip()
    if not stripped:
        return "is an empty command", "leave it out, or give 'true'"
    if "\0" in stripped:
        return "holds NUL, which bash cannot take", "remove it, or let printf make it: printf '\\0'"
    if line_complaint(stripped):
        return (
            "has several lines, or half a character; MiG takes a command per line",
            "give several commands, or ship a script as an executable: executables=['script.sh']",
        )
    return None


def checked_texts(field: str, value: object, keyword: str, faults: list[Fault]) -> tuple[str, ...]:
    """Several lines of one keyword."""
    if isinstance(value, tuple) and not value:
        return ()
    if isinstance(value, str | bytes | Mapping) or not isinstance(value, Iterable):
        faults.append(Fault(field, value, "is not a sequence of texts", f"put it into a list: {field}=[…]"))
        return ()
    found = (_line(f"{field}[{position}]", item, keyword, faults) for position, item in enumerate(value))
    return tuple(item for item in found if item is not None)


def checked_text(field: str, value: object, keyword: str, faults: list[Fault]) -> str | None:
    """One line of a keyword, or ``None`` for none."""
    return None if value is None else _line(field, value, keyword, faults)


def _line(field: str, value: object, keyword: str, faults: list[Fault]) -> str | None:
    if not isinstance(value, str):
        faults.append(Fault(field, value, f"is of type {type(value).__name__}, not text", f"give text: {field}='…'"))
        return None
    line = value.strip()
    wrong = check(keyword, (line,))
    faults += [Fault(field, value, fault.problem, fault.remedy) for fault in wrong]
    return None if wrong else line


def checked_mount(value: object, faults: list[Fault]) -> tuple[str, ...]:
    """Pairs of a home path and a mount point, or lines ``home mountpoint``."""
    if isinstance(value, tuple | list):
        value = tuple(
            " ".join(item) if isinstance(item, tuple) and all(isinstance(part, str) for part in item) else item
            for item in value
        )
    return checked_texts("mount", value, "MOUNT", faults)


def checked_verify(value: object, faults: list[Fault]) -> tuple[str, ...]:
    """Files of the home to compare the job's own with; the ending says which (mig-protocol 4.2)."""
    names = checked_texts("verify", value, "VERIFYFILES", faults)
    for name in names:
        if not name.endswith(_VERIFIABLE):
            problem = "says not which result to compare it with"
            faults.append(Fault("verify", name, problem, f"let its name end in one of {', '.join(_VERIFIABLE)}"))
    return names


def checked_number(field: str, value: object, least: int, remedy: str, faults: list[Fault]) -> int | None:
    """A whole number, or ``None`` for none."""
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, SupportsIndex):
        problem = f"is of type {type(value).__name__}, not a whole number"
    else:
        whole = operator.index(value)
        if least <= whole <= _LARGEST:
            return whole
        problem = f"is less than {least}" if whole < least else "is too large"
    faults.append(Fault(field, value, problem, f"give a whole number: {remedy}"))
    return None


_NUMBERS = (
    ("wall_time", 0, "wall_time=3600 (seconds)"),
    ("memory_mb", 0, "memory_mb=4096 (megabytes)"),
    ("disk_gb", 0, "disk_gb=10 (gigabytes)"),
    ("cores", 1, "cores=8 (cores per node, at least 1)"),
    ("nodes", 1, "nodes=2 (nodes, at least 1)"),
)


def checked_resources(value: object, faults: list[Fault]) -> Resources:
    """All of `Resources`, with lists made tuples."""
    if value is DEFAULT_RESOURCES:
        return DEFAULT_RESOURCES
    if not isinstance(value, Resources):
        remedy = "give aiomig.Resources(wall_time=3600, memory_mb=4096)"
        faults.append(Fault("resources", value, f"is of type {type(value).__name__}", remedy))
        return DEFAULT_RESOURCES
    numbers = {
        name: checked_number(f"resources.{name}", getattr(value, name), least, remedy, faults)
        for name, least, remedy in _NUMBERS
    }
    if value.sandbox is not None and not isinstance(value.sandbox, bool):
        faults.append(Fault("resources.sandbox", value.sandbox, "is not a bool", "give True, False or None"))
    return Resources(
        **numbers,
        architecture=checked_text("resources.architecture", value.architecture, "ARCHITECTURE", faults),
        platform=checked_text("resources.platform", value.platform, "PLATFORM", faults),
        fill=checked_texts("resources.fill", value.fill, "MAXFILL", faults),
        hosts=checked_texts("resources.hosts", value.hosts, "RESOURCE", faults),
        sandbox=value.sandbox,
        max_price=checked_text("resources.max_price", value.max_price, "MAXPRICE", faults),
    )


def checked_environment(value: object, faults: list[Fault]) -> Mapping[str, str]:
    """Names and literal values, as a read-only copy."""
    if value is NOTHING:
        return NOTHING
    if not isinstance(value, Mapping):
        remedy = "give a dict: environment={'NAME': 'value'}"
        faults.append(Fault("environment", value, f"is of type {type(value).__name__}, not a mapping", remedy))
        return NOTHING
    good: dict[str, str] = {}
    for name, content in value.items():
        wrong = _variable_problem(name, content)
        if wrong:
            faults.append(Fault(f"environment[{name!r}]", *wrong))
        else:
            good[name] = content
    return MappingProxyType(good) if good else NOTHING


def _variable_problem(name: object, value: object) -> tuple[object, str, str] | None:
    if not isinstance(name, str) or not _ENVIRONMENT_NAME.fullmatch(name):
        return name, "is not a name of the shell", "use letters, digits and _, and no digit first"
    if name in _READ_ONLY:
        return name, "cannot be set in bash, and the variables after it would be lost", "use another name"
    if name in _NEEDED_BY_MIG:
        return name, "is needed by MiG, which would lose the exit codes", "use another name"
    if not isinstance(value, str):
        return (
            value,
            f"is of type {type(value).__name__}, not text",
            f"give text: {{{name!r}: {str(value)!r}}}",
        )
    if "\0" in value:
        return value, "holds NUL, which no variable can", "write the value to a file, and make that an input"
    try:
        value.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return value, "holds half a character", "give text that UTF-8 can hold"
    return None


def checked_raw(value: object, faults: list[Fault]) -> Mapping[str, tuple[str, ...]]:
    """The ``mrsl`` field: any keyword, with a line or several."""
    if value is NO_LINES:
        return NO_LINES
    if not isinstance(value, Mapping):
        remedy = "give a dict: mrsl={'KEYWORD': 'value'}"
        faults.append(Fault("mrsl", value, f"is of type {type(value).__name__}, not a mapping", remedy))
        return NO_LINES
    keywords: dict[str, tuple[str, ...]] = {}
    for key, given in value.items():
        name = key.strip().upper().replace(":", "") if isinstance(key, str) else repr(key)
        wrong = (
            [Fault(name, key, "the keyword is given twice", "give it once")]
            if name in keywords
            else _raw_problems(name, key, given)
        )
        faults += [replace(fault, field=f"mrsl[{name!r}]") for fault in wrong]
        lines = () if wrong else _raw_lines(given)
        if lines:
            keywords[name] = lines
    return MappingProxyType(keywords) if keywords else NO_LINES


def _raw_problems(name: str, key: object, given: object) -> list[Fault]:
    if name not in KEYWORDS:
        return [replace(unknown(name), value=key)]
    lines = _raw_lines(given)
    if lines is None:
        remedy = "give text, a whole number, a bool, or a list of texts"
        return [Fault(name, given, f"is of type {type(given).__name__}", remedy)]
    return check(name, lines)


def _raw_lines(given: object) -> tuple[str, ...] | None:
    items = tuple(given) if isinstance(given, list | tuple) else (given,)
    if not all(isinstance(item, str | int) for item in items):
        return None
    return tuple(str(item).lower() if isinstance(item, bool) else str(item).strip() for item in items)


def fields_of(description: Description) -> dict[str, Any]:
    """The arguments of the `JobSpec` that says the same; an absent keyword stays absent.

    Of two inputs with one name in the job, or two outputs with one destination, the last is kept: it is the
    one that wins on the grid (golden 4.3). ENVIRONMENT stays raw, all of it, where a line is more than a
    literal value.
    """
    taken: set[str] = set()
    # The front end fetches EXECUTABLES after INPUTFILES, so they win (mig-protocol 5.5).
    executables = _last_of_each(description.transfers("EXECUTABLES"), taken)
    inputs = _last_of_each(description.transfers("INPUTFILES"), taken)
    variables = description.lines("ENVIRONMENT")
    environment = _environment(variables)
    return {
        "commands": description.lines("EXECUTE"),
        "inputs": input_items(inputs),
        "executables": input_items(executables),
        "outputs": output_items(_last_of_each(description.transfers("OUTPUTFILES"), set())),
        "resources": _resources(description),
        "environment": environment or {},
        "name": description.text("JOBNAME") or None,
        "runtime_environments": description.lines("RUNTIMEENVIRONMENT"),
        "vgrids": description.lines("VGRID"),
        "retries": _number(description, "RETRIES"),
        "notify": description.lines("NOTIFY"),
        "verify": description.lines("VERIFYFILES"),
        "mount": description.lines("MOUNT"),
        "project": description.text("PROJECT") or None,
        "kind": description.text("JOBTYPE") or None,
        "mrsl": {"ENVIRONMENT": variables} if environment is None else {},
    }


def input_items(transfers: Iterable[Transfer]) -> tuple[tuple[str | Remote, str], ...]:
    """Lines of INPUTFILES or EXECUTABLES as `JobSpec` takes them."""
    return tuple((_place(transfer.source), transfer.destination) for transfer in transfers)


def output_items(transfers: Iterable[Transfer]) -> tuple[tuple[str, str | Remote], ...]:
    """Lines of OUTPUTFILES as `JobSpec` takes them."""
    return tuple((transfer.source, _place(transfer.destination)) for transfer in transfers)


def _place(path: str) -> str | Remote:
    return path if is_url(path) else Remote(path)


def _last_of_each(transfers: Sequence[Transfer], taken: set[str]) -> list[Transfer]:
    kept = []
    for transfer in reversed(transfers):
        if transfer.destination not in taken:
            taken.add(transfer.destination)
            kept.append(transfer)
    return kept[::-1]


def _environment(lines: Sequence[str]) -> dict[str, str] | None:
    variables: dict[str, str] = {}
    for line in lines:
        name, _, word = line.partition("=")
        value = unquote(word)
        if value is None or name in variables:
            return None
        variables[name] = value
    return variables


def _number(description: Description, keyword: str) -> int | None:
    text = description.text(keyword)
    return int(text) if text else None


def _resources(description: Description) -> Resources:
    sandbox = description.text("SANDBOX")
    return Resources(
        wall_time=_number(description, "CPUTIME"),
        memory_mb=_number(description, "MEMORY"),
        disk_gb=_number(description, "DISK"),
        cores=_number(description, "CPUCOUNT"),
        nodes=_number(description, "NODECOUNT"),
        architecture=description.text("ARCHITECTURE") or None,
        platform=description.text("PLATFORM") or None,
        fill=description.lines("MAXFILL"),
        hosts=description.lines("RESOURCE"),
        sandbox=sandbox.lower() in TRUE_WORDS if sandbox else None,
        max_price=description.text("MAXPRICE") or None,
    )
