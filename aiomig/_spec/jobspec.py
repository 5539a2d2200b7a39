"""The description of a job: what a user says, checked when it is said."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, TypedDict

from .._core.errors import SpecError
from .._core.models import Fault
from .fields import (
    DEFAULT_RESOURCES,
    NO_LINES,
    NOTHING,
    RawValue,
    checked_commands,
    checked_environment,
    checked_mount,
    checked_number,
    checked_raw,
    checked_resources,
    checked_text,
    checked_texts,
    checked_verify,
    fields_of,
    input_items,
    output_items,
)
from .files import InputItem, OutputItem, input_files, output_files
from .mrsl import Description, parse
from .names import Claims, is_url
from .plan import DEFAULT_MEMORY, field_lines, make_plan, text_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from .plan import Plan
    from .values import InputFile, OutputFile, Resources

_STAGING = ("INPUTFILES", "EXECUTABLES", "OUTPUTFILES")


@dataclass(frozen=True, slots=True, init=False)
class JobSpec:
    """One job: what to run, with which files, on what. Immutable, and checked when it is made.

    Making one looks at the local files that are named, but reads none of them and sends nothing. The
    arguments are those of the attributes; inputs and outputs may be given in these forms:

    - ``inputs`` and ``executables``: a local path; a glob (a file of that very name comes first); a
      directory, kept as a tree below its base name (folders without files are left out); a URL; a `Remote`
      file of the home; any of these but a glob as ``(source, name)``; or ``(b"content", name)``. Else the
      name is the base name.
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
        kind: JOBTYPE: ``"batch"``, ``"interactive"``, ``"bulk"`` or ``"all"``; servers differ in what they
            take.
        mrsl: for what has no field: keyword to a line or several, as a server reads them (unescaped). A
            keyword that a field sets is a fault, but for MEMORY where ``resources.memory_mb`` has its
            default.

    Raises:
        SpecError: everything that is wrong, each with its field, the value and a remedy.
    """

    commands: tuple[str, ...]
    inputs: tuple[InputFile, ...]
    executables: tuple[InputFile, ...]
    outputs: tuple[OutputFile, ...]
    resources: Resources
    environment: Mapping[str, str]
    name: str | None
    runtime_environments: tuple[str, ...]
    vgrids: tuple[str, ...]
    retries: int | None
    notify: tuple[str, ...]
    verify: tuple[str, ...]
    mount: tuple[str, ...]
    project: str | None
    kind: str | None
    mrsl: Mapping[str, tuple[str, ...]]

    def __init__(
        self,
        commands: str | Iterable[str],
        *,
        inputs: Iterable[InputItem] = (),
        executables: Iterable[InputItem] = (),
        outputs: Iterable[OutputItem] = (),
        resources: Resources = DEFAULT_RESOURCES,
        environment: Mapping[str, str] = NOTHING,
        name: str | None = None,
        runtime_environments: Iterable[str] = (),
        vgrids: Iterable[str] = (),
        retries: int | None = None,
        notify: Iterable[str] = (),
        verify: Iterable[str] = (),
        mount: Sequence[str | tuple[str, str]] = (),
        project: str | None = None,
        kind: str | None = None,
        mrsl: Mapping[str, RawValue] = NO_LINES,
    ) -> None:
        faults: list[Fault] = []
        names = Claims()
        put = object.__setattr__  # the way into a frozen dataclass
        put(self, "commands", checked_commands(commands, faults))
        put(self, "inputs", input_files("inputs", inputs, names, faults))
        put(self, "executables", input_files("executables", executables, names, faults))
        put(self, "outputs", output_files(outputs, faults))
        put(self, "resources", checked_resources(resources, faults))
        put(self, "environment", checked_environment(environment, faults))
        put(self, "name", checked_text("name", name, "JOBNAME", faults))
        environments = checked_texts("runtime_environments", runtime_environments, "RUNTIMEENVIRONMENT", faults)
        put(self, "runtime_environments", environments)
        put(self, "vgrids", checked_texts("vgrids", vgrids, "VGRID", faults))
        put(self, "retries", checked_number("retries", retries, 0, "retries=2 (extra attempts)", faults))
        put(self, "notify", checked_texts("notify", notify, "NOTIFY", faults))
        put(self, "verify", checked_verify(verify, faults))
        put(self, "mount", checked_mount(mount, faults))
        put(self, "project", checked_text("project", project, "PROJECT", faults))
        put(self, "kind", checked_text("kind", kind, "JOBTYPE", faults))
        put(self, "mrsl", checked_raw(mrsl, faults))
        faults += _raw_faults(self) if self.mrsl else ()
        if faults:
            raise SpecError(faults)

    def __getstate__(self) -> list[Any]:
        values = (getattr(self, field.name) for field in fields(self))
        return [dict(value) if isinstance(value, MappingProxyType) else value for value in values]

    def __setstate__(self, state: list[Any]) -> None:
        for field, value in zip(fields(self), state, strict=True):
            object.__setattr__(self, field.name, MappingProxyType(value) if isinstance(value, dict) else value)

    @classmethod
    def from_mrsl(cls, text: str) -> JobSpec:
        """Take a hand-written description.

        What is absent in it stays absent, so a server's defaults hold (such as 64 MB of memory). Files lie in
        the MiG home already: inputs are `Remote` or URLs, outputs go to `Remote` places or URLs. Of several
        inputs with one name, or outputs with one destination, the last is kept, as on the grid. An
        ENVIRONMENT that is more than literal values stays raw in ``mrsl``.

        Args:
            text: a description in mRSL.

        Raises:
            SpecError: everything that a server would refuse, with keywords as fields and line numbers; or,
                where there is none of that, what it would take but lose, with the fields of `JobSpec`.
        """
        description = parse(text)
        lost = _folder_faults(description, "{}")
        try:
            spec = cls(**fields_of(description))
        except SpecError as error:
            raise SpecError([*lost, *error.faults]) from None
        if lost:
            raise SpecError(lost)
        return spec

    def mrsl_text(self) -> str:
        """Exactly what would be sent, with ``example`` for the name of the job's private folder."""
        return text_of(self)

    def plan(self, token: str) -> Plan:
        """How the job is carried out on a server: the description, and the files around it.

        Args:
            token: names the job's private folder ``aiomig_jobs/<token>``; unique per job.

        Raises:
            SpecError: the token cannot name a folder.
        """
        return make_plan(self, token)


