"""Random programs of file and job operations give the same results and errors in local mode and on a `FakeGrid`.

``AIOMIG_PROGRAMS`` is the number of programs, of all tests of this module together.
"""

from __future__ import annotations

import os
import re
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from itertools import count
from typing import TYPE_CHECKING, Any

import anyio
import anyio.from_thread
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import aiomig
from aiomig import FileInfo, JobState
from aiomig.testing import FakeGrid, Site
from tests.conformance.gates import LONGEST, Gate

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
    from pathlib import Path

PROGRAMS = int(os.environ.get("AIOMIG_PROGRAMS", "300"))
SITE = Site(parse_time=0.0, retries=0)

Step = tuple[Any, ...]
Log = list[Any]


@dataclass
class World:
    """A session in one mode. A job that waits at a gate occupies its only slot.

    Attributes:
        mig: the session.
        folder: of this machine, for what this mode gets.
        gate: what the job in the slot waits at.
        jobs: of the present program.
    """

    mig: aiomig.Session
    folder: Path
    gate: Gate
    jobs: list[aiomig.Job] = field(default_factory=list)
    keeper: aiomig.Job | None = None

    async def keep_slot(self) -> None:
        """Submit a job that runs until the gate opens, and wait until it does run."""
        self.keeper = await self.mig.submit(self.gate.command)
        with anyio.fail_after(LONGEST):
            async for status in self.keeper:
                if status.state is JobState.EXECUTING:
                    break

    async def release(self) -> None:
        """Let all jobs that are not frozen run, and occupy the slot again."""
        assert self.keeper is not None
        self.gate.open()
        statuses = await self.mig.statuses(self.jobs)
        waiting = [job for job in self.jobs if statuses[job.id].state is not JobState.FROZEN]
        with anyio.fail_after(LONGEST):
            await self.mig.wait([self.keeper, *waiting])
        await self.keep_slot()


# -- what is compared


def plain(value: Any) -> Any:
    """A result without what must differ: ids, times, folders, and messages of a server."""
    match value:
        case aiomig.Job():
            return "a job"
        case FileInfo():
            has_size = not value.is_dir and "p." not in value.name  # different programs create archives
            return value.path.partition("/")[2], value.is_dir, value.size if has_size else None
        case aiomig.Outcome():
            return "outcome", value.before, value.after, value.changed
        case aiomig.JobStatus():
            times = ("queued_at", "executing_at", "finished_at", "failed_at", "canceled_at")
            reasons = [attempt.reason for attempt in value.attempts]
            return "status", value.state, [name for name in times if getattr(value, name)], reasons
        case aiomig.JobResult():
            codes = [(command.command, command.exit_code) for command in value.commands]
            return plain(value.status), value.stdout, plain(value.stderr), value.exit_code, value.ok, codes
        case str():
            return re.sub(r"\./\S+\.job: line", "SCRIPT: line", value)  # the name by which bash calls itself
        case list() | tuple():
            return [plain(each) for each in value]
        case dict():
            return {name: plain(each) for name, each in value.items()}
    return value


async def answer(call: Callable[[], Awaitable[Any]]) -> Any:
    try:
        return plain(await call())
    except (aiomig.MigError, ValueError, OSError) as error:
        return type(error).__name__


# -- programs of file operations

NAMES = st.sampled_from(["a", "b", "d", "d/a", "d/e", "d/e/b", "none/c", ".h", "d/.h"])
TEXTS = st.sampled_from(["", "1", "one\ntwo\n", "two\n\nthree", "x" * 3000])
FILE_STEPS = st.one_of(
    st.tuples(st.just("write_text"), NAMES, TEXTS),
    st.tuples(st.just("write_text"), NAMES, TEXTS),
    st.tuples(st.just("mkdir"), NAMES, st.fixed_dictionaries({"parents": st.booleans(), "exist_ok": st.booleans()})),
    st.tuples(st.just("copy"), NAMES, NAMES, st.fixed_dictionaries({"recursive": st.booleans()})),
    st.tuples(st.just("move"), NAMES, NAMES),
    st.tuples(
        st.just("remove"), NAMES, st.fixed_dictionaries({"recursive": st.booleans(), "missing_ok": st.booleans()})
    ),
    st.tuples(st.just("write_range"), NAMES, st.integers(0, 5), st.sampled_from([b"", b"XY"])),
    st.tuples(st.just("truncate"), NAMES, st.integers(0, 10)),
    st.tuples(st.just("read_range"), NAMES, st.integers(0, 9), st.one_of(st.none(), st.integers(0, 12))),
    st.tuples(st.sampled_from(["head", "tail"]), NAMES, st.integers(1, 3)),
    st.tuples(st.just("grep"), st.sampled_from(["t", "^$", "("]), NAMES),
    st.tuples(st.just("cat"), NAMES, NAMES),
    st.tuples(st.just("find"), st.sampled_from(["*", "?", "none"]), NAMES),
    st.tuples(st.just("ls"), NAMES, st.fixed_dictionaries({"recursive": st.booleans(), "hidden": st.booleans()})),
    st.tuples(st.just("pack"), NAMES, st.sampled_from(["p.zip", "p.tar.gz"])),
    st.tuples(st.just("unpack"), st.sampled_from(["p.zip", "p.tar.gz", "a"]), NAMES),
    st.tuples(
        st.sampled_from(
            ["rmdir", "touch", "read_text", "stat", "exists", "word_count", "disk_usage", "checksum", "read_bytes"]
        ),
        NAMES,
    ),
)
PATHS = {"grep": (1,), "find": (1,), "copy": (0, 1), "move": (0, 1), "cat": (0, 1), "pack": (0, 1), "unpack": (0, 1)}


