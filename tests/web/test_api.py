"""The HTTP API: jobs, their results and outputs, and the home."""

from __future__ import annotations

import base64
import io
import zipfile
from typing import TYPE_CHECKING, Any

import pytest

import aiomig
from aiomig import JobState
from aiomig.testing import FakeGrid
from aiomig.web import create_app

from .conftest import TOKEN, client_of, ended, submitted

if TYPE_CHECKING:
    from pathlib import Path

    import httpx
    from fastapi import FastAPI


# -- submitting


async def test_a_job_is_submitted_as_json(client: httpx.AsyncClient) -> None:
    reply = await client.post(
        "/api/jobs",
        json={
            "commands": ['cat text.txt bytes.bin; echo "$GREETING"', "./run"],
            "name": "first",
            "inputs": [
                {"name": "text.txt", "text": "text\n"},
                {"name": "bytes.bin", "base64": base64.b64encode(b"bytes\n").decode()},
                {"name": "run", "text": "#!/bin/sh\necho ran\n", "executable": True},
            ],
            "environment": {"GREETING": "hello"},
            "resources": {"wall_time": 60},
        },
    )
    assert reply.status_code == 201
    view = reply.json()
    assert view["job_id"] == view["id"]
    assert reply.headers["location"] == f"/api/jobs/{view['id']}"
    result = await ended(client, view["id"])
    assert (result["state"], result["exit_code"]) == ("FINISHED", 0)
    assert result["stdout"] == "text\nbytes\nhello\nran\n"


async def test_a_job_is_submitted_as_a_form_with_files(client: httpx.AsyncClient) -> None:
    reply = await client.post(
        "/api/jobs",
        data={"commands": "cat a.txt b.txt\n./run > out.txt", "name": "form", "outputs": "out.txt"},
        files=[
            ("files", ("a.txt", b"A\n")),
            ("files", ("b.txt", b"B\n" * 1000)),
            ("executables", ("run", b"#!/bin/sh\necho ran\n")),
        ],
    )
    assert reply.status_code == 201, reply.text
    job_id = reply.json()["id"]
    assert (await ended(client, job_id))["stdout"] == "A\n" + "B\n" * 1000
    assert (await client.get(f"/api/jobs/{job_id}/outputs/out.txt")).content == b"ran\n"


async def test_files_of_the_home_are_inputs(client: httpx.AsyncClient) -> None:
    await client.put("/api/folders/data")
    assert (await client.put("/api/files/data/numbers.txt", content=b"3\n1\n2\n")).status_code == 201
    job_id = await submitted(client, "sort numbers", inputs=[{"name": "numbers", "home": "data/numbers.txt"}])
    assert (await ended(client, job_id))["stdout"] == "1\n2\n3\n"


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"commands": []}, "commands"),
        ({"commands": "true", "name": "a b"}, "name"),
        ({"commands": "true", "inputs": [{"name": "a"}]}, "inputs"),
        ({"commands": "true", "inputs": [{"name": "a", "text": "", "home": "a"}]}, "inputs"),
        ({"commands": "true", "inputs": [{"name": "a", "base64": "!"}]}, "inputs"),
        ({"commands": "true", "inputs": [{"name": "a", "url": "file:///etc/passwd"}]}, "inputs"),
        ({"commands": "true", "inputs": [{"name": "../a", "text": ""}]}, "inputs[0]"),
        ({"commands": "true", "inputs": ["/etc/passwd"]}, "inputs.0"),
        ({"command": "true"}, "commands"),
        ([], "body"),
    ],
)
async def test_an_invalid_job_gives_a_problem_with_its_faults(client: httpx.AsyncClient, body: Any, field: str) -> None:
    reply = await client.post("/api/jobs", json=body)
    assert reply.status_code == 422
    assert reply.headers["content-type"] == "application/problem+json"
    problem = reply.json()
    assert (problem["status"], problem["type"]) == (422, "urn:aiomig:SpecError")
    assert field in [fault["field"] for fault in problem["faults"]]
    assert all(fault["remedy"] for fault in problem["faults"])
    assert (await client.get("/api/jobs")).json()["total"] == 0


