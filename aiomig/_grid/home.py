"""The MiG home on a grid: `HomeBackend` implemented with the operations of a server.

If an operation of MiG loses information, aiomig uses a simpler one, and the docstring says so.
"""

from __future__ import annotations

import hashlib
import logging
import re
import secrets
from contextlib import aclosing, suppress
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

from .._core.errors import ConnectionFailed, FileExists, FileNotFound, MigError, PathRefused, ProtocolError, ServerError
from .._core.http import content_length
from .._core.paths import FileInfo, archive_suffix, folder_of, join, name_of
from .._core.tasks import run_shielded
from .._core.turns import Paced, give_way
from .._home.transfer import file_content, once, receive_file, unsized_content
from .._spec.plan import PRIVATE_FOLDER
from .forms import multipart
from .protocol import files
from .protocol.answer import faults, raise_for_errors

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterable, Callable, Sequence
    from pathlib import Path

    from .._core.http import Content, Reply
    from .config import RequestLimits
    from .operations import OperationClient

logger = logging.getLogger("aiomig.grid")

CACHE = ".upload-cache"
"""The folder of the home in which a server collects uploads (docs/protocol.md#uploads)."""

_STATS_A_REQUEST = 100  # a server that repeats its list for each path answers with 10,000 entries
_SIZE = re.compile(r"[0-9]{1,18}", re.ASCII)
_SERVER_ALGORITHMS = frozenset({"md5", "sha1", "sha256", "sha512"})


