"""Downloads and uploads by URL, for the inputs and outputs of local jobs."""

from __future__ import annotations

from contextlib import aclosing
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, cast
from urllib.parse import unquote, urlsplit

import anyio.lowlevel

from .._core.errors import ConnectionFailed, FileNotFound, ServerError

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator

_PIECE = 1 << 20


async def download(url: str, target: Path) -> None:
    """Fetches a URL into a file, which appears whole or not at all.

    Raises:
        FileNotFound: a ``file:`` URL names no file.
        ConnectionFailed: the server cannot be reached.
        ServerError: it answers with an error.
        OSError: the file cannot be written.
    """
    part = target.with_name(f".{target.name[:200]}.part")
    try:
        with part.open("wb") as stream:
            if url.startswith("file:"):
                async for piece in _read(_file(url)):
                    stream.write(piece)
            else:
                await _get(url, stream)
        part.replace(target)
    finally:
        part.unlink(missing_ok=True)


def _file(url: str) -> Path:
    path = Path(unquote(urlsplit(url).path))
    if not path.is_file():
        raise FileNotFound(url, "no such file on this machine")
    return path


async def _read(path: Path) -> AsyncIterator[bytes]:
    with path.open("rb") as stream:
        while piece := stream.read(_PIECE):
            yield piece
            await anyio.lowlevel.checkpoint()


async def _get(url: str, stream: BinaryIO) -> None:
    import httpx

    try:
        async with (
            httpx.AsyncClient(follow_redirects=True) as client,
            client.stream("GET", url, headers={"Accept-Encoding": "identity"}) as response,
        ):
            if response.is_error:
                raise ServerError(f"GET {url}", [f"HTTP {response.status_code}"])
            async with aclosing(cast("AsyncGenerator[bytes, None]", response.aiter_raw())) as answer:
                async for piece in answer:
                    stream.write(piece)
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise ConnectionFailed(f"{url}: {str(error) or type(error).__name__}") from error


async def upload(source: Path, url: str) -> None:
    """Sends a file to a URL by PUT, as curl does for an output of a job.

    Raises:
        ConnectionFailed: the server cannot be reached.
        ServerError: it answers with an error.
    """
    import httpx

    try:
        async with httpx.AsyncClient() as client:
            response = await client.put(
                url, content=_read(source), headers={"Content-Length": str(source.stat().st_size)}
            )
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise ConnectionFailed(f"{url}: {str(error) or type(error).__name__}") from error
    if response.is_error:
        raise ServerError(f"PUT {url}", [f"HTTP {response.status_code}"])
