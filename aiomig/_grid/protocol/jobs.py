"""Parses responses about jobs: submits, states, actions, feasibility. Pure functions, no I/O."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from ..._core.errors import FileNotFound, JobNotFound, MigError, ProtocolError, ServerError, SubmitRejected
from ..._core.models import Attempt, Fault, JobState, JobStatus, Outcome
from ..._spec.labels import labels_in
from .answer import (
    Answer,
    Object,
    faults,
    integer_of,
    lines_of,
    missing_jobs,
    of_type,
    parse_job_id,
    plain,
    raise_for_errors,
    rows,
    text_of,
)

if TYPE_CHECKING:
    from collections.abc import Container, Generator

_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_ASCTIME = re.compile(r"[A-Z][a-z]{2} ([A-Z][a-z]{2}) +(\d{1,2}) (\d{2}):(\d{2}):(\d{2}) (\d{4})", re.ASCII)
_PREAMBLE = re.compile(
    r"(?:parse failed, Error in mRSL file - or parser - or subsystem :\) ?)?(?:Parse failed \(typecheck\) ?)?"
)
_COMPLAINT = re.compile(r"\n(?=unknown keyword: |REQUIRED keyword )")
_UNKNOWN_KEYWORD = re.compile(r"unknown keyword: (.*)")
_REQUIRED_KEYWORD = re.compile(r"REQUIRED keyword (\S+) was not found.*")
_SECTION = re.compile(r"^::([A-Z]+)::\n", re.MULTILINE)  # in the text of ``mrslview``
_FAULT_BEGINS = "<!-- ****** INFORMATION ABOUT THE TYPE ERROR IN TEXT FORMAT ******"
_LONGEST_MESSAGE = 100_000  # characters; one fault takes about 2000
_FAULT_KEYS = ("Keyword", "Error", "You supplied", "Keyword example", "Keyword description")


@dataclass(frozen=True, slots=True)
class SubmitReply:
    """The outcome of submitting one description.

    Attributes:
        name: the file of the description without a leading ``/``; empty if the server does not name it.
        job_id: the new job, or ``None``.
        error: the reason if there is no job, or ``None``.
    """

    name: str
    job_id: str | None
    error: MigError | None = None


@dataclass(frozen=True, slots=True)
class Feasibility:
    """Whether some resource could run a job.

    Attributes:
        job_id: the job.
        verdict: the server's verdict; empty if the job was not checked.
        color: ``GREEN``, ``YELLOW``, ``RED`` or the like; empty if the job was not checked.
        reasons: pairs of a keyword and an objection to the job.
        message: why the job was not checked; empty if it was.
    """

    job_id: str
    verdict: str = ""
    color: str = ""
    reasons: tuple[tuple[str, str], ...] = ()
    message: str = ""


def submitted(answer: Answer, operation: str = "submit") -> list[SubmitReply]:
    """Return the outcome for each submitted description, in the order of the response.

    The server may accept some descriptions and refuse others (docs/protocol.md#submit-operations). An error that does
    not name a description comes last, under the name ``""``, so that the ids of new jobs are not lost.

    Args:
        answer: the response to ``submit``, ``submitfields``, ``textarea`` or ``editfile``.
        operation: the operation.

    Raises:
        MigError: the request was refused as a whole; see `raise_for_errors`.
        ProtocolError: the response is about something else.
    """
    if not of_type(answer, "submitstatuslist"):
        raise_for_errors(operation, answer, "submitstatuslist")
    made = [_submission(operation, row) for row in rows(operation, answer, "submitstatuslist")]
    for error in faults(operation, answer):
        if isinstance(error, FileNotFound):
            made.append(SubmitReply(error.path.lstrip("/"), None, error))
        elif not made:
            raise error
        else:
            made.append(SubmitReply("", None, error))
    return made


def _submission(operation: str, row: Object) -> SubmitReply:
    name = text_of(row, "name").lstrip("/")
    if row.get("status") is True:
        try:
            return SubmitReply(name, parse_job_id(operation, row.get("job_id")))
        except ProtocolError as error:
            return SubmitReply(name, None, error)
    return SubmitReply(name, None, rejected(text_of(row, "message")))


def rejected(message: str) -> SubmitRejected:
    """Return the error for the server's message about a description (docs/protocol.md#mrsl-syntax)."""
    message = message[:_LONGEST_MESSAGE]
    typed = _type_faults(message)
    head, table, _ = message.partition("<table")
    rest = head + (message.rpartition("-->")[2] if table else "")
    stripped = (_PREAMBLE.sub("", plain(part), count=1).strip() for part in _COMPLAINT.split(rest))
    complaints = [complaint for complaint in stripped if complaint]
    messages = [f"{fault.field}: {fault.problem} (you supplied: {fault.value})" for fault in typed] + complaints
    keywords = [fault for complaint in complaints if (fault := _keyword_fault(complaint))]
    return SubmitRejected(messages or [plain(message)[:400]], typed + keywords)


def _keyword_fault(complaint: str) -> Fault | None:
    if match := _UNKNOWN_KEYWORD.fullmatch(complaint):
        return Fault(match[1], match[1], "unknown keyword", "use a keyword of mRSL; a comment cannot begin a block")
    if match := _REQUIRED_KEYWORD.fullmatch(complaint):
        return Fault(match[1], None, "required, but not there", f"give {match[1]} at least one line")
    return None


def _type_faults(message: str) -> list[Fault]:
    """Return the type errors in a message, from the plain-text comment after each table."""
    faults = []
    for block in message.split(_FAULT_BEGINS)[1:]:
        values: dict[str, str] = {}
        key = ""
        for line in block.partition("-->")[0].splitlines():
            word, colon, value = line.strip().partition(": ")
            if colon and word in _FAULT_KEYS and word not in values:
                key, values[word] = word, value
            elif key and line.strip().strip("*"):
                values[key] += f" {line.strip()}"
        if values.get("Keyword"):
            faults.append(_type_fault(values))
    return faults


def _type_fault(values: dict[str, str]) -> Fault:
    example = plain(values.get("Keyword example", "").replace("<br/>", " "))
    return Fault(
        values["Keyword"],
        values.get("You supplied", ""),
        plain(values.get("Error", "")) or "refused by the server",
        f"give a value such as {example}" if example else "see the description of the keyword",
    )


def read_statuses(
    answer: Answer, job_ids: Container[str] | None = None, operation: str = "jobstatus"
) -> Generator[None, None, dict[str, JobStatus]]:
    """Return the statuses of a response by job id, in the order of the response. Yields after each row.

    Args:
        answer: the response.
        job_ids: the jobs of the request; rows of other jobs are ignored. ``None`` for all jobs.
        operation: the operation.

    Raises:
        ServerError: the request was refused.
        ProtocolError: the response is about something else, or a job has no id.
    """
    statuses: dict[str, JobStatus] = {}
    for row in job_rows(answer, operation):
        if job_ids is None or parse_job_id(operation, row.get("job_id")) in job_ids:
            status = status_of(row, operation)
            statuses[status.job_id] = status
        yield
    return statuses


def job_rows(answer: Answer, operation: str = "jobstatus") -> list[Object]:
    """Return the rows of a response, one for each job.

    Raises:
        ServerError: the request was refused.
        ProtocolError: the response is about something else.
    """
    return _known(operation, answer, "job_list", "jobs")


def _known(operation: str, answer: Answer, kind: str, key: str) -> list[Object]:
    """Return the rows of a response about jobs. Unknown jobs are not an error, as the response contains the others."""
    if others := faults(operation, answer, but=JobNotFound):
        raise others[0]
    if missing_jobs(answer) and not of_type(answer, kind):
        return []
    return rows(operation, answer, kind, key)


def status_of(row: Object, operation: str = "jobstatus") -> JobStatus:
    """Return the status in a row.

    Raises:
        ProtocolError: the row has no job id.
    """
    native = text_of(row, "status")
    return JobStatus(
        job_id=parse_job_id(operation, row.get("job_id")),
        state=_state(native) or JobState.UNKNOWN,
        native=native,
        received_at=timestamp(row.get("received_timestamp")),
        queued_at=timestamp(row.get("queued_timestamp")),
        executing_at=timestamp(row.get("executing_timestamp")),
        finished_at=timestamp(row.get("finished_timestamp")),
        failed_at=timestamp(row.get("failed_timestamp")),
        canceled_at=timestamp(row.get("canceled_timestamp")),
        attempts=_attempts(row.get("execution_histories")),
        schedule_hint=text_of(row, "schedule_hint") or None,
        verified=text_of(row, "verified") or None,
        resource=text_of(row, "resource") or None,
    )


def _state(native: str) -> JobState | None:
    return JobState(native) if native in JobState.__members__ else None


def _attempts(value: object) -> tuple[Attempt, ...]:
    histories = value if isinstance(value, list) else []
    entries = [entry for entry in histories if isinstance(entry, dict)]
    entries.sort(key=lambda entry: integer_of(entry, "count") or 0)
    inner = (entry.get("execution_history") for entry in entries)
    return tuple(_attempt(history) for history in inner if isinstance(history, dict))


def _attempt(history: Object) -> Attempt:
    resource = text_of(history, "resource")
    return Attempt(
        queued_at=timestamp(history.get("queued")),
        executing_at=timestamp(history.get("executing")),
        failed_at=timestamp(history.get("failed")),
        reason=text_of(history, "failed_message"),
        # HIDDEN means that the owner of the resource does not want it named.
        resource="" if resource == "HIDDEN" else resource,
    )


def timestamp(value: object) -> datetime | None:
    """Parse a time of a job: asctime in UTC without a zone (docs/protocol.md#timestamps); ``None`` for anything else.

    Works in any locale.
    """
    match = _ASCTIME.fullmatch(value) if isinstance(value, str) else None
    if match is None or match[1] not in _MONTHS:
        return None
    day, hour, minute, second, year = (int(part) for part in match.groups()[1:])
    try:
        return datetime(year, _MONTHS.index(match[1]) + 1, day, hour, minute, second, tzinfo=UTC)
    except ValueError:
        return None


def changed(answer: Answer, operation: str = "jobaction") -> dict[str, Outcome]:
    """Return the outcome of an action for each job, by job id. For an unknown id, ``before`` is ``None``.

    Raises:
        ServerError: the request was refused as a whole.
        ProtocolError: the response is about something else.
    """
    found = _known(operation, answer, "changedstatusjobs", "changedstatusjobs")
    outcomes = {job_id: Outcome.unknown(job_id) for job_id in missing_jobs(answer)}
    return outcomes | {outcome.job_id: outcome for outcome in (_outcome(operation, row) for row in found)}


def _outcome(operation: str, row: Object) -> Outcome:
    job_id = parse_job_id(operation, row.get("job_id"))
    before = _state(text_of(row, "oldstatus")) or JobState.UNKNOWN
    after = text_of(row, "newstatus")
    if after:
        return Outcome(job_id, before, _state(after) or JobState.UNKNOWN)
    return Outcome(job_id, before, None, plain(text_of(row, "message")) or "not changed, without a reason")


def feasible(answer: Answer, operation: str = "jobfeasible") -> dict[str, Feasibility]:
    """Return whether some resource could run each job; unknown jobs are left out.

    Raises:
        ServerError: the request was refused.
        ProtocolError: the response is about something else.
    """
    known = _known(operation, answer, "checkcondjobs", "checkcondjobs")
    found = [_feasibility(operation, row) for row in known]
    return {each.job_id: each for each in found}


def _feasibility(operation: str, row: Object) -> Feasibility:
    reasons = row.get("error_desc")
    pairs = reasons.items() if isinstance(reasons, dict) else ()
    return Feasibility(
        parse_job_id(operation, row.get("job_id")),
        verdict=plain(text_of(row, "verdict")),
        color=text_of(row, "color"),
        reasons=tuple((str(keyword), plain(str(reason))) for keyword, reason in pairs),
        message=plain(text_of(row, "message")),
    )


def raise_unless_live(answer: Answer, operation: str = "liveio") -> None:
    """Raise an error unless a request for the output of a running job was sent to it.

    The server reports this in plain text only: the job is not running, or the last request was too recent
    (docs/protocol.md#errors).

    Raises:
        JobNotFound: no job has this id.
        ServerError: the request was not sent to the job.
    """
    raise_for_errors(operation, answer)
    messages = [plain(text_of(item, "text")) for item in of_type(answer, "text")]
    if not any("successfully sent" in text for text in messages):
        raise ServerError(operation, [text for text in messages if not text.startswith("Requesting live I/O")])


def name_and_labels(text: str) -> tuple[str | None, dict[str, str]]:
    """Return the name of a job, if it has one, and its labels, from the text of ``mrslview``."""
    sections = _SECTION.split(text)
    values = dict(zip(sections[1::2], sections[2::2], strict=True))
    return values.get("JOBNAME", "").strip() or None, labels_in(values.get("ENVIRONMENT", "").splitlines())


def mrsl_texts(answer: Answer, operation: str = "mrslview") -> list[str]:
    """Return the descriptions of jobs in order, with their values unescaped (docs/protocol.md#mrsl-syntax).

    Raises:
        JobNotFound: one of the jobs does not exist.
        ProtocolError: the response is about something else.
    """
    for error in faults(operation, answer):
        if isinstance(error, FileNotFound):
            raise JobNotFound(error.path.removesuffix(".mRSL"))
    raise_for_errors(operation, answer, "file_output")
    return ["".join(lines_of(operation, item)) for item in of_type(answer, "file_output")]
