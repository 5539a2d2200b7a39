"""Calls of a `FakeGrid` by plain HTTP, for tests of the server itself."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import httpx

if TYPE_CHECKING:
    from aiomig.testing import FakeGrid

AGENT = {"User-Agent": "aiomig-test/1"}


def client(grid: FakeGrid, **options: Any) -> httpx.AsyncClient:
    return httpx.AsyncClient(transport=grid.transport(), base_url="https://grid.example.org", headers=AGENT, **options)


async def call(http: httpx.AsyncClient, operation: str, **fields: Any) -> list[dict[str, Any]]:
    response = await http.post(f"/wsgi-bin/{operation}.py", data={"output_format": "json", **fields})
    assert response.status_code == 200
    assert response.headers["content-type"] == "application/json"
    answer: list[dict[str, Any]] = response.json()
    return answer


def one(answer: list[dict[str, Any]], kind: str) -> dict[str, Any]:
    (found,) = [each for each in answer if each["object_type"] == kind]
    return found


async def submit(http: httpx.AsyncClient, grid: FakeGrid, **fields: Any) -> str:
    answer = await call(http, "submitfields", _csrf=grid.token("submitfields"), **fields)
    (status,) = one(answer, "submitstatuslist")["submitstatuslist"]
    assert status["status"] is True, status
    job_id: str = status["job_id"]
    return job_id


async def state(http: httpx.AsyncClient, job_id: str) -> dict[str, Any]:
    (job,) = one(await call(http, "jobstatus", job_id=job_id), "job_list")["jobs"]
    found: dict[str, Any] = job
    return found
