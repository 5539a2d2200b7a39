"""The routes of jobs: ``/api/jobs``."""

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
from ._streams import download, read_chunks, zipped
from ._views import JobList, JobRequest, JobView, OutcomeView, job_view, plan_view

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .. import Job, Outcome, Session
    from ._board import Boards, Entry

router = APIRouter(prefix="/api")

_MAX_JSON_BYTES = 8 << 20

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
    """Submit a job, described by JSON or by a form. Files in the form become inputs under their own names."""
    content_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if content_type == "multipart/form-data":
        # The files go to the disk first: an incomplete form submits no job.
        with tempfile.TemporaryDirectory(prefix="aiomig-upload-") as directory:
            form = await read_form(request, Path(directory))
            arguments = _submit_arguments(form)
            arguments["inputs"] += [(path, name) for key, name, path in form.files if key != "executables"]
            arguments["executables"] += [(path, name) for key, name, path in form.files if key == "executables"]
            job = await mig.submit(**arguments)
    elif content_type == "application/json":
        job = await mig.submit(**_parse(await _json_body(request)).submit_arguments())
    else:
        raise Problem(415, "send application/json or multipart/form-data")
    return _created(request, job)


async def _json_body(request: Request) -> bytes:
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > _MAX_JSON_BYTES:
            raise Problem(413, f"JSON may have at most {_MAX_JSON_BYTES} bytes; send files as a form")
    return bytes(body)


def _parse(text: str | bytes) -> JobRequest:
    try:
        return JobRequest.model_validate_json(text)
    except ValidationError as error:
        raise SpecError(
            [
                Fault(".".join(map(str, item["loc"])) or "body", None, item["msg"], "see the description of the API")
                for item in error.errors(include_url=False, include_input=False, include_context=False)
            ]
        ) from error


def _submit_arguments(form: Form) -> dict[str, Any]:
    """Return the arguments of `Session.submit` from the fields of a form."""
    job = form.values("job")
    arguments = (_parse(job[-1]) if job else JobRequest(commands=[])).submit_arguments()
    if commands := form.values("commands"):
        arguments["commands"] = [line for text in commands for line in text.splitlines() if line.strip()]
    if outputs := [line.strip() for text in form.values("outputs") for line in text.splitlines() if line.strip()]:
        arguments["outputs"] = outputs
    if name := "".join(form.values("name")).strip():
        arguments["name"] = name
    if unknown := {name for name, _ in form.fields} - {"commands", "outputs", "name", "job"}:
        raise SpecError([Fault(min(unknown), None, "is not a field of this form", "use commands, name, outputs, job")])
    return arguments


def _created(request: Request, job: Job) -> Response:
    """Return the response for a new job, with its status if the board has it already."""
    path = request.url_for("one_job", job_id=job.id).path
    view: dict[str, Any] = {"id": job.id, "job_id": job.id, "state": "QUEUED"}
    boards: Boards = request.app.state.boards
    if (board := boards.get(request.state.session)) is not None and (entry := board.get(job.id)) is not None:
        view = job_view(entry.status)
    return JSONResponse(view, 201, {"location": path})


# -- status and results


@router.get("/jobs", response_model=JobList, summary="List jobs, newest first")
async def jobs(
    request: Request,
    board: Board,
    name: Annotated[str | None, Query(description="the job's name or id, with wildcards * and ?")] = None,
    state: Annotated[list[JobState] | None, Query(description="may be repeated")] = None,
    label: Annotated[list[str] | None, Query(description="name=value; may be repeated")] = None,
    since: Annotated[datetime | None, Query(description="received at this time or later")] = None,
    limit: Annotated[int, Query(ge=1, le=10_000)] = 100,
    offset: Annotated[int, Query(ge=0)] = 0,
) -> Response:
    """List the jobs of the session, including jobs that other programs submitted."""
    if since is not None and since.tzinfo is None:
        raise SpecError([Fault("since", None, "has no time zone", "add Z or +00:00")])
    labels = dict(_parse_label(text) for text in label or ())
    matching = [entry for entry in board.newest_first() if _matches(entry, name, state, since, labels)]
    page: list[str] = []
    for number, entry in enumerate(matching[offset : offset + limit]):
        page.append(entry.text)
        if number % 200 == 199:
            await anyio.lowlevel.checkpoint()
    next_page = None
    if offset + limit < len(matching):
        query = [(key, value) for key, value in request.query_params.multi_items() if key != "offset"]
        next_page = f"{request.url.path}?{urlencode([*query, ('offset', str(offset + limit))])}"
    # The jobs are JSON already, so only the other members are encoded here.
    rest = json.dumps({"total": len(matching), "next": next_page, "mark": board.event_id()})
    return Response(f'{{"jobs":[{",".join(page)}],{rest[1:]}', media_type="application/json")


