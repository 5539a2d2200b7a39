"""Downloading the outputs of a job."""

from __future__ import annotations

from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, NamedTuple

from ._errors import FileNotFound, PathRefused
from ._files_transfer import Meter

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ._files import FileInfo, Files
    from ._files_transfer import Progress
    from ._plan import PlannedOutput


class Fetched(NamedTuple):
    """What became of the outputs: the names of those that arrived and of the others, and where the first are now."""

    arrived: list[str]
    missing: list[str]
    paths: list[Path]


async def fetch_outputs(
    files: Files, outputs: Iterable[PlannedOutput], folder: Path, progress: Progress | None
) -> Fetched:
    """Downloads those outputs that are to be, and are there.

    Args:
        files: the home.
        outputs: what the job was to leave there.
        folder: where they go; made where it is missing.
        progress: called with the bytes done and the bytes in all.

    Raises:
        PathRefused: a destination leads out of the folder; nothing was downloaded.
        GridError: the grid failed.
    """
    targets = {each: _below(folder, each.destination) for each in outputs if each.destination is not None}
    sizes = {each: await _size(files, each.path) for each in targets}
    meter = Meter(progress, sum(size for size in sizes.values() if size is not None))
    fetched = Fetched([], [], [])
    for each, target in targets.items():
        if sizes[each] is None:
            fetched.missing.append(each.name)
            continue
        target.parent.mkdir(parents=True, exist_ok=True)
        await files.get(each.path, target, progress=_part_of(meter))
        fetched.paths.append(target)
        fetched.arrived.append(each.name)
    return fetched


async def _size(files: Files, path: str) -> int | None:
    try:
        found: FileInfo = await files.stat(path)
    except FileNotFound:
        return None
    return found.size


def _part_of(meter: Meter) -> Progress:
    """Has one of several downloads count for all."""
    before = 0

    def report(done: int, _total: int) -> None:
        nonlocal before
        meter.add(done - before)
        before = done

    return report


def _below(folder: Path, name: str) -> Path:
    """A path below a folder; what is written in a description must not lead out of it."""
    if PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts:
        raise PathRefused(name, "an output's destination leads out of the folder; fetch it by its path in the home")
    return folder / name
