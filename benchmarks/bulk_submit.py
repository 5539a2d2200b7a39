"""Submits many jobs that share an input: all at once, one at a time, and with a naive client.

The grid is a `FakeGrid` over TLS in another process that runs no jobs. The naive client works like `miginterface`.
Exits with 1 if `submit_many` needs more requests than its target.
"""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING

import anyio
import httpx  # noqa: F401  (aiomig imports it on first use; exclude that from the cost)
from _figures import HEAD, Cost, Verdicts, machine, metered
from _naive import NaiveClient

import aiomig
from aiomig.testing import ServerProcess

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

COMMAND = "sh fit.sh"
FOREVER = 86_400.0


def script(size: int) -> str:
    """Return the input that all jobs share."""
    return "# what all jobs run\n" * (size // 20 + 1)


def connected(server: ServerProcess) -> aiomig.Session:
    """Return a session on the server."""
    return aiomig.grid(url=server.url, certificate=server.certificate, key=server.key, ca=server.ca)


def specs(options: argparse.Namespace) -> list[aiomig.JobSpec]:
    """Return the job descriptions, which differ in their environment."""
    content = script(options.size).encode()
    return [
        aiomig.JobSpec(COMMAND, inputs=[(content, "fit.sh")], environment={"SEED": str(seed)})
        for seed in range(options.jobs)
    ]


async def at_once(server: ServerProcess, options: argparse.Namespace) -> int:
    """Submit with `Session.submit_many`."""
    async with connected(server) as mig:
        return len({job.id for job in await mig.submit_many(specs(options))})


async def one_at_a_time(server: ServerProcess, options: argparse.Namespace) -> int:
    """Submit with `Session.submit`, one job after the other."""
    async with connected(server) as mig:
        return len({(await mig.submit(spec)).id for spec in specs(options)})


async def by_naive(server: ServerProcess, options: argparse.Namespace) -> int:
    """Submit with one call after the other, each on a new connection."""
    client = NaiveClient(server)
    content = script(options.size)
    return len({client.submit(seed, [f"SEED={seed} {COMMAND}"], {"fit.sh": content}) for seed in range(options.jobs)})


async def cost_of(
    way: Callable[[ServerProcess, argparse.Namespace], Awaitable[int]], options: argparse.Namespace
) -> Cost:
    """Return the cost of a way to submit, measured with a new server."""
    async with ServerProcess(finish_after=FOREVER) as server, metered(server) as meter:
        count = await way(server, options)
    if count != options.jobs:
        raise RuntimeError(f"{count} of {options.jobs} jobs were submitted")
    return meter.cost


def main(options: argparse.Namespace) -> int:
    print(machine())
    print(
        f"{options.jobs} jobs with one shared input of {options.size / 1024:.0f} KiB, submitted, "
        "FakeGrid over TLS in another process"
    )
    print(HEAD)
    ways = [
        (f"{name} ({backend})", way, backend)
        for name, way in (("submit_many", at_once), ("submit, one at a time", one_at_a_time))
        for backend in options.backends
    ]
    costs = {}
    for name, way, backend in [*ways, ("naive", by_naive, "asyncio")]:
        costs[name] = anyio.run(cost_of, way, options, backend=backend)
        print(costs[name].row(name), flush=True)
    print("\n" + "\n".join(f"{name}: {cost.detail()}" for name, cost in costs.items()) + "\n")
    verdicts = Verdicts()
    for backend in options.backends:
        requests = costs[f"submit_many ({backend})"].requests
        verdicts.judge(
            f"requests for {options.jobs} jobs ({backend})", requests, "", 40 * max(1.0, options.jobs / 1000)
        )
    return int(verdicts.failed)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, default=1000, help="number of jobs (default: %(default)s)")
    parser.add_argument(
        "--size", type=int, default=65_536, help="size of the shared input in bytes (default: %(default)s)"
    )
    parser.add_argument("--backends", nargs="+", default=["asyncio"], choices=["asyncio", "trio"])
    sys.exit(main(parser.parse_args()))
