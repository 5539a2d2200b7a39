"""`.status` and `.io-status` files: those of a real grid, and malformed ones."""

from __future__ import annotations

import contextlib
import json
from datetime import UTC, datetime
from typing import Any

import anyio
import anyio.lowlevel
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiomig._core.errors import CommandFailed, JobCanceled, JobError, JobExpired, JobFailed, ResultsMissing
from aiomig._core.models import Attempt, CommandResult, JobState, JobStatus
from aiomig._core.status_file import StatusFileParser
from aiomig._jobs.results import job_result, parse_io_status
from aiomig._spec.jobspec import JobSpec
from aiomig._spec.mrsl import Description
from aiomig._spec.plan import Plan
from tests.steps import steps
from tests.unit.jobs.accounts import parse_status, raise_for, result
from tests.unit.recordings import EXCHANGES, FOLDER

GOLDEN: dict[str, dict[str, Any]] = json.loads((FOLDER / "golden-status.json").read_text("utf-8"))
JOB = "7_11_23_2026__5_4_49_localhost.0"


def status(state: JobState, **fields: Any) -> JobStatus:
    return JobStatus(job_id=JOB, state=state, native=state.value, **fields)


def pairs(data: bytes, commands: list[str], **ours: int) -> list[tuple[str, int | None]]:
    return [(each.command, each.exit_code) for each in parse_status(data, commands, **ours).commands]


# `out-own-files` writes into its own .status. The table shows the raw lines; the parser leaves them out.
RAW_IN_TABLE: dict[str, list[int | None]] = {"out-own-files": [0, 1, 0, 0, 0, 0]}


@pytest.mark.parametrize("case", sorted(GOLDEN))
def test_golden_status(case: str) -> None:
    golden = GOLDEN[case]
    report = parse_status(golden["status"].encode(), golden["commands"])
    words = [word for word in golden["codes"].split() if word == "(none)" or word.isdigit()]
    codes: list[int | None] = [None if word == "(none)" else int(word) for word in words]
    expected = RAW_IN_TABLE.get(case, codes)
    assert report.reported
    assert [each.exit_code for each in report.commands][: len(expected)] == expected
    # Each command is the user's own text, not the one with backticks, and none is lost.
    assert {each.command for each in report.commands} == set(golden["commands"])
    assert all(each.exit_code is None for each in report.commands[len(expected) :])


@pytest.mark.parametrize("case", sorted(GOLDEN))
def test_golden_without_commands(case: str) -> None:
    lines = [line for line in GOLDEN[case]["status"].split("\n") if line]
    report = parse_status(GOLDEN[case]["status"].encode(), ())
    if case != "out-own-files":
        assert len(report.commands) + len(report.notes) == len(lines)


@pytest.mark.parametrize(
    ("job", "codes"),
    [("exit3", [0, 3, 0]), ("files", [0]), ("noinput", [1]), ("nonascii", [0]), ("sleep", [0, 0, 0])],
)
def test_downloaded_status(job: str, codes: list[int]) -> None:
    report = parse_status(EXCHANGES[f"cert_redirect--job_output-{job}-status"].body, ())
    assert [each.exit_code for each in report.commands] == codes


def test_quotes_come_back_by_position() -> None:
    commands = ["echo 'a'", "echo `a`", "echo 'a'"]
    data = b"echo `a` 0\necho `a` 1\necho `a` 2\n"
    assert pairs(data, commands) == [("echo 'a'", 0), ("echo `a`", 1), ("echo 'a'", 2)]


def test_own_lines_are_hidden() -> None:
    commands = ["mv x 'a b'", "echo 'hi'", "false", "mv o 'o p'"]
    data = b"mv x `a b` 0\necho `hi` 0\nfalse 1\nmv o `o p` 0\n"
    assert pairs(data, commands, before=1, after=1) == [("echo 'hi'", 0), ("false", 1)]


def test_early_end_leaves_the_rest_without_code() -> None:
    report = parse_status(b"pre 0\necho a 0\nexit 0 ", ["pre", "echo a", "exit 0", "echo b", "post"], before=1, after=1)
    assert report.commands == (
        CommandResult("echo a", 0),
        CommandResult("exit 0", None),
        CommandResult("echo b", None),
    )


def test_command_that_looks_like_command_and_code() -> None:
    assert pairs(b"exit 0", ["exit 0"]) == [("exit 0", None)]
    assert pairs(b"sleep 1 0\nsleep 10 1\n", ["sleep 1", "sleep 10"]) == [("sleep 1", 0), ("sleep 10", 1)]


def test_system_lines_are_notes() -> None:
    report = parse_status(b"system: chmod 1\nsystem: set environments 1\ntrue 0\nsystem: umount 2\n", ["true"])
    assert report.commands == (CommandResult("true", 0),)
    assert report.notes == ("system: chmod 1", "system: set environments 1", "system: umount 2")


