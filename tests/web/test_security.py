"""Attacks: forged hosts and origins, wrong tokens, ids of other users, paths outside the home, endless bodies."""

from __future__ import annotations

import json
from functools import partial
from typing import TYPE_CHECKING, Any

import anyio
import httpx
import pytest

import aiomig
from aiomig.testing import FakeGrid
from aiomig.web import create_app

from .conftest import HEADERS, TOKEN, client_of, ended, served, submitted

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from fastapi import FastAPI
    from starlette.requests import Request

ROUTES = ["/", "/page/app.js", "/api/jobs", "/api/jobs/7", "/api/events", "/api/files", "/api/openapi.json"]


# -- authentication


WRONG: list[dict[str, str]] = [
    {},
    {"authorization": ""},
    {"authorization": "Bearer"},
    {"authorization": "Bearer "},
    {"authorization": f"Bearer {TOKEN}x"},
    {"authorization": f"Bearer {TOKEN[:-1]}"},
    {"authorization": f"Basic {TOKEN}"},
    {"authorization": "Bearer \xff"},
    {"cookie": f"aiomig={TOKEN}"},
    {"x-token": TOKEN},
]


async def test_without_the_token_nothing_is_disclosed(app: FastAPI) -> None:
    for headers in WRONG:
        raw = [(name.encode(), value.encode("latin-1")) for name, value in headers.items()]
        async with client_of(app, headers=raw) as client:
            for path in ROUTES:
                reply = await client.get(path)
                assert reply.status_code == 401, (path, headers)
                assert reply.headers["www-authenticate"] == "Bearer"
                assert TOKEN not in reply.text
                assert "set-cookie" not in reply.headers


async def test_the_token_in_the_url_becomes_a_cookie(app: FastAPI) -> None:
    async with client_of(app, headers={}) as client:
        refused = await client.get("/", params={"token": "wrong"}, headers={"accept": "text/html"})
        assert refused.status_code == 401
        assert "set-cookie" not in refused.headers
        assert "<form" in refused.text
        reply = await client.get("/", params={"token": TOKEN})
        assert (reply.status_code, reply.headers["location"]) == (303, "./")
        cookie = reply.headers["set-cookie"].lower()
        assert "httponly" in cookie
        assert "samesite=strict" in cookie
        assert "secure" not in cookie
        assert (await client.get("/api/jobs")).status_code == 200
        assert (await client.get("/")).status_code == 200
    async with client_of(app, headers={}) as client:
        assert (await client.get("/api/jobs", params={"token": TOKEN})).status_code == 401


async def test_the_cookie_of_a_tls_service_is_secure(app: FastAPI) -> None:
    async with client_of(app, headers={}, base_url="https://localhost") as client:
        assert "secure" in (await client.get("/", params={"token": TOKEN})).headers["set-cookie"].lower()


# -- host and origin


async def test_a_forged_host_is_refused(client: httpx.AsyncClient) -> None:
    for host in (
        "evil.example",
        "localhost.evil.example",
        "127.0.0.1.evil.example:80",
        "",
        "0.0.0.0",
        "localhost:80@evil",
        "localhost:",
    ):
        for path in (*ROUTES, "/api/health"):
            reply = await client.get(path, headers={"host": host})
            assert reply.status_code == 400, (host, path)


async def test_names_of_this_machine_are_accepted(client: httpx.AsyncClient) -> None:
    for host in ("localhost", "LOCALHOST:8642", "127.0.0.1:1", "[::1]:8642", "[::1]"):
        assert (await client.get("/api/jobs", headers={"host": host})).status_code == 200


