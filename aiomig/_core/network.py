"""TCP and TLS below httpcore's connection pool."""

from __future__ import annotations

import ssl
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import anyio
import httpcore

if TYPE_CHECKING:
    from collections.abc import Iterable

_PIECE = 1 << 18
"""The most bytes that are written at once, each within the write timeout."""

_CONTINUE_SECONDS = 1.0
"""How long to wait for the server's word before a large body is sent; curl waits as long."""


class Network(httpcore.AsyncNetworkBackend):
    """httpcore's own TCP and TLS by anyio, on both event loops, with streams as `_Stream` describes them."""

    def __init__(self) -> None:
        self._backend = httpcore.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> _Stream:
        return _Stream(await self._backend.connect_tcp(host, port, timeout, local_address, socket_options))


class _Stream(httpcore.AsyncNetworkStream):
    """A stream of httpcore's, with four differences.

    It closes its socket if the TLS handshake is cancelled. It raises if TLS ends without the close_notify that proves
    that nothing was cut off. It tells httpcore's pool not to use a connection again if the server sent more than the
    answer. It waits for "100 Continue" after a head that asks for it.
    """

    def __init__(self, stream: httpcore.AsyncNetworkStream) -> None:
        self._stream = stream
        self._received = b""

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        data = self._received or await self._receive(max_bytes, timeout)
        # The last byte is held back until h11 asks for it. If h11 never does, the server sent more than its answer.
        self._received = data[-1:] if len(data) > 1 else b""
        return data[:-1] or data

    async def _receive(self, max_bytes: int, timeout: float | None) -> bytes:
        data = await self._stream.read(max_bytes, timeout)
        if not data and (tls := self.get_extra_info("ssl_object")) is not None:
            try:
                tls.read(1)  # again the end of the stream; this time with the reason
            except ssl.SSLZeroReturnError:
                pass
            except ssl.SSLError as error:
                raise httpcore.ReadError("the connection was cut (no close_notify)") from error
        return data

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:
        for start in range(0, len(buffer), _PIECE):
            await self._stream.write(buffer[start : start + _PIECE], timeout)
        if buffer.endswith(b"\r\n\r\n") and b"\r\nExpect: 100-continue\r\n" in buffer:
            with suppress(httpcore.ReadTimeout):  # a server that does not know the header
                self._received += await self._receive(_PIECE, _CONTINUE_SECONDS)

    async def aclose(self) -> None:
        await self._stream.aclose()

    async def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> _Stream:
        try:
            return _Stream(await self._stream.start_tls(ssl_context, server_hostname, timeout))
        except BaseException:
            with anyio.CancelScope(shield=True):
                await self.aclose()
            raise

    def get_extra_info(self, info: str) -> Any:
        if info == "is_readable":
            return bool(self._received) or self._has_decrypted_data() or self._stream.get_extra_info(info)
        return self._stream.get_extra_info(info)

    def _has_decrypted_data(self) -> bool:
        """Return whether TLS holds anything that was never read. Takes a byte of it: the connection is closed then."""
        tls = self._stream.get_extra_info("ssl_object")
        try:
            if tls is not None:
                tls.read(1)
        except ssl.SSLWantReadError:
            return False
        except ssl.SSLError:
            return True  # it was closed
        return tls is not None
