"""The files of the journal of submits, and a full disk."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    import pytest


def files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file() and not path.name.startswith("jobs.sqlite")]


def full(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let each write to a disk fail after some bytes."""

    def write(descriptor: int, data: bytes) -> int:
        if len(data) > 10:
            return really(descriptor, data[:10])
        raise OSError(28, "No space left on device")

    really = os.write
    monkeypatch.setattr(os, "write", write)
