"""Transfers a large file to a grid and back, as a file and as a stream. Measures client memory, and speed against curl.

The grid is a `FakeGrid` over TLS in another process. Its server is written in Python, so the speeds compare clients
and do not predict the speed of a real server. curl uploads in requests of 64 MiB, the most that a server accepts, and
does not retry.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import anyio
from _figures import Verdicts, machine

import aiomig
from aiomig.testing import ServerProcess

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

MIB = 1 << 20
PART = 64 * MIB
MAX_MEMORY = 16.0
"""The target for the memory of a transfer in MiB."""


def resident(name: str) -> float:
    """Return the memory of this process in MiB: ``VmRSS`` is the current value, ``VmHWM`` the peak."""
    status = Path("/proc/self/status").read_text()
    return int(re.findall(rf"{name}:\s+(\d+)", status)[0]) / 1024


@contextmanager
def measured(verdicts: Verdicts, name: str, size: int) -> Iterator[None]:
    """Measure a transfer of this process."""
    Path("/proc/self/clear_refs").write_text("5")  # resets the peak
    before, began = resident("VmRSS"), time.perf_counter()
    yield
    seconds = time.perf_counter() - began
    verdicts.judge(f"{name}: peak memory", resident("VmHWM") - before, "MiB", MAX_MEMORY)
    verdicts.note(f"{name}: speed", size / 1e6 / seconds, "MB/s")


async def chunks(path: Path) -> AsyncIterator[bytes]:
    """Read a file as a stream of chunks."""
    with path.open("rb") as file:
        while chunk := file.read(MIB):
            yield chunk


async def by_aiomig(server: ServerProcess, source: Path, size: int, verdicts: Verdicts) -> None:
    """Upload and download the file, as a file and as a stream."""
    folder = source.parent
    session = aiomig.grid(url=server.url, certificate=server.certificate, key=server.key, ca=server.ca, journal=None)
    async with session as mig:
        await mig.files.write_bytes("warm", b"x")  # exclude one-time costs
        await mig.files.read_bytes("warm")
        with measured(verdicts, "put", size):
            await mig.files.put(source, "file")
        with measured(verdicts, "put_stream, of unknown size", size):
            await mig.files.put_stream(chunks(source), "stream")
        with measured(verdicts, "get", size):
            await mig.files.get("file", folder / "back")
        count = 0
        with measured(verdicts, "stream", size):
            async for chunk in mig.files.stream("stream"):
                count += len(chunk)
        assert count == (folder / "back").stat().st_size == size
        sums = {await mig.files.checksum(name) for name in ("file", "stream")}
        verdicts.judge("checksums that differ", len(sums) - 1, "", 0)


def by_curl(server: ServerProcess, source: Path, size: int, verdicts: Verdicts) -> None:
    """Upload and download the same file with curl."""
    folder = source.parent
    secure = ["--silent", "--show-error", "--fail", "--cacert", str(server.ca)]
    secure += ["--cert", str(server.certificate), "--key", str(server.key)]
    upload = f"{server.url}/wsgi-bin/uploadchunked.py"
    status = "output_format=json&action=status&files[]filename=curl&files[]=dummy"
    reply = subprocess.run(["curl", *secure, "--data", status, upload], capture_output=True, text=True, check=True)
    token = re.findall(r"_csrf=(\w+)", reply.stdout)[0]
    command = ["curl"]
    with source.open("rb") as file:
        for start in range(0, size, PART):
            part = folder / f"part{start}"
            part.write_bytes(file.read(PART))
            stop = min(start + PART, size)
            command += [*secure, "--output", os.devnull, "--header", f"Content-Range: bytes {start}-{stop - 1}/{size}"]
            command += ["--form", "output_format=json", "--form", "action=put", "--form", f"_csrf={token}"]
            command += ["--form", f"files[]=@{part};filename=curl", upload, "--next"]
    began = time.perf_counter()
    subprocess.run(command[:-1], check=True)
    verdicts.note("curl, upload: speed", size / 1e6 / (time.perf_counter() - began), "MB/s")
    download = f"{server.url}/cert_redirect/.upload-cache/curl"
    began = time.perf_counter()
    subprocess.run(["curl", *secure, "--output", str(folder / "curl"), download], check=True)
    verdicts.note("curl, download: speed", size / 1e6 / (time.perf_counter() - began), "MB/s")
    assert (folder / "curl").stat().st_size == size


async def main(options: argparse.Namespace) -> bool:
    size = options.megabytes * 1_000_000
    verdicts = Verdicts()
    print(machine())
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        source = Path(folder, "source")
        block = os.urandom(MIB)
        with source.open("wb") as file:
            for start in range(0, size, MIB):
                file.write(block[: size - start])
        async with ServerProcess(Path(folder, "home")) as server:
            await by_aiomig(server, source, size, verdicts)
            by_curl(server, source, size, verdicts)
    return verdicts.failed


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--megabytes", type=int, default=1000, help="size of the file (default: %(default)s)")
    parser.add_argument("--folder", help="directory for the files; needs five times their size")
    parser.add_argument("--backends", nargs="+", default=["asyncio", "trio"], choices=["asyncio", "trio"])
    arguments = parser.parse_args()
    failed = False
    for backend in arguments.backends:
        print(f"\n{backend}, {arguments.megabytes} MB")
        failed |= anyio.run(main, arguments, backend=backend)
    raise SystemExit(failed)
