"""Reads the statuses of jobs from a grid, and detects which of them changed."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from .._core.models import is_job_id
from .._core.turns import give_way
from .protocol import jobs
from .protocol.answer import missing_jobs

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Sequence

    from .._core.models import JobStatus
    from .operations import OperationClient
    from .protocol.answer import Answer

_STATUS_FIELDS = (
    "status",
    "received_timestamp",
    "queued_timestamp",
    "executing_timestamp",
    "finished_timestamp",
    "failed_timestamp",
    "canceled_timestamp",
    "execution_histories",
    "schedule_hint",
    "verified",
    "resource",
)
"""The fields of a row that `jobs.status_of` reads."""


class StatusReader:
    """Reads statuses by ``jobstatus``, many per request. Ids that no job can have are not sent.

    Args:
        operations: the operations of the server.
        size: the most ids in one request.
    """

    def __init__(self, operations: OperationClient, size: int) -> None:
        self._operations = operations
        self._size = size
        self._changed = ChangedStatuses()

    def chunks(self, job_ids: Sequence[str]) -> Iterator[list[str]]:
        """Yield the valid ids, split into one list for each request."""
        valid = [job_id for job_id in job_ids if is_job_id(job_id)]
        return (valid[start : start + self._size] for start in range(0, len(valid), self._size))

    async def statuses(self, job_ids: Sequence[str]) -> dict[str, JobStatus]:
        """Return the statuses of the jobs that exist, in any order."""
        statuses: dict[str, JobStatus] = {}
        for chunk in self.chunks(job_ids):
            answer = await self._operations.query("jobstatus", _fields(chunk))
            statuses |= await give_way(jobs.read_statuses(answer, frozenset(chunk)))
        return statuses

    async def changed(self, job_ids: Sequence[str]) -> tuple[Iterable[JobStatus | None], Sequence[str]]:
        """Send one request. Return the rows (the new status, or ``None`` if unchanged) and the ids without a job."""
        valid = [job_id for job_id in job_ids if is_job_id(job_id)]
        asked, unknown = frozenset(valid), [job_id for job_id in job_ids if not is_job_id(job_id)]
        if not valid:
            return [], unknown

        async def send() -> tuple[Iterable[JobStatus | None], Sequence[str]]:
            reply = await self._operations.post("jobstatus", _fields(valid))
            if reply.status == 200 and self._changed.is_repeated(asked, reply.body):
                return [], unknown
            answer = await self._operations.parse("jobstatus", reply)
            return self._changed.read(asked, reply.body, answer), [*missing_jobs(answer), *unknown]

        return await self._operations.retrying(send)

    def forget(self, job_ids: Collection[str]) -> None:
        """Treat the next status of each of these jobs as a change."""
        self._changed.forget(job_ids)


def _fields(job_ids: Iterable[str]) -> list[tuple[str, str]]:
    return [("flags", "v"), *(("job_id", job_id) for job_id in job_ids)]


class ChangedStatuses:
    """Compares responses to ``jobstatus`` with earlier ones about the same jobs, and returns only the changes.

    A digest of the bytes tells whether a whole response repeats the last one about the same jobs. The values of the
    status fields tell whether a row does.
    """

    def __init__(self) -> None:
        self._rows: dict[str, tuple[object, ...]] = {}
        self._digests: dict[frozenset[str], bytes] = {}  # by the jobs of the request; no job is in two keys

    def is_repeated(self, job_ids: frozenset[str], body: bytes) -> bool:
        """Return whether a response repeats the last one about these jobs."""
        return job_ids in self._digests and self._digests[job_ids] == _digest(body)

    def read(self, job_ids: frozenset[str], body: bytes, answer: Answer) -> Iterator[JobStatus | None]:
        """Yield the statuses that changed, and ``None`` for each other row. Rows of other jobs are ignored.

        Args:
            job_ids: the jobs of the request.
            body: the response.
            answer: the objects of the response.

        Raises:
            MigError: see `read_statuses`.
        """
        self._forget_digests(job_ids)
        for row in jobs.job_rows(answer):
            name = row.get("job_id")
            # None for an empty list, because the garbage collector skips tuples of strings only.
            fields = tuple([row.get(field) or None for field in _STATUS_FIELDS])
            if not isinstance(name, str) or (name in job_ids and self._rows.get(name) != fields):
                status = jobs.status_of(row)
                if not status.state.is_final:  # an ended job is not polled again
                    self._rows[status.job_id] = fields
                yield status
            else:
                yield None
        if not missing_jobs(answer):
            self._digests[job_ids] = _digest(body)

    def forget(self, job_ids: Collection[str]) -> None:
        """Treat the next status of each of these jobs as a change."""
        self._forget_digests(job_ids)
        for job_id in job_ids:
            self._rows.pop(job_id, None)

    def _forget_digests(self, job_ids: Collection[str]) -> None:
        self._digests = {ids: digest for ids, digest in self._digests.items() if ids.isdisjoint(job_ids)}


def _digest(body: bytes) -> bytes:
    """Return a digest of a response without its ``timing_info``, which differs in every response."""
    begin = body.rfind(b'"timing_info"')
    end = body.find(b"}", begin) if begin >= 0 else 0
    digest = hashlib.sha256(memoryview(body)[: max(begin, 0)])
    digest.update(memoryview(body)[end:])
    return digest.digest()
