"""The state and the result of one job."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from .._core.errors import JobNotFound
from .._core.models import JobState
from .results import job_result, raise_for
from .watch import reached_status

if TYPE_CHECKING:
    from .._backend import Backend
    from .._core.models import CheckReport, JobResult, JobStatus
    from .._spec.plan import Plan

logger = logging.getLogger("aiomig")


class JobHandle:
    """The methods of a `Job` for its state, result and description.

    Attributes:
        backend: the backend that the job runs on; for aiomig's own use.
        id: the job id.
    """

    __slots__ = ("_plan", "_result", "backend", "id")

    def __init__(self, backend: Backend, job_id: str, plan: Plan | None) -> None:
        self.backend: Backend = backend
        self.id: str = job_id
        self._plan = plan
        self._result: JobResult | None = None

    @property
    def _usable_backend(self) -> Backend:
        self.backend.tasks.ensure_own_loop()
        return self.backend

    @property
    def known_result(self) -> JobResult | None:
        """The result, if it has been downloaded; for aiomig's own use."""
        return self._result

    async def status(self) -> JobStatus:
        """Return the current status, with one request.

        Raises:
            JobNotFound: no job of this user has this id.
            GridError: the request to the grid failed.
        """
        status = (await self._usable_backend.statuses([self.id])).get(self.id)
        if status is None:
            raise JobNotFound(self.id)
        return status

    async def wait(self, until: JobState | None = None) -> JobStatus:
        """Wait until the job ends, successfully or not.

        Args:
            until: wait only until the job has reached this state or a later one, such as ``JobState.EXECUTING``.

        Returns:
            The status at that time; the final status if ``until`` is not given.

        Raises:
            JobNotFound: no job of this user has this id.
            GridError: requests to the grid kept failing for too long.
        """
        if self._result is not None:
            return self._result.status
        return await reached_status(self.backend, self.id, JobState(JobState.FINISHED if until is None else until))

    async def result(self, *, check: bool = True) -> JobResult:
        """Wait until the job ends and return its result, which is downloaded once and kept by this `Job`.

        Args:
            check: raise if the job was not successful. With False, return whatever the job left behind.

        Returns:
            Status, exit codes and output of the job.

        Raises:
            CommandFailed: a command had a nonzero exit code.
            JobFailed: the grid gave up; ``status.attempts`` contains the reasons.
            JobCanceled: the job was canceled.
            JobExpired: the job was queued for too long.
            ResultsMissing: the job is FINISHED, but no exit codes arrived.
            JobNotFound: no job of this user has this id.
            GridError: requests to the grid kept failing for too long.
        """
        outcome = self._result or await self._download_result()
        if check:
            raise_for(self.id, outcome, await self.plan())
        return outcome

    async def _download_result(self) -> JobResult:
        status = await self.wait()
        files = await self._usable_backend.results(status)
        outcome = await job_result(status, files, await self.plan())
        for problem in outcome.staging:
            logger.warning("job %s: %s", self.id, problem, extra={"event_name": "job_staging", "job_id": self.id})
        if outcome.reported or status.state is not JobState.FINISHED:  # otherwise its files may still arrive
            self._result = outcome
        if outcome.exit_code is not None:
            self.backend.note_exit_code(self.id, outcome.exit_code)
        return outcome

    async def feasibility(self) -> CheckReport:
        """Check whether any resource could run this queued job.

        This also requests a schedule from the grid. Its reply appears in ``status().schedule_hint`` after some seconds.

        Returns:
            The reasons why no resource would run the job. If the job is not queued, a note that this cannot be known.
            In local mode there are no faults, because this machine accepts every job.

        Raises:
            JobNotFound: no job of this user has this id.
            GridError: the request to the grid failed.
        """
        return await self._usable_backend.feasibility(self.id, schedule=True)

    async def plan(self) -> Plan:
        """Return the submitted description and the places of the outputs. Request them once, if they are unknown.

        Raises:
            JobNotFound: no job of this user has this id.
        """
        if self._plan is None:
            self._plan = await self._usable_backend.plan_of(self.id)
        return self._plan
