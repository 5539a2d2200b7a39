"""The content of folders, for the tests of `Files`."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

BIG = bytes(range(256)) * (14 * 1024) + b"tail"  # three and a half pieces and some more bytes


def tree(folder: Path) -> dict[str, bytes | None]:
    """Return all files below a folder except aiomig's own, by relative path; ``None`` for directories."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() if path.is_file() else None
        for path in sorted(folder.rglob("*"))
        if ".aiomig" not in path.parts
    }


def left_over(folder: Path) -> list[Path]:
    return list(folder.rglob(".aiomig-*"))
