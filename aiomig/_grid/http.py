"""The HTTP client of a session, with the user's certificate and a limit on concurrent requests."""

from __future__ import annotations

import platform
from typing import TYPE_CHECKING
from weakref import WeakSet

import anyio

from .._core.errors import ConnectionFailed, NoSession
from .._core.http import HTTPX, Channel, Timeouts, make_transport
from .._core.proxies import proxy_for
from .renewal import CertificateReloader

if TYPE_CHECKING:
    import ssl
    from collections.abc import Mapping

    import httpx

    from .._core.http import Content, Reply
    from .._core.proxies import Proxy
    from .config import Config
    from .credential import Credential

_CONNECTIONS = 8
"""Concurrent requests at most. A site often serves ten at once for all its users: docs/protocol.md#connections."""


class HttpClient:
    """Sends the requests of one session. `open` it before use.

    Args:
        config: the server and the user's certificate.
        version: the version of aiomig, for the User-Agent header.
        transport: replaces the network in tests.
        largest_response: the largest response in bytes, unless a request sets another limit.
    """

    def __init__(
        self,
        config: Config,
        version: str,
        transport: httpx.AsyncBaseTransport | None = None,
        *,
        largest_response: int = 64 << 20,
    ) -> None:
        self._config = config
        self._largest_response = largest_response
        self._transport = transport
        self._limiter = anyio.CapacityLimiter(_CONNECTIONS)
        self._reloader = CertificateReloader(config) if transport is None else None
        self._context: ssl.SSLContext | None = None
        self._proxy: Proxy | None = None
        self._channel: Channel | None = None
        self._old_channels: WeakSet[Channel] = WeakSet()
        self._has_answered = transport is not None
        self._timeouts = Timeouts(config.connect_timeout, config.timeout, config.timeout)
        agent = f"aiomig/{version} ({HTTPX}; Python {platform.python_version()})"
        self._headers = {"Accept": "*/*", "Accept-Encoding": "identity", "User-Agent": agent}

    @property
    def credential(self) -> Credential | None:
        """The certificate in use; ``None`` while the client is closed, and with a transport for tests."""
        return self._reloader.credential if self._reloader is not None and self._channel is not None else None

    async def open(self) -> None:
        """Read the certificate. The first request connects.

        Raises:
            ConfigError: a file of the configuration is wrong, or the proxy in the environment is.
            AuthenticationFailed: the certificate cannot be used now, or its key cannot be opened.
        """
        if self._reloader is not None:
            self._context = self._reloader.load()
            self._proxy = proxy_for(self._config.url)
        self._channel = self._make_channel()

    def _make_channel(self) -> Channel:
        if self._context is None:
            assert self._transport is not None
            return Channel(self._config.url, self._transport)
        return Channel(self._config.url, make_transport(self._context, self._proxy), self._proxy)

    async def close(self) -> None:
        """Close the connections."""
        channel, self._channel = self._channel, None
        for open_channel in (channel, *self._old_channels):
            if open_channel is not None:
                await open_channel.close()

    async def _current_channel(self) -> Channel:
        """Return the channel for a new request. Create a new channel if the certificate was replaced on disk."""
        channel = self._channel
        context = None
        if channel is not None and self._reloader is not None:
            context = self._reloader.reload_if_changed()
        if context is not None:
            self._context, self._has_answered = context, False
        if channel is not None and (context is not None or not channel.is_usable):
            self._channel = self._make_channel()
            self._old_channels.add(channel)
            await channel.retire()
        if self._channel is None:
            raise NoSession("the session of this job or home is not open; open one and ask there")
        return self._channel

    async def send(
        self,
        method: str,
        path: str,
        *,
        content: Content | None = None,
        headers: Mapping[str, str] | None = None,
        limit: int | None = None,
    ) -> Reply:
        """Send one request, once, and read the response. Cancellation closes its connection.

        Raises:
            ConnectionFailed: the request failed; ``sent`` is False if it cannot have reached the server.
            AuthenticationFailed: the server refuses the certificate, or the certificate has expired.
            ProtocolError: the response is longer than ``limit``, or than ``largest_response`` by default.
            NoSession: the client is closed.
        """
        async with self._limiter:
            channel = await self._current_channel()
            try:
                reply = await channel.request(
                    method,
                    path,
                    content,
                    {**self._headers, **(headers or {})},
                    limit=self._largest_response if limit is None else limit,
                    timeouts=self._timeouts,
                )
            except ConnectionFailed as error:
                if error.sent and not self._has_answered:
                    self._has_answered = True  # one diagnosis is enough
                    if (refusal := await channel.diagnose()) is not None:
                        raise refusal from error.__cause__
                raise
            self._has_answered = True
            return reply
