"""Runs the suite on a real server. ``$AIOMIG_LIVE_CONFIG`` names the ``miguser.conf`` of the account.

The suite makes a folder of the home for each test, and the private folders and results of its jobs. It removes all of
them afterwards, and touches nothing else of the account. Other jobs may be there.

A grid may take a minute to start a job. So the first test that needs a declared job (`declared`) submits the jobs of
all tests, and each test runs on one event loop: asyncio and trio alternate.

``$AIOMIG_LIVE_MEMORY`` (megabytes), ``$AIOMIG_LIVE_VGRID`` and ``$AIOMIG_LIVE_BACKEND`` adapt the suite to the site.
"""

from __future__ import annotations

import functools
import os
import posixpath
import re
import secrets
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field, replace
from inspect import iscoroutinefunction, signature
from typing import TYPE_CHECKING, Any, cast

import anyio
import pytest

import aiomig
from aiomig import JobSpec, JobState, Session

from .modes import Settings

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    Backend = Any
    Plan = Any

PRIVATE_FOLDER = "aiomig_jobs"
SHARED_FOLDER = f"{PRIVATE_FOLDER}/shared"
CONFIG = os.environ.get("AIOMIG_LIVE_CONFIG")
LONGEST = 1200.0
"""The longest time of one test, in seconds. Jobs that no resource takes wait for ever."""

_MODEST = {"RETRIES": "0", "CPUTIME": "120", "MEMORY": os.environ.get("AIOMIG_LIVE_MEMORY", "256")}
_OURS = {"MEMORY": "1024"}  # the default of `Resources`
_SWITCHED_OFF = re.compile(
    r"disabled|not enabled|switched off|not (?:supported|available) (?:on|by|at) this", re.IGNORECASE
)


def switched_off(error: aiomig.ServerError | aiomig.SubmitRejected) -> str:
    """Return the words of a server that does not offer something, or nothing for another error."""
    message = str(error)
    return f"the site says: {message}" if _SWITCHED_OFF.search(message) else ""


@contextmanager
def skipping() -> Iterator[None]:
    """Skip a test if the site does not offer an operation. The reason has the server's words."""
    try:
        yield
    except (aiomig.ServerError, aiomig.SubmitRejected) as error:
        if words := switched_off(error):
            pytest.skip(words)
        raise


def declared(item: pytest.Item) -> JobSpec | None:
    """Return the job that a test declares by ``@pytest.mark.job(commands, **fields)``.

    A value may be a function. It is called with the parameters of the test that it names.
    """
    marker = item.get_closest_marker("job")
    if marker is None:
        return None
    parameters: dict[str, Any] = item.callspec.params if hasattr(item, "callspec") else {}

    def value(given: Any) -> Any:
        return given(**{name: parameters[name] for name in signature(given).parameters}) if callable(given) else given

    return JobSpec(value(marker.args[0]), **{name: value(given) for name, given in marker.kwargs.items()})


@dataclass
class Run:
    """One run of the suite on a server.

    Attributes:
        made: the jobs to remove, with their private folders.
        shared: the folders of inputs that several jobs share.
        early: the jobs that were submitted before their tests, by test id.
    """

    token: str = field(default_factory=lambda: secrets.token_hex(4))
    made: dict[str, str | None] = field(default_factory=dict)
    shared: set[str] = field(default_factory=set)
    early: dict[str, str] | None = None

    async def job(self, item: pytest.Item, session: Session) -> aiomig.Job:
        """Return the job that a test declares. The first call submits the jobs of all tests."""
        if self.early is None:
            await self._submit_early(item.session.items, session)
        job_id = (self.early or {}).get(item.nodeid)
        return await session.submit(cast("JobSpec", declared(item))) if job_id is None else session.job(job_id)

    async def _submit_early(self, items: Sequence[pytest.Item], session: Session) -> None:
        with skipping():
            await session.statuses(["0-aiomig-conformance"])
        run = (item for item in items if item.get_closest_marker("combined") is None)
        specs = {item.nodeid: spec for item in run if (spec := declared(item)) is not None}
        try:
            outcomes: Sequence[object] = await session.submit_many(specs.values())
        except aiomig.SubmitErrors as error:
            outcomes = error.outcomes  # a test whose job was refused submits it again, and shows the reason
        jobs = zip(specs, outcomes, strict=True)
        self.early = {name: job.id for name, job in jobs if isinstance(job, aiomig.Job)}

    def take(self, before: Mapping[str, str | None], item: pytest.Item) -> dict[str, str | None]:
        """Return the jobs of one test, which it must remove, and forget them."""
        waiting = {job_id for name, job_id in (self.early or {}).items() if name != item.nodeid}
        own = {job_id: folder for job_id, folder in self.made.items() if job_id not in before and job_id not in waiting}
        if (early := (self.early or {}).pop(item.nodeid, None)) is not None:
            own[early] = self.made[early]
        for job_id in own:
            del self.made[job_id]
        return own


