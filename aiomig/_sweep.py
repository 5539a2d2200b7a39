"""Sweeps: any number of jobs, some at a time."""

from __future__ import annotations

import logging
import secrets
from collections import deque
from collections.abc import AsyncIterable, Callable, Iterable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Self

import anyio

from ._errors import Fault, JobError, MigError, SpecError
from ._given import is_count
from ._job import Job
from ._journal import Journal, digest_of
from ._spec import JobSpec
from ._watch import Watch

if TYPE_CHECKING:
    import os
    from collections.abc import Awaitable, Sequence
    from types import TracebackType

    from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream

    from ._backend import Backend
    from ._plan import Plan

logger = logging.getLogger("aiomig")

Template = str | JobSpec | Callable[[Any], Any]

_CANCEL_SECONDS = 30.0


class Order(NamedTuple):
    """One job that is to be submitted."""

    spec: JobSpec
    plan: Plan


class _Flight(NamedTuple):
    place: int
    parameter: object
    job: Job
    tries: int


class Sweep:
    """The jobs of a sweep as they end. Made by `Session.sweep`; see there.

    Submitting goes on while the loop asks for the next job, never further ahead than ``in_flight``: memory does not
    grow with the number of parameters. Leaving the loop early, or an error in it, cancels what is in flight; with
    ``async with`` that is waited for.

    Attributes:
        errors: the parameters whose jobs could not be submitted, with the errors, under ``on_failure="collect"``.
    """

    def __init__(
        self,
        backend: Backend,
        submit: Callable[[Sequence[Order]], Awaitable[list[Job | MigError]]],
        attach: Callable[[str, Order], Job],
        template: Template,
        parameters: Iterable[Any] | AsyncIterable[Any],
        options: Options,
    ) -> None:
        self._backend = backend
        self._submit = submit
        self._attach = attach
        self._template = template
        self._source = _Source(backend, parameters)
        self._options = options
        self._journal = Journal(options.journal) if options.journal is not None else None
        self._watch = Watch(backend, ())
        self._flights: dict[str, _Flight] = {}
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
        if self._handed is not None and self._journal is not None:
            self._journal.delivered(self._handed)
        self._handed = None
        if self._closed:
            raise StopAsyncIteration
        try:
            while not self._ready:
                await self._fill()
                if self._ready:
                    break
                if not self._flights and self._source.exhausted:
                    await self.aclose()
                    raise StopAsyncIteration
                await self._progress()
        except StopAsyncIteration:
            raise
        except Exception:
            await self.aclose()
            raise
        self._handed, job = self._ready.popleft()
        return job

    # -- submitting

    def _has_room(self, taken: int = 0) -> bool:
        """Whether one more job may be submitted, besides those just taken."""
        if self._options.order == "submission":
            return self._asked < self._next + self._options.in_flight
        return len(self._flights) + taken < self._options.in_flight

    async def _fill(self) -> None:
        """Submits as many as there is room for, as far as parameters are at hand."""
        orders: list[tuple[int, object, Order]] = []
        while self._has_room(len(orders)) and self._source.at_hand:
            parameter = self._source.take()
            place, self._asked = self._asked, self._asked + 1
            if self._journal is not None and self._journal.is_delivered(place):
                self._skip(place)
                continue
            try:
                order = self._order(parameter)
            except MigError as error:
                self._not_made(place, parameter, error)
                continue
            if not await self._resume(place, parameter, order):
                orders.append((place, parameter, order))
        if orders:
            await self._submit_all(orders)

    def _order(self, parameter: Any) -> Order:
        spec = _spec_of(self._template, parameter)
        return Order(spec, spec.plan(secrets.token_hex(12)))

    async def _resume(self, place: int, parameter: object, order: Order) -> bool:
        """Takes up a job that an earlier run of the sweep submitted."""
        entry = self._journal.entry(place) if self._journal is not None else None
        if entry is None:
            return False
        if entry.digest != digest_of(order.spec.mrsl_text()):
            raise SpecError(
                [
                    Fault(
                        "journal",
                        str(self._options.journal),
                        f"another job was submitted for parameter {place}",
                        "repeat the sweep with the same template and parameters, or with another journal",
                    )
                ]
            )
        job_id = entry.job_id or next(iter(await self._backend.submitted_as(entry.marker)), None)
        if job_id is None:
            return False
        self._launch(place, parameter, self._attach(job_id, order), tries=0)
        return True

    async def _submit_all(self, orders: Sequence[tuple[int, object, Order]]) -> None:
        if self._journal is not None:
            self._journal.intend(
                (place, order.plan.marker, digest_of(order.spec.mrsl_text())) for place, _, order in orders
            )
        outcomes = await self._submit([order for _, _, order in orders])
        made: list[tuple[int, str]] = []
        for (place, parameter, _), outcome in zip(orders, outcomes, strict=True):
            if isinstance(outcome, Job):
                made.append((place, outcome.id))
                self._launch(place, parameter, outcome, tries=0)
        if self._journal is not None:
            self._journal.made(made)
        for (place, parameter, _), outcome in zip(orders, outcomes, strict=True):
            if isinstance(outcome, MigError):
                self._not_made(place, parameter, outcome)

    def _launch(self, place: int, parameter: object, job: Job, tries: int) -> None:
        job.parameter = parameter
        self._flights[job.id] = _Flight(place, parameter, job, tries)
        self._watch.add(job)

    def _not_made(self, place: int, parameter: object, error: MigError) -> None:
        if self._journal is not None:
            self._journal.dropped([place])
        if self._options.on_failure == "raise":
            raise error
        self.errors.append((parameter, error))
        self._skip(place)

    def _skip(self, place: int) -> None:
        if self._options.order == "submission":
            self._ended[place] = SKIPPED
            self._release()

    # -- waiting

    async def _progress(self) -> None:
        """Waits until a job ends or, where there is room, a parameter comes."""
        if not self._flights:
            await self._source.wait()
            return
        if self._source.exhausted or self._source.at_hand or not self._has_room():
            await self._change()
            return
        failure: list[BaseException] = []

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
        statuses = [await anext(self._watch)]
        statuses += self._watch.ready()
        for status in statuses:
            if status.state.is_final:
                await self._landed(self._flights[status.job_id])

    async def _landed(self, flight: _Flight) -> None:
        if self._options.retries or self._options.on_failure == "raise":
            try:
                await flight.job.result()
            except JobError:
                if flight.tries < self._options.retries:
                    await self._retry(flight)
                    return
                if self._options.on_failure == "raise":
                    self._flights.pop(flight.job.id, None)
                    raise
        self._flights.pop(flight.job.id, None)
        if self._options.order == "submission":
            self._ended[flight.place] = flight.job
            self._release()
        else:
            self._ready.append((flight.place, flight.job))

    async def _retry(self, flight: _Flight) -> None:
        again = await flight.job.resubmit()
        del self._flights[flight.job.id]
        if self._journal is not None:
            self._journal.made([(flight.place, again.id)])
        self._launch(flight.place, flight.parameter, again, flight.tries + 1)

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
        if flights:
            with anyio.move_on_after(_CANCEL_SECONDS, shield=True):
                try:
                    await self._backend.act("cancel", flights)
                except MigError as error:
                    logger.error("%d jobs of a sweep could not be canceled: %s", len(flights), error)

    def _end(self) -> list[str]:
        if self._closed:
            return []
        self._closed = True
        self._source.close()
        flights, self._flights = list(self._flights.values()), {}
        if self._journal is not None:
            self._journal.dropped(flight.place for flight in flights)
            self._journal.close()
        return [flight.job.id for flight in flights]

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    def __del__(self) -> None:
        # A loop that was left by `break`: nothing can be awaited here.
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
        if self.retries and not is_count(self.retries):
            faults.append(Fault("retries", self.retries, "not a whole number of at least 0", "give a count"))
        for name, words in (("order", ("completion", "submission")), ("on_failure", ("collect", "raise"))):
            if getattr(self, name) not in words:
                faults.append(Fault(name, getattr(self, name), "not known", f"use {words[0]!r} or {words[1]!r}"))
        if faults:
            raise SpecError(faults)
        return self


