"""The options that describe a job, and their `JobSpec`."""

from __future__ import annotations

import os
import re
import shlex
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from .. import JobSpec, Remote, Resources
from ._settings import local_files

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

_F = TypeVar("_F", bound="Callable[..., Any]")

_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")
_HOME = "mig:"
_TIME = re.compile(r"(?:(\d+)d)?(?:(\d+)h)?(?:(\d+)m)?(?:(\d+)s?)?", re.ASCII)
_CLOCK = re.compile(r"(\d+):([0-5]\d):([0-5]\d)", re.ASCII)
_AMOUNT = re.compile(r"(\d+)([MGT]?)B?", re.ASCII | re.IGNORECASE)
_MEGABYTES = {"": 1, "M": 1, "G": 1024, "T": 1024 * 1024}


def wall_time(text: str) -> int:
    """Return the seconds of ``90``, ``90s``, ``15m``, ``2h30m``, ``1d`` or ``2:30:00``."""
    if match := _CLOCK.fullmatch(text):
        return int(match[1]) * 3600 + int(match[2]) * 60 + int(match[3])
    if text and (match := _TIME.fullmatch(text)):
        days, hours, minutes, seconds = (int(number or 0) for number in match.groups())
        return days * 86_400 + hours * 3600 + minutes * 60 + seconds
    raise click.BadParameter(f"{text!r} is not a time; give seconds, or 90s, 15m, 2h30m, 1d, 2:30:00")


def moment(text: str) -> datetime:
    """Return the time of ``2h`` or ``3d`` ago, or of ``2026-11-23`` or ``2026-11-23 14:00`` in the local time zone."""
    if text and _TIME.fullmatch(text):
        return datetime.now(UTC) - timedelta(seconds=wall_time(text))
    try:
        return datetime.fromisoformat(text).astimezone()
    except ValueError as error:
        raise click.BadParameter(f"{text!r} is not a time; give 2h, 3d, 2026-11-23 or '2026-11-23 14:00'") from error


def megabytes(text: str) -> int:
    """Return the megabytes of ``512``, ``512M`` or ``4G``."""
    if match := _AMOUNT.fullmatch(text):
        return int(match[1]) * _MEGABYTES[match[2].upper()]
    raise click.BadParameter(f"{text!r} is not a size; give megabytes, or 512M, 4G")


_FILES = "SOURCE[:NAME]"
_DESCRIBING: tuple[tuple[tuple[str, ...], dict[str, Any]], ...] = (
    (
        ("--command", "-c"),
        {"multiple": True, "metavar": "LINE", "help": "A command line to run before COMMAND; may be repeated."},
    ),
    (
        ("--input", "-i", "inputs"),
        {
            "multiple": True,
            "metavar": _FILES,
            "shell_complete": local_files,
            "help": "A file, directory, glob or URL for the job, or mig:PATH in the MiG home.",
        },
    ),
    (
        ("--executable", "-x", "executables"),
        {
            "multiple": True,
            "metavar": _FILES,
            "shell_complete": local_files,
            "help": "The same, made executable.",
        },
    ),
    (
        ("--output", "-o", "outputs"),
        {
            "multiple": True,
            "metavar": "NAME[:DESTINATION]",
            "help": "A file to keep, and where: a path for fetch, or mig:PATH in the MiG home, or a URL.",
        },
    ),
    (
        ("--env", "-e", "environment"),
        {
            "multiple": True,
            "metavar": "NAME[=VALUE]",
            "help": "A variable of the job; without VALUE that of this shell.",
        },
    ),
    (("--name",), {"help": "A name for the job."}),
    (
        ("--label", "labels"),
        {"multiple": True, "metavar": "NAME=VALUE", "help": "A label, by which aiomig jobs --label finds the job."},
    ),
    (("--key",), {"help": "Submit once: the same key gives the same job, also after a crash."}),
    (
        ("--wall-time", "-t"),
        {
            "type": wall_time,
            "metavar": "TIME",
            "help": "The longest run time: seconds, 15m, 2h30m. Grids give 10m.",
        },
    ),
    (("--memory", "-m"), {"type": megabytes, "metavar": "SIZE", "help": "Memory: megabytes, or 4G. Default: 1G."}),
    (("--disk",), {"type": int, "metavar": "GB", "help": "Disk in gigabytes."}),
    (("--cores",), {"type": int, "help": "Cores of each node."}),
    (("--nodes",), {"type": int, "help": "Nodes."}),
    (("--architecture",), {"help": "The processor, such as AMD64."}),
    (("--platform",), {"help": "The platform that a resource must have."}),
    (("--fill",), {"multiple": True, "metavar": "WHAT", "help": "Take all of a resource: ALL, MEMORY, CPUCOUNT, …"}),
    (("--host", "hosts"), {"multiple": True, "metavar": "ID", "help": "A resource that may run it; * and ? allowed."}),
    (("--sandbox/--no-sandbox",), {"default": None, "help": "Whether sandbox resources may run it."}),
    (("--max-price",), {"help": "The highest price."}),
    (
        ("--runtime-environment", "-r", "runtime_environments"),
        {"multiple": True, "metavar": "NAME", "help": "A runtime environment that the resource must have."},
    ),
    (("--vgrid", "vgrids"), {"multiple": True, "metavar": "NAME", "help": "A vgrid; its resources may run it."}),
    (("--retries",), {"type": int, "help": "The number of attempts after a failed one."}),
    (("--notify",), {"multiple": True, "metavar": "LINE", "help": "Such as 'email: me@example.org'."}),
    (("--verify",), {"multiple": True, "metavar": "PATH", "help": "A file of the home to compare results with."}),
    (("--mount",), {"multiple": True, "metavar": "'PATH POINT'", "help": "A folder of the home to mount."}),
    (("--project",), {"help": "A label: letters and digits."}),
    (("--kind",), {"help": "batch, interactive, bulk or all."}),
    (("--mrsl",), {"multiple": True, "metavar": "KEYWORD=LINE", "help": "A keyword without an option here."}),
)

