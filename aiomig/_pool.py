"""`SessionPool`: a session for each user of a service."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Hashable
from contextlib import ExitStack, suppress
from typing import TYPE_CHECKING, Generic, Self, TypeVar

import anyio

from ._core.errors import MigError, NoSession, SpecError
from ._core.models import Fault
from ._core.tasks import BackgroundContext, SessionTasks, interrupt_only_waits, run_all, run_shielded
from ._core.validation import is_count, is_number
from ._session import Session, entered

if TYPE_CHECKING:
    from types import TracebackType

K = TypeVar("K", bound=Hashable)

_CLOSE_SECONDS = 5.0
"""How long sessions may take to close after the block of the pool was cancelled; then they are cancelled, too."""


class _Entry:
    """The session of one key: being opened, open, or being closed.

    Attributes:
        users: how many blocks use it or wait for it.
        since: when the last of them ended.
        settled: set when it is open or not any more.
        closing: whether it is being closed, so that nobody may use it.
    """

    def __init__(self) -> None:
        self.context: BackgroundContext[Session] | None = None
        self.session: Session | None = None
        self.error: Exception | None = None
        self.users: int = 0
        self.since: float = 0.0
        self.settled: anyio.Event = anyio.Event()
        self.closing: bool = False

    @property
    def is_free(self) -> bool:
        """Whether it may be closed. A local session with unfinished jobs runs them."""
        session = self.session
        if self.users or self.closing or session is None:
            return False
        try:
            return session.mode == "grid" or not session.has_own_jobs
        except MigError:
            return True  # it cannot go on


class SessionPool(Generic[K]):
    """Sessions by key: one for each user or certificate, opened at first use and closed when idle.

    A key has one session at a time, and no session has two keys. Any task may use the pool, and leave it in any order.

    Example::

        pool = aiomig.SessionPool(lambda user: aiomig.grid(f"/etc/service/{user}.conf"), idle=300)
        async with pool, pool.session("ada") as mig:
            print(await mig.jobs(newest=10))

    Leaving the block of the pool closes all sessions, as each of them closes at its normal end. If it is left by a
    cancellation, those that have not closed within some seconds are cancelled.

    Args:
        open: called with a key; returns a new session that is not open, or an awaitable of one.
        idle: the seconds after which a session is closed that nobody uses. A local session that has unfinished jobs
            stays open, because it runs them.
        limit: the most sessions that are open at once. If all are in use, the next one waits; else the session goes
            that was idle for longest.

    Raises:
        SpecError: an argument is wrong.
    """

    def __init__(
        self, open: Callable[[K], Session | Awaitable[Session]], *, idle: float = 600, limit: int = 100
    ) -> None:
        faults = []
        if not callable(open):
            faults.append(Fault("open", open, "not a function", "give a function of a key that returns a session"))
        if not is_number(idle) or idle < 0:
            faults.append(Fault("idle", idle, "not a number of seconds", "give 0 or more"))
        if not is_count(limit):
            faults.append(Fault("limit", limit, "not a positive whole number", "give a count"))
        if faults:
            raise SpecError(faults)
        self._open_session = open
        self._idle = float(idle)
        self._limit = limit
        self._entries: dict[K, _Entry] = {}
        self._tasks = SessionTasks()
        self._state = "new"
        self._changed = anyio.Event()

    def __len__(self) -> int:
        """Return how many sessions are open, or about to be."""
        return len(self._entries)

    @property
    def is_open(self) -> bool:
        """Whether sessions can be had now."""
        return self._state == "open"

    async def __aenter__(self) -> Self:
        interrupt_only_waits(SessionPool.__aenter__, SessionPool.__aexit__)
        if self._state != "new":
            raise MigError(f"this pool is {self._state} already; make a new one")
        await self._tasks.open()
        self._state = "open"
        self._tasks.start(self._close_idle, name="session pool")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._state = "closed"
        self._notify()
        try:
            await run_shielded(self._close_all, seconds_if_cancelled=_CLOSE_SECONDS)
        finally:
            self._tasks.shield()
            self._tasks.cancel()
            await self._tasks.close()

    def session(self, key: K) -> _Use[K]:
        """Return a block with the open session of a key, which is the current session in the block.

        Raises, when the block is entered:
            NoSession: the pool is not open.
            MigError: what opening the session raises. The next block tries again.
        """
        return _Use(self, key)

    # -- entering and leaving

    async def acquire(self, key: K) -> tuple[_Entry, Session]:
        """Return the entry of a key, with one more user; for aiomig's own use."""
        while True:
            if self._state != "open":
                raise NoSession(f"this pool of sessions is {'closed' if self._state == 'closed' else 'not open yet'}")
            self._tasks.ensure_own_loop()
            entry = self._entries.get(key)
            if entry is None:
                if len(self._entries) < self._limit:
                    entry = self._entries[key] = _Entry()
                    await self._open_entry(key, entry)
                else:
                    await self._make_room()
                    continue
            elif entry.closing:
                await self._changed.wait()
                continue
            entry.users += 1
            try:
                await entry.settled.wait()
            except BaseException:
                self.release(entry)
                raise
            if entry.session is not None and not entry.closing:
                return entry, entry.session
            self.release(entry)
            if entry.error is not None:
                raise entry.error

    async def _open_entry(self, key: K, entry: _Entry) -> None:
        """Open the session of a key. If it fails or is cancelled, the key is free again."""
        entry.users += 1
        try:
            made = self._open_session(key)
            session = await made if inspect.isawaitable(made) else made
            entry.context = BackgroundContext(session)
            entry.session = await entry.context.open()
        except Exception as error:
            entry.error = error
            raise
        finally:
            entry.users -= 1
            if entry.session is None:
                self._entries.pop(key, None)
            entry.settled.set()
            self._notify()

    def release(self, entry: _Entry) -> None:
        """Take a user from an entry; for aiomig's own use."""
        entry.users -= 1
        if not entry.users:
            entry.since = anyio.current_time()
            self._notify()

    def _notify(self) -> None:
        self._changed.set()
        self._changed = anyio.Event()

    # -- closing

    def _free_entries(self) -> list[tuple[K, _Entry]]:
        """Return the entries that may be closed, the longest idle first."""
        free = [(key, entry) for key, entry in self._entries.items() if entry.is_free]
        return sorted(free, key=lambda item: item[1].since)

    async def _make_room(self) -> None:
        """Close the session that was idle for longest, or wait until something changes."""
        if free := self._free_entries():
            await self._close(*free[0])
            return
        # A local session becomes free when its jobs have ended, of which nobody tells the pool.
        with anyio.move_on_after(1.0):
            await self._changed.wait()

    async def _close(self, key: K, entry: _Entry) -> None:
        """Close a session. If this is cancelled, the session closes all the same, and may not wait for jobs."""
        entry.closing = True
        try:
            if entry.context is not None:
                await entry.context.close()
        finally:
            if self._entries.get(key) is entry:
                del self._entries[key]
            self._notify()

    async def _close_idle(self) -> None:
        while True:
            now = anyio.current_time()
            for key, entry in self._free_entries():
                if now - entry.since >= self._idle:
                    with suppress(MigError):  # its jobs and files are safe, and nobody waits for it
                        await self._close(key, entry)
            await anyio.sleep(max(self._idle / 4, 0.05))

    async def _close_all(self) -> None:
        async def close(item: tuple[K, _Entry]) -> None:
            key, entry = item
            await entry.settled.wait()
            if entry.session is not None:
                with suppress(MigError):
                    await self._close(key, entry)

        await run_all(close, list(self._entries.items()), at_once=self._limit)


class _Use(Generic[K]):
    """One use of a pool's session. Made by `SessionPool.session`."""

    def __init__(self, pool: SessionPool[K], key: K) -> None:
        self._pool = pool
        self._key = key
        self._stack = ExitStack()

    async def __aenter__(self) -> Session:
        entry, session = await self._pool.acquire(self._key)
        self._stack.callback(self._pool.release, entry)
        self._stack.enter_context(entered(session))
        return session

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()
