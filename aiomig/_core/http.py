"""HTTP by httpx, for the grid and for URLs in local mode: transports and bounded answers.

This module and those it needs import httpx and httpcore; they are imported when the first request is made.
"""

from __future__ import annotations

import ssl
from contextlib import aclosing, asynccontextmanager
from typing import TYPE_CHECKING, Any, NamedTuple, Self, TypeAlias, cast

import anyio
import httpcore
import httpx

from .errors import ConfigError, ConnectionFailed, GridError, ProtocolError
from .http_errors import Progress, translate_errors
from .network import Network
from .proxies import Proxy, proxy_for
from .tls_errors import tls_error, translate_key_log_errors

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Mapping

HTTPX = f"httpx {httpx.__version__}"
"""What makes the requests, for the User-Agent."""

_IDLE_SECONDS = 10.0
"""How long an unused connection is kept. Servers close theirs after 15 s: docs/protocol.md#connections."""

_SLOWEST = 1024
"""The bytes a second that must pass in the long run, either way."""

_LARGE_BODY = 1 << 16
"""Bytes of a request body from which the server is asked before the body is sent."""

_DIAGNOSIS_SECONDS = 5.0

_WEB_SECONDS = 30.0
"""How long the server of a URL may say nothing."""


class Timeouts(NamedTuple):
    """Seconds to connect, and to wait for the next bytes either way."""

    connect: float
    read: float
    write: float
    pool: float | None = None


class Reply(NamedTuple):
    """An answer, read to its end."""

    status: int
    headers: Mapping[str, str]
    body: bytes


def make_transport(context: ssl.SSLContext, proxy: Proxy | None = None) -> httpx.AsyncHTTPTransport:
    """Return httpx's transport, over connections that a cancelled request closes.

    It has no limit of connections: httpcore's limit loses a place with each request that is cancelled while it waits
    for one (encode/httpcore#961).

    Args:
        context: the certificate, and which servers are trusted.
        proxy: the proxy to go through.
    """
    transport = httpx.AsyncHTTPTransport(verify=context)
    # httpx has no argument for the network backend, so the pool is made here.
    transport._pool = httpcore.AsyncConnectionPool(
        ssl_context=context,
        proxy=_httpcore_proxy(proxy) if proxy is not None else None,
        max_connections=None,
        keepalive_expiry=_IDLE_SECONDS,
        network_backend=Network(),
    )
    return transport


def _httpcore_proxy(proxy: Proxy) -> httpcore.Proxy:
    # The proxy's certificate is checked with the system's store: the site's CA does not sign it.
    with translate_key_log_errors():
        context = ssl.create_default_context() if proxy.scheme == "https" else None
    return httpcore.Proxy(f"{proxy.scheme}://{proxy.address}", auth=proxy.login, ssl_context=context)


# -- requests to one server


Content: TypeAlias = bytes | tuple[bytes, ...]
"""The body of a request, whole or in pieces: a large one is never joined, which would copy it."""


class _Body(httpx.AsyncByteStream):
    """The body of a request. httpx's own is a generator, which trio warns of if the request is cancelled."""

    def __init__(self, content: Content) -> None:
        self._pieces = iter((content,) if isinstance(content, bytes) else content)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        for piece in self._pieces:
            return piece
        raise StopAsyncIteration


def content_length(content: Content | None) -> int:
    """Return the number of bytes of a body."""
    return sum(map(len, content)) if isinstance(content, tuple) else len(content or b"")


