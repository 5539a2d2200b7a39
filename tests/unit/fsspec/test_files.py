"""The file systems ``mig`` and ``mig+local`` by themselves, and under pandas, xarray, dask and zarr."""

from __future__ import annotations

import io
import os
import pickle
from typing import TYPE_CHECKING, Any

import fsspec
import pytest
from fsspec import AbstractFileSystem

import aiomig

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from aiomig.testing import FakeGrid

DATA = bytes(range(256)) * 20


@pytest.fixture
def fs(system: AbstractFileSystem) -> AbstractFileSystem:
    if system.exists("t"):
        system.rm("t", recursive=True)
    return system


def options(fs: AbstractFileSystem) -> dict[str, Any]:
    """Return the storage options that lead to the same home."""
    return dict(fs.storage_options)


def url(fs: AbstractFileSystem, path: str) -> str:
    return f"{fs.protocol}://{path}"


def test_listing(fs: AbstractFileSystem) -> None:
    for name in ("t/a.txt", "t/b/c.csv", "t/b/.d", "t/b/e/f.csv"):
        fs.pipe(name, name.encode())
    assert fs.ls("t", detail=False) == ["t/a.txt", "t/b"]
    assert fs.ls(url(fs, "/t/"), detail=False) == ["t/a.txt", "t/b"]
    assert fs.ls("t/a.txt", detail=False) == ["t/a.txt"]
    assert [info["type"] for info in fs.ls("t")] == ["file", "directory"]
    assert fs.find("t") == ["t/a.txt", "t/b/.d", "t/b/c.csv", "t/b/e/f.csv"]
    assert fs.find("t", maxdepth=1) == ["t/a.txt"]
    assert list(fs.find("t/b", withdirs=True, detail=True)) == ["t/b", "t/b/.d", "t/b/c.csv", "t/b/e", "t/b/e/f.csv"]
    assert fs.find("t/a.txt") == ["t/a.txt"]
    assert fs.find("t/nothing") == []
    assert fs.glob("t/**/*.csv") == ["t/b/c.csv", "t/b/e/f.csv"]
    assert fs.glob("t/?.txt") == ["t/a.txt"]
    assert fs.info("t/a.txt")["size"] == 7
    assert fs.info("")["type"] == "directory"
    assert fs.modified("t/a.txt").tzinfo is not None
    assert fs.du("t") == 7 + 9 + 6 + 11
    assert [path for path, _, _ in fs.walk("t")] == ["t", "t/b", "t/b/e"]
    assert [fs.exists("t/b"), fs.isdir("t/b"), fs.isfile("t/b"), fs.exists("t/*")] == [True, True, False, False]


def test_one_request_lists_a_whole_tree(grid: FakeGrid, config_file: Path) -> None:
    fs = fsspec.filesystem("mig", config=config_file)
    fs.pipe({f"tree/d{number}/f": b"" for number in range(5)})
    grid.requests.clear()
    assert len(fs.find("tree")) == 5
    assert len(grid.requests) == 1
    fs.close()


def test_reading(fs: AbstractFileSystem) -> None:
    fs.pipe("t/data", DATA)
    assert fs.cat("t/data") == DATA
    assert fs.cat_file("t/data", 10, 20) == DATA[10:20]
    assert fs.cat_file("t/data", start=-10) == DATA[-10:]
    assert fs.cat_file("t/data", -10, -5) == DATA[-10:-5]
    assert fs.cat_file("t/data", 20, 10) == b""
    assert fs.cat_ranges(["t/data"] * 2, [0, 5], [2, 9]) == [DATA[:2], DATA[5:9]]
    assert fs.head("t/data", 4) == DATA[:4]
    assert fs.tail("t/data", 4) == DATA[-4:]
    with fs.open("t/data", block_size=1000) as file:
        assert file.read(10) == DATA[:10]
        file.seek(-5, os.SEEK_END)
        assert file.read() == DATA[-5:]
        file.seek(4000)
        assert file.read(300) == DATA[4000:4300]


def test_an_open_file_keeps_what_it_has_read(grid: FakeGrid, config_file: Path) -> None:
    fs = fsspec.filesystem("mig", config=config_file)
    fs.pipe("data", DATA)
    with fs.open("data") as file:
        grid.requests.clear()
        for position in range(0, 1000, 100):
            file.seek(position)
            file.read(100)
    assert grid.count("cert_redirect") == 1
    fs.close()


