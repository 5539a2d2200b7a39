"""Submits under a key: one job for each key, however often and from wherever it is submitted."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING

import anyio
import pytest

import aiomig
from aiomig import JobSpec, Resources, SpecError, SubmitErrors

if TYPE_CHECKING:
    from .modes import Settings


@pytest.fixture
def key() -> str:
    return f"report {secrets.token_hex(8)}"


async def test_the_same_key_is_the_same_job(mig: aiomig.Session, idle: Resources, key: str) -> None:
    fields = JobSpec("cat in.txt", inputs=[(b"x", "in.txt")], name="once", key=key, resources=idle)
    first = await mig.submit(fields)
    folders = await mig.files.ls("aiomig_jobs")
    again = await mig.submit(fields)
    assert again == first
    assert again.spec == fields
    assert await mig.submit_many([fields, fields]) == [first, first]
    assert [job.id for job in await mig.jobs(first.id, name="once")] == [first.id]
    assert await mig.files.ls("aiomig_jobs") == folders, "inputs that no job needs are not left behind"
    other = await mig.submit("cat in.txt", name="once", key=f"{key}2", inputs=[(b"x", "in.txt")], resources=idle)
    assert other != first
    await mig.cancel([first, other])


async def test_another_description_is_refused(mig: aiomig.Session, idle: Resources, key: str) -> None:
    spec = JobSpec("cat x", inputs=[(b"1", "x")], environment={"A": "1"}, key=key, resources=idle)
    job = await mig.submit(spec)
    newest = await mig.jobs(newest=1)
    for fields, words in (
        ({"commands": "cat x x", "environment": {"A": "1"}}, "differs in: commands"),
        ({"commands": "cat x", "environment": {"A": "2"}}, "differs in: environment or labels"),
        ({"commands": "cat x", "environment": {"A": "1"}, "retries": 2}, "differs in: retries"),
        ({"commands": "cat x", "environment": {"A": "1"}, "inputs": [(b"2", "x")]}, "differs in: content of x"),
    ):
        other = JobSpec(**{"inputs": [(b"1", "x")], "key": key, "resources": idle, **fields})  # type: ignore[arg-type]
        with pytest.raises(SpecError, match=words) as error:
            await mig.submit(other)
        assert (error.value.faults[0].field, error.value.faults[0].value) == ("key", key)
        assert job.id in str(error.value)
        with pytest.raises(SubmitErrors):
            await mig.submit_many([JobSpec("true", resources=idle), other])
    assert await mig.jobs(newest=1) == newest
    await job.cancel()


async def test_many_keys_at_once(mig: aiomig.Session, idle: Resources, key: str) -> None:
    specs = [JobSpec(f"echo {n % 3}", key=f"{key} {n % 3}" if n % 4 else None, resources=idle) for n in range(12)]
    jobs = await mig.submit_many(specs)
    assert [job.spec for job in jobs] == specs
    by_key: dict[str | None, set[str]] = {}
    for job, spec in zip(jobs, specs, strict=True):
        by_key.setdefault(spec.key, set()).add(job.id)
    assert len(by_key.pop(None)) == 3
    assert [len(ids) for ids in by_key.values()] == [1, 1, 1]
    assert await mig.submit_many([spec for spec in specs if spec.key]) == [
        job for job, spec in zip(jobs, specs, strict=True) if spec.key
    ]
    await mig.cancel(jobs)


async def test_sessions_at_once_make_one_job(
    settings: Settings, mig: aiomig.Session, idle: Resources, key: str
) -> None:
    found: list[str] = []

    async def submit(session: aiomig.Session, number: int) -> None:
        specs = [JobSpec(f"echo {n}", key=f"{key} {n}", resources=idle) for n in range(2)]
        if number % 2:
            found.extend(job.id for job in await session.submit_many(reversed(specs)))
        else:
            found.extend([(await session.submit(spec)).id for spec in specs])

    shares_records = settings.mode != "fake"
    async with settings.session(on_exit="leave") as other, anyio.create_task_group() as group:
        for number in range(6):
            group.start_soon(submit, other if shares_records and number % 3 else mig, number)
    assert len(set(found)) == 2
    await mig.cancel(found)


async def test_another_session_finds_the_job(
    settings: Settings, mig: aiomig.Session, idle: Resources, key: str
) -> None:
    first = await mig.submit("echo x", key=key, name="fit", resources=idle)
    mine = await mig.submit("echo x", key=f"{key}2", project="mine", resources=idle)
    async with settings.session(on_exit="leave") as other:
        assert (await other.submit("echo x", key=key, name="fit", resources=idle)).id == first.id
        assert (await other.submit("echo x", key=f"{key}2", project="mine", resources=idle)).id == mine.id
        with pytest.raises(SpecError, match="differs in: commands"):
            await other.submit("echo y", key=key, name="fit", resources=idle)
        with pytest.raises(SpecError, match="differs in: name"):
            await other.submit("echo x", key=key, resources=idle)
    await mig.cancel([first, mine])


async def test_a_refused_job_leaves_the_key_free(mig: aiomig.Session, idle: Resources, key: str) -> None:
    with pytest.raises(aiomig.SubmitRejected):
        await mig.submit("echo x", key=key, vgrids=["NoSuchVgrid"])
    job = await mig.submit("echo y", key=key, resources=idle)
    await job.cancel()


@pytest.mark.parametrize("wrong", ["", " ", "a\nb", "x" * 201, 7])
async def test_a_bad_key_is_refused(mig: aiomig.Session, wrong: str) -> None:
    with pytest.raises(SpecError) as error:
        await mig.submit("true", key=wrong)
    assert error.value.faults[0].field == "key"
