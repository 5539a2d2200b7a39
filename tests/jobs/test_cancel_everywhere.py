"""Cancel every public coroutine at each of its checkpoints, once and twice: nothing is lost or left behind.

``AIOMIG_CANCEL_POINTS`` is the number of checkpoints to try for each coroutine, spread evenly over all of them.
"""

from __future__ import annotations

import gc
import os
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio
import anyio.lowlevel
import pytest
import sniffio

import aiomig
from aiomig import JobSpec
from aiomig.testing import FakeGrid, Site
from tests.cancel_points import cancelled_at, task_cancelled_at, waits_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine

    Action = Callable[[], Coroutine[Any, Any, Any]]

POINTS = int(os.environ.get("AIOMIG_CANCEL_POINTS", "3"))
MOST = 200
LONGEST = 30
QUICK = Site(parse_time=0.01)


@dataclass
class World:
    """An open session, and what a test may inspect.

    Attributes:
        mig: the session.
        folder: of this machine, for the test.
        home: the folder behind the home.
        numbers: of names that were used.
        ended: the id of a job that has ended, once there is one.
    """

    mig: aiomig.Session
    folder: Path
    home: Path
    numbers: list[int] = field(default_factory=list)
    ended: str = ""

    def name(self) -> str:
        """A name that was not used before."""
        self.numbers.append(0)
        return f"n{len(self.numbers)}"

    async def unfinished(self) -> set[str]:
        """The ids of the jobs that have not ended."""
        statuses = await self.mig.statuses(await self.mig.jobs(newest=30))
        return {job_id for job_id, status in statuses.items() if not status.state.is_final}

    def private_folders(self) -> set[str]:
        """The folders of jobs and requests in the home."""
        with suppress(FileNotFoundError):
            return {name for name in os.listdir(self.home / "aiomig_jobs") if name != "shared"}
        return set()

    def processes(self) -> list[int]:
        """The processes that work in the home."""
        working: list[int] = []
        for link in Path("/proc").glob("[0-9]*/cwd"):
            with suppress(OSError):
                if str(link.readlink()).startswith(str(self.home)):
                    working.append(int(link.parent.name))
        return working


@asynccontextmanager
async def opened(mode: str, folder: Path) -> AsyncIterator[World]:
    if mode == "local":
        async with aiomig.local(folder / "home", slots=2, on_exit="cancel") as mig:
            yield World(mig, folder, folder / "home")
    else:
        async with FakeGrid(site=QUICK) as grid, grid.session(journal=folder / "journal") as mig:
            yield World(mig, folder, grid.home)


# -- actions: each is prepared anew, and then cancelled


async def submit(world: World) -> Action:
    return lambda: world.mig.submit("sleep 1000")


async def submit_with_inputs(world: World) -> Action:
    return lambda: world.mig.submit("sleep 1000", inputs=[(bytes(300_000), "a"), (b"b", "b")], outputs=["out"])


async def submit_many(world: World) -> Action:
    shared = (world.name().encode(), "shared")
    specs = [JobSpec("sleep 1000", inputs=[shared, (b"%d" % n, "own")]) for n in range(2)]
    return lambda: world.mig.submit_many([*specs, "sleep 1000", "if true; then sleep 1000; fi"])


async def submit_mrsl(world: World) -> Action:
    (world.folder / "job.mRSL").write_text("::EXECUTE::\nsleep 1000\n")
    return lambda: world.mig.submit_mrsl(world.folder / "job.mRSL")


async def resubmit(world: World) -> Action:
    job = await world.mig.submit("sleep 1000", inputs=[(b"a", "a")])
    await job.cancel()
    return job.resubmit


async def scope(world: World) -> Action:
    async def block() -> None:
        async with world.mig.scope() as jobs:
            await jobs.submit("sleep 1000")
            await world.mig.submit_many(["sleep 1000", "true"])
            raise ZeroDivisionError

    return lambda: failing(block, ZeroDivisionError)


async def scope_that_waits(world: World) -> Action:
    async def block() -> None:
        async with world.mig.scope() as jobs:
            await jobs.submit("true")

    return block


async def sweep(world: World) -> Action:
    async def run() -> list[Any]:
        path = world.folder / world.name()
        async with world.mig.sweep(lambda n: f"true {n}", range(4), in_flight=2, journal=path) as jobs:
            return [job.parameter async for job in jobs]

    return run


async def sweep_that_is_left(world: World) -> Action:
    async def run() -> None:
        async with world.mig.sweep(lambda n: f"sleep {n}", [0, 1000, 1000], retries=1) as jobs:
            await anext(jobs)

    return run


