"""Finds the jobs of a grid by a filter or by the marker of their submit, and reads what they were submitted with."""

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
"""Jobs whose descriptions are read to find a marker if nothing else is known of it."""

_VARIABLE = "AIOMIG_SUBMIT"
_PATTERN = re.compile(r"(?!ALL\Z)[A-Za-z0-9._*?-]{1,255}", re.ASCII)
_OWN_INPUT = re.compile(rf"{PRIVATE_FOLDER}/[^/]+/in/")
_LEADING = re.compile(r"command -p (?:mkdir|mv) .*\baiomig-in-\d+ ")


class JobFinder:
    """Finds jobs, and reads their descriptions.

    Args:
        operations: the operations of the server.
        records: what this client knows of jobs.
        limits: how many descriptions are read in one request.
    """

    def __init__(self, operations: OperationClient, records: JobRecords, limits: RequestLimits) -> None:
        self._operations = operations
        self._records = records
        self._size = limits.descriptions_a_request

    async def find(self, wanted: JobFilter) -> list[JobStatus]:
        """Ask by ``jobstatus`` with a pattern. Servers sort oldest first (docs/protocol.md#jobstatus), so sort here."""
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
        """Return the jobs with matching names and labels. Read the descriptions that this client does not know."""
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
        """Return the plan of a job, as far as ``mrslview`` shows it (unescaped: docs/protocol.md#mrsl-syntax)."""
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

        A server finds jobs by PROJECT and by nothing else (docs/protocol.md#finding-a-submit). If the user has set
        that, the marker is in the environment, which only the descriptions show.

        Args:
            marker: of a submit.
            project: the PROJECT that the user set, ``""`` for none, ``None`` if that is not known: then the
                descriptions of the newest jobs are read if no PROJECT is the marker.

        Raises:
            GridError: the server could not be asked for all.
        """
        if project:
            return await self._showing(marker, await self.of_projects([project]))
        found = await self.of_projects([marker])
        if found or project is not None:
            return found
        newest = await self.find(JobFilter(newest=_NEWEST))
        return await self._showing(marker, [status.job_id for status in newest])

    async def of_projects(self, projects: Sequence[str]) -> list[str]:
        """Return the ids of the jobs with one of some PROJECTs."""
        if not projects:
            return []
        # Without a job id, the server would return all jobs.
        fields = [*(("project_name", project) for project in projects), ("job_id", NO_JOB)]
        return list(await give_way(jobs.read_statuses(await self._operations.query("jobstatus", fields))))

    async def _showing(self, marker: str, job_ids: Sequence[str]) -> list[str]:
        """Return those of some jobs that have the marker in their environment, by ``mrslview``."""
        # Servers keep names and values as pairs; how each shows them is not recorded, so the pattern allows all ways.
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
    """Return what a description tells of the plan that it was made from."""
    outputs: list[PlannedOutput] = []
    folder: str | None = None
    commands = description.lines("EXECUTE")
    names = output_names(commands[-1]) if commands else {}
    for each in description.transfers("OUTPUTFILES"):
        name, destination = names.get(each.source, each.source), None
        if each.destination.startswith(PRIVATE_FOLDER + "/"):
            folder = "/".join(each.destination.split("/")[:2])
            destination = each.destination.removeprefix(f"{folder}/out/")
            destination = name if destination == each.source else destination
        outputs.append(PlannedOutput(name, each.destination, destination))
    for keyword in ("INPUTFILES", "EXECUTABLES"):
        for each in description.transfers(keyword):
            # Inputs that jobs share, and outputs of other jobs, lie below PRIVATE_FOLDER too.
            if _OWN_INPUT.match(each.source):
                folder = "/".join(each.source.split("/")[:2])
    return Plan(
        description,
        outputs=tuple(outputs),
        folder=folder,
        prologue_lines=int(bool(commands) and _LEADING.match(commands[0]) is not None),
        epilogue_lines=int(bool(names)),
    )
