"""Reads and writes what a share link shares, by its URL alone."""

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
    """A file or directory that somebody shares, by the URL of the share link: no session and no certificate is needed.

    Example::

        folder = SharedFolder("https://sid.example.org/share_redirect/Zk3jF8wQ2a")
        await folder.get("out.txt", "results/out.txt")

    Args:
        url: `Share.url`, or the address under which a browser shows it.
        ca: a PEM file with the authorities of the site; the default is the system's.
        transport: for tests: what to send by instead of the network.

    Raises:
        SpecError: it is not such a URL.
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
        return f"<SharedFolder {self._origin}>"  # whoever knows the id has the rights

    async def get(self, name: str, destination: LocalPath) -> Path:
        """Download a file.

        Args:
            name: its path in the shared directory; ``""`` if a single file is shared.
            destination: the new file here, which is replaced, whole or not at all.

        Returns:
            The path of the file here.

        Raises:
            FileNotFound: there is no such file, or the link has ended.
            GridError: the server could not be asked, or gives no right to read.
        """
        target = Path(destination)
        with translate_os_errors(str(target), ON_THIS_MACHINE):
            target.parent.mkdir(parents=True, exist_ok=True)
            ensure_replaceable(target)
            with atomic_write(target) as file:
                await self._download(name, partial(write_pieces, file))
        return target

    async def read_bytes(self, name: str = "") -> bytes:
        """Return a file of at most 64 MiB. Raises as `get`."""
        content = bytearray()

        async def take(piece: bytes) -> None:
            content.extend(piece)
            if len(content) > _LARGEST:
                raise ProtocolError(f"{name} has more than 64 MiB, which is too much for memory; use get")

        await self._download(name, take)
        return bytes(content)

    async def put(self, source: LocalPath | bytes, name: str) -> None:
        """Upload a file of at most 64 MiB. It is sent once; a file of that name is replaced.

        Args:
            source: the file here, or its bytes.
            name: its path in the shared directory; the directories above it must exist.

        Raises:
            SpecError: it is larger.
            FileNotFound: there is no such file here.
            AuthenticationFailed: the link gives no right to write, or has ended.
            GridError: the server takes no uploads by share links, or could not be asked.
        """
        path = home_path(name)
        check_characters(path)
        data = source if isinstance(source, bytes) else _read_here(Path(source))
        if len(data) > _LARGEST:
            raise SpecError([Fault("source", len(data), "more than 64 MiB", "upload it with the certificate")])
        folder, _, base = path.rpartition("/")
        names = [("files[]filename", base), ("files[]", "dummy")]
        here = [("share_id", self._id), ("current_dir", folder or ".")]
        asked = await self._upload(form([("action", "status"), *here, *names]))
        token = next((match[1] for value in asked.values() if (match := _TOKEN.search(str(value)))), "")
        checked = [*here, ("_csrf", token)]
        fields = [("output_format", "json"), ("action", "put"), *checked]
        pieces, media_type = multipart(fields, [("files[]", base, data)])
        sent = await self._upload((b"".join(pieces), media_type))
        if sent.get("size") != len(data):
            raise ServerError(_OPERATION, [text_of(sent, "error") or f"{path} did not arrive whole"])
        moved = await self._upload(form([("action", "move"), *checked, *names]))
        if not any(value is True for value in moved.values()):
            raise ServerError(_OPERATION, [f"{path} could not be put in its place"])

    async def _download(self, name: str, take: Callable[[bytes], Awaitable[object]]) -> None:
        path = home_path(name) if name else ""
        url = f"{self._origin}/share_redirect/{self._id}{path and '/'}{quote(path)}"
        status, headers = await self._send("GET", url, take)
        if status == 404:
            raise FileNotFound(name or "the share link", "there is no such file, or the link has ended")
        if status == 403:
            raise ServerError("share_redirect", ["HTTP 403: it is a directory, or the link gives no right to read"])
        if status >= 300:
            raise ServerError("share_redirect", [f"HTTP {status}"])
        if not (headers.get("ETag") or headers.get("Last-Modified")):
            raise ProtocolError("share_redirect: the server answered a page, not the file")

    async def _upload(self, body: tuple[bytes, str]) -> Object:
        """Send one request of an upload. Return the one row of its response."""
        content = bytearray()

        async def take(piece: bytes) -> None:
            content.extend(piece)
            if len(content) > _LONGEST_REPLY:
                raise ProtocolError(f"{_OPERATION}: the answer is longer than {_LONGEST_REPLY} bytes")

        url = f"{self._origin}/wsgi-bin/{_OPERATION}.py"
        status, headers = await self._send("POST", url, take, body)
        try:
            answer = await give_way(read_objects(_OPERATION, bytes(content), headers.get("Content-Type", ""), status))
            raise_for_errors(_OPERATION, answer)
        except AuthenticationFailed as error:
            problem = "the share link gives no right to write, or has ended; ask whoever made it"
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
        """Send one request. Give each piece of the response to a function; return status and headers."""
        from ..._core.http import anonymous_response
        from ..._core.http_errors import translate_errors

        content, media_type = body or (b"", "")
        headers = {"Accept-Encoding": "identity"} | ({"Content-Type": media_type} if media_type else {})
        with translate_errors(self._origin):
            async with (
                anonymous_response(method, url, headers, content, ca=self._ca, transport=self._transport) as response,
                # A generator, though httpx does not say so, that is to be closed.
                aclosing(cast("AsyncGenerator[bytes, None]", response.aiter_raw())) as pieces,
            ):
                async for piece in pieces:
                    if response.is_success or method == "POST":
                        await take(piece)
                return response.status_code, response.headers


def _read_here(path: Path) -> bytes:
    with translate_os_errors(str(path), ON_THIS_MACHINE), open_regular(path) as file:
        return file.read(_LARGEST + 1)
