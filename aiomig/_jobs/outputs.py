"""The outputs of a job: which have arrived, and their download."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, NamedTuple

from .._core.errors import FileNotFound, PathRefused
from .._home.transfer import Meter

if TYPE_CHECKING:
    from collections.abc import Iterable

    from .._core.models import FileInfo
    from .._home.files import Files
    from .._home.transfer import Progress
    from .._spec.plan import PlannedOutput


async def arrived_outputs(files: Files, outputs: Iterable[PlannedOutput]) -> dict[PlannedOutput, FileInfo]:
    """Return the outputs that are in the home, with what is there."""
    arrived: dict[PlannedOutput, FileInfo] = {}
    for output in outputs:
        with suppress(FileNotFound):
            arrived[output] = await files.stat(output.path)
    return arrived


class Fetched(NamedTuple):
    """Outcome of a download: the names of the outputs that arrived and of the others, and the local paths."""

    arrived: list[str]
    missing: list[str]
    paths: list[Path]


async def fetch_outputs(
    files: Files, outputs: Iterable[PlannedOutput], folder: Path, progress: Progress | None
) -> Fetched:
    """Download the outputs that have a destination and are there.

    Args:
        files: the home.
        outputs: the planned outputs of the job.
        folder: where they go; made if it is missing.
        progress: called with the bytes done and the bytes in all.

    Raises:
        PathRefused: a destination leads out of the folder; nothing was downloaded.
        GridError: the grid failed.
    """
    targets = {output: _below(folder, output.destination) for output in outputs if output.destination is not None}
    arrived = await arrived_outputs(files, targets)
    meter = Meter(progress, sum(info.size for info in arrived.values()))
    for output in arrived:
        target = targets[output]
        target.parent.mkdir(parents=True, exist_ok=True)
        await files.get(output.path, target, progress=_part_of(meter))
    return Fetched(
        [output.name for output in arrived],
        [output.name for output in targets if output not in arrived],
        [targets[output] for output in arrived],
    )


def _part_of(meter: Meter) -> Progress:
    """Return the progress callback of one download that adds to the meter of all."""
    before = 0

    def report(done: int, _total: int) -> None:
        nonlocal before
        meter.add(done - before)
        before = done

    return report


def _below(folder: Path, name: str) -> Path:
    """Return a path below a folder; refuse a destination that leads out of it."""
    if PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts:
        raise PathRefused(name, "an output's destination leads out of the folder; fetch it by its path in the home")
    return folder / name
