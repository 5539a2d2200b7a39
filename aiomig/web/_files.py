"""The routes of the MiG home: ``/api/files``."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from fastapi.responses import JSONResponse, Response, StreamingResponse

from .. import PathRefused
from ._context import Mig
from ._problems import Problem
from ._streams import download, read_chunks
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
    if any(character in info.path for character in "*?"):  # `Files.ls` would take it as a pattern
        raise PathRefused(info.path, "contains * or ?, which aiomig reads as a pattern")
    files = sorted(await mig.files.ls(info.path, hidden=hidden), key=lambda file: (not file.is_dir, file.name))
    return JSONResponse({"path": info.path, "files": [file_view(file) for file in files]})


@router.get("/files/{path:path}", summary="Download a file of the home", response_class=StreamingResponse)
async def get_file(mig: Mig, path: str) -> Response:
    """Return the content of a file."""
    info = await mig.files.stat(path)
    if info.is_dir:
        raise PathRefused(info.path, "is a directory, not a file")
    return download(read_chunks(mig.files, info.path), info.name, info.size)


@router.put("/files/{path:path}", status_code=201, response_model=FileView, summary="Upload a file into the home")
async def put_file(request: Request, mig: Mig, path: str) -> dict[str, Any]:
    """Create or replace a file with the request body, completely or not at all."""
    length = request.headers.get("content-length", "")
    await mig.files.put_stream(request.stream(), path, size=int(length) if length.isdecimal() else None)
    return file_view(await mig.files.stat(path))


@router.put("/folders/{path:path}", status_code=201, response_model=FileView, summary="Create a directory")
async def make_directory(mig: Mig, path: str) -> dict[str, Any]:
    """Create a directory in the home, and missing parent directories."""
    await mig.files.mkdir(path)
    return file_view(await mig.files.stat(path))


@router.delete("/files/{path:path}", status_code=204, summary="Remove a file or a directory")
async def remove(mig: Mig, path: str, recursive: bool = False) -> None:
    """Remove a file, or with ``recursive`` a directory and everything in it."""
    if not path.strip("/. "):
        raise Problem(403, "the home itself cannot be removed")
    await mig.files.remove(path, recursive=recursive)
