"""Every method of `Files` but transfers, on a local home."""

from __future__ import annotations

import hashlib
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

import pytest

from aiomig._core.errors import FileExists, FileNotFound, PathRefused
from aiomig._core.paths import FileInfo, WordCount
from aiomig._home.text import count_words, last_lines, lines_of
from tests.unit.home.trees import BIG, left_over, tree

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from aiomig._home.files import Files


def names(entries: list[FileInfo]) -> list[str]:
    return [info.path for info in entries]


# --- reading and writing


@pytest.mark.parametrize("data", [b"", b"x", b"\0\xff\r\n", BIG], ids=["none", "one", "binary", "big"])
async def test_bytes_come_back(files: Files, root: Path, data: bytes) -> None:
    await files.write_bytes("a/b/file.bin", data)
    assert await files.read_bytes("a/b/file.bin") == data
    assert (root / "a/b/file.bin").read_bytes() == data
    assert left_over(root) == []


async def test_text_keeps_its_line_ends(files: Files) -> None:
    await files.write_text("t.txt", "blå\r\nrød\n")
    assert await files.read_text("t.txt") == "blå\r\nrød\n"
    await files.write_text("latin.txt", "blå", encoding="latin-1")
    with pytest.raises(UnicodeDecodeError):
        await files.read_text("latin.txt")
    assert await files.read_text("latin.txt", errors="replace") == "bl�"


async def test_writing_replaces_files_but_not_directories(files: Files) -> None:
    await files.write_text("f", "a long text")
    await files.write_text("f", "short")
    assert await files.read_text("f") == "short"
    await files.mkdir("d")
    with pytest.raises(PathRefused, match="is a directory"):
        await files.write_text("d", "x")
    with pytest.raises(PathRefused, match="names a directory"):
        await files.write_text("new/", "x")
    with pytest.raises(FileExists, match="is a file"):
        await files.write_text("f/below", "x")


async def test_written_files_have_the_permissions_of_the_umask(files: Files, root: Path) -> None:
    before = os.umask(0o022)
    try:
        await files.write_text("f", "x")
    finally:
        os.umask(before)
    assert (root / "f").stat().st_mode & 0o777 == 0o644


async def test_reading_needs_a_file(files: Files) -> None:
    await files.mkdir("d")
    for read in (files.read_bytes, files.head, files.tail, files.cat, files.word_count, files.checksum):
        with pytest.raises(FileNotFound, match="nothing-here"):
            await read("nothing-here")
        with pytest.raises(PathRefused, match="is a directory"):
            await read("d")
    with pytest.raises(FileNotFoundError):
        await files.read_bytes("nothing-here")


async def test_ranges(files: Files) -> None:
    await files.write_bytes("f", b"0123456789")
    assert await files.read_range("f", 2, 5) == b"234"
    assert await files.read_range("f", 7) == b"789"
    assert await files.read_range("f", 3, 3) == b""
    assert await files.read_range("f", 8, 100) == b"89"
    assert await files.read_range("f", 100) == b""
    with pytest.raises(FileNotFound):
        await files.read_range("g", 3, 3)
    for start, end, words in ((-1, 2, "start=-1"), (5, 4, "end=4")):
        with pytest.raises(ValueError, match=words):
            await files.read_range("f", start, end)


async def test_writing_ranges(files: Files) -> None:
    await files.write_bytes("f", b"0123456789")
    await files.write_range("f", 3, b"abc")
    assert await files.read_bytes("f") == b"012abc6789"
    await files.write_range("f", 12, bytearray(b"!"))
    assert await files.read_bytes("f") == b"012abc6789\0\0!"
    await files.write_range("f", 1, BIG)
    assert await files.read_bytes("f") == b"0" + BIG
    with pytest.raises(FileNotFound):
        await files.write_range("g", 0, b"x")
    with pytest.raises(ValueError, match="start=-1"):
        await files.write_range("f", -1, b"x")


# --- looking


async def test_stat_and_exists(files: Files) -> None:
    await files.write_bytes("d/f.txt", b"12345")
    info = await files.stat(PurePosixPath("/d/f.txt"))
    assert (info.path, info.name, info.is_dir, info.size) == ("d/f.txt", "f.txt", False, 5)
    assert info.modified_at is not None
    assert info.modified_at.tzinfo is UTC
    assert abs(info.modified_at - datetime.now(UTC)) < timedelta(hours=1)
    folder = await files.stat("d")
    assert (folder.is_dir, folder.size) == (True, 0)
    assert (await files.stat("/")).path == "."
    assert await files.exists("d/f.txt")
    assert await files.exists(".")
    assert not await files.exists("d/g.txt")
    assert not await files.exists("d/f.txt/below")
    with pytest.raises(FileNotFound):
        await files.stat("d/g.txt")


