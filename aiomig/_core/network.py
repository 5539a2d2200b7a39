"""The TCP and TLS connections of httpcore's connection pool."""

from __future__ import annotations

import ssl
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import anyio
import httpcore

if TYPE_CHECKING:
    from collections.abc import Iterable

_CHUNK_SIZE = 1 << 18
"""The most bytes that are written at once. The write timeout applies to each chunk."""

_CONTINUE_SECONDS = 1.0
"""How long to wait for "100 Continue" before sending a large body; the same as in curl."""


class Network(httpcore.AsyncNetworkBackend):
    """httpcore's anyio backend, with the changes described in `_Stream`."""

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
    """A stream of httpcore with four differences.

    - It closes its socket if the TLS handshake is cancelled.
    - It raises an error if TLS ends without close_notify, because the data may be truncated.
    - It reports a connection as readable if the server sent more than its response, so that the pool does not reuse it.
    - It waits for "100 Continue" after request headers that ask for it.
    """

    def __init__(self, stream: httpcore.AsyncNetworkStream) -> None:
        self._stream = stream
        self._received = b""

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        data = self._received or await self._receive(max_bytes, timeout)
        # Hold back the last byte until h11 reads again. If h11 never does, the server sent more than its response.
        self._received = data[-1:] if len(data) > 1 else b""
        return data[:-1] or data

    async def _receive(self, max_bytes: int, timeout: float | None) -> bytes:
        data = await self._stream.read(max_bytes, timeout)
        if not data and (tls := self.get_extra_info("ssl_object")) is not None:
            try:
                tls.read(1)  # anyio hides how the stream ended; this raises the reason
            except ssl.SSLZeroReturnError:
                pass
            except ssl.SSLError as error:
                raise httpcore.ReadError("the connection was cut (no close_notify)") from error
        return data

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:
        for start in range(0, len(buffer), _CHUNK_SIZE):
            await self._stream.write(buffer[start : start + _CHUNK_SIZE], timeout)
        if buffer.endswith(b"\r\n\r\n") and b"\r\nExpect: 100-continue\r\n" in buffer:
            with suppress(httpcore.ReadTimeout):  # the server does not support the header
                self._received += await self._receive(_CHUNK_SIZE, _CONTINUE_SECONDS)

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
        """Return whether TLS has unread data. This consumes a byte, but then the connection is not used again."""
        tls = self._stream.get_extra_info("ssl_object")
        try:
            if tls is not None:
                tls.read(1)
        except ssl.SSLWantReadError:
            return False
        except ssl.SSLError:
            return True  # it was closed
        return tls is not None
