"""The one module that imports httpx, and only when it is used: the session's client, and transfers by URL."""

from __future__ import annotations

import platform
import ssl
from contextlib import aclosing, contextmanager
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple, cast
from weakref import WeakSet

import anyio
import anyio.lowlevel

from .._core.errors import (
    AuthenticationFailed,
    ConfigError,
    ConnectionFailed,
    GridError,
    NoSession,
    ProtocolError,
)
from .connections import Connections
from .proxy import proxy_for
from .renewal import Renewal

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Iterator, Mapping

    import httpx

    from .config import Config
    from .credential import Credential
    from .proxy import Proxy

_PIECE = 1 << 20

_IDLE_SECONDS = 10.0
"""How long an unused connection is kept; servers close theirs after 15 s without a word (mig-live 1)."""

_URLS = 100
"""How many are kept as httpx takes them apart: those of operations come again and again."""

_CONNECTIONS = 8
"""Requests at once; a whole site often has ten places for all its users (mig-live 1)."""

_SLOWEST = 1024
"""The bytes a second that must pass in the long run, either way."""

MAX_ANSWER = 64 << 20
"""The most bytes that an answer may have, unless a caller says otherwise."""

_REFUSED = {
    "CERTIFICATE_REQUIRED": "the server wants a client certificate and got none",
    "HANDSHAKE_FAILURE": "the server refused the handshake, as it does where the client certificate is missing",
    "CERTIFICATE_EXPIRED": "the server says that the client certificate has expired; get a new one from the site",
    "CERTIFICATE_REVOKED": "the server says that the client certificate was revoked; get a new one from the site",
    "UNKNOWN_CA": "the server does not know the authority that signed the client certificate; use the site's own",
    "BAD_CERTIFICATE": "the server cannot use the client certificate",
    "ACCESS_DENIED": "the server denies access to this client certificate",
}


_NO_REASON = (ssl.SSLEOFError, ssl.SSLZeroReturnError, ssl.SSLWantReadError, ssl.SSLWantWriteError)

_DIAGNOSIS_SECONDS = 5.0


