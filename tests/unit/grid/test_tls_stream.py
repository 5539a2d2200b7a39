"""TLS over a wire in memory, where a test says what arrives with one read."""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING, Any

import anyio
import pytest

from aiomig._grid.tls import TlsStream
from aiomig.testing import USER, Authority

if TYPE_CHECKING:
    from pathlib import Path

LONG = bytes(range(256)) * 800  # 13 records


class Wire:
    """One end: what is sent lies at the other end, and is received in one piece."""

    def __init__(self) -> None:
        self.arrived = bytearray()
        self.other: Wire
        self.news = anyio.Event()
        self.is_cut = False
        self.reads = 0
        self.sends_left = 1000

    async def send(self, data: bytes) -> None:
        await anyio.lowlevel.checkpoint()
        self.sends_left -= 1
        if self.is_cut or self.sends_left < 0:
            raise anyio.BrokenResourceError
        self.other.arrived += data
        self.other.news.set()

    async def receive(self, most: int) -> bytes:
        while not self.arrived:
            if self.is_cut:
                raise anyio.EndOfStream
            self.news = anyio.Event()
            await self.news.wait()
        self.reads += 1
        data = bytes(self.arrived[:most])
        del self.arrived[:most]
        return data

    def cut(self) -> None:
        for end in (self, self.other):
            end.is_cut = True
            end.news.set()


class Pair:
    """Both ends of a connection."""

    def __init__(self, authority: Authority, *, certificate: bool = True) -> None:
        context = ssl.create_default_context(cafile=authority.file)
        if certificate:
            files = authority.client(USER)
            context.load_cert_chain(files.certificate, files.key)
        self.near, self.far = Wire(), Wire()
        self.near.other, self.far.other = self.far, self.near
        carriers: tuple[Any, Any] = self.near, self.far
        self.client = TlsStream(carriers[0], context, "localhost")
        self.server = TlsStream(carriers[1], authority.server_context("localhost"))

    async def shake_hands(self) -> Pair:
        async with anyio.create_task_group() as group:
            group.start_soon(self.server.handshake)
            await self.client.handshake()
        return self


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path / "authority")


async def test_a_read_takes_all_that_is_there_but_no_more_than_asked(authority: Authority) -> None:
    pair = await Pair(authority).shake_hands()
    await pair.server.send(LONG)
    await pair.server.send(b"end")
    reads = pair.near.reads
    assert await pair.client.receive() == LONG + b"end"
    assert pair.near.reads == reads + 1
    await pair.server.send(LONG)
    assert [await pair.client.receive(70_000) for _ in range(3)] == [
        LONG[:70_000],
        LONG[70_000:140_000],
        LONG[140_000:],
    ]
    assert pair.near.reads == reads + 2
    await pair.client.send(memoryview(LONG)[:3])
    assert await pair.server.receive() == LONG[:3]


@pytest.mark.parametrize("politely", [True, False])
async def test_what_came_before_the_end_comes_before_it(authority: Authority, politely: bool) -> None:
    pair = await Pair(authority).shake_hands()
    await pair.server.send(b"last words")
    if politely:
        await pair.server.say_goodbye()
    pair.near.cut()
    assert [await pair.client.receive() for _ in range(3)] == [b"last words", b"", b""]


async def test_what_came_before_a_fault_comes_before_it(authority: Authority) -> None:
    pair = await Pair(authority).shake_hands()
    await pair.server.send(b"good")
    await pair.server.send(b"bad")
    pair.near.arrived[-1] ^= 1
    assert await pair.client.receive() == b"good"
    for _ in range(2):
        with pytest.raises(ssl.SSLError):
            await pair.client.receive()


async def test_who_is_refused_is_told_why(authority: Authority) -> None:
    pair = Pair(authority, certificate=False)
    refused = anyio.Event()

    async def refuse() -> None:
        with pytest.raises(ssl.SSLError, match="(?i)peer did not return a certificate"):
            await pair.server.handshake()
        refused.set()

    async with anyio.create_task_group() as group:
        group.start_soon(refuse)
        await pair.client.handshake()  # of TLS 1.3: it ends before the server has looked
        await refused.wait()
    with pytest.raises(ssl.SSLError, match="(?i)certificate.required"):
        await pair.client.receive()


async def test_the_reason_is_told_though_nobody_listens_any_more(authority: Authority) -> None:
    pair, stranger = Pair(authority), Pair(Authority(authority.file.parent / "stranger"))
    pair.near.other, stranger.far.other = stranger.far, pair.near
    pair.near.sends_left = 1
    async with anyio.create_task_group() as group:
        group.start_soon(stranger.server.handshake)
        with pytest.raises(ssl.SSLCertVerificationError):
            await pair.client.handshake()
        group.cancel_scope.cancel()


async def test_a_wire_that_is_cut(authority: Authority) -> None:
    pair = Pair(authority)
    pair.near.cut()
    with pytest.raises(ssl.SSLEOFError):
        await pair.server.handshake()
    with pytest.raises(anyio.BrokenResourceError):
        await pair.client.handshake()
