"""Scopes: blocks of a program that cancel their unfinished jobs if they fail."""

from __future__ import annotations

from contextvars import ContextVar
from typing import TYPE_CHECKING, Self, Unpack

from .._backend import cancel_shielded
from .._core.errors import MigError, SpecError
from .._core.models import Fault
from .collect import Completed
from .job import Job

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Iterator
    from types import TracebackType

    from .._backend import Backend
    from .._spec.jobspec import JobSpec, SpecFields

CANCEL_SECONDS = 30.0
"""The maximum time for cancelling the jobs of a scope when its block is left."""

_open_scopes: ContextVar[tuple[Scope, ...]] = ContextVar("aiomig_open_scopes", default=())


def add_to_open_scope(job: Job) -> None:
    """Add a new job to the innermost open scope of its session in the current context, if any."""
    for scope in reversed(_open_scopes.get()):
        if scope.is_open and scope.backend is job.backend:
            scope.add(job)
            break


class Scope:
    """An async context manager whose jobs end with its block. Made by `Session.scope`.

    Every job that is submitted in the block, or in a task started there, belongs to the scope. Leaving the block
    normally waits for these jobs. Leaving it through an exception or cancellation cancels the unfinished ones, even on
    a grid. This is shielded from cancellation and takes at most 30 seconds. The exception is not wrapped.

    Example::

        async with session.scope() as jobs:
            left = await jobs.submit("./simulate left")
            right = await jobs.submit("./simulate right")
            print((await left).stdout, (await right).stdout)
    """

    def __init__(self, submit: Callable[..., Awaitable[Job]], backend: Backend) -> None:
        self.backend = backend
        self.is_open: bool = False
        self._submit = submit
        self._jobs: dict[str, Job] = {}

    def __iter__(self) -> Iterator[Job]:
        return iter(list(self._jobs.values()))

    def __len__(self) -> int:
        return len(self._jobs)

    async def submit(self, commands: str | Iterable[str] | JobSpec, **fields: Unpack[SpecFields]) -> Job:
        """Submit a job that belongs to this scope, even inside the block of another scope; see `Session.submit`.

        Raises:
            MigError: the scope is not open.
        """
        if not self.is_open:
            raise MigError("this scope is not open; submit jobs inside its block, or with the session")
        token = _open_scopes.set((*_open_scopes.get(), self))
        try:
            return await self._submit(commands, **fields)
        finally:
            _open_scopes.reset(token)

    def add(self, *jobs: Job) -> None:
        """Add existing jobs to the scope.

        Raises:
            MigError: a job belongs to another session.
            SpecError: an argument is not a `Job`.
        """
        for job in jobs:
            if not isinstance(job, Job):
                raise SpecError([Fault("jobs", job, "not a job", "give a Job: session.job(job_id)")])
            if job.backend is not self.backend:
                raise MigError(f"job {job.id} belongs to another session; add it to a scope of that session")
            self._jobs[job.id] = job

    def detach(self, *jobs: Job) -> None:
        """Remove jobs from the scope, so that they continue after its end."""
        for job in jobs:
            self._jobs.pop(job.id, None)

    async def __aenter__(self) -> Self:
        self.is_open = True
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
            self.is_open = False
        if error is not None:
            await self._cancel()

    async def _wait(self) -> None:
        """Wait for all jobs, including those that tasks of the block submit in the meantime."""
        ended: set[Job] = set()
        while unfinished := [job for job in self if job not in ended]:
            async for job in Completed(unfinished):
                ended.add(job)

    async def _cancel(self) -> None:
        await cancel_shielded(self.backend, list(self._jobs), CANCEL_SECONDS)
