"""Lines, word counts and searches in streams of bytes, without holding the stream in memory."""

from __future__ import annotations

import re
from contextlib import aclosing
from typing import TYPE_CHECKING

from .._core.paths import WordCount
from .._core.turns import Paced

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable

    Reader = Callable[[int, int | None], AsyncGenerator[bytes, None]]

_TAIL_BLOCK = 65536
_SPACE = b" \t\n\r\x0b\x0c"


def decode(line: bytes) -> str:
    """Decode a line, without a trailing CR. Bytes that are not UTF-8 are replaced."""
    return line.removesuffix(b"\r").decode("utf-8", "replace")


async def lines_of(content: AsyncGenerator[bytes, None]) -> AsyncGenerator[bytes, None]:
    """Yield the lines of a stream without LF. Bytes after the last LF are a line."""
    rest: list[bytes] = []
    async with aclosing(content):
        async for piece in content:
            first, *others = piece.split(b"\n")
            rest.append(first)
            if others:
                yield b"".join(rest)
                rest = [others.pop()]
                async for line in Paced(others):
                    yield line
    if last := b"".join(rest):
        yield last


async def first_lines(content: AsyncGenerator[bytes, None], count: int) -> list[str]:
    """Return the first lines of a stream, without reading more than necessary."""
    result: list[str] = []
    async with aclosing(lines_of(content)) as lines:
        async for line in lines:
            result.append(decode(line))
            if len(result) == count:
                break
    return result


async def last_lines(read: Reader, size: int, count: int) -> list[str]:
    """Return the last lines of a file of ``size`` bytes. Read blocks of increasing size from its end."""
    tail = b""
    start, block = size, _TAIL_BLOCK
    # If the file ends with LF, one more LF than lines is needed.
    while start > 0 and tail.count(b"\n") <= count:
        start, end = max(0, start - block), start
        tail = await joined(read(start, end)) + tail
        block *= 2
    lines = tail.removesuffix(b"\n").split(b"\n") if tail else []
    return [decode(line) for line in lines[-count:]]


async def joined(content: AsyncGenerator[bytes, None]) -> bytes:
    """Return all bytes of a stream."""
    async with aclosing(content):
        return b"".join([piece async for piece in content])


async def matching_lines(content: AsyncGenerator[bytes, None], pattern: str) -> list[str]:
    """Return the lines of a stream in which a regular expression is found."""
    search = re.compile(pattern).search
    async with aclosing(lines_of(content)) as lines:
        return [line async for raw in lines if search(line := decode(raw))]


async def count_words(content: AsyncGenerator[bytes, None]) -> WordCount:
    """Count the LFs, the words separated by ASCII white space, and the bytes of a stream, like ``wc``."""
    lines = words = size = 0
    inside = False
    async with aclosing(content):
        async for piece in content:
            if not piece:
                continue
            lines += piece.count(b"\n")
            size += len(piece)
            words += len(piece.split()) - (inside and piece[0] not in _SPACE)
            inside = piece[-1] not in _SPACE
    return WordCount(lines=lines, words=words, bytes=size)
