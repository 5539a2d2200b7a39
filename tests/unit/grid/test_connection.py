"""One connection and the pool of them, on real sockets: what servers may answer, and how they may break."""

from __future__ import annotations

import ssl
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import anyio
import h11
import httpcore
import pytest
from anyio.abc import SocketAttribute

from aiomig._grid.connection import Connection
from aiomig._grid.pool import Pool
from aiomig._grid.tls import TlsStream
from aiomig.testing import USER, Authority

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from typing import TypeAlias

    from anyio.abc import ByteStream

    Talk: TypeAlias = Callable[["Peer"], Awaitable[None]]

LONG = bytes(range(256)) * 4000
PLAIN = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture
def context(authority: Authority) -> ssl.SSLContext:
    files = authority.client(USER)
    made = ssl.create_default_context(cafile=authority.file)
    made.load_cert_chain(files.certificate, files.key)
    return made


class Peer:
    """The server's end of one connection."""

    def __init__(self, stream: TlsStream, raw: ByteStream) -> None:
        self.stream = stream
        self.raw = raw
        self._http = h11.Connection(h11.SERVER)

    async def heard(self) -> tuple[bytes, bytes]:
        """The target and the body of the next request."""
        if self._http.our_state is h11.SEND_RESPONSE:
            self._http = h11.Connection(h11.SERVER)
        target, body = b"", b""
        while True:
            event = self._http.next_event()
            if event is h11.NEED_DATA:
                self._http.receive_data(await self.stream.receive())
            elif isinstance(event, h11.Request):
                target = event.target
            elif isinstance(event, h11.Data):
                body += event.data
            else:
                assert isinstance(event, h11.EndOfMessage)
                return target, body


class Server:
    """Where a test's server listens, and how often it was connected to, and left."""

    def __init__(self, port: int) -> None:
        self.url = f"https://127.0.0.1:{port}"
        self.origin = httpcore.URL(self.url).origin
        self.connections = 0
        self.left = 0


@asynccontextmanager
async def serving(authority: Authority, talk: Talk, *, handshake: bool = True) -> AsyncIterator[Server]:
    async def serve(raw: ByteStream) -> None:
        server.connections += 1
        stream = TlsStream(raw, authority.server_context("127.0.0.1"))
        try:
            async with raw:
                if handshake:
                    await stream.handshake()
                await talk(Peer(stream, raw))
        except (anyio.BrokenResourceError, anyio.EndOfStream, ssl.SSLError):
            pass
        finally:
            server.left += 1

    listener = await anyio.create_tcp_listener(local_host="127.0.0.1")
    server = Server(listener.extra(SocketAttribute.local_port))
    async with listener, anyio.create_task_group() as group:
        group.start_soon(listener.serve, serve)
        yield server
        group.cancel_scope.cancel()


@asynccontextmanager
async def pooled(context: ssl.SSLContext) -> AsyncIterator[Pool]:
    async with Pool(context, None, keep=2, seconds=10) as pool:
        yield pool


async def ask(pool: Pool, server: Server, body: bytes = b"", **timeouts: float) -> tuple[int, bytes]:
    headers = [(b"Host", b"127.0.0.1"), (b"Content-Length", str(len(body)).encode())]
    request = httpcore.Request(
        "POST", f"{server.url}/there", headers=headers, content=body, extensions={"timeout": timeouts}
    )
    response = await pool.handle_async_request(request)
    try:
        return response.status, b"".join([piece async for piece in response.stream])  # type: ignore[union-attr]
    finally:
        await response.aclose()


def answers(*texts: bytes, then_close: bool = False) -> Talk:
    async def talk(peer: Peer) -> None:
        for text in texts:
            await peer.heard()
            await peer.stream.send(text)
        if not then_close:
            assert await peer.stream.receive() == b""

    return talk


# -- what servers may answer


@pytest.mark.parametrize(
    "text",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(LONG), LONG),
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n3\r\nend\r\n0\r\n\r\n" % (len(LONG), LONG),
        b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s"
        % (len(LONG), LONG),
    ],
    ids=["length", "chunked", "hints before it"],
)
async def test_long_answers_are_whole_and_the_connection_is_used_again(
    authority: Authority, context: ssl.SSLContext, text: bytes
) -> None:
    async with serving(authority, answers(text, text)) as server, pooled(context) as pool:
        for _ in range(2):
            assert await ask(pool, server) == (200, LONG + b"end" * (b"chunked" in text))
        assert server.connections == 1


