"""The home on a server: every method behaves like the local one; and faults that only a grid has."""

from __future__ import annotations

import hashlib
import json
from contextlib import aclosing
from typing import TYPE_CHECKING

import anyio
import httpx
import pytest

from aiomig import (
    Config,
    ConnectionFailed,
    FileExists,
    FileNotFound,
    PathRefused,
    ProtocolError,
    RequestLimits,
    ServerError,
)
from aiomig._grid.bundles import BundlingHome as GridHome
from aiomig._grid.http import HttpClient
from aiomig._grid.operations import OperationClient
from aiomig._home.files import Files
from aiomig._local.home import LocalHome
from aiomig.testing import FakeGrid, _operations_listing
from tests.clocks import anyio_backend

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator
    from pathlib import Path

    from aiomig._backend import HomeBackend

__all__ = ["anyio_backend"]

BYTES = bytes(range(256))
NAMES = ("with blank.txt", "blåbær.txt", "it's.txt", "a%41+b&c=d;e.txt", "-rf", "~", "(x) [y]"[:3], "..x", "a:b@c!$")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "home"
    folder.mkdir()
    return folder


@pytest.fixture
async def grid(root: Path) -> AsyncIterator[FakeGrid]:
    async with FakeGrid(root) as opened:
        yield opened


SMALL = RequestLimits(upload_chunk=100, download_piece=100)


async def home_of(transport: httpx.AsyncBaseTransport, limits: RequestLimits = SMALL) -> tuple[HttpClient, GridHome]:
    config = Config("https://grid.example.org", certificate="c.pem", key="k.pem")  # type: ignore[arg-type]
    client = HttpClient(config, "1", transport)
    await client.open()
    return client, GridHome(OperationClient(client), limits)


@pytest.fixture
def limits() -> RequestLimits:
    return RequestLimits()


small_pieces = pytest.mark.parametrize("limits", [SMALL], ids=["small"])


@pytest.fixture
async def remote(grid: FakeGrid, limits: RequestLimits) -> AsyncIterator[GridHome]:
    client, home = await home_of(grid.transport(), limits)
    yield home
    await client.close()


@pytest.fixture(params=["local", "grid"])
def home(request: pytest.FixtureRequest, root: Path, remote: GridHome) -> HomeBackend:
    return LocalHome(root) if request.param == "local" else remote


async def of(*pieces: bytes) -> AsyncGenerator[bytes, None]:
    for piece in pieces:
        yield piece


async def write(home: HomeBackend, path: str, *pieces: bytes, size: int | None = None) -> None:
    async with aclosing(of(*pieces)) as content:
        await home.write(path, content, sum(map(len, pieces)) if size is None else size)


async def read(home: HomeBackend, path: str, start: int = 0, end: int | None = None) -> bytes:
    async with aclosing(home.read(path, start, end)) as pieces:
        return b"".join([piece async for piece in pieces])


# -- the same in both modes


async def test_stat(home: HomeBackend, root: Path) -> None:
    (root / "d").mkdir()
    (root / "d/f").write_bytes(BYTES)
    file, folder = await home.stat("d/f"), await home.stat("d")
    assert file is not None
    assert (file.path, file.name, file.is_dir, file.size) == ("d/f", "f", False, 256)
    assert file.modified_at is not None
    assert file.modified_at.timestamp() == pytest.approx((root / "d/f").stat().st_mtime, abs=0.01)
    assert folder is not None
    assert (folder.path, folder.is_dir, folder.size) == ("d", True, 0)
    for path in ("missing", "d/missing", "d/f/below", "missing/below"):
        assert await home.stat(path) is None
    top = await home.stat(".")
    assert top is not None
    assert top.is_dir


