"""Sweeps: any number of jobs, some at a time.

The parameters of a sweep: an iterable or an async iterable of any length, taken one by one.
"""

from __future__ import annotations

import logging
import os
import secrets
from collections import deque
from collections.abc import AsyncIterable, Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Self

import anyio
import anyio.lowlevel

from .._core.errors import GridError, JobError, JobNotFound, MigError, SpecError, SubmitUnknown
from .._core.models import Fault, JobState
from .._core.validation import is_count
from .._spec.jobspec import JobSpec
from .job import Job
from .sweep_journal import Journal, digest_of
from .watch import Watch

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Iterable, Iterator, Sequence
    from types import TracebackType

    from .._backend import Backend
    from .._spec.plan import Plan


logger = logging.getLogger("aiomig")

Template = str | JobSpec | Callable[[Any], Any]

_CANCEL_SECONDS = 30.0
_TAKEN_AT_ONCE = 1000
"""Parameters taken between two looks at the event loop."""


class Order(NamedTuple):
    """One job that is to be submitted."""

    spec: JobSpec
    plan: Plan


class _Wanted(NamedTuple):
    place: int
    parameter: object
    spec: JobSpec
    tries: int = 0


class _Flight(NamedTuple):
    wanted: _Wanted
    job: Job


class Sweep:
    """The jobs of a sweep as they end. Made by `Session.sweep`; see there.

    Submitting goes on while the loop asks for the next job, never further ahead than ``in_flight``: memory does not
    grow with the number of parameters. Leaving the loop early, or an error in it, cancels what is in flight; with
    ``async with`` that is waited for. `__anext__` may be cancelled and called again, and loses no job; where that
    breaks a submit, its jobs are canceled and made anew.

    Attributes:
        errors: the parameters whose jobs could not be submitted, with the errors, under ``on_failure="collect"``.
    """

    def __init__(
        self,
        backend: Backend,
        submit: Callable[[Sequence[Order]], Awaitable[list[Job | MigError]]],
        attach: Callable[[str, JobSpec], Job],
        template: Template,
        parameters: Iterable[Any] | AsyncIterable[Any],
        options: Options,
    ) -> None:
        self._closed = True  # until there is something to close
        self._backend = backend
        self._submit = submit
        self._attach = attach
        self._template = template
        self._options = options
        self._source = Source(backend, parameters)
        self._journal = Journal(options.journal) if options.journal is not None else None
        self._watch = Watch(backend, ())
        self._unsent: dict[int, _Wanted] = {}
        self._flights: dict[str, _Flight] = {}
        self._landing: deque[_Flight] = deque()
        self._ended: dict[int, Job] = {}
        self._ready: deque[tuple[int, Job]] = deque()
        self._asked = 0  # places taken from the source
        self._next = 0  # the place to be handed out next, where the order is that of submission
        self._handed: int | None = None
        self._closed = False
        self.errors: list[tuple[Any, MigError]] = []

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Job:
        if self._closed:
            raise StopAsyncIteration
        try:
            if self._handed is not None and self._journal is not None:
                self._journal.delivered(self._handed)
            self._handed = None
            while not self._ready and await self._step():
                pass
        except Exception as error:
            if self._journal is not None and isinstance(error, GridError | JobNotFound):
                # Nothing is wrong with what is in flight: the same call finds it again.
                self._flights.clear()
            await self.aclose()
            raise
        if not self._ready:
            await self.aclose()
            raise StopAsyncIteration
        self._handed, job = self._ready.popleft()
        return job

    async def _step(self) -> bool:
        """Submits what there is room for, or waits for something to happen; False where nothing is left to do."""
        await self._fill()
        if self._ready:
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
        """Whether one more job may be submitted."""
        if self._options.order == "submission":
            return self._asked < self._next + self._options.in_flight
        return len(self._flights) + len(self._unsent) < self._options.in_flight

    async def _fill(self) -> None:
        """Submits as many as there is room for, as far as parameters are at hand."""
        for _ in range(_TAKEN_AT_ONCE):
            if not (self._has_room() and self._source.at_hand):
                break
            self._take(self._source.take())
        if self._journal is not None:
            for wanted in list(self._unsent.values()):
                if not wanted.tries and (job_id := await self._submitted_before(wanted)) is not None:
                    del self._unsent[wanted.place]
                    self._launch(wanted, self._attach(job_id, wanted.spec))
        if self._unsent:
            await self._submit_all(list(self._unsent.values()))

    def _take(self, parameter: object) -> None:
        place, self._asked = self._asked, self._asked + 1
        if self._journal is not None and self._journal.is_delivered(place):
            self._skip(place)
            return
        try:
            self._unsent[place] = _Wanted(place, parameter, _spec_of(self._template, parameter))
        except MigError as error:
            self._not_made(place, parameter, error)

    async def _submitted_before(self, wanted: _Wanted) -> str | None:
        """The job that an earlier run of the sweep submitted."""
        entry = self._journal.entry(wanted.place) if self._journal is not None else None
        if entry is None:
            return None
        if entry.digest != digest_of(wanted.spec.mrsl_text()):
            # What is in flight belongs to the journal, and so to the right call.
            self._flights.clear()
            raise SpecError(
                [
                    Fault(
                        "journal",
                        str(self._options.journal),
                        f"another job was submitted for parameter {wanted.place}",
                        "repeat the sweep with the same template and parameters, or with another journal",
                    )
                ]
            )
        job_id = entry.job_id
        if job_id is None:
            project = wanted.spec.plan(entry.marker).description.text("PROJECT")
            job_id = next(iter(await self._backend.find_by_marker(entry.marker, project)), None)
        if job_id is not None and entry.was_canceled:
            status = (await self._backend.statuses([job_id])).get(job_id)
            if status is None or status.state is JobState.CANCELED:
                return None
        return job_id

    async def _submit_all(self, wanted: Sequence[_Wanted]) -> None:
        orders = [Order(each.spec, each.spec.plan(secrets.token_hex(12))) for each in wanted]
        if self._journal is not None:
            self._journal.intend(
                (each.place, order.plan.marker, digest_of(order.spec.mrsl_text()))
                for each, order in zip(wanted, orders, strict=True)
            )
        try:
            outcomes = await self._submit(orders)
        except BaseException:
            # Whoever submits cancels what was made by then.
            self._note_canceled(wanted)
            raise
        self._unsent.clear()
        made = [(each, job) for each, job in zip(wanted, outcomes, strict=True) if isinstance(job, Job)]
        for each, job in made:
            self._launch(each, job)
        if self._journal is not None:
            self._journal.made((each.place, job.id) for each, job in made)
        for each, outcome in zip(wanted, outcomes, strict=True):
            if isinstance(outcome, MigError):
                self._not_made(each.place, each.parameter, outcome)

    def _launch(self, wanted: _Wanted, job: Job) -> None:
        job.parameter = wanted.parameter
        self._flights[job.id] = _Flight(wanted, job)
        self._watch.add(job)

    def _not_made(self, place: int, parameter: object, error: MigError) -> None:
        # Of a job that may exist the journal keeps the marker, by which the next run looks for it.
        if self._journal is not None and not isinstance(error, SubmitUnknown):
            self._journal.forget([place])
        if self._options.on_failure == "raise":
            raise error
        self.errors.append((parameter, error))
        self._skip(place)

    def _skip(self, place: int) -> None:
        if self._options.order == "submission":
            self._ended[place] = SKIPPED
            self._release()

    # -- waiting

    async def _wait(self) -> None:
        """Waits until a job ends or, where there is room, a parameter comes."""
        if not self._flights:
            await self._source.wait()
            return
        if self._source.exhausted or not self._has_room():
            await self._change()
            return
        failure: list[Exception] = []

        async def first(action: Callable[[], Awaitable[None]]) -> None:
            try:
                await action()
            except Exception as error:  # noqa: BLE001 - passed on below, not as a group
                failure.append(error)
            group.cancel_scope.cancel()

        async with anyio.create_task_group() as group:
            group.start_soon(first, self._source.wait)
            group.start_soon(first, self._change)
        if failure:
            raise failure[0]

    async def _change(self) -> None:
        """Waits for a job to end. May be cancelled and loses none: what is to be done about it is done elsewhere."""
        statuses = [await anext(self._watch), *self._watch.ready()]
        self._landing += [self._flights[status.job_id] for status in statuses if status.state.is_final]

    async def _land(self, flight: _Flight) -> None:
        wanted, job = flight
        error = await self._failure_of(job)
        del self._flights[job.id]
        if error is not None and wanted.tries < self._options.retries:
            self._unsent[wanted.place] = wanted._replace(tries=wanted.tries + 1)
            return
        if error is not None and self._options.on_failure == "raise":
            if self._journal is not None:
                self._journal.forget([wanted.place])
            raise error
        if self._options.order == "submission":
            self._ended[wanted.place] = job
            self._release()
        else:
            self._ready.append((wanted.place, job))

    async def _failure_of(self, job: Job) -> JobError | None:
        """Why a job that has ended failed, where that matters here."""
        if self._options.retries or self._options.on_failure == "raise":
            try:
                await job.result()
            except JobError as error:
                return error
        return None

    def _release(self) -> None:
        """Hands out what is next in the order of submission."""
        while self._next in self._ended:
            job = self._ended.pop(self._next)
            if job is not SKIPPED:
                self._ready.append((self._next, job))
            self._next += 1

    # -- ending

    async def aclose(self) -> None:
        """Ends the sweep; what is in flight is canceled. Shielded from cancellation, for at most 30 seconds."""
        flights = self._end()
        if not flights:
            return
        with anyio.move_on_after(_CANCEL_SECONDS, shield=True) as bound:
            try:
                await self._backend.act("cancel", flights)
            except MigError as error:
                logger.error("%d jobs of a sweep could not be canceled: %s", len(flights), error)
        if bound.cancelled_caught:
            logger.error("%d jobs of a sweep could not be canceled in %g s", len(flights), _CANCEL_SECONDS)

    def _end(self) -> list[str]:
        """Lets go of everything; the ids of the jobs that are to be canceled."""
        if self._closed:
            return []
        self._closed = True
        self._source.close()
        self._watch.close()
        flights, self._flights = self._flights, {}
        self._note_canceled([flight.wanted for flight in flights.values()])
        if self._journal is not None:
            self._journal.close()
        return list(flights)

    def _note_canceled(self, wanted: Iterable[_Wanted]) -> None:
        if self._journal is None:
            return
        try:
            self._journal.canceled(each.place for each in wanted)
        except MigError as error:
            logger.error("%s", error)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    def __del__(self) -> None:
        # A loop that was left by `break`: nothing can be awaited here. Where no event loop runs any more (the object
        # was part of a cycle that is collected late), the session is closed, or the program ends.
        with suppress(RuntimeError):
            if not getattr(self, "_closed", True) and (flights := self._end()):
                self._backend.abandon(flights)


