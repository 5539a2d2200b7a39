"""Responds to requests: finds the operation, checks the user, the parameters and the token, and runs it."""

from __future__ import annotations

import secrets
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

from . import (
    _operations_archives,
    _operations_files,
    _operations_jobs,
    _operations_listing,
    _operations_services,
    _operations_site,
    _operations_submit,
    _operations_upload,
    _static,
)
from ._home import Home
from ._operation import Call, Operation
from ._wire import LONGEST_REQUEST_LINE, Request, Response, form, page

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from ._jobs import Jobs
    from ._site import Site

OPERATIONS: Mapping[str, Operation] = MappingProxyType(
    {
        operation.name: operation
        for module in (
            _operations_listing,
            _operations_files,
            _operations_archives,
            _operations_upload,
            _operations_submit,
            _operations_jobs,
            _operations_site,
            _operations_services,
        )
        for operation in module.OPERATIONS
    }
)
"""All operations of the server by name."""

_SHARED = "/share_redirect/"
_PROGRAMS = {"wsgi-bin": "wsgi-bin", "cgi-bin": "cgi-bin", "cgi-cert": "cgi-bin"}
_JOB_OPERATIONS = frozenset(
    operation.name for operation in (*_operations_jobs.OPERATIONS, *_operations_submit.OPERATIONS)
)
_EXEMPT = ("curl", "xmlrpc", "python-xmlrpc", "jsonrpc")  # docs/protocol.md#csrf-tokens


class Dispatcher:
    """Responds to requests, without waiting.

    Args:
        site: how the server is set up.
        jobs: its jobs.
        homes: the homes of its users.
        token: returns the token of an operation for a client.
    """

    def __init__(self, site: Site, jobs: Jobs, homes: Mapping[str, Home], token: Callable[[str, str], str]) -> None:
        self._site = site
        self._jobs = jobs
        self._homes = homes
        self._token = token

    def respond(self, name: str, request: Request) -> Response:
        """Carry out a request at once, and return the response."""
        home = self._homes.get(request.client) or self._writable_share(request)
        program, _, script = request.path.lstrip("/").partition("/")
        if program in _PROGRAMS and script.endswith(".py"):
            return self._run_operation(_PROGRAMS[program], name, request, home)
        if request.path.startswith(_static.PREFIX):
            return _static.get(request, home, request.path.removeprefix(_static.PREFIX))
        if request.path.startswith(_SHARED):
            share_id, _, path = request.path.removeprefix(_SHARED).partition("/")
            if not self._has_share(share_id):
                return page(404)
            return _static.get(request, self._share_home(share_id, "read"), path)
        if request.path == "/":
            return _static.root()
        for user, user_home in self._homes.items():
            if request.path.startswith(f"/{user_home.name}/"):
                owner = user_home if user == request.client else None
                return _static.get(request, owner, request.path.removeprefix(f"/{user_home.name}/"))
        return page(404)

    def _has_share(self, share_id: str) -> bool:
        return any(share_id in home.services.shares for home in self._homes.values())

    def _writable_share(self, request: Request) -> Home | None:
        """Return the shared folder that a request without a certificate writes to."""
        share_id = next((field.text for field in form(request) if field.name == "share_id"), "")
        return self._share_home(share_id, "write") if not request.client and share_id else None

    def _share_home(self, share_id: str, right: str) -> Home | None:
        """Return the shared file or directory as a home; ``None`` if the share link does not give this right."""
        for home in self._homes.values():
            row = home.services.shares.get(share_id)
            if row is not None and right in row["access"]:
                return Home(home.root / row["path"], "")
        return None

    def _run_operation(self, program: str, name: str, request: Request, home: Home | None) -> Response:
        operation = OPERATIONS.get(name)
        if program == "wsgi-bin" and not self._site.wsgi:
            return Response(500, (("Content-Type", "text/plain"),), b"500 ERROR", close=True)
        if program == "cgi-bin" and (operation is None or not self._site.cgi):
            return page(404)
        fields = form(request)
        call = Call(
            operation=operation or Operation(name, (), lambda call: None),
            site=self._site,
            jobs=self._jobs,
            home=home or Home(Path("/nonexistent"), ""),
            client=request.client or (f"share {home.root}" if home is not None else ""),
            host=request.host,
            site_url=request.public_host or request.host,
            program=program,
            method=request.method,
            fields=fields,
            headers=request.headers,
            now=self._jobs.now,
            as_json=any(field.name == "output_format" and field.text == "json" for field in fields),
            token=lambda operation: self._token(operation, request.client or "anonymous"),
        )
        self._run(call, operation, home)
        return call.response()

    def _run(self, call: Call, operation: Operation | None, home: Home | None) -> None:
        if operation is None:
            call.title, call.header = "Runtime Error", "Internal Error"
            call.error(f"Could not load backend: {call.operation.name}")
            return
        call.title = operation.name
        # Operations with their own title set it late, so an early refusal has no header.
        call.header = operation.name if not operation.title and operation.header is None else None
        if not call.client:
            call.error("Authentication is missing!")
        elif home is None:
            _refuse_stranger(call)
        elif call.check() and self._is_allowed(call):
            call.title = operation.title or operation.name
            call.header = call.title if operation.header is None else operation.header
            try:
                operation.act(call)
            except OSError:
                call.crash()

    def _is_allowed(self, call: Call) -> bool:
        if call.operation.name in _JOB_OPERATIONS and not self._site.jobs_enabled:
            call.error("Job execution is not enabled on this system")
            return False
        changes = call.operation.changes
        if not (changes if isinstance(changes, bool) else changes(call)) or self._has_token(call):
            return True
        call.error(call.operation.refusal)
        return False

    def _has_token(self, call: Call) -> bool:
        if call.method != "POST":
            return False
        if self._site.csrf in ("MINIMAL", "WARN"):
            return True
        token = next((field.text for field in reversed(call.fields) if field.name == "_csrf"), "")
        agent = call.headers.get("user-agent", "").lower()
        if self._site.csrf == "MEDIUM" and agent.startswith(_EXEMPT) and token in ("", "AllowMe"):
            return True
        return secrets.compare_digest(token.encode(), call.token(call.operation.name).encode())


def operation_of(path: str) -> str:
    """Return the operation that the path of a request names."""
    program, _, name = path.lstrip("/").partition("/")
    if program in _PROGRAMS:
        return name.removesuffix(".py")
    return "cert_redirect" if program == "cert_redirect" else path


def refusal(request: Request) -> Response | None:
    """Return the web server's own refusal, or ``None`` (docs/protocol.md#connections)."""
    if "chunked" in request.headers.get("transfer-encoding", "").lower():
        return page(411, close=True)
    line = f"{request.method} {request.path}{'?' if request.query else ''}{request.query} HTTP/1.1"
    return page(414, close=True) if len(line) > LONGEST_REQUEST_LINE else None


def _refuse_stranger(call: Call) -> None:
    if call.operation.stranger_message:
        if call.operation.changes:
            call.title = call.header = call.operation.title
        call.error(call.operation.stranger_message)
        return
    call.title = call.header = "Account Error"
    call.error(f"No such user ({call.client})")
    call.text(
        "Apparently you already have suitable credentials\nand just need to sign up for a local MiG account on the"
    )
    call.add("link", text="MiG sign up page", destination=f"{call.host}/cgi-sid/signup.py")
