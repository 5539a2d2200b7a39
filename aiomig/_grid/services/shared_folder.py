"""Reads and writes the files of a share link, with nothing but its URL."""

from __future__ import annotations

import os
import re
from contextlib import aclosing
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, cast
from urllib.parse import quote, urlsplit

from ..._core.errors import AuthenticationFailed, FileNotFound, ProtocolError, ServerError, SpecError
from ..._core.models import Fault
from ..._core.paths import check_characters, home_path
from ..._core.turns import give_way
from ..._home.disk import (
    ON_THIS_MACHINE,
    atomic_write,
    ensure_replaceable,
    open_regular,
    translate_os_errors,
    write_pieces,
)
from ..forms import form, multipart
from ..protocol.answer import members, of_type, raise_for_errors, read_objects, text_of

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping

    import httpx

    from ..._home.transfer import LocalPath
    from ..protocol.answer import Object

_OPERATION = "uploadchunked"
_LARGEST = 64 << 20  # bytes of one request (docs/protocol.md#uploads)
_LONGEST_REPLY = 1 << 20
_TOKEN = re.compile(r"\b_csrf=([0-9a-f]{64})\b")
_URL = re.compile(r"/[A-Za-z_]+/([A-Za-z0-9_-]+)(?:/.*)?", re.ASCII)


