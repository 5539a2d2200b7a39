"""Inputs and outputs by URL, in local mode: proxies of the environment, and the causes of failures."""

from __future__ import annotations

import base64
import logging
import socket
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import anyio
import pytest
from anyio.abc import SocketAttribute

import aiomig
from aiomig.testing import FakeGrid

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from anyio.abc import ByteStream


@pytest.fixture(autouse=True)
def clean(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


class Web:
    """A web server, or a proxy, and the requests that it got."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.url = f"http://127.0.0.1:{port}"
        self.requests: list[str] = []

    async def answer(self, stream: ByteStream) -> None:
        async with stream:
            request = b""
            while b"\r\n\r\n" not in request:
                request += await stream.receive()
            head, _, body = request.partition(b"\r\n\r\n")
            self.requests.append(head.decode())
            method, target = head.split()[:2]
            if method == b"PUT":
                while not body.endswith(b"made here\n"):
                    body += await stream.receive()
            if target.endswith(b"/moved"):
                await stream.send(b"HTTP/1.1 302 Found\r\nLocation: /in.txt\r\nContent-Length: 0\r\n\r\n")
            elif target.endswith(b"/missing"):
                await stream.send(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")
            else:
                await stream.send(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\ndata\n")


@asynccontextmanager
async def serving() -> AsyncIterator[Web]:
    listener = await anyio.create_tcp_listener(local_host="127.0.0.1")
    web = Web(listener.extra(SocketAttribute.local_port))
    async with listener, anyio.create_task_group() as group:
        group.start_soon(listener.serve, web.answer)
        yield web
        group.cancel_scope.cancel()


async def content(home: Path, url: str) -> str:
    async with aiomig.local(home) as mig:
        job = await mig.submit("cat in.txt", inputs=[(url, "in.txt")])
        return (await job).stdout


NO_PROXIES = [
    {"NO_PROXY": "localhost,127.0.0.1,::1,[::1]"},
    {"NO_PROXY": "127.0.0.1,fd07:b51a:cc66:f0::/64"},
    {"NO_PROXY": "10.0.0.0/8,127.0.0.0/8", "ALL_PROXY": "http://127.0.0.1:9"},
    {"NO_PROXY": "*", "HTTP_PROXY": "http://127.0.0.1:9"},
    {"NO_PROXY": "127.0.0.1", "ALL_PROXY": "socks://127.0.0.1:10808/"},
    {"NO_PROXY": "127.0.0.1", "ALL_PROXY": "socks5h://127.0.0.1:10808"},
    {"HTTPS_PROXY": "http://127.0.0.1:9"},
]


@pytest.mark.parametrize("variables", NO_PROXIES, ids=str)
async def test_no_proxy(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, variables: dict[str, str]) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    async with serving() as web:
        assert await content(tmp_path, f"{web.url}/in.txt") == "data\n"
        assert web.requests[0].startswith("GET /in.txt HTTP/1.1\r\n")


@pytest.mark.parametrize("variable", ["HTTP_PROXY", "http_proxy", "ALL_PROXY"])
async def test_a_proxy_with_a_password(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, variable: str) -> None:
    async with serving() as proxy:
        monkeypatch.setenv(variable, f"http://me:p%40ss@127.0.0.1:{proxy.port}")
        monkeypatch.setenv("NO_PROXY", "example.com")
        assert await content(tmp_path, "http://web.example.org/in.txt") == "data\n"
        login = base64.b64encode(b"me:p@ss").decode()
        assert proxy.requests[0].startswith("GET http://web.example.org/in.txt HTTP/1.1\r\n")
        assert f"Proxy-Authorization: Basic {login}" in proxy.requests[0]


async def test_a_server_that_is_not_trusted(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    async with FakeGrid() as grid, grid.serve() as address, aiomig.local(tmp_path / "home") as mig:
        spec = aiomig.JobSpec("cat x", inputs=[(address.url, "x")])
        result = await (await mig.submit(spec)).result(check=False)
        assert f"the certificate of {address.url} is not trusted: " in result.staging[0]
        assert result.staging[0].endswith("; name its CA in SSL_CERT_FILE")
        monkeypatch.setenv("SSL_CERT_FILE", str(address.ca))
        result = await (await mig.submit(spec)).result(check=False)
        assert "certificate" in result.staging[0]  # the server requires a client certificate
        assert "not trusted" not in result.staging[0]


async def test_a_redirection(tmp_path: Path) -> None:
    async with serving() as web:
        assert await content(tmp_path, f"{web.url}/moved") == "data\n"


async def test_the_cause_of_each_failure(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        closed = taken.getsockname()[1]
        async with serving() as web, aiomig.local(tmp_path) as mig:
            causes = {
                f"{web.url}/missing": "HTTP 404",
                f"http://127.0.0.1:{closed}/x": "cannot be reached: Connection refused",
                "http://no.such.host.invalid/x": "cannot be reached: unknown host",
                "ftp://127.0.0.1/x": "ftp is not supported here; give an http or https URL",
            }
            for url, words in causes.items():
                job = await mig.submit("cat x", inputs=[(url, "x")])
                result = await job.result(check=False)
                assert len(result.staging) == 1
                assert result.staging[0].startswith("staging: input x did not arrive: ")
                assert url in result.staging[0]
                assert words in result.staging[0]
            monkeypatch.setenv("ALL_PROXY", "socks5://me:the-secret@127.0.0.1:9")
            result = await (await mig.submit("cat x", inputs=[(web.url, "x")])).result(check=False)
            assert "ALL_PROXY: not the URL of an HTTP proxy" in result.staging[0]
            assert "the-secret" not in str(result)


async def test_a_scheme_that_is_not_supported_is_seen_before_the_submit(tmp_path: Path) -> None:
    async with aiomig.local(tmp_path) as mig:
        report = await mig.check("cat x", inputs=[("ftp://127.0.0.1/x", "x"), ("http://127.0.0.1/y", "y")])
    (fault,) = report.faults
    assert (fault.field, fault.value) == ("INPUTFILES", "ftp://127.0.0.1/x")
    assert "ftp is not supported in local mode" in str(fault)


async def test_a_login_in_a_url_is_sent_and_never_shown(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    async with serving() as web, aiomig.local(tmp_path) as mig:
        secret = web.url.replace("://", "://me:p%40ss-secret@")
        job = await mig.submit(
            "cat in.txt; echo made here > out.txt",
            inputs=[(f"{secret}/in.txt", "in.txt"), (f"{secret}/missing", "missing")],
            mrsl={"OUTPUTFILES": [f"out.txt {secret}/out.txt"]},
        )
        result = await job.result(check=False)
    assert (result.stdout, len(result.staging)) == ("data\n", 1)
    login = base64.b64encode(b"me:p@ss-secret").decode()
    assert [head.split()[0] for head in web.requests] == ["GET", "GET", "PUT"]
    assert all(f"Authorization: Basic {login}" in head for head in web.requests)
    http = [record.getMessage() for record in caplog.records if record.name.startswith(("httpx", "httpcore"))]
    assert http
    assert "ss-secret" not in "".join([*http, *result.staging])
