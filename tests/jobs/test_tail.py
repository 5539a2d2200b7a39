"""Following output of any shape: every line once, other tasks run meanwhile, and the work is linear."""

from __future__ import annotations

from typing import TYPE_CHECKING

import anyio
import anyio.lowlevel
import pytest

import aiomig

if TYPE_CHECKING:
    from pathlib import Path

OUTPUTS = {
    "empty lines": b"\n" * 10_000,
    "one long line": b"x" * 3_000_000,
    "a long line between short ones": b"a\n" + b"x" * 1_000_000 + b"\nb\n",
    "no end of the last line": b"a\n\nb",
    "not UTF-8": b"\xff\n\xfe\r\n",
    "nothing": b"",
}


@pytest.mark.parametrize("shape", OUTPUTS)
@pytest.mark.parametrize("skip", [0, 2])
async def test_every_line_once(tmp_path: Path, shape: str, skip: int) -> None:
    output = OUTPUTS[shape]
    expected = output.decode("utf-8", "replace").split("\n")
    expected = expected if expected[-1] else expected[:-1]
    async with aiomig.local(tmp_path / "home") as mig:
        job = await mig.submit("cat data", inputs=[(output, "data")])
        assert [line async for line in job.tail("stdout", skip=skip)] == expected[skip:]


async def test_other_tasks_run_while_many_lines_are_followed(tmp_path: Path) -> None:
    turns = 0

    async def count_turns() -> None:
        nonlocal turns
        while True:
            turns += 1
            await anyio.lowlevel.checkpoint()

    async with aiomig.local(tmp_path / "home") as mig:
        job = await mig.submit("cat data", inputs=[(OUTPUTS["empty lines"], "data")])
        await job.wait()
        async with anyio.create_task_group() as group:
            group.start_soon(count_turns)
            lines = [line async for line in job.tail("stdout")]
            group.cancel_scope.cancel()
    assert len(lines) == 10_000
    assert turns >= 80
