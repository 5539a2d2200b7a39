"""TLS as a server speaks it, over any byte stream. Unlike anyio's own, it tells a client why it is refused."""

from __future__ import annotations

import ssl
from contextlib import suppress
from typing import TYPE_CHECKING

import anyio

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TypeVar

    from anyio.abc import ByteStream

    _T = TypeVar("_T")

_READ = 1 << 18


class ServerStream:
    """The server's end of a TLS connection.

    Args:
        raw: what carries it.
        context: the server's certificate, and whom it trusts.
    """

    def __init__(self, raw: ByteStream, context: ssl.SSLContext) -> None:
        self._raw = raw
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_side=True)

    @property
    def peer_certificate(self) -> object:
        """The client's certificate, as `ssl` shows it."""
        return self._tls.getpeercert()

    async def handshake(self) -> None:
        """Gets to know the client.

        Raises:
            ssl.SSLError: it has no certificate, or none that counts; it has been told so.
        """
        await self._carry_out(self._tls.do_handshake)

    async def receive(self, most: int) -> bytes:
        """Some bytes; none where the client has closed."""
        try:
            return await self._carry_out(lambda: self._tls.read(most))
        except (ssl.SSLEOFError, ssl.SSLZeroReturnError):
            return b""

    async def send(self, data: bytes) -> None:
        """Sends everything."""
        await self._carry_out(lambda: self._tls.write(data))

    async def aclose(self) -> None:
        """Says goodbye."""
        with suppress(ssl.SSLError):
            self._tls.unwrap()
        await self._flush()

    async def _carry_out(self, act: Callable[[], _T]) -> _T:
        while True:
            try:
                result = act()
            except ssl.SSLWantReadError:
                await self._flush()
                try:
                    self._incoming.write(await self._raw.receive(_READ))
                except anyio.EndOfStream:
                    self._incoming.write_eof()
            except ssl.SSLError:
                await self._flush()  # the alert that says why
                raise
            else:
                await self._flush()
                return result

    async def _flush(self) -> None:
        if self._outgoing.pending:
            await self._raw.send(self._outgoing.read())
