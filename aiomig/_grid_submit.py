"""Submitting to a grid: once, also where the answer is lost."""

from __future__ import annotations

import logging
import secrets
from typing import TYPE_CHECKING

import anyio

from . import _mrsl, _protocol_jobs
from ._description import Description
from ._errors import ConnectionFailed, GridError, MigError, ProtocolError, ServerError, SubmitUnknown
from ._lowering import PRIVATE_FOLDER
from ._multipart import multipart

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from ._link import Link
    from ._plan import Plan
    from ._protocol_jobs import Submission

logger = logging.getLogger("aiomig.grid")

JOBS_PER_REQUEST = 50
"""Descriptions sent at once; 25 cost a server a quarter of a second (mig-live 5)."""

NO_JOB = "0-aiomig"
"""An id that no job has."""

_LOOKS = (0.2, 0.5, 1.0, 2.0, 4.0)
"""Seconds before each look for a job whose submit was not answered."""

_CLEAN_UP_SECONDS = 10.0

_SWITCHED_OFF = "Job execution is not enabled"
"""What a site says that runs no jobs, before it does anything."""

_DOUBTFUL = (ConnectionFailed, ServerError, ProtocolError)
"""After these nobody knows whether the server did what it was told."""


class Submitter:
    """Submits, and finds out what became of a submit.

    Each job bears the marker of its plan in PROJECT; where the user sets that, in its environment.

    Args:
        link: the operations of the server.
        environment_of: gives the lines of ENVIRONMENT of a job.
        cancel: cancels jobs.
    """

    def __init__(
        self,
        link: Link,
        environment_of: Callable[[str], Awaitable[Sequence[str]]],
        cancel: Callable[[Sequence[str]], Awaitable[object]],
    ) -> None:
        self._link = link
        self._environment_of = environment_of
        self._cancel = cancel

    async def one(self, plan: Plan) -> str:
        """Submits by ``submitfields`` (mig-protocol 6.2). Its id."""
        await self._link.prepare("submitfields")
        outcome = (await self._to_its_end([plan], lambda: self._one(plan)))[0]
        if isinstance(outcome, MigError):
            raise outcome
        return outcome

    async def _one(self, plan: Plan) -> list[str | MigError]:
        try:
            answer = await self._link.change("submitfields", fields_of(plan))
        except _DOUBTFUL as error:
            return await self._find_out([plan], error)
        try:
            made = _protocol_jobs.submitted(answer, "submitfields")
        except ProtocolError as error:
            return await self._find_out([plan], error)
        if not made:
            return await self._find_out([plan], ProtocolError("submitfields: the server says nothing of the job"))
        return [_outcome(made[0])]

    async def many(self, plans: Sequence[Plan]) -> list[str | MigError]:
        """Submits by ``textarea``, many descriptions a request; of each its id or its error, in order."""
        if not plans:
            return []
        await self._link.prepare("textarea")
        folder = f"{PRIVATE_FOLDER}/submit-{secrets.token_hex(12)}"
        outcomes: list[str | MigError] = []
        try:
            for start in range(0, len(plans), JOBS_PER_REQUEST):
                outcomes += await self._some(plans[start : start + JOBS_PER_REQUEST], folder)
        except BaseException:
            await self._withdraw([each for each in outcomes if isinstance(each, str)])
            raise
        finally:
            with anyio.move_on_after(_CLEAN_UP_SECONDS, shield=True):
                await self._remove(folder)
        return outcomes

    async def _some(self, plans: Sequence[Plan], folder: str) -> list[str | MigError]:
        try:
            return await self._to_its_end(plans, lambda: self._batch(plans, folder))
        except MigError as error:
            # Those of earlier requests were made: nothing may keep their ids from the caller.
            return [error for _ in plans]

    async def _batch(self, plans: Sequence[Plan], folder: str) -> list[str | MigError]:
        files = [(f"{folder}/{plan.marker}.mRSL", _mrsl.render(_marked(plan)).encode()) for plan in plans]

        def body(token: str) -> tuple[bytes, str]:
            fields = [("output_format", "json"), ("_csrf", token)]
            for place, (path, _) in enumerate(files):
                fields += [(f"remotefilename_{place}", path), (f"submitmrsl_{place}", "on")]
            return multipart(
                fields, [(f"fileupload_{place}_0_0", "job.mRSL", text) for place, (_, text) in enumerate(files)]
            )

        try:
            answer = await self._link.change_body("textarea", body)
            made = {each.name.lstrip("/"): each for each in _protocol_jobs.submitted(answer, "textarea")}
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

        try:
            async with anyio.create_task_group() as group:
                group.start_soon(run, name="aiomig submit")
                try:
                    await ended.wait()
                finally:
                    scope.deadline = anyio.current_time() + _CLEAN_UP_SECONDS
        except anyio.get_cancelled_exc_class():
            await self._withdraw([each for each in outcomes if isinstance(each, str)])
            if scope.cancelled_caught or any(isinstance(each, SubmitUnknown) for each in outcomes):
                await self._undo(plans)
            raise
        if failures:
            raise failures[0]
        return outcomes

    async def _withdraw(self, job_ids: Sequence[str]) -> None:
        if job_ids:
            await self._cancel(job_ids)

    async def _remove(self, folder: str) -> None:
        try:
            await self._link.change("rm", [("path", folder), ("flags", "fr")])
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
                if job_ids := await self.bearing(plan.marker, plan):
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
                    if job_ids := await self.bearing(plan.marker, plan):
                        await self._cancel(job_ids)
            except MigError as error:
                logger.warning("a cancelled submit may have made jobs, with PROJECT %s: %s", plans[0].marker, error)

    async def bearing(self, marker: str, plan: Plan | None = None) -> list[str]:
        """The jobs that bear a marker (mig-live 10)."""
        project = plan.description.text("PROJECT") if plan is not None else ""
        fields = [("project_name", project or marker), ("job_id", NO_JOB)]
        found = list(_protocol_jobs.statuses(await self._link.read("jobstatus", fields)).found)
        if not project:
            return found
        return [job_id for job_id in found if _marker_line(marker) in await self._environment_of(job_id)]


def _marked(plan: Plan) -> Description:
    keywords = dict(plan.description.keywords)
    if "PROJECT" in keywords:
        keywords["ENVIRONMENT"] = (*keywords.get("ENVIRONMENT", ()), _marker_line(plan.marker))
    else:
        keywords["PROJECT"] = (plan.marker,)
    return Description(keywords)


def _outcome(made: Submission) -> str | MigError:
    return made.job_id or made.error or ProtocolError("submit: neither a job nor an error")


def fields_of(plan: Plan) -> list[tuple[str, str]]:
    """The form of ``submitfields``: a field for each line, escaped as in a file (mig-protocol 6.2)."""
    return [(keyword, _mrsl.escape(line)) for keyword, lines in _marked(plan).keywords.items() for line in lines]


def _marker_line(marker: str) -> str:
    return f"AIOMIG_SUBMIT={marker}"
