"""Translation of errors of httpx to errors of aiomig."""

from __future__ import annotations

import os
import socket
import ssl
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import httpx

from .errors import ConnectionFailed, GridError
from .tls_errors import explain_tls, tls_error

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .proxies import Proxy


class Progress:
    """The progress of a request, from httpcore's trace events.

    Attributes:
        is_connecting: whether a connection is being opened, so that no part of the request has been sent yet.
        proxy: the proxy until the tunnel through it is established, then ``None``.
    """

    def __init__(self, proxy: Proxy | None) -> None:
        self.is_connecting = False
        self.proxy = proxy

    async def __call__(self, event: str, info: dict[str, Any]) -> None:
        if event == "connection.connect_tcp.started":
            self.is_connecting = True
        elif event == "proxy.start_tls.started":
            self.proxy = None
        elif event == "http11.send_request_headers.started" and info["request"].method != b"CONNECT":
            self.is_connecting = False
            self.proxy = None


@contextmanager
def translate_errors(url: str, progress: Progress | None = None, *, is_site: bool = True) -> Iterator[None]:
    """Translate errors of httpx to errors of aiomig.

    Args:
        url: the URL of the server.
        progress: the progress of the request.
        is_site: whether the server is a MiG site, and not any web server.
    """
    try:
        yield
    except (httpx.HTTPError, httpx.InvalidURL, httpx.StreamError, ssl.SSLError, UnicodeError) as error:
        raise _explain(url, error, progress, is_site=is_site) from error


def _explain(url: str, error: Exception, progress: Progress | None, *, is_site: bool) -> GridError:
    is_unsent = (progress is not None and progress.is_connecting) or isinstance(
        error,
        (httpx.ConnectError, httpx.ConnectTimeout, httpx.ProxyError, httpx.InvalidURL, UnicodeError),
    )
    if isinstance(error, httpx.UnsupportedProtocol):
        scheme = url.partition(":")[0]
        problem = "has no host" if scheme.lower() in ("http", "https") else f"{scheme} is not supported here"
        return ConnectionFailed(f"{url}: {problem}; give an http or https URL", sent=False)
    reason = _reason(error)
    if is_unsent and progress is not None and progress.proxy is not None:
        problem = f"{url} cannot be reached: the proxy {progress.proxy.address}: {reason}; check the proxy"
        return ConnectionFailed(problem, sent=False)
    if (tls := tls_error(error)) is not None:
        return explain_tls(url, tls, sent=not is_unsent, is_site=is_site)
    if is_unsent:
        return ConnectionFailed(f"{url} cannot be reached: {reason}; check the URL and the network", sent=False)
    if isinstance(error, httpx.TimeoutException):
        return ConnectionFailed(f"{url} did not respond in time ({reason})", sent=True)
    return ConnectionFailed(f"the connection to {url} broke: {reason}", sent=True)


def _reason(error: BaseException) -> str:
    """Return the message of the system error that caused an error of httpx, or else the error's own message."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, BaseExceptionGroup):
            cause = cause.exceptions[0]
        if isinstance(cause, socket.gaierror):
            return f"unknown host ({cause.strerror})"
        if isinstance(cause, OSError) and cause.strerror and not isinstance(cause, ssl.SSLError):
            return os.strerror(cause.errno) if cause.errno else cause.strerror
        cause = cause.__cause__ or cause.__context__
    if isinstance(error, httpx.ConnectTimeout):
        return "the connection timed out"
    return str(error) or type(error).__name__
