"""From descriptions to jobs, for `Session`: bash is shown the commands, and what came of each is told.

Making jobs together with their inputs, so that neither is left behind without the other.

Looks whether what a job takes from the MiG home lies there.
"""

from __future__ import annotations

import logging
import secrets
from dataclasses import replace
from itertools import zip_longest
from typing import TYPE_CHECKING, Any, NamedTuple

import anyio

from .._core.errors import FileNotFound, MigError, SpecError, SubmitUnknown, rebuild
from .._core.job_log import resubmitting
from .._core.models import Fault
from .._shell.check import CommandCheck
from .._spec.jobspec import JobSpec
from .._spec.plan import PRIVATE_FOLDER
from .._spec.values import Remote
from .job import Job, Work
from .scope import entered
from .sweep import Order
from .uploads import Uploads

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from .._backend import Backend
    from .._core.models import CheckReport
    from .._home.files import Files
    from .._spec.plan import Plan


class Submission:
    """Submits for one session.

    Args:
        backend: the mode.
        files: its home.
        require_open: raises where the session is closed, as it may be while bash looks at the commands.

    Attributes:
        work: what the jobs do things by.
        check_commands: see `Session.check_commands`.
    """

    def __init__(self, backend: Backend, files: Files, require_open: Callable[[], None]) -> None:
        self._backend = backend
        self._require_open = require_open
        self._files = files
        self._delivery = Delivery(backend, files)
        self._commands = CommandCheck()
        self.work = Work(backend, files, self._resubmit)
        self.check_commands = True

    async def one(self, spec: JobSpec) -> Job:
        """Submits a job.

        Raises:
            SpecError: bash cannot read its commands.
            NoSession: the session is closed.
            MigError: see `Delivery.one`.
        """
        if self.check_commands and (faults := await self._commands.faults(spec.commands)):
            raise SpecError(faults)
        self._require_open()
        return self._entered(await self._delivery.one(spec.plan(secrets.token_hex(12))), spec)

    async def _resubmit(self, plan: Plan, spec: JobSpec | None) -> Job:
        return self._entered(await self._delivery.again(plan), spec)

    def _entered(self, made: Made, spec: JobSpec | None) -> Job:
        return self.attach(made.job_id, spec, made.plan)

    def attach(self, job_id: str, spec: JobSpec | None, plan: Plan | None = None) -> Job:
        """The handle on a job that was submitted, now or before; the scopes around take it in."""
        job = Job(self.work, job_id, spec=spec, plan=plan)
        entered([job])
        return job

    async def many(self, specs: Iterable[JobSpec | str | Iterable[str]]) -> list[Job | MigError]:
        """Submits many jobs; of each the job or the error. Where a description is wrong, none is submitted."""
        orders: list[Order] = []
        outcomes: list[Job | MigError] = []
        unsent = SpecError([Fault("specs", None, "not sent, for others are wrong", "mend those")])
        for each in specs:
            try:
                spec = each if isinstance(each, JobSpec) else JobSpec(each)
                orders.append(Order(spec, spec.plan(secrets.token_hex(12))))
                outcomes.append(unsent)
            except SpecError as error:
                outcomes.append(error)
        wrong = iter(await self._wrong_commands(orders))
        outcomes = [next(wrong) or unsent if each is unsent else each for each in outcomes]
        return outcomes if any(each is not unsent for each in outcomes) else await self._orders(orders)

    async def good(self, orders: Sequence[Order]) -> list[Job | MigError]:
        """Submits what bash can read; of each the job or the error."""
        wrong = await self._wrong_commands(orders)
        made = iter(await self._orders([order for order, error in zip(orders, wrong, strict=True) if not error]))
        return [error or next(made) for error in wrong]

    async def _wrong_commands(self, orders: Sequence[Order]) -> list[SpecError | None]:
        """Of each order the error, where bash cannot read its commands."""
        if not self.check_commands:
            return [None for _ in orders]
        found = await self._commands.faults_of_many([order.spec.commands for order in orders])
        return [SpecError(faults) if faults else None for faults in found]

    async def _orders(self, orders: Sequence[Order]) -> list[Job | MigError]:
        outcomes = await self._delivery.many([order.plan for order in orders])
        return [
            outcome if isinstance(outcome, MigError) else self._entered(outcome, order.spec)
            for order, outcome in zip(orders, outcomes, strict=True)
        ]

    async def review(self, spec: JobSpec) -> CheckReport:
        """Whether a job would be taken and could run, as far as that can be known."""
        verdict = await self._commands.verdict(spec.commands)
        said = await self._backend.review(spec.plan("check").description)
        missing = await missing_inputs(spec, self._files)
        return replace(said, faults=(*verdict.faults, *said.faults), warnings=(*verdict.warnings, *missing))


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
        new = plan.plan_resubmit(f"{PRIVATE_FOLDER}/{marker}", marker)
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


_WITHOUT = "a grid looks for it for a minute, and then runs the job without it"
"""What it does with a missing input (golden cases in-missing and in-dir)."""


async def missing_inputs(spec: JobSpec, files: Files) -> list[Fault]:
    """Warnings of the inputs that are not in the home now, or are folders: a grid reads them when the job starts.

    Args:
        spec: the job.
        files: the home.

    Raises:
        GridError: the grid could not be asked.
    """
    warnings: list[Fault] = []
    for name, inputs in (("inputs", spec.inputs), ("executables", spec.executables)):
        for source in dict.fromkeys(file.source for file in inputs if isinstance(file.source, Remote)):
            try:
                is_folder = (await files.stat(source.path)).is_dir
            except FileNotFound:
                remedy = "put it there before the job starts: session.files.put(…)"
                warnings.append(Fault(name, source, f"is not in the MiG home; {_WITHOUT}", remedy))
            else:
                if is_folder:
                    remedy = "name its files, or an archive of it: session.files.pack(…)"
                    warnings.append(Fault(name, source, f"is a folder; {_WITHOUT}", remedy))
    return warnings


class SubmitErrors(MigError):
    """Some of many jobs could not be submitted; the others were.

    Attributes:
        outcomes: for each description in order, the `Job` that was made, or the error.
        errors: the errors alone, by their place in that order.
    """

    def __init__(self, outcomes: Sequence[Job | MigError]) -> None:
        self.outcomes: tuple[Job | MigError, ...] = tuple(outcomes)
        self.errors: dict[int, MigError] = {
            place: each for place, each in enumerate(outcomes) if isinstance(each, MigError)
        }
        shown = [f"[{place}] {error}" for place, error in list(self.errors.items())[:5]]
        more = [f"… and {len(self.errors) - 5} more"] if len(self.errors) > 5 else []
        made = len(self.outcomes) - len(self.errors)
        super().__init__(
            f"{len(self.errors)} of {len(self.outcomes)} jobs were not made, {made} were:\n" + "\n".join(shown + more)
        )

    @property
    def jobs(self) -> list[Job]:
        """The jobs that were made; after pickling, which a job cannot survive, their ids."""
        return [each for each in self.outcomes if not isinstance(each, MigError)]

    def __copy__(self) -> SubmitErrors:
        return rebuild(type(self), self.args, self.__dict__)

    def __deepcopy__(self, memo: dict[int, Any]) -> SubmitErrors:
        # All of it is immutable, but for the jobs, which are what they are.
        return self.__copy__()

    def __reduce__(self) -> tuple[Any, ...]:
        # A job belongs to its session, and that to its event loop; what travels is its id.
        outcomes = [each if isinstance(each, MigError) else each.id for each in self.outcomes]
        return rebuild, (type(self), self.args, {**self.__dict__, "outcomes": tuple(outcomes)})