def _raw_faults(spec: JobSpec) -> list[Fault]:
    by_field = {"EXECUTE": spec.commands, **field_lines(spec)}
    if by_field.get("MEMORY") == (DEFAULT_MEMORY,):
        del by_field["MEMORY"]
    staged = {"INPUTFILES": spec.inputs, "EXECUTABLES": spec.executables, "OUTPUTFILES": spec.outputs}
    faults = [
        Fault(f"mrsl[{keyword!r}]", lines, "is given by a field as well", "leave one of the two out")
        for keyword, lines in spec.mrsl.items()
        if keyword in by_field or staged.get(keyword)
    ]
    # What a server would take in these lines and then lose is refused as it is in the fields.
    raw = Description(spec.mrsl)
    faults += _folder_faults(raw, "mrsl[{!r}]")
    for keyword in _STAGING:
        lost: list[Fault] = []
        for line in raw.transfers(keyword):
            if keyword == "OUTPUTFILES":
                output_files(output_items([line]), lost)
            else:
                input_files(keyword, input_items([line]), Claims(), lost)
        faults += [replace(fault, field=f"mrsl[{keyword!r}]") for fault in lost]
    return faults


def _folder_faults(description: Description, field: str) -> list[Fault]:
    """Folders where MiG takes files alone: it takes the line, and loses what is meant (golden in-dir and out-dir)."""
    remedy = "name each file, or an archive made by tar"
    return [
        Fault(field.format(keyword), line, "names a folder, which MiG would lose without a word", remedy)
        for keyword in _STAGING
        for line in description.lines(keyword)
        if (source := line.partition(" ")[0]).endswith("/") and not is_url(source)
    ]


class SpecFields(TypedDict, total=False):
    """The fields of `JobSpec` besides the commands, as keyword arguments; see there."""

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
    mrsl: Mapping[str, RawValue]
