"""The description of a job, checked when it is made."""

from __future__ import annotations

from collections.abc import Mapping  # noqa: TC003 - for those who ask for the types of the fields
from dataclasses import dataclass, field, fields, replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, TypedDict

from .._core.errors import SpecError
from .._core.models import Fault
from .fields import (
    DEFAULT_RESOURCES,
    NO_LINES,
    RawValue,
    fields_of,
    lines_of,
    validate_commands,
    validate_fields,
    validate_raw,
    validate_resources,
)
from .files import InputItem, OutputItem, files_of, folder_faults, input_files, lost_file_faults, output_files
from .mrsl import Description, parse, render
from .names import Claims
from .plan import make_plan
from .submit_key import SubmitKey, validate_key
from .values import InputFile, OutputFile, Resources, checked_schema

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from typing import Unpack

    from .plan import Plan


class SpecFields(TypedDict, total=False):
    """The fields of `JobSpec` besides the commands, as keyword arguments. See `JobSpec`."""

    inputs: Iterable[InputItem]
    executables: Iterable[InputItem]
    outputs: Iterable[OutputItem]
    resources: Resources
    environment: Mapping[str, str]
    name: str | None
    runtime_environments: Iterable[str]
    vgrids: Iterable[str]
    retries: int | None
    notify: Iterable[str]
    verify: Iterable[str]
    mount: Sequence[str | tuple[str, str]]
    project: str | None
    kind: str | None
    labels: Mapping[str, str]
    key: str | None
    mrsl: Mapping[str, RawValue]


NO_FILES: Mapping[str, tuple[()]] = MappingProxyType({"inputs": (), "executables": (), "outputs": ()})


