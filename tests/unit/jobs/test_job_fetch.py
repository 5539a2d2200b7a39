"""The progress of `Job.fetch`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

import aiomig
from aiomig import PathRefused
from aiomig._jobs.outputs import fetch_outputs
from aiomig._spec.plan import PlannedOutput

if TYPE_CHECKING:
    from pathlib import Path


async def test_the_outputs_count_together(tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    async with aiomig.local(tmp_path / "home") as mig:
        for name, size in (("a", 5), ("b", 0), ("c", 3)):
            await mig.files.write_bytes(name, bytes(size))
        outputs = [PlannedOutput(name, name, f"got/{name}") for name in ("a", "nowhere", "b", "c")]
        kept = PlannedOutput("kept", "kept", None)
        fetched = await fetch_outputs(
            mig._backend.home, [*outputs, kept], tmp_path, lambda done, total: seen.append((done, total))
        )
    assert fetched.arrived == ["a", "b", "c"]
    assert fetched.missing == ["nowhere"]
    assert [path.stat().st_size for path in fetched.paths] == [5, 0, 3]
    assert {total for _, total in seen} == {8}
    assert [done for done, _ in seen] == [5, 8]


async def test_a_job_tells_of_its_outputs(tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    async with aiomig.local(tmp_path / "home") as mig:
        job = await mig.submit("printf 12345 > a; printf 678 > b", outputs=["a", "b"])
        await job.fetch(tmp_path, progress=lambda done, total: seen.append((done, total)))
    assert seen[-1] == (8, 8)


async def test_nothing_is_downloaded_where_a_destination_leads_out(tmp_path: Path) -> None:
    async with aiomig.local(tmp_path / "home") as mig:
        await mig.files.write_bytes("a", b"x")
        with pytest.raises(PathRefused):
            await fetch_outputs(
                mig._backend.home,
                [PlannedOutput("a", "a", "a"), PlannedOutput("b", "a", "../b")],
                tmp_path / "got",
                None,
            )
    assert not (tmp_path / "got").exists()