@pytest.mark.parametrize("text", [b"HTTP/1.1 200 OK\r\n\r\nhello", b"HTTP/1.0 200 OK\r\n\r\nhello"])
async def test_an_answer_that_ends_with_its_connection(
    authority: Authority, context: ssl.SSLContext, text: bytes
) -> None:
    async with serving(authority, answers(text, then_close=True)) as server, pooled(context) as pool:
        for number in (1, 2):
            assert await ask(pool, server) == (200, b"hello")
            assert server.connections == number


async def test_a_server_that_says_that_it_closes_is_believed(authority: Authority, context: ssl.SSLContext) -> None:
    text = PLAIN.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")
    async with serving(authority, answers(text)) as server, pooled(context) as pool:
        for _ in range(2):
            assert await ask(pool, server) == (200, b"hello")
        assert server.connections == 2


@pytest.mark.parametrize("size", [0, 1, (1 << 18) - 1, 1 << 18, (1 << 18) + 1, 3_000_000])
async def test_bodies_of_any_size_arrive(authority: Authority, context: ssl.SSLContext, size: int) -> None:
    async def talk(peer: Peer) -> None:
        for _ in range(2):
            heard.append(await peer.heard())
            await peer.stream.send(PLAIN)
        await peer.stream.receive()

    heard: list[tuple[bytes, bytes]] = []
    body = (LONG * 3)[:size]
    async with serving(authority, talk) as server, pooled(context) as pool:
        for _ in range(2):
            assert await ask(pool, server, body) == (200, b"hello")
    assert heard == [(b"/there", body)] * 2


async def test_an_answer_before_the_request_was_heard_is_read(authority: Authority, context: ssl.SSLContext) -> None:
    """As Apache does to an upload that is too long: it answers and closes, whatever is still sent."""

    async def talk(peer: Peer) -> None:
        await peer.stream.receive()
        await peer.stream.send(b"HTTP/1.1 413 Too Large\r\nContent-Length: 2\r\nConnection: close\r\n\r\nno")
        while await peer.stream.receive():
            pass

    async with serving(authority, talk) as server, pooled(context) as pool:
        assert await ask(pool, server, LONG) == (413, b"no")


# -- connections that rest


@pytest.mark.parametrize("last_words", [b"", PLAIN], ids=["closed", "more said than asked"])
async def test_what_a_server_did_meanwhile_is_seen_before_the_next_request(
    authority: Authority, context: ssl.SSLContext, last_words: bytes
) -> None:
    async def talk(peer: Peer) -> None:
        await peer.heard()
        await peer.stream.send(PLAIN)
        if server.connections == 1:
            await go_on.wait()
            await peer.stream.send(last_words)
            await peer.raw.aclose()
            gone.set()
        else:
            await peer.stream.receive()

    go_on, gone = anyio.Event(), anyio.Event()
    async with serving(authority, talk) as server, pooled(context) as pool:
        assert await ask(pool, server) == (200, b"hello")
        go_on.set()
        await gone.wait()
        assert await ask(pool, server) == (200, b"hello")
        assert server.connections == 2


async def test_no_more_rest_than_were_asked_for(authority: Authority, context: ssl.SSLContext) -> None:
    async def talk(peer: Peer) -> None:
        await peer.heard()
        waiting.append(peer)
        if len(waiting) == 4:
            all_there.set()
        await all_there.wait()
        await peer.stream.send(PLAIN)
        await peer.stream.receive()

    waiting: list[Peer] = []
    all_there = anyio.Event()
    async with serving(authority, talk) as server:
        async with pooled(context) as pool:
            async with anyio.create_task_group() as group:
                for _ in range(4):
                    group.start_soon(ask, pool, server)
            assert (len(pool._idle), len(pool._busy)) == (2, 0)
        assert pool._idle == []


async def test_closing_ends_requests_that_are_under_way(authority: Authority, context: ssl.SSLContext) -> None:
    async def talk(peer: Peer) -> None:
        await peer.heard()
        await peer.stream.send(PLAIN[:-1])
        heard.set()
        assert await peer.stream.receive() == b""

    async def wait() -> None:
        with pytest.raises(httpcore.ReadError):
            await ask(pool, server)

    heard = anyio.Event()
    async with serving(authority, talk) as server, pooled(context) as pool, anyio.create_task_group() as group:
        group.start_soon(wait)
        await heard.wait()
        await pool.aclose()


