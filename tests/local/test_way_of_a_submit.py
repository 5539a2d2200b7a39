"""How many modules of aiomig a submit goes through before the shell of the job starts."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import aiomig

if TYPE_CHECKING:
    from types import FrameType

ROOT = str(Path(aiomig.__file__).parent)
MOST_MOVES = 25


class Moves:
    """Return the modules of aiomig whose functions are called until a process starts, one after the other."""

    def __init__(self) -> None:
        self.modules: list[str] = []

    def __call__(self, frame: FrameType, event: str, argument: Any) -> None:
        if event == "c_call" and argument.__name__ == "fork_exec":
            sys.setprofile(None)
        file = frame.f_code.co_filename
        if event == "call" and file.startswith(ROOT) and self.modules[-1:] != [file]:
            self.modules.append(file)


async def test_a_submit_goes_through_few_modules(tmp_path: Path) -> None:
    async with aiomig.local(tmp_path / "home") as mig:
        assert (await (await mig.submit("echo first"))).ok  # late imports have happened by now
        moves = Moves()
        sys.setprofile(moves)
        try:
            job = await mig.submit("echo hi")
            await job.wait()
        finally:
            sys.setprofile(None)
    way = [Path(module).relative_to(ROOT).as_posix() for module in moves.modules]
    assert len(way) - 1 <= MOST_MOVES, "\n".join(way)
