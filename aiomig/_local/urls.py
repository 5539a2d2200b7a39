"""Downloads inputs and uploads outputs of local jobs by URL."""

from __future__ import annotations

import os
from contextlib import aclosing
from typing import TYPE_CHECKING, BinaryIO, cast
from urllib.parse import unquote, urlsplit, urlunsplit

from anyio.lowlevel import checkpoint

from .._core.errors import ConnectionFailed, ServerError
from .._home.disk import PIECE, write_pieces

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator


URL_SCHEMES = frozenset({"http", "https", "file"})


async def download(url: str, target: BinaryIO) -> None:
    """Download a URL into an open file.

    Raises:
        ConnectionFailed: the server cannot be reached.
        ServerError: the server responds with an error.
        ConfigError: the environment names a proxy that cannot be used.
        OSError: the file cannot be written.
    """
    from .._core.http import make_web_client
    from .._core.http_errors import translate_errors

    url, login = _split_login(url)
    with translate_errors(url, is_site=False):
        async with (
            make_web_client() as client,
            client.stream("GET", url, auth=login, headers={"Accept-Encoding": "identity"}) as response,
        ):
            if response.is_error:
                raise ServerError(f"GET {url}", [f"HTTP {response.status_code}"])
            async with aclosing(cast("AsyncGenerator[bytes, None]", response.aiter_raw())) as pieces:
                async for piece in pieces:
                    await write_pieces(target, piece)


async def upload(source: BinaryIO, url: str) -> None:
    """Upload an open file to a URL by PUT, as a grid's curl does.

    Raises:
        ConnectionFailed: the server cannot be reached.
        ServerError: the server responds with an error.
        ConfigError: the environment names a proxy that cannot be used.
    """
    from .._core.http import make_web_client
    from .._core.http_errors import translate_errors

    url, login = _split_login(url)
    size = os.fstat(source.fileno()).st_size
    with translate_errors(url, is_site=False):
        async with make_web_client() as client:
            headers = {"Content-Length": str(size)}
            response = await client.request("PUT", url, content=_pieces(source, size), auth=login, headers=headers)
    if response.is_error:
        raise ServerError(f"PUT {url}", [f"HTTP {response.status_code}"])


def _split_login(url: str) -> tuple[str, tuple[str, str] | None]:
    """Return a URL without its user name and password, and these two. Errors and logs must not show them."""
    try:
        parts = urlsplit(url)
    except ValueError as error:
        raise ConnectionFailed(f"{url} is not a URL: {error}", sent=False) from error
    if parts.username is None:
        return url, None
    host = parts.netloc.rpartition("@")[2]
    return urlunsplit(parts._replace(netloc=host)), (unquote(parts.username), unquote(parts.password or ""))


async def _pieces(file: BinaryIO, size: int) -> AsyncIterator[bytes]:
    while size > 0 and (piece := file.read(min(PIECE, size))):
        size -= len(piece)
        yield piece
        await checkpoint()
