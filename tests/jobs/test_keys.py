"""Two programs submit the same keys at once, and are killed: each key makes one job.

The full figures are those of ``AIOMIG_KEYS=200 AIOMIG_ROUNDS=20``.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import anyio
import pytest

import aiomig
from aiomig.testing import FakeGrid, Site

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

KEYS = int(os.environ.get("AIOMIG_KEYS", "12"))
ROUNDS = int(os.environ.get("AIOMIG_ROUNDS", "1"))


@asynccontextmanager
async def opened(mode: str, folder: Path) -> AsyncIterator[str]:
    """Open what the programs submit to; gives the argument that names it."""
    if mode == "local":
        yield str(folder / "home")
        return
    async with FakeGrid(folder / "home", site=Site(parse_time=0.0)) as grid, grid.serve() as address:
        grid.hold()
        files = {"certificate": str(address.certificate), "key": str(address.key), "ca": str(address.ca)}
        yield json.dumps({"url": address.url, **files})


async def submit_all(mode: str, place: str, seed: int, kill_after: int | None) -> None:
    """Run the program, and kill it after so many lines."""
    command = [sys.executable, "-m", "tests.programs.keys", mode, place, str(KEYS), str(seed)]
    async with await anyio.open_process(command, stderr=None) as process:
        assert process.stdout is not None
        lines = 0
        async for piece in process.stdout:
            lines += piece.count(b"\n")
            if kill_after is not None and lines >= kill_after:
                process.send_signal(signal.SIGKILL)
        assert await process.wait() in ((0,) if kill_after is None else (0, -signal.SIGKILL))


@pytest.mark.parametrize("mode", ["local", "grid"])
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_programs_that_are_killed_make_one_job_for_each_key(
    tmp_path: Path, mode: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    chance = random.Random(7)
    async with opened(mode, tmp_path) as place:
        for number in range(ROUNDS + 1):
            async with anyio.create_task_group() as group:
                for program in range(2):
                    kill_after = chance.randrange(1, max(KEYS // 6, 2)) if number < ROUNDS else None
                    group.start_soon(submit_all, mode, place, 2 * number + program, kill_after)
        async with aiomig.local(place, on_exit="leave") if mode == "local" else aiomig.grid(**json.loads(place)) as mig:
            assert len(await mig.jobs()) == KEYS
            again = [await mig.submit("true", key=str(key)) for key in range(KEYS)]
            assert len(set(again)) == len(await mig.jobs()) == KEYS
