"""Finds the jobs of a grid by a filter or by the marker of their submit, and reads their descriptions."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from .._core.errors import JobNotFound
from .._core.job_filter import JobFilter
from .._core.models import is_job_id
from .._core.turns import give_way, sort_steps
from .._spec import mrsl
from .._spec.plan import PRIVATE_FOLDER, Plan, PlannedOutput, output_names
from .protocol import jobs

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .._core.models import JobStatus
    from .._spec.mrsl import Description
    from .config import RequestLimits
    from .operations import OperationClient
    from .records import JobRecords

NO_JOB = "0-aiomig"
"""An id that no job has."""

_NEWEST = 1000
"""The number of jobs whose descriptions are searched for a marker if its PROJECT is unknown."""

_VARIABLE = "AIOMIG_SUBMIT"
_PATTERN = re.compile(r"(?!ALL\Z)[A-Za-z0-9._*?-]{1,255}", re.ASCII)
_OWN_INPUT = re.compile(rf"{PRIVATE_FOLDER}/[^/]+/in/")
_LEADING = re.compile(r"command -p (?:mkdir|mv) .*\baiomig-in-\d+ ")


class JobFinder:
    """Finds jobs, and reads their descriptions.

    Args:
        operations: the operations of the server.
        records: the job records of this client.
        limits: the number of descriptions in one request.
    """

    def __init__(self, operations: OperationClient, records: JobRecords, limits: RequestLimits) -> None:
        self._operations = operations
        self._records = records
        self._size = limits.descriptions_a_request

    async def find(self, wanted: JobFilter) -> list[JobStatus]:
        """Find jobs by ``jobstatus``, newest first. Servers sort oldest first (docs/protocol.md#jobstatus)."""
        if not _PATTERN.fullmatch(wanted.pattern):
            return []
        fields = [("flags", "v"), ("job_id", wanted.pattern)]
        statuses = await give_way(jobs.read_statuses(await self._operations.query("jobstatus", fields)))
        some = [status for status in statuses.values() if wanted.matches_status(status)]
        newest_first = await give_way(sort_steps(some, _counter, reverse=True))
        if wanted.needs_descriptions:
            return await self._described(newest_first, wanted)
        return await give_way(self._records.completed(newest_first[: wanted.newest]))

    async def _described(self, statuses: Sequence[JobStatus], wanted: JobFilter) -> list[JobStatus]:
        """Return the jobs with matching names and labels. Read the descriptions that are not recorded."""
        matches: list[JobStatus] = []
        for start in range(0, len(statuses), self._size):
            some = statuses[start : start + self._size]
            job_ids = self._records.undescribed([status.job_id for status in some])
            texts = await self.descriptions(job_ids) if job_ids else []
            self._records.note_descriptions(
                (job_id, *jobs.name_and_labels(text)) for job_id, text in zip(job_ids, texts, strict=True) if text
            )
            matches += filter(wanted.matches_description, await give_way(self._records.completed(some)))
            if wanted.newest is not None and len(matches) >= wanted.newest:
                break
        return matches[: wanted.newest]

    async def plan_of(self, job_id: str) -> Plan:
        """Return the plan of a job, reconstructed from ``mrslview`` (unescaped: docs/protocol.md#mrsl-syntax)."""
        if not is_job_id(job_id):
            raise JobNotFound(job_id)
        texts = jobs.mrsl_texts(await self._operations.query("mrslview", [("job_id", job_id)]))
        if len(texts) != 1:
            raise JobNotFound(job_id)
        text = "\n".join(mrsl.escape(line) for line in texts[0].splitlines())
        plan = plan_from(mrsl.parse(text))
        self._records.note_descriptions([(job_id, plan.name, plan.labels)])
        return plan

    async def find_marked(self, marker: str, project: str | None) -> list[str]:
        """Return the ids of the jobs that carry a marker.

        A server can search only by PROJECT (docs/protocol.md#finding-a-submit). If the user has set PROJECT, the
        marker is in the environment, which only the descriptions show.

        Args:
            marker: the marker of a submit.
            project: the PROJECT that the user set, ``""`` for none, ``None`` if unknown. If it is unknown, and the
                marker is not a PROJECT, the descriptions of the newest jobs are searched.

        Raises:
            GridError: a request failed.
        """
        if project:
            return await self._with_marker(marker, await self.of_projects([project]))
        job_ids = await self.of_projects([marker])
        if job_ids or project is not None:
            return job_ids
        newest = await self.find(JobFilter(newest=_NEWEST))
        return await self._with_marker(marker, [status.job_id for status in newest])

    async def of_projects(self, projects: Sequence[str]) -> list[str]:
        """Return the ids of the jobs with one of these PROJECTs."""
        if not projects:
            return []
        # Without a job id, the server would return all jobs.
        fields = [*(("project_name", project) for project in projects), ("job_id", NO_JOB)]
        return list(await give_way(jobs.read_statuses(await self._operations.query("jobstatus", fields))))

    async def _with_marker(self, marker: str, job_ids: Sequence[str]) -> list[str]:
        """Return the jobs that have the marker in their environment, by ``mrslview``."""
        # Servers store pairs of name and value. How they show them was not recorded, so the pattern is tolerant.
        has_marker = re.compile(rf"\b{_VARIABLE}\W{{1,6}}{re.escape(marker)}\b").search
        for start in range(0, len(job_ids), self._size):
            some = job_ids[start : start + self._size]
            texts = await self.descriptions(some)
            if found := [job_id for job_id, text in zip(some, texts, strict=True) if has_marker(text)]:
                return found
        return []

    async def descriptions(self, job_ids: Sequence[str]) -> list[str]:
        """Return the descriptions of jobs, in order; ``""`` for a job that does not exist."""
        try:
            fields = [("job_id", job_id) for job_id in job_ids]
            texts = jobs.mrsl_texts(await self._operations.query("mrslview", fields))
        except JobNotFound:
            texts = []
        if len(texts) == len(job_ids):
            return texts
        if len(job_ids) == 1:
            return [""]
        middle = len(job_ids) // 2
        return await self.descriptions(job_ids[:middle]) + await self.descriptions(job_ids[middle:])


def marker_line(marker: str) -> str:
    """Return the line of ENVIRONMENT that carries a marker if the user has set PROJECT."""
    return f"{_VARIABLE}={marker}"


def _counter(status: JobStatus) -> tuple[float, int]:
    counter = status.job_id.partition("_")[0]
    at = status.received_at.timestamp() if status.received_at is not None else 0.0
    return at, int(counter) if counter.isdigit() else 0


def plan_from(description: Description) -> Plan:
    """Reconstruct the plan of a description, as far as possible."""
    outputs: list[PlannedOutput] = []
    folder: str | None = None
    commands = description.lines("EXECUTE")
    names = output_names(commands[-1]) if commands else {}
    for transfer in description.transfers("OUTPUTFILES"):
        name, destination = names.get(transfer.source, transfer.source), None
        if transfer.destination.startswith(PRIVATE_FOLDER + "/"):
            folder = "/".join(transfer.destination.split("/")[:2])
            destination = transfer.destination.removeprefix(f"{folder}/out/")
            destination = name if destination == transfer.source else destination
        outputs.append(PlannedOutput(name, transfer.destination, destination))
    for keyword in ("INPUTFILES", "EXECUTABLES"):
        for transfer in description.transfers(keyword):
            # Shared inputs, and outputs of other jobs, are also below PRIVATE_FOLDER.
            if _OWN_INPUT.match(transfer.source):
                folder = "/".join(transfer.source.split("/")[:2])
    return Plan(
        description,
        outputs=tuple(outputs),
        folder=folder,
        prologue_lines=int(bool(commands) and _LEADING.match(commands[0]) is not None),
        epilogue_lines=int(bool(names)),
    )
