"""The parameters of a sweep: an iterable or an async iterable of any length, taken one by one."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import AsyncIterable
from typing import TYPE_CHECKING, Any

import anyio

from ._errors import Fault, SpecError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable, Iterator

    from ._backend import Backend

logger = logging.getLogger("aiomig")


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
