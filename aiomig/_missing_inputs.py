"""Looks whether what a job takes from the MiG home lies there."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ._errors import Fault, FileNotFound
from ._values import Remote

if TYPE_CHECKING:
    from ._files import Files
    from ._spec import JobSpec

_WITHOUT = "a grid looks for it for a minute, and then runs the job without it"
"""What it does with a missing input (golden cases in-missing and in-dir)."""


async def missing_inputs(spec: JobSpec, files: Files) -> list[Fault]:
    """Warnings of the inputs that are not in the home now, or are folders: a grid reads them when the job starts.

    Args:
        spec: the job.
        files: the home.

    Raises:
        GridError: the grid could not be asked.
    """
    warnings: list[Fault] = []
    for name, inputs in (("inputs", spec.inputs), ("executables", spec.executables)):
        for source in dict.fromkeys(file.source for file in inputs if isinstance(file.source, Remote)):
            try:
                is_folder = (await files.stat(source.path)).is_dir
            except FileNotFound:
                remedy = "put it there before the job starts: session.files.put(…)"
                warnings.append(Fault(name, source, f"is not in the MiG home; {_WITHOUT}", remedy))
            else:
                if is_folder:
                    remedy = "name its files, or an archive of it: session.files.pack(…)"
                    warnings.append(Fault(name, source, f"is a folder; {_WITHOUT}", remedy))
    return warnings
