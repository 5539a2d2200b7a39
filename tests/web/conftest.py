"""Clients of an application, in memory and over a socket. Like uvicorn, the web layer runs on asyncio."""

from __future__ import annotations

import socket
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import anyio
import httpx
import pytest
import uvicorn

import aiomig
from aiomig.web import create_app

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from fastapi import FastAPI

TOKEN = "correct-horse"
HEADERS = {"authorization": f"Bearer {TOKEN}"}


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
async def mig(tmp_path: Path) -> AsyncIterator[aiomig.Session]:
    """Provide an open session in local mode."""
    async with aiomig.local(tmp_path / "home", slots=2, on_exit="cancel") as session:
        yield session


@pytest.fixture
def app(mig: aiomig.Session) -> FastAPI:
    """Provide an application for the session."""
    return create_app(mig, token=TOKEN, upload_limit=100_000)


def client_of(app: FastAPI, **options: Any) -> httpx.AsyncClient:
    """Return a client that calls an application in memory."""
    options = {"base_url": "http://localhost", "headers": HEADERS, **options}
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), **options)


@pytest.fixture
async def client(app: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    """Provide a client with the token."""
    async with client_of(app) as client:
        yield client


@asynccontextmanager
async def served(app: FastAPI) -> AsyncIterator[str]:
    """Serve an application on a free port, and yield its URL."""
    listener = socket.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(app, log_config=None, ws="none", timeout_graceful_shutdown=1)
    server = uvicorn.Server(config)
    started = anyio.Event()
    startup = server.startup

    async def start(sockets: list[socket.socket] | None = None) -> None:
        await startup(sockets)
        started.set()

    server.startup = start  # type: ignore[method-assign]
    with listener:
        async with anyio.create_task_group() as group:
            group.start_soon(server.serve, [listener])
            await started.wait()
            try:
                yield f"http://127.0.0.1:{listener.getsockname()[1]}"
            finally:
                app.state.streams.close()
                server.should_exit = True


async def submitted(client: httpx.AsyncClient, commands: str, **fields: Any) -> str:
    """Submit a job and return its id."""
    reply = await client.post("/api/jobs", json={"commands": commands, **fields})
    assert reply.status_code == 201, reply.text
    job_id: str = reply.json()["id"]
    return job_id


async def ended(client: httpx.AsyncClient, job_id: str) -> dict[str, Any]:
    """Wait for the end of a job and return its result."""
    reply = await client.get(f"/api/jobs/{job_id}/result", params={"wait": 60}, timeout=70)
    assert reply.status_code == 200, reply.text
    result: dict[str, Any] = reply.json()
    return result
