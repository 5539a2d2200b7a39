"""Calls operations of a MiG server by name, with tokens and retries. Knows HTTP, but not the single operations."""

from __future__ import annotations

import logging
import secrets
import time
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, TypeVar
from urllib.parse import quote, unquote

import anyio

from .._core.errors import AuthenticationFailed, ConfigError, ConnectionFailed, GridError, ProtocolError, ServerError
from .._core.http import content_length
from .._core.tls_errors import is_lasting
from .._core.turns import give_way
from .config import Retry
from .forms import form
from .protocol.answer import csrf_refused, csrf_tokens, form_token, read_objects, redirected
from .server_time import ClockSkew, retry_after

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence

    from .._core.http import Content, Reply
    from .http import HttpClient
    from .protocol.answer import Answer

logger = logging.getLogger("aiomig.grid")

_T = TypeVar("_T")
_TRY_LATER = frozenset({429, 500, 502, 503, 504})
_CRASHED = "A critical internal error occurred"  # sent with HTTP 200 (docs/protocol.md#crashes)
_CGI_ONLY = frozenset({"liveio"})  # docs/protocol.md#endpoints
_TOKEN_IN_FORM = frozenset({"crontab"})  # docs/protocol.md#csrf-tokens
_FILES = "/cert_redirect/"
_LARGEST_USUAL = 1 << 20
_LONG = "cat expand datatransfer find freezedb grep jobstatus ls resman sharelink showfreeze vgridman"
_LARGEST = dict.fromkeys(_LONG.split()) | {
    "mrslview": 8 << 20,
    "mqueue": 4 << 20,
    "statpath": 8 << 20,
}
"""The most bytes of a response to an operation; ``None`` is the largest that the client accepts."""

_MARGIN = 2 << 20
"""Bytes that a response to a download may have in addition to the requested ones, for an error page."""

_correlation_id: ContextVar[str] = ContextVar("aiomig_correlation_id", default="")


class _Later(Exception):
    """A temporary failure: a retry may succeed."""

    def __init__(self, error: GridError, pause: float = 0.0) -> None:
        super().__init__(str(error))
        self.error = error
        self.pause = pause


