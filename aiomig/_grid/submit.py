"""Submits to a grid exactly once: each job carries a marker, by which it can be found if the response is lost."""

from __future__ import annotations

import logging
import secrets
from dataclasses import replace
from typing import TYPE_CHECKING

import anyio
import anyio.lowlevel

from .._core.errors import ConnectionFailed, GridError, MigError, ProtocolError, ServerError, SubmitUnknown
from .._core.tasks import run_shielded, run_to_completion
from .._spec import mrsl
from .._spec.mrsl import Description
from .._spec.plan import PRIVATE_FOLDER
from .forms import multipart
from .job_finder import marker_line
from .protocol import jobs

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from .._core.http import Content
    from .._core.models import Unconfirmed
    from .._spec.plan import Plan
    from .config import RequestLimits
    from .job_finder import JobFinder
    from .operations import OperationClient
    from .protocol.jobs import SubmitReply
    from .submit_journal import SubmitJournal

logger = logging.getLogger("aiomig.grid")

_SWITCHED_OFF = "Job execution is not enabled"
"""The message of a site that runs no jobs. It refuses the request before it changes anything."""

_DOUBTFUL = (ConnectionFailed, ServerError, ProtocolError)
"""Errors after which the server may or may not have made the job."""


class Submitter:
    """Submits jobs, and looks for the jobs of submits whose response was lost.

    Each job carries the marker of its plan in PROJECT or, if the user sets PROJECT, in its environment. The marker is
    written to the journal before it is sent, and stays there until aiomig's caller has the handle of the job.

    Args:
        operations: the operations of the server.
        finder: finds jobs by their markers.
        cancel: cancels jobs, shielded from cancellation.
        journal: the journal of the session.
        limits: the limits of requests.
    """

    def __init__(
        self,
        operations: OperationClient,
        finder: JobFinder,
        cancel: Callable[[Sequence[str]], Awaitable[object]],
        journal: SubmitJournal,
        limits: RequestLimits,
    ) -> None:
        self._operations = operations
        self._finder = finder
        self._cancel = cancel
        self._journal = journal
        self._limits = limits

    async def submit_one(self, plan: Plan) -> str:
        """Submit by ``submitfields`` (docs/protocol.md#submit-operations). Return the job id."""
        await self._operations.prepare("submitfields")
        outcome = (await self._run([plan], lambda: self._send_one(plan)))[0]
        if isinstance(outcome, MigError):
            raise outcome
        return outcome

    async def _send_one(self, plan: Plan) -> list[str | MigError]:
        try:
            replies = jobs.submitted(await self._operations.execute("submitfields", fields_of(plan)), "submitfields")
        except _DOUBTFUL as error:
            return await self._find_out([plan], error)
        if not replies:
            return await self._find_out([plan], ProtocolError("submitfields: the response does not mention the job"))
        return [_outcome(replies[0])]

    async def submit_many(
        self, plans: Sequence[Plan], report: Callable[[int], object] = lambda count: None
    ) -> list[str | MigError]:
        """Submit by ``textarea``, many descriptions per request. Return the job id or the error of each, in order."""
        if not plans:
            return []
        await self._operations.prepare("textarea")
        folder = f"{PRIVATE_FOLDER}/submit-{secrets.token_hex(12)}"
        outcomes: list[str | MigError] = []
        size = self._limits.jobs_a_submit
        try:
            try:
                for start in range(0, len(plans), size):
                    outcomes += await self._submit_batch(plans[start : start + size], folder)
                    report(len(plans[start : start + size]))
            finally:
                await run_shielded(lambda: self._remove(folder), seconds=self._limits.clean_up)
        except BaseException:
            await self._cancel([outcome for outcome in outcomes if isinstance(outcome, str)])
            raise
        return outcomes

    async def _submit_batch(self, plans: Sequence[Plan], folder: str) -> list[str | MigError]:
        try:
            return await self._run(plans, lambda: self._send_batch(plans, folder))
        except MigError as error:
            return [error for _ in plans]  # not raised, so that the caller gets the job ids of earlier requests

    async def _send_batch(self, plans: Sequence[Plan], folder: str) -> list[str | MigError]:
        paths = {f"{folder}/{plan.marker}.mRSL": plan for plan in plans}

        def body(token: str) -> tuple[Content, str]:
            fields = [("output_format", "json"), ("_csrf", token)]
            for place, path in enumerate(paths):
                fields += [(f"remotefilename_{place}", path), (f"submitmrsl_{place}", "on")]
            texts = (mrsl.render(_marked(plan)).encode() for plan in plans)
            return multipart(
                fields, [(f"fileupload_{place}_0_0", "job.mRSL", text) for place, text in enumerate(texts)]
            )

        try:
            replies = jobs.submitted(await self._operations.execute_raw("textarea", body), "textarea")
        except _DOUBTFUL as error:
            return await self._find_out(plans, error)
        outcomes = {paths[reply.name].marker: _outcome(reply) for reply in replies if reply.name in paths}
        if left := [plan for plan in plans if plan.marker not in outcomes]:
            general = next((reply.error for reply in replies if not reply.name), None)
            not_mentioned = ProtocolError("textarea: the response does not mention some jobs")
            later_outcomes = await self._find_out(left, general if isinstance(general, GridError) else not_mentioned)
            outcomes |= zip((plan.marker for plan in left), later_outcomes, strict=True)
        return [outcomes[plan.marker] for plan in plans]

    async def _run(
        self, plans: Sequence[Plan], submit: Callable[[], Awaitable[list[str | MigError]]]
    ) -> list[str | MigError]:
        """Run a submit to completion even if cancelled, then cancel its jobs.

        If aiomig closed the connection instead, the server would still create the job, but its id would be lost.
        """
        await anyio.lowlevel.checkpoint_if_cancelled()  # before the submit is written to the journal
        with self._journal.sending(plans):
            return await run_to_completion(
                lambda: self._record(plans, submit), lambda: self._undo(plans), seconds=self._limits.clean_up
            )

    async def _record(
        self, plans: Sequence[Plan], submit: Callable[[], Awaitable[list[str | MigError]]]
    ) -> list[str | MigError]:
        """Submit, and write the outcomes to the journal."""
        try:
            outcomes = await submit()
        except MigError:  # unknown outcomes are returned, so the server refused this before it changed anything
            self._journal.settle(plan.marker for plan in plans)
            raise
        pairs = list(zip((plan.marker for plan in plans), outcomes, strict=True))
        self._journal.made((marker, outcome) for marker, outcome in pairs if isinstance(outcome, str))
        self._journal.settle(marker for marker, outcome in pairs if not isinstance(outcome, str | SubmitUnknown))
        return outcomes

    async def _undo(self, plans: Sequence[Plan]) -> None:
        """Cancel the jobs that a cancelled submit has created or may have created."""
        entries = [entry for plan in plans if (entry := self._journal.find(plan.marker)) is not None]
        unknown = {entry.marker: entry.project for entry in entries if not entry.job_ids}
        try:
            await self._cancel([job_id for entry in entries for job_id in entry.job_ids])
            for marker, project in list(unknown.items()):
                job_ids = await self._finder.find_marked(marker, project)
                self._journal.made((marker, job_id) for job_id in job_ids[:1])
                await self._cancel(job_ids)
                del unknown[marker]
        except MigError as error:
            logger.debug("jobs could not be looked for: %s", error)
        finally:
            if unknown:
                markers = ", ".join(unknown)
                logger.warning("a cancelled submit may have made jobs; session.unconfirmed() finds them: %s", markers)

    async def _remove(self, folder: str) -> None:
        try:
            await self._operations.execute("rm", [("path", folder), ("flags", "fr")])
        except MigError as error:
            logger.warning("%s is left behind in the MiG home: %s", folder, error)

    async def _find_out(self, plans: Sequence[Plan], error: GridError) -> list[str | MigError]:
        """Look for jobs whose submit got no clear response, for some seconds. Return their ids or errors."""
        if isinstance(error, ConnectionFailed) and not error.sent:
            return [error for _ in plans]
        if isinstance(error, ServerError) and any(_SWITCHED_OFF in message for message in error.messages):
            return [error for _ in plans]
        found: dict[str, str] = {}
        is_sure = False
        for pause in self._limits.lookups:
            await anyio.sleep(pause)
            is_sure = await self._look([plan for plan in plans if plan.marker not in found], found)
            if len(found) == len(plans):
                break
        if found:
            logger.warning(
                "a submit got no clear response (%s), but %d of %d jobs were made", error, len(found), len(plans)
            )
        # If the server reports a failure and shows no job, the submit has failed.
        failed = error if isinstance(error, ServerError) and is_sure else None
        return [found.get(plan.marker) or failed or SubmitUnknown(plan.marker, str(error)) for plan in plans]

    async def _look(self, plans: Sequence[Plan], found: dict[str, str]) -> bool:
        """Add the ids of existing jobs to ``found``. Return whether all requests succeeded."""
        try:
            for plan in plans:
                if job_ids := await self._finder.find_marked(plan.marker, plan.description.text("PROJECT")):
                    found[plan.marker] = job_ids[0]
        except GridError as error:
            logger.debug("a job could not be looked for: %s", error)
            return False
        return True

    # -- after the submit

    async def find_by_marker(self, marker: str, project: str | None) -> list[str]:
        """Return the jobs of a submit whose response was lost, and settle the submit if there are any."""
        entry = self._journal.find(marker)
        if entry is not None and entry.job_ids:
            job_ids = list(entry.job_ids)
        else:
            job_ids = await self._finder.find_marked(marker, entry.project if entry and project is None else project)
        if job_ids:
            self._journal.settle([marker])
        return job_ids

    async def unconfirmed(self) -> list[Unconfirmed]:
        """Return the open submits of the journal, with the jobs that the server has for them now."""
        return [
            entry
            if entry.job_ids
            else replace(entry, job_ids=tuple(await self._finder.find_marked(entry.marker, entry.project)))
            for entry in self._journal.unconfirmed()
        ]


def _marked(plan: Plan) -> Description:
    keywords = dict(plan.description.keywords)
    if "PROJECT" in keywords:
        keywords["ENVIRONMENT"] = (*keywords.get("ENVIRONMENT", ()), marker_line(plan.marker))
    else:
        keywords["PROJECT"] = (plan.marker,)
    return Description(keywords)


def _outcome(reply: SubmitReply) -> str | MigError:
    return reply.job_id or reply.error or ProtocolError("submit: neither a job nor an error")


def fields_of(plan: Plan) -> list[tuple[str, str]]:
    """Return the form of ``submitfields``: a field for each line, escaped (docs/protocol.md#submit-operations)."""
    return [(keyword, mrsl.escape(line)) for keyword, lines in _marked(plan).keywords.items() for line in lines]
