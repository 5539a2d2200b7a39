"""Copies and pickles: values have them, jobs and sessions say why not; a session that is not open does nothing."""

from __future__ import annotations

import copy
import pickle

import pytest

import aiomig
from aiomig import JobSpec, NoSession
from aiomig.testing import FakeGrid

pytestmark = pytest.mark.anyio


async def test_a_copy_of_what_holds_a_job_holds_the_same_job() -> None:
    async with FakeGrid() as grid, grid.session() as mig:
        job = await mig.submit("true")
        assert copy.copy(job) is job
        assert copy.deepcopy({"job": [job]})["job"][0] is job
        with pytest.raises(TypeError, match=r"pickle job\.id, and use session\.job"):
            pickle.dumps([job])
        for what in (pickle.dumps, copy.deepcopy):
            with pytest.raises(TypeError, match="a session cannot be copied or pickled"):
                what(mig)


def test_descriptions_are_keys() -> None:
    one, same = (JobSpec("./fit", environment={"SEED": "7"}, labels={"a": "b"}, name="fit") for _ in range(2))
    assert {one: 1}[same] == 1
    assert {pickle.loads(pickle.dumps(one)): 1}[copy.deepcopy(same)] == 1
    assert len({one, JobSpec("./fit", environment={"SEED": "8"}, name="fit")}) == 2


@pytest.mark.parametrize("mode", ["local", "grid"])
async def test_a_session_that_is_not_open_reads_and_writes_nothing(mode: str, tmp_path: object) -> None:
    async with FakeGrid() as grid:
        mig = aiomig.local(f"{tmp_path}/home") if mode == "local" else grid.session()
        for state in ("not open yet", "closed"):
            if state == "closed":
                async with mig:
                    await mig.files.write_text("a", "x")
            calls = (mig.files.ls, lambda: mig.files.write_text("a", "y"), mig.queue("q").peek, mig.jobs)
            for call in calls:
                with pytest.raises(NoSession, match=state):
                    await call()