class GridHome:
    """The home of the user of the certificate, file by file; `BundlingHome` carries many of them.

    Args:
        operations: the operations of the server.
        limits: the limits of requests.
    """

    def __init__(self, operations: OperationClient, limits: RequestLimits) -> None:
        self._operations = operations
        self._limits = limits

    async def stat(self, path: str) -> FileInfo | None:
        """As `HomeBackend.stat`, by ``statpath``."""
        found, _ = files.stats(await self._operations.query("statpath", [("path", path)]))
        return _info(path, found[0]) if found else None

    async def stat_many(self, paths: Sequence[str]) -> dict[str, FileInfo]:
        """As `HomeBackend.stat_many`, by ``statpath``. Paths that are not in the response are requested one by one."""
        present: dict[str, FileInfo] = {}
        for start in range(0, len(paths), _STATS_A_REQUEST):
            part = paths[start : start + _STATS_A_REQUEST]
            fields = [("flags", "v"), *(("path", path) for path in part)]
            found, missing = files.stats(await self._operations.query("statpath", fields))
            named = {stat.path: stat for stat in found}
            for path in part:
                if path in named:
                    present[path] = _info(path, named[path])
                elif path not in missing and (information := await self.stat(path)) is not None:
                    present[path] = information
        return present

    async def listing(self, path: str, *, recursive: bool = False) -> list[FileInfo]:
        """As `HomeBackend.listing`, by ``ls``."""
        flags = "far" if recursive else "fa"
        answer = await self._operations.query("ls", [("path", path), ("flags", flags)])
        listing = await give_way(files.read_listing(answer))
        if listing.missing and not listing.entries:
            raise FileNotFound(path)
        # The folder itself is listed as `.`, and in a recursive listing possibly by its name.
        return [entry async for entry in Paced(listing.entries) if entry.path != path or not entry.is_dir]

    async def make_directories(self, paths: Sequence[str]) -> None:
        """As `HomeBackend.make_directories`, in one ``mkdir``."""
        if not paths:
            return
        fields = [("flags", "p"), *(("path", path) for path in paths)]
        answer = await self._operations.execute("mkdir", fields, repeatable=True)
        try:
            raise_for_errors("mkdir", answer)
        except (FileExists, PathRefused, ServerError):
            for path in paths:
                information = await self.stat(path)
                if information is not None and not information.is_dir:
                    raise FileExists(path, "a file is in the way") from None
            raise

    # -- content

    async def read(self, path: str, start: int = 0, end: int | None = None) -> AsyncGenerator[bytes, None]:
        """As `HomeBackend.read`, by ``cert_redirect`` in pieces. Raises an error if the file changes meanwhile.

        If the transfer of a piece fails, the whole piece is requested again (RFC 9110 14.2).
        """
        version: _Version | None = None
        position = start
        while end is None or position < end:
            stop = (
                position + self._limits.download_piece
                if end is None
                else min(end, position + self._limits.download_piece)
            )
            etag = version.etag if version is not None and not version.is_weak else None
            reply = await self._operations.fetch(path, first=position, last=stop - 1, etag=etag)
            if reply.status == 416 and (version is None or version.size is None):
                return
            await self._check_file(path, reply)
            seen = _Version.of(reply)
            if seen != (version or seen):
                raise ServerError("cert_redirect", [f"{path}: the file changed while it was read; read it again"])
            version = seen
            if reply.status == 200:
                # A server may send the whole file instead of a part (RFC 9110 14.2).
                yield reply.body[position:end]
                return
            _check_part(path, reply, position, stop)
            body = reply.body
            del reply  # one piece is in memory, not two
            yield body
            position += len(body)
            if position == seen.size or not body:
                return
            del body

    async def _check_file(self, path: str, reply: Reply) -> None:
        if reply.status in (200, 206, 416):
            return
        information = await self.stat(path) if reply.status in (301, 403) else None
        if information is not None and information.is_dir:
            raise PathRefused(path, "a directory; give a file")
        if reply.status == 404 or (reply.status == 403 and information is None):
            raise FileNotFound(path)
        raise ServerError("cert_redirect", [f"{path}: HTTP {reply.status}"])

    async def write(self, path: str, content: AsyncIterable[bytes], size: int | None) -> None:
        """As `HomeBackend.write`: upload to a unique name, check the size, then move the file into place by ``mv``.

        The name is unique because the server's cache uses only the base name, and does not truncate an existing file
        (docs/protocol.md#uploads). ``mv`` would move the file into an existing directory, so the path is checked
        first, except in the folders of jobs, which only aiomig writes.
        """
        if not path.startswith(f"{PRIVATE_FOLDER}/"):
            information = await self.stat(path)
            if information is not None and information.is_dir:
                raise PathRefused(path, "a directory; give a file")
        name = f"aiomig-{secrets.token_hex(12)}"
        try:
            arrived = await self.upload(name, content, size)
            await self.put_in_place(f"{CACHE}/{name}", path, arrived)
        except BaseException:
            await self.forget(f"{CACHE}/{name}")
            raise

    async def put_file(self, source: Path, path: str, size: int, report: Callable[[int], object]) -> None:
        """As `HomeBackend.put_file`."""
        if size:
            async with aclosing(file_content(source, size, report)) as content:
                await self.write(path, content, size)
        else:
            data = await unsized_content(source)
            await self.write(path, once(data), len(data))
            report(len(data))

    async def get_file(self, info: FileInfo, destination: Path, report: Callable[[int], object]) -> None:
        """As `HomeBackend.get_file`."""
        await receive_file(self.read(info.path), info, destination, report)

    async def upload(self, name: str, content: AsyncIterable[bytes], size: int | None) -> int:
        """Upload to the server's cache, under a unique name. Return the size.

        At most one chunk is in memory.
        """
        sent = waiting = 0
        pieces: list[bytes] = []
        async for piece in content:
            left = memoryview(piece)
            while left:
                part = left[: self._limits.upload_chunk - waiting]
                left = left[len(part) :]
                pieces.append(bytes(part))
                waiting += len(part)
                if waiting == self._limits.upload_chunk:
                    await self._send_chunk(name, tuple(pieces), sent, size)
                    sent, waiting = sent + waiting, 0
                    pieces.clear()
        if size not in (None, sent + waiting):
            raise ValueError(f"size={size!r}: the content has {sent + waiting} bytes; give their number")
        if waiting or not sent:
            await self._send_chunk(name, tuple(pieces), sent, size)
        return sent + waiting

    async def put_in_place(self, cached: str, path: str, size: int) -> None:
        """Move an upload to its final path. Its name in the cache is unique, so the request may be repeated."""
        fields = [("src", cached), ("dst", path)]
        try:
            answer = await self._operations.execute("mv", fields)
        except (ConnectionFailed, ProtocolError, ServerError) as error:
            answer = await self._operations.execute("mv", fields, repeatable=True)
            if any(isinstance(fault, FileNotFound) for fault in faults("mv", answer)):
                information = await self.stat(path)
                if information is None or information.is_dir or information.size != size:
                    raise
                logger.debug("%s is in place, although the server reported an error: %s", path, error)
                return
        raise_for_errors("mv", answer)

    async def _send_chunk(self, name: str, data: tuple[bytes, ...], position: int, size: int | None) -> None:
        def body(token: str) -> tuple[Content, str]:
            fields = [("output_format", "json"), ("action", "put"), ("_csrf", token)]
            return multipart(fields, [("files[]", name, data)])

        end = position + content_length(data)
        # The server requires a total even if the size is unknown. The bytes so far are valid for every chunk.
        headers = {"Content-Range": f"bytes {position}-{end - 1}/{end if size is None else size}"} if data else {}
        # Writing the same bytes to the same place is repeatable.
        answer = await self._operations.execute_raw("uploadchunked", body, headers=headers, repeatable=True)
        parts = files.uploads(answer)
        if failed := [part.message for part in parts if not part.ok]:
            raise ServerError("uploadchunked", failed)
        arrived = parts[0].size if len(parts) == 1 else None
        if arrived != end:
            raise ServerError("uploadchunked", [f"the server has {arrived} bytes, {end} were sent"])

    async def forget(self, *paths: str) -> None:
        """Remove the temporary files of an operation, even if the caller is cancelled."""
        fields = [("flags", "fr"), *(("path", path) for path in paths)]
        with suppress(MigError):
            await run_shielded(partial(self._operations.execute, "rm", fields), seconds=self._limits.clean_up)

    async def write_range(self, path: str, start: int, data: bytes) -> None:
        """As `HomeBackend.write_range`. Servers cannot do this, so download, change and upload the whole file."""
        await self._require_file(path)
        if not data:  # as on a local disk, writing nothing does not extend the file
            return
        content = bytearray(await self._whole(path))
        content.extend(bytes(max(0, start - len(content))))
        content[start : start + len(data)] = data
        await self.write(path, once(bytes(content)), len(content))

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
        """As `HomeBackend.touch`."""
        raise_for_errors("touch", await self._operations.execute("touch", [("path", path)], repeatable=True))

    async def truncate(self, path: str, size: int) -> None:
        """As `HomeBackend.truncate`."""
        await self._require_file(path)
        fields = [("path", path), ("size", str(size))]
        raise_for_errors("truncate", await self._operations.execute("truncate", fields, repeatable=True))

    async def copy(self, source: str, destination: str) -> None:
        """As `HomeBackend.copy`."""
        fields = [("src", source), ("dst", destination), ("flags", "r")]
        raise_for_errors("cp", await self._operations.execute("cp", fields))

    async def move(self, source: str, destination: str) -> None:
        """As `HomeBackend.move`."""
        raise_for_errors("mv", await self._operations.execute("mv", [("src", source), ("dst", destination)]))

    async def remove(self, path: str, *, recursive: bool) -> None:
        """As `HomeBackend.remove`, with the flag ``f``, which bypasses the trash."""
        information = None if recursive else await self.stat(path)
        if not recursive and information is None:
            raise FileNotFound(path)
        if information is not None and information.is_dir:
            raise PathRefused(path, "a directory; use remove(recursive=True), or rmdir")
        flags = "fr" if recursive else "f"
        raise_for_errors("rm", await self._operations.execute("rm", [("path", path), ("flags", flags)]))

    async def remove_directory(self, path: str) -> None:
        """As `HomeBackend.remove_directory`."""
        information = await self.stat(path)
        if information is None:
            raise FileNotFound(path)
        if not information.is_dir:
            raise PathRefused(path, "a file; use remove")
        if await self.listing(path):
            raise FileExists(path, "the directory is not empty; use remove(recursive=True)")
        raise_for_errors("rmdir", await self._operations.execute("rmdir", [("path", path)]))

    # -- checksums and archives

    async def checksum(self, path: str, algorithm: str) -> str:
        """As `HomeBackend.checksum`, by the server if all servers know the algorithm, otherwise by a download."""
        await self._require_file(path)
        if algorithm in _SERVER_ALGORITHMS:
            fields = [("path", path), ("hash_algo", algorithm), ("max_chunks", "0")]
            sums = files.checksums(await self._operations.query("chksum", fields))
            if len(sums) == 1:
                return next(iter(sums.values()))
            raise ProtocolError(f"chksum: {len(sums)} checksums for one file")
        digest = hashlib.new(algorithm)
        async for piece in self.read(path):
            digest.update(piece)
        return digest.hexdigest()

    async def pack(self, source: str, archive: str) -> None:
        """As `HomeBackend.pack`: pack to a unique name next to the source, then move the archive into place.

        There is only one source, because a server keeps only the last of several.
        """
        folder = folder_of(source)
        part = f"aiomig-{secrets.token_hex(12)}{archive_suffix(archive)}"
        fields = [("src", name_of(source)), ("dst", part), ("current_dir", folder)]
        try:
            raise_for_errors("pack", await self._operations.execute("pack", fields))
            await self.move(join(folder, part), archive)
        except BaseException:
            await self.forget(join(folder, part))
            raise

    async def unpack(self, archive: str, destination: str) -> None:
        """As `HomeBackend.unpack`."""
        raise_for_errors("unpack", await self._operations.execute("unpack", [("src", archive), ("dst", destination)]))


