"""Watching many jobs of a grid: by one shared poll, and as other clients do, by a task a job that asks for itself.

The grid is a `FakeGrid` over TLS in another process, where jobs begin to execute at random moments. Each figure comes
from a process of its own. ``watch`` is one loop over ``session.watch(jobs)``; ``tasks`` is a loop of ``session.watch``
for each job, in a task of its own; ``alone`` is a task a job that sends a request for it, rests, and asks again, on
kept connections, eight requests at a time, as aiomig sends them; with 10,000 jobs that takes some minutes. Exits with 1
where a figure is not reached.

A process that sleeps for three seconds is charged for waking up with cold caches, on a virtual machine 2 to 4 ms,
whatever it does then. So the processor time of a round is compared with that of a loop which sleeps as long and calls
`json.loads`: at the pace of the rounds, and at the quickest pace of one shared poll, whatever the way. Beside them
stands what `json.loads` takes by itself, over and over.
"""

from __future__ import annotations

import argparse
import gc
import json
import ssl
import statistics
import subprocess
import sys
import time
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import anyio
import anyio.lowlevel
import health
import httpx
from _figures import Verdicts, machine
from _watched import WatchedServer

import aiomig

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Sequence

    Follow = Callable[[Sequence[str], "Seen"], Coroutine[Any, Any, None]]

CONNECTIONS = 8
WARM = 250
SAMPLES = 200
MANY = 2000
CHANGES = 400
CHANGING = 30.0
PACED = 5
QUICK = 0.001
QUICK_ROUNDS = 50

HEADERS = {"User-Agent": "aiomig-benchmarks", "Accept-Encoding": "identity"}


@dataclass
class Seen:
    """What the watchers were told: of which jobs, and when each was said to execute."""

    jobs: set[str] = field(default_factory=set)
    when: dict[str, float] = field(default_factory=dict)

    def note(self, job_id: str, state: str) -> None:
        self.jobs.add(job_id)
        if state == "EXECUTING":
            self.when.setdefault(job_id, time.monotonic())


@asynccontextmanager
async def opened(server: WatchedServer, interval: float) -> AsyncIterator[aiomig.Session]:
    """A session that asks at a steady pace, so that intervals can be compared.

    The cap on requests a minute, which would have 20 requests for 10,000 jobs sent every 20 s at its default, is off.
    """
    async with aiomig.grid(
        url=server.url,
        certificate=server.certificate,
        key=server.key,
        ca=server.ca,
        polling=aiomig.Polling(floor=interval, ceiling=interval, requests_a_minute=60_000),
    ) as mig:
        yield mig


async def note_all(statuses: aiomig.Watch, seen: Seen) -> None:
    async for status in statuses:
        seen.note(status.job_id, status.native)


@asynccontextmanager
async def by_watch(server: WatchedServer, interval: float) -> AsyncIterator[Follow]:
    async with opened(server, interval) as mig:

        async def follow(ids: Sequence[str], seen: Seen) -> None:
            await note_all(mig.watch(ids), seen)

        yield follow


@asynccontextmanager
async def by_tasks(server: WatchedServer, interval: float) -> AsyncIterator[Follow]:
    async with opened(server, interval) as mig:

        async def follow(ids: Sequence[str], seen: Seen) -> None:
            async with anyio.create_task_group() as tasks:
                for job_id in ids:
                    tasks.start_soon(note_all, mig.watch(job_id), seen)
                    await anyio.lowlevel.checkpoint()  # they come one by one, as requests to a service do

        yield follow


@asynccontextmanager
async def bare_client(server: WatchedServer) -> AsyncIterator[httpx.AsyncClient]:
    context = ssl.create_default_context(cafile=server.ca)
    context.load_cert_chain(server.certificate, server.key)
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=CONNECTIONS, keepalive_expiry=10)
    async with httpx.AsyncClient(
        base_url=server.url, verify=context, limits=limits, timeout=None, headers=HEADERS
    ) as client:
        yield client


async def ask(client: httpx.AsyncClient, ids: Sequence[str]) -> bytes:
    """The answer of ``jobstatus``, with the fields that aiomig sends."""
    fields = {"output_format": "json", "flags": "v", "job_id": list(ids)}
    return (await client.post("/wsgi-bin/jobstatus.py", data=fields)).content


@asynccontextmanager
async def by_itself(server: WatchedServer, interval: float) -> AsyncIterator[Follow]:
    limiter = anyio.CapacityLimiter(CONNECTIONS)
    async with bare_client(server) as client:

        async def one(job_id: str, seen: Seen) -> None:
            while True:
                async with limiter:
                    answer = json.loads(await ask(client, [job_id]))
                [job] = next(each["jobs"] for each in answer if each["object_type"] == "job_list")
                seen.note(job_id, job["status"])
                await anyio.sleep(interval)

        async def follow(ids: Sequence[str], seen: Seen) -> None:
            async with anyio.create_task_group() as tasks:
                for job_id in ids:
                    tasks.start_soon(one, job_id, seen)
                    await anyio.lowlevel.checkpoint()

        yield follow


