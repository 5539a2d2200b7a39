"""Submitting jobs: their commands are checked, their inputs uploaded, and the backend makes them."""

from __future__ import annotations

import secrets
from collections.abc import Iterable
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

from .._backend import KeyPending, KeyTaken, cancel_shielded
from .._core.errors import MigError, SpecError, SubmitUnknown, rebuild
from .._core.job_log import resubmitting
from .._core.models import CheckReport, Fault
from .._core.validation import spent_fault
from .._shell.check import CommandCheck
from .._spec.jobspec import JobSpec
from .._spec.plan import PRIVATE_FOLDER, Plan
from .home_inputs import HomeFolders, missing_inputs
from .job import Job
from .progress import ProgressBar
from .scope import add_to_open_scope
from .uploads import Uploads

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping, Sequence

    from .._backend import Backend
    from .._home.files import Files

_CANCEL_SECONDS = 10.0


class PlannedJob(NamedTuple):
    """A job that is to be submitted."""

    spec: JobSpec
    plan: Plan


def planned(spec: JobSpec) -> PlannedJob:
    """Return a job under a new marker."""
    return PlannedJob(spec, spec.plan(secrets.token_hex(12)))


class JobSubmitter:
    """Submits the jobs of one session.

    The private folder of a job that was not made is removed. It stays if nobody knows whether the job was made: the
    job may exist and need its inputs.

    Args:
        backend: of the session.
        files: the home of the session.

    Attributes:
        check_commands: see `Session.check_commands`.
    """

    def __init__(self, backend: Backend, files: Files) -> None:
        self.backend = backend
        self.files = files
        self.check_commands = True
        self._commands = CommandCheck()
        self._uploads = Uploads(files, backend.home)

    async def submit_one(self, spec: JobSpec) -> Job:
        """Submit a job; see `Session.submit`."""
        if any(file.is_home_folder for file in (*spec.inputs, *spec.executables)):
            spec = await HomeFolders(self.files).expand(spec)
        plan = spec.plan(secrets.token_hex(12))
        if self.check_commands and (faults := await self._commands.faults(spec.commands)):
            raise SpecError(faults)
        if plan.key is not None:
            return await self._submit_once(spec, plan)
        if not plan.uploads:
            return self.attach(await self.backend.submit(plan), spec, plan)
        return await self._submit_new(spec, plan)

    async def _submit_once(self, spec: JobSpec, plan: Plan) -> Job:
        """Return the job that has the key of a plan; submit it if there is none."""
        (known,) = (await self._of_keys({0: PlannedJob(spec, plan)})).values() or (None,)
        if isinstance(known, MigError):
            raise known
        try:
            return known or await self._submit_new(spec, plan)
        except KeyTaken as taken:
            return self.attach(taken.job_id, spec)

    async def _submit_new(self, spec: JobSpec, plan: Plan) -> Job:
        async with self._removed_on_failure(plan):
            await self._uploads.upload(plan)
            job_id = await self.backend.submit(plan)
        return self.attach(job_id, spec, plan)

    async def resubmit(self, plan: Plan, spec: JobSpec | None) -> Job:
        """Submit a job again, with a copy of its inputs in a private folder of its own; see `Job.resubmit`."""
        marker = secrets.token_hex(12)
        new = plan.plan_resubmit(f"{PRIVATE_FOLDER}/{marker}", marker)
        async with self._removed_on_failure(new):
            if plan.folder is not None and await self.files.exists(f"{plan.folder}/in"):
                await self.files.copy(f"{plan.folder}/in", f"{new.folder}/in", recursive=True)
            with resubmitting():
                job_id = await self.backend.submit(new)
        return self.attach(job_id, spec, new)

    @asynccontextmanager
    async def _removed_on_failure(self, plan: Plan) -> AsyncIterator[None]:
        try:
            yield
        except BaseException as error:
            if isinstance(error, MigError) and _may_exist(error):
                raise
            await self._uploads.remove([plan])
            raise

    async def submit_many(
        self, specs: Iterable[JobSpec | str | Iterable[str]], *, progress: bool = False
    ) -> list[Job | MigError]:
        """Submit many jobs, or none if a description is wrong.

        Args:
            specs: descriptions, or commands.
            progress: see `Session.submit_many`.

        Returns:
            For each description in order the job or the error.
        """
        if isinstance(specs, str | JobSpec) or not isinstance(specs, Iterable):
            remedy = "give a list: one entry a job"
            raise SpecError([Fault("specs", specs, "not a list of descriptions or commands", remedy)])
        if fault := spent_fault("specs", specs):
            raise SpecError([fault])
        jobs: dict[int, PlannedJob] = {}
        errors: dict[int, Job | MigError] = {}
        for index, spec in enumerate(specs):
            try:
                jobs[index] = planned(spec if isinstance(spec, JobSpec) else JobSpec(spec))
            except SpecError as error:
                errors[index] = error
        count = len(jobs) + len(errors)
        errors |= await self._expand_folders(jobs)
        errors |= await self._command_errors(jobs)
        known = await self._of_keys(jobs)
        errors |= {index: outcome for index, outcome in known.items() if isinstance(outcome, MigError)}
        if errors:
            not_sent = SpecError([Fault("specs", None, "not sent, because other descriptions are wrong", "mend those")])
            return [errors.get(index, not_sent) for index in range(count)]
        bar = ProgressBar(count) if progress else None
        try:
            unknown = {index: job for index, job in jobs.items() if index not in known}
            outcomes = known | await self._submit(unknown, bar, len(known))
        finally:
            if bar is not None:
                bar.close()
        return [outcomes[index] for index in range(count)]

    async def submit_valid(self, jobs: Mapping[int, PlannedJob]) -> dict[int, Job | MigError]:
        """Submit the jobs whose commands bash can read; return for each key the job or the error."""
        jobs = dict(jobs)
        known = await self._expand_folders(jobs)
        known |= await self._command_errors(jobs)
        known = await self._of_keys(jobs) | known
        return known | await self._submit({index: job for index, job in jobs.items() if index not in known})

    async def _of_keys(self, jobs: Mapping[int, PlannedJob]) -> dict[int, Job | MigError]:
        """Return the jobs whose keys are recorded, or what is wrong with them."""
        keys = [job.plan.key for job in jobs.values() if job.plan.key is not None]
        known = await self.backend.find_keys(keys) if keys else {}
        outcomes: dict[int, Job | MigError] = {}
        for index, job in jobs.items():
            if job.plan.key is not None and (outcome := known.get(job.plan.key.text)) is not None:
                outcomes[index] = outcome if isinstance(outcome, MigError) else self.attach(outcome, job.spec)
        return outcomes

    async def _expand_folders(self, jobs: dict[int, PlannedJob]) -> dict[int, Job | MigError]:
        """Name the files of folders of the home in place of these; return the errors and leave out their jobs."""
        folders = HomeFolders(self.files)
        errors: dict[int, Job | MigError] = {}
        for key, (spec, plan) in list(jobs.items()):
            try:
                expanded = await folders.expand(spec)
            except SpecError as error:
                errors[key] = error
                del jobs[key]
            else:
                if expanded is not spec:
                    jobs[key] = PlannedJob(expanded, expanded.plan(plan.marker))
        return errors

    async def _command_errors(self, jobs: Mapping[int, PlannedJob]) -> dict[int, Job | MigError]:
        if not self.check_commands:
            return {}
        faults = await self._commands.faults_of_many([job.spec.commands for job in jobs.values()])
        return {key: SpecError(found) for key, found in zip(jobs, faults, strict=True) if found}

    async def _submit(
        self, jobs: Mapping[int, PlannedJob], bar: ProgressBar | None = None, done: int = 0
    ) -> dict[int, Job | MigError]:
        """Upload what the jobs need, inputs that several of them share once, and have the backend make them.

        Args:
            jobs: to be submitted.
            bar: shows how many are made.
            done: how many were made before.
        """

        def report(count: int) -> None:
            nonlocal done
            done += count
            if bar is not None:
                bar.show(done, "submitted")

        report(0)
        plans, errors = await self._uploads.share({key: job.plan for key, job in jobs.items()})
        outcomes: dict[int, str | MigError] = dict(errors)
        try:
            try:
                outcomes |= await self._uploads.upload_all(plans)
                if ready := {key: plan for key, plan in plans.items() if key not in outcomes}:
                    outcomes |= zip(ready, await self.backend.submit_many(list(ready.values()), report), strict=True)
            finally:
                unmade = [plan for key, plan in plans.items() if not _may_exist(outcomes.get(key))]
                await self._uploads.remove([plan for plan in unmade if plan.uploads])
        except BaseException:
            job_ids = [outcome for outcome in outcomes.values() if isinstance(outcome, str)]
            await cancel_shielded(self.backend, job_ids, _CANCEL_SECONDS)
            raise
        made: dict[int, Job | MigError] = {}
        for index, outcome in outcomes.items():
            if isinstance(outcome, KeyTaken):
                made[index] = self.attach(outcome.job_id, jobs[index].spec)
            elif isinstance(outcome, MigError):
                made[index] = outcome
            else:
                made[index] = self.attach(outcome, jobs[index].spec, plans[index])
        return made

    def attach(self, job_id: str, spec: JobSpec | None, plan: Plan | None = None) -> Job:
        """Return the handle on a job that was submitted, now or before, and add it to the open scope, if any."""
        job = Job(self, job_id, spec=spec, plan=plan and replace(plan, uploads=(), key=None))
        add_to_open_scope(job)
        if plan is not None:
            self.backend.confirm([plan.marker])
        return job

    async def review(self, spec: JobSpec) -> CheckReport:
        """Return what is known to prevent a job from being accepted and from running; see `Session.check`."""
        try:
            spec = await HomeFolders(self.files).expand(spec)
        except SpecError as error:
            return CheckReport(error.faults)
        verdict = await self._commands.verdict(spec.commands)
        report = await self.backend.review(spec.plan("check").description)
        missing = await missing_inputs(spec, self.files)
        return replace(report, faults=(*verdict.faults, *report.faults), warnings=(*verdict.warnings, *missing))


