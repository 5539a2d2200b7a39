"""The output of commands on a terminal: screens of a pseudo-terminal, compared as text."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING

import pytest

from aiomig.cli import ExitCode

from .conftest import PROGRAM

pytest.importorskip("pyte")

from .screens import Screen

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from .conftest import Done, Server

    Cli = Callable[..., Done]

ID = r"\d+_\d+_\d+_\d+__\d+_\d+_\d+_local\.0"


@pytest.fixture
def terminal(work: Path, tmp_path: Path) -> Callable[..., Screen]:
    """Runs a command line of local mode in a terminal."""

    def start(*arguments: str, columns: int = 100, lines: int = 24, **environment: str) -> Screen:
        command = [*PROGRAM, "--home", str(tmp_path / "home"), *arguments]
        return Screen(command, {**os.environ, **environment}, str(work), columns=columns, lines=lines)

    return start


def test_run_shows_the_state_and_then_the_output(terminal: Callable[..., Screen], tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    os.mkfifo(gate)
    with terminal("run", f"cat {gate}; (exit 3)") as screen:
        seen = screen.until(lambda text: "EXECUTING" in text)
        assert re.fullmatch(rf"\S {ID} EXECUTING \d+\.\ds", seen)
        gate.write_text("through\n")
        assert screen.end() == 3
        assert re.fullmatch(rf"aiomig: job {ID} FINISHED after \d+\.\ds\nthrough", screen.text)
        assert screen.written.endswith(b"\x1b[?25h") or screen.written.rindex(b"\x1b[?25h") > screen.written.rindex(
            b"\x1b[?25l"
        ), "the cursor is shown again"


def test_ctrl_c_in_a_terminal(terminal: Callable[..., Screen], local: Cli) -> None:
    with terminal("run", "sleep 600") as screen:
        screen.until(lambda text: "EXECUTING" in text)
        screen.type("\x03")
        assert screen.end() == ExitCode.INTERRUPTED
        assert screen.text.splitlines()[-1] == "aiomig: interrupted; its jobs were canceled"
        assert screen.written.rindex(b"\x1b[?25h") > screen.written.rindex(b"\x1b[?25l")
    assert [job["state"] for job in local("jobs", "--json").json] == ["CANCELED"]


def test_watch_is_a_live_table(terminal: Callable[..., Screen], local: Cli, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    os.mkfifo(gate)
    local("run", "-q", "--name", "wrong", "false")
    bad, held = (local("submit", command).out.strip() for command in ("kill -9 $$", f"cat {gate}"))
    with terminal("watch", "*") as screen:
        screen.until(lambda text: "2/3 ended" in text and "EXECUTING" in text)
        heading, first, *_ = screen.text.splitlines()
        assert heading.split() == ["JOB", "NAME", "STATE", "EXIT", "AGE", "WAITED", "RAN", "RESOURCE"]
        assert first.split()[:4] == [held, "-", "EXECUTING", "-"], "what runs comes first"
        gate.write_text("x")
        assert screen.end() == 0
        rows = {job: rest[:3] for job, *rest in map(str.split, screen.text.splitlines()[1:4])}
        assert (rows.pop(held), rows.pop(bad)) == (["-", "FINISHED", "0"], ["-", "FAILED", "-"])
        assert list(rows.values()) == [["wrong", "FINISHED", "1"]]
        assert screen.text.splitlines()[-1].endswith("2 FINISHED, 1 FAILED, 1 with a failed command")
        assert "red" in screen.colors("FAILED")
        assert {"green", "red"} <= screen.colors("FINISHED"), "what failed looks failed"


def test_a_table_fits_the_screen(terminal: Callable[..., Screen], local: Cli) -> None:
    local("sweep", "-q", "-p", "n=1:30", "true {n}")
    with terminal("watch", "*", lines=14, columns=60) as screen:
        assert screen.end() == 0
        assert "… and 22 more" in screen.text
        assert screen.text.splitlines()[-1].startswith("━━━")
        assert all(re.match(rf"{ID}  -     FINISHED", line) for line in screen.text.splitlines()[1:8])


def test_no_colours_if_they_are_disabled(terminal: Callable[..., Screen], local: Cli) -> None:
    local("run", "-q", "true")
    with terminal("jobs") as screen:
        assert screen.end() == 0
        assert screen.colors("FINISHED") == {"green"}
    with terminal("jobs", NO_COLOR="1") as screen:
        assert screen.end() == 0
        assert screen.colors("FINISHED") == {"default"}
    assert b"\x1b" not in local("jobs").stdout


def test_transfers_and_sweeps_have_progress_bars(terminal: Callable[..., Screen], work: Path) -> None:
    (work / "big").write_bytes(bytes(8 << 20))
    with terminal("put", "big", "there") as screen:
        assert screen.end() == 0
        assert screen.text == "there"
        assert "8.4/8.4 MB" in screen.written.decode()
    with terminal("sweep", "-p", "n=1:5", "echo {n}") as screen:
        assert screen.end() == 0
        assert "5/5" in screen.written.decode()
        assert "jobs/s" in screen.written.decode()
        assert screen.text.splitlines()[-1].startswith("aiomig: 5 of 5 jobs succeeded, 0 failed; ")


def test_progress_of_a_transfer_on_the_grid(server: Server, work: Path) -> None:
    (work / "big").write_bytes(bytes(3 << 20))
    with Screen([*PROGRAM, "--config", str(server.config), "put", "big", "screens/"], os.environ, str(work)) as screen:
        assert screen.end() == 0
        assert screen.text == "screens/big"
        assert "3.1/3.1 MB" in screen.written.decode()


def test_errors_are_sentences_on_a_terminal(terminal: Callable[..., Screen]) -> None:
    with terminal("status", "9_9") as screen:
        assert screen.end() == ExitCode.NOT_FOUND
        assert screen.text == "aiomig: job 9_9: no such job"