def test_writing(fs: AbstractFileSystem) -> None:
    with fs.open("t/new/file", "wb", block_size=1000) as file:
        for start in range(0, len(DATA), 700):
            file.write(DATA[start : start + 700])
        assert not fs.exists("t/new/file")
    assert fs.cat("t/new/file") == DATA
    with fs.open("t/new/file", "ab") as file:
        file.write(b"more")
    assert fs.cat("t/new/file") == DATA + b"more"
    with fs.open("t/text", "w", encoding="latin-1", newline="\r\n") as text:
        text.write("blåbær\n")
    assert fs.cat("t/text") == "blåbær\r\n".encode("latin-1")
    with fs.open("t/empty", "wb"):
        pass
    assert fs.cat("t/empty") == b""
    with fs.open("t/zipped.gz", "wb", compression="infer") as file:
        file.write(DATA)
    with fs.open("t/zipped.gz", "rb", compression="infer") as file:
        assert file.read() == DATA


def test_an_error_leaves_the_old_file(fs: AbstractFileSystem) -> None:
    fs.pipe("t/file", b"old")
    with pytest.raises(ZeroDivisionError), fs.open("t/file", "wb") as file:
        file.write(b"half")
        raise ZeroDivisionError
    assert fs.cat("t/file") == b"old"


def test_a_transaction_writes_all_or_nothing(fs: AbstractFileSystem) -> None:
    with fs.transaction:
        with fs.open("t/one", "wb") as file:
            file.write(b"1")
        assert not fs.exists("t/one")
    assert fs.cat("t/one") == b"1"
    with pytest.raises(ZeroDivisionError), fs.transaction:
        fs.open("t/two", "wb").close()
        raise ZeroDivisionError
    assert not fs.exists("t/two")


def test_put_and_get(fs: AbstractFileSystem, tmp_path: Path) -> None:
    (tmp_path / "tree/d").mkdir(parents=True)
    (tmp_path / "tree/d/f").write_bytes(DATA)
    seen: list[int] = []
    fs.put(f"{tmp_path}/tree", "t/tree", recursive=True)
    fs.put_file(f"{tmp_path}/tree/d/f", "t/g", callback=Seen(seen))
    assert seen[-1] == len(DATA)
    fs.get("t/tree", f"{tmp_path}/back", recursive=True)
    assert (tmp_path / "back/d/f").read_bytes() == DATA
    buffer = io.BytesIO()
    fs.get_file("t/g", buffer)
    assert buffer.getvalue() == DATA


def test_a_directory_of_many_files_goes_as_one_archive(grid: FakeGrid, config_file: Path, tmp_path: Path) -> None:
    (tmp_path / "many").mkdir()
    for number in range(40):
        (tmp_path / "many" / f"{number}").write_bytes(b"%d" % number)
    fs = fsspec.filesystem("mig", config=config_file)
    grid.requests.clear()
    fs.put(f"{tmp_path}/many", "there", recursive=True)
    assert len(grid.requests) <= 12
    fs.put(f"{tmp_path}/many/", "there/", recursive=True)
    grid.requests.clear()
    fs.get("there", f"{tmp_path}/back", recursive=True)
    assert len(grid.requests) <= 12
    fs.get("there/", f"{tmp_path}/back", recursive=True)
    assert sorted(os.listdir(tmp_path / "back")) == sorted(map(str, range(40)))
    assert (tmp_path / "back/17").read_bytes() == b"17"
    fs.close()


class Seen(fsspec.callbacks.Callback):  # type: ignore[misc]
    def __init__(self, seen: list[int]) -> None:
        super().__init__()
        self._seen = seen

    def call(self, *_: Any, **__: Any) -> None:
        self._seen.append(self.value)


def test_names(fs: AbstractFileSystem) -> None:
    fs.mkdir("t/a/b")
    with pytest.raises(FileExistsError):
        fs.mkdir("t/a/b")
    with pytest.raises(FileNotFoundError):
        fs.mkdir("t/x/y", create_parents=False)
    fs.makedirs("t/a/b", exist_ok=True)
    fs.touch("t/a/f")
    fs.pipe("t/a/f", b"12")
    fs.touch("t/a/f", truncate=False)
    fs.cp("t/a/f", "t/g")
    fs.mv("t/g", "t/h")
    fs.mv("t/a", "t/c")
    assert fs.find("t", withdirs=True) == ["t", "t/c", "t/c/b", "t/c/f", "t/h"]
    assert fs.cat("t/h") == b"12"
    fs.cp("t/c", "t/e", recursive=True)
    fs.mv("t/e/*", "t/moved/")
    assert fs.find("t/moved", withdirs=True) == ["t/moved", "t/moved/b", "t/moved/f"]
    fs.rmdir("t/c/b")
    with pytest.raises(OSError, match="not empty"):
        fs.rmdir("t/c")
    fs.rm("t/h")
    fs.rm("t/*", recursive=True)
    assert fs.ls("t") == []