FOREIGN: list[dict[str, str]] = [
    {"origin": "https://evil.example"},
    {"origin": "null"},
    {"origin": "http://localhost:81"},
    {"origin": "https://localhost"},
    {"origin": ""},
    {"sec-fetch-site": "cross-site"},
    {"sec-fetch-site": "same-site"},
    {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate"},
]


async def test_pages_of_other_sites_cannot_submit(client: httpx.AsyncClient) -> None:
    for headers in FOREIGN:
        reply = await client.post("/api/jobs", json={"commands": "true"}, headers=headers)
        assert reply.status_code == 403, headers
        if headers.get("sec-fetch-mode") != "navigate":
            assert (await client.get("/api/jobs", headers=headers)).status_code == 403
    assert (await client.get("/api/jobs")).json()["total"] == 0


async def test_own_and_named_origins_are_accepted(mig: aiomig.Session) -> None:
    app = create_app(mig, token=TOKEN, origins=["https://portal.example"], hosts=["jobs.example", "::1"])
    async with client_of(app, base_url="http://jobs.example:99") as client:
        for origin in ("http://jobs.example:99", "https://portal.example"):
            reply = await client.post("/api/jobs", json={"commands": "true"}, headers={"origin": origin})
            assert reply.status_code == 201
        same = await client.get("/api/jobs", headers={"sec-fetch-site": "same-origin"})
        assert same.status_code == 200
        assert (await client.get("/api/jobs", headers={"host": "[::1]:3"})).status_code == 200
        assert (await client.get("/api/jobs", headers={"host": "localhost"})).status_code == 400


# -- paths


@pytest.mark.parametrize(
    "path",
    [
        "../../../etc/passwd",
        "%2e%2e/%2e%2e/etc/passwd",
        "..%2f..%2fetc%2fpasswd",
        "a/../../etc/passwd",
        "%00",
        "a%00b",
        "a%0d%0aset-cookie:%20x=1",
        ".aiomig/jobs.sqlite",
        "link/passwd",
        "*",
    ],
)
async def test_no_path_leads_out_of_the_home(client: httpx.AsyncClient, tmp_path: Path, path: str) -> None:
    await client.put("/api/folders/a")
    (tmp_path / "home" / "link").symlink_to("/etc")
    before = sorted(str(path) for path in tmp_path.rglob("*") if ".aiomig" not in str(path))
    for reply in (
        await client.get(f"/api/files/{path}"),
        await client.put(f"/api/files/{path}", content=b"evil"),
        await client.delete(f"/api/files/{path}"),
        await client.put(f"/api/folders/{path}/made"),
        await client.get("/api/files", params={"path": httpx.URL(f"http://x/{path}").path.lstrip("/")}),
        await client.get(f"/api/jobs/7/outputs/{path}"),
        await client.get(f"/page/{path}"),
    ):
        assert reply.status_code in (403, 404, 405), (str(reply.request.url), reply.text)
        assert b"root:" not in reply.content
        assert "set-cookie" not in reply.headers
        assert str(tmp_path) not in reply.text
    after = sorted(str(path) for path in tmp_path.rglob("*") if ".aiomig" not in str(path))
    assert after == before


@pytest.mark.parametrize(
    "name", ["../evil", "/etc/evil", "a/../../evil", "evil\r\nx: y", "", ".", "a\0b", "-rf", "$(id)"]
)
async def test_hostile_names_of_uploads_are_only_names(client: httpx.AsyncClient, tmp_path: Path, name: str) -> None:
    boundary = "xyz"
    quoted = name.replace("\r\n", "%0D%0A")
    body = (
        f'--{boundary}\r\ncontent-disposition: form-data; name="commands"\r\n\r\ntrue\r\n'
        f'--{boundary}\r\ncontent-disposition: form-data; name="files"; filename="{quoted}"\r\n\r\nevil\r\n'
        f"--{boundary}--\r\n"
    )
    kind = f"multipart/form-data; boundary={boundary}"
    reply = await client.post("/api/jobs", content=body.encode("latin-1"), headers={"content-type": kind})
    assert reply.status_code in (201, 400, 422), reply.text
    assert "aiomig-upload" not in reply.text, "a path of this machine"
    if reply.status_code == 201:
        await ended(client, reply.json()["id"])
    assert not list(tmp_path.rglob("evil"))


async def test_no_path_of_this_machine_is_disclosed(client: httpx.AsyncClient, tmp_path: Path) -> None:
    job_id = await submitted(client, "cat none", outputs=["none.txt"])
    await ended(client, job_id)
    (tmp_path / "home" / "job_output" / job_id).rename(tmp_path / "home" / "job_output" / "moved")
    replies = [
        await client.get("/api/jobs/7"),
        await client.get(f"/api/jobs/{job_id}"),
        await client.get(f"/api/jobs/{job_id}/result"),
        await client.get("/api/files/none"),
        await client.put("/api/files/none/none", content=b""),
        await client.post("/api/jobs", json={"commands": "'"}),
        await client.post("/api/jobs", json={"commands": "true", "inputs": [{"name": "a", "home": "none"}]}),
    ]
    for reply in replies:
        assert str(tmp_path) not in reply.text, reply.text


async def test_names_with_line_breaks_add_no_headers(client: httpx.AsyncClient, tmp_path: Path) -> None:
    evil = "a\r\nset-cookie: x=1\r\n\r\n<script>"
    (tmp_path / "home" / evil).write_text("content")
    listed = (await client.get("/api/files")).json()["files"]
    assert evil in [file["name"] for file in listed]
    reply = await client.get("/api/files/a%0D%0Aset-cookie:%20x=1%0D%0A%0D%0A%3Cscript%3E")
    assert "set-cookie" not in reply.headers
    assert reply.status_code in (200, 403, 404)


# -- bodies


@pytest.mark.parametrize("declared", [True, False])
@pytest.mark.parametrize("method", ["put", "post"])
async def test_bodies_that_are_too_large_are_refused(
    client: httpx.AsyncClient, tmp_path: Path, declared: bool, method: str
) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(30):
            yield b"x" * 10_000

    content: Any = b"x" * 300_000 if declared else pieces()
    kind = {"content-type": "multipart/form-data; boundary=b"} if method == "post" else {}
    path = "/api/jobs" if method == "post" else "/api/files/large"
    if method == "post" and declared:
        content = b'--b\r\ncontent-disposition: form-data; name="files"; filename="f"\r\n\r\n' + content
    reply = await client.request(method, path, content=content, headers=kind)
    assert reply.status_code in (413, 400) if method == "post" and not declared else reply.status_code == 413
    assert not (tmp_path / "home" / "large").exists()
    assert (await client.get("/api/jobs")).json()["total"] == 0


async def test_a_stalled_upload_is_aborted(mig: aiomig.Session, tmp_path: Path) -> None:
    app = create_app(mig, token=TOKEN, upload_idle=0.05)
    async with served(app) as url:
        host, port = url.removeprefix("http://").split(":")
        async with await anyio.connect_tcp(host, int(port)) as stream:
            await stream.send(
                f"PUT /api/files/slow HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {TOKEN}\r\n"
                "content-length: 10\r\n\r\nabc".encode()
            )
            assert b"408" in await stream.receive()
    assert not (tmp_path / "home" / "slow").exists()


async def test_a_client_that_disconnects_during_an_upload_submits_no_job(mig: aiomig.Session, app: FastAPI) -> None:
    async with served(app) as url:
        host, port = url.removeprefix("http://").split(":")
        async with await anyio.connect_tcp(host, int(port)) as stream:
            await stream.send(
                f"POST /api/jobs HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {TOKEN}\r\n"
                "content-type: multipart/form-data; boundary=b\r\ncontent-length: 1000\r\n\r\n"
                '--b\r\ncontent-disposition: form-data; name="commands"\r\n\r\ntrue'.encode()
            )
        async with httpx.AsyncClient(base_url=url, headers=HEADERS) as client:
            assert (await client.get("/api/jobs")).json()["total"] == 0
    assert await mig.jobs() == []


# -- headers


async def test_every_response_has_security_headers(client: httpx.AsyncClient) -> None:
    for path in (*ROUTES[:4], "/api/files", "/none"):
        headers = (await client.get(path)).headers
        policy = headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["x-frame-options"] == "DENY"
        assert headers["referrer-policy"] == "no-referrer"


# -- other users


async def test_one_user_never_sees_another(tmp_path: Path) -> None:
    def user_of(request: Request) -> str | None:
        return request.headers.get("x-user")

    pool = aiomig.SessionPool[str](lambda user: aiomig.local(tmp_path / user, slots=1, on_exit="cancel"))
    app = create_app(pool, authenticate=user_of)
    async with pool, client_of(app, headers={"x-user": "ada"}) as ada, client_of(app, headers={"x-user": "bob"}) as bob:
        job_id = await submitted(ada, "echo secret > secret.txt; echo secret", outputs=["secret.txt"], name="private")
        await ended(ada, job_id)
        await ada.put("/api/files/secret.txt", content=b"secret")
        assert (await bob.get("/api/jobs")).json()["total"] == 0
        for path in ("", "/result", "/events", "/stdout", "/stdout?follow=1", "/outputs", "/outputs.zip"):
            reply = await bob.get(f"/api/jobs/{job_id}{path}")
            assert reply.status_code == 404
            assert "secret" not in reply.text
        assert (await bob.get("/api/files/secret.txt")).status_code == 404
        for action in ("cancel", "resubmit"):
            assert (await bob.post(f"/api/jobs/{job_id}/{action}")).status_code == 404
        assert (await bob.get("/api/jobs/7/outputs/../../../../ada/secret.txt")).status_code == 404
        assert (await ada.get(f"/api/jobs/{job_id}/stdout")).text == "secret\n"
        async with client_of(app, headers={}, base_url="http://any.example") as nobody:
            assert (await nobody.get("/api/jobs")).status_code == 401
            assert (await nobody.get("/")).status_code == 401
        assert len(pool) == 2


async def test_events_of_one_user_are_not_sent_to_another(tmp_path: Path) -> None:
    pool = aiomig.SessionPool[str](lambda user: aiomig.local(tmp_path / user, slots=1, on_exit="cancel"))

    async def user_of(request: Request) -> str | None:
        return request.headers.get("x-user")

    async with (
        pool,
        served(create_app(pool, authenticate=user_of)) as url,
        httpx.AsyncClient(base_url=url, headers={"x-user": "ada"}) as ada,
        httpx.AsyncClient(base_url=url, headers={"x-user": "bob"}) as bob,
        ada.stream("GET", "/api/events") as of_ada,
        bob.stream("GET", "/api/events") as of_bob,
    ):
        ids = {"ada": await submitted(ada, "true"), "bob": await submitted(bob, "true", name="bobs")}
        for user, stream in (("ada", of_ada), ("bob", of_bob)):
            async for line in stream.aiter_lines():
                if line.startswith("data: "):
                    job = json.loads(line.removeprefix("data: "))
                    assert (job["id"], job.get("name")) == (ids[user], "bobs" if user == "bob" else None)
                    if job["state"] == "FINISHED":
                        break


async def test_a_user_whose_grid_fails_does_not_get_jobs_of_others() -> None:
    async with FakeGrid() as grid:

        def open_session(user: str) -> aiomig.Session:
            if user == "bob":
                raise aiomig.AuthenticationFailed("the certificate /etc/service/bob.pem has ended")
            return grid.session()

        pool = aiomig.SessionPool[str](open_session)
        app = create_app(pool, authenticate=lambda request: request.headers.get("x-user"))
        as_user = partial(client_of, app)
        async with pool, as_user(headers={"x-user": "ada"}) as ada, as_user(headers={"x-user": "bob"}) as bob:
            job_id = await submitted(ada, "true")
            for path in ("/api/jobs", f"/api/jobs/{job_id}", "/api/files"):
                reply = await bob.get(path)
                assert reply.status_code == 502
                assert reply.json()["type"] == "urn:aiomig:AuthenticationFailed"
                assert "/etc/service" not in reply.text
                assert (await ada.get(path)).status_code == 200
