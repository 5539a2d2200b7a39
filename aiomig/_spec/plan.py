"""How a job is carried out on a MiG server: the description to send, and the files around it."""

from __future__ import annotations

import itertools
import re
import shlex
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from .._core.errors import SpecError
from .._core.models import Fault
from .._core.paths import stray_character
from .files import STAGED
from .labels import labels_in
from .mrsl import Description
from .names import Claims, is_safe, is_url, name_fault
from .values import InputFile, InputStream, OutputFile, Remote

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from .submit_key import SubmitKey

UploadSource: TypeAlias = Path | bytes | InputStream

PRIVATE_FOLDER = "aiomig_jobs"
"""The folder of the MiG home that holds one folder for each job."""

_TOKEN = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._+-]{0,199}")
_LONGEST_KEPT = 200  # bytes of a base name that is kept in the private folder
# `chmod +x` gets the name unquoted. See docs/protocol.md#inputs.
_SPECIAL_IN_SHELL = frozenset("$&();!~")


@dataclass(frozen=True, slots=True)
class Upload:
    """A local file, or bytes, that must lie in the home before the job is submitted.

    Attributes:
        source: the local file, or the content itself, or a stream of it.
        path: where it goes in the home.
    """

    source: UploadSource
    path: str


@dataclass(frozen=True, slots=True)
class PlannedOutput:
    """One output of the job.

    Attributes:
        name: its name in the job.
        path: where it arrives in the home.
        destination: where `Job.fetch` puts it below its folder, or ``None`` if the user keeps it in the home only.
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
        folder: the private folder of this job in the home, or ``None`` if it needs none.
        marker: a text of letters and digits that no other submission has.
        prologue_lines: how many EXECUTE lines of aiomig come before the user's.
        epilogue_lines: how many come after.
        key: the key under which the job is to be submitted, or ``None``. Records of jobs do not have it.
    """

    description: Description
    uploads: tuple[Upload, ...] = ()
    outputs: tuple[PlannedOutput, ...] = ()
    folder: str | None = None
    marker: str = ""
    prologue_lines: int = 0
    epilogue_lines: int = 0
    key: SubmitKey | None = None

    @property
    def name(self) -> str | None:
        """The job's name, or ``None``."""
        return self.description.text("JOBNAME") or None

    @property
    def labels(self) -> dict[str, str]:
        """The job's labels."""
        return labels_in(self.description.lines("ENVIRONMENT"))

    def with_uploads_at(self, places: Mapping[str, str]) -> Plan:
        """Return the plan with some of its uploads at other places of the home, which others fill.

        Args:
            places: old path to new path.
        """

        def moved(line: str) -> str:
            source, blank, destination = line.partition(" ")
            return places.get(source, source) + blank + destination

        uploads = tuple(upload for upload in self.uploads if upload.path not in places)
        private = uploads or any(output.destination is not None for output in self.outputs)
        return replace(
            self,
            description=self.description.map_lines(STAGED, moved),
            uploads=uploads,
            folder=self.folder if private else None,
        )

    def plan_resubmit(self, folder: str, marker: str) -> Plan:
        """Return the plan for submitting the job again, with its inputs copied to another private folder."""
        old = self.folder
        if old is None:
            return replace(self, marker=marker, key=None)

        def moved(text: str) -> str:
            return " ".join(
                folder + part.removeprefix(old) if part.startswith(f"{old}/") else part for part in text.split(" ")
            )

        return replace(
            self,
            description=self.description.map_lines((*STAGED, "OUTPUTFILES"), moved),
            outputs=tuple(replace(output, path=moved(output.path)) for output in self.outputs),
            uploads=(),
            folder=folder,
            marker=marker,
            key=None,
        )


