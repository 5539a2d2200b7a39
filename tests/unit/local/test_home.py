"""The local home: paths out of it, hostile archives, copying, and errors of the system."""

from __future__ import annotations

import bz2
import errno
import gzip
import io
import os
import shutil
import tarfile
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

import anyio
import pytest

from aiomig._core.errors import FileExists, FileNotFound, LocalError, PathRefused
from aiomig._home import disk as _local_io
from aiomig._home.disk import copy_file
from aiomig._home.files import Files
from aiomig._local import archives as _local_archives
from aiomig._local.home import LocalHome

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

BIG = os.urandom(1 << 20) * 3 + b"end"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "home"


@pytest.fixture
def home(root: Path) -> LocalHome:
    return LocalHome(root)


@pytest.fixture
def files(home: LocalHome) -> Files:
    return Files(home)


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    folder = tmp_path / "outside"
    folder.mkdir()
    (folder / "secret").write_text("secret")
    return folder


def visible(root: Path) -> list[str]:
    return sorted(
        path.relative_to(root).as_posix() for path in root.rglob("*") if path.relative_to(root).parts[0] != ".aiomig"
    )


# --- links


async def test_links_out_of_the_home_lead_nowhere(files: Files, root: Path, outside: Path) -> None:
    (root / "link").symlink_to(outside)
    (root / "file").symlink_to(outside / "secret")
    (root / "up").symlink_to("..")
    (root / "new").symlink_to(outside / "not-there")
    await files.write_text("f", "mine")
    for path in ("link", "link/secret", "file", "up/outside/secret", "new"):
        for attempt in (
            files.read_bytes(path),
            files.stat(path),
            files.exists(path),
            files.ls(path),
            files.write_text(path, "x"),
            files.write_range(path, 0, b"x"),
            files.truncate(path),
            files.touch(path),
            files.mkdir(path),
            files.copy(path, "copy", recursive=True),
            files.copy("f", path),
            files.pack(path, "a.zip"),
        ):
            with pytest.raises(PathRefused, match="symbolic link leads out"):
                await attempt
    assert [info.path for info in await files.ls(recursive=True, hidden=True)] == ["f"]
    assert sorted(path.name for path in outside.iterdir()) == ["secret"]
    assert (outside / "secret").read_text() == "secret"


async def test_a_removed_link_leaves_what_it_pointed_to(files: Files, root: Path, outside: Path) -> None:
    (root / "d").mkdir()
    (root / "d/link").symlink_to(outside)
    (root / "d/broken").symlink_to("nowhere")
    await files.remove("d/broken")
    await files.remove("d", recursive=True)
    (root / "link").symlink_to(outside)
    await files.remove("link")
    assert visible(root) == []
    assert (outside / "secret").exists()


async def test_nothing_is_removed_or_moved_through_a_link(files: Files, root: Path, outside: Path) -> None:
    (root / "link").symlink_to(outside)
    await files.write_text("f", "")
    for attempt in (files.remove("link/secret"), files.move("f", "link/f"), files.move("link/secret", "s")):
        with pytest.raises(PathRefused):
            await attempt
    assert sorted(path.name for path in outside.iterdir()) == ["secret"]


async def test_links_inside_the_home_are_followed(files: Files, root: Path) -> None:
    await files.write_text("d/f", "1")
    (root / "link").symlink_to("d")
    (root / "d/circle").symlink_to(root)
    assert await files.read_text("link/f") == "1"
    await files.write_text("link/g", "2")
    assert (root / "d/g").read_text() == "2"
    assert (root / "link").is_symlink()
    found = [info.path for info in await files.ls(recursive=True)]
    assert found[:4] == ["d", "d/circle", "d/f", "d/g"]
    assert "link/f" in found


