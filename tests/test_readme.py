"""The README tells the truth: its programs run in local mode, and say what it shows."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text("utf-8")
BLOCK = re.compile(r"^```python\n(.*?)^```$(?:\n\n^```text\n(.*?)^```$)?", re.MULTILINE | re.DOTALL)
PROGRAMS = [(match[1], match[2]) for match in BLOCK.finditer(README)]

FIT = """
import os, pathlib, sys
pathlib.Path("fit.png").write_bytes(b"plot")
print(os.environ["SEED"], pathlib.Path(sys.argv[1]).read_text())
"""
VARIABLE = [
    (re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\S*"), "TIME"),
    # How much is seen of a job before its end is a matter of how busy the machine is.
    (re.compile(r"^(QUEUED|EXECUTING) TIME\n", re.MULTILINE), ""),
]


def comparable(text: str) -> str:
    for pattern, replacement in VARIABLE:
        text = pattern.sub(replacement, text)
    return text


def shell_blocks() -> list[str]:
    return re.findall(r"^```sh\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize(("program", "transcript"), PROGRAMS, ids=range(len(PROGRAMS)))
def test_program(program: str, transcript: str | None, tmp_path: Path) -> None:
    work = tmp_path / "work"
    (work / "runs").mkdir(parents=True)
    (work / "runs" / "7.csv").write_text("1,2\n")
    (work / "fit.py").write_text(FIT)
    state = {name: str(tmp_path / name) for name in ("HOME", "XDG_STATE_HOME", "AIOMIG_HOME")}
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program],
        cwd=work,
        env={**os.environ, **state, "PYTHONPATH": str(ROOT), "AIOMIG_MODE": "local"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    assert transcript is not None, "a program without its transcript"
    assert comparable(done.stdout) == comparable(transcript)


def test_there_are_programs() -> None:
    assert len(PROGRAMS) == README.count("```python") >= 5


def test_the_first_shell_blocks_do_all_the_set_up() -> None:
    hello, tests = shell_blocks()[:2]
    assert hello.splitlines()[-1] == ".venv/bin/python examples/hello_grid.py --local"
    assert tests.splitlines()[-1] == ".venv-test/bin/python -m pytest"
    assert hello.startswith("python3 -m venv .venv\n")
    assert tests.startswith("python3 -m venv .venv-test\n")


def test_ci_runs_exactly_the_test_command() -> None:
    assert shell_blocks()[1] in (ROOT / ".ci" / "run").read_text("utf-8")


def test_what_is_linked_is_there() -> None:
    named = set(re.findall(r"`((?:examples|tests|benchmarks|\.ci)/[\w./]+)`", README))
    assert {path for path in named if not (ROOT / path).exists()} == set()
    assert named
