"""Submits jobs under keys: once for each key, whatever happened to earlier submits under it."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING

import anyio

from .._backend import KeyPending, KeyTaken
from .._core.errors import MigError, SubmitUnknown
from .._spec.submit_key import digests_of

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator, Sequence

    from .._spec.plan import Plan
    from .config import RequestLimits
    from .job_finder import JobFinder
    from .submit import Submitter
    from .submit_journal import SubmitJournal
    from .submit_keys import LockedRecord, SubmitKeys

_AT_ONCE = 50
"""Number of keys whose records are locked at the same time: each takes a descriptor."""


_SHOWN = frozenset({"EXECUTE", "JOBNAME"})
"""What is compared of a job that was submitted on another machine."""


class OnceSubmitter:
    """Submits jobs under keys.

    The marker of a job follows from its key, so the server shows the job of a key also to other machines, and after
    a crash of this one.

    Args:
        submitter: sends submits.
        finder: finds jobs, by their markers, and reads what they were submitted with.
        keys: the records of this machine.
        journal: of the session.
        limits: how long to look for a job whose submit got no response.
        cancel: cancels jobs, shielded from cancellation.
        made: called with plans and their outcomes.
    """

    def __init__(
        self,
        submitter: Submitter,
        finder: JobFinder,
        keys: SubmitKeys,
        journal: SubmitJournal,
        limits: RequestLimits,
        cancel: Callable[[Sequence[str]], Awaitable[object]],
        made: Callable[[Sequence[Plan], Sequence[str | MigError]], object],
    ) -> None:
        self._submitter = submitter
        self._finder = finder
        self._keys = keys
        self._journal = journal
        self._limits = limits
        self._cancel = cancel
        self._made = made

    async def submit(self, plans: Sequence[Plan]) -> list[str | MigError]:
        """Submit plans that have keys. Return for each in order the id of the new job, or `KeyTaken`, or the error.

        If this is cancelled while a submit is sent, its jobs are canceled, and their keys are free.
        """
        outcomes: list[str | MigError] = []
        try:
            for some in _batches(plans):
                try:
                    outcomes += await self._submit_some(some)
                except MigError as error:  # the caller must get the ids of the jobs of earlier batches
                    outcomes += [error for _ in some]
        except BaseException:
            await self._cancel([outcome for outcome in outcomes if isinstance(outcome, str)])
            raise
        return outcomes

    async def _submit_some(self, plans: Sequence[Plan]) -> list[str | MigError]:
        records: dict[str, LockedRecord] = {}
        try:
            for key in sorted((plan.key for plan in plans if plan.key is not None), key=lambda key: key.marker):
                records[key.marker] = await self._keys.lock(key)
            return await self._submit_locked(
                [(plan, records[plan.key.marker]) for plan in plans if plan.key is not None]
            )
        finally:
            for record in records.values():
                record.close()

    async def _submit_locked(self, plans: Sequence[tuple[Plan, LockedRecord]]) -> list[str | MigError]:
        outcomes: dict[int, str | MigError] = {}
        ready: dict[int, Plan] = {}
        is_none_there = await self._is_none_there([each for each in plans if each[1].job_id is None])
        for index, (plan, record) in enumerate(plans):
            try:
                await self._ensure_new(plan, record, is_none_there=is_none_there)
                record.begin()
                ready[index] = replace(plan, marker=record.marker)
            except MigError as error:
                outcomes[index] = error
        if ready:
            sent = await self._send(list(ready.values()), [plans[index][1] for index in ready])
            outcomes |= zip(ready, sent, strict=True)
        return [outcomes[index] for index in range(len(plans))]

    async def _is_none_there(self, plans: Sequence[tuple[Plan, LockedRecord]]) -> bool:
        """Return whether the server shows no job under any of some keys, as it does for new ones."""
        if any(plan.description.text("PROJECT") for plan, _ in plans):
            return False
        return not await self._finder.of_projects([record.marker for _, record in plans])

    async def _ensure_new(self, plan: Plan, record: LockedRecord, *, is_none_there: bool) -> None:
        """Return if a key has no job.

        Raises:
            KeyTaken: it has.
            SpecError: it has, and that has another description.
            KeyPending: an earlier submit under the key got no response, and the server may still make its job.
            GridError: the server could not be asked.
        """
        if record.job_id is not None:
            record.key.ensure_same(record.digests, record.job_id)
            raise KeyTaken(record.job_id)
        if record.sent_at is not None:
            if found := await self._lost(plan, record):
                digests = record.digests
                record.made(found)
                self._journal.settle([record.marker])
                record.key.ensure_same(digests, found)
                raise KeyTaken(found)
        elif not is_none_there and (job_ids := await self._find(plan, record)):
            # Submitted on another machine: the server shows the commands and the name as they were given.
            shown = digests_of((await self._finder.plan_of(job_ids[0])).description.keywords)
            others = {part: digest for part, digest in record.key.digests.items() if part not in _SHOWN}
            record.key.ensure_same({**others, **{part: shown[part] for part in _SHOWN & shown.keys()}}, job_ids[0])
            raise KeyTaken(job_ids[0])

    async def _find(self, plan: Plan, record: LockedRecord) -> list[str]:
        return await self._finder.find_marked(record.marker, plan.description.text("PROJECT"))

    async def _lost(self, plan: Plan, record: LockedRecord) -> str | None:
        """Return the job of a submit that got no response; ``None`` if the server will make none any more."""
        sent_at = record.sent_at or 0.0
        for pause in (0.0, *self._limits.lookups):
            await anyio.sleep(pause)
            age = time.time() - sent_at
            if job_ids := await self._find(plan, record):
                return job_ids[0]
            if age > self._limits.resubmit_after:
                return None
        left = self._limits.resubmit_after - (time.time() - sent_at)
        reason = (
            f"an earlier submit under the key {record.key.text!r} was cut off; it can be sent again in {left:.0f} s"
        )
        raise KeyPending(record.marker, reason)

    async def _send(self, plans: Sequence[Plan], records: Sequence[LockedRecord]) -> list[str | MigError]:
        outcomes: list[str | MigError]
        try:
            if len(plans) == 1:
                outcomes = [await self._submitter.submit_one(plans[0])]
            else:
                outcomes = await self._submitter.submit_many(plans)
        except MigError as error:
            outcomes = [error for _ in plans]
        except BaseException:
            for record in records:
                record.free(canceled=True)
            raise
        for record, outcome in zip(records, outcomes, strict=True):
            if isinstance(outcome, str):
                record.made(outcome)
            elif not isinstance(outcome, SubmitUnknown):
                record.free()
        self._made(plans, outcomes)
        ends = zip(plans, outcomes, strict=True)
        self._journal.settle(plan.marker for plan, outcome in ends if isinstance(outcome, str))
        return outcomes


def _batches(plans: Sequence[Plan]) -> Iterator[list[Plan]]:
    """Yield plans in order, in batches in which no key comes twice."""
    batch: list[Plan] = []
    markers: set[str] = set()
    for plan in plans:
        marker = plan.key.marker if plan.key is not None else ""
        if marker in markers or len(batch) == _AT_ONCE:
            yield batch
            batch, markers = [], set()
        batch.append(plan)
        markers.add(marker)
    if batch:
        yield batch