@pytest.mark.parametrize(
    ("kind", "content", "status"),
    [
        ("text/plain", b"true", 415),
        ("application/json", b"{", 422),
        ("multipart/form-data; boundary=x", b"no form", 400),
        ("multipart/form-data", b"--x--", 400),
        ("multipart/form-data; boundary=x", b'--x\r\ncontent-disposition: form-data; name="commands"\r\n\r\ntr', 400),
        ("multipart/form-data; boundary=x", b"--x\r\nfoo: bar\r\n\r\ntrue\r\n--x--\r\n", 400),
        (
            "multipart/form-data; boundary=x",
            b'--x\r\ncontent-disposition: form-data; name="odd"\r\n\r\ntrue\r\n--x--\r\n',
            422,
        ),
    ],
)
async def test_a_body_without_a_job_is_refused(
    client: httpx.AsyncClient, kind: str, content: bytes, status: int
) -> None:
    reply = await client.post("/api/jobs", content=content, headers={"content-type": kind})
    assert reply.status_code == status, reply.text
    assert reply.json()["status"] == status
    assert (await client.get("/api/jobs")).json()["total"] == 0


# -- status and results


async def test_the_list_can_be_filtered_and_has_pages(client: httpx.AsyncClient) -> None:
    for number in range(5):
        await ended(client, await submitted(client, "true", name=f"fit-{number}"))
    failed = await submitted(client, "exit 3", name="broken", retries=0, labels={"owner": "ada"})
    await ended(client, failed)
    page = (await client.get("/api/jobs", params={"limit": 2})).json()
    assert page["total"] == 6
    assert page["jobs"][0]["id"] == failed
    seen = [job["id"] for job in page["jobs"]]
    while page["next"]:
        page = (await client.get(page["next"])).json()
        seen += [job["id"] for job in page["jobs"]]
    assert len(seen) == len(set(seen)) == 6
    names = (await client.get("/api/jobs", params={"name": "fit-[0]"})).json()
    assert names["total"] == 0, "brackets mean nothing"
    names = (await client.get("/api/jobs", params={"name": "FIT-?"})).json()
    assert [job["name"] for job in names["jobs"]] == [f"fit-{number}" for number in (4, 3, 2, 1, 0)]
    states = (await client.get("/api/jobs", params={"state": ["FAILED", "CANCELED"]})).json()
    assert [job["id"] for job in states["jobs"]] == [failed]
    labelled = (await client.get("/api/jobs", params={"label": "owner=ada"})).json()
    assert [job["labels"] for job in labelled["jobs"]] == [{"owner": "ada"}]
    assert (await client.get("/api/jobs", params={"label": "owner"})).status_code == 422
    assert (await client.get("/api/jobs", params={"since": "2999-01-01T00:00:00Z"})).json()["total"] == 0
    assert (await client.get("/api/jobs", params={"since": "2999-01-01"})).status_code == 422
    assert (await client.get("/api/jobs", params={"state": "ODD"})).status_code == 422


async def test_the_list_contains_jobs_of_other_programs(client: httpx.AsyncClient, tmp_path: Path) -> None:
    assert (await client.get("/api/jobs")).json()["total"] == 0
    async with aiomig.local(tmp_path / "home") as other:
        job = await other.submit("true")
        async with client.stream("GET", f"/api/jobs/{job.id}/events") as reply:
            assert b"FINISHED" in await reply.aread()
        while not (jobs := (await client.get("/api/jobs")).json()["jobs"]) or jobs[0]["state"] != "FINISHED":
            await job.wait()
    assert jobs[0]["id"] == job.id


async def test_a_job_has_its_description(client: httpx.AsyncClient) -> None:
    job_id = await submitted(
        client,
        "cat in.txt > out.txt",
        name="one",
        inputs=[{"name": "in.txt", "text": "x"}],
        outputs=["out.txt", "none.txt"],
        environment={"A": "b c"},
        resources={"wall_time": 77, "cores": 1},
    )
    await ended(client, job_id)
    view = (await client.get(f"/api/jobs/{job_id}")).json()
    assert view["name"] == "one"
    assert view["outputs"] == [{"name": "out.txt", "size": 1}]
    old = view["submitted"]
    assert old["commands"] == ["cat in.txt > out.txt"]
    assert old["outputs"] == ["out.txt", "none.txt"]
    assert old["environment"] == {"A": "b c"}
    assert old["resources"]["wall_time"] == 77
    again = {name: old[name] for name in ("commands", "inputs", "outputs", "environment", "resources")}
    second = await client.post("/api/jobs", json={**again, "commands": ["cat in.txt"]})
    assert second.status_code == 201, second.text
    assert (await ended(client, second.json()["id"]))["stdout"] == "x"


