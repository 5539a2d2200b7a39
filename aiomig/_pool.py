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
from ._lifecycle import entered

if TYPE_CHECKING:
    from types import TracebackType

    from ._session import Session

K = TypeVar("K", bound=Hashable)

_CLOSE_SECONDS = 5.0
"""How long sessions may take to close after a cancellation of the pool's block; then they are cancelled, too."""


class _Entry:
    """The session of one key: opening, open, or closing.

    Attributes:
        users: the number of blocks that use the session or wait for it.
        since: when the last of these blocks ended.
        settled: set when the session is open or has failed to open.
        closing: whether the session is being closed and must not be used.
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
        """Whether the session may be closed. A local session with unfinished jobs must stay open to run them."""
        session = self.session
        if self.users or self.closing or session is None:
            return False
        try:
            return session.mode == "grid" or not session.has_own_jobs
        except MigError:
            return True  # the backend has failed


class SessionPool(Generic[K]):
    """Sessions by key, such as one for each user or certificate, opened on first use and closed when idle.

    Each key has at most one session at a time, which it does not share with other keys. Any task may use the pool, and
    tasks may leave its sessions in any order.

    Example::

        pool = aiomig.SessionPool(lambda user: aiomig.grid(f"/etc/service/{user}.conf"), idle=300)
        async with pool, pool.session("ada") as mig:
            print(await mig.jobs(newest=10))

    Leaving the block of the pool closes all sessions normally. After a cancellation, sessions that have not closed
    within a few seconds are cancelled.

    Args:
        open: a function that takes a key and returns a new, unopened session, or an awaitable of one.
        idle: seconds after which an unused session is closed. A local session with unfinished jobs stays open, because
            it runs them.
        limit: the maximum number of open sessions. When it is reached, the pool closes the session that has been idle
            longest, or waits if all sessions are in use.

    Raises:
        SpecError: an argument is invalid.
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
        """Return how many sessions are open, opening or closing."""
        return len(self._entries)

    @property
    def is_open(self) -> bool:
        """Whether the pool is open."""
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
        """Return an async context manager that gives the open session of a key and makes it the current session.

        Raises, when the block is entered:
            NoSession: the pool is not open.
            MigError: the session could not be opened. The next block tries again.
        """
        return _Use(self, key)

    # -- entering and leaving

    async def acquire(self, key: K) -> tuple[_Entry, Session]:
        """Return the entry and the open session of a key, after adding a user; for aiomig's own use."""
        while True:
            if self._state != "open":
                reason = "closed; make a new one" if self._state == "closed" else "not open yet; enter its block"
                raise NoSession(f"this pool is {reason}")
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
        """Open the session of a key. If this fails or is cancelled, remove the entry."""
        entry.users += 1
        try:
            result = self._open_session(key)
            session = await result if inspect.isawaitable(result) else result
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
        """Remove a user from an entry; for aiomig's own use."""
        entry.users -= 1
        if not entry.users:
            entry.since = anyio.current_time()
            self._notify()

    def _notify(self) -> None:
        self._changed.set()
        self._changed = anyio.Event()

    # -- closing

    def _free_entries(self) -> list[tuple[K, _Entry]]:
        """Return the entries that may be closed, starting with the longest idle."""
        free = [(key, entry) for key, entry in self._entries.items() if entry.is_free]
        return sorted(free, key=lambda item: item[1].since)

    async def _make_room(self) -> None:
        """Close the session that has been idle longest, or wait until an entry changes."""
        if free := self._free_entries():
            await self._close(*free[0])
            return
        # A local session becomes free when its jobs have ended; the pool is not notified of this.
        with anyio.move_on_after(1.0):
            await self._changed.wait()

    async def _close(self, key: K, entry: _Entry) -> None:
        """Close a session. A cancellation still closes it, possibly without waiting for its jobs."""
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
                    with suppress(MigError):  # no caller waits for this session, and its jobs and files are safe
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
    """Async context manager for one use of a pool's session. Made by `SessionPool.session`."""

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
