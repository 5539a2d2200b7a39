"""Tidying: what aiomig keeps for jobs that ended some time ago is removed."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

import aiomig
from aiomig import SpecError

if TYPE_CHECKING:
    from .modes import Settings

NOW = timedelta(0)


@pytest.fixture
def mine(settings: Settings) -> None:
    """Skip on a real server: there are jobs of other tests."""
    if settings.mode == "live":
        pytest.skip("it would remove what other tests still need")


@pytest.mark.usefixtures("mine")
async def test_what_has_ended_is_removed(mig: aiomig.Session, executing: aiomig.Job) -> None:
    ended = await mig.submit("cp in out", inputs=[(b"x", "in")], outputs=["out"], name="fit", key="fit")
    await ended.result()
    folder = ended.output("out").path.rpartition("/out/")[0]
    assert await mig.files.exists(folder)
    assert await mig.prune(older_than=timedelta(days=1)) == 0
    assert await mig.files.exists(folder)
    others = {job.id for job in await mig.jobs()} - {ended.id}
    assert await mig.prune(older_than=NOW) >= 1
    assert not await mig.files.exists(folder)
    assert await mig.prune(older_than=NOW) == 0, "nothing is left"
    assert (await ended.status()).name == "fit"
    assert await mig.submit("cp in out", inputs=[(b"x", "in")], outputs=["out"], name="fit", key="fit") == ended
    assert {job.id for job in await mig.jobs()} == {*others, ended.id}
    assert (await executing.status()).state == "EXECUTING"


@pytest.mark.usefixtures("mine")
async def test_records_are_removed_as_well(settings: Settings, mig: aiomig.Session, executing: aiomig.Job) -> None:
    bad = await mig.submit("exit 3", name="bad", retries=0)
    ended = await mig.submit("true", name="fit", key="fit")
    await mig.wait([bad, ended])
    assert await mig.prune(older_than=NOW, records=True) == 2
    assert executing in await mig.jobs()
    if settings.mode == "local":
        assert await mig.jobs() == [executing]
        with pytest.raises(aiomig.JobNotFound):
            await ended.status()
        again = await mig.submit("true", name="fit", key="fit")
        assert again.id not in (bad.id, ended.id)
        assert int(again.id.partition("_")[0]) > int(ended.id.partition("_")[0]), "no number is used twice"
    else:
        assert (await ended.status()).name is None
        assert await mig.submit("true", name="fit", key="fit") == ended, "the server knows the key"
    assert await mig.prune(older_than=timedelta(days=3650), records=True) == 0


@pytest.mark.parametrize("wrong", [timedelta(seconds=-1), timedelta.max, 30, None])
async def test_a_time_that_makes_no_sense_is_refused(mig: aiomig.Session, wrong: Any) -> None:
    with pytest.raises(SpecError) as error:
        await mig.prune(older_than=wrong)
    assert error.value.faults[0].field == "older_than"
