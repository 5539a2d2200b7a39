"""Progress bars of what is carried."""

from __future__ import annotations

import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

from ._output import terminal
from ._settings import current

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_INTERVAL = 0.1
"""Seconds between two pictures of a progress bar, at least."""


@contextmanager
def progress_bar(title: str) -> Iterator[Callable[[int, int], object] | None]:
    """A progress bar, where standard error is a terminal."""
    settings = current()
    console = None if settings.quiet or settings.json else terminal(stderr=True)
    if console is None:
        yield None
        return
    from rich.progress import BarColumn, DownloadColumn, Progress, TimeRemainingColumn, TransferSpeedColumn

    columns = "{task.description}", BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn()
    with Progress(*columns, console=console, auto_refresh=False, transient=True) as progress:
        task = progress.add_task(title, total=None)
        drawn = 0.0

        def report(done: int, total: int) -> None:
            nonlocal drawn
            progress.update(task, completed=done, total=total)
            if time.monotonic() - drawn >= _INTERVAL or done >= total:
                progress.refresh()
                drawn = time.monotonic()

        yield report
