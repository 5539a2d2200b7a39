"""Progress bars of transfers, and the download of a job's outputs with a progress bar."""

from __future__ import annotations

import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple

from ._output import terminal
from ._settings import current

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from .. import Job

_INTERVAL = 0.1
"""The minimum seconds between two redraws of a progress bar."""


@contextmanager
def progress_bar(title: str) -> Iterator[Callable[[int, int], object] | None]:
    """Show a progress bar if standard error is a terminal. Yield the callback that updates it, or ``None``."""
    settings = current()
    console = None if settings.quiet or settings.json else terminal(stderr=True)
    if console is None:
        yield None
        return
    from rich.progress import BarColumn, DownloadColumn, Progress, TimeRemainingColumn, TransferSpeedColumn

    columns = "{task.description}", BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn()
    with Progress(*columns, console=console, auto_refresh=False, transient=True) as progress:
        task = progress.add_task(title, total=None)
        last_redraw = 0.0

        def report(done: int, total: int) -> None:
            nonlocal last_redraw
            progress.update(task, completed=done, total=total)
            if time.monotonic() - last_redraw >= _INTERVAL or done >= total:
                progress.refresh()
                last_redraw = time.monotonic()

        yield report


class Fetched(NamedTuple):
    """The outputs of a job after the download.

    Attributes:
        paths: the downloaded files.
        kept: the outputs that remain in the MiG home, as ``mig:PATH``, or at a URL.
        missing: the names of outputs that the job did not create.
    """

    paths: list[Path]
    kept: list[str]
    missing: list[str]


async def fetch_outputs(job: Job, folder: Path) -> Fetched:
    """Download the outputs of an ended job, successful or not, with a progress bar."""
    with progress_bar("fetch") as report:
        paths = await job.fetch(folder, check=False, progress=report)
    kept: list[str] = []
    missing: list[str] = []
    for output in (await job.plan()).outputs:
        if output.destination is None:
            kept.append(output.path if "://" in output.path else f"mig:{output.path}")
        elif folder / output.destination not in paths:
            missing.append(output.name)
    return Fetched(paths, kept, missing)


def missing_outputs_message(job: Job, missing: list[str]) -> str:
    """Return the message for outputs that a job did not create."""
    return f"job {job.id} did not create these outputs: {', '.join(missing)}"
