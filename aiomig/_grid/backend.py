"""The grid behind the seam: jobs of a MiG server over HTTPS."""

from __future__ import annotations

import logging
import math
import re
from contextlib import aclosing
from typing import TYPE_CHECKING, Literal

import anyio
import anyio.lowlevel

from .._backend import KINDS
from .._core.errors import ConnectionFailed, JobNotFound, MigError, NoSession, ProtocolError, ServerError
from .._core.job_log import JobLog
from .._core.models import JobState, Outcome
from .._core.subscriptions import Subscriptions
from .._core.tasks import SessionTasks
from .._spec import mrsl
from .._spec.plan import PRIVATE_FOLDER, Plan, PlannedOutput, output_names
from .credential import warn_of_long_jobs
from .home import GridHome
from .poller import Poller
from .protocol import jobs
from .protocol.answer import missing_jobs
from .queues import GridQueues
from .site import describe, feasibility, review
from .submit import NO_JOB, MarkedJobs, Submitter

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from .._backend import Action, HomeBackend, QueueBackend
    from .._core.models import CheckReport, JobStatus, Site, Unconfirmed
    from .._spec.mrsl import Description
    from .http import HttpClient
    from .operations import OperationClient
    from .poller import Polling
    from .submit_journal import SubmitJournal

logger = logging.getLogger("aiomig.grid")

IDS_PER_REQUEST = 500
"""Jobs asked for at once: see `Polling.jobs_a_request`."""

LARGEST_RESULT = 256 << 20
"""The most bytes of standard output or error that are taken into memory; a larger file can be downloaded."""

_ACTION_IDS = 500  # mig-protocol 5.2
_CLEAN_UP_SECONDS = 10.0

_TARGET: Mapping[str, JobState] = {
    "cancel": JobState.CANCELED,
    "freeze": JobState.FROZEN,
    "thaw": JobState.QUEUED,
}
_PLAIN = re.compile(r"(?!ALL$)[A-Za-z0-9._-]{1,255}")
"""What may be a job id. A server takes ``*``, ``?`` and ``ALL`` for many jobs, and refuses a whole request for one
character that it does not take (mig-live 5)."""

_PATTERN = re.compile(r"(?!ALL$)[A-Za-z0-9._*?-]{1,255}")
_OWN_INPUT = re.compile(rf"{PRIVATE_FOLDER}/[^/]+/in/")
_LEADING = re.compile(r"command -p (?:mkdir|mv) .*\baiomig-in-\d+ ")


