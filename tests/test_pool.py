"""`SessionPool`: a session for each user, opened at first use, closed when idle, limited in number, never mixed up."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import anyio
import anyio.lowlevel
import pytest

import aiomig
from aiomig import JobState
from aiomig.testing import FakeGrid
from tests.virtual import session_on

if TYPE_CHECKING:
    from pathlib import Path


def on_grid(grid: FakeGrid, opened: list[str], key: str) -> aiomig.Session:
    opened.append(key)
    return session_on(grid)


async def closed(mig: aiomig.Session) -> None:
    """Wait until a session is closed: a task that waits in it gets an error."""
    with anyio.fail_after(10), pytest.raises(aiomig.NoSession):
        await anext(mig.events())


async def test_a_session_is_opened_once_and_shared_by_its_users() -> None:
    opened: list[str] = []
    seen: list[aiomig.Session] = []

    async def use(pool: aiomig.SessionPool[str], key: str) -> None:
        async with pool.session(key) as mig:
            assert mig.is_open
            assert aiomig.current_session() is mig
            await anyio.lowlevel.checkpoint()
            seen.append(mig)

    async with FakeGrid() as grid:
        pool = aiomig.SessionPool(partial(on_grid, grid, opened))
        async with pool:
            async with anyio.create_task_group() as group:
                for _ in range(5):
                    group.start_soon(use, pool, "ada")
                    group.start_soon(use, pool, "bob")
            assert len(pool) == 2
        assert sorted(opened) == ["ada", "bob"]
        assert len({id(mig) for mig in seen}) == 2
        assert not any(mig.is_open for mig in seen)
        with pytest.raises(aiomig.NoSession):
            aiomig.current_session()


async def test_an_awaitable_may_make_the_session() -> None:
    async def make(key: str) -> aiomig.Session:
        await anyio.lowlevel.checkpoint()
        return session_on(grid)

    async with FakeGrid() as grid:
        pool = aiomig.SessionPool(make)
        async with pool, pool.session("ada") as mig:
            assert mig.mode == "grid"


async def idle_sessions_are_closed(pool: aiomig.SessionPool[str]) -> None:
    """Wait until the pool has looked for idle sessions. It closes the one that was idle for longest first."""
    async with pool.session("idle") as mig:
        pass
    await closed(mig)


async def test_an_idle_session_is_closed_and_opened_again() -> None:
    opened: list[str] = []
    async with FakeGrid() as grid:
        pool = aiomig.SessionPool(partial(on_grid, grid, opened), idle=0)
        async with pool:
            async with pool.session("ada") as first:
                await idle_sessions_are_closed(pool)
                assert first.is_open, "a session in use is not idle"
            await closed(first)
            assert not first.is_open
            async with pool.session("ada") as second:
                assert second is not first
    assert opened == ["ada", "idle", "ada"]


async def test_a_local_session_with_jobs_is_not_idle(tmp_path: Path) -> None:
    pool: aiomig.SessionPool[str] = aiomig.SessionPool(
        lambda key: aiomig.local(tmp_path / key, on_exit="leave"), idle=0
    )
    async with pool:
        async with pool.session("ada") as mig:
            job = await mig.submit(f"mkfifo {tmp_path}/gate; read line < {tmp_path}/gate")
            await job.wait(until=JobState.EXECUTING)
        await idle_sessions_are_closed(pool)
        assert mig.is_open
        await job.cancel()
        await closed(mig)
        assert not mig.is_open


async def test_the_longest_idle_session_makes_room() -> None:
    opened: list[str] = []
    async with FakeGrid() as grid:
        pool = aiomig.SessionPool(partial(on_grid, grid, opened), limit=2)
        async with pool:
            async with pool.session("ada") as ada:
                pass
            async with pool.session("bob") as bob:
                pass
            async with pool.session("eve"):
                assert (ada.is_open, bob.is_open) == (False, True)
                assert len(pool) == 2


async def test_a_full_pool_lets_the_next_one_wait() -> None:
    order: list[str] = []

    async def use(key: str, leave: anyio.Event) -> None:
        async with pool.session(key):
            order.append(key)
            await leave.wait()

    async with FakeGrid() as grid:
        pool = aiomig.SessionPool(partial(on_grid, grid, []), limit=1)
        async with pool, anyio.create_task_group() as group:
            leave, left = anyio.Event(), anyio.Event()
            left.set()
            group.start_soon(use, "ada", leave)
            await anyio.wait_all_tasks_blocked()
            group.start_soon(use, "bob", left)
            await anyio.wait_all_tasks_blocked()
            assert order == ["ada"]
            leave.set()
    assert order == ["ada", "bob"]


async def test_a_failing_open_is_raised_to_all_who_wait_and_not_cached() -> None:
    failures = ["down"]
    errors: list[str] = []

    async def make(key: str) -> aiomig.Session:
        await anyio.wait_all_tasks_blocked()
        if failures:
            raise aiomig.ConnectionFailed(failures.pop())
        return session_on(grid)

    async def use() -> None:
        try:
            async with pool.session("ada"):
                pass
        except aiomig.ConnectionFailed as error:
            errors.append(str(error))

    async with FakeGrid() as grid:
        pool = aiomig.SessionPool(make)
        async with pool:
            async with anyio.create_task_group() as group:
                for _ in range(3):
                    group.start_soon(use)
            assert errors == ["down"] * 3
            assert len(pool) == 0
            async with pool.session("ada") as mig:
                assert mig.is_open


async def test_a_cancelled_open_leaves_the_session_to_the_next_one() -> None:
    used: list[bool] = []
    entered = anyio.Event()
    held = [True]

    async def make(key: str) -> aiomig.Session:
        entered.set()
        if held.pop():
            held.append(False)
            await anyio.sleep_forever()
        return session_on(grid)

    async def use() -> None:
        async with pool.session("ada") as mig:
            used.append(mig.is_open)

    async with FakeGrid() as grid:
        pool = aiomig.SessionPool(make)
        async with pool, anyio.create_task_group() as group, anyio.create_task_group() as first:
            first.start_soon(use)
            await entered.wait()
            group.start_soon(use)
            await anyio.wait_all_tasks_blocked()
            first.cancel_scope.cancel()
    assert used == [True]


async def test_a_cancelled_pool_closes_and_leaves_jobs_as_on_exit_says(tmp_path: Path) -> None:
    pool: aiomig.SessionPool[str] = aiomig.SessionPool(lambda key: aiomig.local(tmp_path / key, on_exit="leave"))
    with anyio.CancelScope() as scope:
        async with pool:
            async with pool.session("ada") as mig:
                job = await mig.submit(f"mkfifo {tmp_path}/gate; read line < {tmp_path}/gate")
                await job.wait(until=JobState.EXECUTING)
            scope.cancel()
            await anyio.sleep_forever()
    assert not mig.is_open
    async with aiomig.local(tmp_path / "ada") as again:
        left = again.job(job.id)
        assert (await left.status()).state is JobState.EXECUTING
        await left.cancel()


async def test_an_error_in_the_block_comes_out_as_it_is() -> None:
    async with FakeGrid() as grid:
        pool = aiomig.SessionPool(partial(on_grid, grid, []))
        with pytest.raises(LookupError, match="mine"):
            async with pool, pool.session("ada"):
                raise LookupError("mine")


async def test_a_pool_must_be_open() -> None:
    pool: aiomig.SessionPool[str] = aiomig.SessionPool(lambda key: aiomig.local())
    with pytest.raises(aiomig.NoSession, match="not open yet"):
        async with pool.session("ada"):
            pass
    async with pool:
        pass
    with pytest.raises(aiomig.NoSession, match="closed"):
        async with pool.session("ada"):
            pass
    with pytest.raises(aiomig.MigError, match="closed already"):
        async with pool:
            pass


@pytest.mark.parametrize("arguments", [{"idle": -1}, {"idle": True}, {"limit": 0}, {"limit": "many"}])
def test_wrong_arguments_are_refused(arguments: dict[str, object]) -> None:
    with pytest.raises(aiomig.SpecError, match=next(iter(arguments))):
        aiomig.SessionPool(lambda key: aiomig.local(), **arguments)  # type: ignore[arg-type]
