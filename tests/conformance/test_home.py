"""The user's MiG home: each method of `session.files`."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path, PurePosixPath

import pytest

import aiomig
from aiomig import FileExists, FileNotFound, PathRefused

CONTENT = bytes(range(256)) * 40


@pytest.fixture
def files(mig: aiomig.Session) -> aiomig.Files:
    return mig.files


def paths(entries: list[aiomig.FileInfo]) -> list[str]:
    return [info.path for info in entries]


async def test_put_and_get_a_file(files: aiomig.Files, tmp_path: Path) -> None:
    (tmp_path / "a.bin").write_bytes(CONTENT)
    seen: list[tuple[int, int]] = []
    assert await files.put(tmp_path / "a.bin", "d/b.bin", progress=lambda done, size: seen.append((done, size))) == (
        "d/b.bin",
    )
    assert seen[-1] == (len(CONTENT), len(CONTENT))
    assert await files.get("d/b.bin", tmp_path / "got" / "c.bin") == (tmp_path / "got" / "c.bin",)
    assert (tmp_path / "got" / "c.bin").read_bytes() == CONTENT


async def test_put_and_get_a_tree(files: aiomig.Files, tmp_path: Path) -> None:
    for name in ("tree/a.txt", "tree/sub/b.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(name)
    assert await files.put(tmp_path / "tree", "there") == ("there/a.txt", "there/sub/b.txt")
    await files.get("there", tmp_path / "back")
    assert (tmp_path / "back/sub/b.txt").read_text() == "tree/sub/b.txt"


async def test_put_and_get_by_pattern(files: aiomig.Files, tmp_path: Path) -> None:
    for name in ("1.dat", "2.dat", "3.txt"):
        (tmp_path / name).write_text(name)
    assert await files.put(str(tmp_path / "*.dat"), "into/") == ("into/1.dat", "into/2.dat")
    assert await files.get("into/?.dat", tmp_path / "got") == (tmp_path / "got/1.dat", tmp_path / "got/2.dat")
    with pytest.raises(FileNotFound):
        await files.get("into/*.txt", tmp_path / "got")


async def test_bytes_and_text(files: aiomig.Files) -> None:
    await files.write_bytes("new/x.bin", CONTENT)
    assert await files.read_bytes("new/x.bin") == CONTENT
    await files.write_text("new/x.bin", "blåbær\r\n")
    assert await files.read_text(PurePosixPath("/new/x.bin")) == "blåbær\r\n"


async def test_ls_and_find(files: aiomig.Files) -> None:
    for name in ("d/a.txt", "d/b.dat", "d/sub/c.txt", "d/.hidden"):
        await files.write_text(name, name)
    assert paths(await files.ls("d")) == ["d/a.txt", "d/b.dat", "d/sub"]
    assert paths(await files.ls("d", hidden=True)) == ["d/.hidden", "d/a.txt", "d/b.dat", "d/sub"]
    assert paths(await files.ls("d/*.txt")) == ["d/a.txt"]
    assert "d/sub/c.txt" in paths(await files.ls("d", recursive=True))
    assert paths(await files.find("*.txt", "d")) == ["d/a.txt", "d/sub/c.txt"]
    assert paths(await files.ls("d/a.txt")) == ["d/a.txt"]
    with pytest.raises(FileNotFound):
        await files.ls("nosuch")


async def test_stat_and_exists(files: aiomig.Files) -> None:
    await files.write_bytes("d/x", b"12345")
    info = await files.stat("d/x")
    assert (info.path, info.name, info.is_dir, info.size) == ("d/x", "x", False, 5)
    assert info.modified_at is not None
    assert info.modified_at.tzinfo is UTC
    assert abs(datetime.now(UTC) - info.modified_at) < timedelta(minutes=10)
    assert (await files.stat("d")).is_dir
    assert [await files.exists(path) for path in ("d/x", "d", "/", "nosuch", "d/x/y")] == [
        True,
        True,
        True,
        False,
        False,
    ]
    with pytest.raises(FileNotFound):
        await files.stat("nosuch")


async def test_mkdir_and_rmdir(files: aiomig.Files) -> None:
    await files.mkdir("a/b/c")
    await files.mkdir("a/b/c")
    with pytest.raises(FileNotFound):
        await files.mkdir("x/y", parents=False)
    with pytest.raises(FileExists):
        await files.rmdir("a/b")
    await files.rmdir("a/b/c")
    assert not await files.exists("a/b/c")
    with pytest.raises(FileNotFound):
        await files.rmdir("a/b/c")


async def test_copy_and_move(files: aiomig.Files) -> None:
    await files.write_text("a/x", "x")
    assert await files.copy("a/x", "b/y") == "b/y"
    assert await files.move("a/x", "c/") == "c/x"
    assert await files.copy("c", "d", recursive=True) == "d"
    assert [await files.exists(path) for path in ("a/x", "b/y", "c/x", "d/x")] == [False, True, True, True]
    with pytest.raises(PathRefused):
        await files.copy("c", "e")
    with pytest.raises(FileNotFound):
        await files.move("nosuch", "x")


async def test_remove(files: aiomig.Files) -> None:
    await files.write_text("d/x", "x")
    with pytest.raises(PathRefused):
        await files.remove("d")
    await files.remove("d/x")
    await files.remove("d", recursive=True)
    await files.remove("d", missing_ok=True)
    with pytest.raises(FileNotFound):
        await files.remove("d")
    with pytest.raises(PathRefused):
        await files.remove("/", recursive=True)


async def test_touch_and_truncate(files: aiomig.Files) -> None:
    await files.touch("d/x")
    assert await files.read_bytes("d/x") == b""
    await files.write_bytes("d/x", b"12345")
    await files.truncate("d/x", 3)
    await files.touch("d/x")
    assert await files.read_bytes("d/x") == b"123"
    await files.truncate("d/x", 5)
    assert await files.read_bytes("d/x") == b"123\0\0"


async def test_looking_at_text(files: aiomig.Files) -> None:
    await files.write_text("x", "".join(f"line {number}\n" for number in range(100)))
    await files.write_text("y", "end")
    assert await files.head("x", 2) == ["line 0", "line 1"]
    assert await files.tail("x", 2) == ["line 98", "line 99"]
    assert (await files.cat("y", "y")) == "endend"
    assert await files.grep(r"9\d$", "x") == [f"line {number}" for number in range(90, 100)]
    counted = await files.word_count("x")
    assert (counted.lines, counted.words, counted.bytes) == (100, 200, 790)


async def test_disk_usage_and_checksum(files: aiomig.Files) -> None:
    await files.write_bytes("d/x", CONTENT)
    await files.write_bytes("d/sub/y", b"12345")
    assert await files.disk_usage("d") == len(CONTENT) + 5
    assert await files.checksum("d/x") == sha256(CONTENT).hexdigest()
    with pytest.raises(ValueError, match="sha0"):
        await files.checksum("d/x", "sha0")


async def test_ranges(files: aiomig.Files) -> None:
    await files.write_bytes("x", b"0123456789")
    assert await files.read_range("x", 2, 5) == b"234"
    assert await files.read_range("x", 8) == b"89"
    await files.write_range("x", 3, b"abc")
    await files.write_range("x", 11, b"z")
    assert await files.read_bytes("x") == b"012abc6789\0z"


@pytest.mark.parametrize("suffix", [".zip", ".tar.gz"])
async def test_pack_and_unpack(files: aiomig.Files, suffix: str) -> None:
    await files.write_bytes("d/x", CONTENT)
    await files.write_text("d/sub/y", "y")
    await files.pack("d", f"packed{suffix}")
    await files.unpack(f"packed{suffix}", "out")
    assert await files.read_bytes("out/d/x") == CONTENT
    assert await files.read_text("out/d/sub/y") == "y"


@pytest.mark.parametrize("path", ["../x", "a/../../x", "/../etc/passwd", "nul\0"])
async def test_no_path_leads_out_of_the_home(files: aiomig.Files, path: str) -> None:
    for call in (files.read_bytes, files.ls, files.stat, files.touch, files.remove):
        with pytest.raises(PathRefused):
            await call(path)
    with pytest.raises(PathRefused):
        await files.write_text(path, "x")


@pytest.mark.parametrize("path", ["d", "nosuch"])
async def test_what_is_no_file_cannot_be_read(files: aiomig.Files, path: str) -> None:
    await files.mkdir("d")
    for call in (
        files.read_bytes,
        files.read_text,
        files.head,
        files.tail,
        files.cat,
        files.word_count,
        files.checksum,
    ):
        with pytest.raises((PathRefused, FileNotFound)) as caught:
            await call(path)
        assert isinstance(caught.value, OSError)


async def test_results_are_files_of_the_home(mig: aiomig.Session) -> None:
    job = await mig.submit("echo x")
    await job
    folder = f"job_output/{job.id}"
    assert paths(await mig.files.ls(folder)) == [
        f"{folder}/{job.id}.{suffix}" for suffix in ("io-status", "status", "stderr", "stdout")
    ]
    assert await mig.files.read_text(f"{folder}/{job.id}.status") == "echo x 0\n"
