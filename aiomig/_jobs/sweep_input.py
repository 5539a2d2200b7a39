"""The inputs of a sweep: its template, its parameters and its options."""

from __future__ import annotations

import logging
import os
from collections import deque
from collections.abc import AsyncIterable, Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal, TypedDict

import anyio

from .._core.errors import SpecError
from .._core.models import Fault
from .._core.validation import is_count, spent_fault
from .._spec.jobspec import JobSpec

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from .._core.tasks import SessionTasks

logger = logging.getLogger("aiomig")

Template = str | JobSpec | Callable[[Any], Any]


class SweepFields(TypedDict, total=False):
    """The options of `aiomig.sweep`; see `SweepOptions`."""

    in_flight: int
    order: Literal["completion", "submission"]
    on_failure: Literal["collect", "raise"]
    retries: int
    journal: str | os.PathLike[str] | None
    again: Literal["never", "failed"]
    replay: bool
    progress: bool


@dataclass(frozen=True, slots=True)
class SweepOptions:
    """The options of `aiomig.sweep`.

    Attributes:
        in_flight: the maximum number of submitted jobs that have not ended.
        order: yield jobs as they end (``"completion"``), or in the order of the parameters (``"submission"``). In the
            second case, a job that ends early counts as in flight until its turn.
        on_failure: ``"collect"`` yields failed jobs like others; ``"raise"`` raises their error and cancels the rest.
        retries: how often to resubmit a failed job before it counts as failed.
        journal: a file that records each step. The same call, in this program or a later one, then continues the
            sweep: jobs that have ended are not submitted again, and submitted jobs are waited for. The journal
            identifies a job by its description and the contents of its inputs, not by the position of its parameter. A
            job counts as ended when the loop asks for the next one. If the grid becomes unreachable, the next call
            continues with the jobs in flight. Jobs that were refused, were canceled with the sweep, or whose error was
            raised are submitted again.
        again: with a journal: ``"failed"`` resubmits jobs that failed in earlier runs, ``"never"`` only counts them.
        replay: with a journal: also yield the jobs that ended in earlier runs.
        progress: show a progress bar on a terminal (needs rich, part of the ``cli`` extra) or in a notebook.
    """

    in_flight: int = 100
    order: Literal["completion", "submission"] = "completion"
    on_failure: Literal["collect", "raise"] = "collect"
    retries: int = 0
    journal: str | os.PathLike[str] | None = None
    again: Literal["never", "failed"] = "never"
    replay: bool = False
    progress: bool = False

    def __post_init__(self) -> None:
        faults: list[Fault] = []
        if not is_count(self.in_flight):
            faults.append(Fault("in_flight", self.in_flight, "not a positive whole number", "give a count"))
        if self.retries is False or not (self.retries == 0 or is_count(self.retries)):
            faults.append(Fault("retries", self.retries, "not a whole number of at least 0", "give a count"))
        if self.journal is not None and not (self.journal and isinstance(self.journal, str | os.PathLike)):
            faults.append(Fault("journal", self.journal, "not the path of a file", "give a path, or None"))
        choices = {
            "order": ("completion", "submission"),
            "on_failure": ("collect", "raise"),
            "again": ("never", "failed"),
        }
        for name, values in choices.items():
            if getattr(self, name) not in values:
                faults.append(Fault(name, getattr(self, name), "not valid", f"use {values[0]!r} or {values[1]!r}"))
        if faults:
            raise SpecError(faults)


def spec_of(template: Template, parameter: Any) -> JobSpec:
    """Return the job of a parameter.

    A template function is called with the parameter. Any other template gets the values of the parameter as
    environment variables.
    """
    value = template(parameter) if callable(template) else template
    spec = value if isinstance(value, JobSpec) else JobSpec(value)
    if callable(template):
        return spec
    if not isinstance(parameter, Mapping):
        problem = "not a mapping of names and values, needed by a template that is not a function"
        remedy = "give mappings such as {'SEED': 7}, which become environment variables, or a function as template"
        raise SpecError([Fault("parameters", parameter, problem, remedy)])
    # Other values, such as None, bytes and lists, stay unchanged, and `JobSpec` refuses them.
    values: dict[str, Any] = {
        name: value if value is None or isinstance(value, Iterable) else str(value) for name, value in parameter.items()
    }
    return replace(spec, environment={**spec.environment, **values})


class Source:
    """The parameters of a sweep, taken one by one. A task of the session reads an async iterable, one item ahead."""

    def __init__(self, tasks: SessionTasks, parameters: Iterable[Any] | AsyncIterable[Any]) -> None:
        self._tasks = tasks
        self._waiting: deque[Any] = deque()
        self._asynchronous: AsyncIterable[Any] | None = None
        self._iterator: Iterator[Any] = iter(())
        if fault := spent_fault("parameters", parameters):
            raise SpecError([fault])
        if isinstance(parameters, AsyncIterable):
            self._asynchronous = parameters
        else:
            self._iterator = _iterator(parameters)
        self._has_begun = False
        self._is_done = False
        self._failure: Exception | None = None
        self._scope = anyio.CancelScope()
        self._changed = anyio.Event()
        self._taken = anyio.Event()

    async def _pump(self, parameters: AsyncIterable[Any]) -> None:
        with self._scope:
            iterator: AsyncIterator[Any] | None = None
            try:
                iterator = aiter(parameters)
                async for parameter in iterator:
                    self._waiting.append(parameter)
                    self._changed.set()
                    self._taken = anyio.Event()
                    await self._taken.wait()
            except Exception as error:  # noqa: BLE001 - an error of the user's iterable, raised by `wait`
                self._failure = error
            finally:
                await _close(iterator)
        self._is_done = True
        self._changed.set()

    @property
    def at_hand(self) -> bool:
        """Whether a parameter is available."""
        if self._asynchronous is None and not self._waiting and not self._is_done:
            try:
                self._waiting.append(next(self._iterator))
            except StopIteration:
                self._is_done = True
        return bool(self._waiting)

    @property
    def exhausted(self) -> bool:
        """Whether there are no more parameters and no error to raise."""
        return self._is_done and not self._waiting and self._failure is None

    def take(self) -> Any:
        """Return the next parameter."""
        self._taken.set()
        return self._waiting.popleft()

    async def wait(self) -> None:
        """Wait until a parameter is available or there are no more. A cancellation loses none."""
        if self._asynchronous is not None and not self._has_begun:
            self._has_begun = True
            self._tasks.start(self._pump, self._asynchronous, name="sweep")
        while not (self.at_hand or self._is_done):
            self._changed = anyio.Event()
            await self._changed.wait()
        if self._failure is not None and not self._waiting:
            raise self._failure

    def close(self) -> None:
        """Take no more parameters."""
        self._is_done = True
        self._iterator = iter(())
        self._scope.cancel()


def _iterator(parameters: Iterable[Any]) -> Iterator[Any]:
    remedy = "give an iterable or an async iterable, such as a list"
    if isinstance(parameters, str | bytes):
        raise SpecError([Fault("parameters", parameters, "a string, not several parameters", remedy)])
    try:
        return iter(parameters)
    except TypeError:
        raise SpecError([Fault("parameters", parameters, "cannot be iterated", remedy)]) from None


async def _close(iterator: AsyncIterator[Any] | None) -> None:
    """Close an async generator. Python warns about generators that are dropped in the middle."""
    if (close := getattr(iterator, "aclose", None)) is not None:
        try:
            await close()
        except Exception:
            logger.exception("the async iterable with the parameters of a sweep could not be closed")
