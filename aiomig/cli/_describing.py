"""The options that describe a job, and the `JobSpec` that they make."""

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
_MIG_HOME = "mig:"
_DURATION = re.compile(r"(?:(\d+)d)?(?:(\d+)h)?(?:(\d+)m)?(?:(\d+)s?)?", re.ASCII)
_CLOCK = re.compile(r"(\d+):([0-5]\d):([0-5]\d)", re.ASCII)
_AMOUNT = re.compile(r"(\d+)([MGT]?)B?", re.ASCII | re.IGNORECASE)
_MEGABYTES = {"": 1, "M": 1, "G": 1024, "T": 1024 * 1024}


def parse_duration(text: str) -> int:
    """Return the seconds of a duration such as ``90``, ``90s``, ``15m``, ``2h30m``, ``1d`` or ``2:30:00``."""
    if match := _CLOCK.fullmatch(text):
        return int(match[1]) * 3600 + int(match[2]) * 60 + int(match[3])
    if text and (match := _DURATION.fullmatch(text)):
        days, hours, minutes, seconds = (int(number or 0) for number in match.groups())
        return days * 86_400 + hours * 3600 + minutes * 60 + seconds
    raise click.BadParameter(f"{text!r} is not a time; give seconds, or 90s, 15m, 2h30m, 1d, 2:30:00")


def parse_time(text: str) -> datetime:
    """Return the time of ``2h`` or ``3d`` ago, or ``2026-11-23`` or ``2026-11-23 14:00`` in the local time zone."""
    if text and _DURATION.fullmatch(text):
        return datetime.now(UTC) - timedelta(seconds=parse_duration(text))
    try:
        return datetime.fromisoformat(text).astimezone()
    except ValueError as error:
        raise click.BadParameter(f"{text!r} is not a time; give 2h, 3d, 2026-11-23 or '2026-11-23 14:00'") from error


def parse_megabytes(text: str) -> int:
    """Return the megabytes of a size such as ``512``, ``512M`` or ``4G``."""
    if match := _AMOUNT.fullmatch(text):
        return int(match[1]) * _MEGABYTES[match[2].upper()]
    raise click.BadParameter(f"{text!r} is not a size; give megabytes, or 512M, 4G")


_SOURCE = "SOURCE[:NAME]"
_DESCRIBING = (
    click.option(
        "--command", "-c", multiple=True, metavar="LINE", help="A command line to run before COMMAND; repeatable."
    ),
    click.option(
        "--input",
        "-i",
        "inputs",
        multiple=True,
        metavar=_SOURCE,
        shell_complete=local_files,
        help="A file, directory, glob or URL for the job, or mig:PATH in the MiG home.",
    ),
    click.option(
        "--executable",
        "-x",
        "executables",
        multiple=True,
        metavar=_SOURCE,
        shell_complete=local_files,
        help="Like --input, and made executable.",
    ),
    click.option(
        "--output",
        "-o",
        "outputs",
        multiple=True,
        metavar="NAME[:DESTINATION]",
        help="A file to keep. DESTINATION: a path for fetch, mig:PATH in the MiG home, or a URL.",
    ),
    click.option(
        "--env",
        "-e",
        "environment",
        multiple=True,
        metavar="NAME[=VALUE]",
        help="An environment variable of the job; without VALUE, as in this shell.",
    ),
    click.option("--name", help="The name of the job."),
    click.option(
        "--label",
        "labels",
        multiple=True,
        metavar="NAME=VALUE",
        help="A label, for finding the job by aiomig jobs --label.",
    ),
    click.option("--key", help="Submit only once: the same key gives the same job, even after a crash."),
    click.option(
        "--wall-time",
        "-t",
        type=parse_duration,
        metavar="TIME",
        help="Maximum run time: seconds, 15m, 2h30m. Grids default to 10m.",
    ),
    click.option(
        "--memory",
        "-m",
        "memory_mb",
        type=parse_megabytes,
        metavar="SIZE",
        help="Memory: megabytes, or 4G. Default: 1G.",
    ),
    click.option("--disk", "disk_gb", type=int, metavar="GB", help="Disk space in gigabytes."),
    click.option("--cores", type=int, help="Cores per node."),
    click.option("--nodes", type=int, help="Number of nodes."),
    click.option("--architecture", help="The processor, such as AMD64."),
    click.option("--platform", help="The platform that a resource must have."),
    click.option("--fill", multiple=True, metavar="WHAT", help="Use a resource completely: ALL, MEMORY, CPUCOUNT, …"),
    click.option(
        "--host", "hosts", multiple=True, metavar="ID", help="A resource that may run the job; * and ? are wildcards."
    ),
    click.option("--sandbox/--no-sandbox", default=None, help="Whether sandbox resources may run the job."),
    click.option("--max-price", help="The highest price."),
    click.option(
        "--runtime-environment",
        "-r",
        "runtime_environments",
        multiple=True,
        metavar="NAME",
        help="A runtime environment that the resource must have.",
    ),
    click.option("--vgrid", "vgrids", multiple=True, metavar="NAME", help="A VGrid whose resources may run the job."),
    click.option("--retries", type=int, help="The number of retries after a failed attempt."),
    click.option("--notify", multiple=True, metavar="LINE", help="Such as 'email: me@example.org'."),
    click.option("--verify", multiple=True, metavar="PATH", help="A file of the home to compare results with."),
    click.option("--mount", multiple=True, metavar="'PATH POINT'", help="A directory of the home to mount."),
    click.option("--project", help="A label: letters and digits."),
    click.option("--kind", help="batch, interactive, bulk or all."),
    click.option("--mrsl", multiple=True, metavar="KEYWORD=LINE", help="An mRSL keyword that has no option here."),
)

