"""Connections on real sockets: what servers may answer, and how they may break."""

from __future__ import annotations

import ssl
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any

import anyio
import h11
import pytest
from anyio.abc import SocketAttribute

from aiomig import ConnectionFailed
from aiomig._core.http import Channel, Timeouts, make_transport
from aiomig.testing import USER, Authority
from aiomig.testing._serve import _TlsStream

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from typing import TypeAlias

    from anyio.abc import ByteStream

    Talk: TypeAlias = Callable[["Peer"], Awaitable[None]]

LONG = bytes(range(256)) * 4000
PLAIN = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"
PATIENT = Timeouts(20, 20, 20)
LIMIT = 64 << 20


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture
def context(authority: Authority) -> ssl.SSLContext:
    files = authority.client(USER)
    made = ssl.create_default_context(cafile=authority.file)
    made.load_cert_chain(files.certificate, files.key)
    made.post_handshake_auth = True
    return made


class Peer:
    """The server's end of one connection."""

    def __init__(self, stream: _TlsStream, raw: ByteStream) -> None:
        self.stream = stream
        self.raw = raw
        self._http = h11.Connection(h11.SERVER)

    async def heard(self, *, permit: bool = True) -> tuple[bytes, bytes]:
        """The target and the body of the next request."""
        if self._http.our_state is h11.SEND_RESPONSE:
            self._http = h11.Connection(h11.SERVER)
        target, body = b"", b""
        while True:
            event = self._http.next_event()
            if event is h11.NEED_DATA:
                if self._http.they_are_waiting_for_100_continue and permit:
                    await self.stream.send(
                        self._http.send(h11.InformationalResponse(status_code=100, headers=[])) or b""
                    )
                self._http.receive_data(await self.stream.receive())
            elif isinstance(event, h11.Request):
                target = event.target
            elif isinstance(event, h11.Data):
                body += event.data
            else:
                assert isinstance(event, h11.EndOfMessage)
                return target, body


class Server:
    """A test server, which counts its connections and those that clients closed."""

    def __init__(self, port: int) -> None:
        self.url = f"https://127.0.0.1:{port}"
        self.connections = 0
        self.left = 0


@asynccontextmanager
async def serving(
    authority: Authority, talk: Talk, *, handshake: bool = True, late: bool = False
) -> AsyncIterator[Server]:
    async def serve(raw: ByteStream) -> None:
        server.connections += 1
        try:
            async with raw:
                context = authority.server_context("127.0.0.1")
                context.post_handshake_auth = late
                stream = _TlsStream(raw, context)
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
async def connected(server: Server, context: ssl.SSLContext) -> AsyncIterator[Channel]:
    channel = Channel(server.url, make_transport(context))
    try:
        yield channel
    finally:
        await channel.close()


def connections(channel: Channel) -> list[Any]:
    """The connections in httpcore's pool."""
    pool: Any = channel._transport._pool  # type: ignore[attr-defined]
    return list(pool.connections)


async def ask(
    channel: Channel, body: bytes = b"", *, timeouts: Timeouts = PATIENT, limit: int = LIMIT, **headers: str
) -> tuple[int, bytes]:
    reply = await channel.request("POST", "/there", body, headers, limit=limit, timeouts=timeouts)
    return reply.status, reply.body


def answers(*texts: bytes, then_close: bool = False) -> Talk:
    async def talk(peer: Peer) -> None:
        for text in texts:
            await peer.heard()
            await peer.stream.send(text)
        if then_close:
            await peer.stream.send_close_notify()
        else:
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
    async with serving(authority, answers(text, text)) as server, connected(server, context) as channel:
        for _ in range(2):
            assert await ask(channel) == (200, LONG + b"end" * (b"chunked" in text))
        assert server.connections == 1


@pytest.mark.parametrize("text", [b"HTTP/1.1 200 OK\r\n\r\nhello", b"HTTP/1.0 200 OK\r\n\r\nhello"])
async def test_an_answer_that_ends_with_its_connection(
    authority: Authority, context: ssl.SSLContext, text: bytes
) -> None:
    async with serving(authority, answers(text, then_close=True)) as server, connected(server, context) as channel:
        for number in (1, 2):
            assert await ask(channel) == (200, b"hello")
            assert server.connections == number


async def test_a_server_that_says_that_it_closes_is_believed(authority: Authority, context: ssl.SSLContext) -> None:
    text = PLAIN.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")
    async with serving(authority, answers(text)) as server, connected(server, context) as channel:
        for _ in range(2):
            assert await ask(channel) == (200, b"hello")
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
    async with serving(authority, talk) as server, connected(server, context) as channel:
        for _ in range(2):
            assert await ask(channel, body) == (200, b"hello")
    assert heard == [(b"/there", body)] * 2


