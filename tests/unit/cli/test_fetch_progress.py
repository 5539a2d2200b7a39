"""The progress bar of downloads of outputs."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import pytest
from rich.console import Console

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.cli.conftest import Done

    Cli = Callable[..., Done]

COMMAND = ("-o", "a", "-o", "b", "printf 12345 > a; printf 678 > b")


@pytest.fixture
def screen(monkeypatch: pytest.MonkeyPatch) -> io.StringIO:
    """Standard error in memory, which progress bars treat as a terminal."""
    text = io.StringIO()
    console = Console(file=text, force_terminal=True, width=100)
    monkeypatch.setattr("aiomig.cli._progress.terminal", lambda *, stderr: console)
    return text


def test_fetching_shows_progress(local: Cli, screen: io.StringIO) -> None:
    assert local("run", *COMMAND).code == 0
    assert "fetch" in screen.getvalue()
    assert "8/8 bytes" in screen.getvalue()
    job = local("jobs", "--ids").out.strip()
    screen.truncate(0)
    assert local("fetch", job, "--to", "again").lines == ["again/a", "again/b"]
    assert "8/8 bytes" in screen.getvalue()
    screen.truncate(0)
    assert local("fetch", "--quiet", job).code == 0
    assert local("fetch", "--json", job).json["missing"] == 0
    assert screen.getvalue().strip("\0") == ""
