"""`create_app`: the ASGI application."""

from __future__ import annotations

import secrets
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from .. import Fault, MigError, Session, SessionPool, SpecError, __version__
from .._core.validation import is_count, is_number
from . import _files, _follow, _jobs, _page
from ._board import Boards
from ._guard import LOOPBACK, Guard, Rules, host_names
from ._problems import Problem, problem_response
from ._streams import OpenStreams

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable

    from starlette.requests import Request
    from starlette.responses import Response

    from ._guard import Authenticate


def create_app(
    session_or_pool: Session | SessionPool[Any],
    *,
    authenticate: Authenticate | None = None,
    token: str | None = None,
    hosts: Iterable[str] | None = None,
    origins: Iterable[str] = (),
    upload_limit: int = 1 << 30,
    upload_idle: float = 30.0,
    title: str = "aiomig",
) -> FastAPI:
    """Return an ASGI application with a web page and an HTTP API, to serve or to mount.

    The page is at ``/``, the API below ``/api/``, and its description at ``/api/openapi.json``. Anyone with access can
    run programs. Therefore, without ``authenticate``, requests need a token: as ``Authorization: Bearer TOKEN``, or
    once as ``/?token=TOKEN``, which sets a cookie.

    The application opens the session or pool at startup if it is not open yet, and then closes it at shutdown. A
    mounted application has no startup, so the host application must open the session or pool.

    Example::

        pool = aiomig.SessionPool(lambda user: aiomig.grid(f"/etc/service/{user}.conf"))
        app = create_app(pool, authenticate=lambda request: request.session.get("user"))

    Args:
        session_or_pool: one session for all users, or a pool with a session for each user.
        authenticate: a function, sync or async, that takes a Starlette request and returns the key of its user, or
            ``None`` if nobody is logged in. With a single session, all users that are logged in share it.
        token: the token, if ``authenticate`` is not given. The default is a random one, in ``app.state.token``.
        hosts: the host names that requests may be addressed to. The default is the names of the loopback interface;
            with ``authenticate``, any name.
        origins: origins such as ``https://example.org`` whose pages may send requests, in addition to the service's
            own origin.
        upload_limit: the maximum size of a request body in bytes.
        upload_idle: seconds without data after which an upload is aborted.
        title: the title of the API.

    Returns:
        A FastAPI application.

    Raises:
        SpecError: an argument is invalid.
    """
    faults = _faults(session_or_pool, authenticate, token, upload_limit, upload_idle)
    if faults:
        raise SpecError(faults)
    if authenticate is None and token is None:
        token = secrets.token_urlsafe(24)
    if hosts is None:
        hosts = LOOPBACK if authenticate is None else ()
    rules = Rules(
        session_or_pool, token, authenticate, host_names(hosts), frozenset(origins), upload_limit, float(upload_idle)
    )
    app = FastAPI(
        title=title,
        version=__version__,
        lifespan=_lifespan,
        openapi_url="/api/openapi.json",
        docs_url=None,  # FastAPI's pages load scripts from other hosts
        redoc_url=None,
        redirect_slashes=False,
    )
    app.state.sessions = session_or_pool
    app.state.token = token
    app.state.boards = Boards()
    app.state.streams = OpenStreams()
    app.state.page = _page.load_page()
    app.add_middleware(Guard, rules=rules)
    for kind in (Problem, MigError, ValueError, HTTPException):
        app.add_exception_handler(kind, _problem)
    app.add_exception_handler(RequestValidationError, _invalid)
    for router in (_page.router, _jobs.router, _follow.router, _files.router):
        app.include_router(router)

    @app.get("/api/health", summary="Report that the service is running")
    async def health() -> dict[str, str]:
        """Report that the service is running. Needs no token and sends no request to the grid."""
        return {"status": "ok"}

    return app


def _faults(
    sessions: object, authenticate: object, token: object, upload_limit: object, upload_idle: object
) -> list[Fault]:
    faults: list[Fault] = []
    if not isinstance(sessions, Session | SessionPool):
        faults.append(Fault("session_or_pool", sessions, "neither a Session nor a SessionPool", "give one of them"))
    if authenticate is not None and not callable(authenticate):
        faults.append(Fault("authenticate", authenticate, "not a function", "give a function that takes a request"))
    if isinstance(sessions, SessionPool) and authenticate is None:
        faults.append(
            Fault("authenticate", None, "missing: a pool has many users", "give a function that takes a request")
        )
    if token is not None and (not isinstance(token, str) or not token.isascii() or not token.strip()):
        faults.append(Fault("token", "…", "not a string of ASCII characters", "omit it for a random one"))
    if token is not None and authenticate is not None:
        faults.append(Fault("token", "…", "given together with authenticate", "give only one of them"))
    if not is_count(upload_limit):
        faults.append(Fault("upload_limit", upload_limit, "not a positive whole number", "give a number of bytes"))
    if not is_number(upload_idle) or upload_idle <= 0:
        faults.append(Fault("upload_idle", upload_idle, "not a number above 0", "give a number of seconds"))
    return faults


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    sessions: Session | SessionPool[Any] = app.state.sessions
    if sessions.is_open:
        yield
        return
    async with sessions:
        yield


async def _problem(request: Request, error: Exception) -> Response:
    return problem_response(error)


async def _invalid(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    faults = [
        Fault(str(item["loc"][-1]), None, str(item["msg"]), "see the description of the API") for item in error.errors()
    ]
    return problem_response(SpecError(faults))
