"""Progress bars for many jobs: with rich on a terminal, with IPython in a notebook, and nothing elsewhere."""

from __future__ import annotations

import sys
import time
from typing import Any, Protocol

from .._core.display import html_text
from .._core.errors import SpecError
from .._core.models import Fault

_INTERVAL = 0.1
"""The shortest time between two redraws, in seconds."""


class _Display(Protocol):
    def draw(self, done: int, total: int | None, note: str) -> None:
        """Draw the bar in place of the previous one."""

    def close(self) -> None:
        """Stop drawing, and leave the last bar on the screen."""


class ProgressBar:
    """A progress bar, redrawn by calls of `show` at most ten times a second. It needs no background task.

    Args:
        total: the number of items, or ``None`` if it is unknown.

    Raises:
        SpecError: standard error is a terminal, and rich is not installed.
    """

    def __init__(self, total: int | None) -> None:
        self._total = total
        self._display = _display()
        self._drawn = 0.0
        self._last: tuple[int, str] | None = None

    def show(self, done: int, note: str = "") -> None:
        """Redraw the bar, unless it was drawn very recently.

        Args:
            done: the number of items that are done.
            note: text after the number.
        """
        self._last = done, note
        if self._display is not None and time.monotonic() - self._drawn >= _INTERVAL:
            self._display.draw(done, self._total, note)
            self._drawn = time.monotonic()

    def close(self) -> None:
        """Draw the last state, and leave it on the screen."""
        display, self._display = self._display, None
        if display is not None:
            if self._last is not None:
                done, note = self._last
                display.draw(done, self._total, note)
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
            remedy = "run pip install 'aiomig[cli]', or leave progress out"
            raise SpecError([Fault("progress", True, "needs rich, which is not installed", remedy)]) from None
        columns = BarColumn(), TextColumn("{task.description}"), TimeRemainingColumn()
        # Automatic refreshing would start a thread.
        self._progress = Progress(*columns, console=Console(stderr=True), auto_refresh=False)
        self._task: Any = None

    def draw(self, done: int, total: int | None, note: str) -> None:
        text = _label(done, total, note)
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

    def draw(self, done: int, total: int | None, note: str) -> None:
        from IPython.display import HTML, display  # type: ignore[import-not-found, unused-ignore]

        limit = f' value="{done}" max="{total}"' if total is not None else ""
        bar = HTML(f"<progress{limit}></progress> {html_text(_label(done, total, note))}")
        if self._handle is None:
            self._handle = display(bar, display_id=True)
        else:
            self._handle.update(bar)

    def close(self) -> None:
        """Do nothing: the last bar stays in the notebook."""


def _label(done: int, total: int | None, note: str) -> str:
    count = str(done) if total is None else f"{done}/{total}"
    return f"{count}, {note}" if note else count
