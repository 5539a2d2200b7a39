"""Values as JSON: by `as_dict`, by pydantic, and in the routes of FastAPI."""

from __future__ import annotations

import inspect
import json
from dataclasses import is_dataclass
from datetime import UTC, datetime
from enum import Enum
from typing import TYPE_CHECKING, Any, get_type_hints

import httpx
import pytest
from fastapi import FastAPI
from pydantic import TypeAdapter, ValidationError

import aiomig
from aiomig import Attempt, CheckReport, CommandResult, Fault, FileInfo, JobResult, JobSpec, JobState, JobStatus, Remote

if TYPE_CHECKING:
    from pathlib import Path

AT = datetime(2026, 11, 23, 12, 30, 59, 999, tzinfo=UTC)
ATTEMPT = Attempt(AT, AT, AT, "RESOURCE DIED", resource="r")
STATUS = JobStatus("7_a", JobState.FINISHED, "FINISHED", queued_at=AT, attempts=(ATTEMPT,))
RESULT = JobResult(STATUS, (CommandResult("false", 1),), b"\xff\n", b"\x00", staging=("output x was not made",))

VALUES = [
    ATTEMPT,
    STATUS,
    RESULT,
    JobState.EXECUTING,
    CheckReport((Fault("inputs", ["x"], "is missing", "make it"),), offers={"ARCHITECTURE": ("AMD64",)}),
    FileInfo("a/b", "b", is_dir=False, size=7, modified_at=AT),
    aiomig.Outcome("7_a", JobState.QUEUED, JobState.CANCELED),
    aiomig.Unconfirmed("marker", "name", "", AT, ("7_a",)),
    aiomig.WordCount(1, 2, 3),
    aiomig.Resources(wall_time=60, fill=("ALL",)),
    aiomig.SweepCounts(submitted=3, running=2, done=1, failed=0, earlier=0),
    aiomig.Site({"CPUTIME": aiomig.Keyword("CPUTIME", ("seconds",), ())}, ("ENV",)),
    Remote("a/b"),
    JobSpec(["echo", "true"], inputs=[(Remote("b"), "x")], outputs=["y"], environment={"A": "b"}, name="n"),
]
DATA = [
    each
    for each in (getattr(aiomig, name) for name in aiomig.__all__)
    if inspect.isclass(each) and (is_dataclass(each) or hasattr(each, "_fields") or issubclass(each, Enum))
]


def test_all_values_tell_their_types() -> None:
    assert len(DATA) > 20
    for kind in DATA:
        get_type_hints(kind)


def test_pydantic_describes_all_values() -> None:
    for kind in DATA:
        if kind is not aiomig.Waited:  # holds jobs, which belong to a session
            assert TypeAdapter(kind).json_schema()


@pytest.mark.parametrize("value", VALUES, ids=lambda value: type(value).__name__)
def test_pydantic_writes_and_reads_values(value: object) -> None:
    adapter: TypeAdapter[Any] = TypeAdapter(type(value))
    assert adapter.validate_json(adapter.dump_json(value)) == value


@pytest.mark.parametrize("fields", [{"name": "bad\nname"}, {"outputs": [("*", "x")]}, {"mrsl": {"EXECUTE": ["true"]}}])
def test_pydantic_cannot_make_a_wrong_spec(fields: dict[str, object]) -> None:
    adapter = TypeAdapter(JobSpec)
    assert adapter.validate_python({"commands": ["true"]}) == JobSpec("true")
    with pytest.raises(ValidationError, match=next(iter(fields))):
        adapter.validate_python({"commands": ["true"], **fields})


def test_pydantic_normalises_remote_paths() -> None:
    assert TypeAdapter(Remote).validate_python({"path": "/a/../b", "name": None}) == Remote("b")


def test_a_status_as_a_dict() -> None:
    values = STATUS.as_dict()
    assert values == json.loads(json.dumps(values))
    assert type(values["state"]) is str
    assert values["queued_at"] == "2026-11-23T12:30:59.000999+00:00"
    assert values["attempts"][0]["reason"] == "RESOURCE DIED"
    assert datetime.fromisoformat(values["queued_at"]) == AT


def test_a_result_as_a_dict() -> None:
    assert json.loads(json.dumps(RESULT.as_dict())) == {
        "job_id": "7_a",
        "state": "FINISHED",
        "exit_code": 1,
        "ok": False,
        "stdout": "\ufffd\n",
        "stderr": "\x00",
        "commands": [{"command": "false", "exit_code": 1}],
        "staging": ["output x was not made"],
    }


async def test_routes_of_fastapi_return_values(tmp_path: Path) -> None:
    app = FastAPI()

    @app.get("/jobs/{job_id}")
    async def status(job_id: str) -> JobStatus:
        return await mig.job(job_id).status()

    @app.get("/jobs/{job_id}/result")
    async def result(job_id: str) -> dict[str, Any]:
        return (await mig.job(job_id).result(check=False)).as_dict()

    @app.post("/jobs")
    async def submit(spec: JobSpec) -> str:
        return (await mig.submit(spec)).id

    transport = httpx.ASGITransport(app)
    async with aiomig.local(tmp_path) as mig, httpx.AsyncClient(transport=transport, base_url="http://app") as http:
        made = await http.post("/jobs", json={"commands": ["echo hi"], "environment": {"A": "b"}})
        job = mig.job(made.json())
        await job.wait()
        assert (await http.get(f"/jobs/{job.id}")).json()["state"] == "FINISHED"
        assert (await http.get(f"/jobs/{job.id}/result")).json() == (await job.result(check=False)).as_dict()
        refused = await http.post("/jobs", json={"commands": ["true"], "name": "two\nlines"})
        assert (refused.status_code, "name=" in refused.text) == (422, True)
        assert "JobStatus" in (await http.get("/openapi.json")).json()["components"]["schemas"]
