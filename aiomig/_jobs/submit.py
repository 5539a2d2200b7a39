"""Submitting jobs: checking their commands, uploading their inputs, and creating them on the backend."""

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
    """A job to submit."""

    spec: JobSpec
    plan: Plan


def planned(spec: JobSpec) -> PlannedJob:
    """Return a job with a new marker."""
    return PlannedJob(spec, spec.plan(secrets.token_hex(12)))


class JobSubmitter:
    """Submits the jobs of one session.

    If a job was not created, its private folder is removed. If it is unknown whether the job was created, the folder
    stays, because the job may exist and need its inputs.

    Args:
        backend: the backend of the session.
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
        """Return the job that has the key of a plan. Submit the plan if there is none."""
        (recorded,) = (await self._recorded_by_key({0: PlannedJob(spec, plan)})).values() or (None,)
        if isinstance(recorded, MigError):
            raise recorded
        try:
            return recorded or await self._submit_new(spec, plan)
        except KeyTaken as taken:
            return self.attach(taken.job_id, spec)

    async def _submit_new(self, spec: JobSpec, plan: Plan) -> Job:
        async with self._removed_on_failure(plan):
            await self._uploads.upload(plan)
            job_id = await self.backend.submit(plan)
        return self.attach(job_id, spec, plan)

    async def resubmit(self, plan: Plan, spec: JobSpec | None) -> Job:
        """Submit a job again, with a copy of its inputs in a new private folder; see `Job.resubmit`."""
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
        """Submit many jobs, or none if a description is invalid.

        Args:
            specs: descriptions, or commands.
            progress: see `Session.submit_many`.

        Returns:
            The job or the error of each description, in order.
        """
        if isinstance(specs, str | JobSpec) or not isinstance(specs, Iterable):
            remedy = "give a list with one entry per job"
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
        recorded = await self._recorded_by_key(jobs)
        errors |= {index: outcome for index, outcome in recorded.items() if isinstance(outcome, MigError)}
        if errors:
            not_sent = SpecError([Fault("specs", None, "not sent, because other descriptions are wrong", "fix those")])
            return [errors.get(index, not_sent) for index in range(count)]
        bar = ProgressBar(count) if progress else None
        try:
            new = {index: job for index, job in jobs.items() if index not in recorded}
            outcomes = recorded | await self._submit(new, bar, len(recorded))
        finally:
            if bar is not None:
                bar.close()
        return [outcomes[index] for index in range(count)]

    async def submit_valid(self, jobs: Mapping[int, PlannedJob]) -> dict[int, Job | MigError]:
        """Submit the jobs without errors, and return the job or the error of each, by index."""
        jobs = dict(jobs)
        outcomes = await self._expand_folders(jobs)
        outcomes |= await self._command_errors(jobs)
        outcomes = await self._recorded_by_key(jobs) | outcomes
        return outcomes | await self._submit({index: job for index, job in jobs.items() if index not in outcomes})

    async def _recorded_by_key(self, jobs: Mapping[int, PlannedJob]) -> dict[int, Job | MigError]:
        """Return the jobs whose keys are recorded, and the errors of keys that cannot be used."""
        keys = [job.plan.key for job in jobs.values() if job.plan.key is not None]
        recorded = await self.backend.find_keys(keys) if keys else {}
        outcomes: dict[int, Job | MigError] = {}
        for index, job in jobs.items():
            if job.plan.key is not None and (outcome := recorded.get(job.plan.key.text)) is not None:
                outcomes[index] = outcome if isinstance(outcome, MigError) else self.attach(outcome, job.spec)
        return outcomes

    async def _expand_folders(self, jobs: dict[int, PlannedJob]) -> dict[int, Job | MigError]:
        """Replace directories of the home by their files. Remove the jobs with errors, and return the errors."""
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
        return {key: SpecError(of_job) for key, of_job in zip(jobs, faults, strict=True) if of_job}

    async def _submit(
        self, jobs: Mapping[int, PlannedJob], bar: ProgressBar | None = None, done: int = 0
    ) -> dict[int, Job | MigError]:
        """Upload the inputs of jobs, shared inputs only once, and create the jobs on the backend.

        Args:
            jobs: the jobs to submit.
            bar: shows the number of submitted jobs.
            done: the number of jobs to count as submitted from the start.
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
                failed = [plan for key, plan in plans.items() if not _may_exist(outcomes.get(key))]
                await self._uploads.remove([plan for plan in failed if plan.uploads])
        except BaseException:
            job_ids = [outcome for outcome in outcomes.values() if isinstance(outcome, str)]
            await cancel_shielded(self.backend, job_ids, _CANCEL_SECONDS)
            raise
        handles: dict[int, Job | MigError] = {}
        for index, outcome in outcomes.items():
            if isinstance(outcome, KeyTaken):
                handles[index] = self.attach(outcome.job_id, jobs[index].spec)
            elif isinstance(outcome, MigError):
                handles[index] = outcome
            else:
                handles[index] = self.attach(outcome, jobs[index].spec, plans[index])
        return handles

    def attach(self, job_id: str, spec: JobSpec | None, plan: Plan | None = None) -> Job:
        """Return a handle on a job that was submitted now or earlier, and add it to the open scope, if any."""
        job = Job(self, job_id, spec=spec, plan=plan and replace(plan, uploads=(), key=None))
        add_to_open_scope(job)
        if plan is not None:
            self.backend.confirm([plan.marker])
        return job

    async def review(self, spec: JobSpec) -> CheckReport:
        """Return the faults and warnings of a job that was not submitted; see `Session.check`."""
        try:
            spec = await HomeFolders(self.files).expand(spec)
        except SpecError as error:
            return CheckReport(error.faults)
        verdict = await self._commands.verdict(spec.commands)
        report = await self.backend.review(spec.plan("check").description)
        missing = await missing_inputs(spec, self.files)
        return replace(report, faults=(*verdict.faults, *report.faults), warnings=(*verdict.warnings, *missing))


