"""The log: one line for each event of a job and each request, and never the content of files or responses."""

from __future__ import annotations

import logging
import re
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import aiomig
from tests.clocks import anyio_backend
from tests.virtual import REAL_TIME, world

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["anyio_backend"]

ROOT = Path(__file__).parents[2]
STANDARD = {*vars(logging.makeLogRecord({})), "message", "asctime"}

Event = tuple[str, str | None]
SUBMITTED: Event = ("job_submitted", None)
RESUBMITTED: Event = ("job_resubmitted", None)
PARSE: Event = ("job_state", "PARSE")
QUEUED: Event = ("job_state", "QUEUED")
EXECUTING: Event = ("job_state", "EXECUTING")
FROZEN: Event = ("job_state", "FROZEN")
FINISHED: Event = ("job_ended", "FINISHED")
FAILED: Event = ("job_ended", "FAILED")
CANCELED: Event = ("job_ended", "CANCELED")


def extra(record: logging.LogRecord) -> dict[str, Any]:
    return {name: value for name, value in vars(record).items() if name not in STANDARD}


def events(records: Iterable[logging.LogRecord], job: aiomig.Job) -> list[Event]:
    """The lines at INFO about a job."""
    found = [extra(record) for record in records if record.levelno == logging.INFO]
    return [(each["event_name"], each["state"]) for each in found if each.get("job_id") == job.id]