async def remove(jobs: Mapping[str, str | None], *paths: str) -> None:
    """Cancel jobs that have not ended, and remove what they and the test left in the home."""
    async with aiomig.grid(CONFIG) as session:
        if jobs:
            try:
                await session.cancel(list(jobs))
            except aiomig.ServerError as error:
                if not switched_off(error):
                    raise
        folders = [folder for folder in jobs.values() if folder is not None]
        for path in (*paths, *folders, *(f"job_output/{job_id}" for job_id in jobs)):
            await session.files.remove(path, recursive=True, missing_ok=True)


async def tidy(run: Run) -> None:
    """Remove what is left at the end of a run: files of interrupted tests, and shared inputs."""
    await remove(run.made, *run.shared)
    async with aiomig.grid(CONFIG) as session:
        for folder in (SHARED_FOLDER, PRIVATE_FOLDER):
            with suppress(aiomig.FileExists, aiomig.FileNotFound):
                await session.files.rmdir(folder)  # another program may use the folder too


class Careful:
    """A `Backend` that asks for few resources, records its jobs, and skips tests of what a site does not offer."""

    def __init__(self, backend: Backend, run: Run) -> None:
        self._backend: Any = backend
        self._run = run

    def __getattr__(self, name: str) -> Any:
        return getattr(self._backend, name)

    async def submit(self, plan: Plan) -> str:
        with skipping():
            job_id: str = await self._backend.submit(_modest(plan))
        self._run.made[job_id] = plan.folder
        return job_id

    async def submit_many(
        self, plans: Sequence[Plan], report: Callable[[int], object]
    ) -> Sequence[str | aiomig.MigError]:
        modest = [_modest(plan) for plan in plans]
        outcomes: Sequence[str | aiomig.MigError] = await self._backend.submit_many(modest, report)
        for source in (transfer.source for plan in plans for transfer in plan.description.transfers("INPUTFILES")):
            if source.startswith(f"{SHARED_FOLDER}/"):
                self._run.shared.add(posixpath.dirname(source))
        made = zip(outcomes, plans, strict=True)
        self._run.made.update({job_id: plan.folder for job_id, plan in made if isinstance(job_id, str)})
        return outcomes

    async def results(self, status: aiomig.JobStatus) -> Mapping[str, bytes]:
        files: Mapping[str, bytes] = await self._backend.results(status)
        if status.state is JobState.FINISHED and files.get("status") == b"":
            pytest.skip("the site loses results: they arrive empty (docs/protocol.md#python-3-servers)")
        return files


def _modest(plan: Plan) -> Plan:
    keywords = dict(plan.description.keywords)
    for keyword, line in _MODEST.items():
        if keywords.get(keyword, (_OURS.get(keyword),)) == (_OURS.get(keyword),):
            keywords[keyword] = (line,)
    if "VGRID" not in keywords and (vgrid := os.environ.get("AIOMIG_LIVE_VGRID")):
        keywords["VGRID"] = (vgrid,)
    return replace(plan, description=replace(plan.description, keywords=keywords))


@dataclass(frozen=True, kw_only=True)
class LiveSettings(Settings):
    """A real server."""

    run: Run

    def shared(self, url: str) -> aiomig.SharedFolder:
        return aiomig.SharedFolder(url, ca=aiomig.Config.load(CONFIG).ca)

    def session(self, **fields: Any) -> Session:
        return Session(cast("Backend", Careful(aiomig.grid(CONFIG)._backend, self.run)))


@asynccontextmanager
async def live(run: Run, item: pytest.Item, folder: Path) -> AsyncIterator[LiveSettings]:
    """Provide the settings of one test, and remove its files and jobs at the end."""
    top = f"aiomig-conformance-{run.token}-{secrets.token_hex(4)}"
    before = dict(run.made)
    try:
        yield LiveSettings(folder, "live", top, here=False, run=run)
    finally:
        await remove(run.take(before, item), top)


def prepare(items: list[pytest.Item]) -> None:
    """Give each test one event loop and a time limit, and skip tests with the marker ``combined``."""
    only = os.environ.get("AIOMIG_LIVE_BACKEND")
    turns: dict[str, int] = {}
    kept: list[pytest.Item] = []
    for item in items:
        backend = item.callspec.params.get("anyio_backend") if hasattr(item, "callspec") else None
        name = item.nodeid.replace(f"[{backend}-", "[").replace(f"[{backend}]", "")
        turn = turns.setdefault(name, len(turns))
        if backend in (None, only or ("asyncio", "trio")[turn % 2]):
            kept.append(item)
            _limit(item)
        if (stands := item.get_closest_marker("combined")) is not None:
            item.add_marker(pytest.mark.skip(f"{stands.args[0]} covers it on a real server"))
    items[:] = kept


def _limit(item: pytest.Item) -> None:
    if isinstance(item, pytest.Function) and iscoroutinefunction(item.obj):
        item.obj = _limited(item.obj)


def _limited(function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    async def limited(**fixtures: Any) -> None:
        with skipping(), anyio.fail_after(LONGEST):
            await function(**fixtures)

    return limited
