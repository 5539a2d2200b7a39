"""How a `JobSpec` is carried out on a MiG server: the description that is sent and the files around it.

From a `JobSpec` to what a MiG server is told, and the files around it.
"""

from __future__ import annotations

import itertools
import re
import shlex
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from .._core.errors import SpecError
from .._core.models import Fault
from .mrsl import Description, render
from .names import Claims, is_safe, is_url, name_complaint, stray_character
from .quoting import quote
from .values import InputFile, OutputFile, Remote

if TYPE_CHECKING:
    from collections.abc import Container, Iterable, Iterator, Mapping
    from pathlib import Path

    from .jobspec import JobSpec
    from .values import Resources


@dataclass(frozen=True, slots=True)
class Upload:
    """A local file, or bytes, that must lie in the home before the job is submitted.

    Attributes:
        source: the local file, or the content itself.
        path: where it goes in the home.
    """

    source: Path | bytes
    path: str


@dataclass(frozen=True, slots=True)
class PlannedOutput:
    """One output of the job.

    Attributes:
        name: its name in the job.
        path: where it arrives in the home.
        destination: where `Job.fetch` puts it below its folder, or ``None`` where the user keeps it in the home only.
    """

    name: str
    path: str
    destination: str | None


@dataclass(frozen=True, slots=True)
class Plan:
    """Everything that submitting and fetching need to know.

    Attributes:
        description: what the server is told.
        uploads: what must be in the home first.
        outputs: in the order of the spec.
        folder: the private folder of this job in the home, or ``None`` where it needs none.
        marker: a text of letters and digits that no other submission has.
        lines_before: how many EXECUTE lines of ours come before the user's.
        lines_after: how many come after.
    """

    description: Description
    uploads: tuple[Upload, ...] = ()
    outputs: tuple[PlannedOutput, ...] = ()
    folder: str | None = None
    marker: str = ""
    lines_before: int = 0
    lines_after: int = 0


STAGED = ("INPUTFILES", "EXECUTABLES")
"""The keywords whose lines begin with a path in the home."""


def rerouted(plan: Plan, places: Mapping[str, str]) -> Plan:
    """The plan with some of its uploads at other places of the home, where they are not its own to carry any more.

    Args:
        plan: the plan.
        places: old path to new path.
    """
    keywords = {
        keyword: tuple(_from(line, places) for line in lines) if keyword in STAGED else lines
        for keyword, lines in plan.description.keywords.items()
    }
    uploads = tuple(upload for upload in plan.uploads if upload.path not in places)
    private = uploads or any(each.destination is not None for each in plan.outputs)
    return replace(plan, description=Description(keywords), uploads=uploads, folder=plan.folder if private else None)


def _from(line: str, places: Mapping[str, str]) -> str:
    source, blank, destination = line.partition(" ")
    return places.get(source, source) + blank + destination


def again(plan: Plan, folder: str, marker: str) -> Plan:
    """The plan for another submission of the same, with another private folder, to which its inputs were copied."""
    old = plan.folder
    if old is None:
        return replace(plan, marker=marker)
    keywords = {
        keyword: tuple(_moved(line, old, folder) for line in lines) if keyword in (*STAGED, "OUTPUTFILES") else lines
        for keyword, lines in plan.description.keywords.items()
    }
    outputs = tuple(replace(each, path=_moved(each.path, old, folder)) for each in plan.outputs)
    return replace(plan, description=Description(keywords), outputs=outputs, uploads=(), folder=folder, marker=marker)


def _moved(text: str, old: str, new: str) -> str:
    parts = text.split(" ")
    return " ".join(new + part[len(old) :] if part.startswith(old + "/") else part for part in parts)


PRIVATE_FOLDER = "aiomig_jobs"
"""The folder of the MiG home below which each job has its own."""

DEFAULT_MEMORY = "1024"
"""The line of MEMORY that `Resources` gives unasked, in megabytes."""

_TOKEN = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._+-]{0,199}")
_LONGEST_KEPT = 200  # bytes of a base name that is kept in the private folder
# Where `chmod +x` has the name unquoted (mig-protocol 4.3).
_SPECIAL_IN_SHELL = frozenset("$&();!~")
_NUMBERS = (
    ("wall_time", "CPUTIME"),
    ("nodes", "NODECOUNT"),
    ("cores", "CPUCOUNT"),
    ("memory_mb", "MEMORY"),
    ("disk_gb", "DISK"),
)


