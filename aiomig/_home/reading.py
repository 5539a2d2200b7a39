"""The methods of `Files` that only read."""

from __future__ import annotations

import hashlib
import re
import sys
from numbers import Integral
from typing import TYPE_CHECKING

from .._core.display import short_repr
from .._core.errors import FileNotFound, PathRefused
from .._core.paths import (
    below,
    has_pattern,
    home_path,
    is_hidden,
    name_matches,
)
from .._core.turns import Paced, give_way, sort_steps
from .streams import FileStream
from .text import count_words, first_lines, joined, last_lines, matching_lines
from .transfer import matching

if TYPE_CHECKING:
    from collections.abc import Callable

    from .._backend import HomeBackend
    from .._core.paths import FileInfo, HomePath, WordCount

_MOST_LINES = 1_000_000  # docs/protocol.md#head-and-tail
_ALGORITHMS = frozenset(name for name in hashlib.algorithms_guaranteed if not name.startswith("shake_"))


class HomeReader:
    """The methods of `Files` that only read. See `Files` for the rules of paths and errors.

    Args:
        home: the home.
        require_open: raises `NoSession` if the session is not open, or in another event loop than that of the session.
    """

    def __init__(self, home: HomeBackend, require_open: Callable[[], None] = lambda: None) -> None:
        self._backend = home
        self._require_open = require_open

    @property
    def _home(self) -> HomeBackend:
        self._require_open()
        return self._backend

    def stream(self, path: HomePath, *, chunk: int = 1 << 20) -> FileStream:
        """Read a file in chunks, without holding all of it in memory.

        Example::

            async for chunk in session.files.stream("large.bin"):
                digest.update(chunk)

        Args:
            path: the file.
            chunk: the largest size of a chunk in bytes.

        Returns:
            An async iterator of `bytes`. You can stop iterating at any time. The iteration raises `FileNotFound` if
            the file does not exist, and `ServerError` if it changes meanwhile.
        """
        require_number("chunk", chunk, 1)
        clean = home_path(path)
        return FileStream(clean, self._home.read(clean), chunk)

    async def read_bytes(self, path: HomePath) -> bytes:
        """Return the content of a file as bytes."""
        return await joined(self._home.read(home_path(path)))

    async def read_text(self, path: HomePath, encoding: str = "utf-8", errors: str = "strict") -> str:
        """Return the content of a file as a string. Line ends are not changed.

        Raises:
            UnicodeDecodeError: the file cannot be decoded.
        """
        return (await self.read_bytes(path)).decode(encoding, errors)

    async def read_range(self, path: HomePath, start: int, end: int | None = None) -> bytes:
        """Return the bytes from ``start`` up to but not including ``end``, or fewer if the file ends before.

        Args:
            path: the file.
            start: the position of the first byte, from 0.
            end: the position after the last byte, or ``None`` for the end of the file.
        """
        clean = home_path(path)
        require_number("start", start, 0)
        if end is not None:
            require_number("end", end, start)
        if end == start:
            await self._file(clean)
            return b""
        return await joined(self._home.read(clean, start, end))

    async def ls(self, path: HomePath = ".", *, recursive: bool = False, hidden: bool = False) -> list[FileInfo]:
        """List a directory, a single file, or the matches of a pattern, sorted by path.

        Args:
            path: a directory, a file, or a pattern in the last component.
            recursive: also list the contents of subdirectories.
            hidden: also list names with a leading dot.
        """
        clean = home_path(path, pattern=True)
        if not has_pattern(clean):
            return await self._entries(clean, recursive=recursive, hidden=hidden)
        matches = await matching(self._home, clean, hidden=hidden)
        if recursive:
            for info in [info for info in matches if info.is_dir]:
                matches += await self._entries(info.path, recursive=True, hidden=hidden)
        return await give_way(sort_steps(matches, _path_of))

    async def find(self, pattern: str, path: HomePath = ".", *, hidden: bool = False) -> list[FileInfo]:
        """Find files and directories below a directory by name. The result is sorted by path.

        Args:
            pattern: a pattern for the name (not the path), with the wildcards ``*`` and ``?``.
            path: the directory to search recursively.
            hidden: also find names with a leading dot, and search directories with such names.
        """
        require_text("pattern", pattern)
        if not pattern or "/" in pattern:
            raise ValueError(f"pattern={pattern!r}: must match a name, not a path; give the directory as path=")
        entries = await self._entries(home_path(path), recursive=True, hidden=hidden)
        return [info async for info in Paced(entries) if name_matches(info.name, pattern)]

    async def stat(self, path: HomePath) -> FileInfo:
        """Return the type, size and modification time of a file or directory."""
        return await self._present(home_path(path))

    async def exists(self, path: HomePath) -> bool:
        """Return whether a file or directory exists."""
        return await self._home.stat(home_path(path)) is not None

    async def head(self, path: HomePath, lines: int = 20) -> list[str]:
        """Return the first lines of a file (1 to 1000000), without line ends. Bytes that are not UTF-8 are replaced."""
        clean = home_path(path)
        require_number("lines", lines, 1, _MOST_LINES)
        return await first_lines(self._home.read(clean), lines)

    async def tail(self, path: HomePath, lines: int = 20) -> list[str]:
        """Return the last lines of a file, like `head`. Only the end of the file is read."""
        info = await self._file(home_path(path))
        require_number("lines", lines, 1, _MOST_LINES)
        return await last_lines(lambda start, end: self._home.read(info.path, start, end), info.size, lines)

    async def cat(self, *paths: HomePath) -> str:
        """Return the concatenated contents of files as a string. Bytes that are not UTF-8 are replaced.

        Use `read_bytes` or `read_text` if every byte matters.
        """
        clean = [home_path(path) for path in paths]
        return b"".join([await joined(self._home.read(path)) for path in clean]).decode("utf-8", "replace")

    async def grep(self, pattern: str, path: HomePath) -> list[str]:
        """Return the lines of a file in which a regular expression (see `re`) is found, without line ends.

        Raises:
            ValueError: the pattern is not a valid regular expression.
        """
        clean = home_path(path)
        require_text("pattern", pattern)
        try:
            re.compile(pattern)
        except re.error as error:
            raise ValueError(f"pattern={pattern!r}: is not a regular expression: {error}") from error
        return await matching_lines(self._home.read(clean), pattern)

    async def word_count(self, path: HomePath) -> WordCount:
        """Count the line ends, words and bytes of a file."""
        return await count_words(self._home.read(home_path(path)))

    async def disk_usage(self, path: HomePath = ".") -> int:
        """Return the size of a file, or of all files below a directory, in bytes. Hidden files count, too."""
        entries = await self._home.listing(home_path(path), recursive=True)
        return sum(info.size for info in entries if not info.is_dir)

    async def checksum(self, path: HomePath, algorithm: str = "sha256") -> str:
        """Return the checksum of a file, in lower-case hexadecimal.

        Args:
            path: the file.
            algorithm: a fixed-length algorithm of `hashlib`, such as ``"sha256"`` or ``"md5"``.
        """
        if algorithm not in _ALGORITHMS:
            raise ValueError(f"algorithm={algorithm!r}: is unknown; use one of {', '.join(sorted(_ALGORITHMS))}")
        return await self._home.checksum(home_path(path), algorithm)

    async def _entries(self, path: str, *, recursive: bool, hidden: bool) -> list[FileInfo]:
        entries = await self._home.listing(path, recursive=recursive)
        visible = [
            info
            async for info in Paced(entries)
            if hidden or info.path == path or not is_hidden(below(path, info.path))
        ]
        return await give_way(sort_steps(visible, _path_of))

    async def _present(self, path: str) -> FileInfo:
        info = await self._home.stat(path)
        if info is None:
            raise FileNotFound(path)
        return info

    async def _file(self, path: str) -> FileInfo:
        info = await self._present(path)
        if info.is_dir:
            raise PathRefused(path, "is a directory, not a file")
        return info


def _path_of(info: FileInfo) -> str:
    return info.path


def require_number(name: str, value: int, least: int, most: int = sys.maxsize) -> None:
    if not isinstance(value, Integral) or isinstance(value, bool):
        raise TypeError(f"{name}={short_repr(value)}: must be a whole number, not {type(value).__name__}")
    if not least <= value <= most:
        bounds = f"at least {least}" if most == sys.maxsize and value < least else f"{least} to {most}"
        raise ValueError(f"{name}={value}: must be {bounds}")


def require_text(name: str, value: str) -> None:
    if not isinstance(value, str):
        raise TypeError(f"{name}={short_repr(value)}: must be a string, not {type(value).__name__}")