async def failing(function: Callable[[], Awaitable[Any]], error: type[Exception]) -> None:
    with suppress(error):
        await function()


def of_job(act: Callable[[World, aiomig.Job], Awaitable[Any]]) -> Callable[[World], Awaitable[Any]]:
    """An action on a job that has ended, with an output."""

    async def prepare(world: World) -> Action:
        if not world.ended:
            job = await world.mig.submit("echo 1 | tee out", outputs=["out"])
            await job.wait()
            world.ended = job.id

        async def run() -> Any:
            return await act(world, world.mig.job(world.ended))

        return run

    return prepare


def of_running(act: Callable[[World, aiomig.Job], Awaitable[Any]]) -> Callable[[World], Awaitable[Any]]:
    """An action on a job that runs, and on one that is frozen."""

    async def prepare(world: World) -> Action:
        job = await world.mig.submit("sleep 0.02; echo 1; sleep 0.02")

        async def run() -> Any:
            return await act(world, job)

        return run

    return prepare


async def freeze_and_thaw(world: World, job: aiomig.Job) -> None:
    with suppress(aiomig.ActionRefused):
        await job.freeze()
        await job.thaw()


async def lines(world: World, job: aiomig.Job) -> list[str]:
    return [line async for line in job.tail()]


async def statuses(world: World, job: aiomig.Job) -> list[Any]:
    return [status async for status in aiomig.watch([job, world.mig.job(job.id)])]


async def completed(world: World, job: aiomig.Job) -> list[Any]:
    return [each async for each in aiomig.as_completed([job])]


async def act_on_all(world: World, job: aiomig.Job) -> None:
    mig = world.mig
    await mig.statuses(await mig.jobs(newest=3))
    await mig.check("if true; then true; fi", runtime_environments=["NONE-1"])
    await mig.site()
    await mig.unconfirmed()
    await mig.find_submitted("nobody")
    await mig.cancel([job])


async def work_with_files(world: World, job: aiomig.Job) -> None:
    files, name = world.mig.files, world.name()
    source = world.folder / "source"
    source.mkdir(exist_ok=True)
    (source / "a").write_bytes(bytes(200_000))
    await files.put(source, f"work/{name}/source")
    await files.get(f"work/{name}/source", world.folder / "got")
    await files.write_text(f"work/{name}/text", "1 2\n")
    await files.write_range(f"work/{name}/text", 2, b"3")
    await files.copy(f"work/{name}/source", f"work/{name}/copy", recursive=True)
    await files.move(f"work/{name}/copy", f"work/{name}/moved")
    await files.pack(f"work/{name}/moved", f"work/{name}/moved.zip")
    await files.unpack(f"work/{name}/moved.zip", f"work/{name}/unpacked")
    await files.checksum(f"work/{name}/text")
    await files.find("*", f"work/{name}")
    await files.touch(f"work/{name}/text")
    await files.truncate(f"work/{name}/text", 1)
    assert await files.read_text(f"work/{name}/text") == "1"
    await files.remove(f"work/{name}", recursive=True)


async def work_with_queues(world: World, job: aiomig.Job) -> None:
    queue = world.mig.queue(world.name())
    await queue.create()
    await queue.send("1")
    await queue.receive()
    await queue.remove()
    await world.mig.queues()


MAKING = [
    submit,
    submit_with_inputs,
    submit_many,
    submit_mrsl,
    resubmit,
    scope,
    scope_that_waits,
    sweep,
    sweep_that_is_left,
]
OTHERS = {
    "result": of_job(lambda world, job: job.result()),
    "stdout": of_job(lambda world, job: job.stdout()),
    "fetch": of_job(lambda world, job: job.fetch(world.folder / "fetched")),
    "clean": of_job(lambda world, job: job.clean(results=True)),
    "wait": of_running(lambda world, job: job.wait()),
    "freeze": of_running(freeze_and_thaw),
    "cancel": of_running(lambda world, job: job.cancel()),
    "tail": of_running(lines),
    "watch": of_running(statuses),
    "as_completed": of_running(completed),
    "aiomig.wait": of_running(lambda world, job: aiomig.wait([job], "any")),
    "session": of_running(act_on_all),
    "files": of_job(work_with_files),
    "queues": of_job(work_with_queues),
}
ACTIONS: dict[str, Callable[[World], Awaitable[Any]]] = {**{each.__name__: each for each in MAKING}, **OTHERS}


