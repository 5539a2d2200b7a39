"""Proxies from the environment: real tunnels, and nonsensical variables."""

from __future__ import annotations

import base64
import ssl
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any

import anyio
import h11
import pytest
from anyio.abc import SocketAttribute

import aiomig
from aiomig import ConfigError, ConnectionFailed
from aiomig._core.proxies import Proxy, proxy_for
from aiomig.testing import FakeGrid
from aiomig.testing._serve import _TlsStream

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from anyio.abc import ByteStream

    from aiomig.testing import Address

VARIABLES = ("https_proxy", "http_proxy", "all_proxy", "no_proxy")


@pytest.fixture(autouse=True)
def clean(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


# -- which one


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({}, None),
        ({"HTTPS_PROXY": "http://proxy.example.org:3128"}, Proxy("http", "proxy.example.org", 3128)),
        ({"https_proxy": "proxy.example.org:3128"}, Proxy("http", "proxy.example.org", 3128)),
        ({"ALL_PROXY": "http://proxy.example.org"}, Proxy("http", "proxy.example.org", 80)),
        ({"HTTPS_PROXY": "https://proxy.example.org"}, Proxy("https", "proxy.example.org", 443)),
        ({"HTTPS_PROXY": "http://bücher.example:1"}, Proxy("http", "xn--bcher-kva.example", 1)),
        ({"HTTPS_PROXY": "http://[::1]:8080"}, Proxy("http", "::1", 8080)),
        (
            {"HTTPS_PROXY": "http://me:p%40ss@proxy.example.org:1"},
            Proxy("http", "proxy.example.org", 1, (b"me", b"p@ss")),
        ),
        ({"HTTPS_PROXY": "http://a:1", "ALL_PROXY": "socks5://b:2"}, Proxy("http", "a", 1)),
        ({"HTTP_PROXY": "http://a:1"}, None),  # only for http://
        ({"HTTPS_PROXY": ""}, None),
        ({"HTTPS_PROXY": " "}, None),
        ({"HTTPS_PROXY": " http://a:1\n"}, Proxy("http", "a", 1)),
        ({"HTTPS_PROXY": "http://a:1", "NO_PROXY": "example.org"}, None),
        ({"HTTPS_PROXY": "http://a:1", "NO_PROXY": "*"}, None),
        ({"HTTPS_PROXY": "nonsense://", "NO_PROXY": "grid.example.org"}, None),
        ({"HTTPS_PROXY": "http://a:1", "NO_PROXY": "example.com"}, Proxy("http", "a", 1)),
    ],
)
def test_which_proxy(monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], expected: Proxy | None) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert proxy_for("https://grid.example.org") == expected


@pytest.mark.parametrize(
    ("host", "entries", "expected"),
    [
        ("grid.example.org", "example.org", True),
        ("grid.example.org", ".example.org", True),
        ("grid.example.org", "*.example.org", True),
        ("grid.example.org", "GRID.Example.Org", True),
        ("grid.example.org", "ample.org", False),
        ("grid.example.org", "*", True),
        ("grid.example.org", "other.org grid.example.org", True),
        ("grid.example.org:8443", "grid.example.org:8443", True),
        ("grid.example.org:8443", "grid.example.org:443", False),
        ("grid.example.org", "", False),
        ("grid.example.org", "[::1],fd00::/8,10.0.0.0/8,///,[,:,::", False),
        ("10.1.2.3", "10.0.0.0/8", True),
        ("10.1.2.3", "10.1.2.3", True),
        ("10.1.2.3:8443", "10.1.2.3:8443", True),
        ("10.1.2.3", "11.0.0.0/8,fd00::/8", False),
        ("[::1]", "[::1]", True),
        ("[::1]", "::1", True),
        ("[::1]:8443", "[::1]:8443", True),
        ("[fd07:b51a:cc66:f0::7]", "fd07:b51a:cc66:f0::/64", True),
        ("[fd07:b51a:cc66:f1::7]", "[fd07:b51a:cc66:f0::]/64", False),
    ],
)
def test_no_proxy(monkeypatch: pytest.MonkeyPatch, host: str, entries: str, expected: bool) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://a:1")
    monkeypatch.setenv("NO_PROXY", entries)
    assert (proxy_for(f"https://{host}") is None) == expected


@pytest.mark.parametrize(
    "value",
    [
        "socks5://me:the-secret@a:1",
        "http://me:the-secret@a:port",
        "http://",
        "ftp://a",
        "http://me:the-secret@[::1",
        "http://a..b:1",
    ],
)
async def test_a_proxy_that_cannot_be_used(monkeypatch: pytest.MonkeyPatch, grid: FakeGrid, value: str) -> None:
    async with grid.serve() as address:
        monkeypatch.setenv("HTTPS_PROXY", value)
        with pytest.raises(
            ConfigError, match=r"^HTTPS_PROXY: .*http://host:port, or add localhost to NO_PROXY"
        ) as caught:
            async with session(address):
                pass
    assert "the-secret" not in str(caught.value)
    assert "p@ss" not in repr(Proxy("http", "a", 1, (b"me", b"p@ss")))


# -- tunnels


@pytest.fixture
async def grid(tmp_path: Path) -> AsyncIterator[FakeGrid]:
    async with FakeGrid(tmp_path / "home") as opened:
        yield opened