async def test_a_link_to_aiomigs_own_folder_is_refused(files: Files, home: LocalHome, root: Path) -> None:
    home.temporary_folder()
    (root / "link").symlink_to(".aiomig")
    with pytest.raises(PathRefused):
        await files.ls("link")
    assert await files.ls(hidden=True) == []
    for path in (".aiomig", ".aiomig/tmp"):
        with pytest.raises(PathRefused):
            home.locate(path)
        with pytest.raises(PathRefused):
            await home.remove(path, recursive=True)


async def test_a_circle_of_links_is_an_error_not_a_hang(files: Files, root: Path) -> None:
    (root / "a").symlink_to("b")
    (root / "b").symlink_to("a")
    with pytest.raises(PathRefused):
        await files.read_bytes("a")
    assert await files.ls() == []


async def test_what_mig_hides_is_not_shown(files: Files, root: Path) -> None:
    (root / "d").mkdir()
    for path in (".htaccess", ".trash", "d/.vgridwiki"):
        (root / path).write_text("")
    assert [info.path for info in await files.ls(recursive=True, hidden=True)] == ["d"]


async def test_pipes_are_never_opened(files: Files, root: Path) -> None:
    os.mkfifo(root / "pipe")
    assert await files.ls() == []
    assert not await files.exists("pipe")
    for attempt in (files.read_bytes("pipe"), files.write_range("pipe", 0, b""), files.truncate("pipe")):
        with pytest.raises(LocalError, match="neither a file nor a directory"):
            await attempt
    await files.remove("pipe")
    assert visible(root) == []


# --- the folder and the system


async def test_a_root_with_spaces_letters_and_links(tmp_path: Path) -> None:
    real = tmp_path / "a b" / "héme ☃"
    files = Files(LocalHome(real))
    await files.write_text("d/f", "1")
    (tmp_path / "link").symlink_to(real)
    assert await Files(LocalHome(tmp_path / "link")).read_text("d/f") == "1"


def test_a_root_that_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "f").write_text("")
    with pytest.raises(LocalError, match="a file is in the way"):
        LocalHome(tmp_path / "f")


async def test_names_that_are_not_utf8(files: Files, root: Path, tmp_path: Path) -> None:
    (root / "d").mkdir()
    (root / "d" / os.fsdecode(b"b\xff")).write_text("1")
    (info,) = await files.ls("d")
    assert await files.read_text(info.path) == "1"
    (got,) = await files.get("d", tmp_path / "got")
    assert os.fsencode(got.name) == b"b\xff"
    with pytest.raises(PathRefused, match=r"\.tar"):
        await files.pack("d", "x.zip")
    assert not await files.exists("x.zip")
    await files.pack("d", "x.tar.gz")
    await files.unpack("x.tar.gz", "back")
    assert await files.read_text(f"back/{info.path}") == "1"


async def test_a_file_where_a_directory_is_needed(files: Files, home: LocalHome) -> None:
    await files.write_text("f", "")
    with pytest.raises(FileExists, match="where a directory is needed"):
        await home.touch("f/below")