async def test_an_answer_before_the_request_was_heard_is_read(authority: Authority, context: ssl.SSLContext) -> None:
    """Respond and close while the client still sends, as Apache does to an upload that is too long."""

    async def talk(peer: Peer) -> None:
        await peer.stream.receive()
        await peer.stream.send(b"HTTP/1.1 413 Too Large\r\nContent-Length: 2\r\nConnection: close\r\n\r\nno")
        while await peer.stream.receive():
            pass

    async with serving(authority, talk) as server, connected(server, context) as channel:
        assert await ask(channel, LONG) == (413, b"no")


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
    async with serving(authority, talk) as server, connected(server, context) as channel:
        assert await ask(channel) == (200, b"hello")
        go_on.set()
        await gone.wait()
        assert await ask(channel) == (200, b"hello")
        assert server.connections == 2


async def test_closing_ends_requests_that_are_under_way(authority: Authority, context: ssl.SSLContext) -> None:
    async def talk(peer: Peer) -> None:
        await peer.heard()
        await peer.stream.send(PLAIN[:-1])
        heard.set()
        assert await peer.stream.receive() == b""

    async def wait() -> None:
        with pytest.raises(ConnectionFailed, match="the session was closed during a request|broke: ") as caught:
            await ask(channel)
        assert caught.value.sent is True

    heard = anyio.Event()
    async with (
        serving(authority, talk) as server,
        connected(server, context) as channel,
        anyio.create_task_group() as group,
    ):
        group.start_soon(wait)
        await heard.wait()
        await channel.close()


async def test_closing_while_a_connection_is_made(authority: Authority, context: ssl.SSLContext) -> None:
    async def talk(peer: Peer) -> None:
        begun.set()
        await anyio.sleep_forever()

    async def wait() -> None:
        with pytest.raises(ConnectionFailed, match="the session was closed during a request") as caught:
            await ask(channel)
        assert caught.value.sent is False

    begun = anyio.Event()
    async with (
        serving(authority, talk, handshake=False) as server,
        connected(server, context) as channel,
        anyio.create_task_group() as group,
    ):
        group.start_soon(wait)
        await begun.wait()
        await channel.close()


# -- how they may break


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (b"", "without sending a response"),
        (PLAIN[:12], "without sending a response"),
        (PLAIN[:-1], "peer closed connection"),
        (b"220 mail.example.org ESMTP\r\n\r\n", "illegal status line"),
        (b"HTTP/1.1 200 OK\r\nX: " + b"x" * 200_000, "too long|buffer"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n", "Content-Length"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: " + b"9" * 5000 + b"\r\n\r\n", "Content-Length"),
    ],
    ids=["nothing", "part of head", "part of body", "no HTTP", "endless head", "bad length", "long length"],
)
async def test_broken_answers(authority: Authority, context: ssl.SSLContext, text: bytes, words: str) -> None:
    async with serving(authority, answers(text, then_close=True)) as server, connected(server, context) as channel:
        with pytest.raises(ConnectionFailed, match=words) as caught:
            await ask(channel)
        assert caught.value.sent is True
        assert all(connection.is_closed() for connection in connections(channel))


@pytest.mark.parametrize("text", [b"HTTP/1.1 200 OK\r\n\r\nhello", b"HTTP/1.0 200 OK\r\n\r\nhello", PLAIN[:-1]])
async def test_an_answer_that_was_cut_off_is_an_error(
    authority: Authority, context: ssl.SSLContext, text: bytes
) -> None:
    """RFC 8446 6.1: anyone on the way can end a TCP connection, but not send TLS's close_notify."""

    async def talk(peer: Peer) -> None:
        await peer.heard()
        await peer.stream.send(text)

    async with serving(authority, talk) as server, connected(server, context) as channel:
        with pytest.raises(ConnectionFailed, match=r"the connection was cut \(no close_notify\)") as caught:
            await ask(channel)
        assert caught.value.sent is True


@pytest.mark.parametrize(
    "rest",
    [PLAIN, PLAIN[:20], b"H", b"\r\n", [PLAIN], [b"x"], [b"x", b"y"]],
    ids=["an answer", "part of one", "one byte", "a line", "in a record of its own", "one byte there", "two records"],
)
@pytest.mark.parametrize(
    "text",
    [
        PLAIN,
        b"HTTP/1.1 204 No Content\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
    ],
    ids=["length", "no body", "chunked"],
)
async def test_what_follows_an_answer_is_not_taken_for_the_next(
    authority: Authority, context: ssl.SSLContext, text: bytes, rest: bytes | list[bytes]
) -> None:
    async def talk(peer: Peer) -> None:
        await peer.heard()
        if server.connections > 1:
            await peer.stream.send(PLAIN.replace(b"hello", b"right"))
        elif isinstance(rest, bytes):
            await peer.stream.send(text + rest)
        else:
            await peer.stream.send(text)
            for record in rest:
                await peer.stream.send(record)
        await peer.stream.receive()

    async with serving(authority, talk) as server, connected(server, context) as channel:
        await ask(channel)
        assert await ask(channel) == (200, b"right")
        assert server.connections == 2


