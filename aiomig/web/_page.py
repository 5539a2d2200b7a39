"""The page: files that the package brings, and no file from elsewhere."""

from __future__ import annotations

import hashlib
from importlib import resources

from fastapi import APIRouter, Request
from fastapi.responses import Response

from ._problems import Problem

router = APIRouter(include_in_schema=False)

_KINDS = {".html": "text/html", ".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}


def load_page() -> dict[str, tuple[bytes, str, str]]:
    """Return the content, the type and the tag of each file of the page."""
    files: dict[str, tuple[bytes, str, str]] = {}
    for file in resources.files(__package__).joinpath("page").iterdir():
        if (kind := _KINDS.get("." + file.name.rpartition(".")[2])) is not None:
            content = file.read_bytes()
            files[file.name] = content, f"{kind}; charset=utf-8", f'"{hashlib.sha256(content).hexdigest()[:16]}"'
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
    content, kind, tag = files[name]
    headers = {"etag": tag, "cache-control": "no-cache"}
    if request.headers.get("if-none-match") == tag:
        return Response(status_code=304, headers=headers)
    return Response(content, headers=headers, media_type=kind)