async def test_ls(files: Files) -> None:
    for path in ("b.txt", "a.txt", "d/c.txt", "d/e/f.txt", ".hidden/x", "d/.dot"):
        await files.write_text(path, path)
    assert names(await files.ls()) == ["a.txt", "b.txt", "d"]
    assert names(await files.ls(hidden=True)) == [".hidden", "a.txt", "b.txt", "d"]
    assert names(await files.ls("d")) == ["d/c.txt", "d/e"]
    assert names(await files.ls(recursive=True)) == ["a.txt", "b.txt", "d", "d/c.txt", "d/e", "d/e/f.txt"]
    assert "d/.dot" in names(await files.ls(recursive=True, hidden=True))
    assert names(await files.ls(".hidden")) == [".hidden/x"]
    assert names(await files.ls("a.txt")) == ["a.txt"]
    with pytest.raises(FileNotFound):
        await files.ls("nowhere")


async def test_ls_of_patterns(files: Files) -> None:
    for path in ("d/a1", "d/a2", "d/b1", "d/.a", "d/a3/below"):
        await files.write_text(path, "")
    assert names(await files.ls("d/a?")) == ["d/a1", "d/a2", "d/a3"]
    assert names(await files.ls("d/*", recursive=True)) == ["d/a1", "d/a2", "d/a3", "d/a3/below", "d/b1"]
    assert names(await files.ls("d/.*")) == ["d/.a"]
    assert names(await files.ls("*")) == ["d"]
    assert await files.ls("d/z*") == []
    assert await files.ls("d/a1/*") == []
    with pytest.raises(FileNotFound):
        await files.ls("nowhere/*")


async def test_many_entries(files: Files, root: Path, here: Path) -> None:
    expected = [f"d/{number:03}" for number in range(450)]
    for path in expected:
        (root / path).mkdir(parents=True)
        (root / path / "f").write_text(path)
        (root / f"{path}.txt").touch()
    assert names(await files.ls("d/???")) == expected
    assert len(await files.ls("d", recursive=True)) == 3 * 450
    assert len(await files.get("d", here / "d")) == 2 * 450
    assert len(await files.put(here / "d", "e")) == 2 * 450
    await files.remove("d", recursive=True)
    assert names(await files.ls()) == ["e"]


async def test_find(files: Files) -> None:
    for path in ("x.log", "d/y.log", "d/e/z.txt", ".cache/w.log"):
        await files.write_text(path, "")
    assert names(await files.find("*.log")) == ["d/y.log", "x.log"]
    assert names(await files.find("*.log", hidden=True)) == [".cache/w.log", "d/y.log", "x.log"]
    assert names(await files.find("?", "d")) == ["d/e"]
    with pytest.raises(ValueError, match="give the directory as path="):
        await files.find("d/*")
    with pytest.raises(FileNotFound):
        await files.find("*", "nowhere")


async def test_disk_usage(files: Files) -> None:
    await files.write_bytes("d/a", b"123")
    await files.write_bytes("d/.b", b"4567")
    assert await files.disk_usage("d") == 7
    assert await files.disk_usage("d/a") == 3
    assert await files.disk_usage() == 7


async def test_head_and_tail(files: Files) -> None:
    await files.write_text("f", "".join(f"line {number}\r\n" for number in range(50)))
    assert await files.head("f") == [f"line {number}" for number in range(20)]
    assert await files.tail("f") == [f"line {number}" for number in range(30, 50)]
    assert await files.head("f", 1) == ["line 0"]
    assert await files.tail("f", lines=1) == ["line 49"]
    assert len(await files.tail("f", 1000)) == len(await files.head("f", 1000)) == 50
    await files.write_bytes("odd", b"\xff\n\nend")
    assert await files.head("odd") == await files.tail("odd") == ["�", "", "end"]
    await files.write_bytes("empty", b"")
    assert await files.head("empty") == await files.tail("empty") == []
    for count in (0, 1_000_001):
        with pytest.raises(ValueError, match=f"lines={count}"):
            await files.head("f", count)
        with pytest.raises(ValueError, match=f"lines={count}"):
            await files.tail("f", count)


async def test_tail_reads_further_back_for_long_lines(files: Files) -> None:
    lines = [character * 100_000 for character in "abcde"]
    await files.write_text("f", "\n".join(lines))
    assert await files.tail("f", 3) == lines[2:]
    assert await files.tail("f", 9) == lines


async def test_cat(files: Files) -> None:
    await files.write_text("a", "blå ")
    await files.write_bytes("b", b"\xff!")
    assert await files.cat("a", "b", "a") == "blå �!blå "
    assert await files.cat() == ""


