"""The programs and commands in the README and in docs/ run, and print the output shown there."""

from __future__ import annotations

import ast
import inspect
import logging
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import anyio
import pytest

import aiomig
from aiomig.testing import ServerProcess

if TYPE_CHECKING:
    from collections.abc import Iterator

pytest_plugins = ["pytester"]

ROOT = Path(__file__).parents[1]
GENERATED = ROOT / "docs" / "api.md"
PAGES = [ROOT / "README.md", *(page for page in sorted((ROOT / "docs").glob("*.md")) if page != GENERATED)]


class Block(NamedTuple):
    """A block of code, and the block of text that follows it: its output."""

    page: str
    number: int
    language: str
    text: str
    output: str | None

    @property
    def is_tests(self) -> bool:
        return "\nasync def test_" in self.text


class Command(NamedTuple):
    """A command of a terminal session, and its output."""

    command: str
    output: str


FENCE = re.compile(r"^```(\w*)\n(.*?)^```$(?:\n\n^```text\n(.*?)^```$)?", re.MULTILINE | re.DOTALL)
BLOCKS = [
    Block(page.stem, number, *match.groups())
    for page in PAGES
    for number, match in enumerate(FENCE.finditer(page.read_text("utf-8")))
]
PROGRAMS = [block for block in BLOCKS if block.language == "python" and not block.is_tests]
TEST_MODULES = [block for block in BLOCKS if block.language == "python" and block.is_tests]


def commands(session: Block) -> Iterator[Command]:
    for part in re.split(r"^\$ ", session.text, flags=re.MULTILINE)[1:]:
        command, _, output = part.partition("\n")
        yield Command(command, output)


# Several pages may contain the same command with the same output. Commands of benchmarks have no output.
COMMANDS = sorted({each for block in BLOCKS if block.language == "console" for each in commands(block) if each.output})

FIT = """
import os, pathlib, sys
pathlib.Path("fit.png").write_bytes(b"plot")
print(os.environ.get("SEED"), pathlib.Path(sys.argv[1]).read_text())
"""
VARIABLE = [
    (re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\S*"), "TIME"),
    # The number of states before the end of a job depends on the load of the machine.
    (re.compile(r"^(PARSE|QUEUED|EXECUTING) (TIME|None)\n", re.MULTILINE), ""),
    (re.compile(r"127\.0\.0\.1:\d+/\?token=[\w-]+"), "ADDRESS"),
    (re.compile(r"\b\d+_\d+_\d+_\d+__\d+_\d+_\d+_\w+\.0\b"), "JOB"),
]


def comparable(text: str) -> str:
    for pattern, replacement in VARIABLE:
        text = pattern.sub(replacement, text)
    return text


def block_id(block: Block) -> str:
    return f"{block.page}-{block.number}"


@pytest.fixture
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory of a user, with the files that the pages name."""
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
    """Undo the logging configuration of a program."""
    loggers = [logging.getLogger(name) for name in (None, "aiomig")]
    before = [(logger, logger.level, list(logger.handlers)) for logger in loggers]
    yield
    for logger, level, handlers in before:
        logger.setLevel(level)
        logger.handlers[:] = handlers


# -- programs


def run_program(block: Block) -> None:
    """Run a program, or lines inside an open session named ``mig``."""
    code = compile(block.text, f"{block.page}.md", "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    if not code.co_flags & inspect.CO_COROUTINE:
        exec(code, {"__name__": "__main__"})  # noqa: S102
        return

    async def main() -> None:
        async with aiomig.connect() as mig:
            await eval(code, {"aiomig": aiomig, "anyio": anyio, "mig": mig})

    anyio.run(main)


@pytest.mark.usefixtures("work", "logging_restored")
@pytest.mark.parametrize("block", PROGRAMS, ids=block_id)
def test_program(block: Block, capsys: pytest.CaptureFixture[str]) -> None:
    run_program(block)
    captured = capsys.readouterr()
    assert captured.err == ""
    assert block.output is not None, "the page does not show the output of this program"
    assert comparable(captured.out) == comparable(block.output)


@pytest.mark.parametrize("block", TEST_MODULES, ids=block_id)
def test_module_of_tests(block: Block, pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    pytester.makepyfile(block.text)
    options = ["-W", "error", "-o", "anyio_mode=auto", "-p", "no:asyncio", "-p", "no:trio", "-p", "no:cacheprovider"]
    done = pytester.runpytest_subprocess(*options, "-p", "anyio", "-p", "pytest_aiomig", timeout=300)
    done.assert_outcomes(passed=2 * block.text.count("async def test_"))


# -- commands


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    """These tests wait only for the server and for commands, so one event loop is enough."""
    return "asyncio"


def install(folder: Path) -> None:
    """Do what the README's first command does, with the Python of the tests and the checkout."""
    programs = folder / ".venv" / "bin"
    programs.mkdir(parents=True)
    for name, start in (("python", ""), ("aiomig", " -m aiomig")):
        (programs / name).write_text(f'#!/bin/sh\nexec "{sys.executable}" -W error{start} "$@"\n')
        (programs / name).chmod(0o755)
    (folder / "examples").symlink_to(ROOT / "examples")


def configure(home: Path, server: ServerProcess) -> None:
    """Write the ``~/.mig`` of a MiG user."""
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
    if command.startswith("aiomig serve"):  # runs until it is terminated
        async with await anyio.open_process(command.split(), cwd=folder, env=environment) as process:
            assert process.stdout is not None
            line = await process.stdout.receive()
            process.terminate()
        return line.decode()
    with anyio.fail_after(300):
        done = await anyio.run_process(
            ["bash", "-c", command], cwd=folder, env=environment, stderr=subprocess.STDOUT, check=False
        )
    return done.stdout.decode()


@pytest.mark.parametrize(("command", "output"), COMMANDS, ids=range(len(COMMANDS)))
async def test_command(command: str, output: str, work: Path) -> None:
    install(work)
    if "--grid" in command:
        async with ServerProcess() as server:
            configure(work.parent / "HOME", server)
            actual = await run(command, work)
    else:
        actual = await run(command, work)
    assert comparable(actual) == comparable(output)


# -- the set-up commands


def test_every_block_is_run() -> None:
    assert {block.language for block in BLOCKS} <= {"python", "py", "sh", "console", "text"}
    assert len(PROGRAMS) >= 8
    assert len(COMMANDS) >= 2
    # The other blocks need packages that the tests do not have, or show miginterface for comparison.
    assert all(re.search(r"opentelemetry|mig\.create_job", block.text) for block in BLOCKS if block.language == "py")


def test_the_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text("utf-8").splitlines()) <= 200


def test_the_set_up_commands_are_one_line_each() -> None:
    hello, tests = [block.text for block in BLOCKS if block.page == "README" and block.language == "sh"][:2]
    assert hello.count("\n") == 1
    assert hello.startswith("python3 -m venv ")
    assert hello.endswith(" && .venv/bin/python examples/hello_grid.py --local\n")
    assert tests.count("\n") == 1
    assert tests.startswith("python3 -m venv ")
    assert tests.rstrip() in (ROOT / ".ci" / "run").read_text("utf-8")
