"""One connection to a server: TCP, a proxy's tunnel where there is one, TLS, and HTTP/1.1 by h11.

It has the part of httpcore's connection, which takes twice as long for a request of thousands of jobs, and which leaves
a socket to the garbage collector where a request is cancelled during the handshake (encode/httpcore#961). What fails
is raised as httpcore's errors, which httpx makes its own of.
"""

from __future__ import annotations

import select
import ssl
import time
from typing import TYPE_CHECKING

import anyio
import h11
import httpcore
from anyio.abc import SocketAttribute

from .tls import READ, TlsStream

if TYPE_CHECKING:
    from collections.abc import Mapping

    from anyio.abc import SocketStream

    from .proxy import Proxy

_BROKEN = (anyio.BrokenResourceError, anyio.ClosedResourceError, anyio.EndOfStream, OSError)  # of which TLS's are some
_LONGEST_HEAD = 1 << 17


class Connection:
    """A connection, made with its first request, that carries one request after the other.

    A request that is cancelled, or fails, closes it.

    Args:
        origin: the server.
        context: our certificate, and whom we trust.
        proxy: by which it is reached, if by any.
    """

    def __init__(self, origin: httpcore.Origin, context: ssl.SSLContext, proxy: Proxy | None = None) -> None:
        self._host = origin.host.decode("ascii")
        self._port = origin.port
        self._context = context
        self._proxy = proxy
        self._http = h11.Connection(h11.CLIENT, max_incomplete_event_size=_LONGEST_HEAD)
        self._raw: SocketStream | None = None
        self._is_closed = False
        self._stream: TlsStream
        self._timeout: float | None = None
        self._idle_since = 0.0

    # -- making it

    async def open(self, timeout: float | None = None) -> None:
        """Connects, within so many seconds.

        Raises:
            httpcore.ConnectError, httpcore.ConnectTimeout, httpcore.ProxyError: it did not come about.
        """
        try:
            with anyio.move_on_after(timeout):
                await self._connect()
                return
            raise httpcore.ConnectTimeout(f"timed out after {timeout:g} s")
        except _BROKEN as error:
            await self.close()
            raise httpcore.ConnectError(_said(error)) from error
        except BaseException:
            await self.close()
            raise

    async def _connect(self) -> None:
        carrier = await (self._reach(self._host, self._port) if self._proxy is None else self._tunnel(self._proxy))
        self._stream = TlsStream(carrier, self._context, self._host)
        await self._stream.handshake()

    async def _reach(self, host: str, port: int) -> SocketStream:
        self._raw = raw = await anyio.connect_tcp(host, port)
        if self._is_closed:  # meanwhile
            raise anyio.ClosedResourceError
        return raw

    async def _tunnel(self, proxy: Proxy) -> SocketStream | TlsStream:
        try:
            carrier: SocketStream | TlsStream = await self._reach(proxy.host, proxy.port)
            if proxy.is_secure:
                carrier = TlsStream(carrier, ssl.create_default_context(), proxy.host)
                await carrier.handshake()
            answer = await self._answer_of(carrier, proxy)
        except (h11.RemoteProtocolError, *_BROKEN) as error:
            raise httpcore.ProxyError(f"the proxy {proxy.host}:{proxy.port}: {_said(error)}") from error
        if not 200 <= answer.status_code < 300:
            reason = answer.reason.decode("latin-1")
            raise httpcore.ProxyError(f"the proxy {proxy.host}:{proxy.port} answered {answer.status_code} {reason}")
        return carrier

    async def _answer_of(self, carrier: SocketStream | TlsStream, proxy: Proxy) -> h11.Response:
        host = f"[{self._host}]" if ":" in self._host else self._host
        target = f"{host}:{self._port}".encode("ascii")
        headers = [(b"Host", target), (b"Accept", b"*/*")]
        if proxy.authorization is not None:
            headers.append((b"Proxy-Authorization", proxy.authorization))
        http = h11.Connection(h11.CLIENT, max_incomplete_event_size=_LONGEST_HEAD)
        await carrier.send(http.send(h11.Request(method=b"CONNECT", target=target, headers=headers)) or b"")
        http.send(h11.EndOfMessage())
        while not isinstance(event := http.next_event(), h11.Response):
            if event is h11.NEED_DATA:
                # Nothing is lost by reading on: behind its answer the proxy waits for us.
                data = await carrier.receive(READ)
                if not data:
                    raise anyio.EndOfStream
                http.receive_data(data)
        return event

    async def close(self) -> None:
        """Closes it for good, cancelled or not."""
        self._is_closed = True
        raw, self._raw = self._raw, None
        if raw is not None:
            with anyio.CancelScope(shield=True):
                await raw.aclose()

    # -- one request

    async def begin(self, request: httpcore.Request) -> h11.Response:
        """Sends a request, and reads the head of the answer; `piece` gives the rest.

        Raises:
            httpcore.NetworkError, httpcore.TimeoutException, httpcore.ProtocolError, httpcore.ProxyError: it failed.
        """
        timeouts: Mapping[str, float | None] = request.extensions.get("timeout", {})
        try:
            if self._raw is None:
                await self.open(timeouts.get("connect"))
            await self._send(request, timeouts.get("write"))
            self._timeout = timeouts.get("read")
            while not isinstance(event := await self._event(), h11.Response):
                pass  # it is one to come that was told of
        except BaseException:
            await self.close()
            raise
        return event

    async def _send(self, request: httpcore.Request, timeout: float | None) -> None:
        body = b"".join([piece async for piece in request.stream])  # type: ignore[union-attr]
        for piece in self._written(request, body):
            view = memoryview(piece)
            for start in range(0, len(view), READ):
                with anyio.move_on_after(timeout) as scope:
                    try:
                        await self._stream.send(view[start : start + READ])
                    except _BROKEN:
                        return  # a server that has heard enough may have answered all the same
                if scope.cancelled_caught:
                    raise httpcore.WriteTimeout(f"it took nothing for {timeout:g} s")

    def _written(self, request: httpcore.Request, body: bytes) -> list[bytes]:
        """A request as it is sent: in one piece, unless it is long."""
        try:
            head = h11.Request(method=request.method, target=request.url.target, headers=request.headers)
            events = (head, h11.Data(data=body), h11.EndOfMessage())
            pieces = [piece for event in events for piece in self._http.send_with_data_passthrough(event) or ()]
        except h11.LocalProtocolError as error:
            raise httpcore.LocalProtocolError(str(error)) from error
        return pieces if len(body) > READ else [b"".join(pieces)]

    async def piece(self) -> bytes:
        """Some of the answer; none when it was all. Then `rest` says whether another request may follow.

        Raises:
            httpcore.NetworkError, httpcore.TimeoutException, httpcore.ProtocolError: it failed.
        """
        try:
            event = await self._event()
        except BaseException:
            await self.close()
            raise
        return bytes(event.data) if isinstance(event, h11.Data) else b""

    async def _event(self) -> h11.Event | type[h11.PAUSED]:
        try:
            while (event := self._http.next_event()) is h11.NEED_DATA:
                data = await self.receive()
                if not data and self._http.their_state is h11.SEND_RESPONSE:
                    raise httpcore.RemoteProtocolError("the server closed the connection without an answer")
                self._http.receive_data(data)
        except h11.RemoteProtocolError as error:
            raise httpcore.RemoteProtocolError(str(error)) from error
        return event  # type: ignore[return-value]

    async def receive(self) -> bytes:
        """What comes next, whatever it is; nothing where the server has closed.

        Raises:
            httpcore.ReadError, httpcore.ReadTimeout: nothing came.
        """
        with anyio.move_on_after(self._timeout):
            try:
                return await self._stream.receive()
            except _BROKEN as error:
                raise httpcore.ReadError(_said(error)) from error
        raise httpcore.ReadTimeout(f"it said nothing for {self._timeout:g} s")

    # -- between requests

    def rest(self) -> bool:
        """Called when an answer was read: whether another request may follow."""
        if self._raw is None or self._http.our_state is not h11.DONE or self._http.their_state is not h11.DONE:
            return False
        self._http.start_next_cycle()
        self._idle_since = time.monotonic()
        return True

    def is_stale(self, seconds: float) -> bool:
        """Whether it has rested for longer than so many seconds, or the server closed it, or said what nobody asked."""
        if self._raw is None or time.monotonic() - self._idle_since > seconds:
            return True
        poll = select.poll()
        poll.register(self._raw.extra(SocketAttribute.raw_socket), select.POLLIN)
        return bool(poll.poll(0))


def _said(error: BaseException) -> str:
    """What an error says, or what caused it: anyio's own say nothing."""
    if isinstance(error, anyio.EndOfStream):
        return "it closed the connection"
    return str(error) or str(error.__cause__ or type(error).__name__)