async def test_grep(files: Files) -> None:
    await files.write_text("f", "energy 1\r\nmass 2\nenergy 3")
    assert await files.grep(r"energy \d", "f") == ["energy 1", "energy 3"]
    assert await files.grep("^mass", "f") == ["mass 2"]
    assert await files.grep("nothing", "f") == []
    with pytest.raises(ValueError, match="not a regular expression"):
        await files.grep("(", "f")
    with pytest.raises(FileNotFound):
        await files.grep("x", "g")


async def test_word_count(files: Files) -> None:
    await files.write_bytes("f", b"one two\n  three\tfour\nfive")
    assert await files.word_count("f") == WordCount(lines=2, words=5, bytes=25)


async def pieces_of(*pieces: bytes) -> AsyncGenerator[bytes, None]:
    for piece in pieces:
        yield piece


async def test_words_and_lines_that_lie_across_pieces() -> None:
    pieces = (b"on", b"e t", b"", b"wo ", b"three\nfo", b"ur", b" ")
    assert await count_words(pieces_of(*pieces)) == WordCount(lines=1, words=4, bytes=19)
    assert [line async for line in lines_of(pieces_of(b"a", b"b\n\nc\nd", b"", b"e"))] == [
        b"ab",
        b"",
        b"c",
        b"de",
    ]
    assert [line async for line in lines_of(pieces_of(b"a\n", b""))] == [b"a"]


async def test_last_lines_where_a_block_ends_in_a_line_end() -> None:
    data = b"x" * 10 + b"\n" + b"y" * 65535 + b"\n"

    def read(start: int, end: int | None) -> AsyncGenerator[bytes, None]:
        return pieces_of(data[start:end])

    assert await last_lines(read, len(data), 1) == ["y" * 65535]


async def test_checksum(files: Files) -> None:
    await files.write_bytes("f", BIG)
    assert await files.checksum("f") == hashlib.sha256(BIG).hexdigest()
    assert await files.checksum("f", "md5") == hashlib.md5(BIG, usedforsecurity=False).hexdigest()
    for algorithm in ("crc", "shake_128", "SHA256"):
        with pytest.raises(ValueError, match=f"algorithm='{algorithm}'.*sha256"):
            await files.checksum("f", algorithm)


# --- changing


async def test_mkdir(files: Files, root: Path) -> None:
    await files.mkdir("a/b c/d")
    await files.mkdir("a/b c/d")
    await files.mkdir(".")
    assert (root / "a/b c/d").is_dir()
    with pytest.raises(FileExists):
        await files.mkdir("a", exist_ok=False)
    await files.mkdir("new", exist_ok=False)
    with pytest.raises(FileNotFound, match="missing"):
        await files.mkdir("missing/x", parents=False)
    await files.mkdir("a/x", parents=False)
    await files.write_text("f", "")
    for path in ("f", "f/below"):
        with pytest.raises(FileExists, match="f: is a file"):
            await files.mkdir(path)


async def test_copy_of_files(files: Files, root: Path) -> None:
    await files.write_bytes("f", BIG)
    assert await files.copy("f", "new/place/g") == "new/place/g"
    assert await files.copy("f", "new") == "new/f"
    assert await files.copy("f", "other/") == "other/f"
    await files.write_text("h", "to be replaced")
    await files.copy("f", "h")
    for path in ("f", "new/place/g", "new/f", "other/f", "h"):
        assert await files.read_bytes(path) == BIG
    await files.mkdir("in-the-way/f")
    with pytest.raises(FileExists, match="in-the-way/f"):
        await files.copy("f", "in-the-way")
    for destination in ("f", ".", "./f"):
        with pytest.raises(PathRefused, match="itself"):
            await files.copy("f", destination)
    with pytest.raises(FileNotFound):
        await files.copy("missing", "x")
    with pytest.raises(FileExists):
        await files.copy("h", "f/")
    assert left_over(root) == []


async def test_copy_of_directories(files: Files, root: Path) -> None:
    await files.write_text("d/a.txt", "1")
    await files.write_text("d/e/.b", "2")
    await files.mkdir("d/empty")
    with pytest.raises(PathRefused, match="recursive=True"):
        await files.copy("d", "x")
    assert await files.copy("d", "x", recursive=True) == "x"
    assert tree(root / "x") == tree(root / "d") == {"a.txt": b"1", "e": None, "e/.b": b"2", "empty": None}
    assert await files.copy("d", "x", recursive=True) == "x/d"
    with pytest.raises(FileExists):
        await files.copy("d", "x", recursive=True)
    for destination in ("d", "d/new", "d/e"):
        with pytest.raises(PathRefused, match="inside it"):
            await files.copy("d", destination, recursive=True)
    with pytest.raises(PathRefused, match="inside it"):
        await files.copy(".", "x/copy", recursive=True)
    assert left_over(root) == []


