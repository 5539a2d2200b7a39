"""`FakeGrid` over TLS, and in a process of its own."""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING, Any

import anyio
import httpx
import pytest

import aiomig
from aiomig.testing import USER, FakeGrid, ServerProcess, Site
from tests.testing.fake_grid_calls import AGENT, call, one, state, submit

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from aiomig.testing import Address


@pytest.fixture
async def grid(tmp_path: Path) -> AsyncIterator[FakeGrid]:
    async with FakeGrid(tmp_path / "home", site=Site(parse_time=0)) as opened:
        yield opened


def secure(address: Address, *, certificate: bool = True, **options: Any) -> httpx.AsyncClient:
    context = ssl.create_default_context(cafile=address.ca)
    if certificate:
        context.load_cert_chain(address.certificate, address.key)
    return httpx.AsyncClient(base_url=address.url, verify=context, headers=AGENT, **options)


async def test_tls(grid: FakeGrid) -> None:
    grid.script(lambda job: job.executing().finish("over TLS"))
    async with grid.serve() as address:
        async with secure(address) as http:
            job_id = await submit(http, grid, EXECUTE="echo blåbær")
            assert (await state(http, job_id))["status"] == "FINISHED"
            path = f"/cert_redirect/job_output/{job_id}/{job_id}.stdout"
            assert (await http.get(path)).content == b"over TLS"
            assert (await http.get(path, headers={"Range": "bytes=5-"})).content == b"TLS"
            assert (await http.head(path)).headers["content-length"] == "8"
        assert grid.connections == 1
        assert {each.client for each in grid.requests} == {USER}
        async with secure(address, certificate=False) as http:
            # On asyncio, httpx raises the error of ssl; on trio, it raises its own error.
            with pytest.raises((httpx.TransportError, ssl.SSLError)) as caught:
                await http.get("/")
    error: BaseException | None = caught.value
    words = ""
    while error is not None:
        words += str(error)
        error = error.__cause__ or error.__context__
    assert "certificate required" in words


async def test_tls_of_a_stranger(grid: FakeGrid) -> None:
    async with grid.serve() as address:
        files = address.authority.client(USER.replace("Test User", "Nobody"), "nobody")
        context = ssl.create_default_context(cafile=address.ca)
        context.load_cert_chain(files.certificate, files.key)
        async with httpx.AsyncClient(base_url=address.url, verify=context) as http:
            answer = await call(http, "jobstatus")
    assert one(answer, "error_text")["text"].startswith("No such user (/C=DK/")


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "::1"])
async def test_an_address_gives_configurations(grid: FakeGrid, host: str) -> None:
    other = "/C=DK/O=Test Org/CN=Ada/emailAddress=ada@example.org"
    async with grid.serve(host) as address:
        assert (f"[{host}]" if ":" in host else host) in address.url
        async with aiomig.grid(address.config(), journal=None) as mig:
            assert mig.credential is not None
            assert mig.credential.user == USER
        for _ in range(2):  # the second time, the account exists
            async with aiomig.grid(address.config(other, timeout=50), journal=None) as mig:
                await mig.files.write_text("mine", "Ada's")
    assert grid.home not in grid.add_user(other).parents
    assert not (grid.home / "mine").exists()
    assert {request.client for request in grid.requests} == {USER, other}


async def test_connections_end(tmp_path: Path) -> None:
    site = Site(requests_per_connection=3)
    async with FakeGrid(tmp_path / "home", site=site) as grid, grid.serve() as address, secure(address) as http:
        closing = [(await http.get("/")).headers.get("connection") for _ in range(4)]
        assert closing == [None, None, "close", None]
        assert grid.connections == 2


async def test_idle_connections_end(tmp_path: Path) -> None:
    async with FakeGrid(tmp_path / "home", site=Site(keep_alive=0.05)) as grid, grid.serve() as address:
        context = ssl.create_default_context(cafile=address.ca)
        context.load_cert_chain(address.certificate, address.key)
        host, _, port = address.url.removeprefix("https://").partition(":")
        async with await anyio.connect_tcp(host, int(port), ssl_context=context) as stream:
            await stream.send(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            with anyio.fail_after(10):
                assert b"".join([piece async for piece in stream]).startswith(b"HTTP/1.1 200")


@pytest.mark.parametrize(("kind", "details"), [("drop", {}), ("drop", {"when": "after"}), ("truncate", {"size": 3})])
async def test_broken_connections(grid: FakeGrid, kind: Any, details: dict[str, Any]) -> None:
    grid.faults.add("ls", kind, **details)
    async with grid.serve() as address, secure(address) as http:
        with pytest.raises((httpx.RemoteProtocolError, httpx.ReadError)):
            await http.get("/wsgi-bin/ls.py")
        assert (await http.get("/wsgi-bin/ls.py")).status_code == 200


async def test_a_process_of_its_own(tmp_path: Path) -> None:
    with anyio.fail_after(60):
        async with ServerProcess(tmp_path / "home", finish_after=0) as server:
            context = ssl.create_default_context(cafile=server.ca)
            context.load_cert_chain(server.certificate, server.key)
            await server.add_fault("ls", "unavailable")
            with pytest.raises(RuntimeError, match="no such misbehaviour"):
                await server.add_fault("ls", "nap")  # type: ignore[arg-type]
            async with httpx.AsyncClient(base_url=server.url, verify=context) as http:
                assert [(await http.get("/wsgi-bin/ls.py")).status_code for _ in range(2)] == [503, 200]
            assert await server.counts() == {"ls": 2}
            assert await server.connections() == 1
            assert await server.cpu_seconds() > 0
    assert (tmp_path / "home").is_dir()