@pytest.fixture
def log(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    caplog.set_level(logging.DEBUG, "aiomig")
    return caplog


# -- events of jobs


async def test_events_on_a_grid(log: pytest.LogCaptureFixture) -> None:
    async with world() as (grid, mig):
        run, held = await mig.submit("true"), await mig.submit("true")
        grid.job(run.id).executing(after=10).requeue(after=60).executing(after=100).finish(after=160)
        both = await mig.submit_many(["true", "true"])
        await run
        for _ in range(3):
            await run.status()
        await held.freeze()
        await held.thaw()
        await held.cancel()
        again = await held.resubmit()
        await mig.jobs()  # a listing is no event
        await mig.cancel(both)
        await mig.cancel(both)
    told = log.records
    assert events(told, run) == [SUBMITTED, PARSE, QUEUED, EXECUTING, QUEUED, EXECUTING, FINISHED]
    assert events(told, held) == [SUBMITTED, FROZEN, QUEUED, CANCELED]
    assert events(told, again) == [RESUBMITTED]
    assert [events(told, job) for job in both] == [[SUBMITTED, CANCELED]] * 2
    said = [record.getMessage() for record in told if extra(record).get("job_id") == run.id]
    assert said == [
        f"job {run.id} {words}"
        for words in (
            "was submitted",
            "is PARSE",
            "is QUEUED",
            "is EXECUTING",
            "is QUEUED",
            "is EXECUTING, attempt 2",
            "is FINISHED",
        )
    ]


@REAL_TIME
async def test_events_in_local_mode(tmp_path: Path, log: pytest.LogCaptureFixture) -> None:
    async with aiomig.local(tmp_path / "home", slots=1) as mig:
        long = await mig.submit("sleep 600")
        held, failing = await mig.submit("true"), await mig.submit("kill -KILL $$", retries=1)
        await held.freeze()
        await held.thaw()
        await held.cancel()
        await long.cancel()
        await mig.wait(failing)
        again = await held.resubmit()
        await again
    told = log.records
    assert events(told, long) == [SUBMITTED, EXECUTING, CANCELED]
    assert events(told, held) == [SUBMITTED, FROZEN, QUEUED, CANCELED]
    assert events(told, failing) == [SUBMITTED, EXECUTING, QUEUED, EXECUTING, FAILED]
    assert events(told, again) == [RESUBMITTED, EXECUTING, FINISHED]
    assert {record.name for record in told if record.levelno == logging.INFO} == {"aiomig.local"}
    assert [
        extra(record)["attempt"]
        for record in told
        if record.levelno == logging.INFO and extra(record)["job_id"] == failing.id
    ] == [None, 1, None, 2, None]


@REAL_TIME
async def test_a_job_of_another_program_is_told_as_it_is_learned(tmp_path: Path, log: pytest.LogCaptureFixture) -> None:
    async with aiomig.local(tmp_path / "home") as theirs:
        job = await theirs.submit("true", resources=aiomig.Resources(wall_time=60))
        async with aiomig.local(tmp_path / "home") as mine:
            await mine.job(job.id).wait()
        ends = [record for record in log.records if extra(record).get("event_name") == "job_ended"]
        assert 1 <= len(ends) <= 2  # each session logs each change once


async def test_nothing_is_done_where_nobody_listens() -> None:
    async with world() as (grid, mig):
        job = await mig.submit("true")
        grid.job(job.id).finish(after=10)
        await job
        assert mig._backend._log._logged == {}  # type: ignore[attr-defined]
    assert any(isinstance(each, logging.NullHandler) for each in logging.getLogger("aiomig").handlers)


# -- requests


async def test_a_line_for_each_request(log: pytest.LogCaptureFixture) -> None:
    secret = b"what the file holds"
    async with world() as (grid, mig):
        log.clear()
        grid.faults.add("cert_redirect", "error", times=1)
        grid.faults.add("ls", "truncate", times=1)
        await mig.files.write_bytes("f", secret)
        assert await mig.files.read_bytes("f") == secret
        assert await mig.files.cat("f") == secret.decode()
        await mig.files.ls()
        asked = [request.operation for request in grid.requests]
    told = [extra(record) for record in log.records if record.levelno == logging.DEBUG]
    requests = [each for each in told if each.get("event_name") == "request"]
    assert [each["operation"] for each in requests] == asked
    for each in requests:
        assert each.keys() == {
            *("event_name", "correlation_id", "operation", "method", "path", "status"),
            *("duration", "bytes_sent", "bytes_received"),
        }
        assert each["duration"] >= 0
        assert each["status"] in (200, 206, 500, None)
    upload = max(requests, key=lambda each: each["bytes_sent"])
    assert upload["bytes_sent"] > len(secret)
    assert any(each["bytes_received"] == len(secret) for each in requests)
    retries = [extra(record) for record in log.records if extra(record).get("event_name") == "retry"]
    assert [each.keys() for each in retries] == [{"event_name", "correlation_id", "pause"}] * 2
    assert {each["correlation_id"] for each in retries} <= {each["correlation_id"] for each in requests}
    everything = "\n".join(f"{record.getMessage()} {extra(record)}" for record in log.records)
    assert secret.decode() not in everything
    assert "csrf" not in everything


async def test_what_an_answer_holds_is_not_told(log: pytest.LogCaptureFixture) -> None:
    async with world() as (grid, mig):
        await mig.files.write_text("f", "what the file holds")
        log.clear()
        grid.faults.add("*", "html", times=None)
        with pytest.raises(aiomig.ProtocolError) as caught:
            await mig.files.ls()
        assert caught.value.excerpt in str(caught.value) or "<" in str(caught.value)
    assert "the server answered text/html" in log.text
    assert caught.value.excerpt[:40] not in log.text


# -- the clock of the server


async def test_a_session_tells_of_clock_skew_once(log: pytest.LogCaptureFixture) -> None:
    async with world() as (_, mig):  # whose time began years ago
        await mig.files.ls()
    (record,) = [record for record in log.records if extra(record).get("event_name") == "clock_skew"]
    assert timedelta(seconds=extra(record)["skew"]) < -timedelta(days=365)


# -- the documentation


def test_the_page_on_logging_lists_every_event_and_field() -> None:
    page = (ROOT / "docs" / "logging.md").read_text("utf-8")
    events, _, explained = page.partition("| field |")
    source = "\n".join(path.read_text("utf-8") for path in (ROOT / "aiomig").rglob("*.py"))
    rows = re.findall(r"^\| `(\w+)` \| [A-Z]+ \|.*\| ([^|]*) \|$", events, re.MULTILINE)
    named = set(re.findall(r'"event_name": "(\w+)"', source)) | set(re.findall(r'"(job_\w+ed|job_state)"', source))
    assert named == {name for name, _ in rows}
    fields = {field for _, listed in rows for field in re.findall(r"`(\w+)`", listed)} | {"event_name"}
    keys = {
        field for row in re.findall(r"^\| (`.*?`) \|", explained, re.MULTILINE) for field in re.findall(r"\w+", row)
    }
    assert fields == keys
    assert not fields & STANDARD
