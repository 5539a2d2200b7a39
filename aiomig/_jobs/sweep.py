"""Sweeps: any number of jobs, some at a time."""

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
    """Async iterator of the jobs of a sweep as they end. Made by `Session.sweep`; see there.

    Submitting goes on while the loop asks for the next job, never further ahead than ``in_flight``: memory does not
    grow with the number of parameters. Leaving the loop early, or an error in it, cancels what is in flight; with
    ``async with`` that is waited for. `__anext__` may be cancelled and called again, and loses no job; if that
    cuts off a submit, its jobs are canceled and submitted anew.

    Attributes:
        errors: the parameters whose jobs could not be submitted, with the errors, under ``on_failure="collect"``.
    """

    def __init__(
        self,
        submitter: JobSubmitter,
        template: Template,
        parameters: Iterable[Any] | AsyncIterable[Any],
        options: SweepOptions,
    ) -> None:
        self._closed = True  # until there is something to close
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
        self._flights: dict[str, Row] = {}
        self._landing: deque[Row] = deque()
        self._outbox = Outbox(in_order=options.order == "submission")
        self._handed: Row | None = None
        self._submitted = self._done = self._failed = self._earlier = 0
        self._closed = False
        self.errors: list[tuple[Any, MigError]] = []

    @property
    def counts(self) -> SweepCounts:
        """How many jobs are submitted, running, done and failed, and were done by an earlier run."""
        failed = self._failed + (self._handed is not None and self._handed.has_failed)
        return SweepCounts(self._submitted, len(self._flights), self._done, failed, self._earlier)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Job:
        if self._closed:
            raise StopAsyncIteration
        try:
            await self._record_handed()
            self._show_progress()
            while not self._outbox and await self._step():
                self._show_progress()
        except Exception as error:
            if self._journal.is_kept and isinstance(error, GridError | JobNotFound):
                # Nothing is wrong with what is in flight: the same call finds it again.
                self._flights.clear()
            await self.aclose()
            raise
        if not self._outbox:
            await self.aclose()
            self._report_what_was_not_submitted()
            raise StopAsyncIteration
        self._handed = self._outbox.pop()
        return self._handed.handle

    def _show_progress(self) -> None:
        if self._bar is not None:
            counts, errors = self.counts, len(self.errors)
            words = f"{counts.running} running, {counts.failed} failed"
            words += f", {errors} not submitted" if errors else ""
            self._bar.show(counts.done + counts.earlier + errors, words)

    async def _record_handed(self) -> None:
        """Record how the job ended that was handed out, now that the next one is asked for."""
        row = self._handed
        if row is not None and row.earlier is None:
            if self._journal.is_kept and row.state is JobState.FINISHED:
                await row.handle.result(check=False)
            has_failed = row.has_failed
            self._journal.note([row.marker], "failed" if has_failed else "done")
            self._failed += has_failed
        self._handed = None

    def _report_what_was_not_submitted(self) -> None:
        errors = [error for _, error in self.errors]
        if errors and not (self._submitted or self._earlier or any(isinstance(each, SubmitUnknown) for each in errors)):
            errors[0].add_note(f"none of the {len(errors)} parameters of the sweep could be submitted")
            raise errors[0]
        if left := self._journal.left():
            logger.warning(
                "%d jobs of earlier runs are in the journal and not among the parameters; they go on: %s",
                len(left),
                " ".join(entry.job_id or "(not known)" for entry in left),
            )

    async def _step(self) -> bool:
        """Submit what there is room for, or wait for something to happen; return False if nothing is left to do."""
        await self._fill()
        if self._outbox:
            return True
        if self._has_room() and self._source.at_hand:
            await anyio.lowlevel.checkpoint()
            return True
        if not self._flights and self._source.exhausted:
            return False
        if not self._landing:
            await self._wait()
        while self._landing:
            await self._land(self._landing[0])
            self._landing.popleft()
        return True

    # -- submitting

    def _has_room(self) -> bool:
        """Return whether one more job may be submitted."""
        if self._options.order == "submission":
            return self._taken < self._outbox.next_index + self._options.in_flight
        return len(self._flights) + len(self._unsent) < self._options.in_flight

    async def _fill(self) -> None:
        """Submit as many jobs as there is room for and parameters are at hand."""
        for _ in range(_TAKEN_AT_ONCE):
            if not (self._has_room() and self._source.at_hand):
                break
            self._take(self._source.take())
        if self._journal.is_kept:
            await self._look_up(list(self._unsent.values()))
        if self._unsent:
            await self._submit_all(list(self._unsent.values()))

    def _take(self, parameter: object) -> None:
        index, self._taken = self._taken, self._taken + 1
        try:
            self._unsent[index] = Row(index, parameter, spec_of(self._template, parameter))
        except MigError as error:
            self._not_submitted(index, parameter, error)

    async def _look_up(self, rows: list[Row]) -> None:
        """Find out which of the jobs an earlier run submitted. May be cancelled and repeated."""
        for row in rows:
            if not row.digest:
                row.digest = await self._journal.digest_of(row.spec)
                row.earlier = self._journal.claim(row.spec, row.digest)
                row.marker = row.earlier.marker if row.earlier is not None else ""
        for row in rows:
            if row.earlier is not None and row.earlier.has_ended:
                await self._look_at_result(row, row.earlier)
            elif row.earlier is not None and row.earlier.job_id is None:
                project = row.spec.plan(row.marker).description.text("PROJECT")
                row.earlier.job_id = next(iter(await self._backend.find_by_marker(row.marker, project)), None)
                if row.earlier.job_id is None:
                    row.earlier = None
        unfinished = {row.earlier.job_id: row for row in rows if row.earlier is not None and not row.earlier.has_ended}
        job_ids = [job_id for job_id in unfinished if job_id is not None]
        statuses = await self._backend.statuses(job_ids) if job_ids else {}
        for job_id in job_ids:
            self._take_over(unfinished[job_id], statuses.get(job_id))

    def _take_over(self, row: Row, status: JobStatus | None) -> None:
        """Wait for a job of an earlier run, unless it is gone or was canceled with that run."""
        entry, row.earlier = row.earlier, None
        if status is None:
            logger.warning("a job of the journal is not known any more and is submitted anew: %r", row.parameter)
        elif entry is not None and not (entry.state == "canceled" and status.state is JobState.CANCELED):
            del self._unsent[row.index]
            self._launch(row, self._submitter.attach(status.job_id, row.spec))

    async def _look_at_result(self, row: Row, entry: Entry) -> None:
        """Hand out or leave out a job that an earlier run brought to an end, or have it submitted anew."""
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
        self._journal.intend((jobs[row.index].plan.marker, row.digest, row.marker) for row in rows)
        for row in rows:
            row.marker = jobs[row.index].plan.marker
        try:
            outcomes = await self._submitter.submit_valid(jobs)
        except BaseException:
            # The submitter cancels what was made by then.
            self._note_canceled(rows)
            raise
        self._unsent.clear()
        made = [(row, job) for row in rows if not isinstance(job := outcomes[row.index], MigError)]
        for row, job in made:
            self._launch(row, job)
        self._journal.made((row.marker, job.id) for row, job in made)
        for row in rows:
            if isinstance(error := outcomes[row.index], MigError):
                # If the job may exist, the journal keeps the marker, and the next run looks for it.
                if not isinstance(error, SubmitUnknown):
                    self._journal.forget([row.marker])
                self._not_submitted(row.index, row.parameter, error)

    def _launch(self, row: Row, job: Job) -> None:
        job.parameter = row.parameter
        if row.tries:
            job.attempts = (*row.handle.attempts, job.id)
        row.job = job
        self._flights[job.id] = row
        self._watch.add(job)
        self._submitted += row.tries == 0

    def _not_submitted(self, index: int, parameter: object, error: MigError) -> None:
        if self._options.on_failure == "raise":
            raise error
        if not self.errors:
            logger.warning(
                "a parameter could not be submitted; see Sweep.errors for all of them: %r: %s", parameter, error
            )
        self.errors.append((parameter, error))
        self._outbox.add(index, None)

    # -- waiting

    async def _wait(self) -> None:
        """Wait until a job ends or, if there is room, a parameter comes."""
        if not self._flights:
            await self._source.wait()
        elif self._source.exhausted or not self._has_room():
            await self._change()
        else:
            await first_of(self._source.wait, self._change)

    async def _change(self) -> None:
        """Wait for a job to end. May be cancelled and loses none, because what follows is done elsewhere."""
        statuses = [await anext(self._watch), *self._watch.ready()]
        for status in statuses:
            if status.state.is_final:
                row = self._flights[status.job_id]
                row.state = status.state
                self._landing.append(row)

    async def _land(self, row: Row) -> None:
        error: JobError | None = None
        if self._options.retries or self._options.on_failure == "raise":
            try:
                await row.handle.result()
            except JobError as failure:
                error = failure
        del self._flights[row.handle.id]
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
        """End the sweep and cancel what is in flight. Shielded from cancellation, for at most 30 seconds."""
        await cancel_shielded(self._backend, self._end(), _CANCEL_SECONDS)

    def _end(self) -> list[str]:
        """Release everything; return the ids of the jobs that are to be canceled."""
        if self._closed:
            return []
        self._closed = True
        self._source.close()
        self._watch.close()
        flights, self._flights = self._flights, {}
        if self._bar is not None:
            self._bar.close()
        self._note_canceled(flights.values())
        self._journal.close()
        return list(flights)

    def _note_canceled(self, rows: Iterable[Row]) -> None:
        try:
            self._journal.note([row.marker for row in rows], "canceled")
        except MigError as error:
            logger.error("%s", error)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    def __del__(self) -> None:
        # A loop that was left by `break`: nothing can be awaited here. The event loop may have ended (the object
        # was part of a cycle that is collected late), the session may be closed, or the program ends.
        with suppress(RuntimeError):
            if not getattr(self, "_closed", True) and (flights := self._end()):
                self._backend.abandon(flights)