def test_job_that_removes_its_status() -> None:
    assert pairs(b"0\necho x 3\n", ["echo first", "rm $MIG_JOBID.status", "echo x"]) == [
        ("rm $MIG_JOBID.status", 0),
        ("echo x", 3),
        ("echo first", None),
    ]
    assert pairs(b"5\n", ["echo", "rm *.status"]) == [("rm *.status", 5), ("echo", None)]
    assert pairs(b"5\n", []) == [("", 5)]


def test_job_that_adds_lines() -> None:
    commands = ["cat table >> $MIG_JOBID.status", "false"]
    data = b"cat table >> $MIG_JOBID.status one 7\ntwo 8\nthree\n0\nfalse 1\n"
    report = parse_status(data, commands)
    assert report.commands == (CommandResult(commands[0], 0), CommandResult("false", 1))
    assert report.notes == ("three", "two 8")


def test_code_of_an_unknown_command_is_not_lost() -> None:
    assert pairs(b"true 0\nsomething else 3\n", ["true"]) == [("true", 0), ("something else", 3)]


def test_odd_separators_do_not_split() -> None:
    command = "printf 'a\x0c\u2028b\x85'"
    assert pairs(f"{command.replace(chr(39), '`')} 0\n".encode(), [command]) == [(command, 0)]


@pytest.mark.parametrize("data", [b"", b"\n", b" \n\n"])
def test_nothing_arrived(data: bytes) -> None:
    report = parse_status(data, ["true"])
    assert not report.reported
    assert report.commands == (CommandResult("true", None),)


def test_io_status() -> None:
    text = GOLDEN["in-missing"]["io-status"].encode()
    steps = parse_io_status(text)
    assert len(steps) == 18
    assert steps.count(("get_input_files", 22)) == 5
    assert steps[-3:] == (("output_files_missing", 0), ("send_output_files", 0), ("send_io_files", 0))
    assert parse_io_status(b"") == ()
    assert parse_io_status(b"x\n\xff\xfe 1 2\nget_executables nine\nget_executables 0\n") == (("get_executables", 0),)


def test_result_holds_everything() -> None:
    files = {
        "status": b"system: chmod 1\nfalse 1\n",
        "stdout": b"out\xff",
        "stderr": b"err",
        "io-status": b"get_executables 22\n",
    }
    made = result(status(JobState.FINISHED), files, ["false"])
    assert made.commands == (CommandResult("false", 1),)
    assert made.stdout == "out\ufffd"
    assert made.stderr == "err"
    assert made.notes == ("system: chmod 1",)
    assert made.transfers == (("get_executables", 22),)
    assert made.exit_code == 1
    assert not made.ok


def test_raise_for_command_failed() -> None:
    made = result(status(JobState.FINISHED), {"status": b"true 0\nx 127\n", "stderr": b"x: not found"}, ["true", "x"])
    with pytest.raises(CommandFailed, match=r"'x' exited with 127 \(command not found: .*\)\nx: not found") as caught:
        raise_for(JOB, made)
    assert (caught.value.command, caught.value.exit_code) == ("x", 127)
    assert caught.value.result is made


def test_raise_for_results_missing() -> None:
    for files in ({}, {"status": b"", "stdout": b""}):
        with pytest.raises(ResultsMissing) as caught:
            raise_for(JOB, result(status(JobState.FINISHED), files, ["true"]))
        assert caught.value.missing == (f"{JOB}.status",)


def test_raise_for_failed_lists_the_attempts() -> None:
    when = datetime(2026, 11, 23, 5, 4, 49, tzinfo=UTC)
    attempts = (
        Attempt(queued_at=when, executing_at=when, failed_at=when, reason="RESOURCE DIED", resource="a_exe1"),
        Attempt(failed_at=when, reason="JOB TIMEOUT"),
        Attempt(),
    )
    with pytest.raises(JobFailed) as caught:
        raise_for(JOB, result(status(JobState.FAILED, attempts=attempts), {}))
    assert str(caught.value) == (
        f"job {JOB}: the grid gave up after 3 attempts:\n"
        "- RESOURCE DIED, on a_exe1, queued 2026-11-23 05:04:49 UTC, executing 2026-11-23 05:04:49 UTC, "
        "failed 2026-11-23 05:04:49 UTC\n"
        "- JOB TIMEOUT, failed 2026-11-23 05:04:49 UTC\n"
        "- no reason given"
    )
    with pytest.raises(JobFailed, match="at an unknown time and reported no reason"):
        raise_for(JOB, result(status(JobState.FAILED), {}))
    with pytest.raises(JobFailed, match="after the only attempt"):
        raise_for(JOB, result(status(JobState.FAILED, attempts=attempts[:1]), {}))


