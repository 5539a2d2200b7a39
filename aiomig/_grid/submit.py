"""Submitting to a grid: once, also where the answer is lost.

Finding jobs of a grid without their ids: by the marker that each submit gives its job.
"""

from __future__ import annotations

import logging
import re
import secrets
from dataclasses import replace
from typing import TYPE_CHECKING

import anyio

from .._core.errors import ConnectionFailed, GridError, JobNotFound, MigError, ProtocolError, ServerError, SubmitUnknown
from .._spec import mrsl
from .._spec.mrsl import Description
from .._spec.plan import PRIVATE_FOLDER
from .multipart import multipart
from .protocol import jobs

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from .._core.models import JobStatus, Unconfirmed
    from .._spec.plan import Plan
    from .operations import OperationClient
    from .protocol.jobs import SubmitReply
    from .submit_journal import SubmitJournal

logger = logging.getLogger("aiomig.grid")

JOBS_PER_REQUEST = 50
"""Descriptions sent at once; 25 cost a server a quarter of a second (mig-live 5)."""

_LOOKS = (0.2, 0.5, 1.0, 2.0, 4.0)
"""Seconds before each look for a job whose submit was not answered."""

_CLEAN_UP_SECONDS = 10.0

_SWITCHED_OFF = "Job execution is not enabled"
"""What a site says that runs no jobs, before it does anything."""

_DOUBTFUL = (ConnectionFailed, ServerError, ProtocolError)
"""After these nobody knows whether the server did what it was told."""


