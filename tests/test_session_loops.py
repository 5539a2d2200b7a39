"""A session and its jobs, files and queues belong to the event loop that opened the session."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import anyio
import pytest

import aiomig
from aiomig.testing import FakeGrid

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path


def test_a_session_of_another_event_loop_is_refused(tmp_path: Path) -> None:
    session = aiomig.local(tmp_path / "home")
    loop = asyncio.new_event_loop()
    try:
        loop.run_until_complete(session.open())

        async def elsewhere() -> None:
            with pytest.raises(aiomig.NoSession, match="in another event loop"):
                await session.submit("true")

        asyncio.run(elsewhere())
        job = loop.run_until_complete(session.submit("echo here"))
        assert loop.run_until_complete(job.result()).stdout == "here\n"
        loop.run_until_complete(session.aclose())
    finally:
        loop.close()


@asynccontextmanager
async def opened(mode: str, folder: Path) -> AsyncIterator[aiomig.Session]:
    """A session on this machine or on a `FakeGrid`."""
    if mode == "local":
        async with aiomig.local(folder / "home") as mig:
            yield mig
    else:
        async with FakeGrid() as grid, grid.session() as mig:
            yield mig


async def read(stream: Any) -> list[Any]:
    return [each async for each in stream]


@pytest.mark.parametrize("other", ["asyncio", "trio"])
@pytest.mark.parametrize("mode", ["local", "grid"])
async def test_nothing_works_in_another_event_loop_and_the_session_is_unharmed(
    mode: str, other: str, tmp_path: Path
) -> None:
    async with opened(mode, tmp_path) as mig:
        job, queue = await mig.submit("echo here", outputs=["out"]), mig.queue("numbers")
        ended = await mig.submit("true")
        await ended.wait()
        half_read = aiomig.watch(job)
        await anext(half_read)
        attempts: dict[str, Callable[[], Any]] = {
            "status": job.status,
            "wait": job.wait,
            "result": job.result,
            "result of an ended job": ended.result,
            "await": lambda: read_awaitable(job),
            "cancel": job.cancel,
            "freeze": job.freeze,
            "resubmit": job.resubmit,
            "stdout": job.stdout,
            "fetch": lambda: job.fetch(tmp_path / "got"),
            "clean": job.clean,
            "plan": mig.job(ended.id).plan,
            "watch": lambda: read(job),
            "a watch that goes on": lambda: anext(half_read),
            "aiomig.watch": lambda: read(aiomig.watch([job])),
            "tail": lambda: read(job.tail()),
            "as_completed": lambda: read(aiomig.as_completed([job])),
            "aiomig.wait": lambda: aiomig.wait([job]),
            "aiomig.cancel": lambda: aiomig.cancel([job]),
            "statuses": lambda: aiomig.statuses([job]),
            "session": lambda: mig.submit("true"),
            "jobs": mig.jobs,
            "put": lambda: mig.files.write_bytes("a", b"x"),
            "ls": mig.files.ls,
            "exists": lambda: mig.files.exists("a"),
            "send": lambda: queue.send("x"),
            "receive": queue.receive,
            "create": queue.create,
        }
        outcomes: dict[str, object] = {}

        async def run() -> None:
            for name, attempt in attempts.items():
                try:
                    outcomes[name] = await attempt()
                except aiomig.NoSession as error:
                    outcomes[name] = "in another event loop" in str(error)
                except Exception as error:  # noqa: BLE001
                    outcomes[name] = error

        await anyio.to_thread.run_sync(lambda: anyio.run(run, backend=other))
        assert outcomes == dict.fromkeys(attempts, True)
        assert (await (await mig.submit("echo unharmed"))).stdout == "unharmed\n"
        await job.wait()
        assert [status.state.is_final async for status in half_read][-1:] in ([True], [])


async def read_awaitable(job: aiomig.Job) -> aiomig.JobResult:
    return await job
