"""The page: static files of the package. The page loads nothing from other hosts."""

from __future__ import annotations

import hashlib
from importlib import resources

from fastapi import APIRouter, Request
from fastapi.responses import Response

from ._problems import Problem

router = APIRouter(include_in_schema=False)

_MEDIA_TYPES = {".html": "text/html", ".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}


def load_page() -> dict[str, tuple[bytes, str, str]]:
    """Return the content, media type and ETag of each file of the page, by file name."""
    files: dict[str, tuple[bytes, str, str]] = {}
    for file in resources.files(__package__).joinpath("page").iterdir():
        if (media_type := _MEDIA_TYPES.get("." + file.name.rpartition(".")[2])) is not None:
            content = file.read_bytes()
            files[file.name] = content, f"{media_type}; charset=utf-8", f'"{hashlib.sha256(content).hexdigest()[:16]}"'
    return files


@router.get("/")
async def index(request: Request) -> Response:
    """Return the page."""
    return await page_file(request, "index.html")


@router.get("/page/{name}")
async def page_file(request: Request, name: str) -> Response:
    """Return a file of the page."""
    files = request.app.state.page
    if name not in files:
        raise Problem(404, "there is no such file")
    content, media_type, etag = files[name]
    headers = {"etag": etag, "cache-control": "no-cache"}
    if request.headers.get("if-none-match") == etag:
        return Response(status_code=304, headers=headers)
    return Response(content, headers=headers, media_type=media_type)
