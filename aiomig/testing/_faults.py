"""The faults that a test can add to a `FakeGrid`."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal, get_args

from ._wire import FilePart, Request, Response, page

FaultKind = Literal[
    "slow",
    "error",
    "unavailable",
    "crash",
    "drop",
    "truncate",
    "html",
    "content-type",
    "login",
    "extra",
    "csrf",
]
FaultTime = Literal["before", "after"]

_CRASH = (
    b'[{"object_type": "start", "headers": [["Content-Type", "application/json"]]},'
    b' {"object_type": "title", "text": "Runtime Error"}, {"object_type": "header", "text": "Internal Error"},'
    b' {"object_type": "error_text", "text": "A critical internal error occurred in the NAME backend. It has been\\n'
    b'logged internally with error ID 1795410391.8728983\\n         "}, {"object_type": "error_text", "text": '
    b'"Please report it to MiG site support (mig@localhost) if the problem persists.\\n         "}]'
)
_REFUSED = (
    b'[{"object_type": "error_text", "text": "Only accepting\\nCSRF-filtered POST requests to prevent unintended'
    b' updates"}]'
)
_HTML = b"<!DOCTYPE html>\n<html><head><title>Welcome</title></head><body><p>It works!</p></body></html>\n"
_EXTRA = b'{"object_type": "weather", "text": "rain"}, '


class Dropped(Exception):
    """The server closed the connection without a response."""


@dataclass(slots=True)
class Fault:
    """One misbehaviour, as `Faults.add` describes it."""

    operation: str
    kind: FaultKind
    when: FaultTime
    skip: int
    left: int | None
    seconds: float
    retry_after: str | None
    location: str
    size: int

    def replacement(self, request: Request, operation: str, response: Response | None) -> Response | None:
        """Return the response to send instead, or ``None`` for the server's own response.

        Args:
            request: the request.
            operation: the operation of the request.
            response: the server's own response, or ``None`` if it has not acted yet.

        Raises:
            Dropped: the connection is closed without a response.
        """
        json = ("Content-Type", "application/json")
        match self.kind:
            case "slow":
                return None
            case "drop":
                raise Dropped(operation)
            case "error":
                return page(500, close=True)
            case "unavailable":
                retry = (("Retry-After", self.retry_after),) if self.retry_after is not None else ()
                return page(503, *retry)
            case "crash":
                return Response(200, (json,), _CRASH.replace(b"NAME", operation.encode()))
            case "csrf":
                return Response(200, (json,), _REFUSED)
            case "html":
                return Response(200, (("Content-Type", "text/html"),), _HTML)
            case "login":
                return page(302, ("Location", self.location or f"{request.host}/login"))
        if response is None:
            raise ValueError(f"kind={self.kind!r}: changes a response, so it comes after acting; leave out when=")
        return self._changed(response)

    def _changed(self, response: Response) -> Response:
        if self.kind == "truncate":
            return replace(response, cut=min(self.size, max(len(response.body) - 1, 0)), close=True)
        if self.kind == "content-type":
            others = tuple(header for header in response.headers if header[0] != "Content-Type")
            return replace(response, headers=(*others, ("Content-Type", "text/plain")))
        body = response.body
        if isinstance(body, FilePart) or not body.startswith(b"[{"):
            return response
        return replace(response, body=body.replace(b"[{", b"[" + _EXTRA + b'{"mood": [1, null], ', 1))


class Faults:
    """The faults of a `FakeGrid`: `add` one, or `clear` all."""

    def __init__(self) -> None:
        self._faults: list[Fault] = []

    def add(
        self,
        operation: str,
        kind: FaultKind,
        *,
        times: int | None = 1,
        skip: int = 0,
        when: FaultTime | None = None,
        seconds: float = 0.0,
        retry_after: str | float | None = None,
        location: str = "",
        size: int = 0,
    ) -> None:
        """Make the server misbehave.

        Args:
            operation: the operation, such as ``"submitfields"``; ``"cert_redirect"`` for downloads; ``"*"`` for any.
            kind: ``"slow"``: wait for ``seconds`` and continue; ``"drop"``: close the connection without a response, as
                if the client had used a connection that the server had closed; ``"truncate"``: close it after ``size``
                bytes of the body; ``"error"``: HTTP 500; ``"unavailable"``: HTTP 503 with ``retry_after``; ``"crash"``:
                HTTP 200 and the server's message about an internal error; ``"html"``: a page that has nothing to do
                with MiG; ``"content-type"``: JSON that is labelled as text; ``"login"``: a redirect to ``location``;
                ``"extra"``: fields and objects that no client knows; ``"csrf"``: refuse the token.
            times: how many requests have the fault; ``None`` for all.
            skip: how many requests of that operation to leave alone first.
            when: ``"before"`` or ``"after"`` the server acts. If a fault other than ``"slow"`` comes before, the server
                does not act: it submits no job and moves no file. The default is before, or after for faults that
                change a response.
            seconds: for ``"slow"``.
            retry_after: for ``"unavailable"``: seconds, or an HTTP date.
            location: for ``"login"``.
            size: for ``"truncate"``, in bytes.

        Raises:
            ValueError: there is no such kind, or a number is negative.
        """
        if kind not in get_args(FaultKind):
            raise ValueError(f"kind={kind!r}: no such misbehaviour; use one of {', '.join(get_args(FaultKind))}")
        for name, value in (("times", times or 0), ("skip", skip), ("seconds", seconds), ("size", size)):
            if value < 0:
                raise ValueError(f"{name}={value!r}: is negative; give 0 or more")
        retry = None if retry_after is None else str(retry_after)
        changing = kind in ("truncate", "content-type", "extra")
        if changing and when == "before":
            raise ValueError(
                f"when='before': {kind!r} changes a response, which exists only after acting; leave it out"
            )
        chosen = when or ("after" if changing else "before")
        self._faults.append(Fault(operation, kind, chosen, skip, times, seconds, retry, location, size))

    def clear(self) -> None:
        """Remove all faults."""
        self._faults.clear()

    def take(self, operation: str) -> list[Fault]:
        """Return the faults for one request of an operation, and count them as used."""
        faults: list[Fault] = []
        for fault in self._faults:
            if fault.operation not in (operation, "*") or fault.left == 0:
                continue
            if fault.skip > 0:
                fault.skip -= 1
                continue
            if fault.left is not None:
                fault.left -= 1
            faults.append(fault)
        return faults
