"""The checks before a request reaches a session: host, origin, user, size of the body."""

from __future__ import annotations

import hashlib
import inspect
import re
import secrets
from collections.abc import Awaitable, Callable, Hashable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, urlencode

import anyio
from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from .. import Session, SessionPool
from ._problems import Problem, problem_response

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

Authenticate = Callable[[Request], Hashable | Awaitable[Hashable | None] | None]

LOOPBACK = ("localhost", "127.0.0.1", "[::1]")

_HOST = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[\w.-]+)(?::\d{1,5})?", re.ASCII)
_SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})

_HEADERS = {
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "cache-control": "no-store",
}
"""Default headers of every response."""

_LOGIN = """<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>aiomig</title><h1>aiomig</h1><p>{message}</p>
<form action="./"><label>Token <input name="token" type="password" autocomplete="off" required></label>
<button>Open</button></form></html>"""


@dataclass(frozen=True)
class Rules:
    """The checked arguments of `create_app`.

    Attributes:
        sessions: one session for all users, or a pool with a session for each user.
        token: the secret of the only user, if ``authenticate`` is ``None``.
        authenticate: returns the user of a request, or ``None``.
        hosts: the host names that requests may be addressed to; if empty, any name.
        origins: other origins whose pages may send requests.
        upload_limit: the maximum size of a request body in bytes.
        upload_idle: seconds without data after which an upload is aborted.
    """

    sessions: Session | SessionPool[Any]
    token: str | None
    authenticate: Authenticate | None
    hosts: frozenset[str]
    origins: frozenset[str]
    upload_limit: int
    upload_idle: float

    @property
    def cookie(self) -> str:
        """The name of the cookie. Browsers share cookies between ports, so the name depends on the token."""
        return f"aiomig-{hashlib.sha256((self.token or '').encode()).hexdigest()[:12]}"


class Guard:
    """ASGI middleware that checks requests and puts the user's session into ``scope["state"]["session"]``.

    Args:
        app: the application.
        rules: see `Rules`.
    """

    def __init__(self, app: ASGIApp, rules: Rules) -> None:
        self._app = app
        self._rules = rules

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Check a request and pass it to the application, or refuse it."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":
            await send({"type": "websocket.close", "code": 1008})
            return
        started = False

        async def send_guarded(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                headers = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        try:
            response = await self._serve(scope, self._bounded(scope, receive), send_guarded)
        except Exception as error:
            if started:
                raise
            response = problem_response(error)
        if response is not None:
            await response(scope, receive, send_guarded)

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> Response | None:
        request = Request(scope)
        self._check_host(request.headers)
        self._check_origin(request)
        path = request.url.path.removeprefix(scope.get("root_path", ""))
        if path == "/api/health":
            await self._app(scope, receive, send)
            return None
        if self._rules.token is not None and path == "/" and "token" in request.query_params:
            return self._log_in(request)
        user = await self._user(request)
        if user is None:
            return self._refusal(request, path)
        scope.setdefault("state", {})
        sessions = self._rules.sessions
        if isinstance(sessions, SessionPool):
            async with sessions.session(user) as session:
                scope["state"]["session"] = session
                await self._app(scope, receive, send)
        else:
            scope["state"]["session"] = sessions
            await self._app(scope, receive, send)
        return None

    # -- host and origin

    def _check_host(self, headers: Headers) -> None:
        """Refuse other host names: a foreign site may have pointed its own name at this service (DNS rebinding)."""
        match = _HOST.fullmatch(headers.get("host", ""))
        if match is None or (self._rules.hosts and match[1].lower() not in self._rules.hosts):
            raise Problem(400, "this service does not have that host name; use the address that it printed")

    def _check_origin(self, request: Request) -> None:
        """Refuse requests that come from a page of another site."""
        origin = request.headers.get("origin")
        own_origin = f"{request.url.scheme}://{request.headers.get('host', '')}"
        if origin is not None:
            if origin.lower() != own_origin.lower() and origin not in self._rules.origins:
                raise Problem(403, "pages of other sites may not send requests to this service")
        elif request.headers.get("sec-fetch-site") in ("cross-site", "same-site") and (
            request.method not in _SAFE_METHODS or request.headers.get("sec-fetch-mode") != "navigate"
        ):
            raise Problem(403, "pages of other sites may not send requests to this service")

    # -- authentication

    async def _user(self, request: Request) -> Hashable | None:
        rules = self._rules
        if rules.authenticate is not None:
            user = rules.authenticate(request)
            return await user if inspect.isawaitable(user) else user
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer":
            token = request.cookies.get(rules.cookie, "")
        return "token" if self._is_valid(token.strip()) else None

    def _is_valid(self, token: str) -> bool:
        expected = self._rules.token or ""
        return secrets.compare_digest(token.encode("utf-8", "surrogateescape"), expected.encode()) and bool(expected)

    def _log_in(self, request: Request) -> Response:
        """Exchange the token in the URL for a cookie, so that the token does not stay in the browser's history."""
        if not self._is_valid(request.query_params["token"]):
            return self._refusal(request, "/")
        query = [(name, value) for name, value in parse_qsl(request.url.query) if name != "token"]
        # A relative URL, and a cookie for this path only: a proxy may serve the application below another path.
        response = RedirectResponse("./" + ("?" + urlencode(query) if query else ""), 303)
        response.set_cookie(
            self._rules.cookie,
            self._rules.token or "",
            path=None,
            httponly=True,
            samesite="strict",
            secure=request.url.scheme == "https",
        )
        return response

    def _refusal(self, request: Request, path: str) -> Response:
        message = "The token is missing or wrong. Open the address that the service printed, or type the token."
        if self._rules.token is not None and path == "/" and "text/html" in request.headers.get("accept", ""):
            return HTMLResponse(_LOGIN.format(message=message), 401)
        if self._rules.token is None:
            return problem_response(Problem(401, "log in first"))
        return problem_response(Problem(401, message, {"www-authenticate": "Bearer"}))

    # -- size of the body

    def _bounded(self, scope: Scope, receive: Receive) -> Receive:
        """Wrap ``receive`` so that it refuses bodies that are too large or too slow."""
        limit, idle = self._rules.upload_limit, self._rules.upload_idle
        too_large = f"the body has more than {limit} bytes"
        declared = Headers(scope=scope).get("content-length", "0")
        received, complete = 0, False

        async def receive_bounded() -> Message:
            nonlocal received, complete
            if complete:
                return await receive()
            if declared.isdecimal() and int(declared) > limit:
                raise Problem(413, too_large, {"connection": "close"})
            message: Message | None = None
            with anyio.move_on_after(idle):
                message = await receive()
            if message is None:
                raise Problem(408, f"nothing arrived for {idle:g} seconds", {"connection": "close"})
            complete = not message.get("more_body", False)
            received += len(message.get("body", b""))
            if received > limit:
                raise Problem(413, too_large, {"connection": "close"})
            return message

        return receive_bounded


def host_names(hosts: Iterable[str]) -> frozenset[str]:
    """Return host names as they appear in requests: in lower case, IPv6 addresses in brackets."""
    return frozenset(f"[{host}]" if ":" in host and not host.startswith("[") else host.lower() for host in hosts)
