"""Finding jobs again."""

from __future__ import annotations

import secrets
from datetime import UTC, datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any

import pytest

import aiomig
from aiomig import JobSpec, JobState, Resources, SpecError

if TYPE_CHECKING:
    from .modes import Settings


@pytest.fixture
async def three(mig: aiomig.Session, idle: Resources) -> list[aiomig.Job]:
    """Three jobs in the order of submission."""
    return [await mig.submit("true", resources=idle) for _ in range(3)]


async def test_jobs_are_listed_newest_first(mig: aiomig.Session, three: list[aiomig.Job]) -> None:
    assert (await mig.jobs())[:3] == three[::-1]


async def test_the_newest_only(mig: aiomig.Session, three: list[aiomig.Job]) -> None:
    assert await mig.jobs(newest=2) == [three[2], three[1]]
    assert (await mig.jobs(newest=1000))[:3] == three[::-1]


async def test_patterns(mig: aiomig.Session, three: list[aiomig.Job]) -> None:
    first = three[0].id
    number, _, rest = first.partition("_")
    assert await mig.jobs(first) == [three[0]]
    assert await mig.jobs(f"{number}_*") == [three[0]]
    assert await mig.jobs(f"{'?' * len(number)}_{rest[:-1]}?") != []
    assert await mig.jobs(f"*{rest[-6:]}", newest=1) == [three[2]]
    assert await mig.jobs("nothing*") == []


@pytest.mark.parametrize("pattern", ["", "[0-9]*", "..", "*/*", "%", "1_1_1_2020__1_1_1_local.0"])
async def test_what_matches_nothing_gives_nothing(mig: aiomig.Session, three: list[aiomig.Job], pattern: str) -> None:
    assert await mig.jobs(pattern) == []


@pytest.mark.parametrize("newest", [0, -1, True, 1.5])
async def test_a_bad_count_is_refused(mig: aiomig.Session, newest: int) -> None:
    with pytest.raises(SpecError, match="newest"):
        await mig.jobs(newest=newest)


async def test_unfinished_and_failed_jobs_are_listed_as_well(mig: aiomig.Session, executing: aiomig.Job) -> None:
    failed = await mig.submit("exit 1", retries=0)
    await failed.wait()
    assert {executing, failed} <= set(await mig.jobs())


# -- by name, labels, state and time


@pytest.fixture
async def named(mig: aiomig.Session, idle: Resources) -> list[aiomig.Job]:
    """Jobs with names and labels, in the order of submission."""
    group = secrets.token_hex(8)
    labels = {"group": group}
    specs = [
        JobSpec("true", name=f"{group}-fit-1", labels={**labels, "owner": "ada"}, resources=idle),
        JobSpec(
            "true", name=f"{group}-fit-2", labels={**labels, "owner": "bob"}, resources=idle, environment={"N": "1"}
        ),
        JobSpec("true", name=f"{group}-merge", labels=labels, resources=idle, project="report"),
        JobSpec("true", resources=idle),
    ]
    return await mig.submit_many(specs)


async def test_names_and_labels_find_jobs(settings: Settings, mig: aiomig.Session, named: list[aiomig.Job]) -> None:
    one, two, merge, _ = named
    assert one.spec is not None
    group = one.spec.labels["group"]
    since = datetime.now(UTC) - timedelta(days=1) if settings.mode == "live" else None
    async with settings.session(on_exit="leave") as other:  # one that may have to ask for the descriptions
        for session in (mig, other, other):

            async def found(session: aiomig.Session = session, **wanted: Any) -> list[str]:
                return [job.id for job in await session.jobs(since=since, **wanted)]

            assert await found(name=f"{group}-fit-?") == [two.id, one.id]
            assert await found(name=f"{group}-*", newest=1) == [merge.id]
            assert await found(labels={"group": group}) == [merge.id, two.id, one.id]
            assert await found(labels={"group": group, "owner": "ada"}) == [one.id]
            assert await found(name=f"{group}-*", labels={"owner": "bob"}) == [two.id]
            assert await found(labels={"group": "nobody's"}) == []
            assert await session.jobs(one.id, name="nothing") == []
        status = await other.job(two.id).status()
        assert (status.name, dict(status.labels)) == (f"{group}-fit-2", {"group": group, "owner": "bob"})


async def test_states_find_jobs(mig: aiomig.Session, executing: aiomig.Job) -> None:
    ended = await mig.submit("true")
    await ended.wait()
    assert executing in await mig.jobs(state="EXECUTING")
    assert ended in await mig.jobs(state=JobState.FINISHED)
    both = await mig.jobs(state=[JobState.EXECUTING, "FINISHED"])
    assert {executing, ended} <= set(both)
    assert await mig.jobs(state="FINISHED", newest=1) == [ended]
    assert await mig.jobs(executing.id, state=iter(["FAILED", "CANCELED"])) == []


async def test_times_find_jobs(mig: aiomig.Session, three: list[aiomig.Job]) -> None:
    received = [(await job.status()).received_at for job in three]
    assert received[0] is not None
    assert received[2] is not None
    assert three[0] in await mig.jobs(since=received[0])
    assert set(three) <= set(await mig.jobs(since=received[0] - timedelta(hours=1)))
    east = timezone(timedelta(hours=9))
    assert await mig.jobs(three[2].id, since=(received[2] + timedelta(hours=1)).astimezone(east)) == []


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("since", datetime(2026, 1, 1)),
        ("since", "yesterday"),
        ("state", "finished"),
        ("state", []),
        ("state", [JobState.FINISHED, 7]),
        ("name", ""),
        ("name", 7),
        ("labels", ["owner"]),
        ("labels", {"owner": 7}),
    ],
)
async def test_what_makes_no_sense_is_refused(mig: aiomig.Session, field: str, value: Any) -> None:
    with pytest.raises(SpecError) as error:
        await mig.jobs(**{field: value})
    assert error.value.faults[0].field == field