_RESOURCES = {
    "wall_time": "wall_time",
    "memory": "memory_mb",
    "disk": "disk_gb",
    "cores": "cores",
    "nodes": "nodes",
    "architecture": "architecture",
    "platform": "platform",
    "fill": "fill",
    "hosts": "hosts",
    "sandbox": "sandbox",
    "max_price": "max_price",
}
_PLAIN = ("name", "key", "runtime_environments", "vgrids", "retries", "notify", "verify", "mount", "project", "kind")


def describing_options(function: _F) -> _F:
    """Add the options that describe a job, and the words of its last command."""
    for names, options in reversed(_DESCRIBING):
        function = click.option(*names, **options)(function)
    return click.argument("words", nargs=-1, metavar="[COMMAND]...", type=click.UNPROCESSED)(function)


def commands_of(words: Sequence[str], lines: Sequence[str]) -> list[str]:
    """Return the command lines: those of ``-c``, then the words.

    One word is a line for the shell of the job. Several words are one command with its arguments, and are quoted.
    """
    last = [words[0] if len(words) == 1 else shlex.join(words)] if words else []
    commands = [*lines, *last]
    if not commands:
        raise click.UsageError("there is nothing to run; give a command, such as 'echo HELLO GRID'")
    return commands


def job_spec(words: Sequence[str], command: Sequence[str], **options: Any) -> JobSpec:
    """Return the job that the options describe.

    Raises:
        SpecError: the description is wrong; with all faults.
        click.UsageError: an option cannot be understood.
    """
    resources = {field: options[name] for name, field in _RESOURCES.items() if options[name] not in (None, ())}
    fields = {name: options[name] for name in _PLAIN if options[name] not in (None, ())}
    return JobSpec(
        commands_of(words, command),
        inputs=[_input(text) for text in options["inputs"]],
        executables=[_input(text) for text in options["executables"]],
        outputs=[_output(text) for text in options["outputs"]],
        environment=_environment(options["environment"]),
        labels=labels_of(options["labels"]),
        resources=Resources(**resources),
        mrsl=_keywords(options["mrsl"]),
        **fields,
    )


def _input(text: str) -> Any:
    source, name = _halves(text)
    if source.startswith(_HOME):
        return Remote(source.removeprefix(_HOME), name)
    return source if name is None else (source, name)


def _output(text: str) -> Any:
    name, colon, destination = text.partition(":")
    if not colon:
        return name
    return name, Remote(destination.removeprefix(_HOME)) if destination.startswith(_HOME) else destination


def _halves(text: str) -> tuple[str, str | None]:
    """Return a source and a name. A colon in a URL, or in the name of a file that exists, separates nothing."""
    if Path(text).exists():
        return text, None
    start = len(_HOME) if text.startswith(_HOME) else 0
    if url := _URL.match(text):
        start = text.find("/", url.end())
        if start < 0:
            return text, None
    at = text.rfind(":", start)
    return (text[:at], text[at + 1 :]) if at > 0 else (text, None)


def _environment(words: Iterable[str]) -> dict[str, str]:
    variables: dict[str, str] = {}
    for word in words:
        name, equals, value = word.partition("=")
        if not equals and name not in os.environ:
            raise click.BadParameter(f"{name!r} is not set in this shell; give {name}=VALUE", param_hint="--env")
        variables[name] = value if equals else os.environ[name]
    return variables


def labels_of(words: Iterable[str]) -> dict[str, str]:
    """Return the labels of ``--label NAME=VALUE``."""
    labels: dict[str, str] = {}
    for word in words:
        name, equals, value = word.partition("=")
        if not equals:
            raise click.BadParameter(f"{word!r}: give NAME=VALUE", param_hint="--label")
        labels[name] = value
    return labels


def _keywords(words: Iterable[str]) -> dict[str, list[str]]:
    keywords: dict[str, list[str]] = {}
    for word in words:
        keyword, equals, line = word.partition("=")
        if not equals:
            raise click.BadParameter(f"{word!r}: give KEYWORD=LINE", param_hint="--mrsl")
        keywords.setdefault(keyword, []).append(line)
    return keywords
