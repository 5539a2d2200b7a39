"""A session on a `FakeGrid`, in memory, that does not keep a test waiting."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypedDict, Unpack, cast

from .._api import grid
from .._grid.operations import Retry
from .._grid.poller import Polling

if TYPE_CHECKING:
    import os

    from .._grid.backend import GridBackend
    from .._session import Session
    from ._server import FakeGrid

_POLLING = Polling(floor=0.005, ceiling=0.02, gather=0.0, requests_a_minute=100_000)
_RETRY = Retry(first=0.001, longest=0.01)


class SessionFields(TypedDict, total=False):
    """Arguments of `aiomig.grid` that make sense in memory."""

    url: str
    timeout: float
    polling: Polling | None
    journal: str | os.PathLike[str] | bool | None


def session_on(server: FakeGrid, **fields: Unpack[SessionFields]) -> Session:
    """A session that asks often and tries again at once; see `FakeGrid.session`."""
    session = grid(
        transport=server.transport(),
        url=fields.get("url", "https://grid.example.org"),
        certificate="unused.pem",
        key="unused.pem",
        polling=fields.get("polling") or _POLLING,
        journal=fields.get("journal"),
        timeout=fields.get("timeout", 60.0),
    )
    cast("GridBackend", session._backend)._link._retry = _RETRY
    return session
