"""Transfers, their progress and cancellation, and archives: `Files.put`, `get`, `pack` and `unpack` on a local home."""

from __future__ import annotations

import os
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

import anyio
import pytest

from aiomig._core.errors import FileExists, FileNotFound, GridError, PathRefused
from aiomig._core.paths import FileInfo
from aiomig._home.files import Files
from aiomig._home.transfer import receive_file
from aiomig._local.home import LocalHome
from tests.unit.home.trees import BIG, left_over, tree

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable


# --- put


async def test_put_of_one_file(files: Files, here: Path) -> None:
    source = here / "a file [1].bin"
    source.write_bytes(BIG)
    with pytest.raises(PathRefused, match="LEFT SQUARE BRACKET"):
        await files.put(source, "new/")
    assert await files.put(source, "new/name.bin") == ("new/name.bin",)
    plain = source.rename(here / "ä b.bin")
    assert await files.put(str(plain), "new") == ("new/ä b.bin",)
    assert await files.put(plain, "other/") == ("other/ä b.bin",)
    assert await files.put(plain, ".") == ("ä b.bin",)
    for path in ("new/name.bin", "new/ä b.bin", "other/ä b.bin", "ä b.bin"):
        assert await files.read_bytes(path) == BIG
    with pytest.raises(FileExists):
        await files.put(plain, "new/name.bin/")


async def test_put_of_a_directory(files: Files, root: Path, here: Path) -> None:
    (here / "d/e").mkdir(parents=True)
    (here / "d/empty").mkdir()
    (here / "d/a").write_bytes(b"1")
    (here / "d/e/.b").write_bytes(b"")
    whole = {"a": b"1", "e": None, "e/.b": b"", "empty": None}
    assert await files.put(here / "d", "x/y") == ("x/y/a", "x/y/e/.b")
    assert tree(root / "x/y") == whole
    await files.put(here / "d", "x/y")
    assert tree(root / "x/y/d") == whole
    (here / "d/a").write_bytes(b"2")
    await files.put(here / "d", "x/y")
    assert await files.read_bytes("x/y/d/a") == b"2"


