"""Tidying a home removes everything that a job left, and nothing else, whatever links jobs have put there."""

from __future__ import annotations

import os
import sqlite3
from datetime import timedelta
from typing import TYPE_CHECKING

import aiomig

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

NOW = timedelta(0)


def left_of(home: Path, job: aiomig.Job) -> list[str]:
    number = job.id.partition("_")[0]
    names = (job.id, f"{job.id}.remarks", f"{number}.stdout", f"{number}.stderr")
    return [str(path.relative_to(home)) for path in home.rglob("*") if path.name in names]


async def test_results_and_what_was_kept_are_removed(tmp_path: Path) -> None:
    home = tmp_path / "home"
    async with aiomig.local(home) as mig:
        failed = await mig.submit(["echo lost", "exit 3"], retries=0)
        well = await mig.submit("echo x", inputs=[(b"x", "in")], outputs=["missing"])
        await mig.wait([failed, well])
        kept = next(home.rglob("*.remarks")).parent
        (kept / well.id).mkdir()  # as if the results could not be stored
        (kept / well.id / "file").touch()
        assert len(left_of(home, failed)) == 2
        assert len(left_of(home, well)) == 3
        assert await mig.prune(older_than=NOW) == 2
        assert left_of(home, failed) == left_of(home, well) == []
        assert list((home / "aiomig_jobs").iterdir()) == []
        assert [await job.status() for job in (failed, well)] == [await job.status() for job in (failed, well)]


async def test_links_are_not_followed(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    home, precious = tmp_path / "home", tmp_path / "precious"
    async with aiomig.local(home) as mig:
        one = await mig.submit("cp in out", inputs=[(b"x", "in")], outputs=["out"])
        await one.result()
        folder = home / one.output("out").path.rpartition("/out/")[0]
        results = home / "job_output" / one.id
        precious.mkdir()
        (home / "inside").mkdir()
        for place in (folder, results):
            place.rename(place.with_name("moved"))
            place.symlink_to(precious)
        (precious / "file").touch()
        (home / "inside" / folder.name).mkdir()
        assert await mig.prune(older_than=NOW) == 1
        assert (precious / "file").exists()
        assert not os.path.lexists(folder)
        two = await mig.submit("cp in out", inputs=[(b"x", "in")], outputs=["out"])
        await two.result()
        (home / "aiomig_jobs").rename(home / "moved")
        (home / "aiomig_jobs").symlink_to(home / "moved")
        assert await mig.prune(older_than=NOW, records=True) == 1, "of the second, the results"
        assert "is left behind" in caplog.text
        assert await mig.jobs() == [two, one], "a record stays as long as its files"
        assert (home / "moved").is_dir()
        assert len(list((home / "moved").iterdir())) == 2


async def test_a_damaged_record_says_nothing_of_files(tmp_path: Path) -> None:
    home = tmp_path / "home"
    async with aiomig.local(home) as mig:
        job = await mig.submit("cp in out", inputs=[(b"x", "in")], outputs=["out"])
        await job.result()
        (home / "keep").mkdir()
        (database,) = home.rglob("jobs.sqlite")
        with sqlite3.connect(database) as connection:
            connection.execute("""UPDATE jobs SET plan = '{"k":{},"f":"aiomig_jobs/../keep"}'""")
        connection.close()
        assert await mig.prune(older_than=NOW, records=True) == 1
        assert (home / "keep").is_dir()
        assert await mig.jobs() == []
