"""Operations on jobs: jobstatus, jobaction, mrslview, jobfeasible, liveio."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ._jobs import ALLOWED_STATES
from ._mrsl_parser import view_lines
from ._operation import Operation, Parameter
from ._operations_listing import FLAGS

if TYPE_CHECKING:
    from ._jobs import Job
    from ._operation import Call

_IDS = Parameter("job_id", "id", required=True)
_MOST = 500  # jobs of one jobaction (docs/protocol.md#actions)
_WAITING = ("QUEUED", "RETRY", "FROZEN")
_SEND = ("send", "put", "output")


def _jobstatus(call: Call) -> None:
    flags = call.flags
    kind = "sorted" if "s" in flags else "unsorted"
    call.header = f"MiG {kind}  job status"
    if "v" in flags:
        for letter in flags:
            if letter in "vsi":
                call.text(f"jobstatus using flag: {letter}")
    jobs = _matching(call)
    if "s" in flags:
        # Oldest first, contrary to the documentation (docs/protocol.md#jobstatus).
        jobs.sort(key=lambda job: job.times["received"])
    most = int(call.last("max_jobs"))
    if len(jobs) > most:
        call.text(f"Only showing first {most} of the {len(jobs)} matching jobs as requested")
    rows = [job.status_row(verbose="v" in flags) for job in jobs[:most]]
    if "i" in flags:
        for row in rows:
            row["mrsllink"] = {
                "object_type": "link",
                "destination": f"mrslview.py?job_id={row['job_id']}",
                "text": "View parsed mRSL contents",
            }
    call.add("job_list", jobs=rows)


def _matching(call: Call) -> list[Job]:
    jobs = list(call.matching_jobs())
    projects = set(call.all("project_name"))
    if projects:
        # The server adds the jobs of the project to those of the ids (docs/protocol.md#finding-a-submit).
        own = {job.id for job in jobs}
        jobs += [
            job
            for job in call.jobs.find(call.client, "*")
            if job.description.text("PROJECT") in projects and job.id not in own
        ]
    return jobs


def _jobaction(call: Call) -> None:
    action = call.last("action")
    if action not in ALLOWED_STATES:
        call.error(f'Invalid job action "{action}" (only {", ".join(ALLOWED_STATES)} supported)')
        return
    jobs = list(call.matching_jobs())
    if len(jobs) > _MOST:
        call.error(f"Too many matching jobs ({len(jobs)})!")
        return
    rows = [call.jobs.act(action, job) for job in jobs]
    call.add("changedstatusjobs", changedstatusjobs=rows)


def _mrslview(call: Call) -> None:
    call.verbose()
    for pattern in call.all("job_id"):
        jobs = call.jobs.find(call.client, pattern)
        if not jobs:
            call.missing(f"{pattern}.mRSL")
        for job in jobs:
            lines = view_lines(job.description, call.site)
            path = {"path": f"{job.id}.mRSL"} if "v" in call.flags else {}
            call.add("file_output", lines=lines, **path)


def _jobfeasible(call: Call) -> None:
    rows: list[dict[str, Any]] = []
    for job in call.matching_jobs():
        row: dict[str, Any] = {"object_type": "checkcondjob", "job_id": job.id}
        if job.state in _WAITING:
            row |= {"verdict": "Job seems feasible", "color": "green", "error_desc": {}}
            if job.description.number("NODECOUNT") > call.site.nodes:  # docs/protocol.md#matching
                row |= {
                    "verdict": "The job is not feasible due to the following condition(s):",
                    "color": "RED",
                    "error_desc": {"RESOURCE": "No valid/allowed resources available."},
                }
        else:
            states = " or ".join(_WAITING)
            row["message"] = f"You can only check feasibility of jobs with status: {states}."
        rows.append(row)
    call.add("checkcondjobs", checkcondjobs=rows)


def _jobschedule(call: Call) -> None:
    rows: list[dict[str, Any]] = []
    for job in call.matching_jobs():
        row: dict[str, Any] = {"object_type": "saveschedulejob", "job_id": job.id, "oldstatus": job.state}
        if job.state in _WAITING:
            job.times["schedule"] = call.now
        else:
            row["message"] = f"You can only update schedule status for jobs with status: {' or '.join(_WAITING)}."
        rows.append(row)
    info = "Please find any available job schedule status in\nverbose job status output."
    call.add("saveschedulejobs", saveschedulejobs=rows, savescheduleinfo=info)


def _liveio(call: Call) -> None:
    for pattern in call.all("job_id"):
        call.text(f"Requesting live I/O for {pattern}")
        jobs = call.jobs.find(call.client, pattern)
        if not jobs:
            call.error(f"{pattern}: You do not have any matching job IDs!")
        for job in jobs:
            _liveio_one(call, job)


def _liveio_one(call: Call, job: Job) -> None:
    if job.state != "EXECUTING":
        call.text(f"Job {job.id} is not currently being executed! Job status: {job.state}")
        return
    least = call.site.liveio_interval
    if job.live_asked is not None and call.now - job.live_asked < least:
        call.error(
            f"Request not allowed, you must wait at least {least:g} seconds\nbetween live update requests!",
        )
        return
    job.live_asked = call.now
    if call.program != "cgi-bin":
        call.error(".sendupdate file not available on MiG server")  # docs/protocol.md#endpoints
        return
    call.text("Request for live io was successfully sent to the resource!")
    action = "send" if call.last("action") in _SEND else "get"
    sources, folder = call.all("src"), call.last("dst") or f"job_output/{job.id}"
    call.jobs.later(call.site.liveio_time, lambda: _copy_live_files(call, job, action, sources, folder))
    files, way = " ".join(sources), "uploaded from" if action == "send" else "downloaded to"
    if sources:
        call.text(
            f"The files {files} will be {way} the job on the resource and should become available"
            f" in the {folder} directory in a minute."
        )
    else:
        call.text(
            "The job stdio files will be uploaded from the job on the resource and should become available"
            " in the corresponding job_output directory in a minute."
        )


def _copy_live_files(call: Call, job: Job, action: str, sources: list[str], folder: str) -> None:
    if job.state != "EXECUTING":
        return
    if sources:
        call.jobs.copy_live_files(job, action, sources, folder)
        return
    place = call.home.root / folder
    if (place / f"{job.id}.status").exists():
        return  # the attempt has ended, and its results have arrived
    place.mkdir(parents=True, exist_ok=True)
    for name in ("stdout", "stderr"):
        (place / f"{job.id}.{name}").write_bytes(call.jobs.read_live(job, name))


OPERATIONS = (
    Operation(
        "jobstatus",
        (
            Parameter("job_id", "id", default=("*",)),
            Parameter("max_jobs", "digits", default=("1000000",), limits=(1, 1_000_000)),
            FLAGS,
            Parameter("project_name", "word"),
        ),
        _jobstatus,
        header="",
    ),
    Operation("jobaction", (_IDS, Parameter("action", "word", required=True)), _jobaction, changes=True),
    Operation("mrslview", (_IDS, FLAGS), _mrslview),
    Operation("jobfeasible", (_IDS, FLAGS), _jobfeasible, changes=True),
    Operation("jobschedule", (_IDS, FLAGS), _jobschedule, changes=True),
    Operation(
        "liveio",
        (
            _IDS,
            Parameter("action", "word", default=("interactive",)),
            Parameter("src", "pattern"),
            Parameter("dst", "path"),
        ),
        _liveio,
        changes=True,
        title="MiG live I/O",
        header="Request live communication with jobs",
    ),
)