class Channel:
    """Connections to one server with one certificate.

    Args:
        url: ``https://host[:port]`` of the server.
        transport: what to send by.
        proxy: the proxy that the transport goes through.

    Attributes:
        proxy: the proxy that the transport goes through.
        is_usable: whether new requests may be sent. If not, the last of the others closes the connections.

    Raises:
        ConfigError: httpx cannot make sense of the URL.
    """

    def __init__(self, url: str, transport: httpx.AsyncBaseTransport, proxy: Proxy | None = None) -> None:
        try:
            httpx.URL(url)
        except httpx.InvalidURL as error:
            raise ConfigError(f"url: {url!r}: {error}; give https://host[:port]", field="url") from error
        self._url = url
        self._transport = transport
        self._scopes: set[anyio.CancelScope] = set()
        self.proxy = proxy
        self.is_usable = True

    async def request(
        self,
        method: str,
        path: str,
        content: Content | None,
        headers: Mapping[str, str],
        *,
        limit: int,
        timeouts: Timeouts,
    ) -> Reply:
        """Send one request, once, and read the answer. Cancellation closes its connection.

        Raises:
            ConnectionFailed: with ``sent`` False if the request cannot have reached the server.
            AuthenticationFailed: the server refuses the certificate.
            ProtocolError: the answer is longer than ``limit`` bytes.
        """
        length = content_length(content)
        if content is not None:
            # MiG servers refuse a body without a length: docs/protocol.md#connections.
            headers = {**headers, "Content-Length": str(length)}
        if length > _LARGE_BODY:
            # The server may ask for the certificate only now, and keeps little of a body meanwhile.
            headers = {**headers, "Expect": "100-continue"}
        progress = Progress(self.proxy)
        extensions = {"timeout": timeouts._asdict(), "trace": progress}
        scope = anyio.CancelScope()
        self._scopes.add(scope)
        try:
            with scope, translate_errors(self._url, progress):
                url = self._url + path
                # Each byte of a header is a character: an ETag goes back as it came.
                head = httpx.Headers(headers, encoding="latin-1")
                stream = None if content is None else _Body(content)
                # A transport for tests may ask for ``request.content``.
                whole = content if isinstance(content, bytes) else stream
                request = httpx.Request(method, url, headers=head, content=whole, extensions=extensions)
                request.stream = stream or request.stream
                response = await self._begin(request, length, progress, timeouts)
                try:
                    body = await _read_body(response, limit, timeouts.read)
                finally:
                    await response.aclose()
                if body is None:
                    raise ProtocolError(f"{method} {request.url.path}: the answer is longer than {limit} bytes")
                response.headers.encoding = "latin-1"
                return Reply(response.status_code, response.headers, body)
        except BaseException:
            # httpcore may keep a connection that was made for this request and that no other will get.
            self.is_usable = self.is_usable and not progress.is_connecting
            raise
        finally:
            self._scopes.discard(scope)
            await self._close_if_over()
        problem = f"{self._url}: the session was closed during a request"
        raise ConnectionFailed(problem, sent=not progress.is_connecting)

    async def _begin(
        self, request: httpx.Request, length: int, progress: Progress, timeouts: Timeouts
    ) -> httpx.Response:
        """Send, and read the head of the answer. httpx limits the time of each byte, this that of all."""
        seconds = timeouts.connect + 2 * timeouts.read + length / _SLOWEST
        with anyio.move_on_after(seconds):
            return await self._transport.handle_async_request(request)
        problem = f"{self._url}: no answer had begun {seconds:g} s after the request"
        raise ConnectionFailed(problem, sent=not progress.is_connecting)

    async def diagnose(self) -> GridError | None:
        """Return why the server refuses the certificate, if it says so to a connection that sends no request.

        In TLS 1.3 a server says whether it takes the certificate after the client has begun to write. A client that
        finds the connection broken while it writes does not get to read that.
        """
        extensions = {"trace": _Listener(self.proxy), "timeout": {"connect": _DIAGNOSIS_SECONDS}}
        with anyio.move_on_after(_DIAGNOSIS_SECONDS):
            try:
                with translate_errors(self._url):
                    await self._transport.handle_async_request(httpx.Request("GET", self._url, extensions=extensions))
            except GridError as error:
                return error if tls_error(error.__cause__) is not None else None
        return None

    async def retire(self) -> None:
        """Take no more requests; close when those that are under way are over."""
        self.is_usable = False
        await self._close_if_over()

    async def close(self) -> None:
        """Close the connections, also those in use: their requests get an error."""
        self.is_usable = False
        for scope in self._scopes:
            scope.cancel()
        await self._transport.aclose()

    async def _close_if_over(self) -> None:
        if not self.is_usable and not self._scopes:
            with anyio.CancelScope(shield=True):
                await self._transport.aclose()


