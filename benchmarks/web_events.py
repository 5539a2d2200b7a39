"""Measures the cost of the event streams of `aiomig.web`: 500 clients follow 200 jobs of a grid in one process.

The grid is a `FakeGrid` over TLS in another process, and the clients run in a third one. Jobs start at random times;
every client must receive every change once. A measurement with one client shows whether more clients cause more
requests to the grid. Stalls are judged without the time spent waiting for a core. Exits with 1 if a figure misses its
target.
"""

from __future__ import annotations

import argparse
import gc
import json
import socket
import subprocess
import sys
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import anyio
import health
import uvicorn
from _figures import Verdicts, machine
from _watched import WatchedServer

import aiomig
from aiomig.web import create_app

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from fastapi import FastAPI

JOBS = 200
TOKEN = "benchmark"


async def until(condition: Callable[[], bool]) -> None:
    with anyio.fail_after(120):
        while not condition():
            await anyio.sleep(0.05)


@asynccontextmanager
async def served(app: FastAPI) -> AsyncIterator[int]:
    listener = socket.create_server(("127.0.0.1", 0), backlog=1024)
    server = uvicorn.Server(uvicorn.Config(app, log_config=None, ws="none", timeout_graceful_shutdown=1))
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(server.serve, [listener])
        await until(lambda: server.started)
        yield listener.getsockname()[1]
        app.state.streams.close()
        server.should_exit = True


async def measure(clients: int, seconds: float) -> dict[str, float]:
    """Run the service in this process with a number of clients, and return the figures."""
    heart = health.Heartbeat()
    async with WatchedServer(JOBS) as grid:
        session = aiomig.grid(url=grid.url, certificate=grid.certificate, key=grid.key, ca=grid.ca)
        app = create_app(session, token=TOKEN)
        async with served(app) as port, follow(port, 1) as first:
            await until(lambda: len(app.state.streams) == 1)
            gc.collect()
            gc.freeze()  # as `aiomig serve` does
            tasks, memory = len(anyio.get_running_tasks()), health.memory("VmRSS")
            async with follow(port, clients - 1) as others, anyio.create_task_group() as group:
                await until(lambda: len(app.state.streams) == clients)
                gc.collect()
                added = health.memory("VmRSS") - memory
                await grid.polls()
                group.start_soon(heart.beat)
                began, began_cpu = time.monotonic(), time.process_time()
                changes = await grid.change(JOBS, seconds)
                events = await count_events(first, len(changes)) + await count_events(others, len(changes))
                duration, cpu = time.monotonic() - began, time.process_time() - began_cpu
                polls = await grid.polls()
                group.cancel_scope.cancel()
            await until(lambda: len(app.state.streams) == 1)
            await until(lambda: len(anyio.get_running_tasks()) <= tasks)
    return {
        "KiB": added / max(clients - 1, 1),
        "stall": heart.worst_without_core * 1e3,
        "whole stall": heart.worst * 1e3,
        "threads": heart.threads,
        "requests": polls["requests"],
        "seconds": duration,
        "cpu": cpu,
        "missed": len(changes) * clients - events,
    }


@asynccontextmanager
async def follow(port: int, clients: int) -> AsyncIterator[subprocess.Popen[bytes]]:
    """Run clients in another process. At the end the process is killed, without closing its connections."""
    # Not anyio.open_process, because asyncio uses a thread to wait for a process.
    command = [sys.executable, __file__, "--follow", str(port), "--clients", str(clients)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        yield process
        process.kill()


async def count_events(process: subprocess.Popen[bytes], changes: int) -> int:
    """Wait until each client of a process has received an event for every change. Return the sum of their events."""
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(f"{changes}\n".encode())
    process.stdin.flush()
    with anyio.fail_after(120):
        await anyio.wait_readable(process.stdout)
        return int(process.stdout.readline())


async def read_events(port: int, clients: int) -> None:
    counts = [0] * clients

    async def read(number: int) -> None:
        async with await anyio.connect_tcp("127.0.0.1", port) as stream:
            await stream.send(
                f"GET /api/events HTTP/1.1\r\nhost: 127.0.0.1\r\nauthorization: Bearer {TOKEN}\r\n\r\n".encode()
            )
            rest = b""
            while True:
                *lines, rest = (rest + await stream.receive()).split(b"\n")
                counts[number] += sum(line.startswith(b"data:") for line in lines)

    async with anyio.create_task_group() as group:
        for number in range(clients):
            group.start_soon(read, number)
        await anyio.wait_readable(sys.stdin.fileno())
        changes = int(sys.stdin.readline())
        await until(lambda: all(count >= changes for count in counts))
        print(sum(counts), flush=True)
        await anyio.sleep_forever()


def figures(clients: int, seconds: float) -> dict[str, Any]:
    command = [sys.executable, __file__, "--measure", "--clients", str(clients), "--seconds", str(seconds)]
    values: dict[str, Any] = json.loads(subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout)
    return values


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clients", type=int, default=500)
    parser.add_argument(
        "--seconds", type=float, default=20.0, help="seconds in which all jobs change (default: %(default)s)"
    )
    parser.add_argument("--measure", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--follow", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.follow:
        anyio.run(read_events, options.follow, options.clients)
        return 0
    if options.measure:
        print(json.dumps(anyio.run(measure, options.clients, options.seconds)))
        return 0
    print(machine())
    single, many = (figures(clients, options.seconds) for clients in (1, options.clients))
    verdicts = Verdicts()
    verdicts.judge("events that a client missed", many["missed"], "", 0)
    verdicts.judge("memory of a client", many["KiB"], "KiB", 100)
    verdicts.judge("worst stall of the loop", many["stall"], "ms", 50)
    verdicts.note("the same with the time of waiting for a core", many["whole stall"], "ms")
    verdicts.judge("threads", many["threads"], "", 1)
    verdicts.judge(
        "requests to the grid", many["requests"], "", single["requests"] * (many["seconds"] / single["seconds"]) + 1
    )
    verdicts.note("requests with one client", single["requests"], "")
    verdicts.note("seconds until all had all changes", many["seconds"], "s")
    verdicts.note("CPU", many["cpu"] / many["seconds"] * 100, "% of one core")
    return verdicts.failed


if __name__ == "__main__":
    sys.exit(main())
