"""Requests, responses and forms of HTTP, as values."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from email.utils import formatdate
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

SERVER = "Apache/2.4.71 (Debian) OpenSSL/3.0.19 mod_wsgi/4.9.4 Python/3.11"
LONGEST_REQUEST_LINE = 8190  # docs/protocol.md#connections
_PIECE = 1 << 18
_PARAMETER = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')
_PAGE = """<!DOCTYPE HTML PUBLIC "-//W3C//DTD HTML 4.01//EN" "http://www.w3.org/TR/html4/strict.dtd">
<html><head>
<title>{status} {reason}</title>
</head><body>
<h1>{reason}</h1>
{text}
</body></html>
"""
_PAGES = {
    301: ("Moved Permanently", ""),
    302: ("Found", ""),
    400: (
        "Bad Request",
        "<p>Your browser sent a request that this server could not understand.<br />\n</p>",
    ),
    403: ("Forbidden", "<p>You don't have permission to access this resource.</p>"),
    404: ("Not Found", "<p>The requested URL was not found on this server.</p>"),
    411: (
        "Length Required",
        "<p>A request of the requested method POST requires a valid Content-length.<br />\n</p>",
    ),
    414: (
        "Request-URI Too Long",
        "<p>The requested URL's length exceeds the capacity\nlimit for this server.<br />\n</p>",
    ),
    416: (
        "Requested Range Not Satisfiable",
        (
            "<p>None of the range-specifier values in the Range\nrequest-header field overlap the current extent\n"
            "of the selected resource.</p>"
        ),
    ),
    500: (
        "Internal Server Error",
        (
            "<p>The server encountered an internal error or\n"
            "misconfiguration and was unable to complete\nyour request.</p>\n"
            "<p>Please contact the server administrator at \n mig to inform them of the time this error occurred,\n"
            " and the actions you performed just before this error.</p>\n"
            "<p>More information about this error may be available\nin the server error log.</p>"
        ),
    ),
    503: (
        "Service Unavailable",
        (
            "<p>The server is temporarily unable to service your\nrequest due to maintenance downtime or capacity\n"
            "problems. Please try again later.</p>"
        ),
    ),
}


@dataclass(frozen=True, slots=True)
class Request:
    """One HTTP request.

    Attributes:
        method: the HTTP method in upper case.
        path: the path as sent, percent-encoded, without the query.
        query: the query without the ``?``.
        headers: the headers by lower-case name.
        body: the whole body.
        client: the distinguished name in the client's certificate in the slash form, or an empty string.
        host: the server as ``https://host:port``.
        public_host: the host that requires no certificate, in the same form; the default is ``host``.
    """

    method: str
    path: str
    query: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    client: str = ""
    host: str = "https://localhost"
    public_host: str = ""


@dataclass(frozen=True, slots=True)
class FilePart:
    """A part of a file, read while it is sent."""

    path: Path
    start: int
    stop: int

    def __len__(self) -> int:
        return self.stop - self.start


@dataclass(frozen=True, slots=True)
class Response:
    """One HTTP response.

    Attributes:
        status: the HTTP status.
        headers: names and values, without those of the connection.
        body: the body.
        cut: the number of bytes of the body after which the connection breaks, or ``None``.
        close: whether the server closes the connection afterwards.
    """

    status: int
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes | FilePart = b""
    cut: int | None = None
    close: bool = False

    def pieces(self) -> Iterator[bytes]:
        """Yield the body in pieces, up to the cut."""
        left = len(self.body) if self.cut is None else min(self.cut, len(self.body))
        if isinstance(self.body, bytes):
            yield self.body[:left]
            return
        with self.body.path.open("rb") as stream:
            stream.seek(self.body.start)
            while left and (piece := stream.read(min(_PIECE, left))):
                left -= len(piece)
                yield piece

    def all_headers(self, now: float, *, with_length: bool = True) -> list[tuple[str, str]]:
        """Return the headers as sent.

        Args:
            now: seconds since the epoch.
            with_length: whether to include ``Content-Length``.
        """
        headers = [
            ("Date", formatdate(now, usegmt=True)),
            ("Server", SERVER),
            ("X-Content-Type-Options", "nosniff"),
            *self.headers,
        ]
        if with_length and not any(name == "Content-Length" for name, _ in self.headers):
            headers.append(("Content-Length", str(len(self.body))))
        return headers


def page(status: int, *headers: tuple[str, str], close: bool = False, text: str = "") -> Response:
    """Return an error page of Apache."""
    reason, default_text = _PAGES[status]
    body = _PAGE.format(status=status, reason=reason, text=text or default_text)
    return Response(status, (*headers, ("Content-Type", "text/html; charset=iso-8859-1")), body.encode(), close=close)


@dataclass(frozen=True, slots=True)
class Field:
    """One field of a form: a string, or a file if it has a file name."""

    name: str
    value: bytes
    filename: str | None = None

    @property
    def text(self) -> str:
        """The value as text."""
        return self.value.decode("utf-8", "replace")


def form(request: Request) -> tuple[Field, ...]:
    """Return the fields of a request: those of the query, then those of the body, without empty strings.

    The separator is ``&`` only, and empty values are dropped (docs/protocol.md#parameters).
    """
    fields = [*_urlencoded(request.query)]
    kind = request.headers.get("content-type", "")
    if kind.startswith("multipart/form-data"):
        fields += _multipart(request.body, kind)
    elif request.body and kind.startswith("application/x-www-form-urlencoded"):
        fields += _urlencoded(request.body.decode("latin-1"))
    return tuple(field for field in fields if field.value or field.filename is not None)


def _urlencoded(text: str) -> Iterator[Field]:
    for name, value in parse_qsl(text, errors="surrogateescape"):
        yield Field(name, value.encode("utf-8", "surrogateescape"))


def _multipart(body: bytes, kind: str) -> Iterator[Field]:
    boundary = re.search(r'boundary="?([^";]+)"?', kind)
    if boundary is None:
        return
    mark = b"--" + boundary[1].encode("latin-1")
    start = body.find(mark)
    while start >= 0:
        start += len(mark)
        end = body.find(b"\r\n" + mark, start)
        if body.startswith(b"--", start) or end < 0:
            return
        head_end = body.find(b"\r\n\r\n", start, end + 2)
        if head_end >= 0:
            head = body[start:head_end].decode("utf-8", "replace")
            values = dict(_PARAMETER.findall(head))
            if "name" in values:
                filename = values.get("filename")
                yield Field(
                    _unquoted(values["name"]),
                    body[head_end + 4 : end],
                    None if filename is None else _unquoted(filename),
                )
        start = end + 2


def _unquoted(text: str) -> str:
    # Browsers and httpx write a double quote in a name as %22, others with a backslash.
    return re.sub(r"\\(.)", r"\1", text).replace("%22", '"')