class Options(NamedTuple):
    """The options of a sweep, checked by `checked`."""

    in_flight: int
    order: Literal["completion", "submission"] = "completion"
    on_failure: Literal["collect", "raise"] = "collect"
    retries: int = 0
    journal: str | os.PathLike[str] | None = None

    def checked(self) -> Options:
        """Itself, or a SpecError."""
        faults: list[Fault] = []
        if not is_count(self.in_flight):
            faults.append(Fault("in_flight", self.in_flight, "not a positive whole number", "give the jobs at once"))
        if self.retries is False or not (self.retries == 0 or is_count(self.retries)):
            faults.append(Fault("retries", self.retries, "not a whole number of at least 0", "give a count"))
        if self.journal is not None and not (self.journal and isinstance(self.journal, str | os.PathLike)):
            faults.append(Fault("journal", self.journal, "no path of a file", "give a path, or None"))
        for name, words in (("order", ("completion", "submission")), ("on_failure", ("collect", "raise"))):
            if getattr(self, name) not in words:
                faults.append(Fault(name, getattr(self, name), "not known", f"use {words[0]!r} or {words[1]!r}"))
        if faults:
            raise SpecError(faults)
        return self


SKIPPED: Any = object()
"""In the place of a job that is not handed out."""


def _spec_of(template: Template, parameter: Any) -> JobSpec:
    """The job of a parameter: what the template makes of it, or the template with its values in the environment."""
    made = template(parameter) if callable(template) else template
    spec = made if isinstance(made, JobSpec) else JobSpec(made)
    if callable(template):
        return spec
    if not isinstance(parameter, Mapping):
        raise SpecError(
            [
                Fault(
                    "parameters",
                    parameter,
                    "not names and values, as a template that is no function needs",
                    "give mappings such as {'SEED': 7}, which become environment variables, or a function",
                )
            ]
        )
    values = {str(name): str(value) for name, value in parameter.items()}
    return replace(spec, environment={**spec.environment, **values})


