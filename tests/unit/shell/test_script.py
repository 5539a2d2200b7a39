"""The script of a job, run by bash, records exit codes as the recorded runs do (docs/protocol.md#exit-codes)."""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from aiomig._shell.script import script
from aiomig._spec.mrsl import Description

if TYPE_CHECKING:
    from pathlib import Path

BASH = shutil.which("bash") or "/bin/bash"
ID = "1_1_1_2026__0_0_0_local.0"
NAME = "010126-000000.1"


@dataclass(frozen=True)
class Run:
    """The files that a script left."""

    code: int
    status: str
    stdout: str | None
    stderr: str | None
    control: list[str]
    log: str


class Node:
    """A job directory in which scripts are run."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "job dir's"
        self.folder.mkdir()
        self.control = folder / "the 'control' file"

    def run(self, *commands: str, **more: tuple[str, ...]) -> Run:
        text = script(
            Description({"EXECUTE": commands, "JOBNAME": ("Fit",), **more}),
            job_id=ID,
            local_name=NAME,
            control=str(self.control),
        )
        return self.start(text)

    def start(self, text: str) -> Run:
        (self.folder / f"{NAME}.job").write_text(text)
        ended = subprocess.run(
            [BASH, f"./{NAME}.job"],
            cwd=self.folder,
            env={"PATH": os.environ["PATH"], "MIG_JOBDIR": f"{self.folder}//."},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=False,
        )
        control = self.control.read_text().splitlines() if self.control.exists() else []
        return Run(
            ended.returncode,
            self.file("status") or "",
            self.file("stdout"),
            self.file("stderr"),
            control,
            self.file("log") or "",
        )

    def file(self, suffix: str) -> str | None:
        path = self.folder / f"{ID}.{suffix}"
        return path.read_text() if path.exists() else None


@pytest.fixture
def node(tmp_path: Path) -> Node:
    return Node(tmp_path)


def test_one_line_for_each_command(node: Node) -> None:
    run = node.run("echo hello", "false", "no-such-program", "bash -c 'exit 77'")
    assert run.code == 0
    assert run.status == "echo hello 0\nfalse 1\nno-such-program 127\nbash -c `exit 77` 77\n"
    assert run.stdout == "hello\n"
    assert run.stderr is not None
    assert f"./{NAME}.job: line " in run.stderr
    assert run.stderr.endswith("no-such-program: command not found\n")
    assert run.log == (
        "EXECUTING: echo hello\n--Exit code: 0\nEXECUTING: false\n--Exit code: 1\n"
        "EXECUTING: no-such-program\n--Exit code: 127\nEXECUTING: bash -c `exit 77`\n--Exit code: 77\n"
    )


def test_one_shell_for_all(node: Node) -> None:
    run = node.run("mkdir d", "cd d", "export A=1", "B=2", "f() { echo f; }", 'basename "$PWD"; echo $A $B; f')
    assert run.stdout == "d\n1 2\nf\n"


def test_the_code_of_the_last_command_is_seen_by_the_next(node: Node) -> None:
    assert node.run("(exit 5)", "echo $?", "echo $?").stdout == "5\n0\n"


def test_standard_files(node: Node) -> None:
    run = node.run("cat; echo out; echo err >&2", "umask", "echo $-")
    assert (run.stdout, run.stderr) == ("out\n0022\nhB\n", "err\n")


@pytest.mark.parametrize(("quote", "shown"), [('"', 'echo "open'), ("'", "echo `open")])
def test_an_open_quote_is_caught(node: Node, quote: str, shown: str) -> None:
    run = node.run(f"echo {quote}open", "echo next")
    assert run.code == 0
    assert run.status == f"{shown} 255\necho next 0\n"
    assert run.stdout is not None
    assert run.stdout.startswith("open\n    # MiG caught stray quotes in a command! #")
    assert run.stdout.endswith("next\n")


@pytest.mark.parametrize("command", ["exit 0", "exec true", "f() { exit 0; }; f", "set -e; true; exit"])
def test_an_early_good_end_leaves_the_last_line_without_a_code(node: Node, command: str) -> None:
    run = node.run("echo 1", command, "echo never")
    assert run.code == 0
    assert run.status == f"echo 1 0\n{command} "
    assert run.stdout == "1\n"


@pytest.mark.parametrize(
    ("command", "code"),
    [("exit 3", 3), ("set -e; false", 1), ("set -u; echo $NONE", 1), ("exec no-such-program", 127), ("exec false", 1)],
)
def test_an_early_bad_end_is_the_code_of_the_script(node: Node, command: str, code: int) -> None:
    assert node.run("echo 1", command, "echo never").code == code


@pytest.mark.parametrize(
    "commands",
    [("echo (",), ("{ ",), ("echo ${",), ("; true",), ("echo `",), ("cat <<X", "text", "X"), ("for x in 1", "do")],
)
def test_a_syntax_error_runs_no_command_at_all(node: Node, commands: tuple[str, ...]) -> None:
    run = node.run("echo 1 > trace", *commands)
    assert run.code != 0
    assert run.stdout is None
    assert not (node.folder / "trace").exists()
    assert run.control[1:] == [str(run.code)], "it is known also when nobody waits"


def test_a_brace_that_closes_the_group_of_the_script(node: Node) -> None:
    run = node.run("}", "echo never")
    assert run.code != 0
    assert run.stdout is None


def test_a_killed_shell(node: Node) -> None:
    run = node.run("echo 1", "kill -KILL $$")
    assert run.code == -9
    assert len(run.control) == 1


# -- the control file


def test_the_control_file_has_the_number_and_the_code(node: Node) -> None:
    run = node.run("echo $$")
    assert run.stdout is not None
    assert run.control[:2] == [f"pid {run.stdout.strip()}", "0"]


@pytest.mark.parametrize(("command", "code"), [("exit 0", "0"), ("exit 3", "3"), ("trap 'true' EXIT", "0")])
def test_the_code_is_there_however_it_ends(node: Node, command: str, code: str) -> None:
    assert node.run(command).control[1] == code


def test_a_script_whose_control_file_exists_does_nothing(node: Node) -> None:
    node.control.write_text("recovered\n")
    run = node.run("echo 1 > trace")
    assert run.code == 125
    assert run.control == ["recovered"]
    assert sorted(path.name for path in node.folder.iterdir()) == [f"{NAME}.job"]


def test_a_script_runs_once(node: Node) -> None:
    assert node.run("echo 1 >> trace").code == 0
    assert node.run("echo 1 >> trace").code == 125
    assert (node.folder / "trace").read_text() == "1\n"


def test_commands_may_write_over_files(node: Node) -> None:
    assert node.run("echo 1 > file", "echo 2 > file", "cat file").stdout == "2\n"


# -- environment, limits, complaints


def test_environment_lines_are_shell_words_one_after_the_other(node: Node) -> None:
    run = node.run("echo $A $B; echo $C", ENVIRONMENT=("A=1", "B=$A+", "C='two  words'"))
    assert run.stdout == "1 1+\ntwo words\n"


def test_places_in_the_environment_are_filled_in(node: Node) -> None:
    assert node.run("echo $A", ENVIRONMENT=("A=+JOBID+:+JOBNAME+",)).stdout == f"{ID}:Fit\n"


def test_a_bad_environment_is_told_and_the_job_goes_on(node: Node) -> None:
    run = node.run("echo $A$B", ENVIRONMENT=("A=1", "2=x", "B=2"))
    assert run.status == "system: set environments 1\necho $A$B 0\n"
    assert run.stdout == "1\n"


def test_complaints_come_first(node: Node) -> None:
    text = script(
        Description({"EXECUTE": ("true",)}),
        job_id=ID,
        local_name=NAME,
        control=str(node.control),
        complaints=["system: chmod 1"],
    )
    assert node.start(text).status == "system: chmod 1\ntrue 0\n"


def test_limits(node: Node) -> None:
    text = script(
        Description({"EXECUTE": ("ulimit -c -f -t -v",), "CPUTIME": ("20",), "CPUCOUNT": ("2",), "MEMORY": ("512",)}),
        job_id=ID,
        local_name=NAME,
        control=str(node.control),
        limits=True,
    )
    stdout = node.start(text).stdout
    assert stdout is not None
    assert [line.split()[-1] for line in stdout.splitlines()] == ["0", "1048576", "60", "540672"]


@pytest.mark.parametrize(
    "command", ["echo `date +%Y` > /dev/null", "echo 'it''s' \"$(echo x)\"", "echo $'a\\tb'", "echo \\\\"]
)
def test_commands_are_shown_as_they_are_but_for_quotes(node: Node, command: str) -> None:
    run = node.run(command)
    shown = command.replace("'", "`")
    assert run.status == f"{shown} 0\n"


def test_files_of_a_grid_lie_in_the_job_directory(node: Node) -> None:
    node.run("true")
    names = {path.name for path in node.folder.iterdir()}
    assert names == {
        *(
            f"{NAME}.{suffix}"
            for suffix in ("givejob", "inputfiles_available", "job", "system.outputfiles", "user.outputfiles")
        ),
        *(f"{ID}.{suffix}" for suffix in ("log", "status", "stderr", "stdout")),
    }


def test_thousands_of_commands_run_without_a_group(node: Node) -> None:
    commands = [f"echo {number}" for number in range(4000)]
    commands[2000:2003] = ["for x in a b; do", "echo $x", "done"]
    run = node.run(*commands)
    assert run.code == 0
    assert run.stdout is not None
    lines = run.stdout.splitlines()
    assert (lines[0], lines[2000:2002], lines[-1], len(lines)) == ("0", ["a", "b"], "3999", 3999)
    assert run.status is not None
    assert run.status.splitlines()[-1] == "echo 3999 0"