async def run_files(world: World, folder: str, program: list[Step]) -> Log:
    """Run a program in a folder of the home with some files."""
    for name, text in (("a", "one\ntwo"), ("d/a", "three\n"), ("d/e/b", "")):
        await world.mig.files.write_text(f"{folder}/{name}", text)
    log: Log = []
    for name, *arguments in program:
        options = arguments.pop() if isinstance(arguments[-1], dict) else {}
        for place in PATHS.get(name, (0,)):
            arguments[place] = f"{folder}/{arguments[place]}"
        log.append(await answer(lambda: getattr(world.mig.files, name)(*arguments, **options)))  # noqa: B023
    log.append(await answer(lambda: world.mig.files.ls(folder, recursive=True, hidden=True)))
    return log


# -- programs of job operations

INDEX = st.integers(0, 4)
JOBS = st.sampled_from(
    [
        {"commands": "echo out; echo err >&2"},
        {"commands": ["true", "(exit 3)", "echo $N"], "environment": {"N": "a b"}},
        {"commands": "cat in > out", "inputs": [(b"input\n", "in")], "outputs": ["out"]},
        {"commands": "echo 1 > 'a b'", "outputs": [("a b", "kept/a b")]},
        {"commands": "true", "outputs": ["never made"]},
        {"commands": "no-such-command"},
        {"commands": "./run", "executables": [(b"#!/bin/sh\necho ran", "run")]},
        {"commands": "true", "name": "named", "project": "p"},
        {"commands": "if"},
        {"commands": "true", "vgrids": ["Nowhere"]},
        {"commands": "true", "runtime_environments": ["NONE-1"]},
    ]
)
JOB_STEPS = st.one_of(
    st.tuples(st.just("submit"), JOBS),
    st.tuples(st.just("submit"), JOBS),
    st.tuples(st.just("submit_many"), st.lists(JOBS, max_size=3)),
    st.tuples(st.sampled_from(["cancel", "freeze", "thaw", "resubmit", "status", "first", "plan"]), INDEX),
    st.tuples(st.sampled_from(["cancel", "freeze", "thaw", "resubmit", "status"]), INDEX),
    st.tuples(st.sampled_from(["result", "unchecked", "stdout", "stderr", "wait", "fetch", "lines", "clean"]), INDEX),
    st.tuples(st.sampled_from(["release", "statuses", "cancel_all", "unknown", "found"])),
    st.tuples(st.sampled_from(["release", "release_and_take"])),
)
AT_THE_END = {"result", "unchecked", "stdout", "stderr", "wait", "fetch", "lines"}


async def submit(world: World, fields: dict[str, Any]) -> Any:
    return await enter(world, [await world.mig.submit(aiomig.JobSpec(**fields))])


async def enter(world: World, jobs: list[aiomig.Job]) -> list[aiomig.Job]:
    """Wait until jobs are in the queue."""
    for job in jobs:
        with anyio.fail_after(LONGEST):
            async for status in job:
                if status.state is not JobState.PARSE:
                    break
    world.jobs += jobs
    return jobs


async def take(items: AsyncIterator[Any], most: int) -> list[Any]:
    taken = []
    async for item in items:
        taken.append(item)
        if len(taken) == most:
            break
    return taken


