"""Runs the jobs of the server as local mode does: as processes on this machine, a few at a time."""

from __future__ import annotations

import os
import time
from collections import deque
from contextlib import suppress
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING

import anyio
import anyio.lowlevel

from .._backend import KINDS
from .._core.errors import MigError
from .._home.disk import read_small
from .._local.attempt import Attempt, Machine
from .._local.live import LiveFiles
from .._local.queues import LocalQueues
from .._local.settings import LocalSettings, base_environment
from .._shell.process import has_pidfd
from .._spec.plan import Plan

if TYPE_CHECKING:
    from collections.abc import Callable

    from anyio.abc import TaskGroup

    from .._local.attempt import End
    from ._jobs import Job, Jobs


_REQUESTS_SECONDS = 0.1
"""Seconds between two checks for requests of a running job."""


class Runner:
    """The one resource of the fake grid.

    Args:
        tasks: the task group that runs the attempts.
        jobs: the jobs of the server.
        update_clock: makes the server read the clock.
        home: returns the folder of a user's home.
        slots: how many jobs run at once.
    """

    def __init__(
        self,
        tasks: TaskGroup,
        jobs: Jobs,
        update_clock: Callable[[], object],
        home: Callable[[str], Path],
        slots: int,
    ) -> None:
        self._tasks = tasks
        self._jobs = jobs
        self._update_clock = update_clock
        self._home = home
        self._free = slots
        self._waiting: deque[Job] = deque()
        self._running: dict[str, anyio.CancelScope] = {}
        self._attempts: dict[str, Attempt] = {}
        self._machines: dict[str, Machine] = {}
        self._null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
        self._starts = count(1)

    def close(self) -> None:
        """Close the null device, after the tasks have ended."""
        os.close(self._null)

    def add(self, job: Job) -> None:
        """Have the server queue a new job when it has parsed it."""
        self._tasks.start_soon(self._queue_when_parsed, name=f"aiomig.testing {job.id}")

    async def _queue_when_parsed(self) -> None:
        await anyio.sleep(self._jobs.site.parse_time)
        self._update_clock()

    def job_changed(self, job: Job) -> None:
        """React to a new state of a job."""
        if job.state == "QUEUED":
            if job.description.number("NODECOUNT") <= self._jobs.site.nodes:
                self._waiting.append(job)
                self._start_waiting()
        elif job.state == "CANCELED" and job.id in self._running:
            self._running[job.id].cancel()

    def read_live(self, job: Job, name: str) -> bytes:
        """Return what a running job has written so far."""
        attempt = self._attempts.get(job.id)
        try:
            return read_small(attempt.stream(name)) if attempt is not None else b""
        except OSError:
            return b""

    def copy_live_files(self, job: Job, action: str, sources: list[str], folder: str) -> None:
        """Copy files between a running job and the home. Ignore missing files, as a resource does."""
        attempt = self._attempts.get(job.id)
        if attempt is None:
            return
        live = self._live_files(job.user)
        act = live.send if action == "send" else live.get

        async def work() -> None:
            with suppress(OSError, MigError):
                await act(attempt.directory, sources, folder)

        self._tasks.start_soon(work, name=f"aiomig.testing live {job.id}")

    def _live_files(self, user: str) -> LiveFiles:
        settings = self._machine(user).settings
        return LiveFiles(settings.home, LocalQueues(settings.home, settings.folder, anyio.lowlevel.checkpoint))

    async def _answer_requests(self, job: Job, attempt: Attempt) -> None:
        """Answer the requests of a running job for files and messages."""
        live = self._live_files(job.user)
        while True:
            await anyio.sleep(_REQUESTS_SECONDS)
            await live.answer(attempt.directory, attempt.local_name)

    def _start_waiting(self) -> None:
        while self._free > 0 and self._waiting:
            job = self._waiting.popleft()
            if job.state != "QUEUED" or job.id in self._running:
                continue
            self._free -= 1
            self._running[job.id] = anyio.CancelScope()
            self._jobs.execute(job)
            self._tasks.start_soon(self._attempt, job, name=f"aiomig.testing run {job.id}")

    async def _attempt(self, job: Job) -> None:
        attempt = self._attempts[job.id] = self._new_attempt(job)
        end: End | None = None
        try:
            with self._running[job.id]:
                async with anyio.create_task_group() as group:
                    group.start_soon(self._answer_requests, job, attempt)
                    end = await attempt.run(lambda: None)
                    group.cancel_scope.cancel()
        finally:
            with anyio.CancelScope(shield=True):
                if end is None:
                    await attempt.kill()
                await attempt.clean()
            del self._running[job.id], self._attempts[job.id]
            self._free += 1
        self._update_clock()
        if end is not None and job.state == "EXECUTING":
            self._record_end(job, end)
        self._start_waiting()

    def _record_end(self, job: Job, end: End) -> None:
        if end.verified is None:
            self._jobs.fail(job, end.reason, again=self._jobs.attempts_left(job))
            return
        if self._jobs.site.empty_results:
            folder = self._home(job.user) / "job_output" / job.id
            for kind in KINDS:
                (folder / f"{job.id}.{kind}").write_bytes(b"")
        job.verified = end.verified
        self._jobs.set(job, "FINISHED")

    def _machine(self, user: str) -> Machine:
        if user not in self._machines:
            settings = LocalSettings(
                home=self._home(user),
                runtime_environments={
                    name.upper(): values for name, values in self._jobs.site.runtime_environments.items()
                },
            )
            for folder in (settings.folder, settings.runs, settings.kept):
                Path(folder).mkdir(mode=0o700, parents=True, exist_ok=True)
            self._machines[user] = Machine(settings, base_environment(settings), self._null, has_pidfd())
        return self._machines[user]

    def _new_attempt(self, job: Job) -> Attempt:
        stamp = time.strftime("%d%m%y-%H%M%S", time.gmtime(job.times["executing"]))
        local_name = f"{stamp}.{os.getpid()}{next(self._starts):05d}"
        return Attempt(self._machine(job.user), job.id, local_name, Plan(job.description))