class GridBackend:
    """A grid that is open.

    Args:
        client: the connections.
        operations: the operations.
        polling: how often to ask for the jobs that are watched.
        journal: records what is submitted.
    """

    mode: Literal["grid", "local"] = "grid"
    look_again = 5.0
    live_interval = 60.0
    """Seconds between two requests for the live output of a job: a server takes no more (mig-protocol 5.8)."""

    def __init__(
        self, client: HttpClient, operations: OperationClient, polling: Polling, journal: SubmitJournal
    ) -> None:
        self._client = client
        self._operations = operations
        self.home: HomeBackend = GridHome(operations)
        self.queues: QueueBackend = GridQueues(operations)
        self._polling = polling
        self.subscriptions = Subscriptions()
        self.tasks = SessionTasks()
        self._journal = journal
        marked = MarkedJobs(operations, lambda count: self.find("*", count))
        self._submitter = Submitter(operations, marked, self._cancel, journal)
        self._is_open = False
        self._poller: Poller
        self._log = JobLog("grid")
        self._changed = jobs.ChangedStatuses()
        self._own: dict[str, None] = {}
        self._live_requests: dict[str, float] = {}

    async def open(self) -> None:
        """Reads the certificate and asks the server who we are.

        Raises:
            ConfigError: the configuration is wrong.
            AuthenticationFailed: the certificate is refused, or no account belongs to it.
            ConnectionFailed: the server cannot be reached.
        """
        await self._client.open()
        try:
            await self._introduce()
            own, forget = self._own.__contains__, self._changed.forget
            self._poller = Poller(self.subscriptions, self._ask, self._polling, own, forget)
            self.subscriptions.on_subscribe = self._poller.wake
            self._journal.open()
            await self.tasks.open()
        except BaseException:
            self._journal.close()
            with anyio.CancelScope(shield=True):
                await self._client.close()
            raise
        self._is_open = True
        self.tasks.start(self._poller.run, name="grid poller")

    async def _introduce(self) -> None:
        """Asks for a job that there is not; a site that runs no jobs is asked for the home."""
        try:
            await self.statuses([NO_JOB])
        except ServerError as error:
            await self.home.stat(".")
            logger.warning("jobs cannot be asked for: %s", error)

    async def close(self, error: BaseException | None) -> None:
        """Leaves the jobs running on the grid."""
        self._is_open = False
        self.tasks.shield()
        self.tasks.cancel()
        try:
            await self.tasks.close()
        finally:
            self._journal.close()
            with anyio.CancelScope(shield=True):
                await self._client.close()

    # -- submitting

    async def review(self, description: Description) -> CheckReport:
        """What the server says of it, as far as it says so before there is a job."""
        return await review(self._operations, description)

    async def site(self) -> Site:
        """By ``docs`` and ``redb``."""
        return await describe(self._operations)

    async def feasibility(self, job_id: str) -> CheckReport:
        """By ``jobfeasible``."""
        if not _PLAIN.fullmatch(job_id):
            raise JobNotFound(job_id)
        return await feasibility(self._operations, job_id)

    async def submit(self, plan: Plan) -> str:
        """Submits once. Its answer lost, the job is looked for; a task that is cancelled has the job canceled."""
        warn_of_long_jobs(self._client.credential, [plan.description.number("CPUTIME")])
        job_id = await self._submitter.one(plan)
        self._own[job_id] = None
        self._log.submitted([job_id])
        return job_id

    async def submit_many(self, plans: Sequence[Plan]) -> list[str | MigError]:
        """The same for many, in few requests."""
        warn_of_long_jobs(self._client.credential, [plan.description.number("CPUTIME") for plan in plans])
        outcomes = await self._submitter.many(plans)
        made = [outcome for outcome in outcomes if isinstance(outcome, str)]
        self._own.update(dict.fromkeys(made))
        self._log.submitted(made)
        return outcomes

    async def find_by_marker(self, marker: str, project: str | None = None) -> list[str]:
        """The jobs that bear the mark of a submit."""
        return await self._submitter.find_by_marker(marker, project)

    async def unconfirmed(self) -> list[Unconfirmed]:
        """What the journal does not know the outcome of."""
        return await self._submitter.unconfirmed()

    def confirm(self, markers: Iterable[str]) -> None:
        """Takes these for settled."""
        self._journal.settle((marker, None) for marker in markers)

    async def _cancel(self, job_ids: Sequence[str]) -> None:
        with anyio.move_on_after(_CLEAN_UP_SECONDS, shield=True):
            try:
                await self.act("cancel", job_ids)
            except MigError as error:
                logger.warning("%d jobs could not be canceled: %s", len(job_ids), error)

    def abandon(self, job_ids: Sequence[str]) -> None:
        """Cancels in the background."""
        if self._is_open:
            self.tasks.start(self._cancel, job_ids, name="grid cancel")

    # -- jobs

    async def statuses(self, job_ids: Sequence[str]) -> dict[str, JobStatus]:
        """By ``jobstatus``, many ids a request."""
        found: dict[str, JobStatus] = {}
        plain = _plain(job_ids)
        for start in range(0, len(plain), IDS_PER_REQUEST):
            some = plain[start : start + IDS_PER_REQUEST]
            fields = [("flags", "v"), *(("job_id", job_id) for job_id in some)]
            found |= jobs.statuses(await self._operations.query("jobstatus", fields)).found
        self._log.learned(found.values())
        return {job_id: found[job_id] for job_id in job_ids if job_id in found}

    async def _ask(self, job_ids: Sequence[str]) -> tuple[Iterable[JobStatus], Sequence[str]]:
        """Send one request for the poller. Return the changed statuses and the ids that the server does not know."""
        plain = frozenset(_plain(job_ids))
        unknown = [job_id for job_id in job_ids if job_id not in plain]
        if not plain:
            return [], unknown
        fields = [("flags", "v"), *(("job_id", job_id) for job_id in job_ids if job_id in plain)]

        async def send() -> tuple[Iterable[JobStatus], Sequence[str]]:
            reply = await self._operations.post("jobstatus", fields)
            if reply.status == 200 and self._changed.is_repeated(plain, reply.body):
                return [], unknown
            answer = self._operations.parse("jobstatus", reply)
            return self._taken_in(self._changed.read(plain, reply.body, answer)), [*missing_jobs(answer), *unknown]

        return await self._operations.retrying(send)

    def _taken_in(self, statuses: Iterable[JobStatus]) -> Iterator[JobStatus]:
        for status in statuses:
            self._log.learned([status])
            if status.state.is_final:
                self._own.pop(status.job_id, None)
                self._live_requests.pop(status.job_id, None)
            yield status

    async def present(self, job_ids: Sequence[str]) -> Mapping[str, JobStatus]:
        """What the poller knows."""
        await anyio.lowlevel.checkpoint()
        if not self._is_open:
            raise NoSession("this session is closed; use its jobs inside its block, or open another")
        return self._poller.present(job_ids)

    async def act(self, action: Action, job_ids: Sequence[str]) -> dict[str, Outcome]:
        """By ``jobaction``. It is repeated where the answer is lost; what was changed by then counts as changed."""
        outcomes: dict[str, Outcome] = {}
        plain = _plain(job_ids)
        for start in range(0, len(plain), _ACTION_IDS):
            some = plain[start : start + _ACTION_IDS]
            fields = [("action", action), *(("job_id", job_id) for job_id in some)]
            try:
                outcomes |= jobs.changed(await self._operations.execute("jobaction", fields))
            except (ConnectionFailed, ProtocolError, ServerError):
                answer = await self._operations.execute("jobaction", fields, repeatable=True)
                again = jobs.changed(answer)
                outcomes |= {each.job_id: _done_before(each, _TARGET[action]) for each in again.values()}
        changed = [outcome.job_id for outcome in outcomes.values() if outcome.changed]
        for job_id in changed:
            self._log.state(job_id, outcomes[job_id].after or _TARGET[action])
            if action == "cancel":
                self._own.pop(job_id, None)
        if watched := [job_id for job_id in changed if job_id in self.subscriptions]:
            for status in (await self.statuses(watched)).values():
                self._changed.forget([status.job_id])  # so that the next response is not taken for a repetition
                self._poller.note(status)
        return {job_id: outcomes.get(job_id) or _unknown(job_id) for job_id in job_ids}

    async def find(self, pattern: str, newest: int | None) -> list[JobStatus]:
        """By ``jobstatus`` with a pattern; sorted here, for servers sort the wrong way round (mig-live 5)."""
        if not _PATTERN.fullmatch(pattern):
            return []
        fields = [("flags", "v"), ("job_id", pattern)]
        found = jobs.statuses(await self._operations.query("jobstatus", fields)).found
        newest_first = sorted(found.values(), key=_counter, reverse=True)
        return newest_first[:newest]

    async def plan_of(self, job_id: str) -> Plan:
        """By ``mrslview``, whose values are not escaped (mig-protocol 4.1)."""
        if not _PLAIN.fullmatch(job_id):
            raise JobNotFound(job_id)
        texts = jobs.mrsl_texts(await self._operations.query("mrslview", [("job_id", job_id)]))
        if len(texts) != 1:
            raise JobNotFound(job_id)
        text = "\n".join(mrsl.escape(line) for line in texts[0].splitlines())
        return _plan_from(mrsl.parse(text))

    # -- results

    async def results(self, status: JobStatus) -> dict[str, bytes]:
        """The four files by ``cert_redirect``; a grid keeps none of a job that is not FINISHED."""
        if status.state is not JobState.FINISHED:
            return {}
        files: dict[str, bytes] = {}
        for kind in KINDS:
            content = await self._content(f"job_output/{status.job_id}/{status.job_id}.{kind}", 0)
            if content is not None:
                files[kind] = content
        return files

    async def _content(self, path: str, start: int) -> bytes | None:
        content = bytearray()
        try:
            async with aclosing(self.home.read(path, start)) as pieces:
                async for piece in pieces:
                    content += piece
                    if len(content) > LARGEST_RESULT:
                        raise ProtocolError(
                            f"{path}: more than {LARGEST_RESULT >> 20} MiB, which is not taken into memory; "
                            f"download it: session.files.get({path!r}, …)"
                        )
        except FileNotFoundError:
            return None
        return bytes(content)

    async def read_stream(self, job_id: str, name: str, start: int) -> bytes:
        """The file in ``job_output``; while the job runs, that is asked for by ``liveio`` once a minute."""
        status = (await self.statuses([job_id])).get(job_id)
        if status is None:
            raise JobNotFound(job_id)
        if job_id in self.subscriptions and not any(
            each.state.is_final for each in self._poller.present([job_id]).values()
        ):
            # Whoever follows the output is to know of which attempt it is.
            self._poller.note(status)
        if status.state is JobState.EXECUTING:
            await self._request_live_output(job_id)
        return await self._content(f"job_output/{job_id}/{job_id}.{name}", start) or b""

    async def _request_live_output(self, job_id: str) -> None:
        now = anyio.current_time()
        if now - self._live_requests.get(job_id, -math.inf) < self.live_interval:
            return
        self._live_requests[job_id] = now
        try:
            answer = await self._operations.execute("liveio", [("action", "send"), ("job_id", job_id)])
            jobs.live_requested(answer)
        except ServerError as error:
            logger.debug("no live output of %s: %s", job_id, error)

    def own_jobs(self) -> Iterable[str]:
        """The ids of what was submitted here and is not known to have ended."""
        return list(self._own)


def _plain(job_ids: Sequence[str]) -> list[str]:
    return [job_id for job_id in job_ids if _PLAIN.fullmatch(job_id)]


def _unknown(job_id: str) -> Outcome:
    return Outcome(job_id, None, None, f"{job_id}: You do not have any matching job IDs!")


def _done_before(outcome: Outcome, target: JobState) -> Outcome:
    return outcome if outcome.changed or outcome.before is not target else Outcome(outcome.job_id, target, target)


def _counter(status: JobStatus) -> tuple[float, int]:
    counter = status.job_id.partition("_")[0]
    at = status.received_at.timestamp() if status.received_at is not None else 0.0
    return at, int(counter) if counter.isdigit() else 0


def _plan_from(description: Description) -> Plan:
    """What can be told of a plan from the description that was sent: see `_lowering`."""
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