def _may_exist(outcome: str | MigError | None) -> bool:
    """Return whether a submit has made its job, or may have done so."""
    return isinstance(outcome, str) or (isinstance(outcome, SubmitUnknown) and not isinstance(outcome, KeyPending))


class SubmitErrors(MigError):
    """Some of many jobs could not be submitted; the others were.

    Attributes:
        outcomes: for each description in order, the `Job` that was made, or the error.
        errors: the errors alone, by their index in that order.
    """

    def __init__(self, outcomes: Sequence[Job | MigError]) -> None:
        self.outcomes: tuple[Job | MigError, ...] = tuple(outcomes)
        self.errors: dict[int, MigError] = {
            index: outcome for index, outcome in enumerate(outcomes) if isinstance(outcome, MigError)
        }
        lines = [f"[{index}] {error}" for index, error in list(self.errors.items())[:5]]
        more = [f"… and {len(self.errors) - 5} more"] if len(self.errors) > 5 else []
        made = len(self.outcomes) - len(self.errors)
        super().__init__(
            f"{len(self.errors)} of {len(self.outcomes)} jobs were not made, {made} were:\n" + "\n".join(lines + more)
        )

    @property
    def jobs(self) -> list[Job]:
        """The jobs that were made; after pickling, which a job cannot survive, their ids."""
        return [outcome for outcome in self.outcomes if not isinstance(outcome, MigError)]

    def __copy__(self) -> SubmitErrors:
        return rebuild(type(self), self.args, self.__dict__)

    def __deepcopy__(self, memo: dict[int, Any]) -> SubmitErrors:
        # Everything in it is immutable, except the jobs, which are not copied.
        return self.__copy__()

    def __reduce__(self) -> tuple[Any, ...]:
        # A job belongs to its session, and the session to its event loop; only the id can be pickled.
        outcomes = [outcome if isinstance(outcome, MigError) else outcome.id for outcome in self.outcomes]
        return rebuild, (type(self), self.args, {**self.__dict__, "outcomes": tuple(outcomes)})
