"""Composes the parts that run the jobs of one session, and opens and closes them together."""

from __future__ import annotations

import os
import time
from contextlib import ExitStack, suppress
from functools import partial
from typing import TYPE_CHECKING, Literal, TypeVar

import anyio
import anyio.lowlevel

from .._core.errors import ConfigError
from .._core.tasks import HeldInterrupts, run_shielded
from .._shell.process import has_pidfd
from .actions import Actions
from .attempt import Machine
from .database import retry_while_locked
from .home import make_home_folder, make_own_folder
from .runner import AttemptRunner
from .scheduler import Scheduler
from .settings import base_environment, default_home
from .store import Store
from .takeover import Takeover

if TYPE_CHECKING:
    from collections.abc import Callable

    from .._core.subscriptions import Subscriptions
    from .._core.tasks import SessionTasks
    from .settings import LocalSettings

T = TypeVar("T")


class Engine:
    """The parts of one session on a home.

    Args:
        settings: of the session.
        subscriptions: the watched jobs.
        tasks: the task group of the session. The engine opens and closes it.
        interval: seconds between two checks for changes that other processes made in the home.
    """

    machine: Machine
    store: Store
    runner: AttemptRunner
    scheduler: Scheduler
    actions: Actions
    takeover: Takeover

    def __init__(
        self, settings: LocalSettings, subscriptions: Subscriptions, tasks: SessionTasks, interval: float
    ) -> None:
        self._settings = settings
        self._subscriptions = subscriptions
        self._tasks = tasks
        self._interval = interval
        self._has_tasks = False
        self._resources = ExitStack()
        self.is_closed = False

    async def open(self) -> None:
        """Create the home if needed, open its records, and start running jobs.

        Raises:
            LocalError: the home cannot be used.
        """
        home = self._settings.home
        with suppress(ConfigError):  # without a home directory, this is not the default home
            if home == default_home():
                make_home_folder(home.parent)
        make_home_folder(home)
        for folder in (self._settings.folder, self._settings.runs, self._settings.kept):
            make_own_folder(folder)
        try:
            await self._open()
        except BaseException:
            with HeldInterrupts():
                await self._close("leave")
            if self._has_tasks and self.runner.interrupt is not None:
                raise self.runner.interrupt from None
            raise

    async def _open(self) -> None:
        self.store = await self.unlocked(lambda: Store(self._settings.folder))
        self._resources.callback(self.store.close)
        await self.unlocked(lambda: self.store.begin_session(time.time()))
        null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
        self._resources.callback(os.close, null)
        self._compose(Machine(self._settings, base_environment(self._settings), null, has_pidfd()))
        with HeldInterrupts():
            await self._tasks.open()
            self._has_tasks = True
        await self.unlocked(self.takeover.open)

    def _compose(self, machine: Machine) -> None:
        self.machine = machine
        self.runner = AttemptRunner(self._settings, self._tasks)
        self.scheduler = Scheduler(machine, self.store, self._subscriptions, self.runner)
        self.actions = Actions(machine, self.store, self.scheduler, self.runner)
        self.takeover = Takeover(
            *(machine, self.store, self._subscriptions, self._tasks, self.scheduler, self.runner),
            interval=self._interval,
        )

    async def close(self, error: BaseException | None) -> None:
        """End as `on_exit` says, or by cancelling if an error leaves the session's block."""
        how: Literal["cancel", "leave"] = "leave"
        failure: BaseException | None = None
        try:
            if error is not None or self._settings.on_exit == "cancel":
                how = "cancel"
            elif self._settings.on_exit == "wait":
                await self.scheduler.drained()
            else:
                await self._have_begun()
        except BaseException as cancelled:  # noqa: BLE001 - raised again below, once the jobs are dealt with
            how, failure = "cancel", cancelled
        with HeldInterrupts():
            try:
                await anyio.lowlevel.cancel_shielded_checkpoint()  # here trio raises an interrupt that is pending
            except BaseException as interrupt:  # noqa: BLE001 - also a second Task.cancel; raised again below
                how, failure = "cancel", interrupt
            await self._close(how)
        if failure := self.runner.interrupt or failure:
            raise failure from None

    async def _close(self, how: Literal["cancel", "leave"]) -> None:
        """Close what is open. Cancellation is delayed for no longer than a kill takes."""
        try:
            if self._has_tasks:
                self._tasks.shield()
                await self._close_tasks(how)
        finally:
            self.is_closed = True
            self._resources.close()

    async def _close_tasks(self, how: Literal["cancel", "leave"]) -> None:
        try:
            with anyio.CancelScope(shield=True):
                await run_shielded(partial(self.actions.leave, how))
        finally:
            self.takeover.close()
            self._tasks.cancel()
            try:
                await self._tasks.close()
            finally:
                with anyio.CancelScope(shield=True):
                    await run_shielded(self.scheduler.finish)

    async def _have_begun(self) -> None:
        """Wait until the script of every attempt has begun: only then can it run on without the session."""
        while self.scheduler.is_open and self.runner.has_beginners():  # noqa: ASYNC110 - the jobs' shells write that
            await anyio.sleep(0.01)

    async def unlocked(self, call: Callable[[], T]) -> T:
        """Return what a function of the store returns, once no other process holds the lock of the database."""
        return await retry_while_locked(call, self._settings.lock_timeout)
