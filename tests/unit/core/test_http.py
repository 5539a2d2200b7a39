"""HTTP as a hostile server speaks it: whatever it sends, the client gets a reply or an error of aiomig."""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING, Any

import anyio
import httpcore
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aiomig import ConnectionFailed, MigError
from aiomig._core.http import Channel, Reply, Timeouts, make_transport

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

URL = "http://grid.example.org"
LIMIT = 100_000
PIECES = st.lists(st.binary(min_size=1, max_size=40), min_size=1, max_size=6)
NAMES = st.sampled_from(
    [b"Content-Length", b"Transfer-Encoding", b"Content-Encoding", b"Connection", b"Location", b"ETag", b"Date", b"X"]
)
VALUES = st.sampled_from([b"0", b"5", b"-1", b"9" * 30, b"9" * 5000, b"chunked", b"gzip", b"close", b"5, 5", b"5, 6"])
HEADERS = st.lists(st.tuples(NAMES | st.binary(max_size=5), VALUES | st.binary(max_size=9)), max_size=5)
STATUSES = st.sampled_from(
    [b"200", b"100", b"101", b"204", b"206", b"302", b"304", b"407", b"999", b"000", b"20", b"x"]
)
BODIES = st.sampled_from(
    [
        b"",
        b"hello",
        b"5\r\nhello\r\n0\r\n\r\n",
        b"ffffffffffffffffffff\r\n",
        b"5;" + b"x" * 9000 + b"\r\nhello\r\n0\r\n\r\n",
    ]
) | st.binary(max_size=50)


@st.composite
def answers(draw: st.DrawFn) -> list[bytes]:
    head = b"HTTP/1.%d %b %b\r\n" % (draw(st.integers(0, 1)), draw(STATUSES), draw(st.binary(max_size=5)))
    lines = b"".join(name + b": " + value + b"\r\n" for name, value in draw(HEADERS))
    whole = head + lines + b"\r\n" + draw(BODIES)
    cut = draw(st.integers(0, len(whole)))
    return [piece for piece in (whole[:cut], whole[cut:]) if piece]


class Stream(httpcore.AsyncMockStream):
    """A connection without TLS that answers with the same bytes whatever is written."""

    def __init__(self, pieces: Sequence[bytes], sent: list[bytes]) -> None:
        super().__init__(list(pieces))
        self._sent = sent

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._sent.append(buffer)

    def get_extra_info(self, info: str) -> Any:
        return None


class Backend(httpcore.AsyncMockBackend):
    def __init__(self, pieces: Sequence[bytes]) -> None:
        super().__init__([])
        self._pieces = pieces
        self.sent: list[bytes] = []

    async def connect_tcp(self, *arguments: Any, **named: Any) -> Stream:
        return Stream(self._pieces, self.sent)


async def ask(pieces: Sequence[bytes], headers: Mapping[str, str] | None = None) -> tuple[Reply, bytes]:
    """The reply to a request, and what was sent."""
    transport = make_transport(ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT))
    pool: Any = transport._pool
    backend = pool._network_backend._backend = Backend(pieces)
    channel = Channel(URL, transport)
    try:
        reply = await channel.request("POST", "/x", b"x", headers or {}, limit=LIMIT, timeouts=Timeouts(5, 5, 5))
    finally:
        await channel.close()
    return reply, b"".join(backend.sent)


@settings(max_examples=400, deadline=None)
@given(answers() | PIECES)
def test_any_answer_is_a_reply_or_an_error_of_aiomig(pieces: list[bytes]) -> None:
    try:
        reply, _ = anyio.run(ask, pieces)
    except MigError as error:
        assert str(error)
    else:
        assert len(reply.body) <= LIMIT
        assert all(ord(character) < 256 for value in reply.headers.values() for character in value)


@pytest.mark.parametrize(
    "head",
    [b"X: " + b"x" * 1_000_000, b"".join(b"X%d: x\r\n" % number for number in range(100_000)), b"\r\n" * 200_000],
    ids=["one line", "many lines", "no status"],
)
async def test_the_head_of_an_answer_is_bounded(head: bytes) -> None:
    pieces = [head[at : at + 1000] for at in range(0, len(head), 1000)]
    start = [] if head.startswith(b"\r\n") else [b"HTTP/1.1 200 OK\r\n"]
    with pytest.raises(ConnectionFailed):
        await ask([*start, *pieces])
    # Bytes before the response are not taken for the response either.
    with pytest.raises(ConnectionFailed):
        await ask([b"HTTP/1.1 103 Early Hints\r\n", *pieces])


async def test_header_bytes_beyond_ascii_go_back_as_they_came() -> None:
    answer = b'HTTP/1.1 200 OK\r\nContent-Length: 0\r\nETag: "\xe9\xc3\xa9"\r\n\r\n'
    reply, _ = await ask([answer])
    _, sent = await ask([answer], {"If-Range": reply.headers["ETag"]})
    assert b'If-Range: "\xe9\xc3\xa9"\r\n' in sent
