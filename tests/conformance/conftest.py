"""The sessions of the conformance suite: the same behaviour in every mode, on asyncio and on trio.

The modes are local mode, and a `FakeGrid` in memory and over TLS. If ``$AIOMIG_LIVE_CONFIG`` names a configuration, the
only mode is that real server: see `live`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import anyio
import pytest

from aiomig import JobSpec, JobState, Resources
from aiomig.testing import Authority

from .gates import Gate, until
from .live import CONFIG, LiveSettings, Run, declared, live, prepare, tidy
from .modes import Settings, fake

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
    from pathlib import Path

    import aiomig

MODES = ("live",) if CONFIG else ("local", "fake", "fake-tls")

_ON_EXIT = "on_exit: a grid leaves its jobs running when a program ends"
_SWITCH = "the choice of a mode without a configuration of a grid"
LOCAL_ONLY = {
    "test_leaving_by_an_exception_cancels": _ON_EXIT,
    "test_leaving_by_cancellation_cancels": _ON_EXIT,
    "test_cancellation_while_leaving_cancels": _ON_EXIT,
    "test_leaving_normally_waits": _ON_EXIT,
    "test_leaving_normally_does_not_wait_for_frozen_jobs": _ON_EXIT,
    "test_leaving_may_cancel": _ON_EXIT,
    "test_settings_out_of_range_are_refused": "the settings are those of local mode",
    "test_connect_chooses_local_mode": _SWITCH,
    "test_connect_follows_the_environment": _SWITCH,
    "test_local_mode_keeps_what_a_failed_attempt_wrote": "a grid throws it away",
    "test_too_much_wall_time_ends_an_attempt": "wall_time_grace: a grid looks once a minute, and gives 90 s more",
    "test_a_job_that_waits_too_long_expires": "expire_after: a grid's is a year",
}
"""The tests that no grid can pass, with the reason."""

SLEEP = 30
"""Seconds that a job executes on a real server, in place of waiting at a gate."""

_FOR_EVER = Resources(nodes=100_000)
"""More than any resource has: a job that asks for it stays in the queue."""


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "job(commands, **fields): the job that the `job` fixture submits")
    config.addinivalue_line(
        "markers", "combined(name): skip this test on a real server, because another test covers it"
    )


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if CONFIG:
        prepare(items)


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """Provide the authority that signs the certificates of the fake grid and its user."""
    return Authority(tmp_path_factory.mktemp("certificates"))


@pytest.fixture(scope="session")
def run() -> Iterator[Run]:
    """Provide the records of this run on a real server. At the end, remove what its tests left."""
    run = Run()
    yield run
    if CONFIG:
        anyio.run(tidy, run)


@pytest.fixture(params=MODES)
async def settings(
    request: pytest.FixtureRequest, tmp_path: Path, anyio_backend: str, authority: Authority, run: Run
) -> AsyncIterator[Settings]:
    mode: str = request.param
    if mode == "local":
        yield Settings(tmp_path)
        return
    opened = live(run, request.node, tmp_path) if mode == "live" else fake(mode, tmp_path, authority)
    async with opened as settings:
        yield settings


@pytest.fixture
def local_settings(request: pytest.FixtureRequest, settings: Settings) -> Settings:
    """Provide the settings for tests of local mode only."""
    reason = LOCAL_ONLY[request.node.originalname]
    if settings.mode != "local":
        pytest.skip(f"local mode only: {reason}")
    return settings


@pytest.fixture
def grid_settings(settings: Settings) -> Settings:
    """Provide the settings for tests of a grid only."""
    if settings.mode == "local":
        pytest.skip("a grid only")
    return settings


@pytest.fixture
def top(settings: Settings) -> str:
    """Return this test's own folder of the home."""
    return settings.top


@pytest.fixture
async def mig(settings: Settings) -> AsyncIterator[aiomig.Session]:
    """Provide an open session."""
    async with settings.session() as session:
        yield session


@pytest.fixture
async def job(request: pytest.FixtureRequest, settings: Settings, mig: aiomig.Session) -> aiomig.Job:
    """Submit the job that the test declares by ``@pytest.mark.job``. It may have ended already."""
    if isinstance(settings, LiveSettings):
        return await settings.run.job(request.node, mig)
    return await mig.submit(cast("JobSpec", declared(request.node)))


@pytest.fixture
async def no_new_job(mig: aiomig.Session) -> AsyncIterator[None]:
    """Check that the test makes no job."""
    before = await mig.jobs(newest=1)
    yield
    assert await mig.jobs(newest=1) == before


@pytest.fixture
def gate(settings: Settings) -> Iterator[Gate]:
    """Provide a gate at which jobs wait for the test."""
    if not settings.here:
        pytest.skip("a job on another machine cannot wait for the test")
    gate = Gate(settings.folder / "gate")
    yield gate
    gate.close()


@pytest.fixture
def holding(request: pytest.FixtureRequest, settings: Settings) -> str:
    """Return a command that runs until the gate is opened, or for `SLEEP` seconds."""
    if not settings.here:
        return f"sleep {SLEEP}"
    gate: Gate = request.getfixturevalue("gate")
    return gate.command


@pytest.fixture
async def executing(mig: aiomig.Session, holding: str) -> aiomig.Job:
    """Submit a job with the command `holding`, and wait until it is EXECUTING."""
    job = await mig.submit(holding)
    await until(job, JobState.EXECUTING)
    return job


@pytest.fixture
def idle(settings: Settings) -> Resources:
    """Return resources for jobs that need not run. On a real server, they do not run."""
    return Resources() if settings.here else _FOR_EVER


@pytest.fixture
def waiting(mig: aiomig.Session, settings: Settings, holding: str) -> Callable[[str], Awaitable[aiomig.Job]]:
    """Return a function that submits a job behind others, QUEUED until the gate has opened once for each slot."""

    async def submit(command: str) -> aiomig.Job:
        if not settings.here:
            job = await mig.submit(command, resources=_FOR_EVER)
        else:
            for _ in range(settings.slots):
                await mig.submit(holding)
            job = await mig.submit(command)
        await until(job, JobState.QUEUED)
        return job

    return submit