class OperationClient:
    """The operations of one server, for one session.

    All log lines of one operation, its retries and its requests for tokens have the same ``correlation_id``.

    Args:
        client: the connections.
        retry: how to retry repeatable requests.
    """

    def __init__(self, client: HttpClient, retry: Retry | None = None) -> None:
        self._client = client
        self._retry = retry or Retry()
        self._tokens: dict[str, str] = {}
        self._token_lock = anyio.Lock()
        self._folder = "wsgi-bin"
        self._folder_known = False
        self._skew = ClockSkew()

    async def query(self, operation: str, fields: Sequence[tuple[str, str]] = ()) -> Answer:
        """Run an operation that changes nothing; retry it if it fails.

        Raises:
            GridError: see `read_objects`.
        """
        return await self.retrying(lambda: self._exchange(operation, *form(fields)))

    async def post(self, operation: str, fields: Sequence[tuple[str, str]] = ()) -> Reply:
        """Send one request. Use `parse` to parse the response, and `retrying` to retry both."""
        return await self._located(operation, *form(fields))

    async def prepare(self, operation: str) -> None:
        """Fetch the token of an operation, so that `execute` sends only one request.

        Raises:
            GridError: the token cannot be fetched; nothing was changed.
        """
        await self._token(operation)

    async def execute(
        self, operation: str, fields: Sequence[tuple[str, str]] = (), *, repeatable: bool = False
    ) -> Answer:
        """Run an operation that changes something, with the token that the server requires.

        Args:
            operation: the name of the operation.
            fields: its parameters.
            repeatable: whether running it twice has the same effect as running it once. Only then is it retried.
        """
        return await self.execute_raw(operation, lambda token: form([*fields, ("_csrf", token)]), repeatable=repeatable)

    async def execute_raw(
        self,
        operation: str,
        body: Callable[[str], tuple[Content, str]],
        *,
        headers: Mapping[str, str] | None = None,
        repeatable: bool = False,
    ) -> Answer:
        """Like `execute`, but ``body`` returns the body and its media type for a token."""

        async def send() -> Answer:
            answer = await self._exchange(operation, *body(await self._token_before(operation)), headers)
            if csrf_refused(answer):
                # The server refused it before it changed anything, so it may be sent again.
                answer = await self._exchange(operation, *body(await self._token(operation, renew=True)), headers)
            return answer

        with _correlated():
            return await self.retrying(send) if repeatable else await _once(send)

    async def retrying(self, action: Callable[[], Awaitable[_T]]) -> _T:
        """Run an action, and retry it after temporary failures; see `Retry`."""
        with _correlated():
            for pause in self._retry.pauses():
                try:
                    return await action()
                except _Later as later:
                    await _pause(max(pause, later.pause), later.error)
                except ConnectionFailed as error:
                    if is_lasting(error):
                        raise
                    await _pause(pause, error)
            return await _once(action)

    async def _exchange(
        self, operation: str, content: Content, media_type: str, headers: Mapping[str, str] | None = None
    ) -> Answer:
        return await self.parse(operation, await self._located(operation, content, media_type, headers))

    async def _located(
        self, operation: str, content: Content, media_type: str, headers: Mapping[str, str] | None = None
    ) -> Reply:
        return await self._locate(operation, content, {"Content-Type": media_type, **(headers or {})})

    async def _locate(self, operation: str, content: Content, headers: Mapping[str, str]) -> Reply:
        """Send to ``wsgi-bin``, or to ``cgi-bin`` if the server has no ``wsgi-bin`` (docs/protocol.md#endpoints)."""
        folder = "cgi-bin" if operation in _CGI_ONLY else self._folder
        limit = _LARGEST.get(operation, _LARGEST_USUAL)
        reply = await self.send("POST", f"/{folder}/{operation}.py", content=content, headers=headers, limit=limit)
        if not self._folder_known and folder == "wsgi-bin":
            if _is_switched_off(reply):
                reply = await self.send(
                    "POST", f"/cgi-bin/{operation}.py", content=content, headers=headers, limit=limit
                )
                self._folder = "cgi-bin" if reply.status < 400 else self._folder
            self._folder_known = reply.status < 400
        return reply

    async def parse(self, operation: str, reply: Reply, *, keep_noise: bool = False) -> Answer:
        """Return the objects of a response. Let other tasks run if it is large.

        Raises:
            GridError: see `read_objects`. Temporary failures are raised for `retrying`.
        """
        if 300 <= reply.status < 400:
            raise AuthenticationFailed(str(redirected(operation, reply.headers.get("Location", ""))))
        pause = retry_after(reply.headers.get("Retry-After"), reply.headers.get("Date"))
        try:
            content_type = reply.headers.get("Content-Type", "")
            return await give_way(
                read_objects(operation, reply.body, content_type, reply.status, keep_noise=keep_noise)
            )
        except ProtocolError as error:
            raise _Later(error, pause) from error
        except ServerError as error:
            if reply.status in _TRY_LATER or any(message.startswith(_CRASHED) for message in error.messages):
                raise _Later(error, pause) from error
            raise
        except ConfigError as error:
            raise AuthenticationFailed(str(error)) from error

    async def send(
        self,
        method: str,
        path: str,
        *,
        content: Content | None = None,
        headers: Mapping[str, str] | None = None,
        limit: int | None = None,
    ) -> Reply:
        """Send one request and log it."""
        bound = {} if limit is None else {"limit": limit}
        began, clock = time.monotonic(), time.time()
        reply: Reply | None = None
        outcome = "given up"
        with _correlated():
            try:
                reply = await self._client.send(method, path, content=content, headers=headers, **bound)
                outcome = f"{reply.status}, {len(reply.body)} bytes"
            except GridError as error:
                outcome = _without_excerpt(error)
                raise
            finally:
                _log(method, path, outcome, time.monotonic() - began, sent=content, reply=reply)
        self._skew.note(reply.headers.get("Date"), clock, time.time())
        return reply

    # -- tokens

    async def _token_before(self, operation: str) -> str:
        """Return the token of an operation. If that fails, the error has ``sent`` False."""
        try:
            return await self._token(operation)
        except ConnectionFailed as error:
            error.sent = False
            raise

    async def _token(self, operation: str, *, renew: bool = False) -> str:
        """Return the token of an operation. The first use fetches all tokens (docs/protocol.md#csrf-tokens)."""
        old = self._tokens.get(operation)
        if old is not None and not renew:
            return old
        async with self._token_lock:
            if self._tokens.get(operation) == old and (renew or not self._tokens):
                self._tokens = await self.retrying(self._fetch_tokens)
            if operation in _TOKEN_IN_FORM and operation not in self._tokens:
                self._tokens |= await self.retrying(lambda: self._fetch_token_in_form(operation))
        # An operation without a token does not need one, or the server refuses it.
        return self._tokens.get(operation, "")

    async def _fetch_tokens(self) -> dict[str, str]:
        failures: list[Exception] = []
        for page in ("jobman", "fileman"):
            content, media_type = form(())
            reply = await self._locate(page, content, {"Content-Type": media_type})
            try:
                return csrf_tokens(await self.parse(page, reply, keep_noise=True))
            except (_Later, ServerError, ProtocolError) as error:
                failures.append(error)
        # The second page exists even if jobs are switched off, so its error is the better one.
        raise failures[-1]

    async def _fetch_token_in_form(self, operation: str) -> dict[str, str]:
        content, media_type = form(())
        reply = await self._locate(operation, content, {"Content-Type": media_type})
        token = form_token(await self.parse(operation, reply, keep_noise=True))
        return {operation: token} if token else {}

    # -- plain files

    async def fetch(self, path: str, *, first: int, last: int, etag: str | None = None) -> Reply:
        """Fetch a part of a file of the home by ``cert_redirect`` (docs/protocol.md#downloads).

        Args:
            path: the path in the home.
            first: the first byte.
            last: the last byte, inclusive.
            etag: the expected version; if the file has another version, the server sends the whole file.

        Raises:
            AuthenticationFailed: the server redirects, but not to the same path with a ``/`` appended.
        """
        headers = {"Range": f"bytes={first}-{last}"}
        if etag:
            headers["If-Range"] = etag
        place = _FILES + quote(path, errors="surrogateescape")

        async def send() -> Reply:
            reply = await self.send("GET", place, headers=headers, limit=last - first + _MARGIN)
            if (failure := _failure(path, reply)) is not None:
                raise _Later(failure, retry_after(reply.headers.get("Retry-After"), reply.headers.get("Date")))
            location = reply.headers.get("Location", "")
            # Servers quote fewer characters than aiomig does.
            is_directory = unquote(location, errors="surrogateescape").endswith(f"{_FILES}{path}/")
            if 300 <= reply.status < 400 and not is_directory:
                raise AuthenticationFailed(str(redirected("cert_redirect", location)))
            return reply

        return await self.retrying(send)


