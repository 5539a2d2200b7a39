"""TLS over any byte stream, as a client or as a server speaks it.

Unlike anyio's own, a read takes all that has arrived and not one record of 16 KiB, which is a third of the cost of a
long answer; and whoever is refused is told why.
"""

from __future__ import annotations

import ssl
from contextlib import suppress
from typing import TYPE_CHECKING, TypeVar

import anyio

if TYPE_CHECKING:
    from collections.abc import Callable

    from anyio.abc import ByteStream

_T = TypeVar("_T")

READ = 1 << 18
"""The most bytes that are read at once."""

_ENDED = (ssl.SSLEOFError, ssl.SSLZeroReturnError)


class TlsStream:
    """One end of a TLS connection.

    Cancelled in the middle of anything, it is of no use any more but to be closed.

    Args:
        raw: what carries it.
        context: our certificate, and whom we trust.
        host: whose certificate a server has to show; ``None`` for the end that is the server.
    """

    def __init__(self, raw: ByteStream | TlsStream, context: ssl.SSLContext, host: str | None = None) -> None:
        self._raw = raw
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, host is None, host)
        self._failure: ssl.SSLError | None = None

    @property
    def peer_certificate(self) -> object:
        """The other side's certificate, as `ssl` shows it."""
        return self._tls.getpeercert()

    async def handshake(self) -> None:
        """Gets to know the other side.

        Raises:
            ssl.SSLError: it has no certificate, or none that counts; it has been told so.
            anyio.BrokenResourceError: the connection broke.
        """
        await self._carry_out(self._tls.do_handshake)

    async def receive(self, most: int = READ) -> bytes:
        """Some bytes, as many as are there; none where the other side has closed.

        Raises:
            ssl.SSLError: they are not what the other side sent, or it says what it has against us.
            anyio.BrokenResourceError: the connection broke.
        """
        try:
            return await self._carry_out(lambda: self._decrypted(most))
        except _ENDED:
            return b""

    def _decrypted(self, most: int) -> bytes:
        if self._failure is not None:
            raise self._failure
        pieces: list[bytes] = []
        try:
            while most > 0 and (piece := self._tls.read(most)):
                pieces.append(piece)
                most -= len(piece)
        except ssl.SSLWantReadError:
            if not pieces:
                raise
        except ssl.SSLError as error:
            if not pieces:
                raise
            self._failure = error  # what came before it comes first
        return b"".join(pieces)

    async def send(self, data: bytes | memoryview) -> None:
        """Sends everything.

        Raises:
            ssl.SSLError: the other side ended it.
            anyio.BrokenResourceError: the connection broke.
        """
        await self._carry_out(lambda: self._tls.write(data))

    async def say_goodbye(self) -> None:
        """Tells the other side that nothing follows."""
        with suppress(ssl.SSLError):
            self._tls.unwrap()
        await self._flush()

    async def aclose(self) -> None:
        """Closes what carries it, without a word."""
        await self._raw.aclose()

    async def _carry_out(self, act: Callable[[], _T]) -> _T:
        while True:
            try:
                result = act()
            except ssl.SSLWantReadError:
                await self._flush()
                await self._feed()
            except ssl.SSLError:
                with suppress(anyio.BrokenResourceError, anyio.ClosedResourceError):
                    await self._flush()  # the alert that says why
                raise
            else:
                await self._flush()
                return result

    async def _feed(self) -> None:
        try:
            data = await self._raw.receive(READ)
        except anyio.EndOfStream:
            data = b""
        if data:
            self._incoming.write(data)
        else:
            self._incoming.write_eof()

    async def _flush(self) -> None:
        if self._outgoing.pending:
            await self._raw.send(self._outgoing.read())