class Submitter:
    """Submits, and finds out what became of a submit.

    Each job bears the marker of its plan in PROJECT; where the user sets that, in its environment. The journal has
    the marker before the server gets it.

    Args:
        operations: the operations of the server.
        marked: finds jobs by their markers.
        cancel: cancels jobs.
        journal: of the session.
    """

    def __init__(
        self,
        operations: OperationClient,
        marked: MarkedJobs,
        cancel: Callable[[Sequence[str]], Awaitable[object]],
        journal: SubmitJournal,
    ) -> None:
        self._operations = operations
        self._marked = marked
        self._cancel = cancel
        self._journal = journal

    async def one(self, plan: Plan) -> str:
        """Submits by ``submitfields`` (mig-protocol 6.2). Its id."""
        await self._operations.prepare("submitfields")
        outcome = (await self._to_its_end([plan], lambda: self._one(plan)))[0]
        if isinstance(outcome, MigError):
            raise outcome
        return outcome

    async def _one(self, plan: Plan) -> list[str | MigError]:
        try:
            answer = await self._operations.execute("submitfields", fields_of(plan))
        except _DOUBTFUL as error:
            return await self._find_out([plan], error)
        try:
            made = jobs.submitted(answer, "submitfields")
        except ProtocolError as error:
            return await self._find_out([plan], error)
        if not made:
            return await self._find_out([plan], ProtocolError("submitfields: the server says nothing of the job"))
        return [_outcome(made[0])]

    async def many(self, plans: Sequence[Plan]) -> list[str | MigError]:
        """Submits by ``textarea``, many descriptions a request; of each its id or its error, in order."""
        if not plans:
            return []
        await self._operations.prepare("textarea")
        folder = f"{PRIVATE_FOLDER}/submit-{secrets.token_hex(12)}"
        outcomes: list[str | MigError] = []
        try:
            try:
                for start in range(0, len(plans), JOBS_PER_REQUEST):
                    outcomes += await self._some(plans[start : start + JOBS_PER_REQUEST], folder)
            finally:
                with anyio.move_on_after(_CLEAN_UP_SECONDS, shield=True):
                    await self._remove(folder)
        except BaseException:
            await self._withdraw([each for each in outcomes if isinstance(each, str)])
            raise
        return outcomes

    async def _some(self, plans: Sequence[Plan], folder: str) -> list[str | MigError]:
        try:
            return await self._to_its_end(plans, lambda: self._batch(plans, folder))
        except MigError as error:
            # Those of earlier requests were made: nothing may keep their ids from the caller.
            return [error for _ in plans]

    async def _batch(self, plans: Sequence[Plan], folder: str) -> list[str | MigError]:
        files = [(f"{folder}/{plan.marker}.mRSL", mrsl.render(_marked(plan)).encode()) for plan in plans]

        def body(token: str) -> tuple[bytes, str]:
            fields = [("output_format", "json"), ("_csrf", token)]
            for place, (path, _) in enumerate(files):
                fields += [(f"remotefilename_{place}", path), (f"submitmrsl_{place}", "on")]
            return multipart(
                fields, [(f"fileupload_{place}_0_0", "job.mRSL", text) for place, (_, text) in enumerate(files)]
            )

        try:
            answer = await self._operations.execute_raw("textarea", body)
            made = {each.name.lstrip("/"): each for each in jobs.submitted(answer, "textarea")}
        except _DOUBTFUL as error:
            return await self._find_out(plans, error)
        told = {plan.marker: made[path] for plan, (path, _) in zip(plans, files, strict=True) if path in made}
        untold = [plan for plan in plans if plan.marker not in told]
        said = made[""].error if "" in made else None
        silence = said if isinstance(said, GridError) else ProtocolError("textarea: nothing is said of some jobs")
        found = await self._find_out(untold, silence) if untold else []
        late = dict(zip((plan.marker for plan in untold), found, strict=True))
        return [_outcome(told[plan.marker]) if plan.marker in told else late[plan.marker] for plan in plans]

    async def _to_its_end(
        self, plans: Sequence[Plan], submit: Callable[[], Awaitable[list[str | MigError]]]
    ) -> list[str | MigError]:
        """Submits; a cancellation waits until it is known what was made, and has that canceled.

        Breaking the connection would not keep the server from making the job, only hide its id.
        """
        scope, ended = anyio.CancelScope(shield=True), anyio.Event()
        outcomes: list[str | MigError] = []
        failures: list[Exception] = []

        async def run() -> None:
            try:
                with scope:
                    outcomes.extend(await submit())
            except Exception as error:  # noqa: BLE001  # raised below, where no group wraps it
                failures.append(error)
            finally:
                ended.set()

        with self._journal.sending(plans):
            try:
                async with anyio.create_task_group() as group:
                    group.start_soon(run, name="aiomig submit")
                    try:
                        await ended.wait()
                    finally:
                        scope.deadline = anyio.current_time() + _CLEAN_UP_SECONDS
            except anyio.get_cancelled_exc_class():
                self._note(plans, outcomes, failures)
                await self._withdraw([each for each in outcomes if isinstance(each, str)])
                if scope.cancelled_caught or any(isinstance(each, SubmitUnknown) for each in outcomes):
                    await self._undo(plans)
                raise
            self._note(plans, outcomes, failures)
        if failures:
            raise failures[0]
        return outcomes

    def _note(self, plans: Sequence[Plan], outcomes: Sequence[str | MigError], failures: Sequence[Exception]) -> None:
        """Tells the journal what is known; what is not is left as it is there."""
        if failures and isinstance(failures[0], MigError):
            outcomes = [failures[0]] * len(plans)  # doubts come as outcomes: this was refused before anything was done
        ends = ((plan.marker, end) for plan, end in zip(plans, outcomes, strict=False))
        self._journal.settle((marker, end) for marker, end in ends if not isinstance(end, SubmitUnknown))

    async def _withdraw(self, job_ids: Sequence[str]) -> None:
        if job_ids:
            await self._cancel(job_ids)

    async def _remove(self, folder: str) -> None:
        try:
            await self._operations.execute("rm", [("path", folder), ("flags", "fr")])
        except MigError as error:
            logger.warning("%s is left behind in the MiG home: %s", folder, error)

    async def _find_out(self, plans: Sequence[Plan], error: GridError) -> list[str | MigError]:
        """What became of jobs whose submit was not answered: they are looked for some seconds long."""
        if isinstance(error, ConnectionFailed) and not error.sent:
            return [error for _ in plans]
        if isinstance(error, ServerError) and any(_SWITCHED_OFF in said for said in error.messages):
            return [error for _ in plans]
        found: dict[str, str] = {}
        is_sure = False
        for pause in _LOOKS:
            await anyio.sleep(pause)
            is_sure = await self._look([plan for plan in plans if plan.marker not in found], found)
            if len(found) == len(plans):
                break
        if found:
            logger.warning("a submit was not answered (%s), but %d of %d jobs were made", error, len(found), len(plans))
        # A server that says that it failed, and shows no job, did fail.
        failed = error if isinstance(error, ServerError) and is_sure else None
        return [found.get(plan.marker) or failed or SubmitUnknown(plan.marker, str(error)) for plan in plans]

    async def _look(self, plans: Sequence[Plan], found: dict[str, str]) -> bool:
        """Enters the jobs that are there; whether the server could be asked for all."""
        try:
            for plan in plans:
                if job_ids := await self._find(plan):
                    found[plan.marker] = job_ids[0]
        except GridError as error:
            logger.debug("a job could not be looked for: %s", error)
            return False
        return True

    async def _undo(self, plans: Sequence[Plan]) -> None:
        """Cancels the jobs that a cancelled submit may have made."""
        with anyio.move_on_after(_CLEAN_UP_SECONDS, shield=True):
            try:
                for plan in plans:
                    if job_ids := await self._find(plan):
                        self._journal.settle([(plan.marker, job_ids[0])])
                        await self._cancel(job_ids)
            except MigError as error:
                logger.warning("a cancelled submit may have made jobs, with PROJECT %s: %s", plans[0].marker, error)

    async def _find(self, plan: Plan) -> list[str]:
        return await self._marked.find(plan.marker, plan.description.text("PROJECT"))

    # -- later

    async def find_by_marker(self, marker: str, project: str | None) -> list[str]:
        """The jobs of a submit whose answer was lost; what is found is known from then on."""
        given = self._journal.project_of(marker) if project is None else project
        found = await self._marked.find(marker, given)
        if found:
            self._journal.settle([(marker, found[0])])
        return found

    async def unconfirmed(self) -> list[Unconfirmed]:
        """What the journal does not know the outcome of, with what the server shows of it now."""
        return [
            replace(each, job_ids=tuple(await self._marked.find(each.marker, each.project)))
            for each in self._journal.unconfirmed()
        ]


