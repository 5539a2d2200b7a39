"""Many small files travel to and from a grid as one archive, and otherwise one by one."""

from __future__ import annotations

import os
import tarfile
from collections import Counter
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

import aiomig
from aiomig.testing import FakeGrid
from tests.cancel_points import cancelled_at, task_cancelled_at

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

cancelled_twice_at = partial(task_cancelled_at, times=2)


@pytest.fixture
async def grid() -> AsyncIterator[FakeGrid]:
    async with FakeGrid() as server:
        yield server


def session(grid: FakeGrid, **limits: Any) -> aiomig.Session:
    return aiomig.grid(
        url="https://grid.example.org",
        certificate="none.pem",
        key="none.pem",
        transport=grid.transport(),
        retry=aiomig.Retry(first=0.001, longest=0.01),
        request_limits=aiomig.RequestLimits(**limits),
    )


def tree(top: Path, count: int = 30) -> Path:
    """Make a directory of small files in three directories, an empty one, and one with odd names."""
    folder = top / "many"
    for number in range(count):
        path = folder / f"d{number % 3}" / f"f{number}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"%d\r\n" % number * number)
    (folder / "nothing").mkdir()
    (folder / "blå bær's").mkdir()
    (folder / "blå bær's" / "æ (1) & ~x.txt").write_bytes(bytes(range(256)))
    (folder / "blå bær's" / ("long name " * 18)).write_bytes(b"")
    (folder / ".hidden").write_bytes(b"h")
    return folder


def content(folder: Path) -> dict[str, bytes | None]:
    return {str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None for path in folder.rglob("*")}


def cached(grid: FakeGrid) -> list[str]:
    cache = grid.home / ".upload-cache"
    return os.listdir(cache) if cache.exists() else []


def asked(grid: FakeGrid) -> Counter[str]:
    return Counter(request.operation for request in grid.requests)


async def test_hundreds_of_files_take_a_dozen_requests(grid: FakeGrid, tmp_path: Path) -> None:
    folder = tree(tmp_path, 300)
    async with session(grid) as mig:
        grid.requests.clear()
        names = await mig.files.put(folder, "data/new")
        assert len(names) == 303
        assert len(grid.requests) <= 12
        assert content(grid.home / "data/new") == content(folder)
        grid.requests.clear()
        await mig.files.get("data/new", tmp_path / "back")
        assert len(grid.requests) <= 12
        assert content(tmp_path / "back") == content(folder)
    assert cached(grid) == []


async def test_files_go_into_directories_that_are_there(grid: FakeGrid, tmp_path: Path) -> None:
    folder = tree(tmp_path)
    other = grid.home / "other"
    other.write_bytes(b"untouched")
    (grid.home / "many/d1").mkdir(parents=True)
    (grid.home / "many/d1/old").write_bytes(b"kept")
    (grid.home / "many/d1/f1.txt").write_bytes(b"replaced")
    (grid.home / "many/d1/f4.txt").symlink_to(other)
    async with session(grid) as mig:
        await mig.files.put(folder, ".")
    assert asked(grid)["uploadchunked"] == 1
    assert other.read_bytes() == b"untouched"
    assert content(grid.home / "many") == {**content(folder), "d1/old": b"kept"}
    assert not (grid.home / "many/d1/f4.txt").is_symlink()


async def test_a_directory_in_the_place_of_a_file_is_refused(grid: FakeGrid, tmp_path: Path) -> None:
    (grid.home / "many/d1/f1.txt").mkdir(parents=True)
    async with session(grid) as mig:
        with pytest.raises(aiomig.PathRefused, match=r"f1\.txt"):
            await mig.files.put(tree(tmp_path), ".")
    assert cached(grid) == []


async def test_a_file_in_the_place_of_a_directory_is_refused(grid: FakeGrid, tmp_path: Path) -> None:
    (grid.home / "many").mkdir()
    (grid.home / "many/d1").write_bytes(b"")
    async with session(grid) as mig:
        with pytest.raises(aiomig.FileExists, match="d1"):
            await mig.files.put(tree(tmp_path), ".")
    assert asked(grid)["uploadchunked"] == 0


