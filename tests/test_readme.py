"""The README tells the truth: its programs and commands run, and say what it shows."""

from __future__ import annotations

import logging
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import anyio
import pytest

from aiomig.testing import ServerProcess

if TYPE_CHECKING:
    from collections.abc import Iterator

pytest_plugins = ["pytester"]

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text("utf-8")


class Block(NamedTuple):
    """A block of code, and the block of text that follows at once: what it prints."""

    language: str
    text: str
    printed: str | None

    @property
    def is_tests(self) -> bool:
        return "\nasync def test_" in self.text


FENCE = re.compile(r"^```(\w*)\n(.*?)^```$(?:\n\n^```text\n(.*?)^```$)?", re.MULTILINE | re.DOTALL)
BLOCKS = [Block(*match.groups()) for match in FENCE.finditer(README)]
PROGRAMS = [block for block in BLOCKS if block.language == "python" and not block.is_tests]
SESSIONS = [block.text for block in BLOCKS if block.language == "console"]

FIT = """
import os, pathlib, sys
pathlib.Path("fit.png").write_bytes(b"plot")
print(os.environ.get("SEED"), pathlib.Path(sys.argv[1]).read_text())
"""
VARIABLE = [
    (re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\S*"), "TIME"),
    # How much is seen of a job before its end is a matter of how busy the machine is.
    (re.compile(r"^(PARSE|QUEUED|EXECUTING) (TIME|None)\n", re.MULTILINE), ""),
    (re.compile(r"\b\d+_\d+_\d+_\d+__\d+_\d+_\d+_\w+\.0\b"), "JOB"),
]


def comparable(text: str) -> str:
    for pattern, replacement in VARIABLE:
        text = pattern.sub(replacement, text)
    return text


@pytest.fixture
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of a user, who has the files that the README speaks of and a home of its own."""
    folder = tmp_path / "work"
    (folder / "runs").mkdir(parents=True)
    for name in ("data.csv", "runs/7.csv"):
        (folder / name).write_text("1,2\n")
    (folder / "fit.py").write_text(FIT)
    for name in ("HOME", "XDG_STATE_HOME", "AIOMIG_HOME"):
        monkeypatch.setenv(name, str(tmp_path / name))
    monkeypatch.setenv("AIOMIG_MODE", "local")
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def logging_restored() -> Iterator[None]:
    """Undoes what a program sets up for its own log."""
    loggers = [logging.getLogger(name) for name in (None, "aiomig")]
    before = [(logger, logger.level, list(logger.handlers)) for logger in loggers]
    yield
    for logger, level, handlers in before:
        logger.setLevel(level)
        logger.handlers[:] = handlers


@pytest.mark.usefixtures("work", "logging_restored")
@pytest.mark.parametrize("program", PROGRAMS, ids=range(len(PROGRAMS)))
def test_program(program: Block, capsys: pytest.CaptureFixture[str]) -> None:
    exec(compile(program.text, "README.md", "exec"), {"__name__": "__main__"})  # noqa: S102
    said = capsys.readouterr()
    assert said.err == ""
    assert program.printed is not None, "a program without what it prints"
    assert comparable(said.out) == comparable(program.printed)


def test_module_of_tests(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    (module,) = [block.text for block in BLOCKS if block.is_tests]
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    pytester.makepyfile(module)
    options = ["-W", "error", "-o", "anyio_mode=auto", "-p", "no:asyncio", "-p", "no:trio", "-p", "no:cacheprovider"]
    done = pytester.runpytest_subprocess(*options, "-p", "anyio", "-p", "pytest_aiomig", timeout=300)
    done.assert_outcomes(passed=2 * module.count("async def test_"))


# -- commands


def commands(session: str) -> Iterator[tuple[str, str]]:
    """The commands of a terminal session, each with what it shows there."""
    for part in re.split(r"^\$ ", session, flags=re.MULTILINE)[1:]:
        command, _, shown = part.partition("\n")
        yield command, shown


RUN = [(command, shown) for session in SESSIONS for command, shown in commands(session) if shown]


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    """Here only the server and the commands are waited for."""
    return "asyncio"


def install(folder: Path) -> None:
    """What the README's first commands do: here it is the Python of the tests, and the checkout."""
    programs = folder / ".venv" / "bin"
    programs.mkdir(parents=True)
    for name, start in (("python", ""), ("aiomig", " -m aiomig")):
        (programs / name).write_text(f'#!/bin/sh\nexec "{sys.executable}" -W error{start} "$@"\n')
        (programs / name).chmod(0o755)
    (folder / "examples").symlink_to(ROOT / "examples")


def configure(home: Path, server: ServerProcess) -> None:
    """The ``~/.mig`` that MiG's users have."""
    (home / ".mig").mkdir(parents=True)
    lines = {
        "migserver": server.url,
        "certfile": server.certificate,
        "keyfile": server.key,
        "cacertfile": server.ca,
    }
    (home / ".mig" / "miguser.conf").write_text("".join(f"{key} {value}\n" for key, value in lines.items()))
    (home / ".mig" / "miguser.conf").chmod(0o600)


async def run(command: str, folder: Path) -> str:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PATH": f"{folder}/.venv/bin:{os.environ['PATH']}"}
    del environment["AIOMIG_MODE"]
    with anyio.fail_after(300):
        done = await anyio.run_process(
            ["bash", "-c", command], cwd=folder, env=environment, stderr=subprocess.STDOUT, check=False
        )
    return done.stdout.decode()


@pytest.mark.parametrize(("command", "shown"), RUN, ids=range(len(RUN)))
async def test_command(command: str, shown: str, work: Path) -> None:
    install(work)
    if "--grid" in command:
        async with ServerProcess() as server:
            configure(work.parent / "HOME", server)
            said = await run(command, work)
    else:
        said = await run(command, work)
    assert comparable(said) == comparable(shown)


# -- the text itself


def test_everything_is_run() -> None:
    assert {block.language for block in BLOCKS} <= {"python", "py", "sh", "console", "text"}
    assert len(PROGRAMS) >= 8
    assert len(RUN) >= 2
    # Those that are not run need what the tests do not have; the old module is there to be compared with.
    assert all(re.search(r"opentelemetry|mig\.create_job", block.text) for block in BLOCKS if block.language == "py")


def test_the_first_shell_blocks_do_all_the_set_up() -> None:
    hello, tests = [block.text for block in BLOCKS if block.language == "sh"][:2]
    assert hello.splitlines()[-1] == ".venv/bin/python examples/hello_grid.py --local"
    assert tests.splitlines()[-1].startswith(".venv-test/bin/python -m pytest")
    assert hello.startswith("python3 -m venv .venv\n")
    assert tests.startswith("python3 -m venv .venv-test\n")
    assert tests in (ROOT / ".ci" / "run").read_text("utf-8")


def test_what_is_linked_is_there() -> None:
    named = set(re.findall(r"`((?:examples|tests|benchmarks|\.ci)/[\w./]+)`", README))
    named |= set(re.findall(r"(?:examples|benchmarks)/\w+\.py", README))
    assert {path for path in named if not (ROOT / path).exists()} == set()
    assert named
    headings = {
        re.sub(r"[^\w -]", "", each.lower()).replace(" ", "-")
        for each in re.findall(r"^#+ (.*)$", README, re.MULTILINE)
    }
    assert set(re.findall(r"\]\(#([\w-]+)\)", README)) <= headings
