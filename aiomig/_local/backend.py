"""Local mode: a MiG of one resource, this machine, behind the same seam as the grid."""

from __future__ import annotations

import fnmatch
import os
import re
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import anyio
import anyio.lowlevel
import platformdirs

from .._backend import KINDS
from .._core.errors import JobNotFound, LocalError, MigError, NoSession, SpecError, SubmitRejected
from .._core.models import CheckReport, Fault, JobState
from .._core.subscriptions import Subscriptions
from .._core.tasks import SessionTasks
from .._core.validation import expanded, is_count
from . import site as _local_site
from .engine import Engine
from .home import LocalHome, make_home_folder
from .queues import LocalQueues
from .settings import LocalSettings, find_bash, usable_cores
from .store import Store

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from .._backend import Action, HomeBackend, QueueBackend
    from .._core.models import JobStatus, Outcome, Site, Unconfirmed
    from .._spec.mrsl import Description
    from .._spec.plan import Plan
    from .store import Record

OnExit = Literal["wait", "cancel", "leave"]

_FIND_CHUNK = 500
_SUBMIT_CHUNK = 100
"""Jobs entered between two looks at the event loop."""


def default_home() -> Path:
    """This user's own emulated home: a private folder among the platform's state folders."""
    return platformdirs.user_state_path("aiomig") / "home"


def settings_of(home: str | os.PathLike[str] | None, slots: int | None, **others: object) -> LocalSettings:
    """Checks what a user says of local mode.

    Raises:
        SpecError: a setting is out of its range.
        LocalError: there is no bash.
    """
    faults: list[Fault] = []
    if slots is not None and not is_count(slots):
        faults.append(Fault("slots", slots, "not a positive whole number", "give the number of jobs to run at once"))
    for name in ("default_retries", "wall_time_grace", "expire_after", "kill_grace"):
        value = others[name]
        if isinstance(value, bool) or not isinstance(value, (int, float)) or value < 0:
            faults.append(Fault(name, value, "not a number of at least 0", "give seconds, or a count"))
    try:
        path = expanded(home) if home is not None else default_home()
    except (TypeError, ValueError) as error:
        faults.append(Fault("home", home, str(error), "give the path of a folder"))
        path = Path()
    if faults:
        raise SpecError(faults)
    return LocalSettings(
        home=Path(os.path.abspath(path)),
        slots=slots if slots is not None else usable_cores(),
        bash=find_bash(),
        **others,  # type: ignore[arg-type]
    )


