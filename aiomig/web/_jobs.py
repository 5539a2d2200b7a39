"""The routes of jobs: ``/api/jobs`` and ``/api/events``."""

from __future__ import annotations

import fnmatch
import json
import re
import tempfile
from collections.abc import AsyncIterator
from contextlib import aclosing
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlencode

import anyio
import anyio.lowlevel
from fastapi import APIRouter, Depends, Header, Query, Request
from fastapi.responses import JSONResponse, Response, StreamingResponse
from pydantic import ValidationError

from .. import Fault, Job, JobState, LocalError, NoSession, Session, SpecError
from ._board import Boards, Entry, JobBoard
from ._forms import Form, read_form
from ._problems import Problem
from ._streams import ALIVE, HEARTBEAT, EventStream, OpenStreams, download, event, zipped
from ._views import JobList, JobRequest, JobView, OutcomeView, file_view, job_view, plan_view

router = APIRouter(prefix="/api")

GATHER = 0.05
"""Seconds in which changes are gathered, so that a stream sends many at once."""

_LONGEST_BATCH = 500
_LONGEST_JSON = 8 << 20

Stream = Literal["stdout", "stderr"]


def session_of(request: Request) -> Session:
    """Return the session of the user of a request."""
    session: Session = request.state.session
    return session


async def board_of(request: Request) -> JobBoard:
    """Return the jobs of the user of a request."""
    boards: Boards = request.app.state.boards
    return await boards.of(session_of(request))


def streams_of(request: Request) -> OpenStreams:
    """Return the open streams of the application."""
    streams: OpenStreams = request.app.state.streams
    return streams


Mig = Annotated[Session, Depends(session_of)]
Board = Annotated[JobBoard, Depends(board_of)]
Streams = Annotated[OpenStreams, Depends(streams_of)]
LastEventId = Annotated[str | None, Header(alias="Last-Event-ID")]


# -- submitting


