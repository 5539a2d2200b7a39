"""The request and response bodies of the HTTP API. Their types also describe the API in ``openapi.json``."""

from __future__ import annotations

import base64
import binascii
from contextlib import suppress
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, Field

from .. import Fault, Remote, Resources, SpecError
from .._core.models import json_value
from .._spec.fields import fields_of

if TYPE_CHECKING:
    from .. import FileInfo, JobStatus
    from .._spec.plan import Plan

_SCHEMES = ("http://", "https://", "ftp://", "ftps://", "sftp://")


class InputRequest(BaseModel):
    """An input of a job: its name, and exactly one source (``home``, ``text``, ``base64`` or ``url``)."""

    model_config = ConfigDict(extra="forbid")

    name: str = Field(description="the file name in the job")
    home: str | None = Field(default=None, description="a path in the MiG home")
    text: str | None = Field(default=None, description="the content as text")
    base64: str | None = Field(default=None, description="the content in base64")
    url: str | None = Field(default=None, description="a URL that the resource downloads")
    executable: bool = Field(default=False, description="whether the file is made executable")

    def item(self) -> tuple[Any, str]:
        """Return the input in the form that `JobSpec` takes. Paths of this machine are refused."""
        sources = [value for value in (self.home, self.text, self.base64, self.url) if value is not None]
        if len(sources) != 1:
            raise SpecError(
                [Fault("inputs", self.name, "does not have exactly one source", "give home, text, base64 or url")]
            )
        if self.home is not None:
            return Remote(self.home), self.name
        if self.text is not None:
            return self.text.encode(), self.name
        if self.base64 is not None:
            try:
                return base64.b64decode(self.base64, validate=True), self.name
            except binascii.Error as error:
                raise SpecError([Fault("inputs", self.name, "is not base64", "encode it again")]) from error
        if not str(self.url).lower().startswith(_SCHEMES):
            raise SpecError([Fault("inputs", self.url, "is not a URL", f"begin it with {', '.join(_SCHEMES)}")])
        return self.url, self.name


class OutputRequest(BaseModel):
    """An output of a job that is stored at a given path in the MiG home."""

    model_config = ConfigDict(extra="forbid")

    name: str = Field(description="the file name in the job")
    home: str = Field(description="the path in the MiG home")


class ResourcesRequest(BaseModel):
    """The resources that a job needs; see `aiomig.Resources`."""

    model_config = ConfigDict(extra="forbid")

    wall_time: int | None = None
    memory_mb: int | None = 1024
    disk_gb: int | None = None
    cores: int | None = None
    nodes: int | None = None
    architecture: str | None = None
    platform: str | None = None


class JobRequest(BaseModel):
    """The description of a job; see `aiomig.JobSpec`."""

    model_config = ConfigDict(extra="forbid")

    commands: str | list[str] = Field(description="command lines, run in order by one bash process")
    name: str | None = Field(default=None, description="letters, digits and . - _ + @ %")
    inputs: list[InputRequest] = []
    outputs: list[str | OutputRequest] = Field(default=[], description="files of the job to keep")
    environment: dict[str, str] = {}
    labels: dict[str, str] = Field(default={}, description="short strings for finding jobs")
    resources: ResourcesRequest = ResourcesRequest()
    runtime_environments: list[str] = []
    vgrids: list[str] = []
    retries: int | None = None

    def submit_arguments(self) -> dict[str, Any]:
        """Return the arguments of `Session.submit`."""
        arguments: dict[str, Any] = {
            "commands": [line for line in self.commands.splitlines() if line.strip()]
            if isinstance(self.commands, str)
            else self.commands,
            "inputs": [file.item() for file in self.inputs if not file.executable],
            "executables": [file.item() for file in self.inputs if file.executable],
            "outputs": [file if isinstance(file, str) else (file.name, Remote(file.home)) for file in self.outputs],
            "environment": self.environment,
            "labels": self.labels,
            "resources": Resources(**self.resources.model_dump()),
            "runtime_environments": self.runtime_environments,
            "vgrids": self.vgrids,
            "retries": self.retries,
        }
        return arguments | ({"name": self.name} if self.name else {})


class JobView(BaseModel):
    """The status of a job."""

    model_config = ConfigDict(extra="allow")

    id: str
    job_id: str
    state: str
    name: str | None = None
    exit_code: int | None = None
    labels: dict[str, str] = {}
    received_at: str | None = None
    queued_at: str | None = None
    executing_at: str | None = None
    finished_at: str | None = None
    failed_at: str | None = None
    canceled_at: str | None = None


class JobList(BaseModel):
    """A page of the list of jobs, newest first."""

    jobs: list[JobView]
    total: int = Field(description="the number of jobs that match")
    next: str | None = Field(description="the URL of the next page")


class OutcomeView(BaseModel):
    """The effect of an action on a job."""

    job_id: str
    before: str | None
    after: str | None
    message: str
    changed: bool


class FileView(BaseModel):
    """A file or a directory."""

    path: str
    name: str
    is_dir: bool
    size: int
    modified_at: str | None = None


class FileList(BaseModel):
    """The entries of a directory of the home."""

    path: str
    files: list[FileView]


def job_view(status: JobStatus) -> dict[str, Any]:
    """Return a status as JSON values, without empty fields."""
    values = {name: value for name, value in status.as_dict().items() if value not in (None, "", [], {})}
    return {"id": status.job_id, **values}


def plan_view(plan: Plan) -> dict[str, Any]:
    """Return the description of a submitted job in the form of `JobRequest`. Omit what `JobRequest` cannot express."""
    description = plan.description
    lines = description.lines("EXECUTE")
    view: dict[str, Any] = {
        "commands": list(lines[plan.prologue_lines : len(lines) - plan.epilogue_lines]),
        "outputs": [output.name for output in plan.outputs],
        "inputs": [
            {"name": PurePosixPath(line.destination).name if plan.prologue_lines else line.destination}
            | ({"url": line.source} if "://" in line.source else {"home": line.source})
            | ({"executable": True} if keyword == "EXECUTABLES" else {})
            for keyword in ("INPUTFILES", "EXECUTABLES")
            for line in description.transfers(keyword)
        ],
    }
    with suppress(SpecError):
        fields = fields_of(description)
        view["name"] = fields["name"]
        view["environment"] = dict(fields["environment"])
        resources = json_value(fields["resources"])
        view["resources"] = {name: resources[name] for name in ResourcesRequest.model_fields}
    return view


def file_view(info: FileInfo) -> dict[str, Any]:
    """Return a file as JSON values."""
    view: dict[str, Any] = json_value(info)
    return view