async def test_an_unknown_job_is_not_found(client: httpx.AsyncClient) -> None:
    for path in ("", "/result", "/events", "/stdout", "/stderr?follow=1", "/outputs", "/outputs.zip", "/outputs/a"):
        reply = await client.get(f"/api/jobs/7_1_1_2026__1_1_1_local.0{path}")
        assert reply.status_code == 404, path
        assert reply.json()["detail"] == "no such job: 7_1_1_2026__1_1_1_local.0"
    for action in ("cancel", "freeze", "thaw", "resubmit"):
        assert (await client.post(f"/api/jobs/odd/{action}")).status_code == 404


# -- actions


async def test_jobs_are_canceled_frozen_thawed_and_resubmitted(
    client: httpx.AsyncClient, mig: aiomig.Session, tmp_path: Path
) -> None:
    gate = tmp_path / "gate"
    hold = f"test -p {gate} || mkfifo {gate}; read line < {gate}"
    running = [await submitted(client, hold) for _ in range(2)]
    waiting = await submitted(client, "echo again")
    assert (await client.post(f"/api/jobs/{waiting}/freeze")).json()["after"] == "FROZEN"
    refused = await client.post(f"/api/jobs/{waiting}/freeze")
    assert (refused.status_code, refused.json()["type"]) == (409, "urn:aiomig:ActionRefused")
    assert (await client.get(f"/api/jobs/{waiting}/result")).status_code == 202
    assert (await client.post(f"/api/jobs/{waiting}/thaw")).json()["after"] == "QUEUED"
    for job_id in running:
        outcome = (await client.post(f"/api/jobs/{job_id}/cancel")).json()
        assert (outcome["changed"], outcome["after"]) == (True, "CANCELED")
        assert (await client.post(f"/api/jobs/{job_id}/cancel")).json()["changed"] is False
    assert (await ended(client, waiting))["stdout"] == "again\n"
    second = await client.post(f"/api/jobs/{waiting}/resubmit")
    assert second.status_code == 201
    assert (await ended(client, second.json()["id"]))["stdout"] == "again\n"
    assert (await mig.job(running[0]).status()).state is JobState.CANCELED


# -- output


async def test_browsers_do_not_execute_output(client: httpx.AsyncClient) -> None:
    job_id = await submitted(client, ["printf '<script>alert(1)</script>\\377'", "echo err >&2"])  # type: ignore[arg-type]
    await ended(client, job_id)
    reply = await client.get(f"/api/jobs/{job_id}/stdout")
    assert reply.content == b"<script>alert(1)</script>\xff"
    assert reply.headers["content-type"] == "text/plain; charset=utf-8"
    assert reply.headers["x-content-type-options"] == "nosniff"
    assert (await client.get(f"/api/jobs/{job_id}/stderr")).text == "err\n"


async def test_outputs_are_downloads(client: httpx.AsyncClient) -> None:
    commands = "mkdir d; printf '<html>' > d/page.html; head -c 3000000 /dev/zero > big.bin"
    job_id = await submitted(client, commands, outputs=["d/page.html", "big.bin", "none.txt"])
    await ended(client, job_id)
    listed = (await client.get(f"/api/jobs/{job_id}/outputs")).json()["outputs"]
    assert listed == [{"name": "d/page.html", "size": 6}, {"name": "big.bin", "size": 3_000_000}]
    page = await client.get(f"/api/jobs/{job_id}/outputs/d/page.html")
    assert page.content == b"<html>"
    assert page.headers["content-disposition"] == "attachment; filename*=UTF-8''page.html"
    assert page.headers["content-type"] == "application/octet-stream"
    assert "sandbox" in page.headers["content-security-policy"]
    archive = await client.get(f"/api/jobs/{job_id}/outputs.zip")
    with zipfile.ZipFile(io.BytesIO(archive.content)) as members:
        assert members.testzip() is None
        assert members.namelist() == ["d/page.html", "big.bin"]
        assert members.read("big.bin") == bytes(3_000_000)
    assert (await client.get(f"/api/jobs/{job_id}/outputs/none.txt")).status_code == 404


# -- the home


