"""Streamed responses: server-sent events, downloads, archives."""

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
"""Seconds without an event after which a stream sends a comment, so that proxies keep it open."""

ALIVE = b": alive\n\n"

_UNTRUSTED = {
    "content-security-policy": "default-src 'none'; sandbox",
    "x-content-type-options": "nosniff",
}
"""Headers of a file that a job or user wrote: nothing in it may run in the browser."""


class OpenStreams:
    """The open event streams. The service closes them at shutdown."""

    def __init__(self) -> None:
        self._scopes: set[anyio.CancelScope] = set()

    def __len__(self) -> int:
        return len(self._scopes)

    async def serve(self, response: EventStream, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a stream until it ends or `close` is called. The client then reconnects."""
        with anyio.CancelScope() as cancel:
            self._scopes.add(cancel)
            try:
                await response.stream(scope, receive, send)
            finally:
                self._scopes.discard(cancel)
        if cancel.cancelled_caught:
            await send({"type": "http.response.body", "body": b"", "more_body": False})

    def close(self) -> None:
        """End all open streams."""
        for scope in list(self._scopes):
            scope.cancel()


class EventStream(StreamingResponse):
    """A response of server-sent events.

    Args:
        events: yields complete encoded events.
        streams: the open streams of the application, which the response joins while it is sent.
    """

    def __init__(self, events: AsyncIterable[bytes], streams: OpenStreams) -> None:
        headers = {"cache-control": "no-store", "x-accel-buffering": "no"}
        super().__init__(_with_problems(events), headers=headers, media_type="text/event-stream")
        self._streams = streams

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the events."""
        await self._streams.serve(self, scope, receive, send)

    async def stream(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the events until they end or the client disconnects."""
        await super().__call__(scope, receive, send)


async def _with_problems(events: AsyncIterable[bytes]) -> AsyncIterator[bytes]:
    """Yield events. An error becomes the last event; the client then reconnects."""
    try:
        async for data in events:
            yield data
    except MigError as error:
        logger.warning("a stream of events ended: %s", error)
        yield event(without_paths(str(error)), kind="problem")


def event(data: str, *, id: str | None = None, kind: str | None = None) -> bytes:
    """Encode a server-sent event. ``data`` may contain any characters; a carriage return begins a new line."""
    lines = [f"id: {id}"] if id is not None else []
    lines += [f"event: {kind}"] if kind is not None else []
    lines += [f"data: {line}" for line in data.replace("\r\n", "\n").replace("\r", "\n").split("\n")]
    return ("\n".join(lines) + "\n\n").encode("utf-8", "replace")


def download(chunks: AsyncIterator[bytes], name: str, size: int | None) -> StreamingResponse:
    """Return a response that streams a file. Browsers save the file and never display it."""
    headers = {"content-disposition": f"attachment; filename*=UTF-8''{quote(name, safe='')}", **_UNTRUSTED}
    if size is not None:
        headers["content-length"] = str(size)
    return StreamingResponse(chunks, headers=headers, media_type="application/octet-stream")


async def read_chunks(files: Files, path: str) -> AsyncGenerator[bytes, None]:
    """Yield the content of a file in the home, and close the file even if the client disconnects."""
    async with aclosing(files.stream(path)) as chunks:
        async for chunk in chunks:
            yield chunk


class _Buffer:
    """A write-only file for `zipfile`. `take` removes the data written so far."""

    def __init__(self) -> None:
        self._data = bytearray()

    def write(self, data: Any) -> int:
        self._data += data
        return len(data)

    def flush(self) -> None:
        pass

    def take(self) -> bytes:
        data = bytes(self._data)
        self._data.clear()
        return data


async def zipped(files: Files, members: Iterable[tuple[str, str]]) -> AsyncGenerator[bytes, None]:
    """Yield an uncompressed zip archive in chunks.

    Args:
        files: the home.
        members: the name in the archive and the path in the home of each file; directories are not supported.
    """
    buffer = _Buffer()
    with zipfile.ZipFile(buffer, "w") as archive:  # type: ignore[call-overload]
        for name, path in members:
            with archive.open(zipfile.ZipInfo(name), "w", force_zip64=True) as member:
                async with aclosing(read_chunks(files, path)) as chunks:
                    async for chunk in chunks:
                        member.write(chunk)
                        yield buffer.take()
    yield buffer.take()
