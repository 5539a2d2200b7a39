"""Inputs that lie in the MiG home: the files of folders, and what is missing."""

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
    """Finds the files of folders of the home, each of which it lists once.

    Args:
        files: the home.
    """

    def __init__(self, files: Files) -> None:
        self._files = files
        self._names: dict[str, list[str]] = {}

    async def expand(self, spec: JobSpec) -> JobSpec:
        """Return a spec that names the files of its folders of the home instead of these. No I/O if it has none.

        Raises:
            SpecError: a folder is not there or holds no file; or two files have one name in the job.
            GridError: the grid could not be asked.
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
            remedy = "put it there before the submit: session.files.put(…)"
            raise SpecError([Fault(field, source, "is not in the MiG home", remedy)]) from None
        files = [info.path for info in entries if not info.is_dir]
        if files == [folder]:
            raise SpecError([Fault(field, source, "is a file", "leave the / at its end out")])
        if not files:
            raise SpecError([Fault(field, source, "is a directory without files", "make it by mkdir in a command")])
        return [below(folder, path) for path in files]


_WITHOUT = "a grid looks for it for a minute, and then runs the job without it"  # docs/protocol.md#inputs


async def missing_inputs(spec: JobSpec, files: Files) -> list[Fault]:
    """Return a warning for each file of the home that is not there now, or is a folder.

    Raises:
        GridError: the grid could not be asked.
    """
    warnings: list[Fault] = []
    for field, inputs in (("inputs", spec.inputs), ("executables", spec.executables)):
        for source in dict.fromkeys(file.source for file in inputs if isinstance(file.source, Remote)):
            try:
                is_folder = (await files.stat(source.path)).is_dir
            except FileNotFound:
                remedy = "put it there before the job starts: session.files.put(…)"
                warnings.append(Fault(field, source, f"is not in the MiG home; {_WITHOUT}", remedy))
            else:
                if is_folder:
                    remedy = "end the path with a / for all files below it"
                    warnings.append(Fault(field, source, f"is a folder; {_WITHOUT}", remedy))
    return warnings
