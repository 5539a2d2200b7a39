"""The backend of local mode: a MiG whose only resource is this machine."""

from __future__ import annotations

import logging
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Literal, TypeVar

import anyio
import anyio.lowlevel

from .._backend import not_running
from .._core.errors import ActionRefused, JobNotFound, LocalError, MigError, NoSession, SubmitRejected
from .._core.job_filter import matcher
from .._core.models import CheckReport, JobState, JobStatus
from .._core.operations import instead_of
from .._core.subscriptions import Subscriptions
from .._core.tasks import SessionTasks
from .._home.disk import translate_os_errors
from .database import DatabaseLocked
from .engine import Engine
from .home import LocalHome
from .live import LiveFiles
from .output import STREAM_PIECE, read_output, read_results
from .pruning import remove_files
from .queues import LocalQueues
from .records import DamagedRecord, number_of
from .site import describe, offers, refusals, unreadable_urls
from .takeover import recalled

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from datetime import datetime

    from .._backend import Action, HomeBackend, QueueBackend
    from .._core.job_filter import JobFilter
    from .._core.models import Outcome, Unconfirmed
    from .._core.site import Site
    from .._spec.mrsl import Description
    from .._spec.plan import Plan
    from .._spec.submit_key import SubmitKey
    from .records import Record
    from .settings import LocalSettings

logger = logging.getLogger("aiomig.local")

T = TypeVar("T")

_FIND_CHUNK = 500
_PRUNED_AT_ONCE = 100
_SUBMIT_CHUNK = 100
"""The number of jobs to submit before other tasks run."""


