"""Results of jobs: building them from MiG's result files, and raising errors for unsuccessful jobs. No I/O."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING

from .._core.display import short_repr
from .._core.errors import CommandFailed, JobCanceled, JobExpired, JobFailed, ResultsMissing
from .._core.models import JobResult, JobState
from .._core.status_file import LONGEST_STATUS, parse_status_file
from .._shell.lint import endings

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from datetime import datetime

    from .._core.models import Attempt, JobStatus
    from .._spec.plan import Plan

_TRANSFER = re.compile(r"(\S+) (-?[0-9]{1,9})", re.ASCII)
_MOST_NAMED = 20
_LONGEST_IO_STATUS = 65_536


async def job_result(
    status: JobStatus, files: Mapping[str, bytes], plan: Plan, *, longest_status: int = LONGEST_STATUS
) -> JobResult:
    """Return the result of a job, successful or not. See `raise_for`.

    A long ``.status`` file is parsed in chunks, so that other tasks can run in between.

    Args:
        status: the last status of the job.
        files: the contents of the existing result files, by suffix: see `KINDS`.
        plan: the plan of the job.
        longest_status: the maximum size of a ``.status`` file in bytes. If the file is longer, the exit codes count
            as not reported.
    """
    data = files.get("status", b"")
    parser = await parse_status_file(data[:longest_status], plan.description.lines("EXECUTE"))
    transfers = parse_io_status(files.get("io-status", b""))
    # Local mode reports which files did not arrive, and why; a grid reports only the step.
    staging = tuple(f"staging: {line}" for line in files.get("remarks", b"").decode("utf-8", "replace").splitlines())
    unexplained = [(step, code) for step, code in transfers if not _is_explained(step, staging)]
    staging += staging_problems(unexplained, plan)
    if len(data) > longest_status:
        staging += (f"staging: the .status file is too long ({len(data)} bytes): the exit codes are unknown",)
    result = JobResult(
        status=status,
        commands=parser.finish(plan.prologue_lines, plan.epilogue_lines),
        stdout_bytes=files.get("stdout", b""),
        stderr_bytes=files.get("stderr", b""),
        notes=tuple(parser.notes),
        transfers=transfers,
        reported=parser.count > 0 and len(data) <= longest_status,
        staging=staging if status.state is JobState.FINISHED else (),
    )
    return replace(result, status=replace(status, exit_code=result.exit_code))


def _is_explained(step: str, remarks: Sequence[str]) -> bool:
    """Return whether remarks name the files of a failed step."""
    kind = "input" if step.startswith("get_") else "output" if step == "output_files_missing" else ""
    return any(line.startswith(f"staging: {kind} ") for line in remarks)


def parse_io_status(data: bytes) -> tuple[tuple[str, int], ...]:
    """Return the steps of the staging and their codes. See docs/protocol.md#io-status.

    Args:
        data: the content of an ``.io-status`` file; empty if it did not arrive. Only its last 64 KiB are parsed.

    Returns:
        Pairs such as ``("get_input_files", 22)``, in order. A step that was retried appears several times. Lines in
        another format are left out.
    """
    lines = data[-_LONGEST_IO_STATUS:].decode("utf-8", "replace").split("\n")
    return tuple((match[1], int(match[2])) for line in lines if (match := _TRANSFER.fullmatch(line.strip())))


_STEPS = {"get_input_files": "INPUTFILES", "get_executables": "EXECUTABLES"}
_SENDING = ("send_output_files", "send_io_files")


def staging_problems(transfers: Iterable[tuple[str, int]], plan: Plan) -> tuple[str, ...]:
    """Return a line for each problem with the files of a job. See docs/protocol.md#io-status.

    A resource reports that a file of a step failed, but not which one, and runs the job nevertheless. So the line
    names all files of the step.
    """
    last = dict(transfers)  # only the last try of a step counts
    lines = []
    for step, keyword in _STEPS.items():
        if code := last.get(step, 0):
            files = [f"{file.destination} (from {file.source})" for file in plan.description.transfers(keyword)]
            lines.append(
                f"staging: {step} failed with {code}, so some {keyword} may have been missing while the job ran: "
                f"{_listed(files) or 'see the description of the job'}"
            )
    if missing := last.get("output_files_missing", 0):
        names = list(dict.fromkeys(output.name for output in plan.outputs))
        names = names or [file.source for file in plan.description.transfers("OUTPUTFILES")]
        which = f" of {len(names)} ({_listed(names)})" if names else ""
        lines.append(
            f"staging: {missing} of the outputs{which} were missing when the commands ended, or were directories or "
            "symbolic links with relative targets (a grid sends only the link itself; use cp -L)"
        )
    lines += [f"staging: {step} failed with {last[step]}" for step in _SENDING if last.get(step, 0)]
    return tuple(lines)


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - _MOST_NAMED} more" if len(names) > _MOST_NAMED else ""
    return ", ".join(names[:_MOST_NAMED]) + more


def raise_for(job_id: str, result: JobResult, plan: Plan) -> None:
    """Raise if a job has ended unsuccessfully.

    Raises:
        CommandFailed: the job is FINISHED, and a command had a nonzero exit code.
        ResultsMissing: the job is FINISHED, but no exit codes arrived, so aiomig does not know whether it was
            successful. See docs/protocol.md#python-3-servers.
        JobFailed: every attempt failed.
        JobCanceled: the job was canceled.
        JobExpired: the job was queued for too long.
    """
    status = result.status
    match status.state:
        case JobState.FINISHED:
            _raise_for_finished(job_id, result)
        case JobState.FAILED:
            raise JobFailed(job_id, _failure(status, plan), status=status, result=result)
        case JobState.CANCELED:
            when = f" at {_time(status.canceled_at)}" if status.canceled_at else ""
            raise JobCanceled(job_id, f"canceled{when}", status=status, result=result)
        case JobState.EXPIRED:
            message = "it was queued for longer than the grid allows"
            raise JobExpired(job_id, message, status=status, result=result)


def _raise_for_finished(job_id: str, result: JobResult) -> None:
    if not result.reported:
        contents = {"stdout": result.stdout_bytes, "stderr": result.stderr_bytes, "io-status": result.transfers}
        raise ResultsMissing(
            job_id,
            (f"{job_id}.status",),
            arrived=[f"{job_id}.{kind}" for kind, content in contents.items() if content],
            staging=result.staging,
            remedy="aiomig does not know whether the commands succeeded: result(check=False) returns what arrived, "
            "resubmit() runs them again",
            status=result.status,
            result=result,
        )
    for command in result.commands:
        if command.exit_code:
            raise CommandFailed(
                job_id,
                command=command.command,
                exit_code=command.exit_code,
                status=result.status,
                result=result,
                staging=result.staging,
            )


_DIED = "RESOURCE DIED"
# docs/protocol.md#retries-and-timeouts
_HINTS = {
    "JOB TIMEOUT": "JOB TIMEOUT: the job exceeded its wall time (raise resources.wall_time), or its results could not "
    "be sent: an output was unreadable or could not be stored in the home, or the job removed its own files",
    _DIED: "RESOURCE DIED: the resource or the job's shell failed. All results are lost if a command ends the shell "
    "with a failure (exit 3, set -e, exec), after a syntax error, or if the kernel kills the shell for its use of "
    "memory or CPU time",
}


def _failure(status: JobStatus, plan: Plan) -> str:
    attempts = status.attempts
    if not attempts:
        return f"the grid gave up at {_time(status.failed_at)} and reported no reason"
    count = "the only attempt" if len(attempts) == 1 else f"{len(attempts)} attempts"
    reasons = {attempt.reason for attempt in attempts}
    # If all attempts failed for the same reason and without details, the job itself is the likely cause.
    reason = "" if len(reasons) > 1 or any(attempt.detail for attempt in attempts) else reasons.pop()
    lines = [f"the grid gave up after {count}:"]
    lines += [f"- … and {len(attempts) - _MOST_NAMED} before"] if len(attempts) > _MOST_NAMED else []
    lines += [f"- {_attempt_summary(attempt)}" for attempt in attempts[-_MOST_NAMED:]]
    lines += [_HINTS[reason]] if reason in _HINTS else []
    if attempts[-1].reason == _DIED:
        suspects = [short_repr(fault.value) for fault in endings(plan.description.lines("EXECUTE"))]
        lines += [f"these commands may be the cause: {_listed(suspects)}"] if suspects else []
    return "\n".join(lines)


def _attempt_summary(attempt: Attempt) -> str:
    parts = [attempt.reason or "no reason given"]
    parts += [attempt.detail] if attempt.detail else []
    parts += [f"on {attempt.resource}"] if attempt.resource else []
    times = {"queued": attempt.queued_at, "executing": attempt.executing_at, "failed": attempt.failed_at}
    return ", ".join(parts + [f"{event} {_time(when)}" for event, when in times.items() if when])


def _time(when: datetime | None) -> str:
    return f"{when:%Y-%m-%d %H:%M:%S %Z}" if when else "an unknown time"
