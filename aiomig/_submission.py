"""From descriptions to jobs, for `Session`: bash is shown the commands, and what came of each is told."""

from __future__ import annotations

import secrets
from dataclasses import replace
from typing import TYPE_CHECKING

from ._delivery import Delivery
from ._errors import Fault, MigError, SpecError
from ._job import Job, Work
from ._missing_inputs import missing_inputs
from ._scope import entered
from ._shell_syntax import CommandCheck
from ._spec import JobSpec
from ._sweep import Order

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from ._backend import Backend
    from ._check import CheckReport
    from ._delivery import Made
    from ._files import Files
    from ._plan import Plan


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
