"""The poller of a grid, with tests that need its private attributes."""

from __future__ import annotations

from typing import Any

import pytest

from aiomig import JobState
from tests.clocks import anyio_backend
from tests.grid.test_poller import settled
from tests.virtual import world

__all__ = ["anyio_backend"]


async def test_an_error_that_is_none_of_the_grid_ends_no_session(monkeypatch: pytest.MonkeyPatch) -> None:
    async with world(failures=2) as (grid, session):
        (job,) = await settled(session, "true")

        async def broken(job_ids: object) -> Any:
            raise KeyError("a mistake")

        with monkeypatch.context() as patch:
            patch.setattr(session._backend._poller, "_ask", broken)  # type: ignore[attr-defined]
            with pytest.raises(KeyError, match="a mistake"):
                await job.wait()
        grid.job(job.id).finish()
        assert (await job.wait()).state is JobState.FINISHED


async def test_a_stale_answer_after_an_end_is_not_published() -> None:
    async with world() as (grid, session):
        (job,) = await settled(session, "true")
        watch = session.watch(job)
        queued = await anext(watch)
        await session.cancel(job)
        session._backend._poller.note(queued)  # type: ignore[attr-defined]
        assert (await anext(watch)).state is JobState.CANCELED
        assert grid.job(job.id).state == "CANCELED"