async def test_move(files: Files, root: Path) -> None:
    await files.write_text("f", "1")
    await files.write_text("d/e", "2")
    assert await files.move("f", "deep/down/g") == "deep/down/g"
    assert await files.move("d", "deep") == "deep/d"
    assert tree(root) == {
        "deep": None,
        "deep/d": None,
        "deep/d/e": b"2",
        "deep/down": None,
        "deep/down/g": b"1",
    }
    await files.write_text("new", "3")
    assert await files.move("new", "deep/d/e") == "deep/d/e"
    assert await files.read_text("deep/d/e") == "3"
    with pytest.raises(PathRefused, match="inside it"):
        await files.move("deep", "deep/d/x")
    with pytest.raises(FileNotFound):
        await files.move("missing", "x")


async def test_remove(files: Files, root: Path) -> None:
    await files.write_text("f", "")
    await files.write_text("d/e/g", "")
    await files.remove("f")
    with pytest.raises(FileNotFound):
        await files.remove("f")
    await files.remove("f", missing_ok=True)
    with pytest.raises(PathRefused, match="recursive=True"):
        await files.remove("d")
    with pytest.raises(FileNotFound):
        await files.remove("d/e/g/below")
    for path in (".", "/", "d/.."):
        with pytest.raises(PathRefused, match="home itself"):
            await files.remove(path, recursive=True)
    with pytest.raises(PathRefused, match="pattern"):
        await files.remove("*", recursive=True)
    await files.remove("d", recursive=True)
    assert tree(root) == {}


async def test_rmdir(files: Files) -> None:
    await files.write_text("d/f", "")
    with pytest.raises(FileExists, match="not empty"):
        await files.rmdir("d")
    with pytest.raises(PathRefused, match="is a file"):
        await files.rmdir("d/f")
    await files.remove("d/f")
    await files.rmdir("d")
    with pytest.raises(FileNotFound):
        await files.rmdir("d")
    with pytest.raises(PathRefused, match="home itself"):
        await files.rmdir(".")


async def test_touch_and_truncate(files: Files, root: Path) -> None:
    await files.touch("new/f")
    assert await files.read_bytes("new/f") == b""
    await files.write_bytes("g", b"12345")
    os.utime(root / "g", (0, 0))
    await files.touch("g")
    modified_at = (await files.stat("g")).modified_at
    assert modified_at is not None
    assert modified_at.year > 2000
    await files.truncate("g", 2)
    assert await files.read_bytes("g") == b"12"
    await files.truncate("g", 4)
    assert await files.read_bytes("g") == b"12\0\0"
    await files.truncate("g")
    assert await files.read_bytes("g") == b""
    with pytest.raises(FileNotFound):
        await files.truncate("missing")
    with pytest.raises(PathRefused, match="is a directory"):
        await files.truncate("new")
    with pytest.raises(ValueError, match="size=-1"):
        await files.truncate("g", -1)


async def test_what_makes_a_name_checks_its_characters(files: Files, root: Path, here: Path) -> None:
    (here / "f").write_text("")
    await files.write_text("f", "")
    for attempt in (
        files.write_text("a#b", ""),
        files.touch("a#b"),
        files.mkdir("a#b"),
        files.copy("f", "a#b"),
        files.move("f", "a#b"),
        files.put(here / "f", "a#b"),
        files.pack("f", "a#b.zip"),
    ):
        with pytest.raises(PathRefused, match=r"'#' \(U\+0023"):
            await attempt
    (root / "a#b").write_text("made by a job")
    assert await files.read_text("a#b") == "made by a job"
    await files.remove("a#b")


@pytest.mark.parametrize("path", ["../x", "/../x", "a/../../x", ".htaccess", ".aiomig/tmp", "\0", ""])
async def test_every_method_refuses_hostile_paths(files: Files, here: Path, path: str) -> None:
    await files.write_text("f", "")
    (here / "f").write_text("")
    for attempt in (
        files.put(here / "f", path or "\0"),
        files.get(path, here / "out"),
        files.read_bytes(path),
        files.read_text(path),
        files.read_range(path, 0),
        files.write_range(path, 0, b""),
        files.write_bytes(path, b""),
        files.write_text(path, ""),
        files.ls(path),
        files.find("*", path),
        files.stat(path),
        files.exists(path),
        files.mkdir(path),
        files.copy("f", path),
        files.copy(path, "g"),
        files.move("f", path),
        files.move(path, "g"),
        files.remove(path),
        files.rmdir(path),
        files.touch(path),
        files.truncate(path),
        files.head(path),
        files.tail(path),
        files.cat("f", path),
        files.grep("x", path),
        files.word_count(path),
        files.disk_usage(path),
        files.checksum(path),
        files.pack(path, "a.zip"),
        files.unpack(path),
    ):
        with pytest.raises(PathRefused):
            await attempt
    assert names(await files.ls(hidden=True)) == ["f"]