@dataclass(frozen=True, slots=True, init=False)
class JobSpec:
    """One job: what to run, with which files, on what. Immutable, and checked when it is made.

    Making one looks at the local files that it names, but reads none of them and sends nothing. The arguments have
    the names of the attributes; inputs and outputs can be given in these forms:

    - ``inputs`` and ``executables``: a local path; a glob (a file of exactly that name comes first); a
      directory, kept as a tree below its base name (folders without files are left out); a URL; a `Remote`
      file of the home, or ``Remote("folder/")`` for all files below a folder, which the submit lists; any of these
      except a glob as ``(source, name)``; ``(b"content", name)``; or ``(stream, name)`` with an async iterable of
      bytes, which is read once. Without a name, a file has its base name.
    - ``outputs``: ``name``, or ``(name, destination)``: a path below the folder of `Job.fetch`, or
      ``Remote("path")`` in the home, or a URL.

    Example::

        spec = JobSpec(
            "./fit --seed $SEED data.csv > out.txt",
            inputs=[("runs/7.csv", "data.csv"), Remote("shared/model.bin")],
            executables=["fit"],
            outputs=["out.txt"],
            environment={"SEED": "7"},
            resources=Resources(wall_time=3600, memory_mb=4096),
        )

    Attributes:
        commands: the command lines, run in order in one bash; one that fails does not stop the others.
        inputs: the files that lie in the job directory when it starts.
        executables: the same, made executable.
        outputs: the files that are kept after the end.
        resources: what it needs.
        environment: variables; the values arrive literally, whatever they hold.
        name: JOBNAME: letters, digits and ``. - _ + @ %``, at most 255.
        runtime_environments: names of runtime environments that the resource must have.
        vgrids: the vgrids whose resources may take it; ``"ANY"`` for all of the user's.
        retries: extra attempts after a failed one; ``None`` for the server's default.
        notify: lines such as ``"email: me@example.org"``.
        verify: files of the home to compare the results with; they end in ``.stdout``, ``.stderr`` or
            ``.status``.
        mount: lines ``home_path mount_point``, or pairs of the two.
        project: PROJECT: letters and digits.
        kind: JOBTYPE: ``"batch"``, ``"interactive"``, ``"bulk"``, ``"all"`` or another word of the site:
            `Session.check` compares it with the words that the site lists.
        labels: short texts of yours by names of letters, digits, ``_``, ``.`` and ``-``; `Session.jobs` finds jobs by
            them. They are in the description, as the variable ``AIOMIG_LABELS`` of the job.
        key: a short text: a submit under the same key to the same home or account gives the same job, also after a
            crash and in other processes. Another description under a used key is refused.
        mrsl: keywords without a field: keyword to one line or several, as a server reads them (unescaped). A
            keyword that a field sets is a fault, except MEMORY while ``resources.memory_mb`` has its default.

    Raises:
        SpecError: everything that is wrong, each with field, value and remedy.
    """

    commands: tuple[str, ...]
    inputs: tuple[InputFile, ...] = ()
    executables: tuple[InputFile, ...] = ()
    outputs: tuple[OutputFile, ...] = ()
    resources: Resources = DEFAULT_RESOURCES
    environment: Mapping[str, str] = field(default_factory=dict)
    name: str | None = None
    runtime_environments: tuple[str, ...] = ()
    vgrids: tuple[str, ...] = ()
    retries: int | None = None
    notify: tuple[str, ...] = ()
    verify: tuple[str, ...] = ()
    mount: tuple[str, ...] = ()
    project: str | None = None
    kind: str | None = None
    labels: Mapping[str, str] = field(default_factory=dict)
    key: str | None = None
    mrsl: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def __init__(self, commands: str | Iterable[str], **fields: Unpack[SpecFields]) -> None:
        if unexpected := fields.keys() - SpecFields.__annotations__.keys():
            raise TypeError(f"JobSpec() got an unexpected keyword argument {min(unexpected)!r}")
        faults: list[Fault] = []
        values: dict[str, Any] = {}
        values |= NO_FILES if fields.keys().isdisjoint(NO_FILES) else self._files(fields, faults)
        values["resources"] = validate_resources(fields.get("resources", DEFAULT_RESOURCES), faults)
        values |= validate_fields(fields, faults)
        values["key"] = validate_key(fields["key"], faults) if fields.get("key") is not None else None
        values["mrsl"] = validate_raw(fields.get("mrsl", NO_LINES), faults)
        command_faults: list[Fault] = []
        values["commands"] = validate_commands(commands, command_faults)
        faults[:0] = command_faults
        for name, value in values.items():
            object.__setattr__(self, name, value)
        faults += self._raw_faults() if self.mrsl else ()
        if faults:
            raise SpecError(faults)

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: Any) -> Any:
        return checked_schema(source, handler)

    @classmethod
    def of(cls, commands: str | Iterable[str] | JobSpec, fields: SpecFields) -> JobSpec:
        """Return the spec of what `Session.submit` was given: commands and fields, or a whole spec.

        Raises:
            SpecError: it is wrong, or both were given.
        """
        if not isinstance(commands, JobSpec):
            return cls(commands, **fields)
        if fields:
            names = ", ".join(fields)
            raise SpecError([Fault("commands", commands, f"a whole JobSpec, and also {names}", "give one of them")])
        return commands

    def _files(self, fields: SpecFields, faults: list[Fault]) -> dict[str, Any]:
        names = Claims()
        return {
            "inputs": input_files("inputs", fields.get("inputs", ()), names, faults),
            "executables": input_files("executables", fields.get("executables", ()), names, faults),
            "outputs": output_files(fields.get("outputs", ()), faults),
        }

    def __getstate__(self) -> list[Any]:
        values = (getattr(self, part.name) for part in fields(self))
        return [dict(value) if isinstance(value, MappingProxyType) else value for value in values]

    def __setstate__(self, state: list[Any]) -> None:
        for part, value in zip(fields(self), state, strict=True):
            object.__setattr__(self, part.name, MappingProxyType(value) if isinstance(value, dict) else value)

    @classmethod
    def from_mrsl(cls, text: str) -> JobSpec:
        """Return the spec of a hand-written description.

        A keyword that is absent stays absent, so the server's defaults hold (such as 64 MB of memory). The files
        are those of the MiG home: inputs are `Remote` or URLs, outputs go to `Remote` places or URLs. If two inputs
        have one name, or two outputs one destination, the last is kept, as on the grid. An ENVIRONMENT that is
        more than literal values stays raw in ``mrsl``.

        Args:
            text: a description in mRSL.

        Raises:
            SpecError: everything that a server would refuse, with keywords as fields and line numbers; or, if
                there is nothing, what it would take and lose, with the fields of `JobSpec`.
        """
        description = parse(text)
        lost = folder_faults(description)
        try:
            spec = cls(**fields_of(description), **files_of(description))
        except SpecError as error:
            raise SpecError([*lost, *error.faults]) from None
        if lost:
            raise SpecError(lost)
        return spec

    def mrsl_text(self) -> str:
        """Return exactly what would be sent, with ``example`` as the name of the job's private folder."""
        return render(self.plan("example").description)

    def plan(self, token: str) -> Plan:
        """Return how the job is carried out on a server: the description, and the files around it.

        Args:
            token: names the job's private folder ``aiomig_jobs/<token>``; unique per job.

        Raises:
            SpecError: the token cannot name a folder.
        """
        keywords = {**lines_of(self, self.resources), **self.mrsl}
        parts = self.commands, self.inputs, self.executables, self.outputs, keywords
        plan = make_plan(token, *parts)
        if self.key is None:
            return plan
        same = make_plan("key", *parts).description  # whatever the folder of the job is called
        return replace(plan, key=SubmitKey.of(self.key, same.keywords, (*self.inputs, *self.executables)))

    def _raw_faults(self) -> list[Fault]:
        by_field = {"EXECUTE", *lines_of(self, self.resources)}
        if self.resources.memory_mb == DEFAULT_RESOURCES.memory_mb:
            by_field.discard("MEMORY")
        staged = {"INPUTFILES": self.inputs, "EXECUTABLES": self.executables, "OUTPUTFILES": self.outputs}
        by_field |= {keyword for keyword, files in staged.items() if files}
        faults = [
            Fault(keyword, lines, "is given by a field as well", "leave one of the two out")
            for keyword, lines in self.mrsl.items()
            if keyword in by_field
        ]
        # What a server would take in these lines and then lose is refused as it is in the fields.
        faults += lost_file_faults(Description(self.mrsl))
        return [replace(fault, field=f"mrsl[{fault.field!r}]") for fault in faults]
