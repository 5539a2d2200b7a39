"""The program: its commands, their help and the completion of its arguments."""

from __future__ import annotations

import re
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from aiomig.cli._app import SECTIONS, app
from aiomig.cli._exit_codes import MEANINGS
from tests.cli.conftest import LONGEST

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.cli.conftest import Done

    Cli = Callable[..., Done]

COMMANDS = {name: text for section in SECTIONS.values() for name, (_, text) in section.items()}


def test_help_names_all_commands_and_exit_codes(spawn: Cli) -> None:
    done = spawn("--help")
    assert (done.code, done.stderr) == (0, "")
    for name, text in COMMANDS.items():
        assert re.search(rf"^  {name} +{re.escape(text)}", done.out, re.MULTILINE)
    for code in MEANINGS:
        assert re.search(rf"^  {int(code)} +\w", done.out, re.MULTILINE)


@pytest.mark.parametrize("name", COMMANDS)
def test_each_command_has_help(call: Cli, name: str) -> None:
    done = call(name, "--help")
    assert done.code == 0
    assert done.out.startswith(f"Usage: aiomig {name} ")
    command = app.get_command(None, name)  # type: ignore[arg-type]
    assert command is not None
    assert command.name == name
    assert command.help is not None
    assert command.help.split("\n")[0].count(".") >= 1


def test_completion_of_files(call: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    from click.shell_completion import ShellComplete

    found = ShellComplete(app, {}, "aiomig", "_AIOMIG_COMPLETE").get_completions(["run", "-i"], "da")
    assert [(item.type, item.value) for item in found] == [("file", "da")]


def test_help_imports_nothing_heavy(work: Path) -> None:
    program = "import sys; from aiomig.cli import run; run(['--help']); print(*sys.modules, file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=LONGEST, check=True)
    heavy = {"rich", "httpx", "ssl", "sqlite3", "cryptography", "matplotlib", "asyncio", "aiomig.cli._run"}
    assert not heavy & set(done.stderr.split())
