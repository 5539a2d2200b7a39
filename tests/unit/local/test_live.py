"""Requests of running jobs by files: nothing hangs, nothing outside of the directory and the home is touched."""

from __future__ import annotations

import os
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import anyio
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aiomig._local.home import LocalHome
from aiomig._local.job_folder import JobFolder
from aiomig._local.live import LiveFiles
from aiomig._local.queues import LocalQueues
from tests.local.test_hostile_homes import KINDS
from tests.unit.grid.test_hostile_names import NAMES
from tests.unit.test_fuzz import UNHURRIED

if TYPE_CHECKING:
    from collections.abc import Iterator

REQUESTS = ("a.sendupdate", "a.getupdate")
WORDS = st.sampled_from([*NAMES.values(), "x", "link", "folder/link", "q", "default"]) | st.text(max_size=8)
LINES = st.one_of(
    st.builds("source {}".format, WORDS),
    st.builds("destination {}".format, WORDS),
    st.sampled_from(["target mqueue", "target liveio", "", "source", "job_id x"]),
)


@contextmanager
def place() -> Iterator[tuple[LiveFiles, JobFolder]]:
    """A home and a job directory with links that lead out, and a file outside that must stay unchanged."""
    with tempfile.TemporaryDirectory() as top:
        base = Path(top)
        (base / "outside").mkdir()
        (base / "outside" / "x").write_text("precious")
        home = LocalHome(base / "home")
        job = JobFolder(str(base / "job-dir_a"))
        job.make()
        for folder in (home.root, Path(job.path)):
            (folder / "x").write_text("text")
            (folder / "link").symlink_to("../outside")
            (folder / "folder").mkdir()
            (folder / "folder" / "link").symlink_to("../../outside/x")
        yield LiveFiles(home.root, LocalQueues(home.root, home.root / ".aiomig", anyio.lowlevel.checkpoint)), job
        assert sorted(os.listdir(base)) == ["home", "job-dir_a", "outside"]
        assert os.listdir(base / "outside") == ["x"]
        assert (base / "outside" / "x").read_text() == "precious"
        assert not os.path.lexists("/tmp/aiomig-hostile")


@pytest.mark.parametrize("request_name", REQUESTS)
@settings(UNHURRIED, max_examples=50)
@given(lines=st.lists(LINES, max_size=5))
def test_any_request_is_answered_or_waits(request_name: str, lines: list[str]) -> None:
    with place() as (live, job):
        text = "\n".join([*lines, ""]).encode("utf-8", "surrogatepass")
        (Path(job.path) / request_name).write_bytes(text)
        anyio.run(live.answer, job, "a")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", [*REQUESTS, "asked"])
async def test_anything_in_the_place_of_a_request_or_of_what_it_names(
    name: str, kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with place() as (live, job), anyio.fail_after(60):
        KINDS[kind](Path(job.path) / name)
        if name == "asked":
            for target in ("liveio", "mqueue"):
                request = f"source asked\ndestination {'default' if target == 'mqueue' else 'd'}\ntarget {target}\n"
                (Path(job.path) / REQUESTS[0]).write_text(request)
                await live.answer(job, "a")
        await live.answer(job, "a")
