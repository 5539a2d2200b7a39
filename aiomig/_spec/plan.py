"""The plan of a submit: the description to send, the files to upload, and the outputs to fetch."""

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
"""The folder of the MiG home with a private folder for each job."""

_TOKEN = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._+-]{0,199}")
_LONGEST_BASE_NAME = 200  # bytes; longer names get an alias in the private folder
# MiG does not quote the name in `chmod +x`. See docs/protocol.md#inputs.
_SPECIAL_IN_SHELL = frozenset("$&();!~")


@dataclass(frozen=True, slots=True)
class Upload:
    """A file to upload before the job is submitted.

    Attributes:
        source: a local file, the content itself, or a stream of it.
        path: its path in the home.
    """

    source: UploadSource
    path: str


@dataclass(frozen=True, slots=True)
class PlannedOutput:
    """An output of a job.

    Attributes:
        name: its path in the job directory.
        path: the path in the home, or the URL, that the job writes it to.
        destination: its path below the folder of `Job.fetch`, or ``None`` if `Job.fetch` does not fetch it.
    """

    name: str
    path: str
    destination: str | None


@dataclass(frozen=True, slots=True)
class Plan:
    """Everything needed to submit a job and to fetch its outputs.

    Attributes:
        description: the description to send.
        uploads: the files to upload first.
        outputs: the outputs, in the order of the spec.
        folder: the job's private folder in the home, or ``None`` if it needs none.
        marker: a string of letters and digits that is unique to this submit.
        prologue_lines: the number of aiomig's EXECUTE lines before the user's.
        epilogue_lines: the number of aiomig's EXECUTE lines after the user's.
        key: the key of the submit, or ``None``. It is not stored in the records of jobs.
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
        """Return a plan that uses files elsewhere in the home instead of some of its uploads.

        Args:
            places: new paths by old path.
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
        """Return the plan for submitting the job again, with its inputs in another private folder."""
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
    """Return the plan of a job.

    Files pass through the private folder ``aiomig_jobs/<token>`` of the home, so that they do not collide with those
    of other jobs. Files with names that MiG's scripts cannot handle get an alias there: aiomig adds an EXECUTE line
    before the user's that renames the inputs, and one after them that renames the outputs.

    Args:
        token: the name of the private folder.
        commands: the user's EXECUTE lines.
        inputs: the input files, which are not accessed here.
        executables: like ``inputs``, but the files are made executable.
        outputs: the outputs of the job.
        keywords: the lines of all other keywords.

    Raises:
        SpecError: the token cannot name a folder.
    """
    if not _TOKEN.fullmatch(token):
        remedy = "use at most 200 letters, digits and . _ + -, beginning with a letter, a digit or _"
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
        "INPUTFILES": tuple(staged.line(file, _can_be_quoted(file.name)) for file in inputs),
        "EXECUTABLES": tuple(
            staged.line(file, _can_be_quoted(file.name) and not _SPECIAL_IN_SHELL & set(file.name))
            for file in executables
        ),
    }
    # All destinations of an output use the same alias, because the file is moved.
    renamed = dict.fromkeys(name for name, place in outputs if not _is_sent_as_is(name, place))
    aliases = dict(zip(renamed, _aliases("out", top), strict=False))
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


def _can_be_quoted(name: str) -> bool:
    """Return whether MiG's scripts can handle a name in single quotes. See docs/protocol.md#staging-lines."""
    return stray_character(name) is None and not {" ", "'"} & set(name) and not name.startswith("-")


def _is_private(destination: str | Remote) -> bool:
    """Return whether an output stays in the job's private folder until it is fetched."""
    return isinstance(destination, str) and not is_url(destination)


def _is_sent_as_is(name: str, destination: str | Remote) -> bool:
    return is_safe(name) if _is_private(destination) else _can_be_quoted(name)


def _aliases(direction: str, taken: Iterable[str]) -> Iterator[str]:
    names = (f"aiomig-{direction}-{number}" for number in itertools.count(1))
    return (name for name in names if name not in taken)


class _Inputs:
    """Collects the uploads of one job, and the aliases of inputs that MiG cannot name."""

    def __init__(self, folder: str, taken: Iterable[str]) -> None:
        self.uploads: dict[UploadSource, Upload] = {}
        self._folder = folder
        self._names: set[str] = set()
        self._upload_aliases = _aliases("in", self._names)
        self._aliases = _aliases("in", taken)
        self._renames: list[tuple[str, str]] = []  # (alias, name)

    def line(self, file: InputFile, keeps_name: bool) -> str:
        """Return the staging line of a file. Without `keeps_name`, it gets an alias."""
        source = file.source
        if isinstance(source, Remote):
            path = source.path
        elif isinstance(source, str):
            path = source
        else:
            path, keeps_name = self._upload(source, file.name), is_safe(file.name)
        if keeps_name:
            return f"{path} {file.name}"
        alias = next(self._aliases)
        self._renames.append((alias, file.name))
        return f"{path} {alias}"

    def _upload(self, source: UploadSource, name: str) -> str:
        upload = self.uploads.get(source)
        if upload is None:
            base = name.rpartition("/")[2]
            if not is_safe(base) or len(base) > _LONGEST_BASE_NAME or base in self._names:
                base = next(self._upload_aliases)
            self._names.add(base)
            upload = self.uploads[source] = Upload(source, f"{self._folder}/in/{base}")
        return upload.path

    def prologue(self) -> tuple[str, ...]:
        """Return the EXECUTE line that gives the inputs their names; empty if no input has an alias."""
        if not self._renames:
            return ()
        folders = sorted({name.rpartition("/")[0] for _, name in self._renames} - {""})
        # `command -p` finds the programs even if ENVIRONMENT sets PATH.
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
            # If possible, its name is its destination, so that a `Job` created from an id alone finds the destination.
            if source not in places:
                places[source] = f"{folder}/out/{path if is_safe(path) else _claim_free_name(source, claims)}"
            path = places[source]
        planned.append(PlannedOutput(name, path, str(destination) if private else None))
        lines[f"{source} {path}"] = None
    return tuple(planned), tuple(lines)


def _claim_free_name(name: str, claims: Claims) -> str:
    """Claim the name, or the name with a number if it is taken, and return it."""
    numbered = (f"aiomig-{number}-{name}" for number in itertools.count(1))
    return next(candidate for candidate in itertools.chain((name,), numbered) if claims.claim("", candidate) is None)


# -- the EXECUTE line that renames outputs

_EPILOGUE_START, _EPILOGUE_END = '(cd -- "$MIG_JOBDIR" && { ', "; })"
_QUOTED = r"(?:[\w@%+=:,./-]++|'(?:[^']++|'\"'\"')*+')"  # the output of shlex.quote
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
    # In a subshell, so that a user's EXIT trap keeps its working directory.
    return (f"{_EPILOGUE_START}{steps}{_EPILOGUE_END}",)


def output_names(line: str) -> dict[str, str]:
    """Return the names of outputs by alias from the EXECUTE line that renames them; empty for any other line."""
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
    # The line comes from a server, and the names become names of local files.
    return {alias: name for alias, name in names.items() if name_fault("outputs", name) is None}
