"""Publish/subscribe: each change reaches each subscriber once, in order, and ended subscriptions leave no trace."""

from __future__ import annotations

import gc
from datetime import UTC, datetime

import anyio
import pytest

from aiomig import JobState, JobStatus
from aiomig._core.subscriptions import Subscriptions

QUEUED, EXECUTING, FINISHED = JobState.QUEUED, JobState.EXECUTING, JobState.FINISHED


def status(job_id: str, state: JobState, second: int = 0) -> JobStatus:
    return JobStatus(job_id, state, state.value, queued_at=datetime(2026, 1, 1, 0, 0, second, tzinfo=UTC))


def test_each_change_is_told_once() -> None:
    subscriptions = Subscriptions()
    subscription = subscriptions.subscribe(["a"])
    told = []
    for state in (QUEUED, QUEUED, EXECUTING, EXECUTING, FINISHED):
        subscriptions.publish(status("a", state))
        if (each := subscription.ready()) is not None:
            told.append(each.state)
    assert told == [QUEUED, EXECUTING, FINISHED]
    assert subscription.ready() is None


def test_the_same_state_at_another_time_is_a_change() -> None:
    subscriptions = Subscriptions()
    subscription = subscriptions.subscribe(["a"])
    for second in (1, 2):
        subscriptions.publish(status("a", QUEUED, second))
        assert subscription.ready() == status("a", QUEUED, second)


def test_a_slow_subscription_gets_the_latest() -> None:
    subscriptions = Subscriptions()
    subscription = subscriptions.subscribe(["a", "b"])
    for state in (QUEUED, EXECUTING, FINISHED):
        subscriptions.publish(status("a", state))
        subscriptions.publish(status("b", state))
    assert [subscription.ready(), subscription.ready(), subscription.ready()] == [
        status("a", FINISHED),
        status("b", FINISHED),
        None,
    ]


def test_there_and_back_before_anyone_looked_is_no_change() -> None:
    subscriptions = Subscriptions()
    subscription = subscriptions.subscribe(["a"])
    subscriptions.publish(status("a", QUEUED))
    assert subscription.ready() is not None
    subscriptions.publish(status("a", EXECUTING))
    subscriptions.publish(status("a", QUEUED))
    assert subscription.ready() is None


def test_an_older_answer_does_not_take_the_place_of_a_change() -> None:
    subscriptions = Subscriptions()
    subscription = subscriptions.subscribe(["a"])
    subscriptions.publish(status("a", FINISHED))
    subscription.offer_first(status("a", EXECUTING))
    assert subscription.ready() == status("a", FINISHED)
    subscription = subscriptions.subscribe(["a"])
    subscriptions.publish(status("a", EXECUTING))
    assert subscription.ready() is not None
    subscription.offer_first(status("a", QUEUED))
    assert subscription.ready() is None


def test_a_job_that_ended_is_off_the_board() -> None:
    subscriptions = Subscriptions()
    subscription = subscriptions.subscribe(["a", "b"])
    subscriptions.publish(status("a", FINISHED))
    assert subscription.ready() is not None
    assert list(subscriptions) == ["b"]
    assert subscription.job_ids == ["b"]
    subscriptions.publish(status("a", FINISHED))
    assert subscription.ready() is None


def test_a_subscription_that_is_dropped_leaves_nothing() -> None:
    subscriptions = Subscriptions()
    subscription = subscriptions.subscribe(["a", "b"])
    assert len(subscriptions) == 2
    del subscription
    gc.collect()
    assert "a" not in subscriptions
    assert len(subscriptions) == 0
    subscriptions.publish(status("a", QUEUED))


def test_a_subscription_that_is_closed_leaves_nothing_and_the_others_alone() -> None:
    subscriptions = Subscriptions()
    first, second = subscriptions.subscribe(["a"]), subscriptions.subscribe(["a", "b"])
    second.close()
    second.close()
    assert list(subscriptions) == ["a"]
    subscriptions.publish(status("a", QUEUED))
    assert first.ready() == status("a", QUEUED)
    assert second.ready() is None


def test_the_mode_hears_of_each_job() -> None:
    heard: list[str] = []
    subscriptions = Subscriptions(heard.extend)
    subscription = subscriptions.subscribe(["a", "b", "a"])
    subscription.add("c")
    subscription.add("c")
    assert heard == ["a", "b", "c"]


async def test_next_waits_and_hundred_subscriptions_of_one_job_are_told() -> None:
    subscriptions = Subscriptions()
    subscribed = [subscriptions.subscribe(["a"]) for _ in range(100)]
    told: list[JobStatus | None] = []

    async def wait(index: int) -> None:
        told.append(await subscribed[index].next())

    async with anyio.create_task_group() as tasks:
        for index in range(100):
            tasks.start_soon(wait, index)
        await anyio.wait_all_tasks_blocked()
        assert told == []
        subscriptions.publish(status("a", EXECUTING))
    assert told == [status("a", EXECUTING)] * 100


async def test_a_cancelled_next_loses_nothing() -> None:
    subscriptions = Subscriptions()
    subscription = subscriptions.subscribe(["a"])
    with anyio.CancelScope() as scope:
        scope.cancel()
        await subscription.next()
    told: list[JobStatus | None] = []

    async def wait() -> None:
        told.append(await subscription.next())

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(wait)
        await anyio.wait_all_tasks_blocked()
        subscriptions.publish(status("a", EXECUTING))
        tasks.cancel_scope.cancel()  # it is woken and cancelled at the same time, so either may win
    told.append(subscription.ready())
    assert [each for each in told if each is not None] == [status("a", EXECUTING)]


async def test_an_error_is_told_to_all_who_wait_once() -> None:
    subscriptions = Subscriptions()
    first, second = subscriptions.subscribe(["a"]), subscriptions.subscribe(["a", "b"])
    subscriptions.fail(ZeroDivisionError())
    for subscription in (first, second):
        with pytest.raises(ZeroDivisionError):
            await subscription.next()
    subscriptions.publish(status("a", QUEUED))
    assert await first.next() == status("a", QUEUED)


async def test_what_happened_before_an_error_is_told_before_it() -> None:
    subscriptions = Subscriptions()
    subscription = subscriptions.subscribe(["a", "b"])
    subscriptions.publish(status("a", FINISHED))
    subscriptions.fail(ZeroDivisionError())
    assert await subscription.next() == status("a", FINISHED)
    with pytest.raises(ZeroDivisionError):
        await subscription.next()


async def test_a_subscription_without_jobs_is_at_its_end() -> None:
    with pytest.raises(StopAsyncIteration):
        await Subscriptions().subscribe().next()
