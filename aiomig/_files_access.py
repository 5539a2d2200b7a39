"""What the two modes give `aiomig._files.Files` to work with: values and the contract, no I/O."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterable, Sequence
    from datetime import datetime


@dataclass(frozen=True, slots=True)
class FileInfo:
    """One file or directory of the MiG home.

    Attributes:
        path: relative to the home; ``"."`` is the home itself.
        name: its last component.
        is_dir: whether it is a directory.
        size: in bytes; 0 for a directory.
        modified_at: an aware datetime in UTC, or ``None`` where the server does not say.
    """

    path: str
    name: str
    is_dir: bool
    size: int
    modified_at: datetime | None


@dataclass(frozen=True, slots=True)
class WordCount:
    """What ``wc`` counts in one file.

    Attributes:
        lines: the line ends.
        words: runs of anything but white space.
        bytes: the size in bytes.
    """

    lines: int
    words: int
    bytes: int


class HomeAccess(Protocol):
    """The home as one mode reaches it.

    All paths are normalised by `aiomig._paths.home_path` and hold no pattern, apart from what `listing`
    itself gave, which may hold any character. Whatever names something new was checked by
    `check_characters`, and its parent directory exists. Methods may be called at the same time, for other
    paths and for the same one.
    """

    async def stat(self, path: str) -> FileInfo | None:
        """What is there; ``None`` where nothing is, also where a part of the path is a file."""
        ...

    async def listing(self, path: str, *, recursive: bool = False) -> list[FileInfo]:
        """The entries of a directory in any order, dot names included, what MiG hides left out.

        For a file: itself alone. ``recursive`` adds everything below.

        Raises:
            FileNotFound: nothing is there.
        """
        ...

    async def make_directories(self, paths: Sequence[str]) -> None:
        """Make directories in the order given, parents first; those that exist are fine.

        Raises:
            FileExists: a file is in the way; its ``path`` says which.
        """
        ...

    def read(self, path: str, start: int = 0, end: int | None = None) -> AsyncGenerator[bytes, None]:
        """The bytes of a file from ``start`` up to but not including ``end``, as far as there are any.

        The caller closes the generator, finished or not.

        Raises:
            FileNotFound: nothing is there.
            PathRefused: it is a directory.
        """
        ...

    async def write(self, path: str, content: AsyncIterable[bytes], size: int) -> None:
        """Make or replace a file, atomically: with all ``size`` bytes of ``content``, or not at all.

        Raises:
            PathRefused: a directory is there.
        """
        ...

    async def write_range(self, path: str, start: int, data: bytes) -> None:
        """Write into an existing file at a position; a gap behind its present end becomes zero bytes.

        Raises:
            FileNotFound: nothing is there.
            PathRefused: it is a directory.
        """
        ...

    async def touch(self, path: str) -> None:
        """Set the time to now, or make an empty file."""
        ...

    async def truncate(self, path: str, size: int) -> None:
        """Cut an existing file, or lengthen it with zero bytes. Raises as `write_range`."""
        ...

    async def copy(self, source: str, destination: str) -> None:
        """Copy a file onto a new name or another file, or a directory with all it holds onto a new name."""
        ...

    async def move(self, source: str, destination: str) -> None:
        """Rename a file onto a new name or another file, or a directory onto a new name."""
        ...

    async def remove(self, path: str, *, recursive: bool) -> None:
        """Remove for good, without the trash.

        Raises:
            FileNotFound: nothing is there.
            PathRefused: it is a directory and ``recursive`` is false.
        """
        ...

    async def remove_directory(self, path: str) -> None:
        """Remove an empty directory.

        Raises:
            FileNotFound: nothing is there.
            FileExists: it is not empty.
            PathRefused: it is a file.
        """
        ...

    async def checksum(self, path: str, algorithm: str) -> str:
        """The checksum of the whole file in lower-case hexadecimal. Raises as `read`."""
        ...

    async def grep(self, pattern: str, path: str) -> list[str]:
        """The lines in which a regular expression of Python is found. Raises as `read`."""
        ...

    async def word_count(self, path: str) -> WordCount:
        """Count a file. Raises as `read`."""
        ...

    async def pack(self, source: str, archive: str) -> None:
        """Make an archive of one file or directory; the names in it begin with the name of the source."""
        ...

    async def unpack(self, archive: str, destination: str) -> None:
        """Unpack an archive into an existing directory, replacing files of the same names."""
        ...
