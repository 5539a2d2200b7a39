"""Progress bars of sweeps and `submit_many`, and the attempts for one parameter."""

from __future__ import annotations

import io
import sys
from types import ModuleType, SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

import aiomig
from aiomig import JobSpec, SpecError
from aiomig.testing import FakeGrid

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def on_terminal(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    """Make standard error a terminal; in the test itself, because pytest replaces it after the fixtures."""
    pytest.importorskip("rich")
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLUMNS", "200")
    screen = Terminal()
    monkeypatch.setattr(sys, "stderr", screen)
    return screen


@pytest.fixture(params=["local", "grid"])
async def mig(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[aiomig.Session]:
    if request.param == "local":
        async with aiomig.local(tmp_path) as session:
            yield session
    else:
        async with FakeGrid(clock="virtual") as grid, grid.session() as session:
            grid.script(lambda job: job.finish(stdout="x\n"))
            yield session


async def test_submit_many_on_a_terminal(mig: aiomig.Session, monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = on_terminal(monkeypatch)
    jobs = await mig.submit_many(["true"] * 3, progress=True)
    assert len(jobs) == 3
    assert "3/3, submitted" in terminal.getvalue()


async def test_a_sweep_on_a_terminal(mig: aiomig.Session, monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = on_terminal(monkeypatch)
    async with mig.sweep(lambda number: f"echo {number}", range(4), progress=True) as sweep:
        assert len([job async for job in sweep]) == 4
    assert "4/4, 0 running, 0 failed" in terminal.getvalue()
    assert sys.stderr is terminal


async def test_a_sweep_of_unknown_length(mig: aiomig.Session, monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = on_terminal(monkeypatch)
    numbers = (number for number in range(2))
    async for _ in mig.sweep(lambda number: f"echo {number}", numbers, progress=True):
        pass
    assert "2, 0 running, 0 failed" in terminal.getvalue()


async def test_a_sweep_that_is_left_gives_the_terminal_back(
    mig: aiomig.Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    terminal = on_terminal(monkeypatch)
    async with mig.sweep(lambda number: f"echo {number}", range(4), progress=True) as sweep:
        async for _ in sweep:
            break
    assert sys.stderr is terminal


async def test_nothing_is_shown_elsewhere(
    mig: aiomig.Session, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "rich.progress", None)  # it is not even needed
    await mig.submit_many(["true"], progress=True)
    assert capsys.readouterr() == ("", "")


async def test_a_terminal_needs_rich(mig: aiomig.Session, monkeypatch: pytest.MonkeyPatch) -> None:
    on_terminal(monkeypatch)
    monkeypatch.setitem(sys.modules, "rich.progress", None)
    with pytest.raises(SpecError, match=r"needs rich.*pip install 'aiomig\[cli\]'"):
        mig.sweep("true", [{}], progress=True)
    with pytest.raises(SpecError, match="needs rich"):
        await mig.submit_many(["true"], progress=True)
    assert await mig.jobs() == []


async def test_a_notebook_shows_html(mig: aiomig.Session, monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = on_terminal(monkeypatch)
    shown: list[str] = []

    def display(picture: str, display_id: bool) -> Any:
        assert display_id
        shown.append(picture)
        return SimpleNamespace(update=shown.append)

    ipython, module = ModuleType("IPython"), ModuleType("IPython.display")
    vars(ipython)["get_ipython"] = lambda: SimpleNamespace(kernel="kernel")
    vars(module).update(HTML=str, display=display)
    monkeypatch.setitem(sys.modules, "IPython", ipython)
    monkeypatch.setitem(sys.modules, "IPython.display", module)
    async for _ in mig.sweep(lambda number: f"echo {number}", range(2), progress=True):
        pass
    assert shown[-1] == '<progress value="2" max="2"></progress> 2/2, 0 running, 0 failed'
    assert terminal.getvalue() == ""


async def test_the_attempts_of_a_parameter(tmp_path: Path) -> None:
    async with aiomig.local(tmp_path / "home", slots=1) as mig:
        spec = JobSpec(f"mkdir {tmp_path}/$(ls {tmp_path} | wc -l); test -e {tmp_path}/3")
        async with mig.sweep(lambda _: spec, [None], retries=5) as sweep:
            jobs = [job async for job in sweep]
        results = await mig.results(jobs[0].attempts)
        assert [result.ok for result in results.values()] == [False, False, True]
        assert jobs[0].attempts[-1] == jobs[0].id
        assert sweep.counts == aiomig.SweepCounts(submitted=1, running=0, done=1, failed=0, earlier=0)
        assert (await mig.submit("true")).attempts != jobs[0].attempts
