"""`JobSpec`, the validated description of a job."""

from __future__ import annotations

from collections.abc import Mapping  # noqa: TC003 - for typing.get_type_hints
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
    """The fields of `JobSpec` other than ``commands``, as keyword arguments."""

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
    """The description of a job: commands, files and resources. Immutable, and validated when it is created.

    Validation checks that local files exist, but does not read them and sends nothing. The arguments have the names
    of the attributes. Inputs and outputs can be given in these forms:

    - ``inputs`` and ``executables``: a local path; a glob (a file with exactly that name takes precedence); a
      directory, which is kept as a tree below its base name (without empty folders); a URL; a `Remote` file of the
      home, or ``Remote("folder/")`` for all files below a folder, which are listed at submit time; any of these
      except a glob as ``(source, name)``; ``(b"content", name)``; or ``(stream, name)`` with an async iterable of
      bytes, which is read once. The default name of a file is its base name.
    - ``outputs``: ``name``, or ``(name, destination)``. The destination is a path below the folder of `Job.fetch`,
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
        commands: the command lines, which run in order in one bash. If one fails, the others still run.
        inputs: the files that are in the job directory when the job starts.
        executables: like ``inputs``, but the files are made executable.
        outputs: the files to keep when the job has ended.
        resources: the resources that the job needs.
        environment: environment variables; the job gets the values literally, without expansion.
        name: JOBNAME: at most 255 letters, digits and ``. - _ + @ %``.
        runtime_environments: names of runtime environments that the resource must have.
        vgrids: the vgrids whose resources may run the job; ``"ANY"`` for all of the user's.
        retries: the number of extra attempts after a failed one; ``None`` for the server's default.
        notify: lines such as ``"email: me@example.org"``.
        verify: files of the home with which to compare the results; their names end in ``.stdout``, ``.stderr`` or
            ``.status``.
        mount: lines ``home_path mount_point``, or pairs of the two.
        project: PROJECT: letters and digits.
        kind: JOBTYPE: ``"batch"``, ``"interactive"``, ``"bulk"``, ``"all"`` or another value that the site accepts.
            `Session.check` compares it with the values that the site lists.
        labels: short strings of your own, by name; `Session.jobs` finds jobs by them. Names consist of letters, digits,
            ``_``, ``.`` and ``-``. The job gets the labels as the variable ``AIOMIG_LABELS``.
        key: a short string for idempotent submits: a second submit with the same key to the same home or account
            returns the same job, even after a crash or from another process. It is refused if the description differs.
        mrsl: mRSL keywords that have no field, each with a line or several lines (unescaped). A keyword that a field
            sets is refused, except MEMORY if ``resources.memory_mb`` has its default.

    Raises:
        SpecError: something is invalid; the error lists all faults, each with field, value and remedy.
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
        """Return the spec for the arguments of `Session.submit`: commands and fields, or a complete spec.

        Raises:
            SpecError: the description is invalid, or both forms are mixed.
        """
        if not isinstance(commands, JobSpec):
            return cls(commands, **fields)
        if fields:
            names = ", ".join(fields)
            problem = f"is a complete JobSpec, but {names} is also given"
            raise SpecError([Fault("commands", commands, problem, "give either a JobSpec or fields")])
        return commands

    def _files(self, fields: SpecFields, faults: list[Fault]) -> dict[str, Any]:
        names = Claims()
        return {
            "inputs": input_files("inputs", fields.get("inputs", ()), names, faults),
            "executables": input_files("executables", fields.get("executables", ()), names, faults),
            "outputs": output_files(fields.get("outputs", ()), faults),
        }

    def __hash__(self) -> int:
        return hash((self.commands, self.inputs, self.executables, self.outputs, self.name, self.key))

    def __getstate__(self) -> list[Any]:
        values = (getattr(self, part.name) for part in fields(self))
        return [dict(value) if isinstance(value, MappingProxyType) else value for value in values]

    def __setstate__(self, state: list[Any]) -> None:
        for part, value in zip(fields(self), state, strict=True):
            object.__setattr__(self, part.name, MappingProxyType(value) if isinstance(value, dict) else value)

    @classmethod
    def from_mrsl(cls, text: str) -> JobSpec:
        """Create a spec from a hand-written description in mRSL.

        For missing keywords, the server's defaults apply (such as 64 MB of memory). Paths are in the MiG home: inputs
        become `Remote` files or URLs, and so do the destinations of outputs. If two inputs have the same name, or two
        outputs the same destination, the last one is kept, as on the grid. If ENVIRONMENT contains anything except
        literal values, it is kept in ``mrsl``.

        Args:
            text: a description in mRSL.

        Raises:
            SpecError: a server would refuse the description; the fields of the faults are keywords, with line numbers.
                Or a server would accept it, but lose files; the fields of the faults are then those of `JobSpec`.
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
        """Return the mRSL text that a submit sends, with ``example`` as the name of the job's private folder."""
        return render(self.plan("example").description)

    def plan(self, token: str) -> Plan:
        """Return the plan for submitting the job: its mRSL description, its uploads and its outputs.

        Args:
            token: a unique name; the job's private folder is ``aiomig_jobs/<token>``.

        Raises:
            SpecError: the token cannot name a folder.
        """
        keywords = {**lines_of(self, self.resources), **self.mrsl}
        parts = self.commands, self.inputs, self.executables, self.outputs, keywords
        plan = make_plan(token, *parts)
        if self.key is None:
            return plan
        comparable = make_plan("key", *parts).description  # does not depend on the token
        return replace(plan, key=SubmitKey.of(self.key, comparable.keywords, (*self.inputs, *self.executables)))

    def _raw_faults(self) -> list[Fault]:
        set_by_fields = {"EXECUTE", *lines_of(self, self.resources)}
        if self.resources.memory_mb == DEFAULT_RESOURCES.memory_mb:
            set_by_fields.discard("MEMORY")
        staged = {"INPUTFILES": self.inputs, "EXECUTABLES": self.executables, "OUTPUTFILES": self.outputs}
        set_by_fields |= {keyword for keyword, files in staged.items() if files}
        faults = [
            Fault(keyword, lines, "is also set by a field", "leave one of the two out")
            for keyword, lines in self.mrsl.items()
            if keyword in set_by_fields
        ]
        faults += lost_file_faults(Description(self.mrsl))
        return [replace(fault, field=f"mrsl[{fault.field!r}]") for fault in faults]