def _marked(plan: Plan) -> Description:
    keywords = dict(plan.description.keywords)
    if "PROJECT" in keywords:
        keywords["ENVIRONMENT"] = (*keywords.get("ENVIRONMENT", ()), marker_line(plan.marker))
    else:
        keywords["PROJECT"] = (plan.marker,)
    return Description(keywords)


def _outcome(made: SubmitReply) -> str | MigError:
    return made.job_id or made.error or ProtocolError("submit: neither a job nor an error")


def fields_of(plan: Plan) -> list[tuple[str, str]]:
    """The form of ``submitfields``: a field for each line, escaped as in a file (mig-protocol 6.2)."""
    return [(keyword, mrsl.escape(line)) for keyword, lines in _marked(plan).keywords.items() for line in lines]


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
        operations: the operations of the server.
        newest: gives the statuses of so many jobs, the newest first.
    """

    def __init__(self, operations: OperationClient, newest: Callable[[int], Awaitable[Sequence[JobStatus]]]) -> None:
        self._operations = operations
        self._newest = newest

    async def find(self, marker: str, project: str | None) -> list[str]:
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
        return list(jobs.statuses(await self._operations.query("jobstatus", fields)).found)

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
            texts = jobs.mrsl_texts(await self._operations.query("mrslview", fields))
        except JobNotFound:
            texts = []
        if len(texts) == len(job_ids):
            return texts
        if len(job_ids) == 1:
            return [""]
        middle = len(job_ids) // 2
        return await self._texts(job_ids[:middle]) + await self._texts(job_ids[middle:])