WAYS = {"watch": by_watch, "tasks": by_tasks, "alone": by_itself}


# -- one measurement, in a process of its own


async def until(true: Callable[[], bool]) -> None:
    while not true():
        await anyio.sleep(0.05)


def memory() -> int:
    """KiB of this process, garbage left out."""
    gc.collect()
    return health.memory("VmRSS")


async def measure(way: str, count: int, interval: float, rounds: float) -> dict[str, float]:
    async with WatchedServer(count) as server, WAYS[way](server, interval) as follow:
        await warm_up(server, follow)
        return await watched(server, follow, rounds)


async def warm_up(server: WatchedServer, follow: Follow) -> None:
    """Watches some jobs for a while, so that what is paid once is not counted with each job."""
    seen, some = Seen(), server.ids[:WARM]
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(follow, some, seen)
        await until(lambda: len(seen.jobs) == len(some))
        tasks.cancel_scope.cancel()


async def watched(server: WatchedServer, follow: Follow, rounds: float) -> dict[str, float]:
    count, seen = len(server.ids), Seen()
    before = memory()
    async with anyio.create_task_group() as tasks:
        async with beating() as start:

            async def begin() -> None:
                await anyio.sleep(0.3)  # so that the server counts from the first request on
                await follow(server.ids, seen)

            tasks.start_soon(begin)
            first = await server.asked(count)
            await until(lambda: len(seen.jobs) == count)
        grown = memory() - before
        used = time.process_time()
        asked = await server.asked(round(rounds * count))
        used = time.process_time() - used
        grown = max(grown, memory() - before)
        async with beating() as heart:
            changed = await server.change(CHANGES, min(asked["interval"], CHANGING))
            await until(lambda: seen.when.keys() >= changed.keys())
        tasks.cancel_scope.cancel()
    quick, quick_interval = await quick_rounds(server)
    bodies, scale, fetching = await answers(server, round(asked["ids"] / asked["requests"]))
    loads = statistics.median(seconds_of_loads(bodies) for _ in range(5)) * scale
    paced = await paced_loads(bodies, min(asked["interval"], CHANGING), PACED) * scale
    quick_paced = await paced_loads(bodies, quick_interval, QUICK_ROUNDS) * scale
    delays = [seen.when[job_id] - moment for job_id, moment in changed.items()]
    a_round = count / asked["ids"]
    return {
        "first": first["requests"],
        "requests": asked["requests"] * a_round,
        "interval": asked["interval"],
        "cpu": used * a_round,
        "paced": paced,
        "ratio": used * a_round / paced,
        "quick interval": quick_interval,
        "quick": quick,
        "quick paced": quick_paced,
        "quick ratio": quick / quick_paced,
        "size": sum(map(len, bodies)) * scale / 1024,
        "loads": loads,
        "fetch": fetching * scale + loads,
        "memory": grown / count,
        "threads": max(start.threads, heart.threads),
        "start": start.worst * 1e3,
        "stall": heart.worst * 1e3,
        "own stall": heart.worst_without_core * 1e3,
        "delay": statistics.median(delays),
        "worst delay": max(delays),
        "share": statistics.median(delays) / asked["interval"],
    }


@asynccontextmanager
async def beating() -> AsyncIterator[health.Heartbeat]:
    """A heartbeat for as long as the block lasts."""
    heart = health.Heartbeat()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(heart.beat)
        yield heart
        tasks.cancel_scope.cancel()