class LocalBackend:
    """A home that is open.

    Args:
        settings: see `aiomig.local`.
        on_exit: what becomes of unfinished jobs when the session is left normally.
    """

    mode: Literal["grid", "local"] = "local"
    look_again = 0.1

    def __init__(self, settings: LocalSettings, on_exit: OnExit) -> None:
        self.settings = settings
        self.home: HomeBackend = LocalHome(settings.home)
        self.queues: QueueBackend = LocalQueues(settings.home, settings.folder, self._checkpoint)
        self.subscriptions = Subscriptions()
        self._on_exit = on_exit
        self.tasks = SessionTasks()
        self._is_closed = False
        self._store: Store
        self._engine: Engine

    async def open(self) -> None:
        """Makes the home if need be, opens its records and begins to run jobs.

        Raises:
            LocalError: the home cannot be used.
        """
        home = self.settings.home
        if home == default_home():
            make_home_folder(home.parent)
        for folder in (home, self.settings.folder, self.settings.runs, self.settings.kept):
            make_home_folder(folder)
            if folder != home:
                folder.chmod(0o700)
        self._store = Store(self.settings.folder)
        _make_empty(self.settings.empty)
        try:
            self._engine = Engine(self.settings, self._store, self.subscriptions, self.tasks)
            await self.tasks.open()
            try:
                self._engine.open()
            except BaseException:
                self.tasks.cancel()
                await self.tasks.close()
                raise
        except BaseException:
            self._store.close()
            raise

    async def close(self, error: BaseException | None) -> None:
        """Ends as `on_exit` says, or by cancelling where an error comes out of the session's block."""
        how: Literal["cancel", "leave"] = "leave"
        failure: BaseException | None = None
        try:
            if error is not None or self._on_exit == "cancel":
                how = "cancel"
            elif self._on_exit == "wait":
                await self._engine.drained()
            else:
                await self._begun()
        except BaseException as cancelled:  # noqa: BLE001 - raised again below, once the jobs are dealt with
            how, failure = "cancel", cancelled
        # From here on cancellation waits: what is begun is ended in order, and that takes no longer than a kill.
        self.tasks.shield()
        try:
            await self._engine.close(how)
            self.tasks.cancel()
            await self.tasks.close()
        finally:
            self._is_closed = True
            self._store.close()
        if failure is not None:
            raise failure

    async def _begun(self) -> None:
        """Waits until what has a slot runs by itself: what has not begun cannot be left to run on."""
        while self._engine.is_open and self._engine.has_beginners():  # noqa: ASYNC110 - the jobs' shells write that
            await anyio.sleep(0.01)

    async def _checkpoint(self) -> None:
        """Where each operation may be cancelled, and finds out whether it can work at all."""
        await anyio.lowlevel.checkpoint()
        if self._is_closed:
            raise NoSession("this session is closed; use its jobs inside its block, or open another on the same home")
        self._engine.check()

    # -- jobs

    async def review(self, description: Description) -> CheckReport:
        """What `submit` would refuse; what is left this machine takes, whatever it asks for."""
        await self._checkpoint()
        return CheckReport(tuple(self._refusals(description)), offers=_local_site.offers(self.settings))

    async def site(self) -> Site:
        """What the settings say."""
        await self._checkpoint()
        return _local_site.describe(self.settings)

    async def feasibility(self, job_id: str) -> CheckReport:
        """Whatever a job asks for, this machine takes it."""
        await self._checkpoint()
        self._record(job_id)
        return CheckReport()

    async def submit(self, plan: Plan) -> str:
        """Puts a job into the queue. Cancelled before, it makes none; afterwards it is not a checkpoint any more."""
        self._accept(plan)
        await self._checkpoint()
        return self._engine.submit([plan])[0]

    async def submit_many(self, plans: Sequence[Plan]) -> list[str | MigError]:
        """Puts jobs into the queue, some at a time. Cancelled in between, it cancels what it made."""
        outcomes: list[str | MigError] = []
        try:
            for start in range(0, len(plans), _SUBMIT_CHUNK):
                some = plans[start : start + _SUBMIT_CHUNK]
                try:
                    await self._checkpoint()
                    outcomes += self._submit_some(some)
                except LocalError as error:  # those that were made by then are not to be lost
                    outcomes += [error for _ in some]
        except anyio.get_cancelled_exc_class():
            self._engine.act("cancel", [outcome for outcome in outcomes if isinstance(outcome, str)])
            raise
        return outcomes

    def _submit_some(self, plans: Sequence[Plan]) -> list[str | MigError]:
        outcomes: list[str | MigError] = []
        accepted: list[Plan] = []
        for plan in plans:
            try:
                self._accept(plan)
            except SubmitRejected as error:
                outcomes.append(error)
            else:
                outcomes.append("")
                accepted.append(plan)
        job_ids = iter(self._engine.submit(accepted))
        return [next(job_ids) if outcome == "" else outcome for outcome in outcomes]

    async def find_by_marker(self, marker: str, project: str | None = None) -> list[str]:
        """The jobs that bear a mark."""
        await self._checkpoint()
        return [record.job_id for record in self._store.find_by_marker(marker)]

    async def unconfirmed(self) -> list[Unconfirmed]:
        """None: a job is in the records, or there is none."""
        await self._checkpoint()
        return []

    def confirm(self, markers: Iterable[str]) -> None:
        """Nothing is ever in doubt here."""

    def abandon(self, job_ids: Sequence[str]) -> None:
        """Cancels jobs that nobody is interested in any more."""
        if not self._is_closed and self._engine.is_open:
            self._engine.act("cancel", job_ids)

    def _accept(self, plan: Plan) -> None:
        """Refuses what a grid refuses because of what it has."""
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
        """What the records say now."""
        await self._checkpoint()
        if len(job_ids) == 1:
            record = self._store.find(job_ids[0])
            return {} if record is None else {job_ids[0]: record.status()}
        numbers = {number for job_id in job_ids if (number := self._store.number_of(job_id)) is not None}
        found = {record.job_id: record.status() for record in self._store.records(sorted(numbers))}
        return {job_id: found[job_id] for job_id in job_ids if job_id in found}

    async def present(self, job_ids: Sequence[str]) -> dict[str, JobStatus]:
        """What the records say now; they know all jobs."""
        statuses = await self.statuses(job_ids)
        for job_id in job_ids:
            if job_id not in statuses:
                raise JobNotFound(job_id, f"no such job in {self.settings.home}")
        return statuses

    async def act(self, action: Action, job_ids: Sequence[str]) -> dict[str, Outcome]:
        """Cancels, freezes or thaws, as a MiG server does, at once."""
        await self._checkpoint()
        return self._engine.act(action, job_ids)

    async def find(self, pattern: str, newest: int | None) -> list[JobStatus]:
        """Looks through the records, newest first."""
        match = _matcher(pattern)
        found: list[JobStatus] = []
        before: int | None = None
        while newest is None or len(found) < newest:
            await self._checkpoint()
            records = self._store.newest(_FIND_CHUNK, before)
            found += [record.status() for record in records if match(record.job_id)]
            if len(records) < _FIND_CHUNK:
                break
            before = records[-1].number
        return found[:newest]

    async def plan_of(self, job_id: str) -> Plan:
        """What the job was submitted with."""
        await self._checkpoint()
        return self._record(job_id).plan

    def _record(self, job_id: str) -> Record:
        record = self._store.find(job_id)
        if record is None:
            raise JobNotFound(job_id, f"no such job in {self.settings.home}")
        return record

    # -- results

    async def results(self, status: JobStatus) -> dict[str, bytes]:
        """The four files, or what is kept of a failed attempt."""
        await self._checkpoint()
        job_id = status.job_id
        if status.state is JobState.FINISHED:
            start = f"{self.settings.results(job_id)}/{job_id}."
            paths = {kind: start + kind for kind in KINDS}
        else:
            number = self._store.number_of(job_id)
            paths = {kind: f"{self.settings.kept}/{number}.{kind}" for kind in ("stdout", "stderr")}
        return {kind: content for kind, path in paths.items() if (content := _content(path)) is not None}

    async def read_stream(self, job_id: str, name: str, start: int) -> bytes:
        """What stands in ``stdout`` or ``stderr`` from an offset on: of the run under way, or of the last one."""
        await self._checkpoint()
        record = self._record(job_id)
        if record.state is JobState.FINISHED:
            path = f"{self.settings.results(job_id)}/{job_id}.{name}"
        elif record.state is JobState.EXECUTING:
            path = self._engine.attempt_of(record).stream(name)
        else:
            path = f"{self.settings.kept}/{record.number}.{name}"
        return _content(path, start) or b""

    def own_jobs(self) -> Iterable[str]:
        """The ids of what waits or runs here."""
        return [record.job_id for record in self._store.records(sorted(self._engine.unfinished))]


def _content(path: str, start: int = 0) -> bytes | None:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise LocalError(f"{path} cannot be read: {error.strerror}", path=path) from error
    with open(descriptor, "rb", buffering=0) as stream:
        if start:
            stream.seek(start)
        return stream.readall()


def _matcher(pattern: str) -> Callable[[str], object]:
    # Only * and ? mean something; fnmatch's brackets do not.
    return re.compile(fnmatch.translate(pattern.replace("[", "[[]"))).match


def _make_empty(path: str) -> None:
    with suppress(OSError):  # a full disk: jobs do without
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644))
        os.chmod(path, 0o644)
