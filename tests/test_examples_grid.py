"""Each example also runs on a grid: a `FakeGrid` over TLS, with a ``miguser.conf``."""

from __future__ import annotations

import os
import re
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import anyio
import pytest

from aiomig.testing import ServerProcess

if TYPE_CHECKING:
    import subprocess
    from collections.abc import AsyncIterator

pytest.importorskip("trustme")

ROOT = Path(__file__).parents[1]
LONGEST = 300.0


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    """These tests wait only for the server and for programs, so one event loop is enough."""
    return "asyncio"


@dataclass(frozen=True)
class Grid:
    """A server that runs jobs, and the configuration of its user."""

    server: ServerProcess
    config: Path
    home: Path

    async def run(self, name: str, *arguments: str) -> subprocess.CompletedProcess[bytes]:
        """Run an example as a user does. A warning is an error."""
        command = [sys.executable, "-W", "error", str(ROOT / "examples" / f"{name}.py"), "--grid", str(self.config)]
        environment = {key: value for key, value in os.environ.items() if not key.startswith("AIOMIG_")}
        with anyio.fail_after(LONGEST):
            return await anyio.run_process(
                [*command, *arguments], env={**environment, "PYTHONPATH": str(ROOT)}, check=False
            )

    async def output(self, name: str, *arguments: str) -> str:
        """Run an example that must succeed, without standard error. Return its standard output."""
        done = await self.run(name, *arguments)
        assert (done.returncode, done.stderr) == (0, b""), done.stderr.decode()
        return done.stdout.decode()

    def left_behind(self) -> list[str]:
        """Return the names of the private folders of jobs in the home."""
        return sorted(path.name for path in (self.home / "aiomig_jobs").glob("*"))


def write_config(folder: Path, server: ServerProcess) -> Path:
    """Write the ``miguser.conf`` of the user (docs/protocol.md#miguserconf). Return its path."""
    config = folder / "miguser.conf"
    lines = {
        "migserver": server.url,
        "certfile": server.certificate,
        "keyfile": server.key,
        "cacertfile": server.ca,
        "connect_timeout": 20,
        "max_time": 60,
    }
    config.write_text("".join(f"{key} {value}\n" for key, value in lines.items()))
    config.chmod(0o600)
    return config


@pytest.fixture(scope="module")
async def grid(tmp_path_factory: pytest.TempPathFactory, anyio_backend: str) -> AsyncIterator[Grid]:
    folder = tmp_path_factory.mktemp("grid")
    async with ServerProcess(folder / "home") as server:
        yield Grid(server, write_config(folder, server), folder / "home")


async def test_hello_grid(grid: Grid) -> None:
    *statuses, hello = (await grid.output("hello_grid")).splitlines()
    time = r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\S*\+00:00"
    assert all(re.fullmatch(rf"PARSE None|(QUEUED|EXECUTING|FINISHED) {time}", line) for line in statuses)
    assert statuses[-1].startswith("FINISHED ")
    assert len(set(statuses)) == len(statuses)
    assert hello == "HELLO GRID"


async def test_executable_with_output(grid: Grid) -> None:
    before = grid.left_behind()
    system, *counts = (await grid.output("executable_with_output")).splitlines()
    assert system == f"counted on {os.uname().sysname}"
    assert [count.split() for count in counts[:2]] == [["4", "the"], ["2", "computer"]]
    assert len(counts) == 8
    assert grid.left_behind() == before


async def test_parameter_sweep(grid: Grid) -> None:
    before = grid.left_behind()
    *results, summary = (await grid.output("parameter_sweep", "--jobs", "5")).splitlines()
    assert sorted(results) == [
        "seed  0: 3.14800",
        "seed  1: 3.13820",
        "seed  2: 3.13940",
        "seed  3: 3.13800",
        "seed  4: 3.14520",
    ]
    assert summary == "pi is about 3.142, by 5 jobs"
    assert grid.left_behind() == before