async def test_a_file_that_shrinks_while_it_is_packed(
    files: Files, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await files.write_bytes("f", BIG)

    def shrink(path: Path, start: int, end: int, *, piece_size: int) -> AsyncGenerator[bytes, None]:
        os.truncate(path, 5)
        return _local_io.read_file(path, start, end, piece_size=piece_size)

    monkeypatch.setattr(_local_archives, "read_file", shrink)
    for archive in ("f.zip", "f.tar.gz"):
        await files.write_bytes("f", BIG)
        with pytest.raises(LocalError, match="became shorter"):
            await files.pack("f", archive)
    assert visible(root) == ["f"]


async def test_a_name_too_long_for_the_disk(files: Files) -> None:
    with pytest.raises(PathRefused, match="shorter name"):
        await files.write_text("x" * 300, "")


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (errno.ENOSPC, "free some space"),
        (errno.EDQUOT, "free some space"),
        (errno.EACCES, "check the permissions"),
        (errno.EIO, "disk"),
    ],
)
async def test_what_the_system_refuses(
    files: Files, root: Path, monkeypatch: pytest.MonkeyPatch, number: int, words: str
) -> None:
    async def fail(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    await files.write_text("f", "old")
    monkeypatch.setattr("aiomig._local.home.write_pieces", fail)
    with pytest.raises(LocalError, match=words) as caught:
        await files.write_text("f", "new")
    assert caught.value.path == "f"
    assert isinstance(caught.value.__cause__, OSError)
    assert await files.read_text("f") == "old"
    assert list((root / ".aiomig/tmp").iterdir()) == []


async def test_content_of_another_size_is_not_kept(home: LocalHome, root: Path) -> None:
    with pytest.raises(ValueError, match="size=3"):
        await home.write("f", Content(b"12"), 3)
    assert visible(root) == []


class Content:
    def __init__(self, *pieces: bytes) -> None:
        self._pieces = list(pieces)

    def __aiter__(self) -> Content:
        return self

    async def __anext__(self) -> bytes:
        if not self._pieces:
            raise StopAsyncIteration
        return self._pieces.pop(0)


async def test_a_source_that_shrinks_while_it_is_put(files: Files, root: Path, tmp_path: Path) -> None:
    source = tmp_path / "shrinking"
    source.write_bytes(BIG)
    with pytest.raises(LocalError, match="became shorter"):
        await files.put(source, "f", progress=lambda done, total: os.truncate(source, 1 << 20))
    assert visible(root) == []


async def test_a_source_that_grows_is_cut_where_it_was(files: Files, tmp_path: Path) -> None:
    source = tmp_path / "growing"
    source.write_bytes(BIG)

    def grow(done: int, total: int) -> None:
        with source.open("ab") as file:
            file.write(b"more")

    await files.put(source, "f", progress=grow)
    assert await files.read_bytes("f") == BIG


async def test_a_cancelled_copy_of_a_directory_leaves_nothing(
    files: Files, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await files.write_bytes("d/a", b"1")
    await files.write_bytes("d/b", BIG)
    with anyio.CancelScope() as scope:

        async def copy_then_cancel(source: Path, destination: Path) -> None:
            await copy_file(source, destination)
            scope.cancel()

        monkeypatch.setattr("aiomig._local.home.copy_file", copy_then_cancel)
        await files.copy("d", "e", recursive=True)
    assert scope.cancelled_caught
    assert visible(root) == ["d", "d/a", "d/b"]
    assert list((root / ".aiomig/tmp").iterdir()) == []


# --- copy_file


@pytest.mark.parametrize("data", [b"", b"x", BIG], ids=["none", "one", "big"])
@pytest.mark.parametrize("kernel", ["copies", "refuses", "copies nothing", "copies a part", "missing"])
async def test_copy_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, data: bytes, kernel: str) -> None:
    real = os.copy_file_range
    calls: list[int] = []

    def copy_file_range(source: int, target: int, count: int, *places: int) -> int:
        calls.append(count)
        if kernel == "refuses" or (kernel == "copies a part" and len(calls) > 1):
            raise OSError(errno.EXDEV, "Invalid cross-device link")
        return 0 if kernel == "copies nothing" else real(source, target, count, *places)

    if kernel == "missing":
        monkeypatch.delattr(os, "copy_file_range")
    else:
        monkeypatch.setattr(os, "copy_file_range", copy_file_range)
    (tmp_path / "a").write_bytes(data)
    (tmp_path / "b").write_bytes(b"old and longer" * 9)
    await copy_file(tmp_path / "a", tmp_path / "b")
    assert (tmp_path / "b").read_bytes() == data
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b"]


async def test_copy_file_sets_the_mode_it_is_given(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("")
    (tmp_path / "a").chmod(0o600)
    before = os.umask(0o022)
    try:
        await copy_file(tmp_path / "a", tmp_path / "b")
        await copy_file(tmp_path / "a", tmp_path / "c", mode=0o777)
    finally:
        os.umask(before)
    assert (tmp_path / "b").stat().st_mode & 0o777 == 0o644
    assert (tmp_path / "c").stat().st_mode & 0o777 == 0o755


async def test_copy_file_says_what_is_wrong(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a").write_text("1")
    (tmp_path / "d").mkdir()
    with pytest.raises(FileNotFound, match="missing"):
        await copy_file(tmp_path / "missing", tmp_path / "b")
    with pytest.raises(PathRefused, match="is a directory"):
        await copy_file(tmp_path / "d", tmp_path / "b")
    with pytest.raises(PathRefused, match="is a directory"):
        await copy_file(tmp_path / "a", tmp_path / "d")
    with pytest.raises(FileNotFound, match="nowhere"):
        await copy_file(tmp_path / "a", tmp_path / "nowhere/b")

    def full(source: int, target: int, count: int, *places: int) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "copy_file_range", full)
    with pytest.raises(LocalError, match="free some space"):
        await copy_file(tmp_path / "a", tmp_path / "b")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "d"]


async def test_a_cancelled_copy_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a").write_bytes(BIG)
    real = os.copy_file_range
    calls: list[int] = []
    with anyio.CancelScope() as scope:

        def copy_file_range(source: int, target: int, count: int, *places: int) -> int:
            calls.append(count)
            scope.cancel()
            return real(source, target, count, *places)

        monkeypatch.setattr(os, "copy_file_range", copy_file_range)
        await copy_file(tmp_path / "a", tmp_path / "b")
    assert scope.cancelled_caught
    assert calls == [_local_io.PIECE]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a"]


# --- hostile archives


def zip_of(path: Path, *members: tuple[str | zipfile.ZipInfo, bytes]) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in members:
            archive.writestr(name, data)


def tar_of(path: Path, *members: tarfile.TarInfo) -> None:
    with tarfile.open(path, "w:gz" if path.name.endswith("gz") else "w") as archive:
        for info in members:
            archive.addfile(info, io.BytesIO(b"x" * info.size))


def member(name: str, kind: bytes = tarfile.REGTYPE, *, target: str = "", size: int = 1) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    info.size = size if kind == tarfile.REGTYPE else 0
    return info


NAMES = [
    "../evil",
    "a/../../evil",
    "/tmp/evil",
    "a/../b",
    ".htaccess",
    "d/.trash/x",
    "..",
]


@pytest.mark.parametrize("suffix", [".zip", ".tar", ".tgz"])
@pytest.mark.parametrize("name", NAMES)
async def test_members_that_leave_are_refused_before_anything_is_written(
    files: Files, root: Path, tmp_path: Path, name: str, suffix: str
) -> None:
    archive = root / f"evil{suffix}"
    if suffix == ".zip":
        zip_of(archive, ("good", b"x"), (name, b"x"))
    else:
        tar_of(archive, member("good"), member(name))
    before = visible(tmp_path)
    with pytest.raises(PathRefused):
        await files.unpack(archive.name)
    assert visible(tmp_path) == before


async def test_aiomigs_own_folder_is_out_of_reach_of_archives(files: Files, root: Path) -> None:
    zip_of(root / "a.zip", (".aiomig/jobs.db", b"x"))
    with pytest.raises(PathRefused, match="belongs to aiomig"):
        await files.unpack("a.zip")
    assert not (root / ".aiomig/jobs.db").exists()


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE])
@pytest.mark.parametrize("suffix", [".tar", ".tar.gz"])
async def test_links_and_devices_in_tar_are_refused(files: Files, root: Path, kind: bytes, suffix: str) -> None:
    tar_of(root / f"a{suffix}", member("good"), member("odd", kind, target="good"), member("odd/evil"))
    with pytest.raises(PathRefused, match="link or a device") as caught:
        await files.unpack(f"a{suffix}", "out")
    assert caught.value.path == "odd"
    assert await files.ls("out") == []


