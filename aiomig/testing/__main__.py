"""``python -m aiomig.testing``: a `FakeGrid` over TLS, controlled by lines of JSON on standard input.

The first line of output is the address as JSON. The program ends when its standard input ends.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from typing import TYPE_CHECKING, Any

import anyio

from ._fake_grid import FakeGrid

if TYPE_CHECKING:
    from collections.abc import Sequence

_READ = 1 << 16


def _options(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m aiomig.testing", description=__doc__)
    parser.add_argument("--home", help="the folder of the user's home")
    parser.add_argument("--slots", type=int, default=2, help="how many jobs run at once")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--finish-after", type=float, help="do not run jobs, but finish them after so many seconds")
    return parser.parse_args(arguments)


async def _main(options: argparse.Namespace) -> None:
    grid = FakeGrid(options.home, slots=options.slots)
    if options.finish_after is not None:
        grid.script(lambda job: job.executing().finish(after=options.finish_after))
    async with grid, grid.serve(port=options.port) as address:
        paths = {name: str(getattr(address, name)) for name in ("ca", "certificate", "key")}
        _write_line({"url": address.url, **paths})
        await _execute_commands(grid)


async def _execute_commands(grid: FakeGrid) -> None:
    pending = b""
    while True:
        await anyio.wait_readable(sys.stdin.fileno())
        data = os.read(sys.stdin.fileno(), _READ)
        if not data:
            return
        *lines, pending = (pending + data).split(b"\n")
        for line in lines:
            _write_line(_execute(grid, json.loads(line)))


def _execute(grid: FakeGrid, command: dict[str, Any]) -> dict[str, Any]:
    match command:
        case {"do": "counts"}:
            return {
                "counts": grid.counts,
                "connections": grid.connections,
                "cpu_seconds": time.process_time(),
            }
        case {"do": "fault", "operation": operation, "kind": kind, "details": details}:
            try:
                grid.faults.add(operation, kind, **details)
            except (TypeError, ValueError) as error:
                return {"error": str(error)}
            return {}
    return {"error": f"{command!r}: no such command; use counts or fault"}


def _write_line(response: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(response) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    anyio.run(_main, _options(sys.argv[1:]))
