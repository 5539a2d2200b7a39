"""Jobs that do not exist."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

import aiomig
from aiomig import JobNotFound, Resources, SpecError

if TYPE_CHECKING:
    from .modes import Settings

UNKNOWN = (
    "1_1_1_2020__1_1_1_local.0",
    "999999_11_23_2026__1_1_1_localhost.0",
    "nonsense",
    "../../etc/passwd",
    "*",
    "ALL",
)


@pytest.mark.parametrize("job_id", UNKNOWN)
async def test_an_unknown_id_is_not_found(mig: aiomig.Session, settings: Settings, job_id: str) -> None:
    if settings.mode == "live" and job_id in ("*", "ALL"):
        pytest.skip("a failure would cost the account its jobs")
    job = mig.job(job_id)
    calls = (job.status, job.wait, job.result, job.cancel, job.freeze, job.thaw, job.resubmit, job.stdout)
    for call in calls:
        with pytest.raises(JobNotFound) as caught:
            await call()
        assert caught.value.job_id == job_id
        assert isinstance(caught.value, LookupError)


@pytest.mark.parametrize("job_id", UNKNOWN)
async def test_a_watch_of_an_unknown_id_says_so(mig: aiomig.Session, job_id: str) -> None:
    with pytest.raises(JobNotFound):
        async for _ in mig.watch([job_id]):
            pass


async def test_no_id_stands_for_other_jobs(mig: aiomig.Session, settings: Settings, idle: Resources) -> None:
    job = await mig.submit("sleep 1", resources=idle)
    for pattern in (f"{job.id[:-1]}?", *(("*", "ALL") if settings.mode != "live" else ())):
        assert await mig.statuses([pattern]) == {}
        assert not (await mig.cancel([pattern]))[pattern].changed
    assert (await job.status()).state is not aiomig.JobState.CANCELED


async def test_statuses_leave_unknown_ids_out(mig: aiomig.Session, idle: Resources) -> None:
    job = await mig.submit("true", resources=idle)
    assert list(await mig.statuses([UNKNOWN[0], job, *UNKNOWN[1:]])) == [job.id]


@pytest.mark.parametrize("job_id", ["", " "])
async def test_what_is_no_id_is_refused_at_once(mig: aiomig.Session, job_id: str) -> None:
    with pytest.raises(SpecError):
        mig.job(job_id)
