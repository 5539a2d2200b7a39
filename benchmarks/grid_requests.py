"""Counts the requests from submit to result with aiomig and with a naive client.

Each job has an input of its own and an input that all jobs share. The grid is a `FakeGrid` over TLS in another
process. It ends jobs after some seconds without running them, so that only the clients are compared. The naive client
works like `miginterface`.
"""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

import anyio
import httpx  # noqa: F401  (aiomig imports it on first use; exclude that from the cost)
from _figures import HEAD, Cost, machine, metered
from _naive import NaiveClient

import aiomig
from aiomig.testing import ServerProcess

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

COMMAND = "cat shared.txt own.txt"


def shared(size: int) -> str:
    """Return the input that all jobs share."""
    return "what all jobs read\n" * (size // 19 + 1)


async def by_aiomig(server: ServerProcess, options: argparse.Namespace) -> None:
    """Submit with `Session.submit_many`, then await each job in its own task."""
    content = shared(options.size).encode()
    specs = [
        aiomig.JobSpec(COMMAND, inputs=[(content, "shared.txt"), (f"job {number}\n".encode(), "own.txt")])
        for number in range(options.jobs)
    ]
    session = aiomig.grid(url=server.url, certificate=server.certificate, key=server.key, ca=server.ca)
    async with session as mig, anyio.create_task_group() as tasks:
        for job in await mig.submit_many(specs):
            tasks.start_soon(job.result)


async def by_naive(server: ServerProcess, options: argparse.Namespace) -> None:
    """Submit, wait and download with one call after the other."""
    client = NaiveClient(server)
    content = shared(options.size)
    job_ids = [
        client.submit(number, [COMMAND], {"shared.txt": content, "own.txt": f"job {number}\n"})
        for number in range(options.jobs)
    ]
    client.wait(job_ids, options.interval)
    for job_id in job_ids:
        client.output(job_id)


async def cost_of(
    way: Callable[[ServerProcess, argparse.Namespace], Awaitable[None]], options: argparse.Namespace
) -> Cost:
    """Return the cost of a client, measured with a new server."""
    async with ServerProcess(finish_after=options.run_time) as server, metered(server) as meter:
        await way(server, options)
    return meter.cost


def main(options: argparse.Namespace) -> None:
    print(machine())
    print(
        f"{options.jobs} jobs of {options.run_time:g} s with one shared input of {options.size / 1024:.0f} KiB and one "
        "own, submit to result, FakeGrid over TLS in another process"
    )
    print(HEAD)
    details = []
    ways = [(f"aiomig ({backend})", by_aiomig, backend) for backend in options.backends]
    for name, way, backend in [*ways, ("naive", by_naive, "asyncio")]:
        cost = anyio.run(cost_of, way, options, backend=backend)
        print(cost.row(name), flush=True)
        details.append(f"{name}: {cost.detail()}")
    print("\n" + "\n".join(details))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, default=200, help="number of jobs (default: %(default)s)")
    parser.add_argument("--run-time", type=float, default=15.0, help="seconds that a job takes (default: %(default)s)")
    parser.add_argument(
        "--size", type=int, default=65_536, help="size of the shared input in bytes (default: %(default)s)"
    )
    parser.add_argument(
        "--interval", type=float, default=1.0, help="polling interval of the naive client (default: %(default)s s)"
    )
    parser.add_argument("--backends", nargs="+", default=["asyncio"], choices=["asyncio", "trio"])
    main(parser.parse_args())