async def test_large_files_go_by_themselves_and_archives_are_bounded(grid: FakeGrid, tmp_path: Path) -> None:
    folder = tree(tmp_path, 60)
    (folder / "large").write_bytes(bytes(10_000))
    async with session(grid, archived_file=5_000, archive_bytes=3_000, upload_chunk=3_000, download_piece=3_000) as mig:
        await mig.files.put(folder, "there")
        assert content(grid.home / "there") == content(folder)
        assert asked(grid)["unpack"] > 1
        await mig.files.get("there", tmp_path / "back")
    assert asked(grid)["pack"] > 1  # a directory each
    assert content(tmp_path / "back") == content(folder)
    assert max(request.size for request in grid.requests) < 5_000


@pytest.mark.parametrize("kind", ["error", "html", "crash"])
async def test_without_unpacking_files_go_one_by_one(grid: FakeGrid, tmp_path: Path, kind: Any) -> None:
    folder = tree(tmp_path)
    seen: list[tuple[int, int]] = []
    async with session(grid) as mig:
        grid.faults.add("unpack", kind, times=None)
        for place in ("one", "two"):
            await mig.files.put(folder, place, progress=lambda done, total: seen.append((done, total)))
            assert content(grid.home / place) == content(folder)
        assert seen[-1][0] == seen[-1][1]
        assert asked(grid)["unpack"] <= 20
        assert cached(grid) == []


async def test_files_of_a_pattern_are_copied_together_first(grid: FakeGrid, tmp_path: Path) -> None:
    folder = grid.home / "data"
    folder.mkdir()
    for number in range(40):
        (folder / f"å {number}.csv").write_bytes(b"%d" % number)
    (folder / "large.csv").write_bytes(bytes(9_000))
    (folder / "odd[1].csv").write_bytes(b"odd")
    (folder / "other").write_bytes(b"")
    expected = content(folder)
    del expected["other"]
    async with session(grid, archived_file=8_000) as mig:
        grid.requests.clear()
        paths = await mig.files.get("data/*.csv", tmp_path / "back")
        assert len(paths) == 42
        assert asked(grid)["cert_redirect"] == 3
        assert len(grid.requests) <= 12
    assert content(tmp_path / "back") == expected
    assert cached(grid) == []


@pytest.mark.parametrize("kind", ["error", "html", "crash"])
async def test_without_packing_files_are_fetched_one_by_one(grid: FakeGrid, tmp_path: Path, kind: Any) -> None:
    folder = tree(grid.home)
    seen: list[tuple[int, int]] = []
    async with session(grid) as mig:
        grid.faults.add("pack", kind, times=None)
        await mig.files.get("many", tmp_path / "back", progress=lambda done, total: seen.append((done, total)))
    assert content(tmp_path / "back") == content(folder)
    assert seen[-1][0] == seen[-1][1]
    assert cached(grid) == []


@pytest.mark.parametrize("place", ["new", "."])
@pytest.mark.parametrize("kind", ["error", "crash", "drop"])
@pytest.mark.parametrize("when", ["before", "after"])
async def test_a_move_that_fails_or_whose_answer_is_lost(
    grid: FakeGrid, tmp_path: Path, place: str, kind: Any, when: Any
) -> None:
    folder = tree(tmp_path)
    (grid.home / "many/d1").mkdir(parents=True)
    (grid.home / "many/d1/f1.txt").write_bytes(b"replaced")
    async with session(grid) as mig:
        grid.faults.add("mv", kind, when=when, times=2)
        await mig.files.put(folder, place)
    assert content(grid.home / ("many" if place == "." else place)) == content(folder)
    assert cached(grid) == []


