"""The backend of local mode: a MiG with one resource, this machine."""

from __future__ import annotations

import logging
import os
import time
from contextlib import ExitStack, suppress
from functools import partial
from typing import TYPE_CHECKING, Literal, TypeVar

import anyio
import anyio.lowlevel

from .._backend import KINDS, not_running
from .._core.errors import ActionRefused, ConfigError, JobNotFound, LocalError, MigError, NoSession, SubmitRejected
from .._core.job_filter import matcher
from .._core.models import CheckReport, Fault, JobState, JobStatus
from .._core.operations import instead_of
from .._core.subscriptions import Subscriptions
from .._core.tasks import HeldInterrupts, SessionTasks, run_shielded
from .._home.disk import PIECE, open_regular, translate_os_errors
from .._shell.process import has_pidfd
from . import site as _local_site
from .attempt import Machine
from .home import LocalHome, make_home_folder, make_own_folder
from .live import LiveFiles
from .pruning import remove_files
from .queues import LocalQueues
from .records import DamagedRecord, number_of
from .runner import AttemptRunner
from .scheduler import Scheduler
from .settings import base_environment, default_home
from .store import DatabaseLocked, Store, retry_while_locked
from .takeover import Takeover
from .urls import URL_SCHEMES

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
"""Jobs that are submitted between two turns of the event loop."""


