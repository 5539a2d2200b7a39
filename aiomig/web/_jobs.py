"""The routes of jobs: ``/api/jobs`` and ``/api/events``."""

from __future__ import annotations

import fnmatch
import json
import re
import tempfile
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import urlencode

import anyio
import anyio.lowlevel
from fastapi import APIRouter, Query, Request
from fastapi.responses import JSONResponse, Response, StreamingResponse
from pydantic import ValidationError

from .. import Fault, JobState, SpecError
from ._context import Board, Mig
from ._forms import Form, read_form
from ._problems import Problem
from ._streams import download, pieces_of, zipped
from ._views import JobList, JobRequest, JobView, OutcomeView, job_view, plan_view

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .. import Job, Outcome, Session
    from ._board import Boards, Entry

router = APIRouter(prefix="/api")

_LONGEST_JSON = 8 << 20

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
                "application/json": {
                    "schema": JobRequest.model_json_schema(ref_template="#/components/schemas/{model}")
                },
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
        return JobRequest.model_validate_json(text)
    except ValidationError as error:
        raise SpecError(
            [
                Fault(".".join(map(str, each["loc"])) or "body", None, each["msg"], "see the description of the API")
                for each in error.errors(include_url=False, include_input=False, include_context=False)
            ]
        ) from error


def _fields_of_form(form: Form) -> dict[str, Any]:
    """Return the arguments of `Session.submit` that the fields of a form hold."""
    fields = (
        _request_of(form.texts("job")[-1]).fields()
        if form.texts("job")
        else JobRequest.model_validate({"commands": []}).fields()
    )
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
    if (board := boards.known(request.state.session)) is not None and (entry := board.get(job.id)) is not None:
        view = job_view(entry.status)
    return JSONResponse(view, 201, {"location": path})


# -- looking


@router.get("/jobs", response_model=JobList, summary="List jobs, newest first")
async def jobs(
    request: Request,
    board: Board,
    name: Annotated[str | None, Query(description="the job's name or id; * is any text, ? one character")] = None,
    state: Annotated[list[JobState] | None, Query(description="one state or several")] = None,
    label: Annotated[list[str] | None, Query(description="name=value; may be repeated")] = None,
    since: Annotated[datetime | None, Query(description="received at this time or later")] = None,
    limit: Annotated[int, Query(ge=1, le=10_000)] = 100,
    offset: Annotated[int, Query(ge=0)] = 0,
) -> Response:
    """List the jobs of the session, also those of other programs."""
    if since is not None and since.tzinfo is None:
        raise SpecError([Fault("since", None, "has no time zone", "add Z or +00:00")])
    labels = dict(_label(text) for text in label or ())
    found = [entry for entry in board.newest_first() if _matches(entry, name, state, since, labels)]
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


def _label(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals:
        raise SpecError([Fault("label", None, "has no value", "write it as name=value")])
    return name, value


def _matches(
    entry: Entry,
    name: str | None,
    states: list[JobState] | None,
    since: datetime | None,
    labels: Mapping[str, str],
) -> bool:
    status = entry.status
    if not labels.items() <= status.labels.items():
        return False
    if states and status.state not in states:
        return False
    if since is not None and (status.received_at is None or status.received_at < since):
        return False
    if name is None:
        return True
    match = re.compile(fnmatch.translate(name.replace("[", "[[]")), re.IGNORECASE).match
    return any(match(text) is not None for text in (status.job_id, status.name or ""))


@router.get("/jobs/{job_id}", response_model=JobView, summary="Show a job in full", name="one_job")
async def one_job(mig: Mig, job_id: str) -> Response:
    """Show the status of a job, what it was submitted with, and which outputs have arrived."""
    job = mig.job(job_id)
    view = job_view(await job.status())
    arrived = [{"name": name, "size": size} for name, _, size in await _arrived(mig, job_id)]
    view |= {"submitted": plan_view(await job.plan()), "outputs": arrived}
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


def _outcome(outcome: Outcome) -> dict[str, Any]:
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
            return download(pieces_of(mig.files, path), name.rpartition("/")[2], size)
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
