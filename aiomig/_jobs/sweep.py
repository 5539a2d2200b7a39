"""Sweeps: one job for each of many parameters, a limited number at a time."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Sized
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Self

import anyio.lowlevel

from .._backend import cancel_shielded
from .._core.errors import GridError, JobError, JobNotFound, MigError, SubmitUnknown
from .._core.models import JobState
from .._core.tasks import first_of
from .progress import ProgressBar
from .submit import planned
from .sweep_input import Source, spec_of
from .sweep_journal import SweepJournal
from .sweep_rows import Outbox, Row, SweepCounts
from .watch import Watch

if TYPE_CHECKING:
    from collections.abc import AsyncIterable, Iterable
    from types import TracebackType

    from .._core.models import JobStatus
    from .job import Job
    from .submit import JobSubmitter
    from .sweep_input import SweepOptions, Template
    from .sweep_journal import Entry

logger = logging.getLogger("aiomig")

_CANCEL_SECONDS = 30.0
_TAKEN_AT_ONCE = 1000
"""Number of parameters after which a sweep lets other tasks run."""


class Sweep:
    """Async iterator of the jobs of a sweep as they end. Made by `Session.sweep`.

    The sweep submits jobs while the loop waits for the next one, and never has more than ``in_flight`` unfinished jobs,
    so memory does not grow with the number of parameters. Leaving the loop early, or an error in it, cancels the
    unfinished jobs; ``async with`` waits for this. A cancelled `__anext__` loses no job and may be called again. If the
    cancellation interrupts a submit, its jobs are canceled and submitted again.

    Attributes:
        errors: with ``on_failure="collect"``, the parameters whose jobs could not be submitted, with their errors.
    """

    def __init__(
        self,
        submitter: JobSubmitter,
        template: Template,
        parameters: Iterable[Any] | AsyncIterable[Any],
        options: SweepOptions,
    ) -> None:
        self._closed = True  # until the constructor has succeeded
        self._submitter = submitter
        self._backend = submitter.backend
        self._template = template
        self._options = options
        self._source = Source(submitter.backend.tasks, parameters)
        total = len(parameters) if isinstance(parameters, Sized) else None
        self._bar = ProgressBar(total) if options.progress else None
        self._journal = SweepJournal(options.journal)
        self._watch = Watch(self._backend, ())
        self._taken = 0  # parameters
        self._unsent: dict[int, Row] = {}
        self._running: dict[str, Row] = {}
        self._ended: deque[Row] = deque()
        self._outbox = Outbox(in_order=options.order == "submission")
        self._yielded: Row | None = None
        self._submitted = self._done = self._failed = self._earlier = 0
        self._closed = False
        self.errors: list[tuple[Any, MigError]] = []

    @property
    def counts(self) -> SweepCounts:
        """The numbers of jobs that are submitted, unfinished, ended or failed, or that ended in earlier runs."""
        failed = self._failed + (self._yielded is not None and self._yielded.has_failed)
        return SweepCounts(self._submitted, len(self._running), self._done, failed, self._earlier)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Job:
        if self._closed:
            raise StopAsyncIteration
        try:
            await self._record_yielded()
            self._show_progress()
            while not self._outbox and await self._step():
                self._show_progress()
        except Exception as error:
            if self._journal.is_kept and isinstance(error, GridError | JobNotFound):
                # The unfinished jobs are not affected, and the next call continues with them. Do not cancel them.
                self._running.clear()
            await self.aclose()
            raise
        if not self._outbox:
            await self.aclose()
            self._report_leftovers()
            raise StopAsyncIteration
        self._yielded = self._outbox.pop()
        return self._yielded.handle

    def _show_progress(self) -> None:
        if self._bar is not None:
            counts, errors = self.counts, len(self.errors)
            note = f"{counts.running} running, {counts.failed} failed"
            note += f", {errors} not submitted" if errors else ""
            self._bar.show(counts.done + counts.earlier + errors, note)

    async def _record_yielded(self) -> None:
        """Record how the last yielded job ended, when the loop asks for the next one."""
        row = self._yielded
        if row is not None and row.earlier is None:
            if self._journal.is_kept and row.state is JobState.FINISHED:
                await row.handle.result(check=False)
            has_failed = row.has_failed
            self._journal.record_state([row.marker], "failed" if has_failed else "done")
            self._failed += has_failed
        self._yielded = None

    def _report_leftovers(self) -> None:
        errors = [error for _, error in self.errors]
        may_have_jobs = self._submitted or self._earlier or any(isinstance(error, SubmitUnknown) for error in errors)
        if errors and not may_have_jobs:
            errors[0].add_note(f"none of the {len(errors)} parameters of the sweep could be submitted")
            raise errors[0]
        if unclaimed := self._journal.unclaimed():
            logger.warning(
                "the journal contains %d jobs of earlier runs that match no parameter; they continue: %s",
                len(unclaimed),
                " ".join(entry.job_id or "(id unknown)" for entry in unclaimed),
            )

    async def _step(self) -> bool:
        """Submit jobs while there is room, or wait for a job or a parameter. Return False if nothing is left to do."""
        await self._fill()
        if self._outbox:
            return True
        if self._has_room() and self._source.at_hand:
            await anyio.lowlevel.checkpoint()
            return True
        if not self._running and self._source.exhausted:
            return False
        if not self._ended:
            await self._wait()
        while self._ended:
            await self._finish(self._ended[0])
            self._ended.popleft()
        return True

    # -- submitting

    def _has_room(self) -> bool:
        """Return whether one more job may be submitted."""
        if self._options.order == "submission":
            return self._taken < self._outbox.next_index + self._options.in_flight
        return len(self._running) + len(self._unsent) < self._options.in_flight

    async def _fill(self) -> None:
        """Submit jobs while there is room and parameters are available."""
        for _ in range(_TAKEN_AT_ONCE):
            if not (self._has_room() and self._source.at_hand):
                break
            self._take(self._source.take())
        if self._journal.is_kept:
            await self._match_earlier(list(self._unsent.values()))
        if self._unsent:
            await self._submit_all(list(self._unsent.values()))

    def _take(self, parameter: object) -> None:
        index, self._taken = self._taken, self._taken + 1
        try:
            self._unsent[index] = Row(index, parameter, spec_of(self._template, parameter))
        except MigError as error:
            self._not_submitted(index, parameter, error)

    async def _match_earlier(self, rows: list[Row]) -> None:
        """Find the jobs that an earlier run submitted. May be cancelled and repeated."""
        for row in rows:
            if not row.digest:
                row.digest = await self._journal.digest_of(row.spec)
                row.earlier = self._journal.claim(row.spec, row.digest)
                row.marker = row.earlier.marker if row.earlier is not None else ""
        for row in rows:
            if row.earlier is not None and row.earlier.has_ended:
                await self._reuse_ended(row, row.earlier)
            elif row.earlier is not None and row.earlier.job_id is None:
                project = row.spec.plan(row.marker).description.text("PROJECT")
                row.earlier.job_id = next(iter(await self._backend.find_by_marker(row.marker, project)), None)
                if row.earlier.job_id is None:
                    row.earlier = None
        unfinished = {row.earlier.job_id: row for row in rows if row.earlier is not None and not row.earlier.has_ended}
        job_ids = [job_id for job_id in unfinished if job_id is not None]
        statuses = await self._backend.statuses(job_ids) if job_ids else {}
        for job_id in job_ids:
            self._resume(unfinished[job_id], statuses.get(job_id))

    def _resume(self, row: Row, status: JobStatus | None) -> None:
        """Continue with a job of an earlier run, unless it is unknown now or was canceled with that run."""
        entry, row.earlier = row.earlier, None
        if status is None:
            logger.warning("a job of the journal no longer exists and is submitted again: %r", row.parameter)
        elif entry is not None and not (entry.state == "canceled" and status.state is JobState.CANCELED):
            del self._unsent[row.index]
            self._track(row, self._submitter.attach(status.job_id, row.spec))

    async def _reuse_ended(self, row: Row, entry: Entry) -> None:
        """Yield or skip a job that ended in an earlier run, or have it submitted again."""
        job = self._submitter.attach(entry.job_id or "", row.spec)
        if entry.state == "ended" and self._options.again == "failed":
            entry.state = "done" if (await job.result(check=False)).ok else "failed"
        has_failed = entry.state == "failed"
        if has_failed and (self._options.again == "failed" or self._options.on_failure == "raise"):
            row.earlier = None
            return
        self._earlier += 1
        self._failed += has_failed
        job.parameter, row.job = row.parameter, job
        del self._unsent[row.index]
        self._outbox.add(row.index, row if self._options.replay and entry.job_id else None)

    async def _submit_all(self, rows: list[Row]) -> None:
        jobs = {row.index: planned(row.spec) for row in rows}
        self._journal.record_submits((jobs[row.index].plan.marker, row.digest, row.marker) for row in rows)
        for row in rows:
            row.marker = jobs[row.index].plan.marker
        try:
            outcomes = await self._submitter.submit_valid(jobs)
        except BaseException:
            # The submitter cancels the jobs that it has created.
            self._note_canceled(rows)
            raise
        self._unsent.clear()
        submitted = [(row, job) for row in rows if not isinstance(job := outcomes[row.index], MigError)]
        for row, job in submitted:
            self._track(row, job)
        self._journal.record_ids((row.marker, job.id) for row, job in submitted)
        for row in rows:
            if isinstance(error := outcomes[row.index], MigError):
                # If the job may exist, the journal keeps its marker, and the next run looks for it.
                if not isinstance(error, SubmitUnknown):
                    self._journal.forget([row.marker])
                self._not_submitted(row.index, row.parameter, error)

    def _track(self, row: Row, job: Job) -> None:
        job.parameter = row.parameter
        if row.tries:
            job.attempts = (*row.handle.attempts, job.id)
        row.job = job
        self._running[job.id] = row
        self._watch.add(job)
        self._submitted += row.tries == 0

    def _not_submitted(self, index: int, parameter: object, error: MigError) -> None:
        if self._options.on_failure == "raise":
            raise error
        if not self.errors:
            logger.warning(
                "the job of a parameter could not be submitted; Sweep.errors contains all such errors: %r: %s",
                parameter,
                error,
            )
        self.errors.append((parameter, error))
        self._outbox.add(index, None)

    # -- waiting

    async def _wait(self) -> None:
        """Wait until a job ends or, if there is room, until a parameter is available."""
        if not self._running:
            await self._source.wait()
        elif self._source.exhausted or not self._has_room():
            await self._collect_ended()
        else:
            await first_of(self._source.wait, self._collect_ended)

    async def _collect_ended(self) -> None:
        """Wait until a job ends. A cancellation loses none, because `_finish` does the rest."""
        statuses = [await anext(self._watch), *self._watch.ready()]
        for status in statuses:
            if status.state.is_final:
                row = self._running[status.job_id]
                row.state = status.state
                self._ended.append(row)

    async def _finish(self, row: Row) -> None:
        error: JobError | None = None
        if self._options.retries or self._options.on_failure == "raise":
            try:
                await row.handle.result()
            except JobError as failure:
                error = failure
        del self._running[row.handle.id]
        if error is not None and row.tries < self._options.retries:
            row.tries += 1
            self._unsent[row.index] = row
            return
        if error is not None and self._options.on_failure == "raise":
            self._journal.forget([row.marker])
            raise error
        self._done += 1
        self._outbox.add(row.index, row)

    # -- ending

    async def aclose(self) -> None:
        """End the sweep and cancel its unfinished jobs. Shielded from cancellation, for at most 30 seconds."""
        await cancel_shielded(self._backend, self._end(), _CANCEL_SECONDS)

    def _end(self) -> list[str]:
        """Release everything, and return the ids of the jobs to cancel."""
        if self._closed:
            return []
        self._closed = True
        self._source.close()
        self._watch.close()
        running, self._running = self._running, {}
        if self._bar is not None:
            self._bar.close()
        self._note_canceled(running.values())
        self._journal.close()
        return list(running)

    def _note_canceled(self, rows: Iterable[Row]) -> None:
        try:
            self._journal.record_state([row.marker for row in rows], "canceled")
        except MigError as error:
            logger.error("%s", error)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    def __del__(self) -> None:
        # `break` has left the loop, and nothing can be awaited here. The event loop may have ended (if a reference
        # cycle was collected late), the session may be closed, or the program may be exiting.
        with suppress(RuntimeError):
            if not getattr(self, "_closed", True) and (running := self._end()):
                self._backend.abandon(running)