@pytest.mark.parametrize("named", [True, False])
async def test_stat_many(home: HomeBackend, root: Path, named: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if not named:  # as by a server that does not repeat the names
        whole = _operations_listing._stat
        monkeypatch.setattr(_operations_listing, "_stat", lambda *given: {**whole(*given), "name": ""})
    (root / "d").mkdir()
    (root / "å.txt").write_bytes(b"12")
    found = await home.stat_many(["d", "nothing", "å.txt", "å.txt/below"])
    assert {path: (info.path, info.is_dir, info.size) for path, info in found.items()} == {
        "d": ("d", True, 0),
        "å.txt": ("å.txt", False, 2),
    }
    assert found["d"] == await home.stat("d")
    assert await home.stat_many([]) == {}


async def test_listing(home: HomeBackend, root: Path) -> None:
    for path in ("d/.dot", "d/f", "d/e/g", "d/e/h/i"):
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(path)
    (root / "d/.htaccess").write_text("hidden")
    flat = {entry.path: (entry.is_dir, entry.size) for entry in await home.listing("d")}
    assert flat == {"d/.dot": (False, 6), "d/f": (False, 3), "d/e": (True, 0)}
    deep = {entry.path for entry in await home.listing("d", recursive=True)}
    assert deep == {"d/.dot", "d/f", "d/e", "d/e/g", "d/e/h", "d/e/h/i"}
    assert [entry.path for entry in await home.listing("d/f")] == ["d/f"]
    assert "d" in {entry.path for entry in await home.listing(".")}
    (root / "empty").mkdir()
    assert await home.listing("empty") == []
    with pytest.raises(FileNotFound, match="missing"):
        await home.listing("missing")


async def test_make_directories(home: HomeBackend, root: Path) -> None:
    await home.make_directories([])
    await home.make_directories(["a", "a/b", "a/b/c"])
    await home.make_directories(["a", "a/b", "a/b/d"])
    assert (root / "a/b/c").is_dir()
    assert (root / "a/b/d").is_dir()
    (root / "file").write_text("")
    for paths in (["file"], ["a", "file", "file/x"]):
        with pytest.raises(FileExists) as caught:
            await home.make_directories(paths)
        assert caught.value.path == "file"


@small_pieces
@pytest.mark.parametrize("size", [0, 1, 99, 100, 101, 200, 256])
async def test_what_is_written_is_read(home: HomeBackend, root: Path, size: int) -> None:
    content = BYTES[:size]
    await write(home, "f", content[:70], b"", content[70:])
    assert (root / "f").read_bytes() == content
    assert await read(home, "f") == content
    await write(home, "f", b"short")
    assert (root / "f").read_bytes() == b"short"
    assert sorted(path.name for path in root.rglob("*") if path.is_file()) == ["f"]


@small_pieces
@pytest.mark.parametrize(
    ("start", "end"),
    [(0, None), (0, 0), (0, 1), (0, 100), (1, 101), (50, 250), (100, None), (255, None), (256, None), (300, 400)],
)
async def test_parts_are_read(home: HomeBackend, root: Path, start: int, end: int | None) -> None:
    (root / "f").write_bytes(BYTES)
    assert await read(home, "f", start, end) == BYTES[start:end]


@pytest.mark.parametrize("name", NAMES)
async def test_odd_names(home: HomeBackend, root: Path, name: str) -> None:
    await home.make_directories([name])
    await write(home, f"{name}/{name}", BYTES)
    assert (root / name / name).read_bytes() == BYTES
    assert [entry.path for entry in await home.listing(name)] == [f"{name}/{name}"]
    assert await read(home, f"{name}/{name}") == BYTES
    assert await home.checksum(f"{name}/{name}", "md5") == hashlib.md5(BYTES).hexdigest()
    await home.copy(f"{name}/{name}", f"{name}/2")
    await home.move(f"{name}/2", f"{name}/3")
    await home.truncate(f"{name}/3", 3)
    assert (root / name / "3").read_bytes() == BYTES[:3]
    await home.remove(name, recursive=True)
    assert not (root / name).exists()


@pytest.mark.parametrize("name", ['a"b', "a#b", "a[1].txt", "a\\b", "日本", "a*b", "what?"])
async def test_names_that_operations_cannot_address_are_listed_and_read(
    home: HomeBackend, root: Path, name: str
) -> None:
    (root / name).write_bytes(BYTES)
    (entry,) = await home.listing(".")
    assert (entry.path, entry.size) == (name, 256)
    assert await read(home, name) == BYTES


async def test_reading_what_is_not_there_or_no_file(home: HomeBackend, root: Path) -> None:
    (root / "d").mkdir()
    for path in ("missing", "d/missing"):
        with pytest.raises(FileNotFound):
            await read(home, path)
    with pytest.raises(PathRefused):
        await read(home, "d")


async def test_writing_onto_a_directory(home: HomeBackend, root: Path) -> None:
    (root / "d").mkdir()
    with pytest.raises(PathRefused):
        await write(home, "d", b"x")
    assert [path.name for path in root.rglob("*") if path.is_file()] == []


@pytest.mark.parametrize("size", [0, 2, 4])
async def test_content_of_another_size_is_not_kept(home: HomeBackend, root: Path, size: int) -> None:
    (root / "f").write_text("before")
    with pytest.raises(ValueError, match=f"size={size}"):
        await write(home, "f", b"abc", size=size)
    assert (root / "f").read_text() == "before"
    assert [path.name for path in root.rglob("*") if path.is_file()] == ["f"]


async def test_content_that_fails_leaves_nothing(home: HomeBackend, root: Path) -> None:
    async def broken() -> AsyncGenerator[bytes, None]:
        yield b"abc"
        raise RuntimeError("the source broke")

    with pytest.raises(RuntimeError, match="the source broke"):
        await home.write("f", broken(), 6)
    assert [path.name for path in root.rglob("*") if path.is_file()] == []


async def test_write_range(home: HomeBackend, root: Path) -> None:
    (root / "f").write_bytes(b"0123456789")
    (root / "d").mkdir()
    await home.write_range("f", 3, b"abc")
    assert (root / "f").read_bytes() == b"012abc6789"
    await home.write_range("f", 12, b"xy")
    assert (root / "f").read_bytes() == b"012abc6789\0\0xy"
    with pytest.raises(FileNotFound):
        await home.write_range("missing", 0, b"x")
    with pytest.raises(PathRefused):
        await home.write_range("d", 0, b"x")


async def test_touch_and_truncate(home: HomeBackend, root: Path) -> None:
    await home.touch("f")
    assert (root / "f").read_bytes() == b""
    await home.truncate("f", 3)
    assert (root / "f").read_bytes() == bytes(3)
    await home.touch("f")
    assert (root / "f").read_bytes() == bytes(3)
    (root / "d").mkdir()
    with pytest.raises(FileNotFound):
        await home.truncate("missing", 1)
    with pytest.raises(PathRefused):
        await home.truncate("d", 1)


async def test_copy_and_move(home: HomeBackend, root: Path) -> None:
    (root / "d/e").mkdir(parents=True)
    (root / "d/e/f").write_text("f")
    (root / "other").write_text("other")
    await home.copy("d/e/f", "other")
    await home.copy("d", "twin")
    assert (root / "other").read_text() == "f"
    assert (root / "twin/e/f").read_text() == "f"
    await home.move("twin", "moved")
    await home.move("other", "d/e/f")
    assert sorted(path.relative_to(root).as_posix() for path in root.rglob("*") if ".aiomig" not in path.parts) == [
        "d", "d/e", "d/e/f", "moved", "moved/e", "moved/e/f",
    ]  # fmt: skip


async def test_remove(home: HomeBackend, root: Path) -> None:
    (root / "d/e").mkdir(parents=True)
    (root / "f").write_text("")
    (root / "g").write_text("")
    with pytest.raises(PathRefused):
        await home.remove("d", recursive=False)
    await home.remove("f", recursive=False)
    await home.remove("g", recursive=True)
    await home.remove("d", recursive=True)
    assert list(root.iterdir()) == []
    for recursive in (False, True):
        with pytest.raises(FileNotFound):
            await home.remove("f", recursive=recursive)


async def test_remove_directory(home: HomeBackend, root: Path) -> None:
    (root / "d").mkdir()
    (root / "d/.dot").write_text("")
    (root / "empty").mkdir()
    await home.remove_directory("empty")
    assert not (root / "empty").exists()
    with pytest.raises(FileNotFound):
        await home.remove_directory("empty")
    with pytest.raises(FileExists):
        await home.remove_directory("d")
    with pytest.raises(PathRefused):
        await home.remove_directory("d/.dot")


@pytest.mark.parametrize("algorithm", ["md5", "sha1", "sha256", "sha512", "sha3_256", "blake2b"])
async def test_checksum(home: HomeBackend, root: Path, algorithm: str) -> None:
    (root / "f").write_bytes(BYTES)
    (root / "d").mkdir()
    assert await home.checksum("f", algorithm) == hashlib.new(algorithm, BYTES).hexdigest()
    with pytest.raises(FileNotFound):
        await home.checksum("missing", algorithm)
    with pytest.raises(PathRefused):
        await home.checksum("d", algorithm)


async def test_grep_and_word_count(home: HomeBackend, root: Path) -> None:
    files = Files(home)
    (root / "f").write_bytes("eins zwei\ndrei [x] æ\nvier".encode())
    assert await files.grep(r"^(eins|drei \[)", "f") == ["eins zwei", "drei [x] æ"]
    counted = await files.word_count("f")
    assert (counted.lines, counted.words, counted.bytes) == (2, 6, len((root / "f").read_bytes()))
    for attempt in (files.grep("x", "missing"), files.word_count("missing")):
        with pytest.raises(FileNotFound):
            await attempt


@pytest.mark.parametrize("suffix", [".zip", ".tar", ".tar.gz", ".tgz", ".tar.bz2"])
async def test_pack_and_unpack(home: HomeBackend, root: Path, suffix: str) -> None:
    (root / "top/d").mkdir(parents=True)
    (root / "top/d/f").write_bytes(BYTES)
    (root / "out").mkdir()
    await home.pack("top/d", f"a{suffix}")
    await home.unpack(f"a{suffix}", "out")
    assert (root / "out/d/f").read_bytes() == BYTES
    assert sorted(path.name for path in (root / "top").iterdir()) == ["d"]


async def test_packing_what_is_not_there(home: HomeBackend, root: Path) -> None:
    files = Files(home)
    with pytest.raises(FileNotFound):
        await files.pack("missing", "a.zip")
    with pytest.raises(FileNotFound):
        await files.unpack("a.zip", "out")
    assert not (root / "a.zip").exists()


# -- hostile paths, through the front door


@pytest.mark.parametrize(
    "path", ["../x", "/../x", "a/../../x", ".htaccess", "d/.trash/x", "*", "a?", "a\nb", "", "a\0b"]
)
async def test_paths_that_lead_astray_are_refused_before_anything_is_sent(
    home: HomeBackend, root: Path, grid: FakeGrid, path: str
) -> None:
    (root / "keep").write_text("keep")
    files = Files(home)
    for attempt in (
        files.remove(path, recursive=True),
        files.read_bytes(path),
        files.write_bytes(path, b"x"),
        files.mkdir(path),
        files.move(path, "y"),
        files.move("keep", path),
        files.truncate(path),
    ):
        with pytest.raises(PathRefused):
            await attempt
    assert (root / "keep").read_text() == "keep"
    assert {request.operation for request in grid.requests} <= {"statpath"}  # that of the other path of a move


@pytest.mark.parametrize("name", ['a"b', "a#b", "a|b", "日本", "☃"])
async def test_new_names_that_mig_cannot_carry_are_refused(home: HomeBackend, grid: FakeGrid, name: str) -> None:
    with pytest.raises(PathRefused, match="MiG does not accept the character"):
        await Files(home).write_bytes(name, b"x")
    assert not any(request.operation == "uploadchunked" for request in grid.requests)


# -- of a grid only: downloads


@small_pieces
async def test_a_download_asks_for_each_byte_once(remote: GridHome, grid: FakeGrid, root: Path) -> None:
    (root / "f").write_bytes(BYTES)
    assert await read(remote, "f") == BYTES
    assert grid.count("cert_redirect") == 3


@small_pieces
@pytest.mark.parametrize("kind", ["truncate", "drop", "error", "unavailable", "html"])
async def test_a_download_that_breaks_is_resumed(remote: GridHome, grid: FakeGrid, root: Path, kind: str) -> None:
    (root / "f").write_bytes(BYTES)
    grid.faults.add("cert_redirect", kind, skip=1, times=2, **({"size": 10} if kind == "truncate" else {}))  # type: ignore[arg-type]
    assert await read(remote, "f") == BYTES
    assert grid.count("cert_redirect") == 5


@small_pieces
@pytest.mark.parametrize(
    "content", [b"another", bytes(256), bytes(300), b"", None], ids=["cut", "same", "longer", "empty", "gone"]
)
async def test_a_file_that_changes_while_it_is_read_is_noticed(
    remote: GridHome, root: Path, content: bytes | None
) -> None:
    (root / "f").write_bytes(BYTES)

    async def spoil(home: GridHome) -> None:
        async with aclosing(home.read("f")) as pieces:
            async for _ in pieces:
                (root / "f").unlink(missing_ok=True)
                if content is not None:
                    (root / "f").write_bytes(content)

    with pytest.raises((ServerError, FileNotFound), match=r"changed while it was read; read it again|no such file"):
        await spoil(remote)


class Files206:
    """A server of one file, with responses that a test chooses."""

    def __init__(self, content: bytes, **headers: str) -> None:
        self.content = content
        self.headers = headers
        self.ranges: list[str] = []
        self.conditions: list[str | None] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.ranges.append(request.headers["range"])
        self.conditions.append(request.headers.get("if-range"))
        first, last = (int(part) for part in request.headers["range"].removeprefix("bytes=").split("-"))
        part = self.content[first : last + 1]
        if not part:
            return httpx.Response(416)
        told = f"bytes {first}-{first + len(part) - 1}/{len(self.content)}"
        return httpx.Response(206, content=part, headers={"ETag": '"1"', "Content-Range": told, **self.headers})


async def test_a_weak_tag_is_not_sent_back_and_may_become_a_strong_one() -> None:
    def handler(request: httpx.Request) -> httpx.Response:
        server.headers = {"ETag": '"1"' if server.ranges else 'W/"1"'}
        return server(request)

    server = Files206(BYTES)
    client, home = await home_of(httpx.MockTransport(handler))
    assert await read(home, "f") == BYTES
    assert server.conditions == [None, None, '"1"']
    await client.close()


async def test_without_tags_a_change_is_seen_by_the_time_of_it() -> None:
    def handler(request: httpx.Request) -> httpx.Response:
        server.headers = {"ETag": "", "Last-Modified": f"Mon, 23 Nov 2026 05:06:2{len(server.ranges)} GMT"}
        return server(request)

    server = Files206(BYTES)
    client, home = await home_of(httpx.MockTransport(handler))
    with pytest.raises(ServerError, match="changed while it was read"):
        await read(home, "f")
    assert server.conditions == [None, None]
    await client.close()


@pytest.mark.parametrize("told", ["bytes 1-99/256", "", "nonsense"])
async def test_a_part_that_was_not_asked_for_is_not_taken(told: str) -> None:
    client, home = await home_of(httpx.MockTransport(Files206(BYTES, **{"Content-Range": told})))
    with pytest.raises(ProtocolError, match="bytes 0-99 were requested"):
        await read(home, "f")
    await client.close()


@pytest.mark.parametrize(("start", "end"), [(0, None), (0, 10), (30, 40), (30, None), (500, None)])
async def test_a_server_that_gives_whole_files_only(start: int, end: int | None) -> None:
    answer = httpx.MockTransport(lambda request: httpx.Response(200, content=BYTES, headers={"ETag": '"1"'}))
    client, home = await home_of(answer)
    assert await read(home, "f", start, end) == BYTES[start:end]
    await client.close()


async def test_a_server_that_does_not_say_how_long_a_file_is() -> None:
    def handler(request: httpx.Request) -> httpx.Response:
        reply = server(request)
        if "Content-Range" in reply.headers:
            reply.headers["Content-Range"] = reply.headers["Content-Range"].rpartition("/")[0] + "/*"
        return reply

    for size in (0, 50, 100, 256):
        server = Files206(BYTES[:size])
        client, home = await home_of(httpx.MockTransport(handler))
        assert await read(home, "f") == BYTES[:size]
        await client.close()


# -- of a grid only: uploads


@small_pieces
async def test_an_upload_goes_in_chunks_under_a_name_of_its_own(remote: GridHome, grid: FakeGrid) -> None:
    async with anyio.create_task_group() as group:
        for number in range(5):
            group.start_soon(write, remote, f"f{number}", bytes([number]) * 256)
    assert [(grid.home / f"f{number}").read_bytes() for number in range(5)] == [
        bytes([number]) * 256 for number in range(5)
    ]
    chunks = [request for request in grid.requests if request.operation == "uploadchunked"]
    assert len(chunks) == 15
    assert len({request.parameters["files[]"] for request in chunks}) == 5
    assert grid.count("mv") == 5
    assert list((grid.home / ".upload-cache").iterdir()) == []


@small_pieces
@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("kind", ["drop", "error", "unavailable", "crash", "html", "csrf"])
async def test_a_chunk_that_fails_is_sent_again(remote: GridHome, grid: FakeGrid, kind: str, when: str) -> None:
    grid.faults.add("uploadchunked", kind, skip=1, when=when)  # type: ignore[arg-type]
    await write(remote, "f", BYTES)
    assert (grid.home / "f").read_bytes() == BYTES
    assert grid.count("uploadchunked") == 4


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("kind", ["drop", "error", "unavailable", "crash", "html"])
async def test_putting_an_upload_in_place_survives_a_lost_answer(
    remote: GridHome, grid: FakeGrid, kind: str, when: str
) -> None:
    (grid.home / "f").write_text("before")
    grid.faults.add("mv", kind, when=when)  # type: ignore[arg-type]
    await write(remote, "f", BYTES)
    assert (grid.home / "f").read_bytes() == BYTES
    assert grid.count("mv") == 2


@small_pieces
@pytest.mark.parametrize("operation", ["uploadchunked", "mv"])
async def test_an_upload_that_fails_for_good_leaves_nothing(remote: GridHome, grid: FakeGrid, operation: str) -> None:
    (grid.home / "f").write_text("before")
    grid.faults.add(operation, "drop", skip=int(operation == "uploadchunked"), times=None)
    with pytest.raises(ConnectionFailed):
        await write(remote, "f", BYTES)
    assert (grid.home / "f").read_text() == "before"
    assert list((grid.home / ".upload-cache").iterdir()) == []


@small_pieces
@pytest.mark.parametrize("chunks", [0, 1, 2])
async def test_a_cancelled_upload_leaves_nothing(remote: GridHome, grid: FakeGrid, chunks: int) -> None:
    (grid.home / "f").write_text("before")
    grid.faults.add("uploadchunked", "slow", skip=chunks, seconds=100)
    with anyio.move_on_after(1) as scope:
        await write(remote, "f", BYTES)
    assert scope.cancelled_caught
    assert (grid.home / "f").read_text() == "before"
    assert list((grid.home / ".upload-cache").iterdir()) == []


@pytest.mark.parametrize(
    ("part", "words"),
    [
        ({"name": ".upload-cache/x", "size": 2}, "the server has 2 bytes, 3 were sent"),
        ({"name": ".upload-cache/x"}, "the server has None bytes, 3 were sent"),
        ({"name": ".upload-cache/x", "error": "disk &amp; quota full"}, "disk & quota full"),
        (None, "the server has None bytes"),
    ],
)
async def test_what_a_server_says_of_a_chunk_is_believed(part: dict[str, object] | None, words: str) -> None:
    def handler(request: httpx.Request) -> httpx.Response:
        asked.append(request.url.path)
        if request.url.path.endswith("jobman.py"):
            return httpx.Response(
                200, json=[{"object_type": "title", "script": {"x": f'csrf_map["mv"] = "{"0" * 64}"'}}]
            )
        files = [{"object_type": "uploadfile", **part}] if part is not None else []
        return httpx.Response(200, content=json.dumps([{"object_type": "uploadfiles", "files": files}]))

    asked: list[str] = []
    client, home = await home_of(httpx.MockTransport(handler))
    with pytest.raises(ServerError, match=words):
        await write(home, "aiomig_jobs/f", b"abc")
    assert not any(path.endswith("/mv.py") for path in asked)
    assert asked[-1].endswith("/rm.py")
    await client.close()


async def test_two_uploads_of_one_file_at_once_give_one_of_the_two(remote: GridHome, grid: FakeGrid) -> None:
    contents = [bytes([number]) * 1000 for number in range(8)]
    async with anyio.create_task_group() as group:
        for content in contents:
            group.start_soon(write, remote, "same", content)
    assert (grid.home / "same").read_bytes() in contents
