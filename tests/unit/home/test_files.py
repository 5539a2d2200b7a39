"""Every method of `Files`, on a local home."""

from __future__ import annotations

import hashlib
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

import anyio
import pytest

from aiomig._core.errors import FileExists, FileNotFound, GridError, PathRefused
from aiomig._core.paths import FileInfo, WordCount
from aiomig._home.files import Files
from aiomig._home.text import count_words, last_lines, lines_of
from aiomig._home.transfer import receive_file
from aiomig._local.home import LocalHome

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable

    from aiomig._backend import HomeBackend

BIG = bytes(range(256)) * (14 * 1024) + b"tail"  # three and a half pieces and some more bytes


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "the home ünï"


@pytest.fixture
def home(root: Path) -> HomeBackend:
    return LocalHome(root)


@pytest.fixture
def files(home: HomeBackend) -> Files:
    return Files(home)


@pytest.fixture
def here(tmp_path: Path) -> Path:
    folder = tmp_path / "here"
    folder.mkdir()
    return folder


def tree(folder: Path) -> dict[str, bytes | None]:
    """Return all files below a folder except aiomig's own, by relative path; ``None`` for directories."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() if path.is_file() else None
        for path in sorted(folder.rglob("*"))
        if ".aiomig" not in path.parts
    }


def left_over(folder: Path) -> list[Path]:
    return list(folder.rglob(".aiomig-*"))


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