async def do_job_step(world: World, name: str, arguments: list[Any]) -> Any:
    mig, jobs = world.mig, world.jobs
    match name, arguments:
        case "submit", [fields]:
            return await submit(world, fields)
        case "submit_many", [several]:
            specs = [aiomig.JobSpec(**fields) for fields in several]
            return await enter(world, await mig.submit_many(specs))
        case "release", _:
            await world.release()
        case "statuses", _:
            return list((await mig.statuses(jobs)).values())
        case "cancel_all", _:
            return list((await mig.cancel(jobs)).values())
        case "unknown", _:
            job = mig.job("0_0")
            return [await answer(call) for call in (job.status, job.cancel, job.freeze, job.resubmit, job.wait)]
        case "found", _:
            return [jobs.index(job) for job in await mig.jobs(newest=len(jobs) + 1) if job in jobs]
        case "release_and_take", _:
            await world.release()
            return await take_output(world)
        case _, [index] if jobs:
            return await do_on_job(world, name, jobs[index % len(jobs)])
    return None


async def take_output(world: World) -> Any:
    """Submit a job that has an output of an ended one as its input."""
    for job in world.jobs:
        names = [output.name for output in job.spec.outputs] if job.spec else []
        if names == ["out"] and (await job.status()).state is JobState.FINISHED:
            return await enter(world, [await world.mig.submit("cat out", inputs=[job.output("out")])])
    return None


async def do_on_job(world: World, name: str, job: aiomig.Job) -> Any:
    if name in AT_THE_END and not (await job.status()).state.is_final:
        return "not yet"
    handle = world.mig.job(job.id)  # knows only the id; a grid does not report the destinations of outputs
    match name:
        case "resubmit":
            return await enter(world, [await job.resubmit()])
        case "first":
            return await take(aiter(job), 1)
        case "plan":
            return [(output.name, output.destination) for output in (await job.plan()).outputs]
        case "unchecked":
            return await handle.result(check=False)
        case "fetch":
            folder = world.folder / "fetched" / job.id
            paths = await job.fetch(folder)
            return [(str(path.relative_to(folder)), path.read_bytes()) for path in paths]
        case "lines":
            return await take(aiter(job.tail()), 3)
    return await getattr(handle, name)()


async def run_jobs(world: World, folder: str, program: list[Step]) -> Log:
    world.jobs = []
    log = [await answer(lambda: do_job_step(world, name, arguments)) for name, *arguments in program]  # noqa: B023
    await world.release()
    log.append(await answer(lambda: do_job_step(world, "statuses", [])))
    for job in world.jobs:
        log += [await answer(lambda: do_on_job(world, name, job)) for name in ("result", "unchecked", "fetch")]  # noqa: B023
    await world.mig.cancel(world.jobs)
    return log


# -- both modes


@pytest.fixture(params=["asyncio", "trio"])
def both(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Callable[..., tuple[Log, Log]]]:
    """A function that runs a program in both modes, in sessions that stay open for all programs of a test."""
    numbers = count()

    class Stack(AsyncExitStack):
        async def __aenter__(self) -> Any:
            await super().__aenter__()
            grid = await self.enter_async_context(FakeGrid(site=SITE, slots=1))
            sessions = {"local": aiomig.local(tmp_path / "home", slots=1, on_exit="cancel"), "grid": grid.session()}
            self.worlds = []
            for mode, session in sessions.items():
                (tmp_path / mode).mkdir()
                gate = Gate(tmp_path / mode / "gate")
                self.callback(gate.close)
                world = World(await self.enter_async_context(session), tmp_path / mode, gate)
                self.worlds.append(world)
                self.push_async_callback(self.leave, world)
                await world.keep_slot()
            return self

        async def leave(self, world: World) -> None:
            world.gate.open()
            await world.mig.cancel(await world.mig.jobs(newest=5))

        async def run(self, runner: Any, program: list[Step]) -> tuple[Log, Log]:
            folder = f"p{next(numbers)}"
            logs = [await runner(world, folder, program) for world in self.worlds]
            return logs[0], logs[1]

    with (
        anyio.from_thread.start_blocking_portal(request.param) as portal,
        portal.wrap_async_context_manager(Stack()) as stack,
    ):
        yield lambda runner, program: portal.call(stack.run, runner, program)


SETTINGS = settings(
    max_examples=PROGRAMS // 4,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)


@SETTINGS
@given(program=st.lists(FILE_STEPS, min_size=2, max_size=12))
def test_files(both: Callable[..., tuple[Log, Log]], program: list[Step]) -> None:
    local, grid = both(run_files, program)
    assert local == grid


@SETTINGS
@given(program=st.lists(JOB_STEPS, min_size=2, max_size=8))
def test_jobs(both: Callable[..., tuple[Log, Log]], program: list[Step]) -> None:
    local, grid = both(run_jobs, program)
    assert local == grid