class _Source:
    """The parameters, taken one by one; those of an async iterable by a task of the session, one ahead."""

    def __init__(self, backend: Backend, parameters: Iterable[Any] | AsyncIterable[Any]) -> None:
        self.exhausted = False
        self._waiting: deque[Any] = deque()
        self._iterator = None if isinstance(parameters, AsyncIterable) else iter(parameters)
        self._receive: MemoryObjectReceiveStream[Any] | None = None
        self._failure: BaseException | None = None
        if isinstance(parameters, AsyncIterable):
            send, self._receive = anyio.create_memory_object_stream[Any](0)
            backend.tasks.start(self._pump, parameters, send, name="sweep")

    async def _pump(self, parameters: AsyncIterable[Any], send: MemoryObjectSendStream[Any]) -> None:
        with send:
            try:
                async for parameter in parameters:
                    await send.send(parameter)
            except anyio.BrokenResourceError:
                return  # the sweep has ended
            except Exception as error:  # noqa: BLE001 - the user's own, raised where the sweep is iterated
                self._failure = error

    @property
    def at_hand(self) -> bool:
        """Whether a parameter can be taken now."""
        if self._iterator is not None and not self._waiting and not self.exhausted:
            try:
                self._waiting.append(next(self._iterator))
            except StopIteration:
                self.exhausted = True
        return bool(self._waiting)

    def take(self) -> Any:
        """The next parameter."""
        return self._waiting.popleft()

    async def wait(self) -> None:
        """Waits until there is a parameter, or no more. May be cancelled and loses none."""
        if self._receive is None or self._waiting:
            return
        try:
            self._waiting.append(await self._receive.receive())
        except anyio.EndOfStream:
            self.exhausted = True
            if self._failure is not None:
                raise self._failure from None

    def close(self) -> None:
        """Takes no more."""
        self.exhausted = True
        if self._receive is not None:
            self._receive.close()


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
