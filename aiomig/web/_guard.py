"""What a request must pass before it reaches a session: host, origin, user, size of its body."""

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
"""Headers of every response that does not set them."""

_LOGIN = """<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>aiomig</title><h1>aiomig</h1><p>{words}</p>
<form action="./"><label>Token <input name="token" type="password" autocomplete="off" required></label>
<button>Open</button></form></html>"""


@dataclass(frozen=True)
class Rules:
    """What `create_app` was given.

    Attributes:
        sessions: the session, or the pool of sessions by user.
        token: the secret of the only user, if ``authenticate`` is not given.
        authenticate: returns the user of a request, or ``None``.
        hosts: the names that requests may be addressed to; empty for any.
        origins: other origins whose pages may send requests.
        upload_limit: the most bytes in the body of a request.
        upload_idle: the most seconds between two pieces of it.
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
        """The name of the cookie. Ports share cookies, so each token has its own."""
        return f"aiomig-{hashlib.sha256((self.token or '').encode()).hexdigest()[:12]}"


class Guard:
    """ASGI middleware: lets a request pass to the application, with its user's session in ``scope["state"]``.

    Args:
        app: the application.
        rules: see `Rules`.
    """

    def __init__(self, app: ASGIApp, rules: Rules) -> None:
        self._app = app
        self._rules = rules

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
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

    # -- where it comes from

    def _check_host(self, headers: Headers) -> None:
        """Refuse names that are not this service's: a page of another site may have made its name point here."""
        match = _HOST.fullmatch(headers.get("host", ""))
        if match is None or (self._rules.hosts and match[1].lower() not in self._rules.hosts):
            raise Problem(400, "this service does not have that name; use the address that it printed")

    def _check_origin(self, request: Request) -> None:
        """Refuse requests that a page of another site sends."""
        origin = request.headers.get("origin")
        own = f"{request.url.scheme}://{request.headers.get('host', '')}"
        if origin is not None:
            if origin.lower() != own.lower() and origin not in self._rules.origins:
                raise Problem(403, "pages of other sites may not send requests to this service")
        elif request.headers.get("sec-fetch-site") in ("cross-site", "same-site") and (
            request.method not in _SAFE_METHODS or request.headers.get("sec-fetch-mode") != "navigate"
        ):
            raise Problem(403, "pages of other sites may not send requests to this service")

    # -- whose it is

    async def _user(self, request: Request) -> Hashable | None:
        rules = self._rules
        if rules.authenticate is not None:
            user = rules.authenticate(request)
            return await user if inspect.isawaitable(user) else user
        scheme, _, given = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer":
            given = request.cookies.get(rules.cookie, "")
        return "token" if self._is_token(given.strip()) else None

    def _is_token(self, given: str) -> bool:
        token = self._rules.token or ""
        return secrets.compare_digest(given.encode("utf-8", "surrogateescape"), token.encode()) and bool(token)

    def _log_in(self, request: Request) -> Response:
        """Exchange the token in the address for a cookie, so that it is in no history of addresses."""
        if not self._is_token(request.query_params["token"]):
            return self._refusal(request, "/")
        query = [(name, value) for name, value in parse_qsl(request.url.query) if name != "token"]
        # Relative, and a cookie for this path: a proxy may serve the application below a path of its own.
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
        words = "The token is missing or wrong. Open the address that the service printed, or type the token."
        if self._rules.token is not None and path == "/" and "text/html" in request.headers.get("accept", ""):
            return HTMLResponse(_LOGIN.format(words=words), 401)
        if self._rules.token is None:
            return problem_response(Problem(401, "log in first"))
        return problem_response(Problem(401, words, {"www-authenticate": "Bearer"}))

    # -- how much it sends

    def _bounded(self, scope: Scope, receive: Receive) -> Receive:
        """Return a ``receive`` that refuses bodies that are too large or too slow."""
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
    """Return host names as requests have them: lower case, IPv6 addresses in brackets."""
    return frozenset(f"[{host}]" if ":" in host and not host.startswith("[") else host.lower() for host in hosts)