def make_plan(spec: JobSpec, token: str) -> Plan:
    """How `spec` is carried out.

    Files go through the private folder ``aiomig_jobs/<token>`` of the home, where no other job's can collide
    with them. Names that MiG's scripts do not carry as they are travel under an alias: one EXECUTE line of
    ours before the user's gives the inputs their names, one after them takes those of the outputs.

    Args:
        spec: a spec; the files it names need not exist any more.
        token: names the private folder: letters, digits and ``. _ + -``, at most 200, the first a letter,
            digit or ``_``.

    Raises:
        SpecError: the token is none of these.
    """
    if not _TOKEN.fullmatch(token):
        remedy = "use letters, digits and . _ + -, at most 200, a letter or digit first"
        raise SpecError([Fault("token", token, "cannot name a private folder", remedy)])
    if not (spec.inputs or spec.executables or spec.outputs):
        return Plan(Description({"EXECUTE": spec.commands, **field_lines(spec), **spec.mrsl}), marker=token)
    return replace(_Staging(spec, f"{PRIVATE_FOLDER}/{token}").plan(), marker=token)


def text_of(spec: JobSpec) -> str:
    """The mRSL that is sent for `spec`, with the token ``example``."""
    return render(make_plan(spec, "example").description)


def field_lines(spec: JobSpec) -> dict[str, tuple[str, ...]]:
    """The keywords that the fields of `spec` set, but EXECUTE and the staging of files."""
    lines = _resource_lines(spec.resources)
    if spec.environment:
        lines["ENVIRONMENT"] = tuple(f"{name}={quote(value)}" for name, value in spec.environment.items())
    if spec.retries is not None:
        lines["RETRIES"] = (str(spec.retries),)
    _set_lists(
        lines,
        {
            "VERIFYFILES": spec.verify,
            "MOUNT": spec.mount,
            "RUNTIMEENVIRONMENT": spec.runtime_environments,
            "VGRID": spec.vgrids,
            "NOTIFY": spec.notify,
        },
    )
    _set_texts(lines, {"JOBTYPE": spec.kind, "JOBNAME": spec.name, "PROJECT": spec.project})
    return lines


def _resource_lines(resources: Resources) -> dict[str, tuple[str, ...]]:
    lines: dict[str, tuple[str, ...]] = {}
    for field, keyword in _NUMBERS:
        value = getattr(resources, field)
        if value is not None:
            lines[keyword] = (str(value),)
    if resources.sandbox is not None:
        lines["SANDBOX"] = ("true" if resources.sandbox else "false",)
    _set_lists(lines, {"RESOURCE": resources.hosts, "MAXFILL": resources.fill})
    _set_texts(
        lines,
        {
            "ARCHITECTURE": resources.architecture,
            "PLATFORM": resources.platform,
            "MAXPRICE": resources.max_price,
        },
    )
    return lines


def _set_lists(lines: dict[str, tuple[str, ...]], values: Mapping[str, tuple[str, ...]]) -> None:
    lines.update({keyword: value for keyword, value in values.items() if value})


def _set_texts(lines: dict[str, tuple[str, ...]], values: Mapping[str, str | None]) -> None:
    lines.update({keyword: (value,) for keyword, value in values.items() if value is not None})


def _is_carried(name: str) -> bool:
    """Whether MiG's scripts carry a name in single quotes (golden 4.3: Unicode and ``+ % & = ;`` do work)."""
    return stray_character(name) is None and not {" ", "'"} & set(name) and not name.startswith("-")


def _is_private(destination: str | Remote) -> bool:
    """Whether an output lies in the job's own folder until it is fetched."""
    return isinstance(destination, str) and not is_url(destination)


def _is_sent_as_is(name: str, destination: str | Remote) -> bool:
    return is_safe(name) if _is_private(destination) else _is_carried(name)


def _free(name: str, claims: Claims) -> str:
    """The name, where no other output is in its way; else one with a number. Now claimed."""
    numbered = (f"aiomig-{number}-{name}" for number in itertools.count(1))
    return next(each for each in itertools.chain((name,), numbered) if claims.claim(each, "") is None)


def _aliases(direction: str, taken: Container[str]) -> Iterator[str]:
    names = (f"aiomig-{direction}-{number}" for number in itertools.count(1))
    return (name for name in names if name not in taken)