def make_plan(
    token: str,
    commands: tuple[str, ...],
    inputs: tuple[InputFile, ...],
    executables: tuple[InputFile, ...],
    outputs: tuple[OutputFile, ...],
    keywords: Mapping[str, tuple[str, ...]],
) -> Plan:
    """Return how a job is carried out.

    Files go through the private folder ``aiomig_jobs/<token>`` of the home, so that no other job's files collide
    with them. Names that MiG's scripts cannot carry travel under an alias: one EXECUTE line of aiomig before the
    user's gives the inputs their names, and one after them renames the outputs.

    Args:
        token: names the private folder.
        commands: the user's EXECUTE lines.
        inputs: the files of the job; they need not exist any more.
        executables: the same, made executable.
        outputs: what the job makes.
        keywords: all other keywords and their lines.

    Raises:
        SpecError: the token cannot name a folder.
    """
    if not _TOKEN.fullmatch(token):
        remedy = "use letters, digits and . _ + -, at most 200, a letter or digit first"
        raise SpecError([Fault("token", token, "cannot name a private folder", remedy)])
    if not (inputs or executables or outputs):
        return Plan(Description({"EXECUTE": commands, **keywords}), marker=token)
    plan = _staged_plan(f"{PRIVATE_FOLDER}/{token}", commands, inputs, executables, outputs, keywords)
    return replace(plan, marker=token)


def _staged_plan(
    folder: str,
    commands: tuple[str, ...],
    inputs: tuple[InputFile, ...],
    executables: tuple[InputFile, ...],
    outputs: tuple[OutputFile, ...],
    keywords: Mapping[str, tuple[str, ...]],
) -> Plan:
    names = [name for _, name in (*inputs, *executables)] + [name for name, _ in outputs]
    names += [place for _, place in outputs if isinstance(place, str)]
    top = {name.partition("/")[0] for name in names}
    staged = _Inputs(folder, top)
    lines = {
        "INPUTFILES": tuple(staged.line(file, _is_carried(file.name)) for file in inputs),
        "EXECUTABLES": tuple(
            staged.line(file, _is_carried(file.name) and not _SPECIAL_IN_SHELL & set(file.name)) for file in executables
        ),
    }
    # One alias for all places of an output: the file moves, and its name is gone for the others.
    moved = dict.fromkeys(name for name, place in outputs if not _is_sent_as_is(name, place))
    aliases = dict(zip(moved, _aliases("out", top), strict=False))
    planned, lines["OUTPUTFILES"] = _planned_outputs(outputs, aliases, folder)
    prologue, epilogue = staged.prologue(), _epilogue(aliases)
    private = staged.uploads or any(output.destination is not None for output in planned)
    return Plan(
        description=Description(
            {
                "EXECUTE": (*prologue, *commands, *epilogue),
                **{keyword: value for keyword, value in lines.items() if value},
                **keywords,
            }
        ),
        uploads=tuple(staged.uploads.values()),
        outputs=planned,
        folder=folder if private else None,
        prologue_lines=len(prologue),
        epilogue_lines=len(epilogue),
    )


def _is_carried(name: str) -> bool:
    """Return whether MiG's scripts carry a name in single quotes. See docs/protocol.md#staging-lines."""
    return stray_character(name) is None and not {" ", "'"} & set(name) and not name.startswith("-")


def _is_private(destination: str | Remote) -> bool:
    """Return whether an output lies in the job's own folder until it is fetched."""
    return isinstance(destination, str) and not is_url(destination)


def _is_sent_as_is(name: str, destination: str | Remote) -> bool:
    return is_safe(name) if _is_private(destination) else _is_carried(name)


def _aliases(direction: str, taken: Iterable[str]) -> Iterator[str]:
    names = (f"aiomig-{direction}-{number}" for number in itertools.count(1))
    return (name for name in names if name not in taken)