async def test_pipeline(grid: Grid) -> None:
    *names, _, summary = (await grid.output("pipeline", "--fits", "3")).splitlines()
    assert sorted(names) == ["fit-0", "fit-1", "fit-2", "preprocess"]
    assert summary == "5 jobs, 5 successful"
    counts = await grid.server.counts()
    *again, _, summary = (await grid.output("pipeline", "--fits", "3")).splitlines()
    assert (sorted(again), summary) == (sorted(names), "5 jobs, 5 successful")
    now = await grid.server.counts()
    assert all(now[operation] == counts[operation] for operation in ("submitfields", "textarea", "uploadchunked"))


async def test_reference_matching(grid: Grid) -> None:
    found = await grid.output("reference_matching")
    assert found == "6 jobs compared 240 references to 60 works\n"
    assert not (grid.home / "reference_matching").exists()


async def test_master_and_workers(grid: Grid) -> None:
    before = grid.left_behind()
    *answers, summary = (await grid.output("master_and_workers", "--tasks", "3")).splitlines()
    assert answers == [f"{number} squared is {number * number}" for number in range(3)]
    assert summary == "3 of 3 numbers by 2 workers"
    assert grid.left_behind() == before


async def test_web_service(grid: Grid, tmp_path: Path) -> None:
    shutil.copy(grid.config, tmp_path / "ada.conf")
    shown = await Grid(grid.server, tmp_path, grid.home).output("web_service/service")
    assert shown == "picture: image/png PNG\non the page: mandelbrot FINISHED\nothers: 401\n"


async def test_mpi_hello(grid: Grid) -> None:
    said = (await grid.output("mpi_hello")).splitlines()
    if shutil.which("mpicc") and shutil.which("mpirun"):
        assert {"hello from rank 0 of 2", "hello from rank 1 of 2"} <= set(said)
    else:
        assert said == ["no MPI (mpicc, mpirun) on this machine"]


def tools(folder: Path, **scripts: str) -> str:
    """Return a PATH that begins with a folder of these commands."""
    folder.mkdir()
    for name, text in scripts.items():
        (folder / name).write_text(f"#!/bin/sh\n{text}\n")
        (folder / name).chmod(0o755)
    return os.pathsep.join([str(folder), os.environ["PATH"]])


async def test_mpi_hello_with_an_mpi_on_the_resource(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tools(
        tmp_path / "tools",
        mpicc="""[ "$*" = "hello.c -o hello" ] || exit 1
echo 'echo "hello from rank $RANK of $SIZE"' >hello
chmod +x hello""",
        mpirun='[ "$1" = -n ] && for RANK in 0 1; do RANK=$RANK SIZE=$2 "$3"; done',
    )
    monkeypatch.setenv("PATH", path)
    async with ServerProcess(tmp_path / "home") as server:
        monkeypatch.undo()
        grid = Grid(server, write_config(tmp_path, server), tmp_path / "home")
        *_, first, second = (await grid.output("mpi_hello")).splitlines()
    assert (first, second) == ("hello from rank 0 of 2", "hello from rank 1 of 2")


async def test_the_environment_can_name_the_grid(grid: Grid) -> None:
    program = str(ROOT / "examples" / "hello_grid.py")
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "AIOMIG_MODE": "grid", "AIOMIG_CONFIG": str(grid.config)}
    submitted = (await grid.server.counts())["submitfields"]
    with anyio.fail_after(LONGEST):
        done = await anyio.run_process([sys.executable, "-W", "error", program], env=environment, check=False)
    assert (done.returncode, done.stderr) == (0, b""), done.stderr.decode()
    assert done.stdout.endswith(b"HELLO GRID\n")
    assert (await grid.server.counts())["submitfields"] == submitted + 1


async def test_a_configuration_that_is_wrong_is_named(grid: Grid, tmp_path: Path) -> None:
    wrong = tmp_path / "miguser.conf"
    wrong.write_text(grid.config.read_text().replace(str(grid.server.key), str(tmp_path / "gone.key")))
    done = await Grid(grid.server, wrong, grid.home).run("hello_grid")
    assert done.returncode == 1
    assert done.stdout == b""
    assert str(tmp_path / "gone.key") in done.stderr.decode().splitlines()[-1]