class _Staging:
    """One job's files on their way in and out. Made, asked for its plan, and thrown away."""

    def __init__(self, spec: JobSpec, folder: str) -> None:
        self._spec = spec
        self._folder = folder
        self._uploads: dict[Path | bytes, Upload] = {}
        self._upload_names: set[str] = set()
        self._upload_aliases = _aliases("in", self._upload_names)
        names = [name for _, name in (*spec.inputs, *spec.executables)] + [name for name, _ in spec.outputs]
        names += [place for _, place in spec.outputs if isinstance(place, str)]
        top = {name.partition("/")[0] for name in names}
        self._input_aliases = _aliases("in", top)
        self._incoming: list[tuple[str, str]] = []  # (alias, name)
        # Name to alias. One for all the places of an output: the file moves, its name is gone for the others.
        moved = dict.fromkeys(name for name, place in spec.outputs if not _is_sent_as_is(name, place))
        self._outgoing = dict(zip(moved, _aliases("out", top), strict=False))

    def plan(self) -> Plan:
        spec = self._spec
        staging = {
            "INPUTFILES": tuple(self._input_line(file, _is_carried(file.name)) for file in spec.inputs),
            "EXECUTABLES": tuple(
                self._input_line(file, _is_carried(file.name) and not _SPECIAL_IN_SHELL & set(file.name))
                for file in spec.executables
            ),
        }
        outputs, staging["OUTPUTFILES"] = self._outputs(spec.outputs)
        before, after = self._prologue(), self._epilogue()
        lines = {"EXECUTE": (*before, *spec.commands, *after)}
        lines.update({keyword: value for keyword, value in staging.items() if value})
        private = any(output.destination is not None for output in outputs)
        return Plan(
            description=Description({**lines, **field_lines(spec), **spec.mrsl}),
            uploads=tuple(self._uploads.values()),
            outputs=outputs,
            folder=self._folder if private or self._uploads else None,
            lines_before=len(before),
            lines_after=len(after),
        )

    def _input_line(self, file: InputFile, carried: bool) -> str:
        source = file.source
        if isinstance(source, Remote):
            path = source.path
        elif isinstance(source, str):
            path = source
        else:
            path, carried = self._upload(source, file.name), is_safe(file.name)
        if carried:
            return f"{path} {file.name}"
        alias = next(self._input_aliases)
        self._incoming.append((alias, file.name))
        return f"{path} {alias}"

    def _upload(self, source: Path | bytes, name: str) -> str:
        upload = self._uploads.get(source)
        if upload is None:
            base = name.rpartition("/")[2]
            if not is_safe(base) or len(base) > _LONGEST_KEPT or base in self._upload_names:
                base = next(self._upload_aliases)
            self._upload_names.add(base)
            upload = self._uploads[source] = Upload(source, f"{self._folder}/in/{base}")
        return upload.path

    def _outputs(self, files: Iterable[OutputFile]) -> tuple[tuple[PlannedOutput, ...], tuple[str, ...]]:
        planned: list[PlannedOutput] = []
        lines: dict[str, None] = {}
        places: dict[str, str] = {}
        files = tuple(files)
        claims = Claims()
        for _, destination in files:
            if _is_private(destination) and is_safe(str(destination)):
                claims.claim(str(destination), "")
        for name, destination in files:
            private = _is_private(destination)
            source = self._outgoing.get(name, name)
            path = destination.path if isinstance(destination, Remote) else destination
            if private:
                # By its destination, where that is a name to be sent: a handle made from the id alone knows it then.
                if source not in places:
                    tail = str(path) if is_safe(str(path)) else _free(source, claims)
                    places[source] = f"{self._folder}/out/{tail}"
                path = places[source]
            planned.append(PlannedOutput(name, path, str(destination) if private else None))
            lines[f"{source} {path}"] = None
        return tuple(planned), tuple(lines)

    def _prologue(self) -> tuple[str, ...]:
        if not self._incoming:
            return ()
        folders = sorted({name.rpartition("/")[0] for _, name in self._incoming} - {""})
        # `command -p` finds the programs also where ENVIRONMENT sets another PATH (golden env-path).
        steps = [f"command -p mkdir -p -- {shlex.join(folders)}"] if folders else []
        steps += [f"command -p mv -f -- {alias} {shlex.quote(name)}" for alias, name in self._incoming]
        return (" && ".join(steps),)

    def _epilogue(self) -> tuple[str, ...]:
        if not self._outgoing:
            return ()
        steps = "; ".join(
            f"[ ! -e {quoted} ] || command -p mv -f -- {quoted} {alias}"
            for quoted, alias in ((shlex.quote(f"./{name}"), alias) for name, alias in self._outgoing.items())
        )
        # A subshell: later lines, such as an EXIT trap of the user's, keep their working directory.
        return (f'(cd -- "$MIG_JOBDIR" && {{ {steps}; }})',)


def renamed(line: str) -> dict[str, str]:
    """The names behind the aliases of outputs, in the last EXECUTE line of a job; empty where that is not ours."""
    try:
        words = shlex.split(line)
    except ValueError:
        return {}
    if not line.startswith("(cd --"):
        return {}
    marks = (at for at, word in enumerate(words[:-2]) if word == "--" and words[at - 1] == "-f")
    names = {words[at + 2].rstrip(";"): words[at + 1].removeprefix("./") for at in marks}
    # A server may say whatever it likes, and files of this machine are named after these.
    return {alias: name for alias, name in names.items() if name_complaint(name) is None}
