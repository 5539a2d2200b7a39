"""Streams to and from a server: memory, repeated requests, and permanent failures."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import anyio
import httpx
import pytest

import aiomig
from aiomig import ConnectionFailed, RequestLimits
from aiomig.testing import FakeGrid

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator

CHUNK = 1000
SIZE = 10_500


class Wire(httpx.AsyncBaseTransport):
    """Counts the bytes of uploads; loses the responses to some of them."""

    def __init__(self, inner: httpx.AsyncBaseTransport) -> None:
        self._inner = inner
        self.arrived = 0
        self.ranges: list[str] = []
        self.lost: set[int] = set()

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        response = await self._inner.handle_async_request(request)
        if "Content-Range" in request.headers:
            self.ranges.append(request.headers["Content-Range"])
            self.arrived = int(re.split("[-/]", self.ranges[-1])[1]) + 1
            if len(self.ranges) in self.lost or -1 in self.lost:
                raise httpx.ReadError("lost", request=request)
        return response


@pytest.fixture
async def grid() -> AsyncIterator[FakeGrid]:
    async with FakeGrid() as opened:
        yield opened


@pytest.fixture
def wire(grid: FakeGrid) -> Wire:
    return Wire(grid.transport())


@pytest.fixture
async def files(wire: Wire) -> AsyncIterator[aiomig.Files]:
    session = aiomig.grid(
        url="https://grid.example.org",
        certificate="none.pem",
        key="none.pem",
        transport=wire,
        retry=aiomig.Retry(tries=3, first=0.0, longest=0.0),
        request_limits=RequestLimits(upload_chunk=CHUNK, download_piece=CHUNK),
    )
    async with session as mig:
        yield mig.files


class Source:
    """Yields bytes, and records how many of them have not been sent yet."""

    def __init__(self, wire: Wire, piece: int) -> None:
        self._wire = wire
        self._piece = piece
        self.ahead = 0

    async def __aiter__(self) -> AsyncGenerator[bytes, None]:
        for start in range(0, SIZE, self._piece):
            end = min(start + self._piece, SIZE)
            self.ahead = max(self.ahead, end - self._wire.arrived)
            yield bytes(end - start)


@pytest.mark.parametrize("piece", [7, 900, 2300])
async def test_one_chunk_is_in_memory(files: aiomig.Files, wire: Wire, piece: int) -> None:
    source = Source(wire, piece)
    assert await files.put_stream(source, "x") == SIZE
    assert source.ahead < CHUNK + piece
    assert len(wire.ranges) == 11
    assert await files.read_bytes("x") == bytes(SIZE)


async def test_without_a_size_the_bytes_so_far_are_told(files: aiomig.Files, wire: Wire) -> None:
    await files.put_stream(Source(wire, 600), "x")
    assert wire.ranges[:2] == ["bytes 0-999/1000", "bytes 1000-1999/2000"]
    assert wire.ranges[-1] == "bytes 10000-10499/10500"
    wire.ranges.clear()
    await files.put_stream(Source(wire, 600), "x", size=SIZE)
    assert wire.ranges[0] == "bytes 0-999/10500"


async def test_a_lost_response_is_asked_for_again(files: aiomig.Files, wire: Wire) -> None:
    wire.lost = {2, 3}
    await files.put_stream(Source(wire, 600), "x")
    assert wire.ranges[1:4] == ["bytes 1000-1999/2000"] * 3
    assert await files.read_bytes("x") == bytes(SIZE)


async def test_a_stream_that_failed_says_that_it_cannot_be_repeated(
    files: aiomig.Files, wire: Wire, grid: FakeGrid
) -> None:
    wire.lost = {-1}
    with pytest.raises(ConnectionFailed, match=r"1200 bytes of the stream were read and cannot be read again"):
        await files.put_stream(Source(wire, 600), "x")
    wire.lost = set()
    assert await files.ls(".upload-cache", hidden=True) == []
    assert not await files.exists("x")


async def test_leaving_a_stream_leaves_no_request(files: aiomig.Files, wire: Wire, grid: FakeGrid) -> None:
    await files.put_stream(Source(wire, 600), "x")
    grid.requests.clear()
    async for _ in files.stream("x", chunk=100):
        break
    await anyio.lowlevel.checkpoint()
    assert [each.operation for each in grid.requests] == ["cert_redirect"]