async def test_links_and_encrypted_members_in_zip_are_refused(files: Files, root: Path) -> None:
    link = zipfile.ZipInfo("link")
    link.create_system, link.external_attr = 3, 0o120777 << 16
    zip_of(root / "a.zip", ("good", b""), (link, b"/etc/passwd"))
    with pytest.raises(PathRefused, match="link or a device"):
        await files.unpack("a.zip", "out")
    zip_of(root / "b.zip", ("secret", b"x"))
    data = bytearray((root / "b.zip").read_bytes())
    data[data.index(b"PK\x01\x02") + 8] |= 1
    (root / "b.zip").write_bytes(data)
    with pytest.raises(PathRefused, match="encrypted"):
        await files.unpack("b.zip", "out")
    assert await files.ls("out") == []


async def test_a_link_in_the_destination_leads_nowhere(files: Files, root: Path, outside: Path) -> None:
    (root / "out").mkdir()
    (root / "out/link").symlink_to(outside)
    zip_of(root / "a.zip", ("good", b"x"), ("link/evil", b"x"))
    with pytest.raises(PathRefused, match="symbolic link"):
        await files.unpack("a.zip", "out")
    assert not (root / "out/good").exists()
    assert sorted(path.name for path in outside.iterdir()) == ["secret"]


async def test_what_is_in_the_way_is_seen_before_anything_is_written(files: Files, root: Path) -> None:
    await files.write_text("out/d/f", "")
    await files.write_text("out/g", "")
    for names in (("new", "d"), ("new", "g/below"), ("new", "x", "x/y")):
        zip_of(root / "a.zip", *((name, b"x") for name in names))
        with pytest.raises(FileExists, match="in the way"):
            await files.unpack("a.zip", "out")
        assert not await files.exists("out/new")
    zip_of(root / "a.zip", ("g", b"replaced"), ("./d/./new", b"x"))
    await files.unpack("a.zip", "out")
    assert await files.read_text("out/g") == "replaced"
    assert await files.exists("out/d/new")


