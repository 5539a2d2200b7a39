"""Server-sent events of all jobs, of a job and of its output, and clients that reconnect."""

from __future__ import annotations

import json
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

import anyio
import httpx
import pytest

import aiomig
from aiomig.testing import FakeGrid
from aiomig.web import create_app
from tests.virtual import session_on

from .conftest import HEADERS, TOKEN, served, submitted

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from fastapi import FastAPI


class Event(NamedTuple):
    """A server-sent event."""

    kind: str
    id: str
    data: str

    @property
    def job(self) -> dict[str, Any]:
        value: dict[str, Any] = json.loads(self.data)
        return value


class Events:
    """Reads the events of a response."""

    def __init__(self, response: httpx.Response) -> None:
        self._lines = response.aiter_lines()
        self.last_id = ""

    def __aiter__(self) -> Events:
        return self

    async def __anext__(self) -> Event:
        kind, data = "message", []
        async for line in self._lines:
            name, _, value = line.partition(": ")
            if name == "id":
                self.last_id = value
            elif name == "event":
                kind = value
            elif name == "data":
                data.append(value)
            elif not line and data:
                return Event(kind, self.last_id, "\n".join(data))
        raise StopAsyncIteration


@asynccontextmanager
async def client_at(app: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    """Serve an application, and yield a client."""
    async with served(app) as url, httpx.AsyncClient(base_url=url, headers=HEADERS, timeout=60) as client:
        yield client


@pytest.fixture
async def web(app: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    """Provide a client of the served application."""
    async with client_at(app) as client:
        yield client


@asynccontextmanager
async def following(client: httpx.AsyncClient, path: str, last_id: str | None = None) -> AsyncIterator[Events]:
    headers = {} if last_id is None else {"last-event-id": last_id}
    async with client.stream("GET", path, headers=headers) as response:
        assert response.headers["content-type"].startswith("text/event-stream")
        yield Events(response)


async def until(events: Events, job_id: str, state: str) -> list[str]:
    states: list[str] = []
    async for sent in events:
        if sent.job["id"] == job_id:
            states.append(sent.job["state"])
            if states[-1] == state:
                break
    return states


async def test_events_of_all_jobs_include_their_ends(web: httpx.AsyncClient, mig: aiomig.Session) -> None:
    async with following(web, "/api/events") as events:
        job = await mig.submit("true")
        states = await until(events, job.id, "FINISHED")
    assert len(states) == len(set(states))


async def test_a_returning_reader_has_missed_nothing(web: httpx.AsyncClient) -> None:
    async with following(web, "/api/events") as events:
        first = await submitted(web, "true")
        await until(events, first, "FINISHED")
        last_id = events.last_id
    second = await submitted(web, "true")
    async with following(web, f"/api/jobs/{second}/events") as events:
        async for _ in events:
            pass
    async with following(web, "/api/events", last_id) as events:
        sent = await anext(events)
        assert (sent.job["id"], sent.job["state"]) == (second, "FINISHED")


@pytest.mark.parametrize("last_id", ["", "odd", "a-b-c", "0-99999999999999999999-1", "x" * 5000])
async def test_an_invalid_event_id_is_ignored(web: httpx.AsyncClient, last_id: str) -> None:
    async with following(web, "/api/events", last_id) as events:
        job_id = await submitted(web, "true")
        assert await until(events, job_id, "FINISHED")


async def test_a_reader_of_an_earlier_process_gets_the_changes_since_then(tmp_path: Path) -> None:
    async with aiomig.local(tmp_path / "home") as mig:
        async with client_at(create_app(mig, token=TOKEN)) as client, following(client, "/api/events") as events:
            await until(events, await submitted(client, "true"), "FINISHED")
            last_id = events.last_id
        job = await mig.submit("true")
        await job.wait()
    async with (
        aiomig.local(tmp_path / "home") as mig,
        client_at(create_app(mig, token=TOKEN)) as client,
        following(client, "/api/events", last_id) as events,
    ):
        assert await until(events, job.id, "FINISHED") == ["FINISHED"]


async def test_events_of_one_job_begin_with_its_status_and_end_with_its_end(web: httpx.AsyncClient) -> None:
    job_id = await submitted(web, "true")
    async with following(web, f"/api/jobs/{job_id}/events") as events:
        sent = [event async for event in events]
    assert sent[-2].job["state"] == sent[-1].data == "FINISHED"
    assert sent[-1].kind == "end"
    async with following(web, f"/api/jobs/{job_id}/events", sent[-2].id) as events:
        assert [event.kind async for event in events] == ["end"], "the reader has the status already"


async def test_events_of_a_grid_job_without_times_at_first() -> None:
    async with FakeGrid() as grid, grid.session() as mig, client_at(create_app(mig, token=TOKEN)) as client:
        grid.hold()
        job_id = await submitted(client, "true")
        async with following(client, f"/api/jobs/{job_id}/events") as events:
            states = [(await anext(events)).job["state"]]
            grid.job(job_id).executing().finish()
            states += [sent.job["state"] async for sent in events if sent.kind == "message"]
    assert states[0] in ("PARSE", "QUEUED")
    assert states[-1] == "FINISHED"


async def test_an_error_ends_a_stream_and_is_its_last_event() -> None:
    polling = aiomig.Polling(floor=0.01, ceiling=0.02, gather=0.0, failures=1)
    async with FakeGrid() as grid, grid.session(polling=polling, retry=aiomig.Retry(tries=1)) as mig:
        grid.hold()
        async with client_at(create_app(mig, token=TOKEN)) as client:
            job_id = await submitted(client, "true")
            async with following(client, f"/api/jobs/{job_id}/events") as events:
                await anext(events)
                grid.faults.add("jobstatus", "error", times=None)
                sent = [event async for event in events]
    assert sent[-1].kind == "problem"
    assert "jobstatus" in sent[-1].data


async def test_output_arrives_while_the_job_runs(web: httpx.AsyncClient, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    job_id = await submitted(
        web, f"mkfifo {gate}; printf 'first\\nsecond<b>\\rthird\\n'; read line < {gate}; printf 'last\\n'; echo e >&2"
    )
    async with following(web, f"/api/jobs/{job_id}/stdout?follow=true") as events:
        text = ""
        while "third" not in text:
            text += (await anext(events)).data + "\n"
        assert text == "first\nsecond<b>\nthird\n"
        last_id = events.last_id
    assert last_id == "2"
    gate.write_text("go\n")
    async with following(web, f"/api/jobs/{job_id}/stdout?follow=true", last_id) as events:
        sent = [event async for event in events]
    assert [event.data for event in sent] == ["last", "FINISHED"]
    async with web.stream("GET", f"/api/jobs/{job_id}/stderr", headers={"accept": "text/event-stream"}) as response:
        assert [event.data async for event in Events(response)] == ["e", "FINISHED"]


async def test_much_output_needs_few_events(web: httpx.AsyncClient) -> None:
    job_id = await submitted(web, "seq 20000")
    async with following(web, f"/api/jobs/{job_id}/stdout?follow=true") as events:
        sent = [event async for event in events]
    lines = [line for event in sent[:-1] for line in event.data.split("\n")]
    assert lines == [str(number) for number in range(1, 20001)]
    assert len(sent) < 200


async def test_readers_that_disconnect_leave_nothing_behind(app: FastAPI, mig: aiomig.Session) -> None:
    async with served(app) as url, httpx.AsyncClient(base_url=url, headers=HEADERS) as client:
        job = await mig.submit("read line")
        await job.wait()
        before = len(anyio.get_running_tasks())
        for _ in range(3):
            async with (
                httpx.AsyncClient(base_url=url, headers=HEADERS) as other,
                following(other, "/api/events"),
                following(other, f"/api/jobs/{job.id}/stdout?follow=1"),
            ):
                assert len(app.state.streams) >= 1
        while len(app.state.streams) or len(anyio.get_running_tasks()) > before:
            assert (await client.get("/api/health")).status_code == 200
        assert len(app.state.streams) == 0


async def test_many_readers_cost_a_grid_as_much_as_one() -> None:
    async def requests_of(readers: int) -> int:
        async with (
            FakeGrid() as grid,
            session_on(grid, floor=3600.0, ceiling=3600.0) as mig,
            served(create_app(mig, token=TOKEN)) as url,
        ):
            await mig.submit_many(["true"] * 5)
            before = grid.count("jobstatus")
            limits = httpx.Limits(max_connections=None)
            async with httpx.AsyncClient(base_url=url, headers=HEADERS, limits=limits, timeout=60) as client:

                async def read() -> None:
                    async with following(client, "/api/events"):
                        assert (await client.get("/api/jobs")).json()["total"] == 5

                async with anyio.create_task_group() as group:
                    for _ in range(readers):
                        group.start_soon(read)
            return grid.count("jobstatus") - before

    assert await requests_of(20) <= 3, "one list for the page, one for the events, one question for the unfinished jobs"