class _Inputs:
    """Names the uploads of one job, and the aliases of inputs with odd names."""

    def __init__(self, folder: str, taken: Iterable[str]) -> None:
        self.uploads: dict[UploadSource, Upload] = {}
        self._folder = folder
        self._names: set[str] = set()
        self._upload_aliases = _aliases("in", self._names)
        self._aliases = _aliases("in", taken)
        self._renames: list[tuple[str, str]] = []  # (alias, name)

    def line(self, file: InputFile, carried: bool) -> str:
        """Return the staging line of a file; `carried`: MiG can carry its name."""
        source = file.source
        if isinstance(source, Remote):
            path = source.path
        elif isinstance(source, str):
            path = source
        else:
            path, carried = self._upload(source, file.name), is_safe(file.name)
        if carried:
            return f"{path} {file.name}"
        alias = next(self._aliases)
        self._renames.append((alias, file.name))
        return f"{path} {alias}"

    def _upload(self, source: UploadSource, name: str) -> str:
        upload = self.uploads.get(source)
        if upload is None:
            base = name.rpartition("/")[2]
            if not is_safe(base) or len(base) > _LONGEST_KEPT or base in self._names:
                base = next(self._upload_aliases)
            self._names.add(base)
            upload = self.uploads[source] = Upload(source, f"{self._folder}/in/{base}")
        return upload.path

    def prologue(self) -> tuple[str, ...]:
        """Return the EXECUTE line that gives the files their names; empty if no file needs it."""
        if not self._renames:
            return ()
        folders = sorted({name.rpartition("/")[0] for _, name in self._renames} - {""})
        # `command -p` finds the programs also if ENVIRONMENT sets another PATH.
        steps = [f"command -p mkdir -p -- {shlex.join(folders)}"] if folders else []
        steps += [f"command -p mv -f -- {alias} {shlex.quote(name)}" for alias, name in self._renames]
        return (" && ".join(steps),)


def _planned_outputs(
    files: Sequence[OutputFile], aliases: Mapping[str, str], folder: str
) -> tuple[tuple[PlannedOutput, ...], tuple[str, ...]]:
    """Return the outputs, and the lines of OUTPUTFILES."""
    planned: list[PlannedOutput] = []
    lines: dict[str, None] = {}
    places: dict[str, str] = {}
    claims = Claims()
    for _, destination in files:
        if _is_private(destination) and is_safe(str(destination)):
            claims.claim("", str(destination))
    for name, destination in files:
        source = aliases.get(name, name)
        path = destination.path if isinstance(destination, Remote) else destination
        private = _is_private(destination)
        if private:
            # Named after its destination if MiG can carry that: a handle made from the id alone knows it then.
            if source not in places:
                places[source] = f"{folder}/out/{path if is_safe(path) else _free(source, claims)}"
            path = places[source]
        planned.append(PlannedOutput(name, path, str(destination) if private else None))
        lines[f"{source} {path}"] = None
    return tuple(planned), tuple(lines)


def _free(name: str, claims: Claims) -> str:
    """Return and claim the name, or the name with a number if another output has it."""
    numbered = (f"aiomig-{number}-{name}" for number in itertools.count(1))
    return next(candidate for candidate in itertools.chain((name,), numbered) if claims.claim("", candidate) is None)


# -- the EXECUTE line that renames outputs, written and read

_EPILOGUE_START, _EPILOGUE_END = '(cd -- "$MIG_JOBDIR" && { ', "; })"
_QUOTED = r"(?:[\w@%+=:,./-]++|'(?:[^']++|'\"'\"')*+')"  # what shlex.quote makes
_RENAME = re.compile(
    rf"\[ ! -e {_QUOTED} \] \|\| command -p mv -f -- ({_QUOTED}) (aiomig-out-[0-9]+)(?:; |\Z)", re.ASCII
)


def _epilogue(aliases: Mapping[str, str]) -> tuple[str, ...]:
    if not aliases:
        return ()
    steps = "; ".join(
        f"[ ! -e {quoted} ] || command -p mv -f -- {quoted} {alias}"
        for quoted, alias in ((shlex.quote(f"./{name}"), alias) for name, alias in aliases.items())
    )
    # A subshell: later lines, such as an EXIT trap of the user's, keep their working directory.
    return (f"{_EPILOGUE_START}{steps}{_EPILOGUE_END}",)


def output_names(line: str) -> dict[str, str]:
    """Return alias to name of the outputs that an EXECUTE line of `make_plan` renames; empty for any other line."""
    if not (line.startswith(_EPILOGUE_START) and line.endswith(_EPILOGUE_END)):
        return {}
    steps = line[len(_EPILOGUE_START) : -len(_EPILOGUE_END)]
    names: dict[str, str] = {}
    at = 0
    while at < len(steps):
        step = _RENAME.match(steps, at)
        if step is None:
            return {}
        quoted, alias = step.groups()
        name = quoted[1:-1].replace("'\"'\"'", "'") if quoted.startswith("'") else quoted
        names[alias] = name.removeprefix("./")
        at = step.end()
    # The line comes from a server, and local files are named after it.
    return {alias: name for alias, name in names.items() if name_fault("outputs", name) is None}
