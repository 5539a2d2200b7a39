"""Finding jobs again."""

from __future__ import annotations

import pytest

import aiomig
from aiomig import Resources, SpecError


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