class LocalBackend:
    """One session on a home.

    Args:
        settings: see `aiomig.local`.
        interval: seconds between two looks at what other processes did to the jobs of the home.
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
        self._interval = interval
        self._is_closed = False
        self._has_tasks = False
        self._resources = ExitStack()
        self._store: Store
        self._runner: AttemptRunner
        self._scheduler: Scheduler
        self._takeover: Takeover

    # -- opening and closing

    async def open(self) -> None:
        """Make the home if it is missing, open its records, and begin to run jobs.

        Raises:
            LocalError: the home cannot be used.
        """
        home = self.settings.home
        with suppress(ConfigError):  # without a home directory, this is not the default home
            if home == default_home():
                make_home_folder(home.parent)
        make_home_folder(home)
        for folder in (self.settings.folder, self.settings.runs, self.settings.kept):
            make_own_folder(folder)
        try:
            await self._open()
        except BaseException:
            with HeldInterrupts():
                await self._close("leave")
            if self._has_tasks and self._runner.interrupt is not None:
                raise self._runner.interrupt from None
            raise

    async def _open(self) -> None:
        self._store = await self._unlocked(lambda: Store(self.settings.folder))
        self._resources.callback(self._store.close)
        await self._unlocked(lambda: self._store.begin_session(time.time()))
        null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
        self._resources.callback(os.close, null)
        self._compose(Machine(self.settings, base_environment(self.settings), null, has_pidfd()))
        with HeldInterrupts():
            await self.tasks.open()
            self._has_tasks = True
        await self._unlocked(self._takeover.open)
        self.tasks.start(self._answer_jobs, name="local requests of jobs")

    def _compose(self, machine: Machine) -> None:
        runner = AttemptRunner(self.settings, self.tasks)
        scheduler = Scheduler(machine, self._store, self.subscriptions, runner)
        self._runner, self._scheduler = runner, scheduler
        self._takeover = Takeover(
            machine, self._store, self.subscriptions, self.tasks, scheduler, runner, interval=self._interval
        )

    async def close(self, error: BaseException | None) -> None:
        """End as `on_exit` says, or by cancelling if an error leaves the session's block."""
        how: Literal["cancel", "leave"] = "leave"
        failure: BaseException | None = None
        try:
            if error is not None or self.settings.on_exit == "cancel":
                how = "cancel"
            elif self.settings.on_exit == "wait":
                await self._scheduler.drained()
            else:
                await self._have_begun()
        except BaseException as cancelled:  # noqa: BLE001 - raised again below, once the jobs are dealt with
            how, failure = "cancel", cancelled
        with HeldInterrupts():
            try:
                await anyio.lowlevel.cancel_shielded_checkpoint()  # where trio raises an interrupt that came before
            except BaseException as interrupt:  # noqa: BLE001 - also a second Task.cancel; raised again below
                how, failure = "cancel", interrupt
            await self._close(how)
        if failure := self._runner.interrupt or failure:
            raise failure from None

    async def _close(self, how: Literal["cancel", "leave"]) -> None:
        """Close what is open. Cancellation waits: this takes no longer than a kill."""
        try:
            if self._has_tasks:
                self.tasks.shield()
                await self._close_tasks(how)
        finally:
            self._is_closed = True
            self._resources.close()

    async def _close_tasks(self, how: Literal["cancel", "leave"]) -> None:
        try:
            with anyio.CancelScope(shield=True):
                await run_shielded(partial(self._scheduler.stop_runs, how))
        finally:
            self._takeover.close()
            self.tasks.cancel()
            try:
                await self.tasks.close()
            finally:
                with anyio.CancelScope(shield=True):
                    await run_shielded(self._scheduler.finish)

    async def _have_begun(self) -> None:
        """Wait until every attempt runs by itself: one that has not begun cannot be left to run on."""
        while self._scheduler.is_open and self._runner.has_beginners():  # noqa: ASYNC110 - the jobs' shells write that
            await anyio.sleep(0.01)

    async def _checkpoint(self) -> None:
        """Let other tasks run; raise what ended the session, or that the caller is cancelled."""
        await anyio.lowlevel.checkpoint()
        self._raise_if_closed()

    def _raise_if_closed(self) -> None:
        if self._is_closed:
            raise NoSession("this session is closed; use its jobs inside its block, or open another on the same home")
        self._scheduler.raise_if_stopped()

    async def _unlocked(self, call: Callable[[], T]) -> T:
        return await retry_while_locked(call, self.settings.lock_timeout)

    # -- jobs

    async def review(self, description: Description) -> CheckReport:
        """Return what `submit` would refuse, and URLs that local mode cannot read."""
        await self._checkpoint()
        faults = [*self._refusals(description), *_unreadable_urls(description)]
        return CheckReport(tuple(faults), offers=_local_site.offers(self.settings))

    async def site(self) -> Site:
        """Return what the settings say."""
        await self._checkpoint()
        return _local_site.describe(self.settings)

    async def feasibility(self, job_id: str, *, schedule: bool = False) -> CheckReport:
        """Return no faults: whatever a job asks for, this machine takes it."""
        await self._record(job_id)
        return CheckReport()

    async def submit(self, plan: Plan) -> str:
        """Put a job into the queue. If cancelled, make none."""
        self._raise_if_refused(plan)
        await anyio.lowlevel.checkpoint_if_cancelled()
        self._raise_if_closed()
        try:
            (outcome,) = self._scheduler.submit([plan])
        except DatabaseLocked:
            (outcome,) = await self._unlocked(lambda: self._scheduler.submit([plan]))
        if isinstance(outcome, MigError):
            raise outcome
        return outcome

    async def submit_many(
        self, plans: Sequence[Plan], report: Callable[[int], object] = lambda count: None
    ) -> list[str | MigError]:
        """Put jobs into the queue, some at a time. If cancelled in between, cancel those that were made."""
        outcomes: list[str | MigError] = []
        try:
            for start in range(0, len(plans), _SUBMIT_CHUNK):
                some = plans[start : start + _SUBMIT_CHUNK]
                try:
                    await self._checkpoint()
                    outcomes += await self._unlocked(partial(self._submit_some, some))
                except LocalError as error:  # those that were made by then must not be lost
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
        job_ids = iter(self._scheduler.submit(accepted))
        return [next(job_ids) if outcome == "" else outcome for outcome in outcomes]

    async def find_keys(self, keys: Sequence[SubmitKey]) -> dict[str, str | MigError]:
        """Return what the records say."""
        await self._checkpoint()
        known = await self._unlocked(lambda: {key.text: self._store.find_key(key) for key in keys})
        return {key: outcome for key, outcome in known.items() if outcome is not None}

    async def find_by_marker(self, marker: str, project: str | None = None) -> list[str]:
        """Return the ids of the jobs that were submitted with a marker."""
        await self._checkpoint()
        return [record.job_id for record in await self._unlocked(lambda: self._store.find_by_marker(marker))]

    async def unconfirmed(self) -> list[Unconfirmed]:
        """Return nothing: a job is in the records, or there is none."""
        await self._checkpoint()
        return []

    def confirm(self, markers: Iterable[str]) -> None:
        """Do nothing: no submit is ever unconfirmed here."""

    def disown(self, job_ids: Sequence[str]) -> None:
        """Free the keys of unfinished jobs. The home has a record of every job."""
        if not self._is_closed:
            with suppress(LocalError):  # then the keys stay with the canceled jobs
                self._store.free_keys([number for job_id in job_ids if (number := number_of(job_id)) is not None])

    def abandon(self, job_ids: Sequence[str]) -> None:
        """Cancel jobs that nobody is interested in any more."""
        if not self._is_closed and self._scheduler.is_open:
            self.disown(job_ids)
            try:
                self._scheduler.act("cancel", job_ids)
            except DatabaseLocked:
                self.tasks.start(self._abandon_later, job_ids, name="local abandon")

    async def _abandon_later(self, job_ids: Sequence[str]) -> None:
        with anyio.CancelScope(shield=True), suppress(LocalError):
            await self._unlocked(lambda: self._scheduler.act("cancel", job_ids))

    def _raise_if_refused(self, plan: Plan) -> None:
        """Refuse what a grid refuses because of what it has."""
        keywords = plan.description.keywords
        if keywords.keys().isdisjoint(("VGRID", "RUNTIMEENVIRONMENT", "JOBTYPE")):
            return
        if faults := self._refusals(plan.description):
            raise SubmitRejected([str(fault) for fault in faults], faults)

    def _refusals(self, description: Description) -> list[Fault]:
        vgrids = {"Generic", "ANY", *self.settings.vgrids}
        faults = [
            Fault(
                "VGRID",
                name,
                f"You must be an owner or member of the {name!r} vgrid to submit a job to it",
                f"leave it out, or declare it: aiomig.local(vgrids=[{name!r}])",
            )
            for name in description.lines("VGRID")
            if name not in vgrids
        ]
        faults += [
            Fault(
                "RUNTIMEENVIRONMENT",
                name,
                "no resource of local mode has this runtime environment",
                f"leave it out, or declare it: aiomig.local(runtime_environments={{{name!r}: {{…variables}}}})",
            )
            for name in description.lines("RUNTIMEENVIRONMENT")
            if name.upper() not in self.settings.runtime_environments
        ]
        if description.text("JOBTYPE", "batch") not in {"batch", "all"}:
            faults.append(
                Fault(
                    "JOBTYPE",
                    description.text("JOBTYPE"),
                    "specified jobtype not valid in local mode",
                    "use 'batch' or 'all', or leave it out",
                )
            )
        return faults

    async def statuses(self, job_ids: Sequence[str]) -> dict[str, JobStatus]:
        """Return what the records say now.

        Raises:
            DamagedRecord: the record of a job cannot be read.
        """
        await self._checkpoint()
        records = await self._unlocked(lambda: self._find_all(job_ids))
        if any(record.state in _ACTIVE and not self._is_run(record) for record in records.values()):
            await self._unlocked(self._takeover.adopt)
            await self._takeover.observe(job_ids)
            records = await self._unlocked(lambda: self._find_all(job_ids))
        return {job_id: record.status() for job_id, record in records.items()}

    def _find_all(self, job_ids: Sequence[str]) -> dict[str, Record]:
        if len(job_ids) == 1:
            record = self._store.find(job_ids[0])
            return {} if record is None else {job_ids[0]: record}
        numbers = {number for job_id in job_ids if (number := number_of(job_id)) is not None}
        records = {record.number: record for record in self._store.records(sorted(numbers))}
        return {
            job_id: record
            for job_id in job_ids
            if (record := records.get(number_of(job_id) or 0)) is not None and record.job_id == job_id
        }

    def _is_run(self, record: Record) -> bool:
        """Return whether an open session runs a job, and knows whether its process still runs."""
        if record.owner == self._store.session:
            run = self._runner.runs.get(record.number)
            return run is None or run.is_observed
        return record.owner is not None and self._store.is_alive(record.owner)

    async def present(self, job_ids: Sequence[str]) -> dict[str, JobStatus]:
        """Return what the records say now; they know all jobs."""
        statuses = await self.statuses(job_ids)
        for job_id in job_ids:
            if job_id not in statuses:
                raise JobNotFound(job_id)
        return statuses

    async def follow_all(self) -> None:
        """Compare the records from now on with what they were at the last look."""
        await self._checkpoint()
        await self._unlocked(self._takeover.follow_all)

    async def act(self, action: Action, job_ids: Sequence[str]) -> dict[str, Outcome]:
        """Cancel, freeze or thaw, as a MiG server does, at once."""
        await self._checkpoint()
        return await self._unlocked(lambda: self._scheduler.act(action, job_ids))

    async def find(self, wanted: JobFilter) -> list[JobStatus]:
        """Look through the records, newest first. A job whose record is damaged is UNKNOWN."""
        match = matcher(wanted.pattern)
        # Records are finer than microseconds, so this looks from a little earlier; `matches_status` is exact.
        since = wanted.since.timestamp() - 0.001 if wanted.since is not None else None
        statuses: list[JobStatus] = []
        before: int | None = None
        while wanted.newest is None or len(statuses) < wanted.newest:
            await self._checkpoint()
            records = await self._unlocked(partial(self._store.newest, _FIND_CHUNK, before, since))
            for record in records:
                try:
                    if not match(record.job_id):
                        continue
                    status = _status_of(record)
                except DamagedRecord as error:  # not even its id is known
                    logger.error("%s", error)
                else:
                    statuses += [status] * (wanted.matches_status(status) and wanted.matches_description(status))
            if len(records) < _FIND_CHUNK:
                break
            before = records[-1].number
        return statuses[: wanted.newest]

    async def plan_of(self, job_id: str) -> Plan:
        """Return what the job was submitted with."""
        return (await self._record(job_id)).plan()

    async def _record(self, job_id: str) -> Record:
        await self._checkpoint()
        record = await self._unlocked(lambda: self._store.find(job_id))
        if record is None:
            raise JobNotFound(job_id)
        return record

    # -- results

    async def results(self, status: JobStatus) -> dict[str, bytes]:
        """Return the four files, or what is kept of a failed attempt."""
        await self._checkpoint()
        job_id = status.job_id
        if status.state is JobState.FINISHED:
            start = f"{self.settings.stored_results(job_id)}/{job_id}."
            paths = {kind: start + kind for kind in KINDS}
            paths["remarks"] = f"{self.settings.kept}/{job_id}.remarks"
        else:
            number = number_of(job_id)
            paths = {kind: f"{self.settings.kept}/{number}.{kind}" for kind in ("stdout", "stderr")}
        contents: dict[str, bytes] = {}
        for kind, path in paths.items():
            content = await _content(path, 0)
            if content is not None:
                contents[kind] = content
        return contents

    def note_exit_code(self, job_id: str, exit_code: int) -> None:
        """Do nothing: the records have it."""

    async def read_stream(self, job_id: str, name: str, start: int) -> bytes:
        """Return ``stdout`` or ``stderr`` from an offset on: of the attempt under way, or of the last one."""
        record = await self._record(job_id)
        if record.state is JobState.FINISHED:
            path = f"{self.settings.stored_results(job_id)}/{job_id}.{name}"
        elif record.state is JobState.EXECUTING:
            path = self._scheduler.attempt_of(record).stream(name)
        else:
            path = f"{self.settings.kept}/{record.number}.{name}"
        return await _content(path, start, _STREAM_PIECE) or b""

    async def prune(self, before: datetime, *, records: bool) -> int:
        """Remove the files of jobs, and then their records."""
        cutoff, last, count = before.timestamp(), 0, 0
        while ended := await self._unlocked(partial(self._store.ended_before, cutoff, _PRUNED_AT_ONCE, last)):
            for record in ended:
                await self._checkpoint()
                try:
                    pruned = await remove_files(self.settings, record)
                except DamagedRecord as error:  # not even its id is known
                    logger.error("%s", error)
                    continue
                forgotten = False
                if records and pruned.all:
                    forgotten = await self._unlocked(partial(self._store.forget, record.number, cutoff))
                count += pruned.any or forgotten
            last = ended[-1].number
        return count

    def own_jobs(self) -> Iterable[str]:
        """Return the ids of what waits or runs here."""
        return [record.job_id for record in self._store.records(sorted(self._scheduler.unfinished))]

    async def live(
        self, job_id: str, action: Literal["send", "get"], sources: Sequence[str], destination: str | None
    ) -> None:
        """Copy between the job directory and the home."""
        record = await self._record(job_id)
        if record.state is not JobState.EXECUTING:
            raise ActionRefused(not_running(record.status()))
        files = sources or [f"{job_id}.stdout", f"{job_id}.stderr"]
        act = self._live.send if action == "send" else self._live.get
        with translate_os_errors(", ".join(files), "in the job directory" if action == "send" else "in the MiG home"):
            await act(self._scheduler.attempt_of(record).directory, files, destination or f"job_output/{job_id}")

    async def _answer_jobs(self) -> None:
        """Do what running jobs ask for by files in their directories."""
        while True:
            try:
                await anyio.sleep(_REQUESTS_SECONDS)
                for run in list(self._runner.runs.values()):
                    await self._live.answer(run.attempt.directory, run.attempt.local_name)
            except KeyboardInterrupt as error:
                self._runner.forward_interrupt(error)

    async def call(self, operation: str, fields: Sequence[tuple[str, str]]) -> list[dict[str, object]]:
        """Raise LocalError: there is no server."""
        await self._checkpoint()
        raise LocalError(
            f"{operation} is an operation of a MiG server, and local mode has none",
            remedy=instead_of(operation) or "open a session on a grid: aiomig.grid(), or --grid",
        )