def test_errors_are_those_of_the_operating_system(fs: AbstractFileSystem) -> None:
    fs.pipe("t/d/f", b"x")
    absent: list[Callable[[str], object]] = [fs.cat, fs.ls, fs.open, fs.info]
    for call in absent:
        with pytest.raises(FileNotFoundError) as caught:
            call("t/no")
        assert isinstance(caught.value.__cause__, aiomig.FileNotFound)
        assert caught.value.filename == "t/no"
    for call in (fs.cat, fs.open, fs.rm, fs.rm_file):
        with pytest.raises(IsADirectoryError):
            call("t/d")
    with pytest.raises(PermissionError) as refused:
        fs.pipe("../outside", b"")
    assert isinstance(refused.value.__cause__, aiomig.PathRefused)
    with pytest.raises(PermissionError):
        fs.pipe("t/a[1].txt", b"")
    with pytest.raises(PermissionError):
        fs.rm("", recursive=True)


def test_an_account_has_one_session(grid: FakeGrid, config_file: Path) -> None:
    one = fsspec.filesystem("mig", config=str(config_file))
    two = fsspec.filesystem("mig", config=config_file)
    assert one is not two
    grid.requests.clear()
    one.pipe("shared", b"")
    needed = len(grid.requests)
    grid.requests.clear()
    two.pipe("shared", b"")
    assert len(grid.requests) < needed  # it is open
    one.close()
    assert two.cat("shared") == b""  # and opened again
    two.close()


def test_a_file_system_can_be_pickled(fs: AbstractFileSystem) -> None:
    fs.pipe("t/f", b"x")
    assert pickle.loads(pickle.dumps(fs)).cat("t/f") == b"x"


def test_pandas(fs: AbstractFileSystem) -> None:
    pandas = pytest.importorskip("pandas")
    table = pandas.DataFrame({"x": [1, 2, 3], "y": ["a", "b", "æ"]})
    place = url(fs, "t/results/out.csv")
    table.to_csv(place, index=False, storage_options=options(fs))
    pandas.testing.assert_frame_equal(pandas.read_csv(place, storage_options=options(fs)), table)
    assert fs.cat("t/results/out.csv").startswith(b"x,y\n1,a\n")


def test_xarray(fs: AbstractFileSystem) -> None:
    xarray = pytest.importorskip("xarray")
    pytest.importorskip("h5netcdf")
    data = xarray.Dataset({"t": (("x", "y"), [[1.0, 2.0], [3.0, 4.0]])}, coords={"x": [10, 20]})
    with fs.open("t/data.nc", "wb") as file:
        file.write(bytes(data.to_netcdf(engine="h5netcdf")))
    with fs.open("t/data.nc") as file, xarray.open_dataset(file, engine="h5netcdf") as read:
        xarray.testing.assert_identical(read.load(), data)


def test_xarray_with_zarr(fs: AbstractFileSystem, monkeypatch: pytest.MonkeyPatch) -> None:
    xarray = pytest.importorskip("xarray")
    pytest.importorskip("zarr")
    if fs.protocol == "mig+local":
        monkeypatch.setenv("AIOMIG_MODE", "local")
    data = xarray.Dataset({"t": ("x", [1.0, 2.0])})
    place = "mig://t/data.zarr"  # zarr takes no + in a protocol
    data.to_zarr(place, storage_options=options(fs), consolidated=False)
    read = xarray.open_zarr(place, storage_options=options(fs), consolidated=False)
    xarray.testing.assert_identical(read.load(), data)


def test_dask(fs: AbstractFileSystem) -> None:
    pandas = pytest.importorskip("pandas")
    dask = pytest.importorskip("dask.dataframe")
    for number in range(3):
        table = pandas.DataFrame({"x": [number]})
        table.to_csv(url(fs, f"t/part-{number}.csv"), index=False, storage_options=options(fs))
    read = dask.read_csv(url(fs, "t/part-*.csv"), storage_options=options(fs))
    assert sorted(read.x.compute()) == [0, 1, 2]
