"""Connections to one server, for httpx's transport: those without work wait for the next request.

In place of httpcore's pool, in which a request that is cancelled before its connection is open takes a place for good
(encode/httpcore#961).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

import httpcore

from .connection import Connection

if TYPE_CHECKING:
    import ssl

    from .proxy import Proxy


class Pool:
    """As many connections as there are requests at once; so many wait, the last used is used first.

    Args:
        context: our certificate, and whom we trust.
        proxy: by which the server is reached, if by any.
        keep: how many connections wait at the most.
        seconds: for how long.
    """

    def __init__(self, context: ssl.SSLContext, proxy: Proxy | None, *, keep: int, seconds: float) -> None:
        context.set_alpn_protocols(["http/1.1"])
        self._context = context
        self._proxy = proxy
        self._keep = keep
        self._seconds = seconds
        self._idle: list[Connection] = []
        self._busy: set[Connection] = set()
        self._is_closed = False

    async def handle_async_request(self, request: httpcore.Request) -> httpcore.Response:
        """Sends a request and reads the head of its answer, as httpcore's pool does."""
        connection = await self._waiting() or Connection(request.url.origin, self._context, self._proxy)
        self._busy.add(connection)
        try:
            head = await connection.begin(request)
        except BaseException:
            self._busy.discard(connection)  # it is closed
            raise
        return httpcore.Response(
            head.status_code,
            headers=head.headers.raw_items(),
            content=_Body(self, connection),
            extensions={"http_version": b"HTTP/" + head.http_version, "reason_phrase": head.reason},
        )

    async def _waiting(self) -> Connection | None:
        while self._idle:
            connection = self._idle.pop()
            if not connection.is_stale(self._seconds):
                return connection
            await connection.close()
        return None

    async def take_back(self, connection: Connection) -> None:
        """Keeps a connection whose answer was read, and closes any other."""
        self._busy.discard(connection)
        if not self._is_closed and len(self._idle) < self._keep and connection.rest():
            self._idle.append(connection)
        else:
            await connection.close()

    async def aclose(self) -> None:
        """Closes all, also those in use: whoever uses them gets an error."""
        self._is_closed = True
        for connection in (*self._idle, *self._busy):
            await connection.close()
        self._idle.clear()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *raised: object) -> None:
        await self.aclose()


class _Body:
    """The body of an answer, piece by piece."""

    def __init__(self, pool: Pool, connection: Connection) -> None:
        self._pool = pool
        self._connection: Connection | None = connection

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        piece = await self._connection.piece() if self._connection is not None else b""
        if not piece:
            await self.aclose()
            raise StopAsyncIteration
        return piece

    async def aclose(self) -> None:
        """Gives the connection back; harmless when repeated."""
        connection, self._connection = self._connection, None
        if connection is not None:
            await self._pool.take_back(connection)