def test_raise_for_the_other_ends() -> None:
    when = datetime(2026, 11, 23, 5, 4, 49, tzinfo=UTC)
    with pytest.raises(JobCanceled, match="canceled at 2026-11-23 05:04:49 UTC"):
        raise_for(JOB, result(status(JobState.CANCELED, canceled_at=when), {}))
    with pytest.raises(JobExpired, match="longer than the grid allows"):
        raise_for(JOB, result(status(JobState.EXPIRED), {}))


@pytest.mark.parametrize("state", [state for state in JobState if not state.is_final])
def test_nothing_to_raise_before_the_end(state: JobState) -> None:
    raise_for(JOB, result(status(state), {}))


def test_good_end_raises_nothing() -> None:
    raise_for(JOB, result(status(JobState.FINISHED), {"status": b"true 0\nexit 0 "}, ["true", "exit 0", "never"]))


LINES = st.sampled_from([b"a 0", b"a", b"0", b"a b 3", b"system: x 1", b"", b" ", b"a 9999", b"' 1", b"` 1", b"\xff 2"])
COMMANDS = st.lists(st.sampled_from(["a", "a b", "'", "`", "", "system: x", "0"]), max_size=6)
FILES = st.binary(max_size=80) | st.lists(LINES, max_size=8).map(b"\n".join)


@given(FILES, COMMANDS, st.integers(0, 4), st.integers(0, 4))
def test_any_file_is_read(data: bytes, commands: list[str], before: int, after: int) -> None:
    report = parse_status(data, commands, before=before, after=after)
    users = commands[before : max(before, len(commands) - after)]
    assert {each.command for each in report.commands} >= set(users)
    parse_io_status(data)
    with contextlib.suppress(JobError):
        raise_for(JOB, result(status(JobState.FINISHED), {"status": data}, commands, before, after))


@given(
    st.lists(st.tuples(st.text(st.characters(exclude_characters="\n", codec="utf-8"), min_size=1), st.integers(0, 255)))
)
def test_a_plain_run_comes_back(run: list[tuple[str, int]]) -> None:
    run = [(command.strip(), code) for command, code in run if command.strip()]
    data = "".join(f"{command.replace(chr(39), '`')} {code}\n" for command, code in run).encode()
    assert pairs(data, [command for command, _ in run]) == run


# -- bounds


@pytest.mark.parametrize(
    ("line", "commands"),
    [
        ("true 0", ["true"]),
        ("zzz", ["true"]),
        ("zzz zzz zzz zzz", ["c" * length + " x" for length in range(1, 300)]),
        ("c c c c c c c", [("c " * length).strip() for length in range(1, 300)]),
        ("7", ["true"]),
        ("7", []),
    ],
)
def test_reading_takes_linear_time(line: str, commands: list[str]) -> None:
    def read(count: int) -> None:
        StatusFileParser(commands).feed([line] * count)

    assert steps(read, 2000) <= 2.5 * steps(read, 1000)


async def test_other_tasks_run_while_many_lines_are_read() -> None:
    turns = 0

    async def count_turns() -> None:
        nonlocal turns
        while True:
            turns += 1
            await anyio.lowlevel.checkpoint()

    data = b"true 0\n" * 100_000
    async with anyio.create_task_group() as group:
        group.start_soon(count_turns)
        made = await job_result(status(JobState.FINISHED), {"status": data}, Plan(Description({"EXECUTE": ("true",)})))
        group.cancel_scope.cancel()
    assert turns >= 150
    assert made.ok
    assert len(made.commands) == 20_000
    assert made.notes == ("80000 reports with exit code 0 are left out",)


def test_a_failure_after_many_reports_is_kept() -> None:
    report = parse_status(b"true 0\n" * 30_000 + b"true 3\n", ["true"])
    assert report.commands[-1] == CommandResult("true", 3)


async def test_a_status_file_that_is_too_long_is_no_report() -> None:
    plan = Plan(Description({"EXECUTE": ("true",)}))
    made = await job_result(status(JobState.FINISHED), {"status": b"true 0\n" * 100}, plan, longest_status=350)
    assert not made.reported
    assert made.staging == ("staging: the .status file is too long (700 bytes): the exit codes are unknown",)
    with pytest.raises(ResultsMissing, match="700 bytes"):
        raise_for(JOB, made)


def test_of_a_long_io_status_the_end_is_read() -> None:
    transfers = parse_io_status(b"get_input_files 22\n" * (1 << 16) + b"get_input_files 0\n")
    assert len(transfers) < 4000
    assert transfers[-1] == ("get_input_files", 0)


# -- staging, in words


def test_staging_in_words() -> None:
    plan = JobSpec("true", outputs=["a.txt", ("latest", "x")]).plan("t")
    made = anyio.run(job_result, status(JobState.FINISHED), {"io-status": b"output_files_missing 1\n"}, plan)
    (words,) = made.staging
    assert "1 of the outputs of 2 (a.txt, latest)" in words
    assert "symbolic link" in words
    assert result(status(JobState.FINISHED), {"io-status": b"output_files_missing 0\n"}).staging == ()
