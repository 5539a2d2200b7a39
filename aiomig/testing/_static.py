"""The files of a home, as the web server serves them at ``/cert_redirect/PATH``."""

from __future__ import annotations

import gzip
import mimetypes
import posixpath
import re
from email.utils import formatdate
from typing import TYPE_CHECKING
from urllib.parse import quote, unquote

from ._wire import FilePart, Request, Response, page

if TYPE_CHECKING:
    from pathlib import Path

    from ._home import Home

PREFIX = "/cert_redirect/"
_UNQUOTED = "/$-_.+!*'(),:;@&=~"
"""Characters that Apache does not escape in ``Location``, besides letters and digits."""

_RANGE = re.compile(r"bytes=(\d*)-(\d*)")
_ROOT = b"""<!DOCTYPE html>
<html>
<head>
<meta http-equiv="Content-Type" content="text/html;charset=utf-8"/>
</head>
<body>
<script type="text/javascript">
document.location = "/wsgi-bin/autolaunch.py";
</script>
</body>
</html>
"""


def get(request: Request, home: Home | None, path: str) -> Response:
    """Answer GET and HEAD for a file.

    Args:
        request: the request.
        home: the home of the file, or ``None`` if the client may not read it.
        path: the path in the home, percent-encoded.
    """
    if home is None:
        return page(403)
    name = unquote(path)
    clean = posixpath.normpath(f"/{name}") if name else "/"
    if ".." in name.split("/"):
        return page(404)
    place = home.place(clean)
    if place is None:
        return page(403)
    if place.is_dir():
        return _directory(request, path)
    if not place.is_file() or name.endswith("/"):
        return page(404)
    return _file(request, place)


def root() -> Response:
    """Return the page at ``/``."""
    return Response(200, (("Accept-Ranges", "bytes"), ("Content-Type", "text/html")), _ROOT)


def _directory(request: Request, path: str) -> Response:
    if path.endswith("/") or not path:
        return page(403)
    location = f"{request.host}{PREFIX}{quote(unquote(path), _UNQUOTED)}/"
    text = f'<p>The document has moved <a href="{location}">here</a>.</p>'
    return page(301, ("Location", location), text=text)


def _file(request: Request, place: Path) -> Response:
    status = place.stat()
    tag = f"{status.st_size:x}-{status.st_mtime_ns // 1000:x}"
    headers = [
        ("Last-Modified", formatdate(int(status.st_mtime), usegmt=True)),
        ("ETag", f'"{tag}"'),
        ("Accept-Ranges", "bytes"),
    ]
    if request.headers.get("if-none-match") == f'"{tag}"':
        return Response(304, tuple(headers))
    kind, encoding = mimetypes.guess_type(place.name)
    if encoding == "gzip":
        kind = "application/x-gzip"
    typed = [("Content-Type", kind)] if kind else []
    byte_range = request.headers.get("range", "")
    if byte_range and request.headers.get("if-range", f'"{tag}"') == f'"{tag}"':
        return _part(place, byte_range, status.st_size, [*headers, *typed])
    if "gzip" in request.headers.get("accept-encoding", "") and (kind or "").startswith("text/"):
        headers[1] = ("ETag", f'"{tag}-gzip"')
        body = gzip.compress(place.read_bytes())
        return Response(200, (*headers, ("Content-Encoding", "gzip"), *typed), body)
    return Response(200, (*headers, *typed), FilePart(place, 0, status.st_size))


def _part(place: Path, byte_range: str, size: int, headers: list[tuple[str, str]]) -> Response:
    match = _RANGE.fullmatch(byte_range)
    if match is None or match[0] == "bytes=-":
        return Response(200, tuple(headers), FilePart(place, 0, size))
    if match[1]:
        start, stop = int(match[1]), min(int(match[2]) + 1 if match[2] else size, size)
    else:
        start, stop = max(size - int(match[2]), 0), size
    if start >= stop:
        return page(416, ("Content-Range", f"bytes */{size}"))
    return Response(
        206, (*headers, ("Content-Range", f"bytes {start}-{stop - 1}/{size}")), FilePart(place, start, stop)
    )
