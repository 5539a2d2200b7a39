"""The checks of commands before a submit: of their text, and with ``bash -n``."""

from __future__ import annotations

import logging
import os
import subprocess
from typing import TYPE_CHECKING

import anyio
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import aiomig
from aiomig._shell import check
from aiomig._shell.check import CommandCheck, Reading, is_plain, read_only
from aiomig._shell.lint import endings, warnings_of
from aiomig._shell.script import script
from aiomig._spec.mrsl import Description
from tests.steps import steps

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

# -- what ends the shell

ENDING = [
    "exit 3",
    "exit",
    "exit $?",
    "exit '3'",
    "exit 99999999",
    "cd x && exit 1",
    "cd x || exit 1",
    "true; exit 4 # no",
    "a | b; exit 1",
    "sleep 1 & exit 2",
    "! exit 3",
    "time exit 1",
    "{ exit 3; }",
    "command exit 3",
    "X=1 exit 3",
    "x=$(a b) || exit 1",
    "echo `date`; exit 1",
    'echo "${x:-it\'s}"; exit 3',
    "echo $'it\\'s'; exit 3",
    "[[ $x == (a|b) ]] && exit 1",
    "[ -f x ] || { echo no; exit 1; }",
    "if ! cmd; then exit 1; fi",
    "if [ -d a ]; then echo; else exit 7; fi",
    "if true; then if false; then exit 2; fi; fi",
    "while read x; do exit 3; done < f",
    "until exit 3; do :; done",
    "for i in 1 2; do exit $i; done",
    "for ((i=0;i<3;i++)); do exit 1; done",
    "case $x in a) exit 3;; *) true;; esac",
    "case $x in (a) true;; *) exit 3;; esac",
    "f() { exit 3; }",
    "function f { exit 3; }",
    "a=(1 2); exit 1",
    "set -e",
    "set -euo pipefail",
    "set -o errexit",
    "set -x -e",
    "set -o pipefail -e",
    "set -u",
    "exec ./prog",
    "exec ls >out",
    "exec 3>log ls",
    "exec -a n ls",
    "FOO=1 exec ls",
]
GOING_ON = [
    "echo exit 3",
    "exit 0",
    "exit 256",
    "exit '0'",
    "exit 3 | cat",
    "echo | exit 3",
    "exit 3 &",
    "a && exit 3 &",
    "( exit 3 )",
    "(cd x && exit 1)",
    "if true; then (exit 3); fi",
    "bash -c 'exit 3'",
    'bash -c "exit 3"',
    "bash -e script.sh",
    "x=$(exit 3)",
    "`exit 3`",
    "diff <(exit 3) b",
    "echo \"$(cat 'a' ; exit 3)\"",
    "printf '%s' \"a; exit 3\"",
    "trap 'exit 1' TERM",
    "echo x # exit 3",
    "# exit 3",
    "echo \\; exit 3",
    "cat < exit",
    "echo > exit",
    "ls exit",
    "./exit 3",
    "command -v exit",
    "for exit in 1 2; do :; done",
    "case exit in exit) true;; esac",
    "case x in exit) ;; set|exec) ;; esac",
    "a=(exit 3)",
    "coproc exit 3",
    "set",
    "set -x",
    "set -o pipefail",
    "set +e",
    "set -- -e",
    "set a -e",
    "git set -e",
    "exec",
    "exec >log 2>&1",
    "exec 3<file",
    "exec {fd}>file",
]


@pytest.mark.parametrize("command", ENDING)
def test_commands_that_end_the_shell(command: str) -> None:
    (warning,) = endings([command])
    assert (warning.field, warning.value) == ("commands", command)
    assert "shell of the job" in warning.problem
    assert "a grid then throws away all outputs" in warning.problem
    assert warning.remedy


@pytest.mark.parametrize("command", GOING_ON)
def test_no_false_alarms(command: str) -> None:
    assert endings([command]) == []