class Reply(NamedTuple):
    """An answer, read to its end."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class HttpClient:
    """The connections of one session: TLS with the user's certificate, keep-alive, so many requests at once.

    What is sent goes through httpx's transport, by which tools that look on know it, but over connections of our own,
    see `_connection`. A limiter stands before them.

    Args:
        config: where, and as whom.
        version: of aiomig, for the User-Agent.
        transport: what to send by instead of the network, for tests.
    """

    def __init__(self, config: Config, version: str, transport: httpx.AsyncBaseTransport | None = None) -> None:
        self._config = config
        self._version = version
        self._transport = transport
        self._limiter = anyio.CapacityLimiter(_CONNECTIONS)
        self._renewal = Renewal(config) if transport is None else None
        self._connections: Connections | None = None
        self._retired: WeakSet[Connections] = WeakSet()
        self._proxy: Proxy | None = None
        self._headers: Mapping[str, str]
        self._timeouts: Mapping[str, Any]
        self._url: Callable[[str], httpx.URL]

    @property
    def credential(self) -> Credential | None:
        """The certificate that is used; ``None`` before it was read, and with a transport for tests."""
        return self._renewal.credential if self._renewal is not None and self._connections is not None else None

    async def open(self) -> None:
        """Reads the certificate; connects to nothing yet.

        Raises:
            ConfigError: a file of the configuration is wrong, or the proxy that the environment names.
            AuthenticationFailed: the certificate cannot be used now, or its key not be opened.
        """
        import httpx

        config = self._config
        agent = f"aiomig/{self._version} (httpx {httpx.__version__}; Python {platform.python_version()})"
        self._headers = {"Accept": "*/*", "Accept-Encoding": "identity", "User-Agent": agent}
        self._timeouts = httpx.Timeout(config.timeout, connect=config.connect_timeout).as_dict()
        try:
            host = httpx.URL(config.url).host
        except httpx.InvalidURL as error:
            raise ConfigError(f"url: {config.url!r}: {error}; give https://host[:port]", field="url") from error
        self._url = lru_cache(_URLS)(lambda path: httpx.URL(config.url + path))
        if self._renewal is None:
            assert self._transport is not None
            self._connections = Connections(self._transport)
        else:
            context = self._renewal.load()
            self._proxy = proxy_for(host)
            self._connections = self._connect(context)

    def _connect(self, context: ssl.SSLContext) -> Connections:
        import httpx

        from .pool import Pool

        transport = httpx.AsyncHTTPTransport(verify=context)
        pool: Any = Pool(context, self._proxy, keep=_CONNECTIONS, seconds=_IDLE_SECONDS)
        transport._pool = pool  # there is no argument for it
        return Connections(transport, context)

    async def close(self) -> None:
        """Closes the connections."""
        connections, self._connections = self._connections, None
        for each in (connections, *self._retired):
            if each is not None:
                await each.transport.aclose()

    async def _present(self) -> Connections:
        """The connections that a new request is to use: others once the certificate was replaced on disk."""
        present = self._connections
        if present is not None and self._renewal is not None and (context := self._renewal.renewed()) is not None:
            self._connections = self._connect(context)
            self._retired.add(present)
            await present.retire()
        if self._connections is None:
            raise NoSession("the session of this job or home is not open; open one and ask there")
        return self._connections

    async def send(
        self,
        method: str,
        path: str,
        *,
        content: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        limit: int = MAX_ANSWER,
    ) -> Reply:
        """Sends one request, once, and reads the answer. Cancellation closes its connection.

        Raises:
            ConnectionFailed: with ``sent`` False where the request cannot have reached the server.
            AuthenticationFailed: the server refuses the certificate, or it has expired meanwhile.
            ProtocolError: the answer is longer than ``limit`` bytes.
            NoSession: it is not open, or not any more.
        """
        async with self._limiter, await self._present() as connections:
            try:
                with _translated(self._config.url):
                    request = self._request(method, path, content, headers or {})
                    reply = await self._exchange(connections.transport, request, limit)
            except ConnectionFailed as error:
                if (refusal := await self._refusal(connections, error)) is not None:
                    raise refusal from error.__cause__
                raise
            connections.is_proven = True
        return reply

    def _request(self, method: str, path: str, content: bytes | None, headers: Mapping[str, str]) -> httpx.Request:
        import httpx

        extensions = {"timeout": self._timeouts}
        return httpx.Request(
            method, self._url(path), headers={**self._headers, **headers}, content=content, extensions=extensions
        )

    async def _exchange(self, transport: httpx.AsyncBaseTransport, request: httpx.Request, limit: int) -> Reply:
        response = await self._begun(transport, request)
        try:
            body = await _body(response, limit, self._config.timeout)
        finally:
            await response.aclose()
        if body is None:
            raise ProtocolError(f"{request.method} {request.url.path}: the answer is longer than {limit} bytes")
        return Reply(response.status_code, response.headers, body)

    async def _begun(self, transport: httpx.AsyncBaseTransport, request: httpx.Request) -> httpx.Response:
        """Sends, and reads the head of the answer. httpx limits the time of each byte, this that of all."""
        length = int(request.headers.get("Content-Length", 0))
        seconds = self._config.connect_timeout + 2 * self._config.timeout + length / _SLOWEST
        with anyio.move_on_after(seconds):
            return await transport.handle_async_request(request)
        raise ConnectionFailed(f"{self._config.url}: no answer had begun {seconds:g} s after the request")

    async def _refusal(self, connections: Connections, error: ConnectionFailed) -> GridError | None:
        """Why a server that never answered breaks connections.

        In TLS 1.3 a server tells whether it takes the client's certificate after the client has begun to write, and
        who finds the connection broken while writing does not get to read it. So this one writes nothing.
        """
        import httpcore
        import httpx

        from .connection import Connection

        broken = isinstance(error.__cause__, (httpx.NetworkError, httpx.RemoteProtocolError))
        if connections.is_proven or connections.context is None or not error.sent or not broken:
            return None
        connections.is_proven = True  # it is looked into once
        connection = Connection(httpcore.URL(self._config.url).origin, connections.context, self._proxy)
        with anyio.move_on_after(_DIAGNOSIS_SECONDS):
            try:
                await connection.open()
                await connection.receive()
            except (httpcore.NetworkError, httpcore.ProxyError) as refused:
                tls = _tls_error(refused)
                return None if tls is None else _explain_tls(self._config.url, tls, sent=True)
            finally:
                await connection.close()
        return None


def _pieces(response: httpx.Response) -> AsyncGenerator[bytes, None]:
    """The body as it comes; a generator, though httpx does not say so, that is to be closed."""
    return cast("AsyncGenerator[bytes, None]", response.aiter_raw())


async def _body(response: httpx.Response, limit: int, patience: float) -> bytes | None:
    """The body as it was sent; ``None`` where it is longer than ``limit`` bytes.

    Raises:
        ConnectionFailed: after ``patience`` seconds and more it drips so slowly that it might never end.
    """
    if response.is_stream_consumed:  # by a transport for tests
        return response.content if len(response.content) <= limit else None
    told = response.headers.get("Content-Length", "")
    if told.isascii() and told.isdigit() and int(told) > limit:
        return None
    pieces: list[bytes] = []
    size = 0
    began = anyio.current_time()
    async with aclosing(_pieces(response)) as stream:
        async for piece in stream:
            size += len(piece)
            if size > limit:
                return None
            pieces.append(piece)
            if size < (anyio.current_time() - began - patience) * _SLOWEST:
                raise ConnectionFailed(f"the answer comes at less than {_SLOWEST} bytes a second ({size} bytes so far)")
    return b"".join(pieces)


def is_lasting(error: ConnectionFailed) -> bool:
    """Whether another try would fail just so: the two sides do not agree on TLS."""
    return not error.sent and _tls_error(error.__cause__) is not None


@contextmanager
def _translated(url: str) -> Iterator[None]:
    """Turns what httpx raises into our errors."""
    import httpx

    try:
        yield
    except (httpx.HTTPError, httpx.InvalidURL, httpx.StreamError, ssl.SSLError) as error:
        raise _explain(url, error) from error


def _explain(url: str, error: BaseException) -> GridError:
    import httpx

    tls = None if isinstance(error, httpx.ProxyError) else _tls_error(error)
    unsent = isinstance(
        error,
        (httpx.ConnectError, httpx.ConnectTimeout, httpx.ProxyError, httpx.InvalidURL, httpx.UnsupportedProtocol),
    )
    if tls is not None:
        return _explain_tls(url, tls, sent=not unsent)
    said = str(error) or type(error).__name__
    if unsent:
        return ConnectionFailed(f"{url} cannot be reached: {said}; check the URL and the network", sent=False)
    if isinstance(error, httpx.TimeoutException):
        return ConnectionFailed(f"{url} did not answer in time ({said})", sent=True)
    return ConnectionFailed(f"the connection to {url} broke: {said}", sent=True)


def _tls_error(error: BaseException | None) -> ssl.SSLError | None:
    """The error of TLS behind an error, if there is one; that a connection ended, or a wait was cut, does not count."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        if isinstance(error, ssl.SSLError) and not isinstance(error, _NO_REASON):
            return error
        error = error.__cause__ or error.__context__
    return None


def _explain_tls(url: str, error: ssl.SSLError, *, sent: bool) -> GridError:
    if isinstance(error, ssl.SSLCertVerificationError):
        said = error.verify_message or str(error)
        remedy = "check the host name in the URL" if "ostname" in said or "IP address" in said else "give its CA as ca"
        return ConnectionFailed(f"the certificate of {url} is not trusted: {said}; {remedy}")
    reason = error.reason or str(error)
    for word, text in _REFUSED.items():
        if word in reason:
            return AuthenticationFailed(f"{url}: {text} ({reason})")
    return ConnectionFailed(f"TLS with {url} failed: {reason}; is it the https port of a MiG server?", sent=sent)