_RESOURCES = (
    *("wall_time", "memory_mb", "disk_gb", "cores", "nodes", "architecture", "platform"),
    *("fill", "hosts", "sandbox", "max_price"),
)
"""The options that are fields of `Resources`."""

_FIELDS = ("name", "key", "runtime_environments", "vgrids", "retries", "notify", "verify", "mount", "project", "kind")
"""The options that are fields of `JobSpec` with the same values."""


def describing_options(function: _F) -> _F:
    """Add the options that describe a job, and the argument COMMAND."""
    for option in reversed(_DESCRIBING):
        function = option(function)
    return click.argument("words", nargs=-1, metavar="[COMMAND]...", type=click.UNPROCESSED)(function)


def _commands(words: Sequence[str], lines: Sequence[str]) -> list[str]:
    """Return the command lines: the lines of ``-c``, then COMMAND.

    A single word is a command line for the job's shell. Several words are a command with arguments and are quoted.
    """
    last = [words[0] if len(words) == 1 else shlex.join(words)] if words else []
    commands = [*lines, *last]
    if not commands:
        raise click.UsageError("there is no command to run; give one, such as 'echo HELLO GRID'")
    return commands


def job_spec(words: Sequence[str], command: Sequence[str], **options: Any) -> JobSpec:
    """Return the job description for COMMAND, the lines of ``-c``, and the other options.

    Raises:
        SpecError: the description is invalid; lists all faults.
        click.UsageError: an option is malformed.
    """
    resources = {name: options[name] for name in _RESOURCES if options[name] not in (None, ())}
    fields = {name: options[name] for name in _FIELDS if options[name] not in (None, ())}
    return JobSpec(
        _commands(words, command),
        inputs=[_input(text) for text in options["inputs"]],
        executables=[_input(text) for text in options["executables"]],
        outputs=[_output(text) for text in options["outputs"]],
        environment=_environment(options["environment"]),
        labels=parse_labels(options["labels"]),
        resources=Resources(**resources),
        mrsl=_keywords(options["mrsl"]),
        **fields,
    )


def _input(text: str) -> Any:
    source, name = _split(text)
    if source.startswith(_MIG_HOME):
        return Remote(source.removeprefix(_MIG_HOME), name)
    return source if name is None else (source, name)


def _output(text: str) -> Any:
    name, colon, destination = text.partition(":")
    if not colon:
        return name
    return name, Remote(destination.removeprefix(_MIG_HOME)) if destination.startswith(_MIG_HOME) else destination


def _split(text: str) -> tuple[str, str | None]:
    """Split ``SOURCE:NAME``. A colon of a URL, or in the name of an existing file, is not a separator."""
    if Path(text).exists():
        return text, None
    start = len(_MIG_HOME) if text.startswith(_MIG_HOME) else 0
    if url := _URL.match(text):
        start = text.find("/", url.end())
        if start < 0:
            return text, None
    colon = text.rfind(":", start)
    return (text[:colon], text[colon + 1 :]) if colon > 0 else (text, None)


def _environment(texts: Iterable[str]) -> dict[str, str]:
    variables: dict[str, str] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals and name not in os.environ:
            raise click.BadParameter(f"{name!r} is not set in this shell; give {name}=VALUE", param_hint="--env")
        variables[name] = value if equals else os.environ[name]
    return variables


def parse_labels(texts: Iterable[str]) -> dict[str, str]:
    """Return the labels of ``--label NAME=VALUE``."""
    labels: dict[str, str] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals:
            raise click.BadParameter(f"{text!r}: give NAME=VALUE", param_hint="--label")
        labels[name] = value
    return labels


def _keywords(texts: Iterable[str]) -> dict[str, list[str]]:
    keywords: dict[str, list[str]] = {}
    for text in texts:
        keyword, equals, line = text.partition("=")
        if not equals:
            raise click.BadParameter(f"{text!r}: give KEYWORD=LINE", param_hint="--mrsl")
        keywords.setdefault(keyword, []).append(line)
    return keywords