_REQUESTS_SECONDS = 0.2
"""Seconds between two looks at whether jobs ask for something. A grid's resources look every 20 s."""

MOST_OF_A_RESULT = 256 << 20
"""The most bytes of one result file that are read into memory."""

_STREAM_PIECE = 8 << 20
"""The most bytes of a stream that are read at once."""

_ACTIVE = (JobState.QUEUED, JobState.EXECUTING, JobState.FROZEN)


def _status_of(record: Record) -> JobStatus:
    try:
        return record.status()
    except DamagedRecord as error:
        return JobStatus(record.job_id, JobState.UNKNOWN, native=str(error))


async def _content(path: str, start: int, most: int | None = None) -> bytes | None:
    """Return at most so many bytes of a file that a job wrote; ``None`` if there is no such file.

    Raises:
        LocalError: it cannot be read, or has more than `MOST_OF_A_RESULT` bytes if ``most`` is not given.
    """
    try:
        with open_regular(path, follow=False) as file:
            if most is None:
                most = MOST_OF_A_RESULT
                if os.fstat(file.fileno()).st_size > most:
                    raise LocalError(
                        f"{path} has more than {most} bytes", path=path, remedy="get it with session.files.get"
                    )
            file.seek(start)
            pieces = [file.read(min(PIECE, most))]
            while len(pieces[-1]) == PIECE and (left := most - sum(map(len, pieces))) > 0:
                await anyio.lowlevel.checkpoint()
                pieces.append(file.read(min(PIECE, left)))
            return b"".join(pieces)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise LocalError(f"{path} cannot be read: {error.strerror}", path=path) from error


def _unreadable_urls(description: Description) -> list[Fault]:
    return [
        Fault(keyword, transfer.source, f"{scheme} is not supported in local mode", "give an http, https or file URL")
        for keyword in ("INPUTFILES", "EXECUTABLES")
        for transfer in description.transfers(keyword)
        if "://" in transfer.source and (scheme := transfer.source.partition("://")[0]) not in URL_SCHEMES
    ]