async def test_bytes_that_nobody_encrypted(authority: Authority, context: ssl.SSLContext) -> None:
    async def talk(peer: Peer) -> None:
        await peer.heard()
        await peer.stream.send(PLAIN[:-1])
        await peer.raw.send(b"\x17\x03\x03\x00\x20" + bytes(32))

    async with serving(authority, talk) as server, connected(server, context) as channel:
        with pytest.raises(ConnectionFailed, match=f"TLS with {server.url} failed") as caught:
            await ask(channel)
    assert caught.value.sent is True


async def test_timeouts(authority: Authority, context: ssl.SSLContext) -> None:
    async def nothing(peer: Peer) -> None:
        await anyio.sleep_forever()

    async with serving(authority, nothing) as server, connected(server, context) as channel:
        with pytest.raises(ConnectionFailed, match="did not respond in time") as caught:
            await ask(channel, timeouts=Timeouts(20, 0.01, 20))
        assert caught.value.sent is True
        with pytest.raises(ConnectionFailed, match="did not respond in time") as caught:
            await ask(channel, bytes(64 << 20), timeouts=Timeouts(20, 20, 0.01))
        assert caught.value.sent is True
    async with serving(authority, nothing, handshake=False) as server, connected(server, context) as channel:
        with pytest.raises(ConnectionFailed, match="cannot be reached: the connection timed out") as caught:
            await ask(channel, timeouts=Timeouts(0.01, 20, 20))
        assert caught.value.sent is False
        assert not connections(channel)


async def test_a_header_that_cannot_be_sent(authority: Authority, context: ssl.SSLContext) -> None:
    async with serving(authority, answers()) as server, connected(server, context) as channel:
        with pytest.raises(ConnectionFailed, match="Illegal header value"):
            await ask(channel, X="a\r\nY: b")


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
    async with serving(authority, talk, handshake=handshake) as server, connected(server, context) as channel:
        async with anyio.create_task_group() as group:
            group.start_soon(ask, channel)
            await begun.wait()
            group.cancel_scope.cancel()
        while not server.left:
            await anyio.lowlevel.checkpoint()
        assert not connections(channel)


# -- servers that ask for the certificate after the request


async def test_a_large_body_is_sent_when_the_server_asks_for_it(authority: Authority, context: ssl.SSLContext) -> None:
    async def talk(peer: Peer) -> None:
        heard.append(await peer.heard())
        await peer.stream.send(PLAIN)

    heard: list[tuple[bytes, bytes]] = []
    async with serving(authority, talk) as server, connected(server, context) as channel:
        assert await ask(channel, LONG) == (200, b"hello")
    assert heard == [(b"/there", LONG)]


async def test_a_server_that_does_not_want_a_large_body(authority: Authority, context: ssl.SSLContext) -> None:
    async def talk(peer: Peer) -> None:
        await peer.stream.receive()
        await peer.stream.send(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\nConnection: close\r\n\r\nno")
        while await peer.stream.receive():
            pass

    async with serving(authority, talk) as server, connected(server, context) as channel:
        assert await ask(channel, LONG) == (403, b"no")


@pytest.mark.parametrize("asked", ["before the body", "after it"])
async def test_the_certificate_is_given_when_the_server_asks_for_it_later(
    authority: Authority, context: ssl.SSLContext, asked: str
) -> None:
    """TLS 1.3's post-handshake authentication, which Apache does if one folder needs a certificate."""

    async def talk(peer: Peer) -> None:
        tls = peer.stream._tls
        assert tls.getpeercert() is None
        if asked == "before the body":
            assert (await peer.stream.receive()).startswith(b"POST /there")
            tls.verify_client_post_handshake()
            await peer.stream.send(b"HTTP/1.1 100 Continue\r\n\r\n")
            assert await peer.stream.receive()
        else:
            await peer.heard()
            tls.verify_client_post_handshake()
            # Makes the client continue to read, and TLS write.
            await peer.stream.send(b"HTTP/1.1 102 Processing\r\n\r\n")
            while not tls.getpeercert():
                peer.stream._incoming.write(await peer.raw.receive())
                with suppress(ssl.SSLWantReadError):
                    tls.read(1)
        names.append(tls.getpeercert())
        await peer.stream.send(PLAIN.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
        while await peer.stream.receive():
            pass

    names: list[Any] = []
    async with serving(authority, talk, late=True) as server, connected(server, context) as channel:
        assert await ask(channel, LONG if asked == "before the body" else b"") == (200, b"hello")
    assert dict(part[0] for part in names[0]["subject"])["commonName"] == "Test User"
