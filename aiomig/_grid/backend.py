"""Backend for a grid: jobs of a MiG server over HTTPS."""

from __future__ import annotations

import logging
from contextlib import suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Literal

from anyio.lowlevel import checkpoint

from .._backend import cancel_shielded, not_running
from .._core.errors import (
    ActionRefused,
    ConnectionFailed,
    JobNotFound,
    MigError,
    NoSession,
    ProtocolError,
    ServerError,
)
from .._core.job_filter import JobFilter
from .._core.job_log import JobLog
from .._core.models import TRANSITIONS, JobState, Outcome, Unconfirmed, is_job_id
from .._core.subscriptions import Subscriptions
from .._core.tasks import SessionTasks, run_all, run_shielded
from .._core.turns import give_way
from .bundles import BundlingHome
from .calls import call
from .credential import warn_of_long_jobs
from .job_finder import NO_JOB, JobFinder
from .lister import JobLister
from .poller import Poller
from .protocol import jobs
from .queues import GridQueues
from .records import JobRecords
from .results import ResultReader
from .site import describe, feasibility, review
from .statuses import StatusReader
from .submit import Submitter
from .submit_keys import SubmitKeys
from .submit_once import OnceSubmitter

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from .._backend import Action, HomeBackend, QueueBackend
    from .._core.models import CheckReport, JobStatus
    from .._core.site import Site
    from .._spec.mrsl import Description
    from .._spec.plan import Plan
    from .._spec.submit_key import SubmitKey
    from .config import RequestLimits
    from .http import HttpClient
    from .operations import OperationClient
    from .poller import Polling
    from .submit_journal import SubmitJournal

logger = logging.getLogger("aiomig.grid")

_REMOVED_AT_ONCE = 8