async def test_closing_while_a_connection_is_made(authority: Authority, context: ssl.SSLContext) -> None:
    async def talk(peer: Peer) -> None:
        begun.set()
        await anyio.sleep_forever()

    async def wait() -> None:
        with pytest.raises(httpcore.ConnectError):
            await ask(pool, server)

    begun = anyio.Event()
    async with (
        serving(authority, talk, handshake=False) as server,
        pooled(context) as pool,
        anyio.create_task_group() as group,
    ):
        group.start_soon(wait)
        await begun.wait()
        await pool.aclose()


# -- how they may break


@pytest.mark.parametrize(
    ("text", "error", "words"),
    [
        (b"", httpcore.RemoteProtocolError, "closed the connection without an answer"),
        (PLAIN[:12], httpcore.RemoteProtocolError, "without an answer"),
        (PLAIN[:-1], httpcore.RemoteProtocolError, "peer closed connection"),
        (b"220 mail.example.org ESMTP\r\n\r\n", httpcore.RemoteProtocolError, "illegal status line"),
        (b"HTTP/1.1 200 OK\r\nX: " + b"x" * 200_000, httpcore.RemoteProtocolError, "too long|buffer"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n", httpcore.RemoteProtocolError, "Content-Length"),
    ],
    ids=["nothing", "a part of the head", "a part of the body", "no HTTP", "an endless head", "a length that is none"],
)
async def test_broken_answers(
    authority: Authority, context: ssl.SSLContext, text: bytes, error: type[Exception], words: str
) -> None:
    async with serving(authority, answers(text, then_close=True)) as server, pooled(context) as pool:
        with pytest.raises(error, match=words):
            await ask(pool, server)
        assert (pool._idle, pool._busy) == ([], set())


async def test_bytes_that_nobody_encrypted(authority: Authority, context: ssl.SSLContext) -> None:
    async def talk(peer: Peer) -> None:
        await peer.heard()
        await peer.stream.send(PLAIN[:-1])
        await peer.raw.send(b"\x17\x03\x03\x00\x20" + bytes(32))

    async with serving(authority, talk) as server, pooled(context) as pool:
        with pytest.raises(httpcore.ReadError) as caught:
            await ask(pool, server)
    assert isinstance(caught.value.__cause__, ssl.SSLError)


async def test_patience_has_an_end(authority: Authority, context: ssl.SSLContext) -> None:
    async def nothing(peer: Peer) -> None:
        await anyio.sleep_forever()

    async with serving(authority, nothing) as server, pooled(context) as pool:
        with pytest.raises(httpcore.ReadTimeout, match=r"it said nothing for 0\.01 s"):
            await ask(pool, server, read=0.01)
        with pytest.raises(httpcore.WriteTimeout, match=r"it took nothing for 0\.01 s"):
            await ask(pool, server, bytes(64 << 20), write=0.01)
    async with serving(authority, nothing, handshake=False) as server, pooled(context) as pool:
        with pytest.raises(httpcore.ConnectTimeout, match=r"timed out after 0\.01 s"):
            await ask(pool, server, connect=0.01)
        assert (pool._idle, pool._busy) == ([], set())


async def test_a_header_that_cannot_be_sent(authority: Authority, context: ssl.SSLContext) -> None:
    async with serving(authority, answers()) as server, pooled(context) as pool:
        request = httpcore.Request("GET", server.url, headers=[(b"Host", b"a"), (b"X", b"a\r\nY: b")])
        with pytest.raises(httpcore.LocalProtocolError):
            await pool.handle_async_request(request)


@pytest.mark.parametrize("handshake", [True, False], ids=["while it waits for an answer", "in the handshake"])
async def test_cancelling_closes_the_socket_at_once(
    authority: Authority, context: ssl.SSLContext, handshake: bool
) -> None:
    async def talk(peer: Peer) -> None:
        if handshake:
            await peer.heard()
        begun.set()
        while await peer.raw.receive():
            pass

    begun = anyio.Event()
    async with serving(authority, talk, handshake=handshake) as server, pooled(context) as pool:
        async with anyio.create_task_group() as group:
            group.start_soon(ask, pool, server)
            await begun.wait()
            group.cancel_scope.cancel()
        while not server.left:
            await anyio.lowlevel.checkpoint()
        assert (pool._idle, pool._busy) == ([], set())


async def test_a_connection_that_was_never_made_can_be_closed(context: ssl.SSLContext) -> None:
    connection = Connection(httpcore.URL("https://127.0.0.1:1").origin, context)
    assert not connection.rest()
    with pytest.raises(httpcore.ConnectError, match="Connect call failed|refused|connection attempts"):
        await connection.open()
    await connection.close()
    assert connection.is_stale(10)
