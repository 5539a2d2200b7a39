"""Fixtures for tests of the command line: run it in this process or in another one, and a grid over TLS."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

pytest.importorskip("click")
pytest.importorskip("rich")

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ROOT = Path(__file__).parents[2]
LONGEST = 120.0

PROGRAM = (sys.executable, "-W", "error", "-m", "aiomig")


@dataclass(frozen=True)
class Done:
    """The exit code and the output of a command."""

    code: int
    stdout: bytes
    stderr: str

    @property
    def out(self) -> str:
        return self.stdout.decode()

    @property
    def json(self) -> Any:
        return json.loads(self.out)

    @property
    def lines(self) -> list[str]:
        return self.out.splitlines()


Cli = "Callable[..., Done]"


@pytest.fixture
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder in which commands run, isolated from the files of the user."""
    for name in ("AIOMIG_MODE", "AIOMIG_CONFIG", "AIOMIG_HOME", "XDG_STATE_HOME", "NO_COLOR", "COLUMNS", "LINES"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "user"))
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    folder = tmp_path / "work"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def call(work: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Done]:
    """Runs a command line in this process."""
    from aiomig.cli import run

    def do(*arguments: object, stdin: bytes = b"") -> Done:
        out, err = io.BytesIO(), io.BytesIO()
        with monkeypatch.context() as patch:
            patch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin), "utf-8"))
            patch.setattr(sys, "stdout", io.TextIOWrapper(out, "utf-8", write_through=True))
            patch.setattr(sys, "stderr", io.TextIOWrapper(err, "utf-8", write_through=True))
            code = run([str(argument) for argument in arguments])
            sys.stdout.flush()
            return Done(code, out.getvalue(), err.getvalue().decode())

    return do


@pytest.fixture
def local(call: Callable[..., Done], tmp_path: Path) -> Callable[..., Done]:
    """Runs a command line in this process, in local mode with a home of its own."""
    return lambda *arguments, stdin=b"": call("--home", tmp_path / "home", *arguments, stdin=stdin)


@pytest.fixture
def spawn(work: Path) -> Callable[..., Done]:
    """Runs a command line in another process, where a warning is an error."""

    def do(*arguments: object, stdin: bytes = b"") -> Done:
        done = subprocess.run(
            [*PROGRAM, *map(str, arguments)], input=stdin, capture_output=True, timeout=LONGEST, check=False
        )
        return Done(done.returncode, done.stdout, done.stderr.decode())

    return do


@dataclass(frozen=True)
class Server:
    """A `FakeGrid` over TLS in another process, which runs jobs, and the files of its user."""

    url: str
    ca: Path
    certificate: Path
    key: Path
    home: Path
    config: Path


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    pytest.importorskip("trustme")
    folder = tmp_path_factory.mktemp("cli-grid")
    home, config = folder / "home", folder / "miguser.conf"
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "aiomig.testing", "--home", str(home)]
    # It ends when its standard input is closed.
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment) as process:
        assert process.stdout is not None
        address = json.loads(process.stdout.readline())
        lines = {
            "migserver": address["url"],
            "certfile": address["certificate"],
            "keyfile": address["key"],
            "cacertfile": address["ca"],
        }
        config.write_text("".join(f"{key} {value}\n" for key, value in lines.items()))
        config.chmod(0o600)
        paths = {name: Path(address[name]) for name in ("ca", "certificate", "key")}
        yield Server(url=address["url"], home=home, config=config, **paths)
        assert process.stdin is not None
        process.stdin.close()


@pytest.fixture
def grid(call: Callable[..., Done], server: Server) -> Callable[..., Done]:
    """Runs a command line in this process, on the grid."""
    return lambda *arguments, stdin=b"": call("--config", server.config, *arguments, stdin=stdin)
