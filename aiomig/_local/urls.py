"""Downloads and uploads by URL, for the inputs and outputs of local jobs."""

from __future__ import annotations

from contextlib import aclosing
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, cast
from urllib.parse import unquote, urlsplit

import anyio.lowlevel

from .._core.errors import FileNotFound, ServerError

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator

_PIECE = 1 << 20


async def download(url: str, target: Path) -> None:
    """Fetch a URL into a file, which appears whole or not at all.

    Raises:
        FileNotFound: a ``file:`` URL names no file.
        ConnectionFailed: the server cannot be reached.
        ServerError: it answers with an error.
        ConfigError: the environment names a proxy that cannot be used.
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
    from .._core.http import make_web_client, translate_errors

    with translate_errors(url):
        async with (
            make_web_client() as client,
            client.stream("GET", url, headers={"Accept-Encoding": "identity"}) as response,
        ):
            if response.is_error:
                raise ServerError(f"GET {url}", [f"HTTP {response.status_code}"])
            async with aclosing(cast("AsyncGenerator[bytes, None]", response.aiter_raw())) as pieces:
                async for piece in pieces:
                    stream.write(piece)


async def upload(source: Path, url: str) -> None:
    """Send a file to a URL by PUT, as curl does for an output of a job.

    Raises:
        ConnectionFailed: the server cannot be reached.
        ServerError: it answers with an error.
        ConfigError: the environment names a proxy that cannot be used.
    """
    from .._core.http import make_web_client, translate_errors

    length = str(source.stat().st_size)
    with translate_errors(url):
        async with make_web_client() as client:
            response = await client.put(url, content=_read(source), headers={"Content-Length": length})
    if response.is_error:
        raise ServerError(f"PUT {url}", [f"HTTP {response.status_code}"])
