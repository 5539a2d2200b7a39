"""`FakeGrid`: a MiG server for tests, reached in memory or over TLS."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypedDict, Unpack

from .._api import grid
from .._grid.config import Retry
from .._grid.poller import Polling
from ._server import Server

if TYPE_CHECKING:
    import os
    from contextlib import AbstractAsyncContextManager

    import httpx

    from .._session import Session
    from ._certificates import Authority
    from ._serve import Address

_POLLING = Polling(floor=0.005, ceiling=0.02, gather=0.0, requests_a_minute=100_000)
_RETRY = Retry(first=0.001, longest=0.01)


class SessionFields(TypedDict, total=False):
    """Arguments of `aiomig.grid` that make sense in memory."""

    url: str
    timeout: float
    polling: Polling | None
    retry: Retry | None
    journal: str | os.PathLike[str] | bool | None


class FakeGrid(Server):
    r"""A MiG server in Python that responds like the recordings of a real server.

    It has one user with a home, and supports the operations that aiomig uses. It refuses what a real server refuses,
    with the same messages. It runs submitted jobs as processes, as local mode does, unless the test scripts them::

        async with FakeGrid() as grid:
            grid.hold()                                      # jobs wait for the test
            async with grid.session() as session:
                job = await session.submit("fit.sh")
                grid.job(job.id).executing(after=60).finish(stdout="done\n", after=7200)
                assert (await job).stdout == "done\n"

    Its clock is that of the event loop (`anyio.current_time`), so two hours pass at once in a test with a virtual
    clock. With ``clock="virtual"`` the server has a clock of its own. That clock stands still, except in two cases:
    `pass_time` moves it, and it jumps to the next event if a client asks for jobs or data transfers again and nothing
    has changed. So a client that waits for a job of two hours gets the result after a few requests, with timestamps two
    hours apart.

    Clients reach it in memory with `transport` or `session`, or over TLS with `serve`. `faults` makes the server
    misbehave. `requests` and `count` show the requests so far.

    Cancelling a request does not undo it: the server carries it out even if the client has disconnected.

    Args:
        home: the folder of the user's home, created if it does not exist; the default is a temporary folder.
        site: how the server is set up.
        slots: how many jobs run at once.
        user: the distinguished name of the user in the slash form.
        epoch: the server's clock at the beginning, in seconds since 1970; the default is now.
        clock: the clock of the server: ``"loop"`` for that of the event loop, or ``"virtual"``, see above.

    Raises:
        ValueError: ``slots`` or ``clock`` is out of range.
    """

    def transport(self, client: str | None = None) -> httpx.AsyncBaseTransport:
        """Return a transport for `httpx.AsyncClient` that reaches this server in memory.

        Args:
            client: the distinguished name in the client's certificate; the default is the user.
        """
        from ._transport import FakeTransport

        return FakeTransport(self, self.user if client is None else client)

    def session(self, **fields: Unpack[SessionFields]) -> Session:
        """Return a session on this server, in memory. It polls often, and its retries do not wait.

        Args:
            **fields: arguments of `aiomig.grid`.

        Returns:
            A session for ``async with``.
        """
        return grid(
            transport=self.transport(),
            url=fields.get("url", "https://grid.example.org"),
            certificate="unused.pem",
            key="unused.pem",
            polling=fields.get("polling") or _POLLING,
            retry=fields.get("retry") or _RETRY,
            journal=fields.get("journal"),
            timeout=fields.get("timeout", 60.0),
        )

    def serve(
        self, host: str = "localhost", port: int = 0, *, authority: Authority | None = None
    ) -> AbstractAsyncContextManager[Address]:
        """Serve over TLS while the context is open. Clients must have a certificate.

        ::

            async with FakeGrid() as grid, grid.serve() as address, aiomig.grid(address.config()) as mig:
                ...

        Args:
            host: where to listen: a name or an address of this machine, such as ``"::1"``.
            port: 0 for any free port.
            authority: issues the certificates; the default is a new authority.

        Raises:
            ImportError: trustme is not installed; the ``test`` extra has it.
        """
        from ._serve import serve

        return serve(self, host, port, authority)
