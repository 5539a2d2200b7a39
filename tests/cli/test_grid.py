"""Commands on a `FakeGrid` over TLS: jobs, and messages about refusals."""

from __future__ import annotations

import signal
import subprocess
from typing import TYPE_CHECKING

from aiomig.cli import ExitCode

from .conftest import LONGEST, PROGRAM

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import pytest

    from .conftest import Done, Server

    Cli = Callable[..., Done]


def test_run(spawn: Cli, server: Server, work: Path) -> None:
    (work / "in.txt").write_text("b\na\n")
    done = spawn(
        *(
            "run",
            "--config",
            server.config,
            "-i",
            "in.txt",
            "-o",
            "out",
            "sort in.txt > out; echo said; echo err >&2; (exit 4)",
        )
    )
    assert (done.code, done.out) == (4, "said\n")
    assert "err\n" in done.stderr
    assert " FINISHED\n" in done.stderr
    assert (work / "out").read_text() == "a\nb\n"


def test_the_life_of_a_job(grid: Cli, work: Path) -> None:
    job = grid("submit", "-o", "out", "echo said; echo kept > out").out.strip()
    watched = grid("watch", job).lines
    assert watched[-1].split()[-2:] == [job, "FINISHED"]
    assert grid("wait", job).lines == [f"{job}  FINISHED  exit code 0"]
    assert grid("output", job).out == "said\n"
    assert grid("fetch", job, "--to", "got").lines == ["got/out"]
    assert job in grid("jobs", "--ids").lines
    assert grid("status", "--json", job).json[0]["state"] == "FINISHED"
    assert grid("tail", job).lines == ["said"]
    again = grid("resubmit", job).out.strip()
    assert again != job
    assert "->" in grid("cancel", again).out + "->"
    assert grid("clean", "--results", job).code == 0


def test_freeze_and_thaw(grid: Cli) -> None:
    # Both cores are taken, so that the third waits in the queue.
    busy = [grid("submit", "sleep 600").out.strip() for _ in range(2)]
    waiting = grid("submit", "true").out.strip()
    try:
        while grid("status", "--json", waiting).json[0]["state"] == "PARSE":
            pass
        assert grid("freeze", waiting).lines == [f"{waiting}  QUEUED -> FROZEN"]
        assert grid("thaw", waiting).lines == [f"{waiting}  FROZEN -> QUEUED"]
    finally:
        done = grid("cancel", *busy, waiting)
    assert done.code == 0
    assert [line.split()[-1] for line in done.lines] == ["CANCELED"] * 3


def test_sweep(grid: Cli) -> None:
    done = grid("sweep", "-p", "n=1:3", "--print", "echo {n} squared is $(({n} * {n}))")
    assert done.code == 0
    assert sorted(done.lines) == ["1 squared is 1", "2 squared is 4", "3 squared is 9"]


def test_ctrl_c_leaves_a_job_on_the_grid(work: Path, server: Server, grid: Cli) -> None:
    command = [*PROGRAM, "--config", str(server.config), "run", "sleep 600"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        job = process.stderr.readline().split()[2]
        process.send_signal(signal.SIGINT)
        rest = process.stderr.read().splitlines()
        assert process.wait(LONGEST) == ExitCode.INTERRUPTED
    program = f"aiomig --config {server.config}"
    assert rest[-1] == (
        f"aiomig: interrupted; a job is still waiting or running on the grid: {job}; "
        f"see {program} wait {job}, or stop it: {program} cancel {job}"
    )
    assert grid("cancel", job).out.endswith("-> CANCELED\n")


def test_refusals_of_the_grid(grid: Cli) -> None:
    done = grid("run", "--vgrid", "Nobodys", "true")
    assert done.code == ExitCode.DESCRIPTION
    assert "Nobodys" in done.stderr


def test_an_untrusted_server(call: Cli, server: Server, work: Path) -> None:
    wrong = work / "miguser.conf"
    wrong.write_text(server.config.read_text().replace(str(server.ca), "AUTO"))
    wrong.chmod(0o600)
    done = call("--config", wrong, "jobs")
    assert done.code == ExitCode.UNAVAILABLE
    assert done.stderr.startswith(f"aiomig: the certificate of {server.url} is not trusted")
    assert len(done.stderr.splitlines()) == 1


def test_without_a_configuration(call: Cli, work: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    done = call("--grid", "jobs")
    assert done.code == ExitCode.CONFIGURATION
    assert "no configuration" in done.stderr
    gone = call("--config", "gone.conf", "jobs")
    assert gone.code == ExitCode.CONFIGURATION
    assert gone.stderr.startswith("aiomig: gone.conf: there is no such file")
    monkeypatch.setenv("XDG_STATE_HOME", str(work / "state"))
    neither = call("jobs", "--ids")
    assert neither.code == 0
    assert "jobs run on this machine" in neither.stderr
    assert call("-q", "jobs", "--ids").stderr == ""