class _Listener(Progress):
    """Listens on a new connection, and closes it before the request is sent."""

    async def __call__(self, event: str, info: dict[str, Any]) -> None:
        await super().__call__(event, info)
        if event.endswith(".start_tls.complete") and self.proxy is None:
            stream: httpcore.AsyncNetworkStream = info["return_value"]
            try:
                await stream.read(1, _DIAGNOSIS_SECONDS)
                raise httpcore.ReadError("the server gave no reason")
            finally:
                with anyio.CancelScope(shield=True):
                    await stream.aclose()


async def _read_body(response: httpx.Response, limit: int, patience: float) -> bytes | None:
    """Return the body as it was sent; ``None`` if it is longer than ``limit`` bytes.

    Raises:
        ConnectionFailed: after ``patience`` seconds and more it drips so slowly that it might never end.
    """
    if response.is_stream_consumed:  # by a transport for tests
        return response.content if len(response.content) <= limit else None
    length = response.headers.get("Content-Length", "")
    if length.isascii() and length.isdigit() and int(length[:20]) > limit:
        return None
    pieces: list[bytes] = []
    size = 0
    began = anyio.current_time()
    # A generator, though httpx does not say so, that is to be closed.
    async with aclosing(cast("AsyncGenerator[bytes, None]", response.aiter_raw())) as stream:
        async for piece in stream:
            size += len(piece)
            if size > limit:
                return None
            pieces.append(piece)
            if size < (anyio.current_time() - began - patience) * _SLOWEST:
                problem = f"the answer comes at less than {_SLOWEST} bytes a second ({size} bytes so far)"
                raise ConnectionFailed(problem, sent=True)
    return b"".join(pieces)


# -- URLs


class _ByEnvironment(httpx.AsyncBaseTransport):
    """Goes to each URL by the proxy that the environment names for it."""

    def __init__(self, ca: str | None) -> None:
        self._transports: dict[Proxy | None, httpx.AsyncHTTPTransport] = {}
        with translate_key_log_errors():
            self._context = httpx.create_ssl_context() if ca is None else ssl.create_default_context(cafile=ca)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        proxy = proxy_for(str(request.url))
        if proxy not in self._transports:
            self._transports[proxy] = make_transport(self._context, proxy)
        return await self._transports[proxy].handle_async_request(request)

    async def aclose(self) -> None:
        for transport in self._transports.values():
            await transport.aclose()


def make_web_client() -> httpx.AsyncClient:
    """Return a client for URLs of any host. It follows redirects and knows no certificate of the user's."""
    return httpx.AsyncClient(
        transport=_ByEnvironment(None), trust_env=False, follow_redirects=True, timeout=_WEB_SECONDS
    )


@asynccontextmanager
async def anonymous_response(
    method: str,
    url: str,
    headers: Mapping[str, str],
    content: bytes = b"",
    *,
    ca: str | None = None,
    transport: httpx.AsyncBaseTransport | None = None,
) -> AsyncGenerator[httpx.Response, None]:
    """Send one request without a certificate, and give the response. httpx does not log the URL, which is secret.

    Args:
        method: the HTTP method.
        url: whoever knows it has the rights.
        headers: of the request.
        content: its body.
        ca: the file with the authorities that are trusted; the default is the system's.
        transport: what to send by instead of the network, for tests; it stays open.

    Raises:
        ConfigError: the file cannot be read.
        httpx.HTTPError: see `translate_errors`.
    """
    try:
        used = transport or _ByEnvironment(ca)
    except OSError as error:
        raise ConfigError(f"ca: {ca}: {error.strerror or error}", field="ca") from error
    try:
        timeouts = Timeouts(_WEB_SECONDS, _WEB_SECONDS, _WEB_SECONDS)._asdict()
        request = httpx.Request(method, url, headers=headers, content=content, extensions={"timeout": timeouts})
        request.stream = _Body(content)
        response = await used.handle_async_request(request)
        try:
            yield response
        finally:
            await response.aclose()
    finally:
        if transport is None:
            await used.aclose()