def session(address: Address) -> aiomig.Session:
    files: Any = {"certificate": address.certificate, "key": address.key, "ca": address.ca}
    return aiomig.grid(url=address.url, journal=None, retry=aiomig.Retry(tries=1), **files)


class Tunnels:
    """A proxy, and the requests that it got."""

    def __init__(self, answer: bytes) -> None:
        self.port = 0
        self.answer = answer
        self.requests: list[h11.Request] = []

    async def serve(self, near: ByteStream | _TlsStream) -> None:
        http = h11.Connection(h11.SERVER)
        while (event := http.next_event()) is h11.NEED_DATA:
            http.receive_data(await near.receive())
        assert isinstance(event, h11.Request)
        self.requests.append(event)
        await near.send(self.answer)
        if b" 200 " not in self.answer:
            return
        host, _, port = event.target.decode().rpartition(":")
        async with await anyio.connect_tcp(host, int(port)) as far, anyio.create_task_group() as group:
            group.start_soon(self._pass, far, near)
            await self._pass(near, far)
            group.cancel_scope.cancel()

    @staticmethod
    async def _pass(source: Any, target: Any) -> None:
        try:
            while data := await source.receive():
                await target.send(data)
        except (anyio.EndOfStream, anyio.BrokenResourceError, anyio.ClosedResourceError):
            pass


ESTABLISHED = b"HTTP/1.1 200 Connection established\r\n\r\n"


@asynccontextmanager
async def tunnels(answer: bytes = ESTABLISHED, context: ssl.SSLContext | None = None) -> AsyncIterator[Tunnels]:
    async def serve(raw: ByteStream) -> None:
        async with raw:
            if context is None:
                await proxy.serve(raw)
            else:
                with suppress(ssl.SSLError, anyio.EndOfStream):  # the error of a client that does not trust the proxy
                    stream = _TlsStream(raw, context)
                    await stream.handshake()
                    await proxy.serve(stream)

    proxy = Tunnels(answer)
    listener = await anyio.create_tcp_listener(local_host="127.0.0.1")
    proxy.port = listener.extra(SocketAttribute.local_port)
    async with listener, anyio.create_task_group() as group:
        group.start_soon(listener.serve, serve)
        yield proxy
        group.cancel_scope.cancel()


async def test_a_session_through_a_proxy(monkeypatch: pytest.MonkeyPatch, grid: FakeGrid) -> None:
    async with grid.serve() as address, tunnels() as proxy:
        monkeypatch.setenv("HTTPS_PROXY", f"http://me:p%40ss@127.0.0.1:{proxy.port}")
        async with session(address) as mig:
            await mig.files.write_bytes("f", bytes(range(256)) * 4000)
            assert await mig.files.read_bytes("f") == bytes(range(256)) * 4000
        target = address.url.removeprefix("https://").encode()
        assert len(proxy.requests) == grid.connections
        for request in proxy.requests:
            headers = dict(request.headers)
            assert (request.method, request.target, headers[b"host"]) == (b"CONNECT", target, target)
            assert headers[b"proxy-authorization"] == b"Basic " + base64.b64encode(b"me:p@ss")
        monkeypatch.setenv("NO_PROXY", "localhost")
        count = len(proxy.requests)
        async with session(address) as mig:
            assert await mig.files.exists("f")
        assert len(proxy.requests) == count


async def test_a_proxy_that_is_spoken_to_by_tls(monkeypatch: pytest.MonkeyPatch, grid: FakeGrid) -> None:
    async with grid.serve() as address:
        context = address.authority.server_context("127.0.0.1")
        context.verify_mode = context.verify_mode.CERT_NONE  # of a proxy's clients
        async with tunnels(context=context) as proxy:
            monkeypatch.setenv("HTTPS_PROXY", f"https://127.0.0.1:{proxy.port}")
            words = rf"the proxy 127\.0\.0\.1:{proxy.port}: .*certificate verify failed"
            with pytest.raises(ConnectionFailed, match=words):
                async with session(address):
                    pass
            monkeypatch.setenv("SSL_CERT_FILE", str(address.ca))
            async with session(address) as mig:
                assert not await mig.files.exists("f")
            assert len(proxy.requests) == 1


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n", "407 Proxy Auth"),
        (b"HTTP/1.1 502 Bad Gateway\r\n\r\n", "502 Bad Gateway"),
        (b"220 mail.example.org ESMTP\r\n\r\n", "illegal status line"),
        (b"HTTP/1.1 2", "without sending a response"),
    ],
    ids=["password", "unreachable", "no HTTP", "cut"],
)
async def test_a_proxy_that_makes_no_tunnel(
    monkeypatch: pytest.MonkeyPatch, grid: FakeGrid, answer: bytes, words: str
) -> None:
    async with grid.serve() as address, tunnels(answer) as proxy:
        monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{proxy.port}")
        with pytest.raises(ConnectionFailed, match=words) as caught:
            async with session(address):
                pass
        assert f"the proxy 127.0.0.1:{proxy.port}" in str(caught.value)
        assert caught.value.sent is False
        assert grid.connections == 0


async def test_a_proxy_that_is_not_there(monkeypatch: pytest.MonkeyPatch, grid: FakeGrid) -> None:
    async with tunnels() as proxy:
        port = proxy.port
    async with grid.serve() as address:
        monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{port}")
        with pytest.raises(ConnectionFailed, match=f"cannot be reached: the proxy 127.0.0.1:{port}: ") as caught:
            async with session(address):
                pass
        assert caught.value.sent is False