async def test_files_are_listed_uploaded_downloaded_and_removed(client: httpx.AsyncClient) -> None:
    assert (await client.put("/api/folders/a/b")).json()["is_dir"] is True
    name = "a/b/ö c+@.txt"
    quoted = "a/b/%C3%B6%20c%2B%40.txt"
    reply = await client.put(f"/api/files/{quoted}", content=b"content")
    assert (reply.status_code, reply.json()["size"]) == (201, 7), reply.text
    listed = (await client.get("/api/files", params={"path": "a/b"})).json()
    assert [file["path"] for file in listed["files"]] == [name]
    assert [file["name"] for file in (await client.get("/api/files")).json()["files"]] == ["a"]
    assert (await client.get(f"/api/files/{quoted}")).content == b"content"
    assert (await client.get("/api/files/a")).status_code == 403
    assert (await client.get("/api/files", params={"path": name})).status_code == 403
    assert (await client.get("/api/files/none")).status_code == 404
    assert (await client.delete("/api/files/a")).status_code == 403
    assert (await client.delete(f"/api/files/{quoted}")).status_code == 204
    assert (await client.delete("/api/files/a", params={"recursive": True})).status_code == 204
    assert (await client.get("/api/files")).json()["files"] == []


# -- the application


async def test_the_api_describes_itself_and_loads_nothing_from_other_hosts(client: httpx.AsyncClient) -> None:
    description = (await client.get("/api/openapi.json")).json()
    assert {"/api/jobs", "/api/jobs/{job_id}/events", "/api/events", "/api/files/{path}"} <= set(description["paths"])
    for operations in description["paths"].values():
        assert all(operation["summary"] for operation in operations.values())
    for path in ("/docs", "/redoc", "/api/docs"):
        assert (await client.get(path)).status_code == 404
    page = (await client.get("/")).text
    assert "http://" not in page.replace("http://www.w3.org", "")
    assert "https://" not in page
    assert "<script>" not in page


async def test_health_needs_no_token(app: FastAPI) -> None:
    async with client_of(app, headers={}) as client:
        assert (await client.get("/api/health")).json() == {"status": "ok"}


async def test_the_default_token_is_random(mig: aiomig.Session) -> None:
    app = create_app(mig)
    assert len(app.state.token) >= 32
    assert create_app(mig).state.token != app.state.token


async def test_the_application_opens_its_session(tmp_path: Path) -> None:
    session = aiomig.local(tmp_path, on_exit="leave")
    app = create_app(session, token=TOKEN)
    async with app.router.lifespan_context(app), client_of(app) as client:
        assert session.is_open
        assert (await client.get("/api/jobs")).status_code == 200
    assert not session.is_open
    async with client_of(app) as client:
        assert (await client.get("/api/jobs")).status_code == 503
        assert (await client.get("/api/jobs/7")).status_code == 503


async def test_the_api_works_on_a_grid() -> None:
    async with FakeGrid() as grid, grid.session() as mig:
        grid.script(lambda job: job.executing().finish(stdout="from the grid\n"))
        async with client_of(create_app(mig, token=TOKEN)) as client:
            job_id = await submitted(client, "hostname", name="gridjob")
            assert (await ended(client, job_id))["stdout"] == "from the grid\n"
            (job,) = (await client.get("/api/jobs")).json()["jobs"]
            assert (job["id"], job["state"]) == (job_id, "FINISHED")


async def test_a_failure_of_the_grid_gives_a_problem(mig: aiomig.Session) -> None:
    async with FakeGrid() as grid, grid.session() as session, client_of(create_app(session, token=TOKEN)) as client:
        grid.faults.add("jobstatus", "error", times=None)
        reply = await client.get("/api/jobs/7")
        assert (reply.status_code, reply.json()["type"]) == (502, "urn:aiomig:ServerError")


@pytest.mark.parametrize(
    "arguments",
    [
        {"token": ""},
        {"token": "ü"},
        {"authenticate": 7},
        {"upload_limit": 0},
        {"upload_idle": 0},
        {"token": "a", "authenticate": lambda request: "user"},
    ],
)
def test_invalid_arguments_are_refused(arguments: dict[str, Any]) -> None:
    with pytest.raises(aiomig.SpecError, match=next(iter(arguments))):
        create_app(aiomig.local("/tmp/none"), **arguments)


def test_a_pool_needs_authenticate() -> None:
    with pytest.raises(aiomig.SpecError, match="authenticate"):
        create_app(aiomig.SessionPool(lambda key: aiomig.local()))
    with pytest.raises(aiomig.SpecError, match="session_or_pool"):
        create_app("session")  # type: ignore[arg-type]
