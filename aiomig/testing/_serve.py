"""A `FakeGrid` over TLS: a small HTTP/1.1 server on anyio and h11 that behaves like Apache.

See docs/protocol.md#connections.
"""

from __future__ import annotations

import ssl
import tempfile
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, Unpack

import anyio
import h11

from .._grid.config import Config
from ._certificates import Authority, slash_form
from ._faults import Dropped
from ._wire import Request, Response, page

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from anyio.abc import ByteStream

    from .._api import ConfigFields
    from ._server import Server

T = TypeVar("T")

_READ = 1 << 18
_LONGEST_HEAD = 1 << 17
_HANDSHAKE_TIME = 20.0


@dataclass(frozen=True, slots=True)
class Address:
    """The address of a `FakeGrid` over TLS, and the files that its user needs. See `FakeGrid.serve`.

    Attributes:
        url: ``https://host:port``.
        ca: the file with the authority's certificate, with which clients verify the server.
        certificate: the file with the user's certificate.
        key: the file with the user's key, without a passphrase.
        authority: issues more certificates.
    """

    url: str
    ca: Path
    certificate: Path
    key: Path
    authority: Authority
    _server: Server = field(repr=False)

    def config(self, user: str | None = None, **fields: Unpack[ConfigFields]) -> Config:
        """Return a configuration for `aiomig.grid`. A user without an account gets one, with a certificate and a home.

        Args:
            user: the distinguished name in the slash form; the default is the user of the `FakeGrid`.
            **fields: fields of `aiomig.Config`.
        """
        certificate, key = self.certificate, self.key
        if user is not None and user != self._server.user:
            files = self.authority.client(user, sha256(user.encode()).hexdigest()[:16])
            certificate, key = files.certificate, files.key
            if not self._server.has_user(user):
                self._server.add_user(user)
        return Config(self.url, certificate, key, self.ca).replace(**fields)


@asynccontextmanager
async def serve(server: Server, host: str, port: int, authority: Authority | None = None) -> AsyncIterator[Address]:
    """Serve over TLS; see `FakeGrid.serve`."""
    with tempfile.TemporaryDirectory(prefix="aiomig-certificates-") as folder:
        issuer = authority or Authority(Path(folder))
        client = issuer.client(server.user)
        context = issuer.server_context(host)
        address = "127.0.0.1" if host == "localhost" else host
        listener = await anyio.create_tcp_listener(local_host=address, local_port=port, backlog=512)
        number = listener.extra(anyio.abc.SocketAttribute.local_port)
        name = f"[{host}]" if ":" in host else host
        url = f"https://{name}:{number}"
        public = await anyio.create_tcp_listener(local_host=address, local_port=0, backlog=64)
        public_context = issuer.public_context(host)
        server.public_url = f"https://{name}:{public.extra(anyio.abc.SocketAttribute.local_port)}"
        scope, ended = anyio.CancelScope(), anyio.Event()

        async def listen() -> None:
            try:
                with scope:
                    async with anyio.create_task_group() as group:
                        group.start_soon(listener.serve, partial(_connection, server, context, url))
                        group.start_soon(public.serve, partial(_connection, server, public_context, server.public_url))
            finally:
                ended.set()

        # In the task group of the server: a group here would wrap the errors of the caller's block.
        server.tasks.start_soon(listen)
        try:
            yield Address(url, issuer.file, client.certificate, client.key, issuer, server)
        finally:
            scope.cancel()
            with anyio.CancelScope(shield=True):
                await ended.wait()
                await listener.aclose()
                await public.aclose()


async def _connection(server: Server, context: ssl.SSLContext, url: str, raw: ByteStream) -> None:
    try:
        async with raw:
            stream = _TlsStream(raw, context)
            with anyio.fail_after(_HANDSHAKE_TIME):
                await stream.handshake()
            server.connections += 1
            await _Conversation(server, stream, url).run()
            await stream.send_close_notify()
    except (
        ssl.SSLError,
        TimeoutError,
        anyio.BrokenResourceError,
        anyio.ClosedResourceError,
        h11.LocalProtocolError,
        Dropped,
    ):
        pass  # the client has disconnected, a fault closed the connection, or a file shrank while it was sent


class _TlsStream:
    """The server's side of TLS. Unlike `anyio.streams.tls`, it sends the alert that explains a failed handshake."""

    def __init__(self, raw: ByteStream, context: ssl.SSLContext) -> None:
        self._raw = raw
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_side=True)

    @property
    def peer_certificate(self) -> object:
        return self._tls.getpeercert()

    async def handshake(self) -> None:
        await self._call(self._tls.do_handshake)

    async def receive(self) -> bytes:
        try:
            return await self._call(self._tls.read, _READ)
        except (ssl.SSLZeroReturnError, ssl.SSLEOFError):
            return b""

    async def send(self, data: bytes) -> None:
        await self._call(self._tls.write, data)

    async def send_close_notify(self) -> None:
        with suppress(ssl.SSLError):
            self._tls.unwrap()
        await self._flush()

    async def _call(self, function: Callable[..., T], *arguments: Any) -> T:
        while True:
            try:
                result = function(*arguments)
            except ssl.SSLWantReadError:
                await self._flush()
                try:
                    self._incoming.write(await self._raw.receive(_READ))
                except anyio.EndOfStream:
                    self._incoming.write_eof()
            except ssl.SSLError:
                await self._flush()
                raise
            else:
                await self._flush()
                return result

    async def _flush(self) -> None:
        if self._outgoing.pending:
            await self._raw.send(self._outgoing.read())


class _Conversation:
    """One connection, and the requests on it."""

    def __init__(self, server: Server, stream: _TlsStream, url: str) -> None:
        self._server = server
        self._stream = stream
        self._url = url
        self._client = slash_form(stream.peer_certificate)
        self._http = h11.Connection(h11.SERVER, max_incomplete_event_size=_LONGEST_HEAD)

    async def run(self) -> None:
        """Answer requests until one side closes the connection."""
        for number in range(1, self._server.site.requests_per_connection + 1):
            head: object = None
            with anyio.move_on_after(self._server.site.keep_alive):
                head = await self._event()
            if not isinstance(head, h11.Request):
                return
            last = number == self._server.site.requests_per_connection
            if not await self._exchange(head, last=last):
                return
            self._http.start_next_cycle()

    async def _event(self) -> h11.Event | type[h11.PAUSED]:
        while True:
            try:
                event = self._http.next_event()
            except h11.RemoteProtocolError as error:
                await self._refuse(error)
                return h11.ConnectionClosed()
            if event is not h11.NEED_DATA:
                return event  # type: ignore[return-value]
            if self._http.they_are_waiting_for_100_continue:
                await self._send(h11.InformationalResponse(status_code=100, headers=[]))
            self._http.receive_data(await self._stream.receive())

    async def _refuse(self, error: h11.RemoteProtocolError) -> None:
        if self._http.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            status = 414 if error.error_status_hint == 431 else 400
            await self._reply(page(status, close=True), b"GET", close=True)

    async def _exchange(self, head: h11.Request, *, last: bool) -> bool:
        """Answer one request; return whether another may follow."""
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
            public_host=self._server.public_url,
        )
        response = await self._server.handle(request)
        close = last or chunked or response.close or headers.get("connection", "").lower() == "close"
        await self._reply(response, head.method, close=close)
        return not close

    async def _reply(self, response: Response, method: bytes, *, close: bool) -> None:
        headers = [
            (name.encode("ascii"), value.encode("latin-1"))
            for name, value in response.all_headers(self._server.now, with_length=response.status != 304)
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
