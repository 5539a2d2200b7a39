"""Names and exit codes in statuses."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from aiomig import JobState

if TYPE_CHECKING:
    import aiomig

    from .modes import Settings


@pytest.mark.job("false", name="fit-7")
async def test_a_job_whose_command_failed(mig: aiomig.Session, job: aiomig.Job) -> None:
    result = await job.result(check=False)
    assert (result.status.name, result.status.exit_code) == ("fit-7", 1)
    status = await job.status()
    assert (status.state, status.name, status.exit_code) == (JobState.FINISHED, "fit-7", 1)
    assert (await mig.statuses(job))[job.id] == status
    assert [status async for status in mig.watch(job)] == [status]


@pytest.mark.job("true")
async def test_a_job_that_ended_well_and_has_no_name(job: aiomig.Job) -> None:
    await job.result()
    status = await job.status()
    assert (status.name, status.exit_code) == (None, 0)


async def test_a_job_without_an_end_of_its_own_has_no_exit_code(mig: aiomig.Session, executing: aiomig.Job) -> None:
    assert (await executing.status()).exit_code is None
    await executing.cancel()
    assert (await executing.wait()).exit_code is None


@pytest.mark.job("exit 0", name="quiet")
async def test_another_session_knows_the_name(settings: Settings, mig: aiomig.Session, job: aiomig.Job) -> None:
    await job.wait()
    async with settings.session() as other:
        status = await other.job(job.id).status()
    keeps_files = settings.mode != "fake"
    assert status.name == ("quiet" if keeps_files else None)


@pytest.mark.job('echo "$AIOMIG_LABELS"', labels={"owner": "ada", "note": "ä b, c:d ~ %"}, environment={"SEED": "7"})
async def test_labels(mig: aiomig.Session, job: aiomig.Job) -> None:
    labels = {"owner": "ada", "note": "ä b, c:d ~ %"}
    assert job.spec is None or job.spec.labels == labels
    result = await job.result()
    assert result.status.labels == labels
    assert (await job.status()).labels == labels
    assert result.stdout.strip() == "note:%C3%A4%20b%2C%20c%3Ad%20%7E%20%25,owner:ada"
