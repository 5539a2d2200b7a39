"""Scopes: jobs that do not outlive the block that made them, unless they are let go."""

from __future__ import annotations

import logging
from contextvars import ContextVar
from typing import TYPE_CHECKING, Self, Unpack

import anyio

from .._core.errors import MigError
from .watch import Completed, cancel_all

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Iterator
    from types import TracebackType

    from .._spec.jobspec import JobSpec, SpecFields
    from .job import Job

logger = logging.getLogger("aiomig")

CANCEL_SECONDS = 30.0
"""The longest that leaving a scope takes to cancel its jobs."""

_open_scopes: ContextVar[tuple[Scope, ...]] = ContextVar("aiomig_open_scopes", default=())


def entered(jobs: Iterable[Job]) -> None:
    """Enters new jobs into the innermost open scope of the current context, if there is one of their session."""
    for job in jobs:
        for scope in reversed(_open_scopes.get()):
            if scope.takes(job):
                scope.add(job)
                break


class Scope:
    """A block whose jobs end with it. Made by `Session.scope`.

    Every job that is submitted in the block (in its own task or in one that was started there) belongs to it. Leaving
    the block normally waits for them. Leaving it by an exception or by cancellation cancels those that have not
    ended, on the grid too: shielded from cancellation, and for at most 30 seconds. The exception comes out as it is.

    Example::

        async with session.scope() as jobs:
            left = await jobs.submit("./simulate left")
            right = await jobs.submit("./simulate right")
            print((await left).stdout, (await right).stdout)
    """

    def __init__(self, submit: Callable[..., Awaitable[Job]], is_mine: Callable[[Job], bool]) -> None:
        self._submit = submit
        self._is_mine = is_mine
        self._jobs: dict[str, Job] = {}
        self._is_open = False

    def takes(self, job: Job) -> bool:
        """Whether the scope is open and the job of its session."""
        return self._is_open and self._is_mine(job)

    def __iter__(self) -> Iterator[Job]:
        return iter(list(self._jobs.values()))

    def __len__(self) -> int:
        return len(self._jobs)

    async def submit(self, commands: str | Iterable[str] | JobSpec, **fields: Unpack[SpecFields]) -> Job:
        """Submits a job that belongs to the scope, also within another one; see `Session.submit`.

        Raises:
            MigError: the scope is not open.
        """
        if not self._is_open:
            raise MigError("this scope is not open: submit within its block, or in a session")
        token = _open_scopes.set((*_open_scopes.get(), self))
        try:
            return await self._submit(commands, **fields)
        finally:
            _open_scopes.reset(token)

    def add(self, *jobs: Job) -> None:
        """Makes jobs belong to the scope.

        Raises:
            MigError: one is of another session.
        """
        for job in jobs:
            if not self._is_mine(job):
                raise MigError(f"job {job.id} is of another session; add it to a scope of that")
            self._jobs[job.id] = job

    def detach(self, *jobs: Job) -> None:
        """Lets jobs live on when the scope ends."""
        for job in jobs:
            self._jobs.pop(job.id, None)

    async def __aenter__(self) -> Self:
        self._is_open = True
        _open_scopes.set((*_open_scopes.get(), self))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        _open_scopes.set(tuple(scope for scope in _open_scopes.get() if scope is not self))
        try:
            if error is None:
                await self._wait()
        except BaseException:
            await self._cancel()
            raise
        finally:
            self._is_open = False
        if error is not None:
            await self._cancel()

    async def _wait(self) -> None:
        """Waits for all jobs, those included that tasks of the block submit meanwhile."""
        ended: set[Job] = set()
        while left := [job for job in self if job not in ended]:
            async for job in Completed(left):
                ended.add(job)

    async def _cancel(self) -> None:
        with anyio.move_on_after(CANCEL_SECONDS, shield=True) as bound:
            try:
                await cancel_all(list(self))
            except MigError as failure:
                logger.error("the jobs of a scope could not be canceled: %s", failure)
        if bound.cancelled_caught:
            logger.error("the jobs of a scope could not be canceled in %g s: %s", CANCEL_SECONDS, ", ".join(self._jobs))