class Source:
    """The parameters, taken one by one; those of an async iterable by a task of the session, one ahead."""

    def __init__(self, backend: Backend, parameters: Iterable[Any] | AsyncIterable[Any]) -> None:
        self._backend = backend
        self._waiting: deque[Any] = deque()
        self._asynchronous: AsyncIterable[Any] | None = None
        self._iterator: Iterator[Any] = iter(())
        if isinstance(parameters, AsyncIterable):
            self._asynchronous = parameters
        else:
            self._iterator = _iterator(parameters)
        self._has_begun = False
        self._is_done = False
        self._failure: Exception | None = None
        self._scope = anyio.CancelScope()
        self._news = anyio.Event()
        self._taken = anyio.Event()

    async def _pump(self, parameters: AsyncIterable[Any]) -> None:
        with self._scope:
            iterator: AsyncIterator[Any] | None = None
            try:
                iterator = aiter(parameters)
                async for parameter in iterator:
                    self._waiting.append(parameter)
                    self._news.set()
                    self._taken = anyio.Event()
                    await self._taken.wait()
            except Exception as error:  # noqa: BLE001 - the user's own, raised where the sweep is iterated
                self._failure = error
            finally:
                await _close(iterator)
        self._is_done = True
        self._news.set()

    @property
    def at_hand(self) -> bool:
        """Whether a parameter can be taken now."""
        if self._asynchronous is None and not self._waiting and not self._is_done:
            try:
                self._waiting.append(next(self._iterator))
            except StopIteration:
                self._is_done = True
        return bool(self._waiting)

    @property
    def exhausted(self) -> bool:
        """Whether there is nothing more to come, not even an error."""
        return self._is_done and not self._waiting and self._failure is None

    def take(self) -> Any:
        """The next parameter."""
        self._taken.set()
        return self._waiting.popleft()

    async def wait(self) -> None:
        """Waits until there is a parameter, or no more. May be cancelled and loses none."""
        if self._asynchronous is not None and not self._has_begun:
            self._has_begun = True
            self._backend.tasks.start(self._pump, self._asynchronous, name="sweep")
        while not (self.at_hand or self._is_done):
            self._news = anyio.Event()
            await self._news.wait()
        if self._failure is not None and not self._waiting:
            raise self._failure

    def close(self) -> None:
        """Takes no more."""
        self._is_done = True
        self._iterator = iter(())
        self._scope.cancel()


def _iterator(parameters: Iterable[Any]) -> Iterator[Any]:
    try:
        return iter(parameters)
    except TypeError:
        remedy = "give an iterable or an async iterable"
        raise SpecError([Fault("parameters", parameters, "cannot be iterated", remedy)]) from None


async def _close(iterator: AsyncIterator[Any] | None) -> None:
    """Closes an async generator: one that is dropped in the middle warns."""
    if (close := getattr(iterator, "aclose", None)) is not None:
        try:
            await close()
        except Exception:
            logger.exception("the parameters of a sweep could not be closed")
