"""Job rows in the local database, and the encoding of plans and failed attempts in them."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, NamedTuple

from .._core.errors import LocalError
from .._core.models import Attempt, JobState, JobStatus
from .._spec.labels import VARIABLE
from .._spec.mrsl import Description
from .._spec.plan import Plan, PlannedOutput

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

SERVER = "local.0"
RESOURCE = "localhost_exe"

COLUMNS = (
    "number, state, owner, plan, received, queued, executing, ended, attempt, local_name, attempts, verified, exit_code"
)

_JOB_ID = re.compile(r"([1-9]\d{0,17})_\d+_\d+_\d+__\d+_\d+_\d+_" + re.escape(SERVER), re.ASCII)
_NAME = re.compile(r'"JOBNAME":\["([^"\\]*)"\]')
_LOCAL_NAME = re.compile(r"\d{6}-\d{6}\.\d+", re.ASCII)
_STATES = {state.value: state for state in JobState}
_MALFORMED = (ValueError, KeyError, TypeError, AttributeError, OverflowError, OSError, RecursionError)
"""Errors of decoding a value that another program wrote, or that the disk damaged."""


class DamagedRecord(LocalError):
    """The row of one job cannot be decoded. Other jobs of the home are not affected."""

    def __init__(self, job: str, error: object) -> None:
        super().__init__(
            f"the record of {job} is damaged: {error}",
            remedy="the other jobs of the home are not affected; submit this one again",
        )


def job_id_of(number: int, received: float) -> str:
    """Return a job id in MiG's form: counter, UTC time stamp without padding, server."""
    at = datetime.fromtimestamp(received, UTC)
    return f"{number}_{at.month}_{at.day}_{at.year}__{at.hour}_{at.minute}_{at.second}_{SERVER}"


def number_of(job_id: str) -> int | None:
    """Return the number in the id of a local job; ``None`` if the id has another form."""
    match = _JOB_ID.fullmatch(job_id)
    return int(match[1]) if match else None


class Record(NamedTuple):
    """One row of the job table. Methods raise `DamagedRecord` if a value cannot be decoded."""

    number: int
    state_text: str
    owner: int | None
    plan_text: str
    received: float
    queued: float
    executing: float | None
    ended: float | None
    attempt: int
    local_name: str | None
    attempts_text: str | None
    verified: str | None
    exit_code: int | None

    @property
    def state(self) -> JobState:
        """The job's state; UNKNOWN if another version of aiomig wrote a state that this one does not know."""
        return _STATES.get(self.state_text, JobState.UNKNOWN)

    @property
    def job_id(self) -> str:
        """The job's id."""
        try:
            return job_id_of(self.number, self.received)
        except _MALFORMED as error:
            raise DamagedRecord(f"job number {self.number}", error) from error

    @property
    def attempt_name(self) -> str:
        """MiG's name of the job's last attempt. It is part of paths."""
        if self.local_name is None or _LOCAL_NAME.fullmatch(self.local_name) is None:
            raise DamagedRecord(f"job {self.job_id}", f"{self.local_name!r} is not the name of an attempt")
        return self.local_name

    def plan(self) -> Plan:
        """Decode the plan."""
        try:
            return decode_plan(self.plan_text)
        except _MALFORMED as error:
            raise DamagedRecord(f"job {self.job_id}", f"its plan cannot be read ({error!r})") from error

    @property
    def _name(self) -> str | None:
        # The plan need not be decoded: inside a JSON text the quotes would be escaped.
        match = _NAME.search(self.plan_text)
        return match[1] if match else None

    @property
    def _labels(self) -> dict[str, str]:
        try:
            return self.plan().labels if VARIABLE in self.plan_text else {}
        except DamagedRecord:
            return {}

    def attempts(self) -> tuple[Attempt, ...]:
        """Decode the failed attempts so far."""
        try:
            return decode_attempts(self.attempts_text)
        except _MALFORMED as error:
            raise DamagedRecord(f"job {self.job_id}", f"its attempts cannot be read ({error!r})") from error

    def attempts_text_with(self, reason: str, detail: str, now: float) -> str:
        """Return the failed attempts and one more as JSON text."""
        failed = Attempt(moment(self.queued), moment(self.executing or now), moment(now), reason, detail)
        try:
            return encode_attempts([*self.attempts(), failed])
        except DamagedRecord:
            return encode_attempts([failed])

    def status(self) -> JobStatus:
        """Return the job's status for the user."""
        state = self.state
        if state is JobState.UNKNOWN:
            raise DamagedRecord(f"job {self.job_id}", f"{self.state_text!r} is not a state of a job")
        try:
            ended = moment(self.ended)
            return JobStatus(
                job_id=self.job_id,
                state=state,
                native=self.state_text,
                received_at=moment(self.received),
                queued_at=moment(self.queued),
                executing_at=moment(self.executing),
                finished_at=ended if state is JobState.FINISHED else None,
                failed_at=ended if state is JobState.FAILED else None,
                canceled_at=ended if state is JobState.CANCELED else None,
                attempts=self.attempts(),
                verified=self.verified,
                resource=RESOURCE if self.executing is not None else None,
                name=self._name,
                exit_code=self.exit_code,
                labels=self._labels,
            )
        except _MALFORMED as error:
            raise DamagedRecord(f"job {self.job_id}", error) from error