def _info(path: str, stat: files.Stat) -> FileInfo:
    return FileInfo(path, name_of(path), stat.is_dir, stat.size, stat.modified_at)


@dataclass(frozen=True, slots=True)
class _Version:
    """The version of a file, from the headers of a response.

    Attributes:
        etag: the ETag without the prefix ``W/``. Apache sends a weak ETag for a file that is younger than a second,
            and later the same one as a strong ETag.
        modified: the ``Last-Modified`` header.
        size: the size of the whole file in bytes, if the response has it.
        is_weak: whether the ETag is weak, so that the server would not compare it.
    """

    etag: str
    modified: str
    size: int | None
    is_weak: bool = field(compare=False)

    @classmethod
    def of(cls, reply: Reply) -> _Version:
        etag = reply.headers.get("ETag", "")
        _, _, total = reply.headers.get("Content-Range", "").partition("/")
        size = reply.headers.get("Content-Length", "") if reply.status == 200 else total
        return cls(
            etag.removeprefix("W/"),
            reply.headers.get("Last-Modified", ""),
            int(size) if _SIZE.fullmatch(size) else None,
            is_weak=not etag.isascii() or not etag or etag.startswith("W/"),
        )


def _check_part(path: str, reply: Reply, start: int, stop: int) -> None:
    received = reply.headers.get("Content-Range", "")
    if not received.startswith(f"bytes {start}-") or len(reply.body) > stop - start:
        raise ProtocolError(
            f"cert_redirect: {path}: bytes {start}-{stop - 1} were requested, and {received[:100]!r} received"
        )