@pytest.mark.parametrize(
    ("commands", "places"),
    [
        (["set -e", "true", "if x; then", "exit 2", "fi"], [0, 3]),
        (["(", "exit 3", ")"], []),
        (["while read x; do", "exit 3", "done"], [1]),
        (["case x in", "a) exit 3;;", "b) true;;", "*) exit 4;; esac"], [1, 3]),
        (['echo "unbalanced', "exit 3"], [1]),
        (["echo 'unbalanced; exit 3", "true"], []),
        (["exit 3; exit 3", "exit 0"], [0]),
    ],
)
def test_over_several_commands(commands: list[str], places: list[int]) -> None:
    assert [warning.field for warning in endings(commands)] == [f"commands[{place}]" for place in places]


@given(st.lists(st.text("exit exec set -e3;&|(){}[]<>$'\"`\\#!\tifdonecasesac\n", max_size=80), max_size=5))
def test_any_text_can_be_read(commands: list[str]) -> None:
    endings(commands)


@pytest.mark.parametrize(
    "text",
    ["$(", "exit ", "{ ", '"${', "a'", "; exit 3", "( ", "`", "case x in ", "${", "\\'", "$'", "1", "<1 ", "x= "],
)
def test_long_commands_are_read_in_linear_time(text: str) -> None:
    few, many = ([text * 6_000 + "exit"] * count for count in (4, 8))
    assert steps(warnings_of, many) <= 2.5 * steps(warnings_of, few)
    is_plain(text * 20_000)


def test_a_list_of_arguments_is_not_a_list_of_commands() -> None:
    (warning,) = warnings_of(["ls", "-l", "/etc/hostname"])
    assert (warning.field, warning.value) == ("commands[1]", "-l")
    assert "each entry is a command line" in warning.problem
    assert "shlex.join" in warning.remedy
    assert warnings_of(["ls -l", "cat /etc/hostname"]) == []


@pytest.mark.parametrize("command", ['echo "a', "echo 'a", "echo it's", 'echo "a" \'b', "echo $'a\\'", 'echo "a\\"'])
def test_unbalanced_quotes(command: str) -> None:
    (warning,) = warnings_of(["true", command])
    assert (warning.field, warning.value) == ("commands[1]", command)
    assert "unbalanced quote" in warning.problem
    assert "255" in warning.problem


@pytest.mark.parametrize(
    "command",
    ["echo \\'", "echo # it's", 'echo "it\'s"', "echo $'it\\'s'", "echo '\"'", 'echo "\\""', "echo ${x:-it's}"],
)
def test_balanced_quotes(command: str) -> None:
    assert warnings_of([command]) == []


def test_a_keyword_among_the_commands() -> None:
    spec = aiomig.JobSpec.from_mrsl("::EXECUTE::\necho x\n::Memory::\n64\n")
    (warning,) = warnings_of(spec.commands)
    assert warning.field == "commands[1]"
    assert "put a blank line before it" in warning.remedy
    assert warnings_of(["::", ":: MEMORY ::", "::LABEL::", ":MEMORY", "echo ::MEMORY::"]) == []


def test_thousands_of_commands() -> None:
    assert warnings_of(["true"] * 2000) == []
    (warning,) = warnings_of(["true"] * 2001)
    assert (warning.field, warning.value) == ("commands", "true")
    assert "2001" in warning.problem
    assert "executables" in warning.remedy


# -- what needs no bash

PLAIN = [
    "true",
    "python3 fit.py data.csv > out.txt",
    'echo "a b"',
    "echo 'it is'",
    "a && b || c ; d | e",
    "x=1 y=2 cmd",
    "cat < i >> out",
    "printf '%s\\n' x",
    "echo if.txt *.csv",
    "exit 3",
]
NOT_PLAIN = (
    "( ) ` ${ $( \\ ' \" <<E [[ a[ ; && | & > >2>&1 &>&2 { } ! if then elif else fi for do done case esac while until "
    "select function coproc time"
)


@pytest.mark.parametrize("command", PLAIN)
def test_plain_commands(command: str) -> None:
    assert is_plain(command)


@pytest.mark.parametrize("word", NOT_PLAIN.split())
def test_commands_that_are_not_plain(word: str) -> None:
    assert not is_plain(word)
    assert not is_plain(f"echo; {word}")