def _may_exist(outcome: str | MigError | None) -> bool:
    """Return whether a submit has created its job, or may have created it."""
    return isinstance(outcome, str) or (isinstance(outcome, SubmitUnknown) and not isinstance(outcome, KeyPending))


class SubmitErrors(MigError):
    """Some of many jobs could not be submitted; the others were.

    Attributes:
        outcomes: for each description, in order, the `Job` that was created, or the error.
        errors: only the errors, by the index of their description.
    """

    def __init__(self, outcomes: Sequence[Job | MigError]) -> None:
        self.outcomes: tuple[Job | MigError, ...] = tuple(outcomes)
        self.errors: dict[int, MigError] = {
            index: outcome for index, outcome in enumerate(outcomes) if isinstance(outcome, MigError)
        }
        lines = [f"[{index}] {error}" for index, error in list(self.errors.items())[:5]]
        more = [f"… and {len(self.errors) - 5} more"] if len(self.errors) > 5 else []
        created = len(self.outcomes) - len(self.errors)
        super().__init__(
            f"{len(self.errors)} of {len(self.outcomes)} jobs could not be submitted, {created} were:\n"
            + "\n".join(lines + more)
        )

    @property
    def jobs(self) -> list[Job]:
        """The jobs that were created. After unpickling, their ids, because jobs cannot be pickled."""
        return [outcome for outcome in self.outcomes if not isinstance(outcome, MigError)]

    def __copy__(self) -> SubmitErrors:
        return rebuild(type(self), self.args, self.__dict__)

    def __deepcopy__(self, memo: dict[int, Any]) -> SubmitErrors:
        # Everything in the error is immutable, except the jobs, which are not copied.
        return self.__copy__()

    def __reduce__(self) -> tuple[Any, ...]:
        # A job belongs to a session and thus to an event loop; only its id can be pickled.
        outcomes = [outcome if isinstance(outcome, MigError) else outcome.id for outcome in self.outcomes]
        return rebuild, (type(self), self.args, {**self.__dict__, "outcomes": tuple(outcomes)})
