"""Connections that share one certificate."""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

import anyio

if TYPE_CHECKING:
    import ssl

    import httpx


class Connections:
    """A transport of httpx, entered by each request; once retired, it closes when the last of these is over.

    Args:
        transport: of httpx.
        context: what it does TLS by; ``None`` where it does none.

    Attributes:
        is_proven: whether the server has answered by them.
    """

    def __init__(self, transport: httpx.AsyncBaseTransport, context: ssl.SSLContext | None = None) -> None:
        self.transport = transport
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
                await self.transport.aclose()