def _parse_label(text: str) -> tuple[str, str]:
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
    """Show the status of a job, its description, and the outputs that have arrived."""
    job = mig.job(job_id)
    view = job_view(await job.status())
    view |= {"submitted": plan_view(await job.plan()), **await outputs(mig, job_id)}
    view["name"] = view.get("name") or view["submitted"].get("name")
    return JSONResponse(view)


@router.get("/jobs/{job_id}/result", summary="Wait for the result of a job")
async def result(
    mig: Mig,
    job_id: str,
    wait: Annotated[float, Query(ge=0, le=60, description="seconds to wait for the job's end")] = 0,
) -> Response:
    """Return exit codes and output, or 202 with the status if the job has not ended. Waiting never cancels the job."""
    job = mig.job(job_id)
    status = await job.status()
    with anyio.move_on_after(wait):
        status = await job.wait()
    if not status.state.is_final:
        return JSONResponse(job_view(status), 202)
    return JSONResponse((await job.result(check=False)).as_dict())


# -- actions


@router.post("/jobs/{job_id}/cancel", response_model=OutcomeView, summary="Cancel a job")
async def cancel(mig: Mig, job_id: str) -> dict[str, Any]:
    """Cancel a job. If the job has already ended, nothing changes and ``changed`` is false."""
    return _outcome(await mig.job(job_id).cancel())


@router.post("/jobs/{job_id}/freeze", response_model=OutcomeView, summary="Hold back a waiting job")
async def freeze(mig: Mig, job_id: str) -> dict[str, Any]:
    """Hold back a QUEUED job. A job in another state is refused with 409."""
    return _outcome(await mig.job(job_id).freeze())


@router.post("/jobs/{job_id}/thaw", response_model=OutcomeView, summary="Put a frozen job back into the queue")
async def thaw(mig: Mig, job_id: str) -> dict[str, Any]:
    """Put a FROZEN job back into the queue. A job in another state is refused with 409."""
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
    """Submit the same description again, as a new job."""
    return _created(request, await mig.job(job_id).resubmit())


# -- outputs


@router.get("/jobs/{job_id}/outputs", summary="List the outputs that have arrived")
async def outputs(mig: Mig, job_id: str) -> dict[str, Any]:
    """List the names and sizes of the outputs that have arrived."""
    return {"outputs": [{"name": name, "size": size} for name, _, size in await _arrived(mig, job_id)]}


@router.get("/jobs/{job_id}/outputs.zip", summary="Download all outputs", response_class=StreamingResponse)
async def all_outputs(mig: Mig, job_id: str) -> Response:
    """Return all outputs that have arrived, as a zip archive."""
    members = [(name, path) for name, path, _ in await _arrived(mig, job_id)]
    return download(zipped(mig.files, members), f"{job_id}.zip", None)


@router.get("/jobs/{job_id}/outputs/{name:path}", summary="Download an output", response_class=StreamingResponse)
async def output(mig: Mig, job_id: str, name: str) -> Response:
    """Return one output."""
    for output_name, path, size in await _arrived(mig, job_id):
        if output_name == name:
            return download(read_chunks(mig.files, path), name.rpartition("/")[2], size)
    raise Problem(404, "this job has no such output, or it has not arrived")


async def _arrived(mig: Session, job_id: str) -> list[tuple[str, str, int]]:
    """Return the name, path in the home and size of each output that has arrived."""
    job = mig.job(job_id)
    present = {info.path: info for info in await job.outputs()}
    return [
        (output.name, output.path, present[output.path].size)
        for output in (await job.plan()).outputs
        if output.path in present and not present[output.path].is_dir
    ]