@router.post(
    "/jobs",
    status_code=201,
    response_model=JobView,
    summary="Submit a job",
    openapi_extra={
        "requestBody": {
            "required": True,
            "content": {
                "application/json": {"schema": JobRequest.model_json_schema(ref_template="#/components/schemas/{model}")},
                "multipart/form-data": {
                    "schema": {
                        "type": "object",
                        "required": ["commands"],
                        "properties": {
                            "commands": {"type": "string", "description": "command lines"},
                            "name": {"type": "string"},
                            "outputs": {"type": "array", "items": {"type": "string"}},
                            "job": {"type": "string", "description": "all other fields, as JSON"},
                            "files": {"type": "array", "items": {"type": "string", "format": "binary"}},
                        },
                    }
                },
            },
        }
    },
)
async def submit(request: Request, mig: Mig) -> Response:
    """Submit a job, as JSON, or as a form whose files become inputs under their names."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind == "multipart/form-data":
        # The files go to the disk first: a form that breaks off makes no job.
        with tempfile.TemporaryDirectory(prefix="aiomig-upload-") as folder:
            form = await read_form(request, Path(folder))
            fields = _fields_of_form(form)
            fields["inputs"] += [(path, name) for key, name, path in form.files if key != "executables"]
            fields["executables"] += [(path, name) for key, name, path in form.files if key == "executables"]
            job = await mig.submit(**fields)
    elif kind == "application/json":
        job = await mig.submit(**_request_of(await _body(request)).fields())
    else:
        raise Problem(415, "send application/json or multipart/form-data")
    return await _made(request, job)


async def _body(request: Request) -> bytes:
    pieces: list[bytes] = []
    async for piece in request.stream():
        pieces.append(piece)
        if sum(map(len, pieces)) > _LONGEST_JSON:
            raise Problem(413, f"JSON may have {_LONGEST_JSON} bytes; send files as a form")
    return b"".join(pieces)


def _request_of(text: str | bytes) -> JobRequest:
    try:
        return JobRequest.model_validatejson.dumps(text)
    except ValidationError as error:
        raise SpecError(
            [
                Fault(".".join(map(str, each["loc"])) or "body", None, each["msg"], "see /api/openapi.json")
                for each in error.errors(include_url=False, include_input=False, include_context=False)
            ]
        ) from error


def _fields_of_form(form: Form) -> dict[str, Any]:
    """Return the arguments of `Session.submit` that the fields of a form hold."""
    fields = _request_of(form.texts("job")[-1]).fields() if form.texts("job") else JobRequest(commands="").fields()
    if commands := form.texts("commands"):
        fields["commands"] = [line for text in commands for line in text.splitlines() if line.strip()]
    if outputs := [line.strip() for text in form.texts("outputs") for line in text.splitlines() if line.strip()]:
        fields["outputs"] = outputs
    if name := "".join(form.texts("name")).strip():
        fields["name"] = name
    if unknown := {name for name, _ in form.fields} - {"commands", "outputs", "name", "job"}:
        raise SpecError([Fault(min(unknown), None, "is not a field of this form", "use commands, name, outputs, job")])
    return fields


async def _made(request: Request, job: Job) -> Response:
    """Return the response for a new job; its status may not be known yet."""
    path = request.url_for("one_job", job_id=job.id).path
    view: dict[str, Any] = {"id": job.id, "job_id": job.id, "state": "QUEUED"}
    boards: Boards = request.app.state.boards
    if (board := boards.known(session_of(request))) is not None and (entry := board.get(job.id)) is not None:
        view = job_view(entry.status)
    return JSONResponse(view, 201, {"location": path})


# -- looking


@router.get("/jobs", response_model=JobList, summary="List jobs, newest first")
async def jobs(
    request: Request,
    board: Board,
    name: Annotated[str | None, Query(description="the job's name or id; * is any text, ? one character")] = None,
    state: Annotated[list[JobState] | None, Query(description="one state or several")] = None,
    since: Annotated[datetime | None, Query(description="received at this time or later")] = None,
    limit: Annotated[int, Query(ge=1, le=10_000)] = 100,
    offset: Annotated[int, Query(ge=0)] = 0,
) -> Response:
    """List the jobs of the session, also those of other programs."""
    if since is not None and since.tzinfo is None:
        raise SpecError([Fault("since", None, "has no time zone", "add Z or +00:00")])
    found = [entry for entry in board.newest_first() if _matches(entry, name, state, since)]
    page = found[offset : offset + limit]
    texts: list[str] = []
    for number, entry in enumerate(page):
        texts.append(entry.text)
        if number % 200 == 199:
            await anyio.lowlevel.checkpoint()
    following = None
    if offset + limit < len(found):
        query = [(key, value) for key, value in request.query_params.multi_items() if key != "offset"]
        following = f"{request.url.path}?{urlencode([*query, ('offset', str(offset + limit))])}"
    tail = f'],"total":{len(found)},"next":{json.dumps(following)},"mark":{json.dumps(board.mark())}}}'
    return Response(f'{{"jobs":[{",".join(texts)}{tail}', media_type="application/json")


def _matches(entry: Entry, name: str | None, states: list[JobState] | None, since: datetime | None) -> bool:
    status = entry.status
    if states and status.state not in states:
        return False
    if since is not None and (status.received_at is None or status.received_at < since):
        return False
    if name is None:
        return True
    match = re.compile(fnmatch.translate(name.replace("[", "[[]")), re.IGNORECASE).match
    return any(match(text) is not None for text in (status.job_id, getattr(status, "name", None) or ""))


@router.get("/jobs/{job_id}", response_model=JobView, summary="Show a job in full", name="one_job")
async def one_job(mig: Mig, job_id: str) -> Response:
    """Show the status of a job, what it was submitted with, and which outputs have arrived."""
    job = mig.job(job_id)
    view = job_view(await job.status())
    view |= {"submitted": plan_view(await job.plan()), "files": [file_view(info) for info in await job.outputs()]}
    view["name"] = view.get("name") or view["submitted"].get("name")
    return JSONResponse(view)


@router.get("/jobs/{job_id}/result", summary="Wait for the result of a job")
async def result(
    mig: Mig,
    job_id: str,
    wait: Annotated[float, Query(ge=0, le=60, description="the most seconds to wait for the end")] = 0,
) -> Response:
    """Return exit codes and output; 202 with the status if the job has not ended. The wait never cancels the job."""
    job = mig.job(job_id)
    status = await job.status()
    with anyio.move_on_after(wait):
        status = await job.wait()
    if not status.state.is_final:
        return JSONResponse(job_view(status), 202)
    return JSONResponse((await job.result(check=False)).as_dict())


# -- acting


@router.post("/jobs/{job_id}/cancel", response_model=OutcomeView, summary="Cancel a job")
async def cancel(mig: Mig, job_id: str) -> dict[str, Any]:
    """Cancel a job. One that has ended stays as it is: ``changed`` is false."""
    return _outcome(await mig.job(job_id).cancel())


@router.post("/jobs/{job_id}/freeze", response_model=OutcomeView, summary="Hold back a waiting job")
async def freeze(mig: Mig, job_id: str) -> dict[str, Any]:
    """Hold a job back that is QUEUED; 409 otherwise."""
    return _outcome(await mig.job(job_id).freeze())


@router.post("/jobs/{job_id}/thaw", response_model=OutcomeView, summary="Put a frozen job back into the queue")
async def thaw(mig: Mig, job_id: str) -> dict[str, Any]:
    """Put a job that is FROZEN back into the queue; 409 otherwise."""
    return _outcome(await mig.job(job_id).thaw())


def _outcome(outcome: Any) -> dict[str, Any]:
    return {
        "job_id": outcome.job_id,
        "before": outcome.before,
        "after": outcome.after,
        "message": outcome.message,
        "changed": outcome.changed,
    }


@router.post("/jobs/{job_id}/resubmit", status_code=201, response_model=JobView, summary="Submit a job again")
async def resubmit(request: Request, mig: Mig, job_id: str) -> Response:
    """Submit the same again, as a new job."""
    return await _made(request, await mig.job(job_id).resubmit())


# -- changes


@router.get("/events", summary="Follow all jobs", response_class=StreamingResponse)
async def events(board: Board, streams: Streams, last_event_id: LastEventId = None) -> Response:
    """Send each change of each job as a server-sent event, from now on or from ``Last-Event-ID`` on."""
    return EventStream(_changes(board, last_event_id), streams)


async def _changes(board: JobBoard, mark: str | None) -> AsyncIterator[bytes]:
    revision, missed = board.since(mark)
    yield f"retry: 1000\nid: {board.mark(revision)}\n\n".encode()
    if missed:
        yield b"".join(event(entry.text, id=board.mark(revision)) for entry in missed)
    while not isinstance(board.error, NoSession | LocalError):
        with anyio.move_on_after(HEARTBEAT) as pause:
            await board.wait(revision)
            await anyio.sleep(GATHER)
        entries = board.after(revision)
        if entries:
            revision = entries[-1].revision
            yield b"".join(event(entry.text, id=board.mark(entry.revision)) for entry in entries)
        elif pause.cancelled_caught:
            yield ALIVE


@router.get("/jobs/{job_id}/events", summary="Follow a job", response_class=StreamingResponse)
async def job_events(
    request: Request, mig: Mig, streams: Streams, job_id: str, last_event_id: LastEventId = None
) -> Response:
    """Send the present status of a job, then each change, until its end."""
    await mig.job(job_id).status()  # 404 before the stream begins
    return EventStream(_job_changes(mig, job_id, last_event_id), streams)


async def _job_changes(mig: Session, job_id: str, mark: str | None) -> AsyncIterator[bytes]:
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
        digest = f"{status.state}-{len(status.attempts)}-{status.queued_at and status.queued_at.timestamp():.3f}"
        if digest != mark:
            yield event(entry.text, id=digest)
        mark = None
        if status.state.is_final:
            yield event(str(status.state), kind="end")
            return


# -- output


@router.get("/jobs/{job_id}/stdout", summary="Standard output", response_class=StreamingResponse)
async def stdout(
    request: Request, mig: Mig, streams: Streams, job_id: str, follow: bool = False, last_event_id: LastEventId = None
) -> Response:
    """Return what the job has written by now; follow it as server-sent events of lines if these are accepted."""
    return await _output(request, mig, streams, job_id, "stdout", follow, last_event_id)


@router.get("/jobs/{job_id}/stderr", summary="Standard error", response_class=StreamingResponse)
async def stderr(
    request: Request, mig: Mig, streams: Streams, job_id: str, follow: bool = False, last_event_id: LastEventId = None
) -> Response:
    """Return the same of standard error."""
    return await _output(request, mig, streams, job_id, "stderr", follow, last_event_id)


async def _output(
    request: Request, mig: Session, streams: OpenStreams, job_id: str, name: Stream, follow: bool, mark: str | None
) -> Response:
    job = mig.job(job_id)
    await job.status()
    if follow or "text/event-stream" in request.headers.get("accept", ""):
        skip = int(mark) if mark is not None and mark.isdecimal() and len(mark) < 16 else 0
        return EventStream(_lines(job, name, skip), streams)
    content = await (job.stdout_bytes(wait=False) if name == "stdout" else job.stderr_bytes(wait=False))
    return Response(content, media_type="text/plain; charset=utf-8", headers={"content-security-policy": "sandbox"})


async def _lines(job: Job, name: Stream, skip: int) -> AsyncIterator[bytes]:
    """Yield the lines of a stream, many in one event; the id is the number of the last line."""
    tail = job.tail(name, skip=skip)
    count = skip
    yield b"retry: 1000\n\n"
    while True:
        lines: list[str] = []
        try:
            with anyio.move_on_after(HEARTBEAT):
                lines = [await anext(tail)]
        except StopAsyncIteration:
            yield event(str((await job.status()).state), kind="end")
            return
        if not lines:
            yield ALIVE
            continue
        lines += tail.ready(_LONGEST_BATCH)
        count += len(lines)
        yield event("\n".join(lines), id=str(count))


# -- outputs


@router.get("/jobs/{job_id}/outputs", summary="List the outputs that have arrived")
async def outputs(mig: Mig, job_id: str) -> dict[str, Any]:
    """List the outputs with their names in the job and their sizes."""
    return {"outputs": [{"name": name, "size": size} for name, _, size in await _arrived(mig, job_id)]}


@router.get("/jobs/{job_id}/outputs.zip", summary="Download all outputs", response_class=StreamingResponse)
async def all_outputs(mig: Mig, job_id: str) -> Response:
    """Return all outputs that have arrived as one archive."""
    members = [(name, path) for name, path, _ in await _arrived(mig, job_id)]
    return download(zipped(mig.files, members), f"{job_id}.zip", None)


@router.get("/jobs/{job_id}/outputs/{name:path}", summary="Download an output", response_class=StreamingResponse)
async def output(mig: Mig, job_id: str, name: str) -> Response:
    """Return one output."""
    for arrived, path, size in await _arrived(mig, job_id):
        if arrived == name:
            return download(_pieces(mig, path), name.rpartition("/")[2], size)
    raise Problem(404, "this job has no such output, or it has not arrived")


async def _arrived(mig: Session, job_id: str) -> list[tuple[str, str, int]]:
    """Return the name, the path in the home and the size of each output that has arrived."""
    job = mig.job(job_id)
    present = {info.path: info for info in await job.outputs()}
    return [
        (output.name, output.path, present[output.path].size)
        for output in (await job.plan()).outputs
        if output.path in present and not present[output.path].is_dir
    ]


async def _pieces(mig: Session, path: str) -> AsyncIterator[bytes]:
    async with aclosing(mig.files.stream(path)) as pieces:
        async for piece in pieces:
            yield piece
