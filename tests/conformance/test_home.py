"""The user's MiG home: each method of `session.files`."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

import pytest

import aiomig
from aiomig import FileExists, FileNotFound, PathRefused

if TYPE_CHECKING:
    from .modes import Settings

CONTENT = bytes(range(256)) * 40


@pytest.fixture
def files(mig: aiomig.Session) -> aiomig.Files:
    return mig.files


def paths(entries: list[aiomig.FileInfo]) -> list[str]:
    return [info.path for info in entries]


async def test_put_and_get_a_file(files: aiomig.Files, top: str, tmp_path: Path) -> None:
    (tmp_path / "a.bin").write_bytes(CONTENT)
    seen: list[tuple[int, int]] = []
    assert await files.put(
        tmp_path / "a.bin", f"{top}/d/b.bin", progress=lambda done, size: seen.append((done, size))
    ) == (f"{top}/d/b.bin",)
    assert seen[-1] == (len(CONTENT), len(CONTENT))
    assert await files.get(f"{top}/d/b.bin", tmp_path / "got" / "c.bin") == (tmp_path / "got" / "c.bin",)
    assert (tmp_path / "got" / "c.bin").read_bytes() == CONTENT


async def test_put_and_get_a_tree(files: aiomig.Files, top: str, tmp_path: Path) -> None:
    for name in ("tree/a.txt", "tree/sub/b.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(name)
    assert await files.put(tmp_path / "tree", f"{top}/there") == (f"{top}/there/a.txt", f"{top}/there/sub/b.txt")
    await files.get(f"{top}/there", tmp_path / "back")
    assert (tmp_path / "back/sub/b.txt").read_text() == "tree/sub/b.txt"


async def test_put_and_get_many_small_files(files: aiomig.Files, top: str, tmp_path: Path) -> None:
    expected = {f"d{number % 3}/å {number}.bin": bytes(range(number)) for number in range(40)}
    (tmp_path / "tree/nothing").mkdir(parents=True)
    for name, data in expected.items():
        (tmp_path / "tree" / name).parent.mkdir(exist_ok=True)
        (tmp_path / "tree" / name).write_bytes(data)
    for _ in range(2):  # to a new directory, and to an existing one
        await files.put(tmp_path / "tree", f"{top}/into/")
    assert (await files.stat(f"{top}/into/tree/nothing")).is_dir
    await files.get(f"{top}/into/tree", tmp_path / "back")
    back = {str(path.relative_to(tmp_path / "back")): path for path in (tmp_path / "back").rglob("*")}
    assert {name: path.read_bytes() for name, path in back.items() if path.is_file()} == expected
    assert back["nothing"].is_dir()


async def test_only_a_file_of_this_machine_is_replaced(files: aiomig.Files, top: str, tmp_path: Path) -> None:
    await files.write_bytes(f"{top}/d/pipe", b"x")
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to("pipe")
    for source, destination in ((f"{top}/d/pipe", "pipe"), (f"{top}/d/pipe", "link")):
        with pytest.raises(PathRefused, match="a device, a pipe or a socket"):
            await files.get(source, tmp_path / destination)
    assert (tmp_path / "pipe").is_fifo()
    assert {path.name for path in tmp_path.iterdir()} >= {"pipe", "link"}


@pytest.mark.job("echo x > out.txt", outputs=["out.txt"])
async def test_outputs_replace_only_files(mig: aiomig.Session, job: aiomig.Job, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "out.txt")
    with pytest.raises(PathRefused, match="a device, a pipe or a socket"):
        await job.fetch(tmp_path)
    assert (tmp_path / "out.txt").is_fifo()


@pytest.mark.parametrize("name", ["x" * 256, "ø" * 128])
async def test_names_that_no_file_system_holds(files: aiomig.Files, top: str, name: str) -> None:
    for call in (files.stat, files.mkdir, files.touch, files.read_bytes, files.remove):
        with pytest.raises(PathRefused, match="more than 255 bytes"):
            await call(f"{top}/{name}/a")
    assert not await files.exists(f"{top}/{name[:-1]}")


async def test_put_and_get_by_pattern(files: aiomig.Files, top: str, tmp_path: Path) -> None:
    for name in ("1.dat", "2.dat", "3.txt"):
        (tmp_path / name).write_text(name)
    assert await files.put(str(tmp_path / "*.dat"), f"{top}/into/") == (f"{top}/into/1.dat", f"{top}/into/2.dat")
    assert await files.get(f"{top}/into/?.dat", tmp_path / "got") == (tmp_path / "got/1.dat", tmp_path / "got/2.dat")
    with pytest.raises(FileNotFound):
        await files.get(f"{top}/into/*.txt", tmp_path / "got")


async def test_bytes_and_text(files: aiomig.Files, top: str) -> None:
    await files.write_bytes(f"{top}/new/x.bin", CONTENT)
    assert await files.read_bytes(f"{top}/new/x.bin") == CONTENT
    await files.write_text(f"{top}/new/x.bin", "blåbær\r\n")
    assert await files.read_text(PurePosixPath(f"/{top}/new/x.bin")) == "blåbær\r\n"


async def test_ls_and_find(files: aiomig.Files, top: str) -> None:
    for name in (f"{top}/d/a.txt", f"{top}/d/b.dat", f"{top}/d/sub/c.txt", f"{top}/d/.hidden"):
        await files.write_text(name, name)
    assert paths(await files.ls(f"{top}/d")) == [f"{top}/d/a.txt", f"{top}/d/b.dat", f"{top}/d/sub"]
    assert paths(await files.ls(f"{top}/d", hidden=True)) == [
        f"{top}/d/.hidden",
        f"{top}/d/a.txt",
        f"{top}/d/b.dat",
        f"{top}/d/sub",
    ]
    assert paths(await files.ls(f"{top}/d/*.txt")) == [f"{top}/d/a.txt"]
    assert f"{top}/d/sub/c.txt" in paths(await files.ls(f"{top}/d", recursive=True))
    assert paths(await files.find("*.txt", f"{top}/d")) == [f"{top}/d/a.txt", f"{top}/d/sub/c.txt"]
    assert paths(await files.ls(f"{top}/d/a.txt")) == [f"{top}/d/a.txt"]
    with pytest.raises(FileNotFound):
        await files.ls(f"{top}/nosuch")


async def test_stat_and_exists(files: aiomig.Files, top: str) -> None:
    await files.write_bytes(f"{top}/d/x", b"12345")
    info = await files.stat(f"{top}/d/x")
    assert (info.path, info.name, info.is_dir, info.size) == (f"{top}/d/x", "x", False, 5)
    assert info.modified_at is not None
    assert info.modified_at.tzinfo is UTC
    assert abs(datetime.now(UTC) - info.modified_at) < timedelta(minutes=10)
    assert (await files.stat(f"{top}/d")).is_dir
    assert [await files.exists(path) for path in (f"{top}/d/x", f"{top}/d", "/", f"{top}/nosuch", f"{top}/d/x/y")] == [
        True,
        True,
        True,
        False,
        False,
    ]
    with pytest.raises(FileNotFound):
        await files.stat(f"{top}/nosuch")


async def test_mkdir_and_rmdir(files: aiomig.Files, top: str) -> None:
    await files.mkdir(f"{top}/a/b/c")
    await files.mkdir(f"{top}/a/b/c")
    with pytest.raises(FileNotFound):
        await files.mkdir(f"{top}/x/y", parents=False)
    with pytest.raises(FileExists):
        await files.rmdir(f"{top}/a/b")
    await files.rmdir(f"{top}/a/b/c")
    assert not await files.exists(f"{top}/a/b/c")
    with pytest.raises(FileNotFound):
        await files.rmdir(f"{top}/a/b/c")


async def test_copy_and_move(files: aiomig.Files, top: str) -> None:
    await files.write_text(f"{top}/a/x", "x")
    assert await files.copy(f"{top}/a/x", f"{top}/b/y") == f"{top}/b/y"
    assert await files.move(f"{top}/a/x", f"{top}/c/") == f"{top}/c/x"
    assert await files.copy(f"{top}/c", f"{top}/d", recursive=True) == f"{top}/d"
    assert [await files.exists(path) for path in (f"{top}/a/x", f"{top}/b/y", f"{top}/c/x", f"{top}/d/x")] == [
        False,
        True,
        True,
        True,
    ]
    with pytest.raises(PathRefused):
        await files.copy(f"{top}/c", f"{top}/e")
    with pytest.raises(FileNotFound):
        await files.move(f"{top}/nosuch", f"{top}/x")


async def test_remove(files: aiomig.Files, top: str) -> None:
    await files.write_text(f"{top}/d/x", "x")
    with pytest.raises(PathRefused):
        await files.remove(f"{top}/d")
    await files.remove(f"{top}/d/x")
    await files.remove(f"{top}/d", recursive=True)
    await files.remove(f"{top}/d", missing_ok=True)
    with pytest.raises(FileNotFound):
        await files.remove(f"{top}/d")


async def test_the_home_itself_cannot_be_removed(settings: Settings, files: aiomig.Files) -> None:
    if settings.mode == "live":
        pytest.skip("a failure would cost the account its files")
    with pytest.raises(PathRefused):
        await files.remove("/", recursive=True)


async def test_touch_and_truncate(files: aiomig.Files, top: str) -> None:
    await files.touch(f"{top}/d/x")
    assert await files.read_bytes(f"{top}/d/x") == b""
    await files.write_bytes(f"{top}/d/x", b"12345")
    await files.truncate(f"{top}/d/x", 3)
    await files.touch(f"{top}/d/x")
    assert await files.read_bytes(f"{top}/d/x") == b"123"
    await files.truncate(f"{top}/d/x", 5)
    assert await files.read_bytes(f"{top}/d/x") == b"123\0\0"


async def test_looking_at_text(files: aiomig.Files, top: str) -> None:
    await files.write_text(f"{top}/x", "".join(f"line {number}\n" for number in range(100)))
    await files.write_text(f"{top}/y", "end")
    assert await files.head(f"{top}/x", 2) == ["line 0", "line 1"]
    assert await files.tail(f"{top}/x", 2) == ["line 98", "line 99"]
    assert (await files.cat(f"{top}/y", f"{top}/y")) == "endend"
    assert await files.grep(r"9\d$", f"{top}/x") == [f"line {number}" for number in range(90, 100)]
    counted = await files.word_count(f"{top}/x")
    assert (counted.lines, counted.words, counted.bytes) == (100, 200, 790)


async def test_disk_usage_and_checksum(files: aiomig.Files, top: str) -> None:
    await files.write_bytes(f"{top}/d/x", CONTENT)
    await files.write_bytes(f"{top}/d/sub/y", b"12345")
    assert await files.disk_usage(f"{top}/d") == len(CONTENT) + 5
    assert await files.checksum(f"{top}/d/x") == sha256(CONTENT).hexdigest()
    with pytest.raises(ValueError, match="sha0"):
        await files.checksum(f"{top}/d/x", "sha0")


async def test_ranges(files: aiomig.Files, top: str) -> None:
    await files.write_bytes(f"{top}/x", b"0123456789")
    assert await files.read_range(f"{top}/x", 2, 5) == b"234"
    assert await files.read_range(f"{top}/x", 8) == b"89"
    await files.write_range(f"{top}/x", 3, b"abc")
    await files.write_range(f"{top}/x", 11, b"z")
    assert await files.read_bytes(f"{top}/x") == b"012abc6789\0z"


@pytest.mark.parametrize("suffix", [".zip", ".tar.gz"])
async def test_pack_and_unpack(files: aiomig.Files, top: str, suffix: str) -> None:
    await files.write_bytes(f"{top}/d/x", CONTENT)
    await files.write_text(f"{top}/d/sub/y", "y")
    await files.pack(f"{top}/d", f"{top}/packed{suffix}")
    await files.unpack(f"{top}/packed{suffix}", f"{top}/out")
    assert await files.read_bytes(f"{top}/out/d/x") == CONTENT
    assert await files.read_text(f"{top}/out/d/sub/y") == "y"


@pytest.mark.parametrize("path", ["../x", "a/../../x", "/../etc/passwd", "nul\0"])
async def test_no_path_leads_out_of_the_home(files: aiomig.Files, path: str) -> None:
    for call in (files.read_bytes, files.ls, files.stat, files.touch, files.remove):
        with pytest.raises(PathRefused):
            await call(path)
    with pytest.raises(PathRefused):
        await files.write_text(path, "x")


@pytest.mark.parametrize("path", ["d", "nosuch"])
async def test_what_is_no_file_cannot_be_read(files: aiomig.Files, top: str, path: str) -> None:
    await files.mkdir(f"{top}/d")
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
            await call(f"{top}/{path}")
        assert isinstance(caught.value, OSError)


@pytest.mark.job("echo x")
async def test_results_are_files_of_the_home(mig: aiomig.Session, job: aiomig.Job) -> None:
    await job
    folder = f"job_output/{job.id}"
    assert paths(await mig.files.ls(folder)) == [
        f"{folder}/{job.id}.{suffix}" for suffix in ("io-status", "status", "stderr", "stdout")
    ]
    assert await mig.files.read_text(f"{folder}/{job.id}.status") == "echo x 0\n"


@pytest.mark.parametrize("name", ["it's", "a&b", "a+b", "a;b", "a@b", "a:b", "a b", "æ%41", "f"])
async def test_a_directory_cannot_be_read_as_a_file(files: aiomig.Files, top: str, name: str) -> None:
    await files.mkdir(f"{top}/{name}", parents=True)
    path = f"{top}/{name}"
    for attempt in (files.read_bytes(path), files.head(path), files.read_range(path, 0, 1), files.checksum(path)):
        with pytest.raises(PathRefused):
            await attempt


async def test_nothing_is_below_a_file(files: aiomig.Files, top: str) -> None:
    await files.write_text(f"{top}/f", "x")
    path = f"{top}/f/g"
    for attempt in (
        files.read_bytes(path),
        files.head(path),
        files.read_range(path, 0, 1),
        files.checksum(path),
        files.stat(path),
    ):
        with pytest.raises(FileNotFound):
            await attempt
    assert not await files.exists(path)