async def test_files_that_did_not_arrive_whole_go_again(
    grid: FakeGrid, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = tarfile.TarFile.extractfile

    def cut(tar: tarfile.TarFile, member: Any) -> Any:
        stream = whole(tar, member)
        if stream is not None and member.name.endswith("f7.txt"):
            stream.read(1)
        return stream

    folder = tree(tmp_path)
    async with session(grid) as mig:
        monkeypatch.setattr(tarfile.TarFile, "extractfile", cut)
        await mig.files.put(folder, "there")
    assert asked(grid)["unpack"] == 1
    assert content(grid.home / "there") == content(folder)
    assert cached(grid) == []


async def test_links_and_files_that_are_not_in_the_archive_are_fetched(grid: FakeGrid, tmp_path: Path) -> None:
    folder = tree(grid.home)
    (folder / "link").symlink_to("d1/f1.txt")
    (folder / "d2" / "again").hardlink_to(folder / "d2/f2.txt")
    expected = content(folder)
    async with session(grid) as mig:
        await mig.files.get("many", tmp_path / "back")
    assert asked(grid)["pack"] == 1
    assert asked(grid)["cert_redirect"] == 3
    assert content(tmp_path / "back") == expected
    assert not (tmp_path / "back/link").is_symlink()


async def test_an_archive_with_other_members_writes_nothing_else(
    grid: FakeGrid, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tree(grid.home)
    add = tarfile.TarFile.add

    def evil(tar: tarfile.TarFile, name: str, arcname: str, **options: Any) -> None:
        for other in (f"../{arcname}", f"/tmp/{arcname}", f"{arcname}/../../../evil", f"{arcname}.evil"):
            if os.path.isfile(name):
                add(tar, name, other, **options)
        add(tar, name, arcname, **options)

    async with session(grid) as mig:
        monkeypatch.setattr(tarfile.TarFile, "add", evil)
        await mig.files.get("many", tmp_path / "back")
    assert asked(grid)["cert_redirect"] == 1
    assert content(tmp_path / "back") == content(folder)
    assert os.listdir(tmp_path) == ["back"]


async def test_a_damaged_archive_is_no_loss(grid: FakeGrid, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tree(grid.home)
    tobuf = tarfile.TarInfo.tobuf
    async with session(grid) as mig:
        monkeypatch.setattr(tarfile.TarInfo, "tobuf", lambda info, *a, **k: tobuf(info, *a, **k)[:-100] + b"?" * 100)
        seen: list[tuple[int, int]] = []
        await mig.files.get("many", tmp_path / "back", progress=lambda done, total: seen.append((done, total)))
    assert content(tmp_path / "back") == content(folder)
    assert seen[-1][0] == seen[-1][1]


async def test_what_a_killed_program_left_is_removed_a_day_later(grid: FakeGrid, tmp_path: Path) -> None:
    cache = grid.home / ".upload-cache"
    for name, age in (("aiomig-old.tar", 90_000), ("aiomig-young.tar", 80_000), ("other.tar", 90_000)):
        (cache / name).parent.mkdir(exist_ok=True)
        (cache / name).write_bytes(b"")
        now = (cache / name).stat().st_mtime
        os.utime(cache / name, (now - age, now - age))
    async with session(grid) as mig:
        await mig.files.put(tree(tmp_path), "there")
    assert sorted(cached(grid)) == ["aiomig-young.tar", "other.tar"]


@pytest.mark.parametrize(
    "cancel", [cancelled_at, task_cancelled_at, cancelled_twice_at], ids=["scope", "task", "twice"]
)
@pytest.mark.parametrize("way", ["put", "get"])
async def test_cancelled_anywhere_it_leaves_nothing_and_no_part_of_a_file(
    grid: FakeGrid, tmp_path: Path, cancel: Any, way: str
) -> None:
    folder = tree(tmp_path, 6)
    expected = content(folder)
    async with session(grid, archive_from=4, upload_chunk=4096) as mig:
        await mig.files.put(folder, "source")
        number, reached = 0, True
        while reached:
            place = f"there{number}"
            act = (
                (lambda place=place: mig.files.put(folder, place))
                if way == "put"
                else (lambda place=place: mig.files.get("source", tmp_path / place))
            )
            reached, result = await cancel(number, act)
            assert cached(grid) == []
            found = content((grid.home if way == "put" else tmp_path) / place)
            assert found.items() <= expected.items()
            assert result is None or found == expected
            number += 3
    assert number > 10


async def test_a_job_with_many_inputs_and_outputs(grid: FakeGrid, tmp_path: Path) -> None:
    folder = tree(tmp_path, 100)
    names = [f"out {number}.txt" for number in range(100)]
    async with session(grid) as mig:
        grid.requests.clear()
        job = await mig.submit(
            'find many -type f | wc -l; for n in $(seq 0 99); do echo $n > "out $n.txt"; done',
            inputs=[folder],
            outputs=names,
        )
        assert len(grid.requests) <= 12
        assert (await job).stdout.strip() == "103"
        grid.requests.clear()
        paths = await job.fetch(tmp_path / "got")
        assert len(grid.requests) <= 12
        assert [path.read_text() for path in paths] == [f"{number}\n" for number in range(100)]
        shared = await mig.submit_many(
            [aiomig.JobSpec("true", inputs=[folder]), aiomig.JobSpec("echo", inputs=[folder])]
        )
        assert asked(grid)["uploadchunked"] == 1
        await mig.cancel(shared)
    assert cached(grid) == []
