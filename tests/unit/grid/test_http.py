"""The connections, on real sockets: cancelled bursts, connections that servers close, transfers by URL."""

from __future__ import annotations

import asyncio
import io
import platform
import ssl
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import anyio
import httpx
import pytest
from anyio.abc import SocketAttribute

import aiomig
from aiomig import ConfigError, ConnectionFailed, ServerError, Session
from aiomig._grid.http import HttpClient
from aiomig._grid.renewal import CertificateReloader
from aiomig._local.urls import download, upload
from aiomig.testing import FakeGrid, Site

if TYPE_CHECKING:
    import socket
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from aiomig.testing import Address

ROUNDS = 50
BURST = 40


@pytest.fixture
async def grid(tmp_path: Path) -> AsyncIterator[FakeGrid]:
    async with FakeGrid(tmp_path / "home") as opened:
        opened.hold()
        yield opened


def session(address: Address, **fields: Any) -> Session:
    return aiomig.grid(url=address.url, certificate=address.certificate, key=address.key, ca=address.ca, **fields)


class Steps:
    """Counts the waits of a client for the network, and cancels a scope at one of them."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.count = 0
        self.at = -1
        self.cancel: Callable[[], object] = lambda: None
        self.sockets: list[socket.socket] = []
        connect, step = anyio.connect_tcp, self._step

        async def stepping(*arguments: Any, **named: Any) -> Any:
            step()
            stream = await connect(*arguments, **named)
            self.sockets.append(stream.extra(SocketAttribute.raw_socket))
            receive, send = stream.receive, stream.send

            async def stepping_receive(*arguments: Any, **named: Any) -> Any:
                step()
                data = await receive(*arguments, **named)
                step()
                return data

            async def stepping_send(data: bytes) -> None:
                step()
                await send(data)
                step()

            monkeypatch.setattr(stream, "receive", stepping_receive)
            monkeypatch.setattr(stream, "send", stepping_send)
            step()
            return stream

        monkeypatch.setattr(anyio, "connect_tcp", stepping)  # those of the client alone: the server listens

    def _step(self) -> None:
        self.count += 1
        if self.count == self.at:
            self.cancel()


async def burst(mig: Session, count: int) -> None:
    async with anyio.create_task_group() as group:
        for _ in range(count):
            group.start_soon(mig.files.exists, "f")


async def test_requests_cancelled_at_every_moment_cost_no_connection(
    grid: FakeGrid, monkeypatch: pytest.MonkeyPatch
) -> None:
    """encode/httpcore#961: each cancelled request would occupy a place in a limited pool, and leave a socket."""
    (grid.home / "f").write_text("there")
    steps = Steps(monkeypatch)
    async with grid.serve() as address, session(address) as mig:
        steps.count = 0
        await burst(mig, BURST)
        whole = steps.count
        assert whole > BURST * 6  # at least as many waits
        for number in range(ROUNDS):
            # Spread over a whole burst, including its beginning. The last rounds may not reach their wait.
            steps.count, steps.at = 0, 1 + number * whole // ROUNDS
            with anyio.CancelScope() as scope:
                steps.cancel = scope.cancel
                await burst(mig, BURST)
        steps.at = -1
        before = len(grid.requests)
        with anyio.fail_after(30):
            await burst(mig, BURST)
            assert await mig.files.read_text("f") == "there"
        assert len(grid.requests) - before == BURST + 1
        assert len([sock for sock in steps.sockets if sock.fileno() != -1]) <= 8
    assert [sock for sock in steps.sockets if sock.fileno() != -1] == []


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_tasks_of_asyncio_cancelled_at_every_moment_cost_no_connection(
    grid: FakeGrid, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`Task.cancel` also cancels shielded code."""
    (grid.home / "f").write_text("there")
    steps = Steps(monkeypatch)
    async with grid.serve() as address, session(address) as mig:
        steps.count = 0
        await mig.files.exists("f")
        for number in range(ROUNDS):
            task = asyncio.get_running_loop().create_task(burst(mig, BURST))
            steps.count, steps.at, steps.cancel = 0, 1 + number, task.cancel
            with suppress(asyncio.CancelledError):
                await task
        steps.at = -1
        await burst(mig, BURST)
        assert len([sock for sock in steps.sockets if sock.fileno() != -1]) <= 8
    assert [sock for sock in steps.sockets if sock.fileno() != -1] == []


async def test_cancelling_before_a_connection_is_there(grid: FakeGrid) -> None:
    (grid.home / "f").write_text("there")
    async with grid.serve() as address, session(address) as mig:
        for passes in range(0, ROUNDS, 3):
            async with anyio.create_task_group() as group:
                for _ in range(BURST):
                    group.start_soon(mig.files.exists, "f")
                for _ in range(passes):
                    await anyio.lowlevel.checkpoint()
                group.cancel_scope.cancel()
        with anyio.fail_after(30):
            await burst(mig, BURST)


async def test_full_concurrency_is_left_after_cancelled_bursts(grid: FakeGrid) -> None:
    """Requests that wait on the server until eight have arrived. With fewer connections, they would wait forever."""
    (grid.home / "f").write_text("there")
    async with grid.serve() as address, session(address) as mig:
        for _ in range(10):
            async with anyio.create_task_group() as group:
                for _ in range(BURST):
                    group.start_soon(mig.files.exists, "f")
                await anyio.lowlevel.checkpoint()
                group.cancel_scope.cancel()
        handle, waiting, all_there = grid.handle, [0], anyio.Event()

        async def meet(request: Any) -> Any:
            waiting[0] += 1
            if waiting[0] >= 8:
                all_there.set()
            await all_there.wait()
            return await handle(request)

        grid.handle = meet  # type: ignore[method-assign]
        with anyio.fail_after(30):
            await burst(mig, 8)


async def test_bursts_do_not_pile_up_connections(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("aiomig._core.http._IDLE_SECONDS", 3600.0)  # on a busy machine bursts may be 10 s apart
    site = Site(keep_alive=3600.0)
    async with FakeGrid(tmp_path / "home", site=site) as grid, grid.serve() as address, session(address) as mig:
        for _ in range(10):
            await burst(mig, BURST)
        assert grid.connections == 8


# -- connections that a server closes


async def test_connections_that_expire_are_made_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("random.uniform", lambda low, high: 0.0)  # pauses of zero length
    site = Site(keep_alive=0.001)
    async with FakeGrid(tmp_path / "home", site=site) as grid, grid.serve() as address:
        (grid.home / "f").write_text("there")
        async with session(address) as mig:
            for _ in range(10):
                assert await mig.files.exists("f")


async def test_connections_that_serve_few_requests(tmp_path: Path) -> None:
    site = Site(requests_per_connection=3)
    async with FakeGrid(tmp_path / "home", site=site) as grid, grid.serve() as address:
        async with session(address) as mig:
            await mig.files.write_bytes("f", bytes(range(256)))
            for _ in range(20):
                assert await mig.files.exists("f")
        assert len(grid.requests) <= grid.connections * 3


@pytest.mark.parametrize("kind", ["drop", "truncate", "error", "html"])
async def test_reads_recover_over_tls(grid: FakeGrid, monkeypatch: pytest.MonkeyPatch, kind: Any) -> None:
    monkeypatch.setattr("random.uniform", lambda low, high: 0.0)  # pauses of zero length
    (grid.home / "f").write_bytes(bytes(1000))
    async with grid.serve() as address, session(address) as mig:
        for operation in ("statpath", "ls", "cert_redirect"):
            grid.faults.add(operation, kind, times=3)
        assert await mig.files.exists("f")
        assert len(await mig.files.ls()) == 1
        assert await mig.files.read_bytes("f") == bytes(1000)


async def test_a_dropped_change_is_told_as_sent(grid: FakeGrid) -> None:
    async with grid.serve() as address, session(address) as mig:
        await mig.files.write_text("f", "x")
        grid.faults.add("rm", "drop", when="after")
        with pytest.raises(ConnectionFailed, match=f"the connection to {address.url} broke: ") as caught:
            await mig.files.remove("f")
        assert caught.value.sent is True


async def test_a_session_can_be_left_in_the_middle_of_a_burst(grid: FakeGrid) -> None:
    class Enough(Exception):
        pass

    async def leave(address: Address) -> None:
        async with session(address) as mig:
            with pytest.raises(ExceptionGroup) as caught:
                async with anyio.create_task_group() as group:
                    for _ in range(BURST):
                        group.start_soon(mig.files.exists, "f")
                    await anyio.lowlevel.checkpoint()
                    raise Enough
            raise caught.value.exceptions[0]

    async with grid.serve() as address:
        with pytest.raises(Enough):
            await leave(address)


# -- who is asked


async def test_what_each_request_says() -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        requests.append(request)
        return httpx.Response(200, headers={"Set-Cookie": "known=1"})

    requests: list[httpx.Request] = []
    config = aiomig.Config("https://grid.example.org:4433", "c.pem", "k.pem", timeout=7, connect_timeout=3)  # type: ignore[arg-type]
    client = HttpClient(config, "1", httpx.MockTransport(answer))
    await client.open()
    await client.send("POST", "/wsgi-bin/ls.py", content=b"a=1", headers={"Content-Type": "x/y"})
    await client.send("GET", "/cert_redirect/a%20b%3F")
    await client.close()
    post, get = requests
    assert post.extensions["timeout"] == {"connect": 3, "read": 7, "write": 7, "pool": None}
    agent = f"aiomig/1 (httpx {httpx.__version__}; Python {platform.python_version()})"
    said = {
        "host": "grid.example.org:4433",
        "accept": "*/*",
        "accept-encoding": "identity",
        "user-agent": agent,
    }
    assert dict(post.headers) == {**said, "content-type": "x/y", "content-length": "3"}
    assert dict(get.headers) == said  # no cookie: the certificate identifies the user
    assert get.url.raw_path == b"/cert_redirect/a%20b%3F"


async def test_connections_rest_for_a_shorter_time_than_servers_keep_theirs(grid: FakeGrid) -> None:
    async with grid.serve() as address, session(address) as mig:
        pool: Any = mig._backend._client._channel._transport._pool  # type: ignore[attr-defined]
        assert 1 <= pool._keepalive_expiry < 15  # docs/protocol.md#connections
        for expected in (0, 0, 1):
            before = grid.connections
            pool.connections[0]._connection._expire_at -= 10 * expected
            await mig.files.exists("f")
            assert grid.connections == before + expected


async def test_a_name_that_httpx_refuses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(CertificateReloader, "load", lambda self: ssl.create_default_context())
    config = aiomig.Config("https://☃.example.org", "c.pem", "k.pem")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match=r"url: 'https://☃.*give https://host"):
        await HttpClient(config, "1").open()


# -- transfers by URL, of local mode


@pytest.fixture
def web(monkeypatch: pytest.MonkeyPatch) -> list[httpx.Request]:
    def answer(request: httpx.Request) -> httpx.Response:
        requests.append(request)
        if request.url.path == "/gone":
            raise httpx.ConnectError("Name or service not known")
        if request.url.path == "/missing":
            return httpx.Response(404)
        return httpx.Response(200, content=Stream())

    class Stream(httpx.AsyncByteStream):
        async def __aiter__(self) -> AsyncIterator[bytes]:
            yield b"con"
            yield b"tent"

    requests: list[httpx.Request] = []
    monkeypatch.setattr("aiomig._core.http.make_transport", lambda context, proxy: httpx.MockTransport(answer))
    return requests


async def test_download(web: list[httpx.Request], tmp_path: Path) -> None:
    with (tmp_path / "f").open("wb") as target:
        await download("https://example.org/f", target)
        target.flush()
        assert (tmp_path / "f").read_bytes() == b"content"
        assert web[0].headers["accept-encoding"] == "identity"
        with pytest.raises(ServerError, match="GET https://example.org/missing: HTTP 404"):
            await download("https://example.org/missing", target)
        with pytest.raises(
            ConnectionFailed, match="https://example.org/gone cannot be reached: Name or service not known"
        ):
            await download("https://example.org/gone", target)


async def test_upload(web: list[httpx.Request], tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"x" * 3_000_000)
    with (tmp_path / "f").open("rb", buffering=0) as source:
        await upload(source, "https://example.org/f")
        assert web[0].method == "PUT"
        assert web[0].headers["content-length"] == "3000000"
        assert "transfer-encoding" not in web[0].headers
        with pytest.raises(ServerError, match="PUT https://example.org/missing: HTTP 404"):
            await upload(source, "https://example.org/missing")
        with pytest.raises(ConnectionFailed, match="gone cannot be reached: Name or service"):
            await upload(source, "https://example.org/gone")


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("http://[::1", "is not a URL: Invalid IPv6 URL"),
        ("http:///x", "has no host"),
        ("http://127.0.0.1:port/x", "Invalid port"),
        ("http://a..b/x", "cannot be reached"),
        (f"http://{'x' * 300}.invalid/x", "cannot be reached"),
        ("http://☃/x", "Invalid IDNA hostname"),
        ("http://127.0.0.1:1/\x00", "Invalid non-printable ASCII character"),
        ("http://127.0.0.1:1/\udc80", "surrogates not allowed"),
        ("://x", "is not supported"),
    ],
)
async def test_urls_that_make_no_sense(url: str, words: str) -> None:
    with pytest.raises(ConnectionFailed) as caught:
        await download(url, io.BytesIO())
    assert words in str(caught.value)
    assert caught.value.sent is False


async def test_a_transport_for_tests_may_ask_for_the_content_of_a_request() -> None:
    contents: list[bytes] = []

    class Transport(httpx.AsyncBaseTransport):
        async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
            contents.append(request.content)
            words = "0-aiomig: You do not have any matching job IDs!"
            return httpx.Response(200, json=[{"object_type": "error_text", "text": words}])

    with suppress(aiomig.MigError):
        async with aiomig.grid(transport=Transport(), url="https://g", certificate="c", key="k") as mig:
            await mig.files.ls("folder")
    assert b"path=folder" in contents[-1]
