"""Responses that last: server-sent events, downloads, archives."""

from __future__ import annotations

import zipfile
from contextlib import aclosing
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import anyio
from starlette.responses import StreamingResponse

from .. import MigError
from ._problems import logger, without_paths

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Iterable

    from starlette.types import Receive, Scope, Send

    from .. import Files

HEARTBEAT = 15.0
"""Seconds after which a silent stream says that it is alive, so that proxies keep it open."""

ALIVE = b": alive\n\n"

_UNTRUSTED = {
    "content-security-policy": "default-src 'none'; sandbox",
    "x-content-type-options": "nosniff",
}


class OpenStreams:
    """The event streams that are open, so that the end of the service can end them."""

    def __init__(self) -> None:
        self._scopes: set[anyio.CancelScope] = set()

    def __len__(self) -> int:
        return len(self._scopes)

    async def serve(self, response: EventStream, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a stream until it ends, or until `close`; the client then connects again."""
        with anyio.CancelScope() as cancel:
            self._scopes.add(cancel)
            try:
                await response.stream(scope, receive, send)
            finally:
                self._scopes.discard(cancel)
        if cancel.cancelled_caught:
            await send({"type": "http.response.body", "body": b"", "more_body": False})

    def close(self) -> None:
        """End all streams."""
        for scope in list(self._scopes):
            scope.cancel()


class EventStream(StreamingResponse):
    """Server-sent events.

    Args:
        events: bytes of whole events.
        streams: where it is entered while it is open.
    """

    def __init__(self, events: AsyncIterable[bytes], streams: OpenStreams) -> None:
        headers = {"cache-control": "no-store", "x-accel-buffering": "no"}
        super().__init__(_told(events), headers=headers, media_type="text/event-stream")
        self._streams = streams

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the events."""
        await self._streams.serve(self, scope, receive, send)

    async def stream(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the events until they end or the client is gone."""
        await super().__call__(scope, receive, send)


async def _told(events: AsyncIterable[bytes]) -> AsyncIterator[bytes]:
    """Yield events; an error that ends them is an event, too, after which the client connects again."""
    try:
        async for data in events:
            yield data
    except MigError as error:
        logger.warning("a stream of events ended: %s", error)
        yield event(without_paths(str(error)), kind="problem")


def event(data: str, *, id: str | None = None, kind: str | None = None) -> bytes:
    """Return one server-sent event. A line of ``data`` may hold anything; carriage returns begin new lines."""
    lines = [f"id: {id}"] if id is not None else []
    lines += [f"event: {kind}"] if kind is not None else []
    lines += [f"data: {line}" for line in data.replace("\r\n", "\n").replace("\r", "\n").split("\n")]
    return ("\n".join(lines) + "\n\n").encode("utf-8", "replace")


def attachment(name: str) -> dict[str, str]:
    """Return the headers of a download. Browsers save it and never show it: it may hold anything."""
    return {"content-disposition": f"attachment; filename*=UTF-8''{quote(name, safe='')}", **_UNTRUSTED}


def download(pieces: AsyncIterator[bytes], name: str, size: int | None) -> StreamingResponse:
    """Return a response that streams a file."""
    headers = attachment(name) | ({} if size is None else {"content-length": str(size)})
    return StreamingResponse(pieces, headers=headers, media_type="application/octet-stream")


async def pieces_of(files: Files, path: str) -> AsyncGenerator[bytes, None]:
    """Yield the bytes of a file of the home, and close it even if the client leaves."""
    async with aclosing(files.stream(path)) as pieces:
        async for piece in pieces:
            yield piece


class _Outlet:
    """A file that only takes bytes, for `zipfile`."""

    def __init__(self) -> None:
        self._pieces: list[bytes] = []

    def write(self, data: Any) -> int:
        self._pieces.append(bytes(data))
        return len(data)

    def flush(self) -> None:
        pass

    def take(self) -> bytes:
        data = b"".join(self._pieces)
        self._pieces.clear()
        return data


async def zipped(files: Files, members: Iterable[tuple[str, str]]) -> AsyncGenerator[bytes, None]:
    """Yield a zip archive in pieces, uncompressed.

    Args:
        files: the home.
        members: the name in the archive and the path in the home of each file. Directories are not possible.
    """
    outlet = _Outlet()
    with zipfile.ZipFile(outlet, "w") as archive:  # type: ignore[call-overload]
        for name, path in members:
            with archive.open(zipfile.ZipInfo(name), "w", force_zip64=True) as member:
                async with aclosing(pieces_of(files, path)) as pieces:
                    async for piece in pieces:
                        member.write(piece)
                        yield outlet.take()
    yield outlet.take()
