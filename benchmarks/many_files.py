"""Transfers a directory of many small files to a grid and back: as archives, and one by one.

The grid is a `FakeGrid` over TLS in another process. Exits with 1 if the archives need more requests than their
target, or if a file changes on the way.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import anyio
import httpx  # noqa: F401  (aiomig imports it on first use; exclude that from the cost)
from _figures import HEAD, Cost, Verdicts, machine, metered

import aiomig
from aiomig.testing import ServerProcess

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

MAX_REQUESTS = 12
DIRECTORIES = 10
NEVER = 1 << 40


def connected(server: ServerProcess, *, archives: bool) -> aiomig.Session:
    """Return a session on the server, with or without archives."""
    limits = aiomig.RequestLimits() if archives else aiomig.RequestLimits(archive_from=NEVER)
    return aiomig.grid(
        url=server.url, certificate=server.certificate, key=server.key, ca=server.ca, request_limits=limits
    )


def make_files(folder: Path, options: argparse.Namespace) -> None:
    """Create the files in ``DIRECTORIES`` directories."""
    for number in range(options.files):
        path = folder / f"d{number % DIRECTORIES}" / f"{number}.bin"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes((b"%d " % number * options.size)[: options.size])


def content(folder: Path) -> dict[str, bytes]:
    """Return the content of all files in a directory, by relative path."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


async def costs_of(options: argparse.Namespace, folder: Path, *, archives: bool) -> dict[str, Cost]:
    """Return the costs of the upload, the download and the inputs of a job."""
    costs: dict[str, Cost] = {}

    async def measure(name: str, server: ServerProcess, action: Callable[[], Awaitable[object]]) -> None:
        async with metered(server) as meter:
            await action()
        costs[name] = meter.cost

    back = Path(tempfile.mkdtemp(dir=folder)) / "back"
    async with ServerProcess(finish_after=86_400.0) as server, connected(server, archives=archives) as mig:
        await measure("put", server, lambda: mig.files.put(folder / "files", "."))
        await measure("put, replacing", server, lambda: mig.files.put(folder / "files", "."))
        await measure("get", server, lambda: mig.files.get("files", back))
        await measure("submit", server, lambda: mig.submit("true", inputs=[folder / "files"]))
    if content(back) != content(folder / "files"):
        raise RuntimeError("the downloaded files differ from the uploaded ones")
    return costs


def main(options: argparse.Namespace) -> int:
    print(machine())
    print(f"{options.files} files of {options.size} bytes in {DIRECTORIES} directories, FakeGrid over TLS")
    print(HEAD)
    verdicts = Verdicts()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make_files(folder / "files", options)
        for backend in options.backends:
            for archives in (True, False):
                costs = anyio.run(lambda: costs_of(options, folder, archives=archives), backend=backend)  # noqa: B023
                for step, cost in costs.items():
                    print(cost.row(f"{step}, {'archive' if archives else 'one by one'} ({backend})"), flush=True)
                    if archives:
                        target = MAX_REQUESTS * max(1.0, options.files / 1000)
                        # Each file is replaced atomically, and one ``mv`` moves files into one directory.
                        target += DIRECTORIES if step == "put, replacing" else 0
                        verdicts.judge(f"requests of {step} ({backend})", cost.requests, "", target)
    return int(verdicts.failed)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--files", type=int, default=1000, help="number of files (default: %(default)s)")
    parser.add_argument("--size", type=int, default=1024, help="size of each file in bytes (default: %(default)s)")
    parser.add_argument("--backends", nargs="+", default=["asyncio", "trio"], choices=["asyncio", "trio"])
    sys.exit(main(parser.parse_args()))
