"""Sessions with a journal of submits, the files of the journal, and a full disk."""

from __future__ import annotations

import os
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import aiomig
from aiomig import RequestLimits
from aiomig.testing import FakeGrid
from tests.virtual import EPOCH

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    import pytest

    from aiomig import Session


def session(
    grid: FakeGrid, folder: Path | None, transport: Any = None, url: str = "https://grid.example.org", **limits: Any
) -> Session:
    return aiomig.grid(
        url=url,
        certificate="none.pem",
        key="none.pem",
        transport=transport or grid.transport(),
        journal=folder,
        request_limits=RequestLimits(**limits),
    )


@asynccontextmanager
async def opened(tmp_path: Path) -> AsyncIterator[FakeGrid]:
    async with FakeGrid(tmp_path / "home", epoch=EPOCH) as grid:
        grid.hold()
        yield grid


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
