"""Inputs in the MiG home: expanding directories, and finding missing files."""

from __future__ import annotations

import posixpath
from dataclasses import replace
from typing import TYPE_CHECKING

from .._core.errors import FileNotFound, SpecError
from .._core.models import Fault
from .._core.paths import below
from .._spec.values import InputFile, Remote

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .._home.files import Files
    from .._spec.jobspec import JobSpec


class HomeFolders:
    """Finds the files in directories of the home. Each directory is listed once.

    Args:
        files: the home.
    """

    def __init__(self, files: Files) -> None:
        self._files = files
        self._names: dict[str, list[str]] = {}

    async def expand(self, spec: JobSpec) -> JobSpec:
        """Return a spec in which directories of the home are replaced by their files. No I/O if it has none.

        Raises:
            SpecError: a directory is missing or contains no files, or two files have the same name in the job.
            GridError: the request to the grid failed.
        """
        if not any(file.is_home_folder for file in (*spec.inputs, *spec.executables)):
            return spec
        inputs = await self._expanded("inputs", spec.inputs)
        return replace(spec, inputs=inputs, executables=await self._expanded("executables", spec.executables))

    async def _expanded(self, field: str, inputs: Sequence[InputFile]) -> tuple[InputFile, ...]:
        expanded: list[InputFile] = []
        for source, name in inputs:
            if isinstance(source, Remote) and source.path.endswith("/"):
                folder = source.path.rstrip("/")
                if folder not in self._names:
                    self._names[folder] = await self._list(field, source, folder)
                paths = self._names[folder]
                expanded += [InputFile(Remote(f"{folder}/{path}"), posixpath.join(name, path)) for path in paths]
            else:
                expanded.append(InputFile(source, name))
        return tuple(expanded)

    async def _list(self, field: str, source: Remote, folder: str) -> list[str]:
        try:
            entries = await self._files.ls(folder, recursive=True, hidden=True)
        except FileNotFound:
            remedy = "upload it before the submit: session.files.put(…)"
            raise SpecError([Fault(field, source, "is not in the MiG home", remedy)]) from None
        files = [info.path for info in entries if not info.is_dir]
        if files == [folder]:
            raise SpecError([Fault(field, source, "is a file, not a directory", "remove the / at the end")])
        if not files:
            raise SpecError([Fault(field, source, "is a directory without files", "create it with mkdir in a command")])
        return [below(folder, path) for path in files]


_WITHOUT = "a grid looks for it for a minute and then runs the job without it"  # docs/protocol.md#inputs


async def missing_inputs(spec: JobSpec, files: Files) -> list[Fault]:
    """Return a warning for each input in the home that does not exist at the moment, or is a directory.

    Raises:
        GridError: the request to the grid failed.
    """
    warnings: list[Fault] = []
    for field, inputs in (("inputs", spec.inputs), ("executables", spec.executables)):
        for source in dict.fromkeys(file.source for file in inputs if isinstance(file.source, Remote)):
            try:
                is_folder = (await files.stat(source.path)).is_dir
            except FileNotFound:
                remedy = "upload it before the job starts: session.files.put(…)"
                warnings.append(Fault(field, source, f"is not in the MiG home; {_WITHOUT}", remedy))
            else:
                if is_folder:
                    remedy = "end the path with a / to use all files in it"
                    warnings.append(Fault(field, source, f"is a directory; {_WITHOUT}", remedy))
    return warnings