async def _once(action: Callable[[], Awaitable[_T]]) -> _T:
    try:
        return await action()
    except _Later as later:
        raise later.error from later.__cause__


async def _pause(seconds: float, error: GridError) -> None:
    mark = _correlation_id.get()
    extra = {"event_name": "retry", "correlation_id": mark, "pause": seconds}
    logger.info("trying again in %.1f s: %s [%s]", seconds, _without_excerpt(error), mark, extra=extra)
    await anyio.sleep(seconds)


def _without_excerpt(error: GridError) -> str:
    """Return the error without its excerpt of a response, which may be private, for the log."""
    return str(error).removesuffix(f": {error.excerpt[:200]!r}") if isinstance(error, ProtocolError) else str(error)


@contextmanager
def _correlated() -> Iterator[None]:
    """Give all log lines of the block the same id, unless the block is part of another operation."""
    if _correlation_id.get():
        yield
        return
    token = _correlation_id.set(secrets.token_hex(4))
    try:
        yield
    finally:
        _correlation_id.reset(token)


def _log(method: str, path: str, outcome: str, duration: float, *, sent: Content | None, reply: Reply | None) -> None:
    """Log a request, but not its content or that of the response, which are private."""
    if logger.isEnabledFor(logging.DEBUG):
        mark = _correlation_id.get()
        extra = {
            "event_name": "request",
            "correlation_id": mark,
            "operation": "cert_redirect" if path.startswith(_FILES) else path.rpartition("/")[2].removesuffix(".py"),
            "method": method,
            "path": path,
            "status": reply.status if reply is not None else None,
            "duration": duration,
            "bytes_sent": content_length(sent),
            "bytes_received": len(reply.body) if reply is not None else None,
        }
        logger.debug("%s %s: %s, %.3f s [%s]", method, path, outcome, duration, mark, extra=extra)


def _is_switched_off(reply: Reply) -> bool:
    """Return whether a server has no ``wsgi-bin``.

    Other failures may be temporary, and ``cgi-bin`` is fifty times slower.
    """
    return reply.status == 404 or (reply.status == 500 and reply.body.strip() == b"500 ERROR")


def _failure(path: str, reply: Reply) -> GridError | None:
    """Return the error for a response to a download that failed temporarily, or ``None``."""
    if reply.status in _TRY_LATER:
        return ServerError("cert_redirect", [f"{path}: HTTP {reply.status}"])
    if reply.status in (200, 206) and not (reply.headers.get("ETag") or reply.headers.get("Last-Modified")):
        # A web server sends these headers for every file, so this is a generated page.
        what = reply.headers.get("Content-Type") or "something without a type"
        return ProtocolError(
            f"cert_redirect: {path}: the server answered {what}, not the file",
            excerpt=reply.body[:400].decode("utf-8", "replace"),
        )
    return None
