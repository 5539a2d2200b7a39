"""The outputs of a job: finding those that have arrived, and downloading them."""

from __future__ import annotations

import posixpath
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, NamedTuple

from .._backend import GetFile
from .._core.errors import PathRefused
from .._core.paths import folder_of, home_path
from .._home.disk import ON_THIS_MACHINE, ensure_replaceable, translate_os_errors
from .._home.transfer import Meter

if TYPE_CHECKING:
    from collections.abc import Iterable

    from .._backend import HomeBackend
    from .._core.paths import FileInfo
    from .._home.transfer import Progress
    from .._spec.plan import PlannedOutput


async def arrived_outputs(home: HomeBackend, outputs: Iterable[PlannedOutput]) -> dict[PlannedOutput, FileInfo]:
    """Return the outputs that exist in the home, with their metadata."""
    paths = {output: home_path(output.path) for output in outputs}
    present = await home.stat_many(list(dict.fromkeys(paths.values())))
    return {output: present[path] for output, path in paths.items() if path in present}


class Fetched(NamedTuple):
    """Outcome of a download: the names of the arrived and of the missing outputs, and the local paths."""

    arrived: list[str]
    missing: list[str]
    paths: list[Path]


async def fetch_outputs(
    home: HomeBackend, outputs: Iterable[PlannedOutput], folder: Path, progress: Progress | None
) -> Fetched:
    """Download the existing outputs that have a local destination.

    Args:
        home: the home.
        outputs: the planned outputs of the job.
        folder: the local directory for the outputs, created if it is missing.
        progress: called with the number of bytes downloaded and the total number.

    Raises:
        PathRefused: a destination leads out of the folder; nothing was downloaded.
        GridError: the request to the grid failed.
    """
    targets = {output: _below(folder, output.destination) for output in outputs if output.destination is not None}
    arrived = await arrived_outputs(home, targets)
    for output, info in arrived.items():
        if info.is_dir:
            raise PathRefused(
                info.path, "is a directory, but an output must be a file; download it with session.files.get"
            )
        with translate_os_errors(str(targets[output].parent), ON_THIS_MACHINE):
            targets[output].parent.mkdir(parents=True, exist_ok=True)
            ensure_replaceable(targets[output])
    meter = Meter(progress, sum(info.size for info in arrived.values()))
    wanted = [GetFile(info, targets[output]) for output, info in arrived.items()]
    # All these files are in the private folder of the job.
    common = posixpath.commonpath([folder_of(file.info.path) for file in wanted]) if wanted else None
    await home.get_files(wanted, common, meter.add)
    return Fetched(
        [output.name for output in arrived],
        [output.name for output in targets if output not in arrived],
        [targets[output] for output in arrived],
    )


def _below(folder: Path, name: str) -> Path:
    """Return a path below a folder. Refuse a destination that leads out of the folder."""
    if PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts:
        raise PathRefused(
            name, "an output's destination leads out of the folder; download the output by its path in the home"
        )
    return folder / name
