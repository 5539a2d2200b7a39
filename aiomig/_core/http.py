"""HTTP with httpx, for grids and for URLs in local mode: transports, requests, and responses of limited size.

This module imports httpx and httpcore. It is itself imported for the first request.
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
"""The name of the HTTP library, for the User-Agent."""

_IDLE_SECONDS = 10.0
"""Seconds after which an idle connection is closed. Servers close them after 15 s: docs/protocol.md#connections."""

_SLOWEST = 1024
"""The minimum average transfer rate in bytes per second, in either direction."""

_LARGE_BODY = 1 << 16
"""Request bodies with more bytes are sent only after "100 Continue"."""

_DIAGNOSIS_SECONDS = 5.0

_WEB_SECONDS = 30.0
"""The timeout in seconds for requests to URLs."""


class Timeouts(NamedTuple):
    """Timeouts in seconds for connecting, and for the next bytes in either direction."""

    connect: float
    read: float
    write: float
    pool: float | None = None


class Reply(NamedTuple):
    """A complete response."""

    status: int
    headers: Mapping[str, str]
    body: bytes


def make_transport(context: ssl.SSLContext, proxy: Proxy | None = None) -> httpx.AsyncHTTPTransport:
    """Return a transport of httpx whose connections are closed if a request is cancelled.

    The number of connections is not limited: with a limit, httpcore's pool loses a slot whenever a request is cancelled
    while it waits for a connection (encode/httpcore#961).

    Args:
        context: the client certificate and the trusted authorities.
        proxy: the proxy to use.
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
    # The proxy's certificate is not signed by the site's CA, so it is verified with the system's authorities.
    with translate_key_log_errors():
        context = ssl.create_default_context() if proxy.scheme == "https" else None
    return httpcore.Proxy(f"{proxy.scheme}://{proxy.address}", auth=proxy.login, ssl_context=context)


# -- requests to one server


Content: TypeAlias = bytes | tuple[bytes, ...]
"""The body of a request, in one or several parts. Large bodies are not joined, to avoid a copy."""


class _Body(httpx.AsyncByteStream):
    """The body of a request. httpx's own class uses a generator, and trio warns if a request with it is cancelled."""

    def __init__(self, content: Content) -> None:
        self._pieces = iter((content,) if isinstance(content, bytes) else content)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        for piece in self._pieces:
            return piece
        raise StopAsyncIteration


def content_length(content: Content | None) -> int:
    """Return the length of a body in bytes."""
    return sum(map(len, content)) if isinstance(content, tuple) else len(content or b"")


