"""The sessions of the fsspec file systems: one per account and event loop, closed at the end of the program."""

from __future__ import annotations

import atexit
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import anyio
from anyio.lowlevel import RunVar, current_token
from fsspec.asyn import sync

from ._api import grid
from ._core.errors import MigError

if TYPE_CHECKING:
    from ._grid.config import Config
    from ._home.files import Files
    from ._session import Session


class SharedSession:
    """The session of one account in one event loop, opened on first use."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._lock = anyio.Lock()
        self._session: Session | None = None

    async def files(self) -> Files:
        """Return the home. Open the session first if it is not open."""
        async with self._lock:
            if self._session is None:
                session = grid(self._config)
                await session.open()
                self._session = session
            return self._session.files

    async def close(self) -> None:
        """Close the session. The next use opens a new one."""
        async with self._lock:
            session, self._session = self._session, None
            if session is not None:
                await session.aclose()


_sessions: RunVar[dict[Config, SharedSession]] = RunVar("aiomig_fsspec_sessions")


def shared_session(config: Config) -> SharedSession:
    """Return the session of an account in the running event loop."""
    try:
        sessions = _sessions.get()
    except LookupError:
        sessions = {}
        _sessions.set(sessions)
        atexit.register(_close_at_exit, current_token().native_token, sessions)
    return sessions.setdefault(config, SharedSession(config))


def _close_at_exit(loop: Any, sessions: dict[Config, SharedSession]) -> None:
    async def close() -> None:
        for session in sessions.values():
            with suppress(MigError):
                await session.close()

    if loop.is_running():  # fsspec's own loop; any other loop has closed the sessions when it ended
        sync(loop, close, timeout=10)
