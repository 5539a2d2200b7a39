"""Progress bars of many jobs: on a terminal by rich, in a notebook by its own display. Elsewhere nothing is shown."""

from __future__ import annotations

import sys
import time
from typing import Any, Protocol

from .._core.display import html_text
from .._core.errors import SpecError
from .._core.models import Fault

_INTERVAL = 0.1
"""The shortest time between two pictures, in seconds."""


class _Display(Protocol):
    def draw(self, done: int, total: int | None, words: str) -> None:
        """Show a picture in place of the one before."""

    def close(self) -> None:
        """Leave the last picture as it is."""


class ProgressBar:
    """A progress bar that is drawn when it is told of progress, at most ten times a second. It needs no task.

    Args:
        total: how many things there are, or ``None`` if that is not known.

    Raises:
        SpecError: standard error is a terminal, and rich is not installed.
    """

    def __init__(self, total: int | None) -> None:
        self._total = total
        self._display = _display()
        self._drawn = 0.0
        self._last: tuple[int, str] | None = None

    def show(self, done: int, words: str = "") -> None:
        """Draw, unless it was drawn just now.

        Args:
            done: how many things are done.
            words: what else is to be said.
        """
        self._last = done, words
        if self._display is not None and time.monotonic() - self._drawn >= _INTERVAL:
            self._display.draw(done, self._total, words)
            self._drawn = time.monotonic()

    def close(self) -> None:
        """Draw the last state, which stays."""
        display, self._display = self._display, None
        if display is not None:
            if self._last is not None:
                done, words = self._last
                display.draw(done, self._total, words)
            display.close()


def _display() -> _Display | None:
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None else None
    if hasattr(shell, "kernel"):
        return _Notebook()
    return _Terminal() if sys.stderr.isatty() else None


class _Terminal:
    def __init__(self) -> None:
        try:
            from rich.console import Console
            from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
        except ImportError:
            remedy = "pip install 'aiomig[cli]', or leave progress out"
            raise SpecError([Fault("progress", True, "needs rich, which is not installed", remedy)]) from None
        columns = BarColumn(), TextColumn("{task.description}"), TimeRemainingColumn()
        # Without its own refreshing, which would start a thread.
        self._progress = Progress(*columns, console=Console(stderr=True), auto_refresh=False)
        self._task: Any = None

    def draw(self, done: int, total: int | None, words: str) -> None:
        text = _counted(done, total, words)
        if self._task is None:
            self._progress.start()
            self._task = self._progress.add_task(text, total=total)
        self._progress.update(self._task, completed=done, description=text)
        self._progress.refresh()

    def close(self) -> None:
        self._progress.stop()


class _Notebook:
    def __init__(self) -> None:
        self._handle: Any = None

    def draw(self, done: int, total: int | None, words: str) -> None:
        from IPython.display import HTML, display  # type: ignore[import-not-found, unused-ignore]

        limit = f' value="{done}" max="{total}"' if total is not None else ""
        picture = HTML(f"<progress{limit}></progress> {html_text(_counted(done, total, words))}")
        if self._handle is None:
            self._handle = display(picture, display_id=True)
        else:
            self._handle.update(picture)

    def close(self) -> None:
        """Do nothing: what was shown stays."""


def _counted(done: int, total: int | None, words: str) -> str:
    """Return a line on what is done."""
    count = str(done) if total is None else f"{done}/{total}"
    return f"{count}, {words}" if words else count
