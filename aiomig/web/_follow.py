"""The routes that follow jobs: their changes and their output as server-sent events."""

from __future__ import annotations

import hashlib
import random
from typing import TYPE_CHECKING, Literal

import anyio
from fastapi import APIRouter, Request
from fastapi.responses import Response, StreamingResponse

from .. import LocalError, NoSession
from ._board import Entry
from ._context import Board, LastEventId, Mig, Streams
from ._streams import ALIVE, HEARTBEAT, EventStream, OpenStreams, event

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from .. import Job, Session
    from ._board import JobBoard

router = APIRouter(prefix="/api")

_PAUSE_PER_STREAM = 0.001
"""After a change, a stream pauses for a random time of up to this many seconds per open stream, so they take turns."""

_LONGEST_PAUSE = 0.5
"""The upper limit of that pause in seconds."""

_MAX_LINES = 500
"""The most lines of output in one event."""

Stream = Literal["stdout", "stderr"]


# -- changes


@router.get("/events", summary="Follow all jobs", response_class=StreamingResponse)
async def events(board: Board, streams: Streams, last_event_id: LastEventId = None) -> Response:
    """Send every change of every job as a server-sent event, from now on or since ``Last-Event-ID``."""
    return EventStream(_changes(board, streams, last_event_id), streams)


async def _changes(board: JobBoard, streams: OpenStreams, last_event_id: str | None) -> AsyncIterator[bytes]:
    revision, missed = board.resume(last_event_id)
    yield f"retry: 1000\nid: {board.event_id(revision)}\n\n".encode()
    if missed:
        yield b"".join(event(entry.text, id=board.event_id(revision)) for entry in missed)
    while not isinstance(board.error, NoSession | LocalError):
        with anyio.move_on_after(HEARTBEAT) as pause:
            await board.wait(revision)
            await anyio.sleep(random.uniform(0, min(len(streams) * _PAUSE_PER_STREAM, _LONGEST_PAUSE)))
        entries = board.changes_after(revision)
        if entries:
            revision = entries[-1].revision
            yield b"".join(event(entry.text, id=board.event_id(entry.revision)) for entry in entries)
        elif pause.cancelled_caught:
            yield ALIVE


@router.get("/jobs/{job_id}/events", summary="Follow a job", response_class=StreamingResponse)
async def job_events(
    request: Request, mig: Mig, streams: Streams, job_id: str, last_event_id: LastEventId = None
) -> Response:
    """Send the current status of a job, then every change, until the job ends."""
    await mig.job(job_id).status()  # an unknown job gives 404 before the stream begins
    return EventStream(_job_changes(mig, job_id, last_event_id), streams)


async def _job_changes(mig: Session, job_id: str, last_event_id: str | None) -> AsyncIterator[bytes]:
    watch = mig.watch(job_id)
    yield b"retry: 1000\n\n"
    while True:
        status = None
        try:
            with anyio.move_on_after(HEARTBEAT):
                status = await anext(watch)
        except StopAsyncIteration:
            return
        if status is None:
            yield ALIVE
            continue
        entry = Entry(status, 0)
        digest = hashlib.sha256(entry.text.encode()).hexdigest()[:16]
        if digest != last_event_id:  # the client has not received this status yet
            yield event(entry.text, id=digest)
        last_event_id = None
        if status.state.is_final:
            yield event(str(status.state), kind="end")
            return


# -- output


@router.get("/jobs/{job_id}/stdout", summary="Standard output", response_class=StreamingResponse)
async def stdout(
    request: Request, mig: Mig, streams: Streams, job_id: str, follow: bool = False, last_event_id: LastEventId = None
) -> Response:
    """Return what the job has written to standard output so far, or follow it as server-sent events.

    A request with ``follow`` or ``Accept: text/event-stream`` gets events.
    """
    return await _output(request, mig, streams, job_id, "stdout", follow, last_event_id)


@router.get("/jobs/{job_id}/stderr", summary="Standard error", response_class=StreamingResponse)
async def stderr(
    request: Request, mig: Mig, streams: Streams, job_id: str, follow: bool = False, last_event_id: LastEventId = None
) -> Response:
    """Return what the job has written to standard error so far, or follow it as server-sent events.

    A request with ``follow`` or ``Accept: text/event-stream`` gets events.
    """
    return await _output(request, mig, streams, job_id, "stderr", follow, last_event_id)


async def _output(
    request: Request,
    mig: Session,
    streams: OpenStreams,
    job_id: str,
    name: Stream,
    follow: bool,
    last_event_id: str | None,
) -> Response:
    job = mig.job(job_id)
    await job.status()
    if follow or "text/event-stream" in request.headers.get("accept", ""):
        position = last_event_id or ""
        skip = int(position) if position.isdecimal() and len(position) < 16 else 0
        return EventStream(_lines(job, name, skip), streams)
    content = await (job.stdout_bytes(wait=False) if name == "stdout" else job.stderr_bytes(wait=False))
    return Response(content, media_type="text/plain; charset=utf-8", headers={"content-security-policy": "sandbox"})


async def _lines(job: Job, name: Stream, skip: int) -> AsyncIterator[bytes]:
    """Yield the lines of a stream. An event may contain many lines; its id is the number of the last one."""
    tail = job.tail(name, skip=skip)
    count = skip
    yield b"retry: 1000\n\n"
    while True:
        lines: list[str] = []
        try:
            with anyio.move_on_after(HEARTBEAT):
                lines.append(await anext(tail))
        except StopAsyncIteration:
            yield event(str((await job.status()).state), kind="end")
            return
        if not lines:
            yield ALIVE
            continue
        lines += tail.ready(_MAX_LINES)
        count += len(lines)
        yield event("\n".join(lines), id=str(count))
