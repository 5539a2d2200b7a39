"""Cancels, freezes and thaws the jobs of a home, and ends or leaves those of a closing session."""

from __future__ import annotations

import time
from contextlib import suppress
from typing import TYPE_CHECKING, Literal

from .._core.errors import LocalError
from .._core.models import TRANSITIONS, JobState, Outcome
from .control_file import Control
from .database import retry_while_locked
from .records import DamagedRecord

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .._backend import Action
    from .attempt import Machine
    from .records import Record
    from .runner import AttemptRunner
    from .scheduler import Scheduler
    from .store import Store


class Actions:
    """Acts on jobs for one session, also on jobs that other sessions run.

    Args:
        machine: what the attempts of the session share.
        store: the records of the home.
        scheduler: the queue of the session.
        runner: runs the attempts of the session.
    """

    def __init__(self, machine: Machine, store: Store, scheduler: Scheduler, runner: AttemptRunner) -> None:
        self._machine = machine
        self._store = store
        self._scheduler = scheduler
        self._runner = runner

    def act(self, action: Action, job_ids: Sequence[str]) -> dict[str, Outcome]:
        """Cancel, freeze or thaw jobs."""
        self._scheduler.raise_if_stopped()
        outcomes: dict[str, Outcome] = {}
        changed: list[Record] = []
        with self._store.transaction():
            for job_id in job_ids:
                before = self._store.find(job_id)
                after = None
                if before is not None:
                    after = self._store.change(before.number, *TRANSITIONS[action], time.time())
                    changed += [after] if after is not None else []
                outcomes[job_id] = _outcome(job_id, action, before, after)
            if action == "thaw":
                for record in changed:
                    self._assign(record)
        for record in changed:
            self._apply(action, record)
        self._scheduler.publish(changed)
        self._scheduler.advance()
        return outcomes

    def _assign(self, record: Record) -> None:
        """Assign a thawed job to the session that will run it."""
        if record.owner is None or not self._store.is_alive(record.owner):
            self._store.take(record.number)
            self._scheduler.adopted.add(record.number)
        elif record.owner != self._store.session:
            self._store.signal(record.owner, record.number)

    def _apply(self, action: Action, record: Record) -> None:
        """Apply a recorded action to the jobs of this session."""
        number, is_own = record.number, record.owner == self._store.session
        if action == "freeze" and is_own:
            self._scheduler.hold(number)
        elif action == "thaw" and (is_own or number in self._scheduler.adopted):
            self._scheduler.enqueue_record(record)
        elif action == "cancel":
            self._scheduler.drop(number)
            if number in self._runner.runs:
                self._runner.runs[number].stop("kill")
            elif record.executing is not None:
                with suppress(DamagedRecord):
                    runs = self._machine.settings.runs
                    Control(runs, record.attempt_name, pidfd=self._machine.pidfd).kill_elsewhere()

    async def leave(self, how: Literal["cancel", "leave"]) -> None:
        """Cancel the jobs that this session submitted, or let them run on. Adopted jobs always run on.

        The tasks of the attempts end soon after this.
        """
        self._scheduler.close()
        if how == "cancel" and self._scheduler.error is None:
            try:
                await retry_while_locked(self._cancel_all, self._machine.settings.lock_timeout)
            except LocalError as error:
                self._scheduler.stop(error)
        self._runner.leave_all()

    def _cancel_all(self) -> None:
        adopted = self._scheduler.adopted
        runs = {number: run for number, run in self._runner.runs.items() if number not in adopted}
        now = time.time()
        records: list[Record] = []
        with self._store.transaction():
            for number in self._scheduler.unfinished - adopted:
                states = TRANSITIONS["cancel"].sources if number in runs else (JobState.QUEUED, JobState.FROZEN)
                record = self._store.change(number, states, JobState.CANCELED, now)
                records += [record] if record is not None else []
        for run in runs.values():
            run.stop("kill")
        self._scheduler.publish(records)


def _outcome(job_id: str, action: Action, before: Record | None, after: Record | None) -> Outcome:
    if before is None:
        return Outcome.unknown(job_id)
    if after is None:
        states = " or ".join(TRANSITIONS[action].sources)
        return Outcome(job_id, before.state, None, f"You can only {action} jobs with status: {states}.")
    return Outcome(job_id, before.state, after.state)
