"""A `FakeGrid` over real TLS: a small HTTP/1.1 server on anyio and h11, with Apache's habits (mig-live 1, 3)."""

from __future__ import annotations

import ssl
import tempfile
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import anyio
import h11

from .._grid.tls import TlsStream
from ._certificates import Authority, slash_form
from ._faults import Dropped
from ._wire import Request, Response, page

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from anyio.abc import ByteStream

    from ._server import FakeGrid

_READ = 1 << 18
_LONGEST_HEAD = 1 << 17
_HANDSHAKE_TIME = 20.0


@dataclass(frozen=True, slots=True)
class Address:
    """Where a `FakeGrid` is served, and what its user needs.

    Attributes:
        url: ``https://host:port``.
        ca: the file with the certificate by which clients know the server.
        certificate: the file with the user's certificate.
        key: the file with its key, without a password.
        authority: makes more certificates.
    """

    url: str
    ca: Path
    certificate: Path
    key: Path
    authority: Authority


@asynccontextmanager
async def serve(grid: FakeGrid, host: str, port: int, authority: Authority | None = None) -> AsyncIterator[Address]:
    """As `FakeGrid.serve`."""
    with tempfile.TemporaryDirectory(prefix="aiomig-certificates-") as folder:
        issuer = authority or Authority(Path(folder))
        client = issuer.client(grid.user)
        context = issuer.server_context(host)
        address = "127.0.0.1" if host == "localhost" else host
        listener = await anyio.create_tcp_listener(local_host=address, local_port=port, backlog=512)
        number = listener.extra(anyio.abc.SocketAttribute.local_port)
        url = f"https://{host}:{number}"
        scope, ended = anyio.CancelScope(), anyio.Event()

        async def listen() -> None:
            try:
                with scope:
                    await listener.serve(partial(_connection, grid, context, url))
            finally:
                ended.set()

        # In the group of the grid: a group here would wrap what the caller's block raises.
        grid.tasks.start_soon(listen)
        try:
            yield Address(url, issuer.file, client.certificate, client.key, issuer)
        finally:
            scope.cancel()
            with anyio.CancelScope(shield=True):
                await ended.wait()
                await listener.aclose()


async def _connection(grid: FakeGrid, context: ssl.SSLContext, url: str, raw: ByteStream) -> None:
    try:
        async with raw:
            stream = TlsStream(raw, context)
            with anyio.fail_after(_HANDSHAKE_TIME):
                await stream.handshake()
            grid.connections += 1
            await _Conversation(grid, stream, url).hold()
            await stream.say_goodbye()
    except (
        ssl.SSLError,
        TimeoutError,
        anyio.BrokenResourceError,
        anyio.ClosedResourceError,
        h11.LocalProtocolError,
        Dropped,
    ):
        pass  # the client's affair, or what a fault asked for, or a file that shrank while it was sent


class _Conversation:
    """One connection, from request to request."""

    def __init__(self, grid: FakeGrid, stream: TlsStream, url: str) -> None:
        self._grid = grid
        self._stream = stream
        self._url = url
        self._client = slash_form(stream.peer_certificate)
        self._http = h11.Connection(h11.SERVER, max_incomplete_event_size=_LONGEST_HEAD)

    async def hold(self) -> None:
        """Answers requests until one side has had enough."""
        for number in range(1, self._grid.site.requests_per_connection + 1):
            head: object = None
            with anyio.move_on_after(self._grid.site.keep_alive):
                head = await self._event()
            if not isinstance(head, h11.Request):
                return
            last = number == self._grid.site.requests_per_connection
            if not await self._exchange(head, last=last):
                return
            self._http.start_next_cycle()

    async def _event(self) -> h11.Event | type[h11.PAUSED]:
        while True:
            try:
                event = self._http.next_event()
            except h11.RemoteProtocolError as error:
                await self._complain(error)
                return h11.ConnectionClosed()
            if event is not h11.NEED_DATA:
                return event  # type: ignore[return-value]
            if self._http.they_are_waiting_for_100_continue:
                await self._send(h11.InformationalResponse(status_code=100, headers=[]))
            self._http.receive_data(await self._stream.receive(_READ))

    async def _complain(self, error: h11.RemoteProtocolError) -> None:
        if self._http.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            status = 414 if error.error_status_hint == 431 else 400
            await self._reply(page(status, close=True), b"GET", close=True)

    async def _exchange(self, head: h11.Request, *, last: bool) -> bool:
        """Answers one request; whether another may follow."""
        headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in head.headers}
        path, _, query = head.target.decode("latin-1").partition("?")
        chunked = "transfer-encoding" in headers
        pieces: list[bytes] = []
        while not chunked and isinstance(event := await self._event(), h11.Data):
            pieces.append(bytes(event.data))
        request = Request(
            method=head.method.decode("ascii"),
            path=path,
            query=query,
            headers=headers,
            body=b"".join(pieces),
            client=self._client,
            host=self._url,
        )
        response = await self._grid.handle(request)
        close = last or chunked or response.close or headers.get("connection", "").lower() == "close"
        await self._reply(response, head.method, close=close)
        return not close

    async def _reply(self, response: Response, method: bytes, *, close: bool) -> None:
        headers = [
            (name.encode("ascii"), value.encode("latin-1"))
            for name, value in response.all_headers(self._grid.now, with_length=response.status != 304)
        ]
        if close:
            headers.append((b"Connection", b"close"))
        await self._send(h11.Response(status_code=response.status, headers=headers, reason=b""))
        if method != b"HEAD" and response.status != 304:
            for piece in response.pieces():
                await self._send(h11.Data(data=piece))
            if response.cut is not None and response.cut < len(response.body):
                raise Dropped("cut")
        await self._send(h11.EndOfMessage())

    async def _send(self, event: h11.Event) -> None:
        data = self._http.send(event)
        if data:
            await self._stream.send(data)
