"""Streams of bytes to and from files of the home, for `Files.put_stream` and `Files.stream`."""

from __future__ import annotations

from collections.abc import AsyncIterable
from contextlib import suppress
from typing import TYPE_CHECKING, Self

from .._core.errors import GridError, LocalError, MigError, SpecError
from .._core.models import Fault
from .disk import mark_as_callers

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator
    from types import TracebackType

    from .._backend import HomeBackend


class FileStream:
    """Async iterator of the bytes of a file of the home, in chunks. Returned by `Files.stream`.

    You can stop iterating at any time: between two chunks, no request is in progress. In local mode, the file stays
    open until the iterator is dropped or closed, by ``async with`` or `aclose`.
    """

    def __init__(self, path: str, content: AsyncGenerator[bytes, None], chunk: int) -> None:
        self._path = path
        self._content = content
        self._chunk = chunk
        self._rest = memoryview(b"")
        self._is_cut_off = False

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        if self._is_cut_off:
            raise MigError(f"{self._path}: this stream was cut off by an error or a cancellation; create a new one")
        while not self._rest:
            self._is_cut_off = True  # until the chunk has arrived
            try:
                self._rest = memoryview(await anext(self._content))
            except StopAsyncIteration:
                self._is_cut_off = False
                raise
            self._is_cut_off = False
        chunk, self._rest = self._rest[: self._chunk], self._rest[self._chunk :]
        return bytes(chunk)

    async def aclose(self) -> None:
        """Close the file and end the iteration."""
        self._rest = memoryview(b"")
        await self._content.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    def __del__(self) -> None:
        # After a `break`: trio warns about unclosed generators. Between two chunks, closing one does not wait.
        with suppress(StopIteration, RuntimeError):
            self._content.aclose().send(None)


async def upload_stream(home: HomeBackend, source: AsyncIterable[bytes], path: str, size: int | None) -> int:
    """Create or replace a file with the bytes of a stream; see `Files.put_stream`."""
    content = _Measured(source, size)
    try:
        await home.write(path, content, size)
    except (GridError, LocalError) as error:
        if content.count:
            # This extends the message itself, because str(error) does not include notes.
            addition = f"{content.count} bytes of the stream were read and cannot be read again; put a new stream"
            error.args = (f"{error}; {addition}", *error.args[1:])
        raise
    finally:
        await content.aclose()
    return content.count


class _Measured:
    """Wraps a stream to check and count its bytes.

    Attributes:
        count: the number of bytes so far.
    """

    def __init__(self, source: AsyncIterable[bytes], size: int | None) -> None:
        if not isinstance(source, AsyncIterable):
            remedy = "give an async iterable of bytes; put takes files, and write_bytes takes bytes"
            raise SpecError([Fault("source", source, "is not an async iterable", remedy)])
        self._iterator: AsyncIterator[bytes] = aiter(source)
        self._size = size
        self.count = 0

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        try:
            chunk = await anext(self._iterator)
        except StopAsyncIteration:
            if self._size not in (None, self.count):
                raise self._wrong_size() from None
            raise
        except OSError as error:
            mark_as_callers(error)
            raise
        if not isinstance(chunk, bytes | bytearray | memoryview):
            raise SpecError([Fault("source", chunk, "is not bytes", "encode strings first: text.encode()")])
        data = bytes(chunk)
        self.count += len(data)
        if self._size is not None and self.count > self._size:
            raise self._wrong_size()
        return data

    def _wrong_size(self) -> SpecError:
        problem = f"the stream has {'at least ' * (self.count > (self._size or 0))}{self.count} bytes"
        return SpecError([Fault("size", self._size, problem, "give this number, or leave size out")])

    async def aclose(self) -> None:
        """Close the stream, if it has `aclose`."""
        if (close := getattr(self._iterator, "aclose", None)) is not None:
            await close()
