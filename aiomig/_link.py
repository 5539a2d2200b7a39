"""Operations of a MiG server: calls by name, with tokens, retries and errors. Knows HTTP, but no operation."""

from __future__ import annotations

import logging
import secrets
import time
from typing import TYPE_CHECKING, TypeVar
from urllib.parse import quote, urlencode

import anyio

from . import _protocol
from ._errors import (
    AuthenticationFailed,
    ConfigError,
    ConnectionFailed,
    GridError,
    ProtocolError,
    ServerError,
)
from ._retry import Retry, retry_after

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from ._http import HttpClient, Reply
    from ._protocol import Answer

logger = logging.getLogger("aiomig.grid")

_T = TypeVar("_T")
_TRY_LATER = frozenset({429, 500, 502, 503, 504})
_CGI_ONLY = frozenset({"liveio"})  # mig-live 5
_FORM = "application/x-www-form-urlencoded"


class _Later(Exception):
    """A read that may work if it is tried again."""

    def __init__(self, error: GridError, pause: float = 0.0) -> None:
        super().__init__(str(error))
        self.error = error
        self.pause = pause


class Link:
    """The operations of one server, for one session.

    Args:
        client: the connections.
        retry: how reads are tried again.
    """

    def __init__(self, client: HttpClient, retry: Retry | None = None) -> None:
        self._client = client
        self._retry = retry or Retry()
        self._tokens: dict[str, str] = {}
        self._token_lock = anyio.Lock()
        self._folder = "wsgi-bin"
        self._folder_known = False

    async def read(self, operation: str, fields: Sequence[tuple[str, str]] = ()) -> Answer:
        """Asks; tried again where it fails, for it changes nothing.

        Raises:
            GridError: see `_protocol.objects`.
        """
        return await self.again(lambda: self._post(operation, fields))

    async def change(
        self, operation: str, fields: Sequence[tuple[str, str]] = (), *, repeatable: bool = False
    ) -> Answer:
        """Has something done, with the token that the server wants; sent once unless it is ``repeatable``.

        Args:
            operation: the name of the operation.
            fields: its parameters.
            repeatable: whether doing it twice is the same as once.
        """
        return await self.change_body(
            operation, lambda token: _form([*fields, ("_csrf", token)]), repeatable=repeatable
        )

    async def change_body(
        self,
        operation: str,
        body: Callable[[str], tuple[bytes, str]],
        *,
        headers: Mapping[str, str] | None = None,
        repeatable: bool = False,
    ) -> Answer:
        """As `change`, with a body of the caller's: given the token, its bytes and their media type."""

        async def send() -> Answer:
            answer = await self._exchange(operation, *body(await self._token_before(operation)), headers)
            if _protocol.csrf_refused(answer):
                # Refused before anything was done, so that it may be sent again.
                answer = await self._exchange(operation, *body(await self._token(operation, renew=True)), headers)
            return answer

        return await self.again(send) if repeatable else await _once(send)

    async def again(self, action: Callable[[], Awaitable[_T]]) -> _T:
        """Does something that may be repeated until it works, with pauses."""
        for pause in self._retry.pauses():
            try:
                return await action()
            except _Later as later:
                delay = max(pause, later.pause)
                logger.debug("trying again in %.1f s: %s", delay, later.error)
            except ConnectionFailed as error:
                delay = pause
                logger.debug("trying again in %.1f s: %s", delay, error)
            await anyio.sleep(delay)
        return await _once(action)

    async def _post(self, operation: str, fields: Sequence[tuple[str, str]]) -> Answer:
        return await self._exchange(operation, *_form(fields))

    async def _exchange(
        self, operation: str, content: bytes, media_type: str, headers: Mapping[str, str] | None = None
    ) -> Answer:
        reply = await self._locate(operation, content, {"Content-Type": media_type, **(headers or {})})
        return self._answer(operation, reply)

    async def _locate(self, operation: str, content: bytes, headers: Mapping[str, str]) -> Reply:
        """Sends to ``wsgi-bin``, or where a server has none, to ``cgi-bin``; found out once (mig-protocol 7.4)."""
        folder = "cgi-bin" if operation in _CGI_ONLY else self._folder
        reply = await self.send("POST", f"/{folder}/{operation}.py", content=content, headers=headers)
        if not self._folder_known and reply.status == 404:
            reply = await self.send("POST", f"/cgi-bin/{operation}.py", content=content, headers=headers)
            if reply.status != 404:
                self._folder = "cgi-bin"
        if reply.status < 400:
            self._folder_known = True
        return reply

    def _answer(self, operation: str, reply: Reply, *, keep_noise: bool = False) -> Answer:
        pause = retry_after(reply.headers.get("Retry-After"))
        if 300 <= reply.status < 400:
            raise AuthenticationFailed(str(_protocol.redirected(operation, reply.headers.get("Location", ""))))
        try:
            return _protocol.objects(
                operation,
                reply.body,
                reply.headers.get("Content-Type", ""),
                reply.status,
                keep_noise=keep_noise,
            )
        except ProtocolError as error:
            raise _Later(error, pause) from error
        except ServerError as error:
            if reply.status in _TRY_LATER:
                raise _Later(error, pause) from error
            raise
        except ConfigError as error:
            raise AuthenticationFailed(str(error)) from error

    async def send(
        self,
        method: str,
        path: str,
        *,
        content: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        limit: int | None = None,
    ) -> Reply:
        """One request, with a line in the log."""
        mark = secrets.token_hex(4)
        began = time.monotonic()
        bound = {} if limit is None else {"limit": limit}
        reply = await self._client.send(method, path, content=content, headers=headers, **bound)
        if logger.isEnabledFor(logging.DEBUG):
            seconds = time.monotonic() - began
            logger.debug(
                "%s %s: %d in %.3f s, %d bytes [%s]",
                method,
                path,
                reply.status,
                seconds,
                len(reply.body),
                mark,
                extra={"correlation_id": mark, "path": path, "status": reply.status, "seconds": seconds},
            )
        return reply

    # -- tokens

    async def _token_before(self, operation: str) -> str:
        """The token, got before anything is sent: a failure here is none of the operation's."""
        try:
            return await self._token(operation)
        except ConnectionFailed as error:
            error.sent = False
            raise

    async def _token(self, operation: str, *, renew: bool = False) -> str:
        """The token of an operation: all are fetched with the first that is needed (mig-protocol 7.2)."""
        known = self._tokens.get(operation)
        if known is not None and not renew:
            return known
        async with self._token_lock:
            if self._tokens.get(operation) == known:
                self._tokens = await self.again(self._fetch_tokens)
        # An operation that is not in the list wants none, or has none to give: the server will say.
        return self._tokens.get(operation, "")

    async def _fetch_tokens(self) -> dict[str, str]:
        failure: GridError | None = None
        for page in ("jobman", "fileman"):
            reply = await self._locate(page, *_page_request())
            try:
                return _protocol.csrf_tokens(self._answer(page, reply, keep_noise=True))
            except (ServerError, ProtocolError) as error:
                failure = error
        raise failure or ProtocolError("no page has tokens")

    # -- plain files

    async def fetch(self, path: str, *, first: int, last: int, etag: str | None = None) -> Reply:
        """A piece of a file of the home, by ``cert_redirect`` (mig-protocol 6.4).

        Args:
            path: the path in the home.
            first: the first byte.
            last: the last byte, included; at most so many come.
            etag: what the file must still be; the whole of it comes where it is not.
        """
        headers = {"Range": f"bytes={first}-{last}"}
        if etag:
            headers["If-Range"] = etag

        async def send() -> Reply:
            reply = await self.send(
                "GET", "/cert_redirect/" + quote(path), headers=headers, limit=last - first + (2 << 20)
            )
            if reply.status in _TRY_LATER:
                raise _Later(
                    ServerError("cert_redirect", [f"{path}: HTTP {reply.status}"]),
                    retry_after(reply.headers.get("Retry-After")),
                )
            return reply

        return await self.again(send)


async def _once(action: Callable[[], Awaitable[_T]]) -> _T:
    try:
        return await action()
    except _Later as later:
        raise later.error from later.__cause__


def _form(fields: Sequence[tuple[str, str]]) -> tuple[bytes, str]:
    return urlencode([("output_format", "json"), *fields]).encode("ascii"), _FORM


def _page_request() -> tuple[bytes, dict[str, str]]:
    return _form(())[0], {"Content-Type": _FORM}