class GridBackend:
    """A session on a grid.

    Args:
        client: the connections.
        operations: the operations of the server.
        polling: how often to poll watched jobs.
        journal: the journal of submits.
        limits: the limits of requests.
    """

    mode: Literal["grid", "local"] = "grid"

    def __init__(
        self,
        client: HttpClient,
        operations: OperationClient,
        polling: Polling,
        journal: SubmitJournal,
        limits: RequestLimits,
    ) -> None:
        self._client = client
        self._operations = operations
        self._polling = polling
        self._journal = journal
        self._limits = limits
        self.look_again = limits.output_interval
        self.home: HomeBackend = BundlingHome(operations, limits)
        self.queues: QueueBackend = GridQueues(operations)
        self.subscriptions = Subscriptions()
        self.tasks = SessionTasks()
        self._records = JobRecords()
        self._finder = JobFinder(operations, self._records, limits)
        self._submitter = Submitter(operations, self._finder, self._cancel, journal, limits)
        self._results = ResultReader(self.home, operations, limits)
        self._poller: Poller
        self._lister: JobLister
        self._keys = SubmitKeys()
        self._once = OnceSubmitter(self._submitter, self._finder, self._keys, journal, limits, self._cancel, self._made)
        self._log = JobLog("grid")
        self._statuses = StatusReader(operations, limits.ids_a_request)
        self._own: dict[str, Unconfirmed] = {}  # the unfinished jobs of this session
        self._is_open = False

    async def open(self) -> None:
        """Read the certificate and find out whether the server knows the user.

        Raises:
            ConfigError: the configuration is wrong.
            AuthenticationFailed: the server refuses the certificate, or has no account for it.
            ConnectionFailed: the server cannot be reached.
        """
        await self._client.open()
        try:
            await self._introduce()
            subscriptions, polling = self.subscriptions, self._polling
            own, forget = self._own.__contains__, self._statuses.forget
            self._poller = Poller(subscriptions, self._ask, polling, own, forget)
            self._lister = JobLister(subscriptions, self._poller, lambda: self.find(JobFilter()), polling, self.tasks)
            subscriptions.on_subscribe = self._poller.wake
            self._journal.open()
            self._records.open(self._journal.folder)
            self._keys.open(self._journal.folder)
            await self.tasks.open()
        except BaseException:
            self._journal.close()
            self._records.close()
            await run_shielded(self._client.close)
            raise
        self._is_open = True
        self.tasks.start(self._poller.run, name="grid poller")

    async def _introduce(self) -> None:
        """Send a first request: for a job that does not exist or, on a site that runs no jobs, for the home."""
        try:
            await self.statuses([NO_JOB])
        except ServerError as error:
            await self.home.stat(".")
            logger.warning("jobs cannot be asked for: %s", error)

    async def close(self, error: BaseException | None) -> None:
        """Close the session. Its jobs continue on the grid."""
        self._is_open = False
        self.tasks.shield()
        self.tasks.cancel()
        try:
            await self.tasks.close()
        finally:
            self._journal.close()
            self._records.close()
            await run_shielded(self._client.close)

    # -- submitting

    async def review(self, description: Description) -> CheckReport:
        """Check a description against the values that the server offers."""
        return await review(self._operations, description)

    async def site(self) -> Site:
        """Return the server's keywords, runtime environments and topics."""
        return await describe(self._operations)

    async def feasibility(self, job_id: str, *, schedule: bool = False) -> CheckReport:
        """Check whether a resource could run a queued job."""
        if not is_job_id(job_id):
            raise JobNotFound(job_id)
        return await feasibility(self._operations, job_id, schedule=schedule)

    async def submit(self, plan: Plan) -> str:
        """Submit once. If the response is lost, look for the job. If this is cancelled, cancel the job."""
        warn_of_long_jobs(self._client.credential, [plan.description.number("CPUTIME")])
        if plan.key is not None:
            (outcome,) = await self._once.submit([plan])
            if isinstance(outcome, MigError):
                raise outcome
            return outcome
        job_id = await self._submitter.submit_one(plan)
        self._made([plan], [job_id])
        return job_id

    async def submit_many(self, plans: Sequence[Plan], report: Callable[[int], object]) -> list[str | MigError]:
        """Like `submit`, for many jobs in few requests."""
        warn_of_long_jobs(self._client.credential, [plan.description.number("CPUTIME") for plan in plans])
        keyed = [plan for plan in plans if plan.key is not None]
        others = [plan for plan in plans if plan.key is None]
        outcomes = await self._submitter.submit_many(others, report)
        self._made(others, outcomes)
        if not keyed:
            return outcomes
        try:
            once = iter(await self._once.submit(keyed))
            report(len(keyed))
        except BaseException:
            await self._cancel([outcome for outcome in outcomes if isinstance(outcome, str)])
            raise
        rest = iter(outcomes)
        return [next(rest if plan.key is None else once) for plan in plans]

    async def find_keys(self, keys: Sequence[SubmitKey]) -> dict[str, str | MigError]:
        """Return the records of this machine. Only a submit also asks the server."""
        await checkpoint()
        return self._keys.known(keys)

    def _made(self, plans: Sequence[Plan], outcomes: Sequence[str | MigError]) -> None:
        made = [(job_id, plan) for plan, job_id in zip(plans, outcomes, strict=True) if isinstance(job_id, str)]
        folders = {job_id: plan.folder for job_id, plan in made}
        self._records.note_descriptions(((job_id, plan.name, plan.labels) for job_id, plan in made), folders)
        for plan, job_id in zip(plans, outcomes, strict=True):
            if isinstance(job_id, str):
                self._own[job_id] = self._journal.find(plan.marker) or _unconfirmed(job_id)
                self._log.submitted([job_id])
                if self.subscriptions.readers:
                    self._poller.wake([job_id])

    async def find_by_marker(self, marker: str, project: str | None = None) -> list[str]:
        """Return the ids of the jobs that carry the marker of a submit."""
        return await self._submitter.find_by_marker(marker, project)

    async def unconfirmed(self) -> list[Unconfirmed]:
        """Return the submits in the journal whose jobs the user may not know."""
        return await self._submitter.unconfirmed()

    def confirm(self, markers: Iterable[str]) -> None:
        """Settle submits in the journal, and free the keys of those without a job."""
        markers = list(markers)
        self._journal.settle(markers)
        self._keys.free(markers, canceled=False)

    def disown(self, job_ids: Sequence[str]) -> None:
        """Keep jobs in the journal until it is certain that they are canceled, and free their keys."""
        entries = [self._own.get(job_id) or _unconfirmed(job_id) for job_id in job_ids]
        self._journal.reopen(entries)
        self._keys.free([entry.marker for entry in entries], canceled=True)

    async def _cancel(self, job_ids: Sequence[str]) -> None:
        await cancel_shielded(self, job_ids, self._limits.clean_up)

    def abandon(self, job_ids: Sequence[str]) -> None:
        """Cancel jobs in the background."""
        if self._is_open:
            self.disown(job_ids)
            self.tasks.start(self._cancel, job_ids, name="grid cancel")

    # -- jobs

    async def statuses(self, job_ids: Sequence[str]) -> dict[str, JobStatus]:
        """Read statuses by ``jobstatus``, many per request. Return those of the jobs that exist."""
        statuses = await self._statuses.statuses(job_ids)
        self._log.learned(statuses.values())
        in_order = [statuses[job_id] for job_id in job_ids if job_id in statuses]
        return {status.job_id: status for status in await give_way(self._records.completed(in_order))}

    async def _ask(self, job_ids: Sequence[str]) -> tuple[Iterable[JobStatus | None], Sequence[str]]:
        """Send one request for the poller."""
        statuses, unknown = await self._statuses.changed(job_ids)
        return self._record_statuses(statuses), unknown

    def _record_statuses(self, statuses: Iterable[JobStatus | None]) -> Iterator[JobStatus | None]:
        for status in statuses:
            if status is not None:
                self._log.learned([status])
                if status.state.is_final:
                    self._own.pop(status.job_id, None)
                    self._results.forget([status.job_id])
                status = self._records.complete(status)
            yield status

    async def present(self, job_ids: Sequence[str]) -> Mapping[str, JobStatus]:
        """Return the statuses that the poller knows, with the recorded names and labels."""
        await self._checkpoint()
        present = self._poller.present(job_ids).values()
        return {status.job_id: status for status in await give_way(self._records.completed(present))}

    async def follow_all(self) -> None:
        """List all jobs periodically, and let the poller follow them."""
        await self._checkpoint()
        await self._lister.follow()

    async def _checkpoint(self) -> None:
        await checkpoint()
        if not self._is_open:
            raise NoSession("this session is closed; use its jobs inside its block, or open another")

    async def act(self, action: Action, job_ids: Sequence[str]) -> dict[str, Outcome]:
        """Act by ``jobaction``. Repeat it if the response is lost, and count jobs that it had changed as changed."""
        outcomes: dict[str, Outcome] = {}
        target = TRANSITIONS[action].target
        for chunk in self._statuses.chunks(job_ids):
            fields = [("action", action), *(("job_id", job_id) for job_id in chunk)]
            try:
                outcomes |= jobs.changed(await self._operations.execute("jobaction", fields))
            except (ConnectionFailed, ProtocolError, ServerError):
                repeated = jobs.changed(await self._operations.execute("jobaction", fields, repeatable=True))
                outcomes |= {job_id: _done_before(outcome, target) for job_id, outcome in repeated.items()}
        outcomes = {job_id: outcomes.get(job_id) or Outcome.unknown(job_id) for job_id in job_ids}
        await self._record_changes(action, outcomes)
        return outcomes

    async def _record_changes(self, action: Action, outcomes: Mapping[str, Outcome]) -> None:
        """Log and publish the changes of an action, and settle canceled jobs in the journal."""
        changed = [job_id for job_id, outcome in outcomes.items() if outcome.changed]
        for job_id in changed:
            self._log.state(job_id, outcomes[job_id].after or TRANSITIONS[action].target)
        if action == "cancel":
            ended = [job_id for job_id, outcome in outcomes.items() if outcome.before and outcome.before.is_final]
            self._journal.settle_jobs([*changed, *ended])
            for job_id in changed:
                self._own.pop(job_id, None)
        if watched := [job_id for job_id in changed if job_id in self.subscriptions]:
            for status in (await self.statuses(watched)).values():
                self._statuses.forget([status.job_id])  # so that the next response counts as a change
                self._poller.note(status)

    async def find(self, wanted: JobFilter) -> list[JobStatus]:
        """Return the jobs that match a filter, newest first."""
        return await self._finder.find(wanted)

    async def plan_of(self, job_id: str) -> Plan:
        """Return the plan of a job, reconstructed from the server's description."""
        return await self._finder.plan_of(job_id)

    # -- results

    async def results(self, status: JobStatus) -> dict[str, bytes]:
        """Return the result files of a job that has ended."""
        return await self._results.results(status)

    def note_exit_code(self, job_id: str, exit_code: int) -> None:
        """Record the exit code."""
        if self._is_open:
            self._records.note_exit_code(job_id, exit_code)

    async def read_stream(self, job_id: str, name: str, start: int) -> bytes:
        """Return a job's output from an offset on. For a running job, request it from the resource once a minute."""
        status = (await self.statuses([job_id])).get(job_id)
        if status is None:
            raise JobNotFound(job_id)
        if job_id in self.subscriptions:
            self._poller.note(status)  # a reader of the output must know which attempt wrote it
        if status.state is JobState.EXECUTING:
            await self._results.request_live_output(job_id)
        return await self._results.read(job_id, name, start) or b""

    async def prune(self, before: datetime, *, records: bool) -> int:
        """Remove the private folders of ended jobs and, with ``records``, this machine's records of the jobs."""
        folders = self._records.noted_before(before.timestamp())
        statuses = await self.statuses(list(folders))
        ended = [job_id for job_id, status in statuses.items() if _has_ended_before(status, before)]
        pruned = {job_id for job_id in ended if folders[job_id] is not None}

        async def remove(job_id: str) -> None:
            with suppress(FileNotFoundError):
                await self.home.remove(folders[job_id] or "", recursive=True)
            self._records.note_removed(job_id)

        await run_all(remove, sorted(pruned), at_once=_REMOVED_AT_ONCE)
        if records:
            self._records.forget(ended)
            self._keys.forget(set(ended))
            pruned.update(ended)
        return len(pruned)

    def own_jobs(self) -> Iterable[str]:
        """Return the ids of the unfinished jobs of this session."""
        return list(self._own)

    async def live(
        self, job_id: str, action: Literal["send", "get"], sources: Sequence[str], destination: str | None
    ) -> None:
        """Exchange files with a running job by ``liveio``, at most once a minute (docs/protocol.md#live-output)."""
        if not is_job_id(job_id):
            raise JobNotFound(job_id)
        try:
            await self._results.pass_files(job_id, action, sources, destination)
        except ServerError as error:
            status = (await self.statuses([job_id])).get(job_id)
            if status is None or status.state is JobState.EXECUTING:
                raise
            raise ActionRefused(not_running(status)) from error

    async def call(self, operation: str, fields: Sequence[tuple[str, str]]) -> list[dict[str, object]]:
        """Run any operation of the server. Retry it only if it reads."""
        return await call(self._operations, operation, fields)


def _has_ended_before(status: JobStatus, before: datetime) -> bool:
    ended_at = status.finished_at or status.failed_at or status.canceled_at  # the server reports no time for EXPIRED
    return status.state.is_final and ended_at is not None and ended_at < before


def _unconfirmed(job_id: str) -> Unconfirmed:
    """Return a journal entry for a job without a known submit."""
    return Unconfirmed(job_id, "", "", datetime.now(UTC), (job_id,))


def _done_before(outcome: Outcome, target: JobState) -> Outcome:
    return outcome if outcome.changed or outcome.before is not target else Outcome(outcome.job_id, target, target)