# -- the harness


async def cancel_at(number: int, how: str, action: Action) -> tuple[bool, Any]:
    if how == "scope":
        return await cancelled_at(number, action)
    return await task_cancelled_at(number, action, times=2 if how == "twice" else 1)


def points(waits: int, number: int = POINTS) -> list[int]:
    """The checkpoints that are tried: the first, the last, and some between."""
    count = min(waits, MOST)
    return sorted({index * (count - 1) // max(1, number - 1) for index in range(number)}) if count else []


async def settle(world: World) -> None:
    """Wait until nothing is left of the jobs, which were canceled, and both slots are free."""
    with anyio.fail_after(LONGEST):
        jobs = await world.mig.submit_many(["true", "true"])
        await world.mig.wait(jobs)
        await ended(world.processes())


async def ended(processes: list[int]) -> None:
    """Wait until processes have ended."""
    for process in processes:
        with suppress(ProcessLookupError):
            descriptor = os.pidfd_open(process)
            try:
                await anyio.wait_readable(descriptor)
            finally:
                os.close(descriptor)


async def descriptors(at_most: int | None = None) -> int:
    """Return the number of open descriptors, once it is no higher than before."""
    with anyio.move_on_after(LONGEST):
        while True:
            gc.collect()
            count = len(os.listdir("/proc/self/fd"))
            if at_most is None or count <= at_most:
                break
            await anyio.lowlevel.checkpoint()
    return count


HOW = ["scope", "twice"] if POINTS < 10 else ["scope", "task", "twice"]


@pytest.mark.parametrize("how", HOW)
@pytest.mark.parametrize("mode", ["local", "grid"])
async def test_whenever_it_is_cancelled_nothing_stays_behind(mode: str, how: str, tmp_path: Path) -> None:
    if how != "scope" and sniffio.current_async_library() == "trio":
        pytest.skip("trio cancels by scopes alone")
    async with opened(mode, tmp_path) as world:
        for name, prepare in ACTIONS.items():
            waits = await waits_of(await prepare(world))
            await world.mig.cancel(await world.unfinished())
            await settle(world)
            before = await descriptors()
            for number in points(waits):
                where = f"{name} at {number} of {waits}"
                action = await prepare(world)
                known, folders = await world.unfinished(), world.private_folders()
                with anyio.fail_after(LONGEST):
                    _, result = await cancel_at(number, how, action)
                told = {job_id for lost in await world.mig.unconfirmed() for job_id in lost.job_ids}
                if result is None:
                    assert await world.unfinished() - known - told == set(), where
                    assert told or world.private_folders() <= folders, where
                await world.mig.cancel(await world.unfinished())
                world.mig.confirm(*await world.mig.unconfirmed())
            assert await descriptors(before) <= before, name
        await settle(world)


@pytest.mark.parametrize("how", HOW)
@pytest.mark.parametrize("mode", ["local", "grid"])
async def test_a_session_that_is_cancelled_leaves_nothing_open(mode: str, how: str, tmp_path: Path) -> None:
    if how != "scope" and sniffio.current_async_library() == "trio":
        pytest.skip("trio cancels by scopes alone")
    world = World(None, tmp_path, tmp_path / "home")  # type: ignore[arg-type]

    def session_on(grid: FakeGrid) -> aiomig.Session:
        return aiomig.local(tmp_path / "home", slots=2, on_exit="cancel") if mode == "local" else grid.session()

    async def with_block() -> None:
        async with FakeGrid(site=QUICK) as grid, session_on(grid) as mig:
            job = await mig.submit("sleep 0.01")
            await mig.submit("sleep 1000", inputs=[(b"1", "a")])
            await job.wait()
            raise ZeroDivisionError

    async def opened_and_closed() -> None:
        async with FakeGrid(site=QUICK) as grid:
            mig = session_on(grid)
            try:
                await mig.open()
                await mig.submit("sleep 1000")
            finally:
                await mig.aclose()

    for run in (lambda: failing(with_block, ZeroDivisionError), opened_and_closed):
        waits = await waits_of(run)
        before = await descriptors()
        for number in points(waits, max(8, POINTS)):
            with anyio.fail_after(LONGEST):
                await cancel_at(number, how, run)
                await ended(world.processes())
        assert await descriptors(before) <= before
        if mode == "local":
            async with aiomig.local(tmp_path / "home") as mig:
                statuses = await mig.statuses(await mig.jobs(newest=40))
                assert all(status.state.is_final for status in statuses.values())