_PIECES: str = (
    "a b1 1 2 > < >> 2>&1 >&2 ' \" $ ${x} $x [ ] { } ! * ? ( ) # = - if then fi do done in for case esac time é \\ ` %"
    " += a= [[ ]] function << &> ~ ^ @ : $$ ; & | && || ${ $("
)


def bash_takes(commands: Sequence[str]) -> bool:
    text = script(Description({"EXECUTE": tuple(commands)}), job_id="JOB", local_name="JOB", control="/dev/null")
    return subprocess.run(["bash", "-n"], input=text.encode(), capture_output=True, check=False).returncode == 0


@settings(max_examples=40, deadline=None)
@given(
    st.lists(
        st.lists(st.sampled_from([*_PIECES.split(), " ", " ", "\t"]), min_size=1, max_size=10).map(
            lambda words: "".join(words)
        ),
        min_size=50,
        max_size=50,
    )
)
def test_bash_takes_whatever_is_plain(commands: list[str]) -> None:
    plain = [command.strip() for command in commands if is_plain(command.strip())]
    if plain and not bash_takes(plain):
        raise AssertionError(next((command for command in plain if not bash_takes([command])), plain))


# -- bash -n


class Reads:
    """Counts the scripts that bash reads."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.texts: list[str] = []
        self.most = self._now = 0

        async def read(bash: str, text: str, seconds: float) -> Reading | None:
            self.texts.append(text)
            self._now += 1
            self.most = max(self.most, self._now)
            try:
                await anyio.lowlevel.checkpoint()
                return await read_only(bash, text, seconds)
            finally:
                self._now -= 1

        patch.setattr(check, "read_only", read)


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> Reads:
    return Reads(monkeypatch)


WRONG = {
    "echo ${": (["true", "echo ${", "true"], 1, "unexpected EOF while looking for matching"),
    "backtick": (["echo `", "true"], 0, "matching ``'"),
    "$(": (["true", "echo $(", "true"], 1, "syntax error"),
    "(": (["true", "(", "true", "true"], 1, "syntax error"),
    ")": (["true", "echo a )"], 1, "near unexpected token `)'"),
    "{": (["{ echo", "echo $(date)"], 0, "unexpected end of file"),
    "}": (["echo $(date)", "echo b; }", "true"], 1, "near unexpected token `}'"),
    ";": (["; true"], 0, "near unexpected token `;'"),
    "%(": (["echo %(x)s"], 0, "near unexpected token `('"),
    "loop": (["for x in 1 2", "do", "echo", "done"], 0, "near unexpected token"),
    "if": (["if true; then", "true"], 0, "syntax error"),
    "case": (["case x in"], 0, "syntax error"),
    "array": (["a=(1 2"], 0, "syntax error"),
    "function": (["f() {"], 0, "syntax error"),
    "here": (["true", "cat <<E", "x", "E"], 1, "here-document delimited by end-of-file (wanted `E')"),
}


@pytest.mark.parametrize("name", WRONG)
async def test_syntax_errors_are_told_with_bashs_words(name: str) -> None:
    commands, place, words = WRONG[name]
    (fault,) = await CommandCheck().faults(commands)
    assert fault.field == (f"commands[{place}]" if len(commands) > 1 else "commands")
    assert fault.value == commands[place]
    assert fault.problem.startswith("bash says: ")
    assert words in fault.problem
    assert "inputs=[(b'…', 'name')]" in fault.remedy if name == "here" else "executables" in fault.remedy


async def test_bash_runs_once_and_reports_the_first_error(reads: Reads) -> None:
    (fault,) = await CommandCheck().faults(["echo $(a)", "echo (", "if true; then", "echo )", "fi", "echo `"])
    assert fault.value == "echo ("
    assert len(reads.texts) == 1


async def test_what_is_never_closed_is_found_far_above() -> None:
    (fault,) = await CommandCheck().faults(["echo $(a)", "{ echo", *["echo $(a)"] * 10])
    assert fault.field == "commands[1]"
    (fault,) = await CommandCheck().faults(["{ echo", "true", *["echo $(a)"] * 30])
    assert fault.field == "commands[0]"


RIGHT = [
    ['echo "unbalanced'],
    ["echo 'unbalanced"],
    ["echo \\"],
    ["for x in 1 2; do", "echo $x", "done"],
    ["if true; then", "echo; fi"],
    ["f() {", "echo", "}", "f"],
    ["cat <<< $(date)"],
    ["{ echo $(date)", "}"],
    ["echo a; }; {", "echo b"],
    ["coproc cat; x=${x@Q}; a |& b"],
    ["echo $((1 + 2)) ${#x} # comment"],
]


@pytest.mark.parametrize("commands", RIGHT)
async def test_what_bash_takes_is_taken(commands: list[str]) -> None:
    assert await CommandCheck().faults(commands) == ()


async def test_plain_commands_need_no_process(reads: Reads) -> None:
    commands = CommandCheck()
    assert await commands.faults(PLAIN) == ()
    assert await commands.faults_of_many([PLAIN] * 10) == [()] * 10
    assert (await commands.verdict(PLAIN)).faults == ()
    assert reads.texts == []


async def test_what_was_good_is_remembered_and_numbers_make_no_difference(reads: Reads) -> None:
    commands = CommandCheck()
    jobs = [[f"./fit $(({number} + 1)) > {number}.txt"] for number in range(50)]
    assert await commands.faults(jobs[0]) == ()
    assert await commands.faults_of_many(jobs) == [()] * 50
    assert len(reads.texts) == 1
    assert await commands.faults(["./fit $((1 + 1)) > a.txt"]) == ()
    assert len(reads.texts) == 2


async def test_what_is_remembered_is_bounded(reads: Reads) -> None:
    commands = CommandCheck(remembered=2)
    for name in ("a", "b", "a", "c", "a", "b"):
        await commands.faults([f"echo $({name})"])
    assert len(reads.texts) == 4  # a, b, c, and b again


async def test_a_session_has_few_processes_at_once(reads: Reads) -> None:
    commands = CommandCheck()
    jobs = [[f"echo $({name})"] for name in "abcdefghijkl"] + [["echo ("]]
    async with anyio.create_task_group() as group:
        group.start_soon(commands.faults_of_many, jobs)
        group.start_soon(commands.faults_of_many, jobs[::-1])
    assert reads.most == 4
    found = await commands.faults_of_many(jobs)
    assert [len(faults) for faults in found] == [0] * 12 + [1]


async def test_warnings_are_logged_once_with_their_fields(caplog: pytest.LogCaptureFixture) -> None:
    commands = CommandCheck()
    with caplog.at_level(logging.WARNING, "aiomig"):
        for _ in range(3):
            assert await commands.faults(["true", "exit 0"]) == ()
            assert await commands.faults(["true", "exit 3"]) == ()
    (record,) = caplog.records
    assert (record.name, record.levelname) == ("aiomig", "WARNING")
    assert {"event_name": "command_warning", "field": "commands[1]", "command": "exit 3"}.items() <= vars(
        record
    ).items()
    assert "( exit 3 )" in record.getMessage()


# -- where there is no verdict


async def test_no_bash_no_verdict(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setattr("shutil.which", lambda name, path=None: None)
    commands = CommandCheck()
    with caplog.at_level(logging.DEBUG, "aiomig"):
        assert await commands.faults(["echo ("]) == ()
        assert await commands.faults(["echo )"]) == ()
    assert [record.levelname for record in caplog.records] == ["DEBUG"]


def program(folder: Path, text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Puts a program into the place of bash."""
    (folder / "bash").write_text(f"#!/bin/sh\n{text}\n")
    (folder / "bash").chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")


