"""The MiG home on a grid: `HomeAccess` by the operations of a server.

Where an operation of MiG is lossy, a plain one stands in for it, and the docstring says so.
"""

from __future__ import annotations

import hashlib
import secrets
from typing import TYPE_CHECKING

import anyio

from . import _protocol, _protocol_files
from ._errors import FileExists, FileNotFound, MigError, PathRefused, ProtocolError, ServerError
from ._files_access import FileInfo, WordCount
from ._files_text import count_words, matching_lines
from ._multipart import multipart
from ._paths import archive_suffix, folder_of, join, name_of

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterable, Sequence

    from ._http import Reply
    from ._link import Link

PIECE = 8 << 20
"""The bytes of one request of a download. Each is a request of its own, so that no connection is held meanwhile."""

CHUNK = 32 << 20
"""The bytes of one request of an upload; a server takes at most 64 MiB (mig-protocol 6.3)."""

_CACHE = ".upload-cache"
_CLEAN_UP_SECONDS = 10.0
_SERVER_ALGORITHMS = frozenset({"md5", "sha1", "sha256", "sha512"})


class GridHome:
    """The home of the user whose certificate the link bears.

    Args:
        link: the operations of the server.
    """

    def __init__(self, link: Link) -> None:
        self._link = link

    async def stat(self, path: str) -> FileInfo | None:
        """As `HomeAccess.stat`, by ``statpath``."""
        try:
            found = _protocol_files.stats(await self._link.read("statpath", [("path", path)]))
        except FileNotFound:
            return None
        if not found:
            return None
        return FileInfo(path, name_of(path), found[0].is_dir, found[0].size, found[0].modified_at)

    async def listing(self, path: str, *, recursive: bool = False) -> list[FileInfo]:
        """As `HomeAccess.listing`, by ``ls``."""
        flags = "far" if recursive else "fa"
        found = _protocol_files.listing(await self._link.read("ls", [("path", path), ("flags", flags)]))
        if found.missing and not found.entries:
            raise FileNotFound(path)
        # A listing has the folder itself, as `.`, and a recursive one may have it by its name.
        return [entry for entry in found.entries if entry.path != path or not entry.is_dir]

    async def make_directories(self, paths: Sequence[str]) -> None:
        """As `HomeAccess.make_directories`, in one ``mkdir``."""
        if not paths:
            return
        fields = [("flags", "p"), *(("path", path) for path in paths)]
        answer = await self._link.change("mkdir", fields, repeatable=True)
        try:
            _protocol.check("mkdir", answer)
        except (FileExists, PathRefused, ServerError):
            for path in paths:
                information = await self.stat(path)
                if information is not None and not information.is_dir:
                    raise FileExists(path, "a file is in the way") from None
            raise

    # -- content

    async def read(self, path: str, start: int = 0, end: int | None = None) -> AsyncGenerator[bytes, None]:
        """As `HomeAccess.read`, by ``cert_redirect`` in pieces; what changes meanwhile is an error."""
        etag: str | None = None
        position = start
        while end is None or position < end:
            last = position + PIECE - 1 if end is None else min(end, position + PIECE) - 1
            reply = await self._link.fetch(path, first=position, last=last, etag=etag)
            if reply.status == 416:
                return
            await self._check_file(path, reply)
            if reply.status == 200 and position > 0:
                raise ServerError("cert_redirect", [f"{path}: the file changed while it was read; read it again"])
            etag = _strong(reply.headers.get("ETag"))
            total = _total(reply)
            if reply.body:
                yield reply.body
            position += len(reply.body)
            if reply.status == 200 or not reply.body or (total is not None and position >= total):
                if total is not None and end is None and position != total:
                    raise ServerError("cert_redirect", [f"{path}: {position} bytes came of {total}; read it again"])
                return

    async def _check_file(self, path: str, reply: Reply) -> None:
        if reply.status in (200, 206):
            return
        information = await self.stat(path) if reply.status in (301, 302, 403) else None
        if information is not None and information.is_dir:
            raise PathRefused(path, "a directory; give a file")
        if reply.status in (301, 302):
            raise _protocol.redirected("cert_redirect", reply.headers.get("Location", ""))
        if reply.status == 404 or (reply.status == 403 and information is None):
            raise FileNotFound(path)
        raise ServerError("cert_redirect", [f"{path}: HTTP {reply.status}"])

    async def write(self, path: str, content: AsyncIterable[bytes], size: int) -> None:
        """As `HomeAccess.write`: uploaded under a name of its own, checked, then moved into place by ``mv``.

        The server's cache goes by base name and does not cut what it finds (mig-protocol 6.3), hence the name.
        """
        name = f"aiomig-{secrets.token_hex(12)}"
        try:
            await self._upload(name, content, size)
            _protocol.check("mv", await self._link.change("mv", [("src", f"{_CACHE}/{name}"), ("dst", path)]))
        except BaseException:
            await self._forget(f"{_CACHE}/{name}")
            raise

    async def _upload(self, name: str, content: AsyncIterable[bytes], size: int) -> None:
        position = 0
        waiting = bytearray()
        async for piece in content:
            waiting += piece
            while len(waiting) >= CHUNK:
                await self._send_chunk(name, bytes(waiting[:CHUNK]), position, size)
                position += CHUNK
                del waiting[:CHUNK]
        if position + len(waiting) != size:
            raise ServerError("uploadchunked", [f"{position + len(waiting)} bytes came to be sent, not {size}"])
        if waiting or not position:
            await self._send_chunk(name, bytes(waiting), position, size)

    async def _send_chunk(self, name: str, data: bytes, position: int, size: int) -> None:
        def body(token: str) -> tuple[bytes, str]:
            fields = [("output_format", "json"), ("action", "put"), ("_csrf", token)]
            return multipart(fields, [("files[]", name, data)])

        headers = {"Content-Range": f"bytes {position}-{position + len(data) - 1}/{size}"} if data else {}
        # The same bytes at the same place: that may be repeated.
        answer = await self._link.change_body("uploadchunked", body, headers=headers, repeatable=True)
        for part in _protocol_files.uploads(answer):
            if not part.ok:
                raise ServerError("uploadchunked", [part.message])
            if part.size is not None and part.size != position + len(data):
                raise ServerError(
                    "uploadchunked", [f"the server has {part.size} bytes, {position + len(data)} were sent"]
                )

    async def _forget(self, path: str) -> None:
        """Removes what a broken operation left."""
        with anyio.move_on_after(_CLEAN_UP_SECONDS, shield=True):
            try:
                await self._link.change("rm", [("path", path), ("flags", "f")])
            except MigError:
                return

    async def write_range(self, path: str, start: int, data: bytes) -> None:
        """As `HomeAccess.write_range`. Servers of today cannot do it, so the whole file goes forth and back."""
        await self._require_file(path)
        content = bytearray(await self._whole(path))
        content.extend(bytes(max(0, start - len(content))))
        content[start : start + len(data)] = data
        await self.write(path, _once(bytes(content)), len(content))

    async def _whole(self, path: str) -> bytes:
        return b"".join([piece async for piece in self.read(path)])

    async def _require_file(self, path: str) -> FileInfo:
        information = await self.stat(path)
        if information is None:
            raise FileNotFound(path)
        if information.is_dir:
            raise PathRefused(path, "a directory; give a file")
        return information

    # -- names

    async def touch(self, path: str) -> None:
        """As `HomeAccess.touch`."""
        _protocol.check("touch", await self._link.change("touch", [("path", path)], repeatable=True))

    async def truncate(self, path: str, size: int) -> None:
        """As `HomeAccess.truncate`."""
        await self._require_file(path)
        fields = [("path", path), ("size", str(size))]
        _protocol.check("truncate", await self._link.change("truncate", fields, repeatable=True))

    async def copy(self, source: str, destination: str) -> None:
        """As `HomeAccess.copy`."""
        fields = [("src", source), ("dst", destination), ("flags", "r")]
        _protocol.check("cp", await self._link.change("cp", fields))

    async def move(self, source: str, destination: str) -> None:
        """As `HomeAccess.move`."""
        _protocol.check("mv", await self._link.change("mv", [("src", source), ("dst", destination)]))

    async def remove(self, path: str, *, recursive: bool) -> None:
        """As `HomeAccess.remove`: with flag ``f``, which passes the trash by."""
        if not recursive:
            await self._require_file(path)
        flags = "fr" if recursive else "f"
        _protocol.check("rm", await self._link.change("rm", [("path", path), ("flags", flags)]))

    async def remove_directory(self, path: str) -> None:
        """As `HomeAccess.remove_directory`."""
        information = await self.stat(path)
        if information is None:
            raise FileNotFound(path)
        if not information.is_dir:
            raise PathRefused(path, "a file; use remove")
        if await self.listing(path):
            raise FileExists(path, "the directory is not empty; use remove(recursive=True)")
        _protocol.check("rmdir", await self._link.change("rmdir", [("path", path)]))

    # -- looking into files

    async def checksum(self, path: str, algorithm: str) -> str:
        """As `HomeAccess.checksum`: by the server for what all servers have, else by reading the file here."""
        await self._require_file(path)
        if algorithm in _SERVER_ALGORITHMS:
            fields = [("path", path), ("hash_algo", algorithm), ("max_chunks", "0")]
            sums = _protocol_files.checksums(await self._link.read("chksum", fields))
            if len(sums) == 1:
                return next(iter(sums.values()))
            raise ProtocolError(f"chksum: {len(sums)} checksums for one file")
        digest = hashlib.new(algorithm)
        async for piece in self.read(path):
            digest.update(piece)
        return digest.hexdigest()

    async def grep(self, pattern: str, path: str) -> list[str]:
        """As `HomeAccess.grep`, by reading the file here: a server's takes few patterns, and text only."""
        return await matching_lines(self.read(path), pattern)

    async def word_count(self, path: str) -> WordCount:
        """As `HomeAccess.word_count`, by reading the file here: a server counts characters for bytes."""
        return await count_words(self.read(path))

    async def pack(self, source: str, archive: str) -> None:
        """As `HomeAccess.pack`: beside the source under a name of its own, then moved into place.

        One source, for a server keeps the last of several only.
        """
        folder = folder_of(source)
        part = f"aiomig-{secrets.token_hex(12)}{archive_suffix(archive)}"
        fields = [("src", name_of(source)), ("dst", part), ("current_dir", folder)]
        try:
            _protocol.check("pack", await self._link.change("pack", fields))
            await self.move(join(folder, part), archive)
        except BaseException:
            await self._forget(join(folder, part))
            raise

    async def unpack(self, archive: str, destination: str) -> None:
        """As `HomeAccess.unpack`."""
        _protocol.check("unpack", await self._link.change("unpack", [("src", archive), ("dst", destination)]))


async def _once(data: bytes) -> AsyncGenerator[bytes, None]:
    yield data


def _strong(etag: str | None) -> str | None:
    return etag if etag and not etag.startswith("W/") else None


def _total(reply: Reply) -> int | None:
    """The size of the whole file, as the headers of a piece say."""
    _, _, total = reply.headers.get("Content-Range", "").partition("/")
    text = total if reply.status == 206 else reply.headers.get("Content-Length", "")
    return int(text) if text.isdigit() else None
