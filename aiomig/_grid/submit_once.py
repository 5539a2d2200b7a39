"""Submits jobs under keys: at most one job per key, whatever happened to earlier submits."""

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
"""The most keys whose records are locked at the same time. Each lock takes a file descriptor."""

_SHOWN = frozenset({"EXECUTE", "JOBNAME"})
"""Keywords that the server shows as they were submitted, and that can be compared with a job of another machine."""


class OnceSubmitter:
    """Submits jobs under keys.

    The marker of a job is derived from its key. So other machines can find the job of a key on the server, and so can
    this machine after a crash.

    Args:
        submitter: sends submits.
        finder: finds jobs by their markers, and reads their descriptions.
        keys: the records of this machine.
        journal: the journal of the session.
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
        """Submit plans that have keys. Return in order, for each plan, the id of its new job or the error.

        The error is `KeyTaken` if the key has a job already. If this is cancelled during a submit, the jobs of the
        submit are canceled, and their keys become free.
        """
        outcomes: list[str | MigError] = []
        try:
            for batch in _batches(plans):
                try:
                    outcomes += await self._submit_batch(batch)
                except MigError as error:  # not raised, so that the caller gets the job ids of earlier batches
                    outcomes += [error for _ in batch]
        except BaseException:
            await self._cancel([outcome for outcome in outcomes if isinstance(outcome, str)])
            raise
        return outcomes

    async def _submit_batch(self, plans: Sequence[Plan]) -> list[str | MigError]:
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
        all_are_new = await self._all_are_new([pair for pair in plans if pair[1].job_id is None])
        for index, (plan, record) in enumerate(plans):
            try:
                await self._ensure_new(plan, record, all_are_new=all_are_new)
                record.begin()
                ready[index] = replace(plan, marker=record.marker)
            except MigError as error:
                outcomes[index] = error
        if ready:
            sent = await self._send(list(ready.values()), [plans[index][1] for index in ready])
            outcomes |= zip(ready, sent, strict=True)
        return [outcomes[index] for index in range(len(plans))]

    async def _all_are_new(self, plans: Sequence[tuple[Plan, LockedRecord]]) -> bool:
        """Return whether one request proves that the server has no job under any of these keys."""
        if any(plan.description.text("PROJECT") for plan, _ in plans):
            return False
        return not await self._finder.of_projects([record.marker for _, record in plans])

    async def _ensure_new(self, plan: Plan, record: LockedRecord, *, all_are_new: bool) -> None:
        """Raise an error unless a key has no job.

        Raises:
            KeyTaken: the key has a job.
            SpecError: the key has a job with a different description.
            KeyPending: an earlier submit under the key got no response, and the server may still create its job.
            GridError: a request failed.
        """
        if record.job_id is not None:
            record.key.ensure_same(record.digests, record.job_id)
            raise KeyTaken(record.job_id)
        if record.sent_at is not None:
            if job_id := await self._find_lost(plan, record):
                digests = record.digests
                record.made(job_id)
                self._journal.settle([record.marker])
                record.key.ensure_same(digests, job_id)
                raise KeyTaken(job_id)
        elif not all_are_new and (job_ids := await self._find(plan, record)):
            # Submitted on another machine, so there is no record to compare with.
            shown = digests_of((await self._finder.plan_of(job_ids[0])).description.keywords)
            others = {part: digest for part, digest in record.key.digests.items() if part not in _SHOWN}
            record.key.ensure_same({**others, **{part: shown[part] for part in _SHOWN & shown.keys()}}, job_ids[0])
            raise KeyTaken(job_ids[0])

    async def _find(self, plan: Plan, record: LockedRecord) -> list[str]:
        return await self._finder.find_marked(record.marker, plan.description.text("PROJECT"))

    async def _find_lost(self, plan: Plan, record: LockedRecord) -> str | None:
        """Return the job of a submit that got no response; ``None`` if the server will not create it any more."""
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
    """Yield the plans in order, in batches without repeated keys."""
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