@pytest.mark.parametrize(
    "text",
    [
        "exit 127",
        "kill -9 $$",
        "exit 2",
        "echo 'bash: line 5: syntax error' >&2; exit 0",
        "echo 'x: line 1: |&' >&2; exit 2",
    ],
    ids=["missing", "killed", "silent", "content", "old"],
)
async def test_an_odd_bash_is_not_believed(text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program(tmp_path, text, monkeypatch)
    assert await CommandCheck().faults(["echo ("]) == ()


async def test_a_bash_that_cannot_be_started(tmp_path: Path) -> None:
    assert await read_only(str(tmp_path / "nosuch"), "true", 5) is None
    assert await read_only(str(tmp_path), "true", 5) is None


@pytest.fixture(params=["pidfd", "polling"])
def _both_ways(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param == "polling":
        # Not os.pidfd_open itself, which asyncio uses from Python 3.12 on.
        monkeypatch.setattr(check, "has_pidfd", lambda: False)


@pytest.mark.usefixtures("_both_ways")
async def test_bash_gets_the_text_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program(tmp_path, f"cd {tmp_path}; echo $# $1 >args; cat >text; env >variables; echo said >&2; exit 3", monkeypatch)
    monkeypatch.setenv("BASH_ENV", "x")
    text = "echo blåbær" * 100_000
    assert await read_only(str(tmp_path / "bash"), text, 60) == (3, "said\n")
    assert (tmp_path / "args").read_text() == "1 -n\n"
    assert (tmp_path / "text").read_text("utf-8") == text
    assert "BASH_ENV" not in (tmp_path / "variables").read_text()


@pytest.mark.usefixtures("_both_ways")
async def test_cancelled_it_leaves_no_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    os.mkfifo(tmp_path / "pid")
    pipe = os.open(tmp_path / "pid", os.O_RDWR | os.O_NONBLOCK)
    program(tmp_path, f"echo $$ >{tmp_path}/pid; exec sleep 1000", monkeypatch)
    async with anyio.create_task_group() as group:
        group.start_soon(read_only, str(tmp_path / "bash"), "true", 1000)
        await anyio.wait_readable(pipe)
        group.cancel_scope.cancel()
    with pytest.raises(ProcessLookupError):
        os.kill(int(os.read(pipe, 100)), 0)
    os.close(pipe)


@pytest.mark.usefixtures("_both_ways")
async def test_it_may_not_take_long(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program(tmp_path, "exec sleep 1000", monkeypatch)
    assert await CommandCheck(seconds=0).faults(["echo ("]) == ()


# -- in a session


async def test_it_can_be_switched_off(tmp_path: Path) -> None:
    async with aiomig.local(tmp_path / "home") as mig:
        with pytest.raises(aiomig.SpecError):
            await mig.submit("echo (")
        mig.check_commands = False
        jobs = [await mig.submit("echo (", retries=0), *await mig.submit_many([aiomig.JobSpec("echo (", retries=0)])]
        assert {(await job.wait()).state for job in jobs} == {aiomig.JobState.FAILED}


async def test_a_submit_cancelled_meanwhile_makes_no_job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    os.mkfifo(tmp_path / "news")
    pipe = os.open(tmp_path / "news", os.O_RDWR | os.O_NONBLOCK)
    async with aiomig.local(tmp_path / "home") as mig:
        program(tmp_path, f"echo begun >{tmp_path}/news; exec sleep 1000", monkeypatch)
        async with anyio.create_task_group() as group:
            group.start_soon(mig.submit, "echo $(a)")
            await anyio.wait_readable(pipe)
            group.cancel_scope.cancel()
        assert await mig.jobs() == []
    os.close(pipe)


async def test_a_sweep_reports_the_job_and_goes_on(tmp_path: Path) -> None:
    def job(text: str) -> aiomig.JobSpec:
        return aiomig.JobSpec(f"echo {text}")

    async with aiomig.local(tmp_path / "home") as mig:
        sweep = mig.sweep(job, ["a", "$(b", "c"], order="submission")
        assert [done.parameter async for done in sweep] == ["a", "c"]
        ((parameter, error),) = sweep.errors
        assert parameter == "$(b"
        assert isinstance(error, aiomig.SpecError)
        with pytest.raises(aiomig.SpecError, match="bash says"):
            async for _ in mig.sweep(job, ["$(b"], on_failure="raise"):
                pass