class SharedFolder:
    """A shared file or directory, used by the URL of its share link. Needs no session and no certificate.

    Example::

        folder = SharedFolder("https://sid.example.org/share_redirect/Zk3jF8wQ2a")
        await folder.get("out.txt", "results/out.txt")

    Args:
        url: `Share.url`, or the address that a browser shows for it.
        ca: a PEM file with the certificate authorities of the site; the default is the system's store.
        transport: replaces the network in tests.

    Raises:
        SpecError: the URL is not that of a share link.
    """

    __slots__ = ("_ca", "_id", "_origin", "_transport")

    def __init__(
        self, url: str, *, ca: str | os.PathLike[str] | None = None, transport: httpx.AsyncBaseTransport | None = None
    ) -> None:
        parts = urlsplit(url)
        match = _URL.fullmatch(parts.path)
        if parts.scheme != "https" or not parts.hostname or parts.username or match is None:
            remedy = "give the URL of a share link: https://HOST/share_redirect/ID"
            raise SpecError([Fault("url", url, "not the URL of a share link", remedy)])
        self._origin = f"https://{parts.netloc}"
        self._id = match[1]
        self._ca = os.fspath(ca) if ca is not None else None
        self._transport = transport

    def __repr__(self) -> str:
        return f"<SharedFolder {self._origin}>"  # without the id, which grants access

    async def get(self, name: str, destination: LocalPath) -> Path:
        """Download a file.

        Args:
            name: its path in the shared directory; ``""`` if a single file is shared.
            destination: the local file, which is replaced atomically.

        Returns:
            The path of the local file.

        Raises:
            FileNotFound: there is no such file, or the link has expired.
            GridError: the request failed, or the link gives no right to read.
        """
        target = Path(destination)
        with translate_os_errors(str(target), ON_THIS_MACHINE):
            target.parent.mkdir(parents=True, exist_ok=True)
            ensure_replaceable(target)
            with atomic_write(target) as file:
                await self._download(name, partial(write_pieces, file))
        return target

    async def read_bytes(self, name: str = "") -> bytes:
        """Return the content of a file of at most 64 MiB. Raises the errors of `get`."""
        content = bytearray()

        async def take(piece: bytes) -> None:
            content.extend(piece)
            if len(content) > _LARGEST:
                raise ProtocolError(f"{name} has more than 64 MiB, too much to read into memory; use get")

        await self._download(name, take)
        return bytes(content)

    async def put(self, source: LocalPath | bytes, name: str) -> None:
        """Upload a file of at most 64 MiB. The file is sent once, and replaces an existing file.

        Args:
            source: the local file, or the bytes to upload.
            name: the path in the shared directory. The directory that contains it must exist.

        Raises:
            SpecError: the file is too large.
            FileNotFound: there is no such local file.
            AuthenticationFailed: the link gives no right to write, or has expired.
            GridError: the request failed, or the server accepts no uploads through share links.
        """
        path = home_path(name)
        check_characters(path)
        data = source if isinstance(source, bytes) else _read_local(Path(source))
        if len(data) > _LARGEST:
            raise SpecError([Fault("source", len(data), "more than 64 MiB", "upload it with the certificate")])
        folder, _, base = path.rpartition("/")
        names = [("files[]filename", base), ("files[]", "dummy")]
        location = [("share_id", self._id), ("current_dir", folder or ".")]
        status = await self._upload(form([("action", "status"), *location, *names]))
        token = next((match[1] for value in status.values() if (match := _TOKEN.search(str(value)))), "")
        with_token = [*location, ("_csrf", token)]
        fields = [("output_format", "json"), ("action", "put"), *with_token]
        pieces, media_type = multipart(fields, [("files[]", base, data)])
        sent = await self._upload((b"".join(pieces), media_type))
        if sent.get("size") != len(data):
            raise ServerError(_OPERATION, [text_of(sent, "error") or f"{path} did not arrive completely"])
        moved = await self._upload(form([("action", "move"), *with_token, *names]))
        if not any(value is True for value in moved.values()):
            raise ServerError(_OPERATION, [f"{path} could not be moved to its place"])

    async def _download(self, name: str, take: Callable[[bytes], Awaitable[object]]) -> None:
        path = home_path(name) if name else ""
        url = f"{self._origin}/share_redirect/{self._id}{path and '/'}{quote(path)}"
        status, headers = await self._send("GET", url, take)
        if status == 404:
            raise FileNotFound(name or "the share link", "there is no such file, or the link has expired")
        if status == 403:
            raise ServerError("share_redirect", ["HTTP 403: this is a directory, or the link gives no right to read"])
        if status >= 300:
            raise ServerError("share_redirect", [f"HTTP {status}"])
        if not (headers.get("ETag") or headers.get("Last-Modified")):
            raise ProtocolError("share_redirect: the server sent a page, not the file")

    async def _upload(self, body: tuple[bytes, str]) -> Object:
        """Send one request of an upload. Return the only row of the response."""
        content = bytearray()

        async def take(piece: bytes) -> None:
            content.extend(piece)
            if len(content) > _LONGEST_REPLY:
                raise ProtocolError(f"{_OPERATION}: the response is longer than {_LONGEST_REPLY} bytes")

        url = f"{self._origin}/wsgi-bin/{_OPERATION}.py"
        status, headers = await self._send("POST", url, take, body)
        try:
            answer = await give_way(read_objects(_OPERATION, bytes(content), headers.get("Content-Type", ""), status))
            raise_for_errors(_OPERATION, answer)
        except AuthenticationFailed as error:
            problem = "the share link gives no right to write, or has expired; ask its owner"
            raise AuthenticationFailed(problem) from error
        rows = [row for each in of_type(answer, "uploadfiles") for row in members(_OPERATION, each, "files")]
        if len(rows) != 1:
            raise ProtocolError(f"{_OPERATION}: {len(rows)} files came back for one")
        return rows[0]

    async def _send(
        self,
        method: str,
        url: str,
        take: Callable[[bytes], Awaitable[object]],
        body: tuple[bytes, str] | None = None,
    ) -> tuple[int, Mapping[str, str]]:
        """Send one request, and pass each piece of the response to ``take``. Return status and headers."""
        from ..._core.http import anonymous_response
        from ..._core.http_errors import translate_errors

        content, media_type = body or (b"", "")
        headers = {"Accept-Encoding": "identity"} | ({"Content-Type": media_type} if media_type else {})
        with translate_errors(self._origin):
            async with (
                anonymous_response(method, url, headers, content, ca=self._ca, transport=self._transport) as response,
                # A generator that must be closed, though its annotation in httpx is AsyncIterator.
                aclosing(cast("AsyncGenerator[bytes, None]", response.aiter_raw())) as pieces,
            ):
                async for piece in pieces:
                    if response.is_success or method == "POST":
                        await take(piece)
                return response.status_code, response.headers


def _read_local(path: Path) -> bytes:
    with translate_os_errors(str(path), ON_THIS_MACHINE), open_regular(path) as file:
        return file.read(_LARGEST + 1)
