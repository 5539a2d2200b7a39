"""Values in a `JobSpec`: resources, inputs and outputs."""

from __future__ import annotations

import posixpath
from collections.abc import AsyncIterable  # noqa: TC003 - for typing.get_type_hints
from dataclasses import dataclass, fields
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

from .._core.display import short_repr
from .._core.errors import SpecError
from .._core.models import Fault, json_value
from .._core.validation import plain_text


@dataclass(frozen=True, slots=True)
class Resources:
    """The resources that a job needs. For ``None`` and empty tuples, the server's defaults apply.

    `JobSpec` checks the values. See docs/protocol.md#keywords for meanings and defaults.

    Example::

        Resources(wall_time=2 * 3600, memory_mb=4096, cores=4)

    Attributes:
        wall_time: seconds of wall time, and of CPU time per core (CPUTIME; server default 600).
        memory_mb: megabytes per process (MEMORY; the server default 64 is too little for most programs).
        disk_gb: gigabytes of disk (DISK; server default 0, which allows files of 1 GB).
        cores: number of cores per node (CPUCOUNT; server default 1).
        nodes: number of nodes (NODECOUNT; server default 1).
        architecture: a value from the server's list, such as ``"AMD64"`` (ARCHITECTURE).
        platform: the platform that a resource must have (PLATFORM).
        fill: the resources that the job gets in full: ``"ALL"``, ``"CPUTIME"``, ``"NODECOUNT"``,
            ``"CPUCOUNT"``, ``"MEMORY"``, ``"DISK"`` (MAXFILL).
        hosts: ids of the resources that may run the job; ``*`` and ``?`` are wildcards (RESOURCE).
        sandbox: whether sandbox resources may run the job (SANDBOX).
        max_price: letters and digits (MAXPRICE).
    """

    wall_time: int | None = None
    memory_mb: int | None = 1024
    disk_gb: int | None = None
    cores: int | None = None
    nodes: int | None = None
    architecture: str | None = None
    platform: str | None = None
    fill: tuple[str, ...] = ()
    hosts: tuple[str, ...] = ()
    sandbox: bool | None = None
    max_price: str | None = None


@dataclass(frozen=True, slots=True, init=False)
class Remote:
    """A file in the MiG home, as an input or as the destination of an output. An input can also be a folder.

    Attributes:
        path: the normalised path relative to the home; it ends in ``/`` if it was given that way for a folder.
        name: the name in a job, or ``None`` for the last component of the path.
    """

    path: str
    name: str | None

    def __init__(self, path: str | PurePosixPath, name: str | None = None) -> None:
        """Refer to a file of the home. `JobSpec` checks whether jobs can use it.

        Args:
            path: the path relative to the home; a leading ``/`` is the home.
            name: the default name in a job.

        Raises:
            SpecError: the path or the name has the wrong type.
        """
        if not isinstance(path, str | PurePosixPath):
            raise SpecError([Fault("path", path, "is not a path", "give a string or a PurePosixPath")])
        if name is not None and not isinstance(name, str):
            raise SpecError([Fault("name", name, "is not a string", "give the name in the job, or None")])
        text = plain_text(path)
        normal = posixpath.normpath(text.lstrip("/"))
        object.__setattr__(self, "path", f"{normal}/" if text.endswith("/") and normal != "." else normal)
        object.__setattr__(self, "name", name)

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: Any) -> Any:
        return checked_schema(source, handler)


def checked_schema(source: type[Any], handler: Any) -> Any:
    """Return a pydantic schema that creates a dataclass by its own ``__init__``, which pydantic would not call.

    Args:
        source: the dataclass.
        handler: pydantic's function that returns the schema of the fields.
    """
    from pydantic_core import core_schema  # installed, since pydantic is the caller

    def create(value: Any) -> Any:
        return source(**{field.name: getattr(value, field.name) for field in fields(value)})

    serializer = core_schema.plain_serializer_function_ser_schema(json_value)
    return core_schema.no_info_after_validator_function(create, handler(source), serialization=serializer)


class InputStream:
    """The content of an input as an async iterable of bytes, which can be read once.

    Attributes:
        source: the async iterable.
    """

    __slots__ = ("_is_read", "source")

    def __init__(self, source: AsyncIterable[bytes]) -> None:
        self.source: AsyncIterable[bytes] = source
        self._is_read = False

    def __eq__(self, other: object) -> bool:
        return isinstance(other, InputStream) and other.source is self.source

    def __hash__(self) -> int:
        return id(self.source)

    def __repr__(self) -> str:
        return f"InputStream({short_repr(self.source)})"

    def open(self, name: str) -> AsyncIterable[bytes]:
        """Return the async iterable.

        Args:
            name: the name of the input, for the error.

        Raises:
            SpecError: the stream was read before.
        """
        if self._is_read or getattr(self.source, "ag_frame", self) is None:
            problem = "is a stream that was read before, by an earlier submit"
            raise SpecError([Fault("inputs", name, problem, "give a new stream, or bytes or a file")])
        self._is_read = True
        return self.source

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: Any) -> Any:
        from pydantic_core import core_schema  # installed, since pydantic is the caller

        return core_schema.is_instance_schema(cls)

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: Any, handler: Any) -> Any:
        from pydantic_core import PydanticOmit

        raise PydanticOmit  # a stream cannot be written as JSON


class InputFile(NamedTuple):
    """An input of a job.

    Attributes:
        source: a local file, the content, a file of the MiG home, a URL (as a string), or a stream of the content.
        name: its path in the job directory.
    """

    source: Path | bytes | Remote | str | InputStream
    name: str

    @property
    def is_home_folder(self) -> bool:
        """Whether it stands for all files below a folder of the home, which are listed at submit time."""
        return isinstance(self.source, Remote) and self.source.path.endswith("/")

    def __repr__(self) -> str:
        source = f"<{len(self.source)} bytes>" if isinstance(self.source, bytes) else repr(self.source)
        return f"InputFile(source={source}, name={self.name!r})"


class OutputFile(NamedTuple):
    """An output of a job.

    Attributes:
        name: its path in the job directory.
        destination: a path below the folder of `Job.fetch`, a file in the MiG home, or a URL (as a string).
    """

    name: str
    destination: str | Remote