@pytest.mark.parametrize("name", ["bomb.zip", "bomb.tar.gz"])
async def test_an_archive_that_grows_out_of_proportion(
    files: Files, root: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr(_local_archives, "_FREE_SIZE", 1 << 20)
    await files.write_bytes("zeros", bytes(4 << 20))
    await files.pack("zeros", name)
    with pytest.raises(PathRefused, match="200 times"):
        await files.unpack(name, "out")
    assert await files.ls("out") == []
    monkeypatch.setattr(_local_archives, "_MOST_MEMBERS", 0)
    with pytest.raises(PathRefused, match="members"):
        await files.unpack(name, "out")


@pytest.mark.parametrize("suffix", [".zip", ".tar", ".tar.gz", ".tar.bz2"])
async def test_damaged_archives(files: Files, root: Path, suffix: str) -> None:
    await files.write_bytes("d/a", BIG[: 1 << 18])
    await files.write_bytes("d/b", BIG[: 1 << 18])
    await files.pack("d", f"a{suffix}")
    whole = (root / f"a{suffix}").read_bytes()
    for content in (b"", b"no archive at all" * 99, whole[: len(whole) // 2], whole[: len(whole) - 1600]):
        (root / f"a{suffix}").write_bytes(content)
        with pytest.raises(LocalError, match="cannot be unpacked"):
            await files.unpack(f"a{suffix}", "out")
        assert await files.ls("out") == []


async def test_a_broken_header_in_the_middle_of_a_tar_is_not_its_end(files: Files, root: Path) -> None:
    tar_of(root / "a.tar", member("a"), member("b"), member("c"))
    data = bytearray((root / "a.tar").read_bytes())
    data[1024:1030] = b"\xff" * 6
    (root / "a.tar").write_bytes(data)
    with pytest.raises(LocalError, match="bad checksum"):
        await files.unpack("a.tar", "out")
    assert await files.ls("out") == []


def extended(kind: bytes, size: int, content: bytes) -> bytes:
    info = tarfile.TarInfo("header")
    info.type, info.size = kind, size
    return info.tobuf(tarfile.GNU_FORMAT) + content + bytes(-len(content) % 512)


@pytest.mark.parametrize(
    "header",
    [
        extended(tarfile.XHDTYPE, 100_000, b"9" * 100_000),
        extended(tarfile.GNUTYPE_LONGNAME, 20_000_000, bytes(20_000_000)),
        extended(tarfile.XGLTYPE, 1 << 40, b""),
    ],
    ids=["pax", "long name", "global"],
)
async def test_huge_headers_in_a_tar_are_refused(files: Files, root: Path, header: bytes) -> None:
    (root / "a.tar.gz").write_bytes(gzip.compress(header + tarfile.TarInfo("x").tobuf() + bytes(1024)))
    with pytest.raises(PathRefused, match="has a header of"):
        await files.unpack("a.tar.gz", "d")
    assert visible(root) == ["a.tar.gz", "d"]


@pytest.mark.parametrize(
    "records",
    [b"9" * 60_000, b"5 a=b", b"0 a=b\n", b"999 path=x\n", b"-7 path=x\n"],
    ids=["digits", "end", "0", "999", "-7"],
)
async def test_damaged_extended_headers(files: Files, root: Path, records: bytes) -> None:
    header = extended(tarfile.XHDTYPE, len(records), records)
    (root / "a.tar").write_bytes(header + tarfile.TarInfo("x").tobuf() + bytes(1024))
    with pytest.raises(LocalError, match="damaged"):
        await files.unpack("a.tar", "d")


async def test_other_tools_read_what_is_packed(files: Files, root: Path, tmp_path: Path) -> None:
    await files.write_bytes("d/a.bin", BIG)
    await files.write_text("d/ü/b", "1")
    for name in ("x.zip", "x.tar", "x.tar.gz", "x.tar.bz2"):
        await files.pack("d", name)
        folder = tmp_path / name.replace(".", "-")
        if name.endswith("zip"):
            with zipfile.ZipFile(root / name) as archive:
                assert archive.testzip() is None
                archive.extractall(folder)
        else:
            with tarfile.open(root / name) as tarred:
                tarred.extractall(folder, filter="data")
        assert (folder / "d/a.bin").read_bytes() == BIG
        assert (folder / "d/ü/b").read_text() == "1"
    plain = (root / "x.tar").read_bytes()
    assert gzip.decompress((root / "x.tar.gz").read_bytes()) == plain
    assert bz2.decompress((root / "x.tar.bz2").read_bytes()) == plain


@pytest.mark.parametrize("kind", ["zip", "gztar", "bztar", "tar"])
async def test_what_other_tools_pack_is_unpacked(files: Files, root: Path, tmp_path: Path, kind: str) -> None:
    (tmp_path / "in/sub dir/empty").mkdir(parents=True)
    (tmp_path / "in/sub dir/f").write_bytes(BIG)
    made = Path(shutil.make_archive(str(tmp_path / "made"), kind, tmp_path / "in"))
    await files.put(made, ".")
    await files.unpack(made.name, "out")
    assert await files.read_bytes("out/sub dir/f") == BIG
    assert await files.exists("out/sub dir/empty")


async def test_a_cancelled_pack_leaves_nothing(files: Files, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    await files.write_bytes("f", BIG)
    with anyio.CancelScope() as scope:
        real = _local_io.read_file

        def read_file(*args: object, **options: object) -> object:
            scope.cancel()
            return real(*args, **options)  # type: ignore[arg-type]

        monkeypatch.setattr(_local_archives, "read_file", read_file)
        await files.pack("f", "f.tar.gz")
    assert scope.cancelled_caught
    assert visible(root) == ["f"]
    assert list((root / ".aiomig/tmp").iterdir()) == []
