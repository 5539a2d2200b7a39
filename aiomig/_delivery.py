"""Making jobs together with their inputs, so that neither is left behind without the other."""

from __future__ import annotations

import logging
import secrets
from dataclasses import replace
from itertools import zip_longest
from typing import TYPE_CHECKING, NamedTuple

import anyio

from ._errors import MigError, SubmitUnknown
from ._events import resubmitting
from ._lowering import PRIVATE_FOLDER
from ._plan import again
from ._uploads import Uploads

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ._backend import Backend
    from ._files import Files
    from ._plan import Plan

logger = logging.getLogger("aiomig")

_CANCEL_SECONDS = 10.0


class Made(NamedTuple):
    """A job that was made, and what is left to know of its plan."""

    job_id: str
    plan: Plan


class Delivery:
    """Carries the inputs of jobs into the home and has the jobs made.

    What was carried for a job that was not made is removed again. Where it is not known whether it was made, the
    inputs stay: the job may be there, and want them.

    Args:
        backend: the mode.
        files: its home.
    """

    def __init__(self, backend: Backend, files: Files) -> None:
        self._backend = backend
        self._files = files
        self._uploads = Uploads(files)

    async def one(self, plan: Plan) -> Made:
        """Makes one job. Cancelled, it leaves none."""
        if not plan.uploads:
            return Made(await self._backend.submit(plan), plan)
        try:
            await self._uploads.carry(plan)
            job_id = await self._backend.submit(plan)
        except SubmitUnknown:
            raise
        except BaseException:
            await self._uploads.remove([plan])
            raise
        return Made(job_id, replace(plan, uploads=()))

    async def again(self, plan: Plan) -> Made:
        """The same job again, in a private folder of its own."""
        marker = secrets.token_hex(12)
        new = again(plan, f"{PRIVATE_FOLDER}/{marker}", marker)
        try:
            if plan.folder is not None and await self._files.exists(f"{plan.folder}/in"):
                await self._files.copy(f"{plan.folder}/in", f"{new.folder}/in", recursive=True)
            with resubmitting():
                return Made(await self._backend.submit(new), new)
        except SubmitUnknown:
            raise
        except BaseException:
            await self._uploads.remove([new])
            raise

    async def many(self, plans: Sequence[Plan]) -> list[Made | MigError]:
        """Makes jobs, and carries inputs that several share once; of each the job or the error, in order."""
        shared = await self._uploads.share(plans)
        outcomes = iter(await self._make([plan for plan in shared if not isinstance(plan, MigError)]))
        made: list[Made | MigError] = []
        for plan in shared:
            if isinstance(plan, MigError):
                made.append(plan)
                continue
            outcome = next(outcomes)
            made.append(outcome if isinstance(outcome, MigError) else Made(outcome, replace(plan, uploads=())))
        return made

    async def _make(self, plans: Sequence[Plan]) -> list[str | MigError]:
        outcomes: list[str | MigError] = []
        try:
            try:
                carried = await self._carry_all(plans)
                ready = [plan for plan, error in zip(plans, carried, strict=True) if error is None]
                made = iter(await self._backend.submit_many(ready) if ready else [])
                outcomes = [next(made) if error is None else error for error in carried]
            finally:
                known = (str, SubmitUnknown)
                failed = [plan for plan, each in zip_longest(plans, outcomes) if not isinstance(each, known)]
                if uploaded := [plan for plan in failed if plan.uploads]:
                    await self._uploads.remove(uploaded)
        except BaseException:
            await self._withdraw([each for each in outcomes if isinstance(each, str)])
            raise
        return outcomes

    async def _withdraw(self, job_ids: Sequence[str]) -> None:
        """Cancels jobs that nobody will get. No scope shields a task from a cancellation by asyncio's own means."""
        if job_ids:
            with anyio.move_on_after(_CANCEL_SECONDS, shield=True):
                try:
                    await self._backend.act("cancel", job_ids)
                except MigError as error:
                    logger.warning("%d jobs could not be canceled: %s", len(job_ids), error)

    async def _carry_all(self, plans: Sequence[Plan]) -> list[MigError | None]:
        errors: list[MigError | None] = [None] * len(plans)

        async def carry(place: int) -> None:
            try:
                await self._uploads.carry(plans[place])
            except MigError as error:
                errors[place] = error

        async with anyio.create_task_group() as group:
            for place, plan in enumerate(plans):
                if plan.uploads:
                    group.start_soon(carry, place)
        return errors