async def test_put_of_the_current_directory(files: Files, here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (here / "f").write_text("")
    monkeypatch.chdir(here)
    assert await files.put(".", "copy") == ("copy/f",)
    assert await files.put(".", "copy") == ("copy/here/f",)
    assert await files.put("f", ".") == ("f",)


async def test_put_of_patterns_and_several(files: Files, here: Path) -> None:
    for name in ("a.txt", "b.txt", ".hidden.txt", "c.dat"):
        (here / name).write_text(name)
    assert await files.put(here / "*.txt", "d") == ("d/a.txt", "d/b.txt")
    assert await files.put(here / "?.dat", "one") == ("one/c.dat",)
    assert await files.put([here / "c.dat", str(here / "a.*")], "e") == ("e/c.dat", "e/a.txt")
    assert await files.put([], "nothing") == ()
    with pytest.raises(FileNotFound, match="matches nothing"):
        await files.put(here / "*.csv", "d")
    with pytest.raises(FileExists, match="several sources"):
        await files.put(here / "*.txt", "d/a.txt")
    (here / "sub").mkdir()
    (here / "sub/a.txt").write_text("")
    with pytest.raises(FileExists, match="would be copied to this file"):
        await files.put([here / "a.txt", here / "sub/a.txt"], "z")
    assert not await files.exists("z")


async def test_put_refuses_what_it_cannot_carry(files: Files, here: Path) -> None:
    with pytest.raises(FileNotFound, match="on this machine"):
        await files.put(here / "missing", "x")
    (here / "d").mkdir()
    (here / "d/fine").write_text("")
    (here / "d/broken").symlink_to("nowhere")
    with pytest.raises(FileNotFound, match="broken link"):
        await files.put(here / "d", "x")
    (here / "d/broken").unlink()
    os.mkfifo(here / "d/pipe")
    for source in (here / "d", here / "d/pipe"):
        with pytest.raises(PathRefused, match="neither a file nor a directory"):
            await files.put(source, "x")
    (here / "d/pipe").unlink()
    (here / "d/.htaccess").write_text("")
    with pytest.raises(PathRefused, match="hidden by MiG"):
        await files.put(here / "d", "x")
    for text in ("", "a\0b"):
        with pytest.raises(PathRefused, match="local path"):
            await files.put(text, "x")
    with pytest.raises(TypeError):
        await files.put(b"bytes", "x")  # type: ignore[arg-type]
    assert await files.ls() == []


async def test_put_follows_links_but_not_in_circles(files: Files, here: Path) -> None:
    (here / "d").mkdir()
    (here / "f").write_text("1")
    (here / "d/link").symlink_to(here / "f")
    (here / "d/circle").symlink_to(here / "d")
    assert await files.put(here / "d", "x") == ("x/link",)
    assert await files.read_text("x/link") == "1"


# --- get


async def test_get_of_one_file(files: Files, here: Path) -> None:
    await files.write_bytes("d/ä b.bin", BIG)
    before = os.umask(0o022)
    try:
        assert await files.get("d/ä b.bin", here / "new/name.bin") == (here / "new/name.bin",)
    finally:
        os.umask(before)
    assert (here / "new/name.bin").stat().st_mode & 0o777 == 0o644
    assert await files.get("d/ä b.bin", here) == (here / "ä b.bin",)
    assert await files.get("d/ä b.bin", f"{here}/other/") == (here / "other/ä b.bin",)
    assert tree(here)["other/ä b.bin"] == tree(here)["new/name.bin"] == tree(here)["ä b.bin"] == BIG
    (here / "in-the-way/ä b.bin").mkdir(parents=True)
    with pytest.raises(FileExists, match="is a directory"):
        await files.get("d/ä b.bin", here / "in-the-way")
    with pytest.raises(FileNotFound):
        await files.get("missing", here)
    with pytest.raises(FileExists):
        await files.get("d/ä b.bin", here / "new/name.bin/below")


async def test_get_of_a_directory(files: Files, here: Path) -> None:
    await files.write_text("d/a", "1")
    await files.write_text("d/e/.b", "")
    await files.mkdir("d/empty")
    whole = {"a": b"1", "e": None, "e/.b": b"", "empty": None}
    assert await files.get("d", here / "x") == (here / "x/a", here / "x/e/.b")
    assert tree(here / "x") == whole
    await files.get("d", here / "x")
    assert tree(here / "x/d") == whole
    await files.get(".", here / "all")
    assert tree(here / "all/d") == whole
    assert sorted(path.name for path in (here / "all").iterdir()) == ["d"]


async def test_get_of_patterns_and_several(files: Files, here: Path) -> None:
    for path in ("d/a.txt", "d/b.txt", "d/.c.txt", "e/a.txt"):
        await files.write_text(path, path)
    assert await files.get("d/*.txt", here / "x") == (here / "x/a.txt", here / "x/b.txt")
    assert await files.get(["d/b.txt", PurePosixPath("e")], here / "y") == (
        here / "y/b.txt",
        here / "y/e/a.txt",
    )
    assert await files.get([], here / "z") == ()
    with pytest.raises(FileNotFound, match="matches nothing"):
        await files.get("d/*.csv", here)
    with pytest.raises(FileExists, match="would be copied to this file"):
        await files.get(["d/a.txt", "e/a.txt"], here / "z")
    with pytest.raises(FileExists, match="several sources"):
        await files.get("d/*", here / "x/a.txt")


class Server(LocalHome):
    """A home with a false listing and false content."""

    entry: FileInfo | None = None
    cut = 0

    async def listing(self, path: str, *, recursive: bool = False) -> list[FileInfo]:
        found = await super().listing(path, recursive=recursive)
        return found if self.entry is None else [*found, self.entry]

    async def read(self, path: str, start: int = 0, end: int | None = None) -> AsyncGenerator[bytes, None]:
        async for piece in super().read(path, start, end):
            yield piece[: len(piece) - self.cut]

    async def get_file(self, info: FileInfo, destination: Path, report: Callable[[int], object]) -> None:
        await receive_file(self.read(info.path), info, destination, report)


@pytest.mark.parametrize("path", ["../evil", "/etc/evil", "d/../../evil", "other/evil", "d/.htaccess", "d"])
async def test_get_does_not_trust_a_listing(root: Path, here: Path, path: str) -> None:
    server = Server(root)
    files = Files(server)
    await files.write_text("d/fine", "")
    server.entry = FileInfo(path=path, name="evil", is_dir=False, size=0, modified_at=None)
    with pytest.raises(PathRefused):
        await files.get("d", here / "out")
    assert tree(here) == {}


async def test_get_of_odd_names_that_a_job_made(files: Files, root: Path, here: Path) -> None:
    (root / "d").mkdir()
    odd = 'a"#*\nb'
    (root / "d" / odd).write_text("1")
    await files.get("d", here / "out")
    assert tree(here / "out") == {odd: b"1"}


async def test_get_leaves_no_short_file(root: Path, here: Path) -> None:
    server = Server(root)
    files = Files(server)
    await files.write_text("f", "12345")
    (here / "f").write_text("old")
    server.cut = 1
    with pytest.raises(GridError, match="only 4 of 5 bytes"):
        await files.get("f", here / "f")
    assert tree(here) == {"f": b"old"}


# --- progress and cancellation


async def test_progress(files: Files, here: Path) -> None:
    (here / "d").mkdir()
    (here / "d/a").write_bytes(BIG)
    (here / "d/b").write_bytes(b"12")
    (here / "empty").write_bytes(b"")
    put: list[tuple[int, int]] = []
    got: list[tuple[int, int]] = []
    await files.put(here / "d", "d", progress=lambda done, total: put.append((done, total)))
    await files.get("d", here / "back", progress=lambda done, total: got.append((done, total)))
    size = len(BIG) + 2
    assert put == got
    assert put[-1] == (size, size)
    assert len(put) == 5
    assert {total for _, total in put} == {size}
    put.clear()
    await files.put(here / "empty", "empty", progress=lambda done, total: put.append((done, total)))
    assert put == [(0, 0)]


@pytest.mark.parametrize("present", [None, b"as before"])
async def test_a_cancelled_put_leaves_nothing(files: Files, root: Path, here: Path, present: bytes | None) -> None:
    (here / "f").write_bytes(BIG)
    if present is not None:
        await files.write_bytes("f", present)
    calls: list[int] = []
    with anyio.CancelScope() as scope:

        def stop(done: int, total: int) -> None:
            calls.append(done)
            scope.cancel()

        await files.put(here / "f", "f", progress=stop)
    assert scope.cancelled_caught
    assert calls == [1 << 20]
    assert tree(root) == ({} if present is None else {"f": present})
    assert left_over(root) == []


@pytest.mark.parametrize("at", [1, 4])
@pytest.mark.parametrize("present", [None, b"as before"])
async def test_a_cancelled_get_leaves_nothing(files: Files, here: Path, present: bytes | None, at: int) -> None:
    await files.write_bytes("f", BIG)
    if present is not None:
        (here / "f").write_bytes(present)
    calls: list[int] = []
    with anyio.CancelScope() as scope:

        def stop(done: int, total: int) -> None:
            calls.append(done)
            if len(calls) == at:
                scope.cancel()

        await files.get("f", here / "f", progress=stop)
    assert scope.cancelled_caught
    assert len(calls) == at
    assert tree(here) == ({} if present is None else {"f": present})


async def test_an_error_in_the_callback_comes_out_and_leaves_nothing(files: Files, root: Path, here: Path) -> None:
    (here / "f").write_bytes(BIG)

    def fail(done: int, total: int) -> None:
        raise LookupError("mine")

    with pytest.raises(LookupError, match="mine"):
        await files.put(here / "f", "f", progress=fail)
    assert tree(root) == {}
    assert left_over(root) == []


async def test_other_tasks_go_on_while_a_big_file_moves(files: Files, here: Path) -> None:
    (here / "f").write_bytes(BIG)
    turns = 0
    done = anyio.Event()

    async def other() -> None:
        nonlocal turns
        while not done.is_set():
            turns += 1
            await anyio.lowlevel.checkpoint()

    async with anyio.create_task_group() as group:
        group.start_soon(other)
        await files.put(here / "f", "f")
        await files.get("f", here / "g")
        await files.copy("f", "h")
        await files.checksum("f")
        done.set()
    assert turns >= 8


# --- archives


@pytest.mark.parametrize("suffix", [".zip", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz"])
async def test_pack_and_unpack(files: Files, root: Path, suffix: str) -> None:
    await files.write_bytes("in/the run/ä.bin", BIG)
    await files.write_bytes("in/the run/.dot/none", b"")
    await files.mkdir("in/the run/empty")
    await files.pack("in/the run", f"out/run{suffix}")
    await files.unpack(f"out/run{suffix}", "back/here")
    assert tree(root / "back/here") == {"the run": None} | {
        f"the run/{name}": content for name, content in tree(root / "in/the run").items()
    }
    await files.write_text("in/one.txt", "1")
    await files.pack("in/one.txt", f"one{suffix}")
    await files.unpack(f"one{suffix}")
    assert await files.read_text("one.txt") == "1"
    assert left_over(root) == []


async def test_pack_refuses(files: Files) -> None:
    await files.write_text("d/f", "")
    with pytest.raises(PathRefused, match="no suffix of an archive"):
        await files.pack("d", "d.rar")
    with pytest.raises(PathRefused, match="inside its source"):
        await files.pack("d", "d/x.zip")
    with pytest.raises(PathRefused, match="home itself"):
        await files.pack(".", "x.zip")
    with pytest.raises(FileNotFound):
        await files.pack("missing", "new/x.zip")
    assert not await files.exists("new")
    with pytest.raises(PathRefused, match="no suffix of an archive"):
        await files.unpack("d/f")
    with pytest.raises(FileNotFound):
        await files.unpack("missing.zip", "new")
    await files.mkdir("x.zip")
    with pytest.raises(PathRefused, match="is a directory"):
        await files.unpack("x.zip")
