"""Ctrl-C while a session is entered or left: a KeyboardInterrupt comes out, whatever line it comes at."""

from __future__ import annotations

import signal
import sys
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio
import anyio.lowlevel
import pytest

import aiomig
from aiomig.testing import FakeGrid

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from types import FrameType

AIOMIG, ANYIO = (str(Path(str(package.__file__)).parent) for package in (aiomig, anyio))
RUNS = 20


class Lines:
    """Counts the lines that aiomig, and anyio for it, runs in its block, and raises SIGINT at one of them.

    anyio's own frame around a task of aiomig does not count: trio raises a KeyboardInterrupt there at any line.
    """

    def __init__(self, interrupt_at: int = 0) -> None:
        self.count = 0
        self.has_interrupted = False
        self._interrupt_at = interrupt_at

    @contextmanager
    def counted(self) -> Iterator[None]:
        before = sys.gettrace()
        sys.settrace(self._called)
        try:
            yield
        finally:
            sys.settrace(before)

    def _called(self, frame: FrameType, event: str, argument: object) -> Any:
        is_counted = frame.f_code.co_filename.startswith((AIOMIG, ANYIO))
        return self._line if is_counted and any(name.startswith(AIOMIG) for name in files_of(frame)) else None

    def _line(self, frame: FrameType, event: str, argument: object) -> Any:
        self.count += 1
        if self.count == self._interrupt_at:
            self.has_interrupted = True
            signal.raise_signal(signal.SIGINT)
        return self._line


def files_of(frame: FrameType | None) -> Iterator[str]:
    """Return the files of a frame and of those that called it."""
    while frame is not None:
        yield frame.f_code.co_filename
        frame = frame.f_back


@asynccontextmanager
async def unopened(mode: str, folder: Path) -> AsyncIterator[aiomig.Session]:
    if mode == "local":
        yield aiomig.local(folder / "home", on_exit="cancel")
    else:
        async with FakeGrid() as grid:
            yield grid.session()


async def enter(mode: str, folder: Path, lines: Lines) -> None:
    async with unopened(mode, folder) as mig:
        with lines.counted():
            await mig.__aenter__()
        try:
            await anyio.lowlevel.checkpoint()  # where trio raises an interrupt that it held back
        finally:
            await mig.__aexit__(*sys.exc_info())


async def leave(mode: str, folder: Path, lines: Lines) -> None:
    async with unopened(mode, folder) as mig:
        await mig.__aenter__()
        if mode == "local":
            await (await mig.submit("sleep 1000")).wait(until=aiomig.JobState.EXECUTING)
        with lines.counted():
            await mig.__aexit__(None, None, None)
        await anyio.lowlevel.checkpoint()


@pytest.fixture
def _interruptible() -> Iterator[None]:
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # programs in the background ignore it
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("_interruptible")
@pytest.mark.parametrize("program", [enter, leave])
@pytest.mark.parametrize("mode", ["grid", "local"])
@pytest.mark.parametrize("loop", ["asyncio", "trio"])
def test_an_interrupt_at_any_line_is_the_users(tmp_path: Path, loop: str, mode: str, program: Any) -> None:
    lines = Lines()
    anyio.run(program, mode, tmp_path, lines, backend=loop)
    interrupted = 0
    for line in range(1, lines.count, lines.count // RUNS):
        lines = Lines(line)
        try:
            anyio.run(program, mode, tmp_path, lines, backend=loop)
        except KeyboardInterrupt:
            interrupted += 1
        else:
            assert not lines.has_interrupted  # a run can take fewer lines than the first one
    assert interrupted > RUNS / 2
    anyio.run(no_job_is_left, tmp_path)


async def no_job_is_left(folder: Path) -> None:
    async with aiomig.local(folder / "home") as mig:
        assert all(status.state.is_final for status in (await mig.statuses(await mig.jobs())).values())