def moment(seconds: float | None) -> datetime | None:
    """Return seconds since 1970 as an aware time."""
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC)


def encode_plan(plan: Plan) -> str:
    """Return a plan as JSON text, without its uploads: those are done by then."""
    data: dict[str, Any] = {"k": dict(plan.description.keywords)}
    if plan.outputs:
        data["o"] = [[output.name, output.path, output.destination] for output in plan.outputs]
    if plan.folder is not None:
        data["f"] = plan.folder
    if plan.marker:
        data["m"] = plan.marker
    if plan.prologue_lines or plan.epilogue_lines:
        data["l"] = [plan.prologue_lines, plan.epilogue_lines]
    return json.dumps(data, ensure_ascii=False, separators=(",", ":"))


def decode_plan(text: str) -> Plan:
    """Return the plan that `encode_plan` wrote.

    Raises:
        ValueError, KeyError, TypeError, AttributeError: the text is something else.
    """
    data = json.loads(text)
    before, after = data.get("l", (0, 0))
    return Plan(
        Description({keyword: _texts(lines) for keyword, lines in data["k"].items()}),
        outputs=tuple(
            PlannedOutput(_text(name), _text(path), None if place is None else _text(place))
            for name, path, place in data.get("o", ())
        ),
        folder=_text(data["f"]) if "f" in data else None,
        marker=_text(data.get("m", "")),
        prologue_lines=_count(before),
        epilogue_lines=_count(after),
    )


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError("not a text")
    return value


def _count(value: object) -> int:
    if not isinstance(value, int):
        raise TypeError("not a number")
    return value


def _texts(values: Sequence[str]) -> tuple[str, ...]:
    if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
        raise TypeError("not a list of texts")
    return tuple(values)


def encode_attempts(attempts: Iterable[Attempt]) -> str:
    """Return failed attempts as JSON text: queued, executing, failed, reason, detail."""
    rows = [
        [
            *(_seconds(at) for at in (attempt.queued_at, attempt.executing_at, attempt.failed_at)),
            attempt.reason,
            attempt.detail,
        ]
        for attempt in attempts
    ]
    return json.dumps(rows, ensure_ascii=False, separators=(",", ":"))


def _seconds(at: datetime | None) -> float | None:
    return None if at is None else at.timestamp()


def decode_attempts(text: str | None) -> tuple[Attempt, ...]:
    """Return the attempts that `encode_attempts` wrote.

    Raises:
        ValueError, TypeError, OverflowError: the text is something else.
    """
    if not text:
        return ()
    return tuple(
        Attempt(moment(queued), moment(executing), moment(failed), str(reason), str(detail), RESOURCE)
        for queued, executing, failed, reason, detail in json.loads(text)
    )