class LocalBackend:
    """One session on a home.

    Args:
        settings: see `aiomig.local`.
        interval: seconds between two checks for changes that other processes made in the home.
    """

    mode: Literal["grid", "local"] = "local"
    look_again = 0.1

    def __init__(self, settings: LocalSettings, *, interval: float = 0.1) -> None:
        self.settings = settings
        self.home: HomeBackend = LocalHome(settings.home)
        self.queues: QueueBackend = LocalQueues(settings.home, settings.folder, self._checkpoint)
        self._live = LiveFiles(settings.home, self.queues)
        self.subscriptions = Subscriptions()
        self.tasks = SessionTasks()
        self._engine = Engine(settings, self.subscriptions, self.tasks, interval)
        self._unlocked = self._engine.unlocked

    async def open(self) -> None:
        """Create the home if needed, open its records, and start running jobs.

        Raises:
            LocalError: the home cannot be used.
        """
        await self._engine.open()
        self.tasks.start(self._answer_jobs, name="local requests of jobs")

    async def close(self, error: BaseException | None) -> None:
        """End as `on_exit` says, or by cancelling if an error leaves the session's block."""
        await self._engine.close(error)

    async def _checkpoint(self) -> None:
        """Let other tasks run; raise the error that ended the session, or the caller's cancellation."""
        await anyio.lowlevel.checkpoint()
        self._raise_if_closed()

    def _raise_if_closed(self) -> None:
        if self._engine.is_closed:
            raise NoSession("this session is closed; use its jobs inside its block, or open another on the same home")
        self._engine.scheduler.raise_if_stopped()

    # -- jobs

    async def review(self, description: Description) -> CheckReport:
        """Return the faults that make `submit` fail, and the URLs that local mode cannot read."""
        await self._checkpoint()
        faults = [*refusals(self.settings, description), *unreadable_urls(description)]
        return CheckReport(tuple(faults), offers=offers(self.settings))

    async def site(self) -> Site:
        """Return the site that the settings describe."""
        await self._checkpoint()
        return describe(self.settings)

    async def feasibility(self, job_id: str, *, schedule: bool = False) -> CheckReport:
        """Return no faults: this machine accepts any request for resources."""
        await self._record(job_id)
        return CheckReport()

    async def submit(self, plan: Plan) -> str:
        """Put a job into the queue. If cancelled, make none."""
        self._raise_if_refused(plan)
        await anyio.lowlevel.checkpoint_if_cancelled()
        self._raise_if_closed()
        try:
            (outcome,) = self._engine.scheduler.submit([plan])
        except DatabaseLocked:
            (outcome,) = await self._unlocked(lambda: self._engine.scheduler.submit([plan]))
        if isinstance(outcome, MigError):
            raise outcome
        return outcome

    async def submit_many(
        self, plans: Sequence[Plan], report: Callable[[int], object] = lambda count: None
    ) -> list[str | MigError]:
        """Put jobs into the queue, some at a time. If cancelled in between, cancel the submitted ones."""
        outcomes: list[str | MigError] = []
        try:
            for start in range(0, len(plans), _SUBMIT_CHUNK):
                some = plans[start : start + _SUBMIT_CHUNK]
                try:
                    await self._checkpoint()
                    outcomes += await self._unlocked(partial(self._submit_some, some))
                except LocalError as error:  # the submitted ones must not be lost
                    outcomes += [error for _ in some]
                report(len(some))
        except anyio.get_cancelled_exc_class():
            self.abandon([outcome for outcome in outcomes if isinstance(outcome, str)])
            raise
        return outcomes

    def _submit_some(self, plans: Sequence[Plan]) -> list[str | MigError]:
        outcomes: list[str | MigError] = []
        accepted: list[Plan] = []
        for plan in plans:
            try:
                self._raise_if_refused(plan)
            except SubmitRejected as error:
                outcomes.append(error)
            else:
                outcomes.append("")
                accepted.append(plan)
        job_ids = iter(self._engine.scheduler.submit(accepted))
        return [next(job_ids) if outcome == "" else outcome for outcome in outcomes]

    async def find_keys(self, keys: Sequence[SubmitKey]) -> dict[str, str | MigError]:
        """Return the statuses from the records."""
        await self._checkpoint()
        known = await self._unlocked(lambda: {key.text: self._engine.store.find_key(key) for key in keys})
        return {key: outcome for key, outcome in known.items() if outcome is not None}

    async def find_by_marker(self, marker: str, project: str | None = None) -> list[str]:
        """Return the ids of the jobs with a marker."""
        await self._checkpoint()
        return [record.job_id for record in await self._unlocked(lambda: self._engine.store.find_by_marker(marker))]

    async def unconfirmed(self) -> list[Unconfirmed]:
        """Return nothing: the records have every submitted job."""
        await self._checkpoint()
        return []

    def confirm(self, markers: Iterable[str]) -> None:
        """Do nothing: no submit is ever unconfirmed here."""

    def disown(self, job_ids: Sequence[str]) -> None:
        """Free the keys of unfinished jobs. The home has a record of every job."""
        if not self._engine.is_closed:
            with suppress(LocalError):  # the keys stay with the canceled jobs
                self._engine.store.free_keys(
                    [number for job_id in job_ids if (number := number_of(job_id)) is not None]
                )

    def abandon(self, job_ids: Sequence[str]) -> None:
        """Cancel jobs that are no longer wanted."""
        if not self._engine.is_closed and self._engine.scheduler.is_open:
            self.disown(job_ids)
            try:
                self._engine.actions.act("cancel", job_ids)
            except DatabaseLocked:
                self.tasks.start(self._abandon_later, job_ids, name="local abandon")

    async def _abandon_later(self, job_ids: Sequence[str]) -> None:
        with anyio.CancelScope(shield=True), suppress(LocalError):
            await self._unlocked(lambda: self._engine.actions.act("cancel", job_ids))

    def _raise_if_refused(self, plan: Plan) -> None:
        """Raise for a job that a grid would refuse because of what the site offers."""
        keywords = plan.description.keywords
        if keywords.keys().isdisjoint(("VGRID", "RUNTIMEENVIRONMENT", "JOBTYPE")):
            return
        if faults := refusals(self.settings, plan.description):
            raise SubmitRejected([str(fault) for fault in faults], faults)

    async def statuses(self, job_ids: Sequence[str]) -> dict[str, JobStatus]:
        """Return the statuses from the records.

        Raises:
            DamagedRecord: the record of a job cannot be read.
        """
        await self._checkpoint()
        records = await self._unlocked(lambda: self._find_all(job_ids))
        if any(record.state in _ACTIVE and not self._is_run(record) for record in records.values()):
            await self._unlocked(self._engine.takeover.adopt)
            await self._engine.takeover.observe(job_ids)
            records = await self._unlocked(lambda: self._find_all(job_ids))
        return {job_id: record.status() for job_id, record in records.items()}

    def _find_all(self, job_ids: Sequence[str]) -> dict[str, Record]:
        if len(job_ids) == 1:
            record = self._engine.store.find(job_ids[0])
            return {} if record is None else {job_ids[0]: record}
        numbers = {number for job_id in job_ids if (number := number_of(job_id)) is not None}
        records = {record.number: record for record in self._engine.store.records(sorted(numbers))}
        return {
            job_id: record
            for job_id in job_ids
            if (record := records.get(number_of(job_id) or 0)) is not None and record.job_id == job_id
        }

    def _is_run(self, record: Record) -> bool:
        """Return whether an open session runs a job and has seen its process."""
        if record.owner == self._engine.store.session:
            run = self._engine.runner.runs.get(record.number)
            return run is None or run.is_observed
        return record.owner is not None and self._engine.store.is_alive(record.owner)

    async def present(self, job_ids: Sequence[str]) -> dict[str, JobStatus]:
        """Return what the records say now; they know all jobs."""
        statuses = await self.statuses(job_ids)
        for job_id in job_ids:
            if job_id not in statuses:
                raise JobNotFound(job_id)
        return statuses

    async def follow_all(self) -> None:
        """From now on, publish every change of the records."""
        await self._checkpoint()
        await self._unlocked(self._engine.takeover.follow_all)

    async def act(self, action: Action, job_ids: Sequence[str]) -> dict[str, Outcome]:
        """Cancel, freeze or thaw, as a MiG server does, at once."""
        await self._checkpoint()
        return await self._unlocked(lambda: self._engine.actions.act(action, job_ids))

    async def find(self, wanted: JobFilter) -> list[JobStatus]:
        """Search the records, newest first. A job with a damaged record is UNKNOWN."""
        match = matcher(wanted.pattern)
        # Times in records are finer than microseconds, so the query starts a little earlier. `matches_status` is exact.
        since = wanted.since.timestamp() - 0.001 if wanted.since is not None else None
        statuses: list[JobStatus] = []
        before: int | None = None
        while wanted.newest is None or len(statuses) < wanted.newest:
            await self._checkpoint()
            records = await self._unlocked(partial(self._engine.store.newest, _FIND_CHUNK, before, since))
            for record in records:
                try:
                    if not match(record.job_id):
                        continue
                    status = _status_of(record)
                except DamagedRecord as error:  # without a readable id, too
                    logger.error("%s", error)
                else:
                    statuses += [status] * (wanted.matches_status(status) and wanted.matches_description(status))
            if len(records) < _FIND_CHUNK:
                break
            before = records[-1].number
        return statuses[: wanted.newest]

    async def plan_of(self, job_id: str) -> Plan:
        """Return the description with which the job was submitted."""
        return (await self._record(job_id)).plan()

    async def _record(self, job_id: str) -> Record:
        await self._checkpoint()
        record = await self._unlocked(lambda: self._engine.store.find(job_id))
        if record is None:
            raise JobNotFound(job_id)
        return record

    # -- results

    async def results(self, status: JobStatus) -> dict[str, bytes]:
        """Return the four result files, or the kept output of a failed attempt."""
        await self._checkpoint()
        return await read_results(self.settings, status)

    def note_exit_code(self, job_id: str, exit_code: int) -> None:
        """Do nothing: the records have the exit code."""

    async def read_stream(self, job_id: str, name: str, start: int) -> bytes:
        """Return ``stdout`` or ``stderr`` of the current or last attempt from an offset on."""
        record = await self._record(job_id)
        if record.state is JobState.FINISHED:
            path = f"{self.settings.stored_results(job_id)}/{job_id}.{name}"
        elif record.state is JobState.EXECUTING:
            path = recalled(self._engine.machine, record).stream(name)
        else:
            path = f"{self.settings.kept}/{record.number}.{name}"
        return await read_output(path, start, STREAM_PIECE) or b""

    async def prune(self, before: datetime, *, records: bool) -> int:
        """Remove the files of jobs, and then their records."""
        cutoff, last, count = before.timestamp(), 0, 0
        while ended := await self._unlocked(partial(self._engine.store.ended_before, cutoff, _PRUNED_AT_ONCE, last)):
            for record in ended:
                await self._checkpoint()
                try:
                    pruned = await remove_files(self.settings, record)
                except DamagedRecord as error:  # without a readable id, too
                    logger.error("%s", error)
                    continue
                forgotten = False
                if records and pruned.all:
                    forgotten = await self._unlocked(partial(self._engine.store.forget, record.number, cutoff))
                count += pruned.any or forgotten
            last = ended[-1].number
        return count

    def own_jobs(self) -> Iterable[str]:
        """Return the ids of the jobs that wait or run here."""
        return [record.job_id for record in self._engine.store.records(sorted(self._engine.scheduler.unfinished))]

    async def live(
        self, job_id: str, action: Literal["send", "get"], sources: Sequence[str], destination: str | None
    ) -> None:
        """Copy files between the job directory and the home."""
        record = await self._record(job_id)
        if record.state is not JobState.EXECUTING:
            raise ActionRefused(not_running(record.status()))
        files = sources or [f"{job_id}.stdout", f"{job_id}.stderr"]
        act = self._live.send if action == "send" else self._live.get
        with translate_os_errors(", ".join(files), "in the job directory" if action == "send" else "in the MiG home"):
            await act(recalled(self._engine.machine, record).directory, files, destination or f"job_output/{job_id}")

    async def _answer_jobs(self) -> None:
        """Carry out the requests that running jobs leave in their directories."""
        while True:
            try:
                await anyio.sleep(_REQUESTS_SECONDS)
                for run in list(self._engine.runner.runs.values()):
                    await self._live.answer(run.attempt.directory, run.attempt.local_name)
            except KeyboardInterrupt as error:
                self._engine.runner.forward_interrupt(error)

    async def call(self, operation: str, fields: Sequence[tuple[str, str]]) -> list[dict[str, object]]:
        """Raise `LocalError`: there is no server."""
        await self._checkpoint()
        raise LocalError(
            f"{operation} is an operation of a MiG server, and local mode has none",
            remedy=instead_of(operation) or "open a session on a grid: aiomig.grid(), or --grid",
        )


_REQUESTS_SECONDS = 0.2
"""Seconds between two checks for requests of jobs. A grid's resources check every 20 s."""

_ACTIVE = (JobState.QUEUED, JobState.EXECUTING, JobState.FROZEN)


def _status_of(record: Record) -> JobStatus:
    try:
        return record.status()
    except DamagedRecord as error:
        return JobStatus(record.job_id, JobState.UNKNOWN, native=str(error))
