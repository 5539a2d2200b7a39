"""The board: who is told what, once, in order, and without a trace of those who went."""

from __future__ import annotations

import gc
from datetime import UTC, datetime

import anyio
import pytest

from aiomig import JobState, JobStatus
from aiomig._core.subscriptions import Board

QUEUED, EXECUTING, FINISHED = JobState.QUEUED, JobState.EXECUTING, JobState.FINISHED


def status(job_id: str, state: JobState, second: int = 0) -> JobStatus:
    return JobStatus(job_id, state, state.value, queued_at=datetime(2026, 1, 1, 0, 0, second, tzinfo=UTC))


def test_each_change_is_told_once() -> None:
    board = Board()
    watcher = board.watch(["a"])
    told = []
    for state in (QUEUED, QUEUED, EXECUTING, EXECUTING, FINISHED):
        board.publish(status("a", state))
        if (each := watcher.ready()) is not None:
            told.append(each.state)
    assert told == [QUEUED, EXECUTING, FINISHED]
    assert watcher.ready() is None


def test_the_same_state_at_another_time_is_a_change() -> None:
    board = Board()
    watcher = board.watch(["a"])
    for second in (1, 2):
        board.publish(status("a", QUEUED, second))
        assert watcher.ready() == status("a", QUEUED, second)


def test_a_slow_watcher_gets_the_latest() -> None:
    board = Board()
    watcher = board.watch(["a", "b"])
    for state in (QUEUED, EXECUTING, FINISHED):
        board.publish(status("a", state))
        board.publish(status("b", state))
    assert [watcher.ready(), watcher.ready(), watcher.ready()] == [status("a", FINISHED), status("b", FINISHED), None]


def test_there_and_back_before_anyone_looked_is_no_change() -> None:
    board = Board()
    watcher = board.watch(["a"])
    board.publish(status("a", QUEUED))
    assert watcher.ready() is not None
    board.publish(status("a", EXECUTING))
    board.publish(status("a", QUEUED))
    assert watcher.ready() is None


def test_an_older_answer_does_not_take_the_place_of_a_change() -> None:
    board = Board()
    watcher = board.watch(["a"])
    board.publish(status("a", FINISHED))
    watcher.offer_first(status("a", EXECUTING))
    assert watcher.ready() == status("a", FINISHED)
    watcher = board.watch(["a"])
    board.publish(status("a", EXECUTING))
    assert watcher.ready() is not None
    watcher.offer_first(status("a", QUEUED))
    assert watcher.ready() is None


def test_a_job_that_ended_is_off_the_board() -> None:
    board = Board()
    watcher = board.watch(["a", "b"])
    board.publish(status("a", FINISHED))
    assert watcher.ready() is not None
    assert list(board) == ["b"]
    assert watcher.ids_view == {"b"}
    board.publish(status("a", FINISHED))
    assert watcher.ready() is None


def test_a_watcher_that_is_dropped_leaves_nothing() -> None:
    board = Board()
    watcher = board.watch(["a", "b"])
    assert len(board) == 2
    del watcher
    gc.collect()
    assert "a" not in board
    assert len(board) == 0
    board.publish(status("a", QUEUED))


def test_a_watcher_that_is_closed_leaves_nothing_and_the_others_alone() -> None:
    board = Board()
    first, second = board.watch(["a"]), board.watch(["a", "b"])
    second.close()
    second.close()
    assert list(board) == ["a"]
    board.publish(status("a", QUEUED))
    assert first.ready() == status("a", QUEUED)
    assert second.ready() is None


def test_the_mode_hears_of_each_job() -> None:
    heard: list[str] = []
    board = Board(heard.extend)
    watcher = board.watch(["a", "b", "a"])
    watcher.follow("c")
    watcher.follow("c")
    assert heard == ["a", "b", "c"]


async def test_next_waits_and_hundred_watchers_of_one_job_are_told() -> None:
    board = Board()
    watchers = [board.watch(["a"]) for _ in range(100)]
    told: list[JobStatus | None] = []

    async def wait(index: int) -> None:
        told.append(await watchers[index].next())

    async with anyio.create_task_group() as tasks:
        for index in range(100):
            tasks.start_soon(wait, index)
        await anyio.wait_all_tasks_blocked()
        assert told == []
        board.publish(status("a", EXECUTING))
    assert told == [status("a", EXECUTING)] * 100


async def test_a_cancelled_next_loses_nothing() -> None:
    board = Board()
    watcher = board.watch(["a"])
    with anyio.CancelScope() as scope:
        scope.cancel()
        await watcher.next()
    told: list[JobStatus | None] = []

    async def wait() -> None:
        told.append(await watcher.next())

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(wait)
        await anyio.wait_all_tasks_blocked()
        board.publish(status("a", EXECUTING))
        tasks.cancel_scope.cancel()  # it is woken and cancelled at once: which of the two wins is open
    told.append(watcher.ready())
    assert [each for each in told if each is not None] == [status("a", EXECUTING)]


async def test_an_error_is_told_to_all_who_wait_once() -> None:
    board = Board()
    first, second = board.watch(["a"]), board.watch(["a", "b"])
    board.fail(ZeroDivisionError())
    for watcher in (first, second):
        with pytest.raises(ZeroDivisionError):
            await watcher.next()
    board.publish(status("a", QUEUED))
    assert await first.next() == status("a", QUEUED)


async def test_what_happened_before_an_error_is_told_before_it() -> None:
    board = Board()
    watcher = board.watch(["a", "b"])
    board.publish(status("a", FINISHED))
    board.fail(ZeroDivisionError())
    assert await watcher.next() == status("a", FINISHED)
    with pytest.raises(ZeroDivisionError):
        await watcher.next()


async def test_a_watcher_without_jobs_is_at_its_end() -> None:
    with pytest.raises(StopAsyncIteration):
        await Board().watch().next()
