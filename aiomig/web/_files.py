"""The routes of the MiG home: ``/api/files``."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from fastapi.responses import JSONResponse, Response, StreamingResponse

from .. import PathRefused
from ._context import Mig
from ._problems import Problem
from ._streams import download, pieces_of
from ._views import FileList, FileView, file_view

router = APIRouter(prefix="/api")


@router.get("/files", response_model=FileList, summary="List a directory of the home")
async def listing(
    mig: Mig, path: Annotated[str, Query(description="relative to the home")] = ".", hidden: bool = False
) -> Response:
    """List the entries of a directory, directories first."""
    info = await mig.files.stat(path)
    if not info.is_dir:
        raise PathRefused(info.path, "is a file, not a directory")
    files = sorted(
        await mig.files.ls(_literal(info.path), hidden=hidden), key=lambda each: (not each.is_dir, each.name)
    )
    return JSONResponse({"path": info.path, "files": [file_view(each) for each in files]})


def _literal(path: str) -> str:
    """Refuse a name with the characters of patterns, which `Files.ls` would match."""
    if any(character in path for character in "*?"):
        raise PathRefused(path, "holds * or ?, which mean patterns")
    return path


@router.get("/files/{path:path}", summary="Download a file of the home", response_class=StreamingResponse)
async def get_file(mig: Mig, path: str) -> Response:
    """Return the bytes of a file."""
    info = await mig.files.stat(path)
    if info.is_dir:
        raise PathRefused(info.path, "is a directory, not a file")
    return download(pieces_of(mig.files, info.path), info.name, info.size)


@router.put("/files/{path:path}", status_code=201, response_model=FileView, summary="Upload a file into the home")
async def put_file(request: Request, mig: Mig, path: str) -> dict[str, Any]:
    """Make or replace a file with the body of the request, whole or not at all."""
    length = request.headers.get("content-length", "")
    await mig.files.put_stream(request.stream(), path, size=int(length) if length.isdecimal() else None)
    return file_view(await mig.files.stat(path))


@router.put("/folders/{path:path}", status_code=201, response_model=FileView, summary="Make a directory")
async def make_directory(mig: Mig, path: str) -> dict[str, Any]:
    """Make a directory of the home, and those above it."""
    await mig.files.mkdir(path)
    return file_view(await mig.files.stat(path))


@router.delete("/files/{path:path}", status_code=204, summary="Remove a file or a directory")
async def remove(mig: Mig, path: str, recursive: bool = False) -> None:
    """Remove a file, or with ``recursive`` a directory with all that it holds."""
    if not path.strip("/. "):
        raise Problem(403, "the home itself stays")
    await mig.files.remove(path, recursive=recursive)
