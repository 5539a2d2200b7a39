"""Finding jobs of a grid without their ids: by the marker that each submit gives its job."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from . import _protocol_jobs
from ._errors import JobNotFound

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from ._link import Link
    from ._status import JobStatus

NO_JOB = "0-aiomig"
"""An id that no job has."""

NEWEST = 1000
"""Jobs whose descriptions are read for a marker of which nothing else is known."""

_DESCRIPTIONS = 50
"""Descriptions that are read at once."""


_VARIABLE = "AIOMIG_SUBMIT"


def marker_line(marker: str) -> str:
    """The line of ENVIRONMENT that bears a marker where PROJECT is the user's."""
    return f"{_VARIABLE}={marker}"


class MarkedJobs:
    """Finds jobs by their markers.

    Args:
        link: the operations of the server.
        newest: gives the statuses of so many jobs, the newest first.
    """

    def __init__(self, link: Link, newest: Callable[[int], Awaitable[Sequence[JobStatus]]]) -> None:
        self._link = link
        self._newest = newest

    async def bearing(self, marker: str, project: str | None) -> list[str]:
        """The jobs that bear a marker.

        A server finds jobs by PROJECT and by nothing else (mig-live 10). Where the user gave that, the marker is in
        the environment, which only the descriptions show.

        Args:
            marker: of a submit.
            project: the PROJECT that the user gave, ``""`` for none; ``None`` where that is not known, and then the
                descriptions of the newest jobs are read where no PROJECT is the marker.

        Raises:
            GridError: the server could not be asked for all.
        """
        if project:
            return await self._showing(marker, await self._of_project(project))
        found = await self._of_project(marker)
        if found or project is not None:
            return found
        return await self._showing(marker, [status.job_id for status in await self._newest(NEWEST)])

    async def _of_project(self, project: str) -> list[str]:
        # Without an id that is not there, all jobs would be meant.
        fields = [("project_name", project), ("job_id", NO_JOB)]
        return list(_protocol_jobs.statuses(await self._link.read("jobstatus", fields)).found)

    async def _showing(self, marker: str, job_ids: Sequence[str]) -> list[str]:
        """Those of some jobs in whose environment the marker is, by ``mrslview``."""
        # Servers keep names and values as pairs; how each shows them is not recorded, so any way will do.
        bears = re.compile(rf"\b{_VARIABLE}\W{{1,6}}{re.escape(marker)}\b").search
        for start in range(0, len(job_ids), _DESCRIPTIONS):
            some = job_ids[start : start + _DESCRIPTIONS]
            texts = await self._texts(some)
            if found := [job_id for job_id, text in zip(some, texts, strict=True) if bears(text)]:
                return found
        return []

    async def _texts(self, job_ids: Sequence[str]) -> list[str]:
        """The descriptions of jobs, in order; ``""`` for one that is not there."""
        try:
            fields = [("job_id", job_id) for job_id in job_ids]
            texts = _protocol_jobs.mrsl_texts(await self._link.read("mrslview", fields))
        except JobNotFound:
            texts = []
        if len(texts) == len(job_ids):
            return texts
        if len(job_ids) == 1:
            return [""]
        middle = len(job_ids) // 2
        return await self._texts(job_ids[:middle]) + await self._texts(job_ids[middle:])
