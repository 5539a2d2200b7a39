"""Connections that share one certificate, and what each request needs to leave none of them behind."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

import anyio

if TYPE_CHECKING:
    import ssl
    from collections.abc import Mapping

    import httpx


class Connections:
    """A client of httpx, entered by each request; once retired, it closes when the last of these is over.

    Args:
        client: of httpx.
        context: what it does TLS by; ``None`` where it does none.

    Attributes:
        is_proven: whether the server has answered by them.
    """

    def __init__(self, client: httpx.AsyncClient, context: ssl.SSLContext | None = None) -> None:
        self.client = client
        self.context = context
        self.is_proven = False
        self._requests = 0
        self._is_retired = False

    async def __aenter__(self) -> Self:
        self._requests += 1
        return self

    async def __aexit__(self, *raised: object) -> None:
        self._requests -= 1
        await self._close_if_over()

    async def retire(self) -> None:
        """No request will enter any more; closes when those that did are over."""
        self._is_retired = True
        await self._close_if_over()

    async def _close_if_over(self) -> None:
        if self._is_retired and not self._requests:
            with anyio.CancelScope(shield=True):
                await self.client.aclose()


class Opening:
    """Closes the connection that a request opens where it is cancelled during the handshake of TLS.

    httpcore leaves that socket to the garbage collector (encode/httpcore#961).

    Args:
        request: what is about to be sent.
    """

    def __init__(self, request: httpx.Request) -> None:
        request.extensions["trace"] = self.trace
        self._raw: Any = None

    async def trace(self, step: str, details: Mapping[str, Any]) -> None:
        """Called by httpcore at each step."""
        if step == "connection.connect_tcp.complete":
            self._raw = details["return_value"]
        elif step.endswith(".start_tls.complete"):  # or that of a proxy
            self._raw = None

    async def __aenter__(self) -> None:
        pass

    async def __aexit__(self, kind: type[BaseException] | None, error: object, trace: object) -> None:
        if kind is not None and self._raw is not None:
            with anyio.CancelScope(shield=True):
                await self._raw.aclose()


class Whole:
    """The body of a request, in one piece.

    That of httpx is an async generator, and a connection that breaks leaves it behind, of which trio warns.
    """

    def __init__(self, content: bytes) -> None:
        self._pieces = [content]

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        if not self._pieces:
            raise StopAsyncIteration
        return self._pieces.pop()