async def answers(server: WatchedServer, chunk: int) -> tuple[list[bytes], float, float]:
    """A sample of the answers of a round; of how many samples a round is; processor seconds by which httpx got them."""
    starts = range(0, len(server.ids), chunk)
    chunks = [server.ids[start : start + chunk] for start in starts[:: max(1, len(starts) // SAMPLES)]]
    async with bare_client(server) as client:
        await ask(client, chunks[0])
        gc.collect()  # what the watching left is none of the cost
        began = time.process_time()
        bodies = [await ask(client, each) for each in chunks]
        fetching = time.process_time() - began
    return bodies, len(server.ids) / sum(map(len, chunks)), fetching


async def paced_loads(bodies: Sequence[bytes], interval: float, rounds: int) -> float:
    """Processor seconds by which a loop sleeps for an interval and then reads the answers of a round."""
    began = time.process_time()
    for _ in range(rounds):
        await anyio.sleep(interval)
        seconds_of_loads(bodies)
    return (time.process_time() - began) / rounds


async def quick_rounds(server: WatchedServer) -> tuple[float, float]:
    """Processor seconds of a round by one shared poll that may ask as often as it likes; how often that is.

    It leaves a server alone for as long as that took to answer, whatever it may do.
    """
    count, seen = len(server.ids), Seen()
    async with opened(server, QUICK) as mig, anyio.create_task_group() as tasks:
        tasks.start_soon(note_all, mig.watch(server.ids), seen)
        await until(lambda: len(seen.jobs) == count)
        await server.asked(QUICK_ROUNDS // 5 * count)
        used = time.process_time()
        asked = await server.asked(QUICK_ROUNDS * count)
        used = time.process_time() - used
        tasks.cancel_scope.cancel()
    return used * count / asked["ids"], asked["interval"]


def seconds_of_loads(bodies: Iterable[bytes]) -> float:
    began = time.process_time()
    for body in bodies:
        json.loads(body)
    return time.process_time() - began


# -- the whole


ROWS = (
    ("first", "requests until all are known", "{:.0f}"),
    ("requests", "requests a round", "{:.0f}"),
    ("interval", "s between two looks at a job", "{:.2f}"),
    ("size", "KiB of answers a round", "{:.0f}"),
    ("cpu", "client CPU s a round", "{:.4f}"),
    ("paced", "  json.loads of the same bytes at this pace", "{:.4f}"),
    ("ratio", "  CPU / json.loads", "{:.2f}"),
    ("quick interval", "s between two looks, as quick as it goes", "{:.3f}"),
    ("quick", "client CPU s a round", "{:.4f}"),
    ("quick paced", "  json.loads of the same bytes at this pace", "{:.4f}"),
    ("quick ratio", "  CPU / json.loads", "{:.2f}"),
    ("loads", "json.loads of the same bytes in a loop, s", "{:.4f}"),
    ("fetch", "  with bare httpx that fetches them", "{:.4f}"),
    ("memory", "KiB a watched job", "{:.2f}"),
    ("threads", "threads", "{:.0f}"),
    ("start", "worst stall of the loop at start, ms", "{:.1f}"),
    ("stall", "worst stall of the loop after, ms", "{:.1f}"),
    ("own stall", "  without waiting for a core, ms", "{:.1f}"),
    ("delay", "median s from change to wake", "{:.2f}"),
    ("worst delay", "  worst", "{:.2f}"),
    ("share", "  median / interval", "{:.2f}"),
)


def measured(way: str, backend: str, count: int, options: argparse.Namespace) -> dict[str, float]:
    """What this program says of one measurement, made in a process of its own."""
    # Asking for many jobs alone takes minutes a round; it is all alike, so that a part of one tells its cost.
    rounds = 0.2 if way == "alone" and count > MANY else options.rounds
    arguments = [way, backend, str(count), str(options.interval), str(rounds)]
    done = subprocess.run([sys.executable, __file__, "--measure", *arguments], stdout=subprocess.PIPE, check=False)
    if done.returncode:
        sys.exit(f"{' '.join(arguments)} failed")
    found: dict[str, float] = json.loads(done.stdout)
    return found


def judge(verdicts: Verdicts, count: int, found: dict[str, float]) -> None:
    """Issue C's figures, for the one shared poll."""
    verdicts.say(f"{count} jobs: CPU a round / json.loads in a loop", found["quick"] / found["loads"], "", 3)
    verdicts.say(f"{count} jobs: both once in an interval", found["ratio"], "", 3)
    verdicts.say(f"{count} jobs: both as quick as it goes", found["quick ratio"], "", 3)
    if count >= 1000:  # of fewer, pages and pools of the allocator say more than the jobs
        verdicts.say(f"{count} jobs: memory a watched job", found["memory"], "KiB", 4)
    verdicts.say(f"{count} jobs: threads", found["threads"], "", 1)
    verdicts.say(f"{count} jobs: worst stall of the loop at start", found["start"], "ms", 50)
    verdicts.say(f"{count} jobs: worst stall of the loop after", found["stall"], "ms", 50)
    verdicts.say(f"{count} jobs: median delay / interval", found["share"], "", 0.6)


def main(options: argparse.Namespace) -> int:
    print(machine())
    print(f"FakeGrid over TLS in another process, asked every {options.interval:g} s, no cap on requests a minute")
    verdicts = Verdicts()
    for backend in options.backends:
        for count in options.jobs:
            found: dict[str, dict[str, float]] = {}
            for way in options.ways:
                found[way] = measured(way, backend, count, options)
            print(f"\n{f'{count} jobs ({backend})':<44}" + "".join(f"{way:>12}" for way in found))
            for name, label, form in ROWS:
                print(f"{label:<44}" + "".join(f"{form.format(each[name]):>12}" for each in found.values()))
            if "watch" in found:
                judge(verdicts, count, found["watch"])
            sys.stdout.flush()
    return int(verdicts.failed)


def run_one(way: str, backend: str, count: str, interval: str, rounds: str) -> dict[str, float]:
    """One measurement, in this process."""
    return anyio.run(measure, way, int(count), float(interval), float(rounds), backend=backend)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, nargs="+", default=[100, 1000, 10_000], help="watched jobs (%(default)s)")
    parser.add_argument("--ways", nargs="+", default=list(WAYS), choices=list(WAYS))
    parser.add_argument("--interval", type=float, default=3.0, help="seconds between rounds (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=3, help="rounds whose CPU is measured (default: %(default)s)")
    parser.add_argument("--backends", nargs="+", default=["asyncio"], choices=["asyncio", "trio"])
    parser.add_argument("--measure", nargs=5, help=argparse.SUPPRESS)
    given: Any = parser.parse_args()
    if given.measure:
        print(json.dumps(run_one(*given.measure)))
    else:
        sys.exit(main(given))
