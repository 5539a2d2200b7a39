"""Each example is a complete program that runs in local mode."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import anyio
import pytest

import aiomig

ROOT = Path(__file__).parents[1]
EXAMPLES = sorted(path.stem for path in (ROOT / "examples").glob("*.py"))

JOB_ID = r"\d+_\d+_\d+_\d+__\d+_\d+_\d+_local\.0"


def run(name: str, home: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run an example as a user does. A warning is an error."""
    return subprocess.run(
        [sys.executable, "-W", "error", ROOT / "examples" / f"{name}.py", *arguments],
        env={**os.environ, "PYTHONPATH": str(ROOT), "AIOMIG_HOME": str(home), **environment},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def output(name: str, home: Path, *arguments: str, **environment: str) -> str:
    """Run an example that must succeed, without standard error. Return its standard output."""
    done = run(name, home, *arguments, **environment)
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    return done.stdout


def test_all_examples_are_tested() -> None:
    assert EXAMPLES == [
        "executable_with_output",
        "hello_grid",
        "master_and_workers",
        "mpi_hello",
        "parameter_sweep",
        "pipeline",
        "reference_matching",
    ]
    assert (ROOT / "examples" / "web_service" / "service.py").is_file()


def test_hello_grid(tmp_path: Path) -> None:
    lines = output("hello_grid", tmp_path, "--local").splitlines()
    time = r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\S*\+00:00"
    assert all(re.fullmatch(rf"(QUEUED|EXECUTING|FINISHED) {time}", line) for line in lines[:-1])
    assert lines[-2].startswith("FINISHED ")
    assert lines[-1] == "HELLO GRID"


def test_executable_with_output(tmp_path: Path) -> None:
    system, *counts = output("executable_with_output", tmp_path, "--local").splitlines()
    assert system == f"counted on {os.uname().sysname}"
    assert [count.split() for count in counts[:2]] == [["4", "the"], ["2", "computer"]]
    assert len(counts) == 8


def test_parameter_sweep(tmp_path: Path) -> None:
    *results, summary = output("parameter_sweep", tmp_path, "--local", "--jobs", "5").splitlines()
    assert sorted(results) == [
        "seed  0: 3.14800",
        "seed  1: 3.13820",
        "seed  2: 3.13940",
        "seed  3: 3.13800",
        "seed  4: 3.14520",
    ]
    assert summary == "pi is about 3.142, by 5 jobs"


PIPELINE = re.compile(r"mean (99|100|101), between \d+\.\d and \d+\.\d\n(\d+) jobs, (\d+) successful\n")


async def jobs_in(home: Path) -> dict[str, aiomig.JobStatus]:
    """The statuses of the jobs of a pipeline by id. This runs no queued jobs."""
    async with aiomig.local(home, on_exit="leave") as mig:
        return await mig.statuses(await mig.jobs(labels={"pipeline": "1"}))


@pytest.mark.parametrize(("fits", "lines"), [(4, 0), (4, 1), (4, 3), (50, 20)])
def test_a_pipeline_that_is_killed_continues(tmp_path: Path, fits: int, lines: int) -> None:
    command = [sys.executable, str(ROOT / "examples" / "pipeline.py"), "--local", "--fits", str(fits)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "AIOMIG_HOME": str(tmp_path)}
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        said = [process.stdout.readline() for _ in range(lines)]
        process.kill()
    assert process.returncode == -signal.SIGKILL
    before = anyio.run(jobs_in, tmp_path)
    *names, mean, summary = output("pipeline", tmp_path, "--local", "--fits", str(fits)).splitlines(keepends=True)
    assert names[0] == "preprocess\n"
    assert sorted(names[1:]) == sorted(f"fit-{seed}\n" for seed in range(fits))
    assert set(said) <= set(names)
    found = PIPELINE.fullmatch(mean + summary)
    assert found is not None
    assert found.groups()[1:] == (str(fits + 2), str(fits + 2))
    after = anyio.run(jobs_in, tmp_path)
    assert before.keys() <= after.keys()
    assert len(after) == len({status.name for status in after.values()}) == fits + 2
    assert all(status.attempts == () for status in after.values())
    assert all(
        after[job_id].executing_at == before[job_id].executing_at for job_id in before if before[job_id].executing_at
    )


def test_reference_matching(tmp_path: Path) -> None:
    found = output("reference_matching", tmp_path, "--local")
    assert found == "6 jobs compared 240 references to 60 works\n"


def test_master_and_workers(tmp_path: Path) -> None:
    *answers, summary = output("master_and_workers", tmp_path, "--local").splitlines()
    assert answers == [f"{number} squared is {number * number}" for number in range(6)]
    assert summary == "6 of 6 numbers by 2 workers"


def test_web_service(tmp_path: Path) -> None:
    shown = output("web_service/service", tmp_path, "--local")
    assert shown == "picture: image/png PNG\non the page: mandelbrot FINISHED\nothers: 404\nothers: 401\n"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["ada", "bob"]
    source = (ROOT / "examples" / "web_service" / "service.py").read_text("utf-8")
    assert source.count("\n") < 120


def tools(folder: Path, **scripts: str) -> str:
    """Return a PATH with these commands and a few of the system, but without an MPI."""
    folder.mkdir()
    for name in ("bash", "sh", "rm", "cat", "chmod"):
        found = next(path for path in map(Path, ("/bin", "/usr/bin")) if (path / name).exists()) / name
        (folder / name).symlink_to(found)
    for name, text in scripts.items():
        (folder / name).write_text(f"#!/bin/sh\n{text}\n")
        (folder / name).chmod(0o755)
    return str(folder)


def test_mpi_hello_without_mpi(tmp_path: Path) -> None:
    said = output("mpi_hello", tmp_path / "home", "--local", PATH=tools(tmp_path / "tools"))
    assert said == "no MPI (mpicc, mpirun) on this machine\n"


def test_mpi_hello_with_mpi(tmp_path: Path) -> None:
    path = tools(
        tmp_path / "tools",
        mpicc="""[ "$*" = "hello.c -o hello" ] || exit 1
echo 'echo "hello from rank $RANK of $SIZE"' >hello
chmod +x hello""",
        mpirun='[ "$1" = -n ] && for RANK in 0 1; do RANK=$RANK SIZE=$2 "$3"; done',
    )
    *_, first, second = output("mpi_hello", tmp_path / "home", "--local", PATH=path).splitlines()
    assert (first, second) == ("hello from rank 0 of 2", "hello from rank 1 of 2")


@pytest.mark.parametrize("name", EXAMPLES)
def test_is_a_short_program_with_help(name: str, tmp_path: Path) -> None:
    source = (ROOT / "examples" / f"{name}.py").read_text("utf-8")
    assert source.count("\n") < 60
    shown = output(name, tmp_path, "--help")
    assert "--local" in shown
    assert "--grid CONFIG" in shown
    assert "not allowed with argument" in run(name, tmp_path, "--local", "--grid", "x").stderr


def test_the_environment_can_switch_to_local_mode(tmp_path: Path) -> None:
    assert output("hello_grid", tmp_path, AIOMIG_MODE="local").endswith("HELLO GRID\n")
