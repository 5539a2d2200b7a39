"""Submitting to a grid: once, also where the answer is lost."""

from __future__ import annotations

import logging
import secrets
from typing import TYPE_CHECKING

import anyio

from . import _mrsl, _protocol_jobs
from ._description import Description
from ._errors import ConnectionFailed, MigError, ProtocolError, ServerError, SubmitUnknown
from ._lowering import PRIVATE_FOLDER
from ._multipart import multipart

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from ._errors import GridError
    from ._link import Link
    from ._plan import Plan

logger = logging.getLogger("aiomig.grid")

JOBS_PER_REQUEST = 50
"""Descriptions sent at once; 25 cost a server a quarter of a second (mig-live 5)."""

NO_JOB = "0-aiomig"
"""An id that no job has."""

_LOOKS = (0.2, 0.5, 1.0, 2.0, 4.0)
"""Seconds before each look for a job whose submit was not answered."""

_CLEAN_UP_SECONDS = 10.0


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
        try:
            answer = await self._link.change("submitfields", fields_of(plan))
            outcome = _protocol_jobs.submitted(answer, "submitfields")[0]
        except (ConnectionFailed, ServerError, ProtocolError) as error:
            found = await self._find_out([plan], error)
            if isinstance(found[0], MigError):
                raise found[0] from error
            return found[0]
        except anyio.get_cancelled_exc_class():
            await self._undo([plan])
            raise
        if outcome.job_id is None:
            raise outcome.error or ProtocolError("submitfields: neither a job nor an error")
        return outcome.job_id

    async def many(self, plans: Sequence[Plan]) -> list[str | MigError]:
        """Submits by ``textarea``, many descriptions a request; of each its id or its error, in order."""
        outcomes: list[str | MigError] = []
        folder = f"{PRIVATE_FOLDER}/submit-{secrets.token_hex(12)}"
        try:
            for start in range(0, len(plans), JOBS_PER_REQUEST):
                outcomes += await self._batch(plans[start : start + JOBS_PER_REQUEST], folder)
        except anyio.get_cancelled_exc_class():
            await self._undo(plans[: len(outcomes) + JOBS_PER_REQUEST])
            raise
        finally:
            with anyio.move_on_after(_CLEAN_UP_SECONDS, shield=True):
                await self._remove(folder)
        return outcomes

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
        except (ConnectionFailed, ServerError, ProtocolError) as error:
            return await self._find_out(plans, error)
        outcomes: list[str | MigError] = []
        for plan, (path, _) in zip(plans, files, strict=True):
            each = made.get(path)
            if each is None:
                outcomes += await self._find_out([plan], ProtocolError(f"textarea: nothing is said of {path}"))
            else:
                outcomes.append(each.job_id or each.error or ProtocolError("textarea: neither a job nor an error"))
        return outcomes

    async def _remove(self, folder: str) -> None:
        try:
            await self._link.change("rm", [("path", folder), ("flags", "fr")])
        except MigError as error:
            logger.warning("%s is left behind in the MiG home: %s", folder, error)

    async def _find_out(self, plans: Sequence[Plan], error: GridError) -> list[str | MigError]:
        """What became of jobs whose submit was not answered: they are looked for some seconds long."""
        if isinstance(error, ConnectionFailed) and not error.sent:
            return [error for _ in plans]
        found: dict[str, str] = {}
        for pause in _LOOKS:
            await anyio.sleep(pause)
            for plan in plans:
                if plan.marker not in found and (job_ids := await self.bearing(plan.marker, plan)):
                    found[plan.marker] = job_ids[0]
            if len(found) == len(plans):
                break
        if found:
            logger.warning("a submit was not answered (%s), but %d of %d jobs were made", error, len(found), len(plans))
        # A server that says that it failed, and shows no job, did fail.
        failed = error if isinstance(error, ServerError) else None
        return [found.get(plan.marker) or failed or SubmitUnknown(plan.marker, str(error)) for plan in plans]

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


def fields_of(plan: Plan) -> list[tuple[str, str]]:
    """The form of ``submitfields``: a field for each line, escaped as in a file (mig-protocol 6.2)."""
    return [(keyword, _mrsl.escape(line)) for keyword, lines in _marked(plan).keywords.items() for line in lines]


def _marker_line(marker: str) -> str:
    return f"AIOMIG_SUBMIT={marker}"
