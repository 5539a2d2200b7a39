"""Zip and tar archives in local mode: large, odd, damaged; in linear time, while other tasks run."""

from __future__ import annotations

import io
import tarfile
import tempfile
import zipfile
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import anyio
import anyio.lowlevel
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aiomig import Files, LocalError, MigError
from aiomig._local.home import LocalHome
from tests.steps import steps
from tests.unit.test_fuzz import UNHURRIED, broken

if TYPE_CHECKING:
    from collections.abc import Callable


def zip_of(count: int, *, comment: bytes = b"", content: bytes = b"") -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.comment = comment
        for number in range(count):
            archive.writestr(f"d{number % 7}/f{number}", content)
    return out.getvalue()


def tar_of(count: int) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for number in range(count):
            archive.addfile(tarfile.TarInfo("ü" * 40 + f"{number}"))
    return out.getvalue()


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return Files(LocalHome(tmp_path / "home"))


async def unpacked(files: Files, name: str, data: bytes) -> set[str]:
    await files.write_bytes(name, data)
    await files.unpack(name, "d")
    return {info.path for info in await files.ls("d", recursive=True) if not info.is_dir}


@pytest.mark.parametrize("count", [0, 1, 499, 500, 501, 1203])
@pytest.mark.parametrize("before", [b"", b"#!/bin/sh\n"], ids=["plain", "with a program before it"])
async def test_all_members_of_a_zip_are_unpacked(files: Files, count: int, before: bytes) -> None:
    names = {f"d/d{number % 7}/f{number}" for number in range(count)}
    assert await unpacked(files, "a.zip", before + zip_of(count, comment=b"PK", content=b"x" * 20)) == names
    if count:
        assert await files.read_bytes(f"d/d{(count - 1) % 7}/f{count - 1}") == b"x" * 20


async def test_a_zip_in_the_form_for_large_archives(files: Files, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(zipfile, "ZIP_FILECOUNT_LIMIT", 100)
    data = zip_of(700)
    assert b"PK\6\6" in data
    assert len(await unpacked(files, "a.zip", data)) == 700
    with pytest.raises(LocalError, match="damaged"):
        await unpacked(files, "b.zip", data.replace(b"PK\6\6", b"PK\6\5"))


async def test_other_tasks_run_while_a_zip_of_many_members_is_read(files: Files) -> None:
    turns = 0

    async def count_turns() -> None:
        nonlocal turns
        while True:
            turns += 1
            await anyio.lowlevel.checkpoint()

    data = zip_of(5000).replace(b"d1/f4999", b"../f4999")  # refused after all other members were read
    await files.write_bytes("a.zip", data)
    async with anyio.create_task_group() as group:
        group.start_soon(count_turns)
        with pytest.raises(MigError, match="leads out"):
            await files.unpack("a.zip", "d")
        group.cancel_scope.cancel()
    assert turns >= 10
    assert await files.ls("d", recursive=True) == []


def _unpack(kind: str, data: bytes) -> None:
    async def run(home: Path) -> None:
        files = Files(LocalHome(home))
        await files.write_bytes(f"a.{kind}", data)
        with suppress(MigError):
            await files.unpack(f"a.{kind}", "d")

    with tempfile.TemporaryDirectory() as home:
        anyio.run(run, Path(home) / "home")


ARCHIVES: dict[str, tuple[Callable[[int], bytes], int]] = {"zip": (zip_of, 300), "tar": (tar_of, 150)}


@pytest.mark.parametrize("kind", ARCHIVES)
def test_twice_the_members_are_twice_the_work(kind: str) -> None:
    make, count = ARCHIVES[kind]
    _unpack(kind, make(count))  # late imports have happened by now
    once, twice = (steps(_unpack, kind, make(number)) for number in (count, 2 * count))
    assert once < twice <= 2.5 * once


@settings(UNHURRIED, max_examples=60)
@given(data=st.data())
@pytest.mark.parametrize("kind", ["zip", "tar", "tar.gz", "tar.bz2"])
def test_any_archive_is_unpacked_or_refused(kind: str, data: st.DataObject) -> None:
    _unpack(kind, data.draw(broken(ORIGINALS[kind]) | st.binary(max_size=100)))


def _packed(kind: str) -> bytes:
    async def run(home: Path) -> bytes:
        files = Files(LocalHome(home))
        for name in ("s/a", "s/b/c", "s/" + "d" * 120):
            await files.write_bytes(name, b"content")
        await files.pack("s", f"a.{kind}")
        return await files.read_bytes(f"a.{kind}")

    with tempfile.TemporaryDirectory() as home:
        return anyio.run(run, Path(home) / "home")


ORIGINALS = {kind: _packed(kind) for kind in ("zip", "tar", "tar.gz", "tar.bz2")}