class Channel:
    """Connections to one server with one certificate.

    Args:
        url: the server, as ``https://host[:port]``.
        transport: the transport for the requests.
        proxy: the proxy that the transport uses.

    Attributes:
        proxy: the proxy that the transport uses.
        is_usable: whether new requests may be sent. If not, the last running request closes the connections.

    Raises:
        ConfigError: httpx cannot parse the URL.
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
        """Send a request, once, and read the response. Cancellation closes its connection.

        Raises:
            ConnectionFailed: the request failed; ``sent`` is false if it cannot have reached the server.
            AuthenticationFailed: the server refuses the certificate.
            ProtocolError: the response is longer than ``limit`` bytes.
        """
        length = content_length(content)
        if content is not None:
            # MiG servers refuse a body without a length: docs/protocol.md#connections.
            headers = {**headers, "Content-Length": str(length)}
        if length > _LARGE_BODY:
            # A server that asks for the certificate only after the headers buffers only a small part of the body.
            headers = {**headers, "Expect": "100-continue"}
        progress = Progress(self.proxy)
        extensions = {"timeout": timeouts._asdict(), "trace": progress}
        scope = anyio.CancelScope()
        self._scopes.add(scope)
        try:
            with scope, translate_errors(self._url, progress):
                url = self._url + path
                # With latin-1, any bytes, such as those of an ETag, are sent back unchanged.
                head = httpx.Headers(headers, encoding="latin-1")
                stream = None if content is None else _Body(content)
                # A transport for tests may read ``request.content``.
                whole = content if isinstance(content, bytes) else stream
                request = httpx.Request(method, url, headers=head, content=whole, extensions=extensions)
                request.stream = stream or request.stream
                response = await self._begin(request, length, progress, timeouts)
                try:
                    body = await _read_body(response, limit, timeouts.read)
                finally:
                    await response.aclose()
                if body is None:
                    raise ProtocolError(f"{method} {request.url.path}: the response is longer than {limit} bytes")
                response.headers.encoding = "latin-1"
                return Reply(response.status_code, response.headers, body)
        except BaseException:
            # The pool may keep a connection that was opened for this request but is not available to others.
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
        """Send a request and read the response headers. httpx limits the time of each read, this that of all."""
        seconds = timeouts.connect + 2 * timeouts.read + length / _SLOWEST
        with anyio.move_on_after(seconds):
            return await self._transport.handle_async_request(request)
        problem = f"{self._url}: no response within {seconds:g} s of the request"
        raise ConnectionFailed(problem, sent=not progress.is_connecting)

    async def diagnose(self) -> GridError | None:
        """Open a connection without a request, and return the server's reason for refusing the certificate, if any.

        With TLS 1.3, a server refuses a certificate after the client's handshake is complete. If the connection breaks
        while the client is sending its request, it cannot read the reason.
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
        """Accept no new requests, and close the connections when the running requests have ended."""
        self.is_usable = False
        await self._close_if_over()

    async def close(self) -> None:
        """Close all connections. Running requests raise `ConnectionFailed`."""
        self.is_usable = False
        for scope in self._scopes:
            scope.cancel()
        await self._transport.aclose()

    async def _close_if_over(self) -> None:
        if not self.is_usable and not self._scopes:
            with anyio.CancelScope(shield=True):
                await self._transport.aclose()


class _Listener(Progress):
    """Reads from a new connection, and closes it before the request is sent."""

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
    """Return the raw body, or ``None`` if it is longer than ``limit`` bytes.

    Raises:
        ConnectionFailed: after more than ``patience`` seconds, the average transfer rate is below `_SLOWEST`.
    """
    if response.is_stream_consumed:  # in a transport for tests
        return response.content if len(response.content) <= limit else None
    length = response.headers.get("Content-Length", "")
    if length.isascii() and length.isdigit() and int(length[:20]) > limit:
        return None
    chunks: list[bytes] = []
    size = 0
    began = anyio.current_time()
    # httpx declares an iterator, but returns a generator, which must be closed.
    async with aclosing(cast("AsyncGenerator[bytes, None]", response.aiter_raw())) as stream:
        async for chunk in stream:
            size += len(chunk)
            if size > limit:
                return None
            chunks.append(chunk)
            if size < (anyio.current_time() - began - patience) * _SLOWEST:
                problem = f"the response arrives at less than {_SLOWEST} bytes per second ({size} bytes so far)"
                raise ConnectionFailed(problem, sent=True)
    return b"".join(chunks)


# -- URLs


class _EnvironmentTransport(httpx.AsyncBaseTransport):
    """Sends each request through the proxy that the environment sets for its URL."""

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
    """Return a client for URLs of any host. It follows redirects and uses no client certificate."""
    return httpx.AsyncClient(
        transport=_EnvironmentTransport(None), trust_env=False, follow_redirects=True, timeout=_WEB_SECONDS
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
    """Send a request without a client certificate, and yield the response. The URL, which is secret, is not logged.

    Args:
        method: the HTTP method.
        url: the URL; anyone who knows it has access.
        headers: the request headers.
        content: the request body.
        ca: the file with the trusted authorities; the default is the system's.
        transport: a transport to use instead of the network, for tests; it is not closed.

    Raises:
        ConfigError: the file with the authorities cannot be read.
        httpx.HTTPError: see `translate_errors`.
    """
    try:
        used = transport or _EnvironmentTransport(ca)
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
