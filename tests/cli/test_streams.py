"""Standard streams that are closed, full, broken or non-blocking. Jobs run nevertheless, and exit codes are right."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from aiomig.cli import ExitCode

from .conftest import LONGEST

if TYPE_CHECKING:
    from pathlib import Path

PROGRAM = f"{sys.executable} -m aiomig --local --home home"


def shell(command: str) -> subprocess.CompletedProcess[str]:
    """Run a bash command line in which ``aiomig`` is the program, in local mode."""
    line = command.replace("aiomig ", f"{PROGRAM} ")
    return subprocess.run(["bash", "-c", line], capture_output=True, text=True, timeout=LONGEST, check=False)


@pytest.mark.parametrize(
    ("command", "stdout"),
    [
        ("aiomig run -q 'echo hi' >&-", ""),
        ("aiomig run 'echo hi' 2>&-", "hi\n"),
        ("aiomig run -q 'echo hi' 2>&-", "hi\n"),
        ("aiomig run 'echo hi' 2>/dev/full", "hi\n"),
        ("aiomig run 'echo hi; echo no >&2' <&- 2>&-", "hi\n"),
        ("aiomig run --json 'echo hi' <&- >&- 2>&-", ""),
        ("aiomig run 'echo hi' 2> >(exec 0<&-)", "hi\n"),
        ("aiomig --version >&-", ""),
        ("aiomig --help >&- 2>&-", ""),
        ("aiomig jobs >&- 2>&-", ""),
    ],
)
def test_closed_streams_do_not_matter(work: Path, command: str, stdout: str) -> None:
    done = shell(command)
    assert (done.returncode, done.stdout) == (0, stdout)
    assert done.stderr in ("", "hi\n")


@pytest.mark.parametrize("command", ["write kept", "sweep -P - 'echo {n}'"])
def test_closed_standard_input_is_not_empty_input(work: Path, command: str) -> None:
    assert shell("echo content | aiomig write kept").returncode == 0
    done = shell(f"aiomig {command} <&-")
    assert done.returncode == ExitCode.INPUT_OUTPUT
    assert "Bad file descriptor" in done.stderr
    assert shell("aiomig cat kept").stdout == "content\n"


@pytest.mark.parametrize("redirection", [">&-", "2>&-", "<&- >&- 2>&-", ">/dev/full", ">/dev/full 2>/dev/full"])
def test_a_job_is_submitted_despite_broken_streams(work: Path, redirection: str) -> None:
    done = shell(f"aiomig submit 'echo here > {shlex.quote(str(work))}/mark' {redirection}")
    assert done.returncode == (ExitCode.INPUT_OUTPUT if "full" in redirection else 0)
    assert shell("aiomig wait last").returncode == 0
    assert (work / "mark").read_text() == "here\n"
    job_id = shell("aiomig jobs --ids").stdout.strip()
    assert ("2>" in redirection or ">&-" in redirection) or f"the jobs are not affected: {job_id}" in done.stderr
    assert "bug in aiomig" not in done.stderr


@pytest.mark.parametrize("command", ["run 'echo hi'", "jobs", "--help", "run --json 'echo hi'", "run -f 'echo hi'"])
def test_a_full_standard_output_is_reported(work: Path, command: str) -> None:
    done = shell(f"aiomig {command} >/dev/full")
    assert done.returncode == ExitCode.INPUT_OUTPUT
    assert "No space left on device" in done.stderr
    assert "bug in aiomig" not in done.stderr
    assert "Exception ignored" not in done.stderr


@pytest.mark.parametrize("command", ["--help", "run 'echo hi'", "submit 'echo hi'"])
def test_a_closed_pipe_ends_the_command(work: Path, command: str) -> None:
    done = shell(f"aiomig {command} | exec 0<&-; exit ${{PIPESTATUS[0]}}")
    # The reader may end late; then the command has written everything.
    assert done.returncode in (ExitCode.BROKEN_PIPE, 0)
    assert "bug in aiomig" not in done.stderr
    assert "Exception ignored" not in done.stderr


def test_a_non_blocking_pipe(work: Path) -> None:
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    command = [*shlex.split(PROGRAM), "run", "-q", "head -c 300000 /dev/zero"]
    with subprocess.Popen(command, stdout=writer) as process:
        os.close(writer)
        with open(reader, "rb") as stream:
            assert stream.read() == bytes(300_000)
        assert process.wait(LONGEST) == 0


@pytest.mark.parametrize(
    ("source", "code", "words"),
    [
        ("<<< $'\\xff'", ExitCode.USAGE, "standard input is not UTF-8 text"),
        ("<&-", ExitCode.INPUT_OUTPUT, "standard input cannot be read: Bad file descriptor"),
    ],
)
@pytest.mark.parametrize("command", ["submit-mrsl -", "queue send default"])
def test_standard_input_without_text(work: Path, command: str, source: str, code: int, words: str) -> None:
    done = shell(f"aiomig {command} {source}")
    assert done.returncode in (code, ExitCode.DESCRIPTION)
    assert words in done.stderr
    assert "bug in aiomig" not in done.stderr
