"""How the commands of a job run, and what its result says about them."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import pytest

import aiomig
from aiomig import CommandFailed, JobFailed, JobState

if TYPE_CHECKING:
    from pathlib import Path

    from .modes import Settings


BINARY = bytes(range(256)) * 3


def codes(result: aiomig.JobResult) -> list[int | None]:
    return [each.exit_code for each in result.commands]


async def test_output_of_one_command(mig: aiomig.Session) -> None:
    result = await (await mig.submit("echo HELLO GRID"))
    assert (result.stdout, result.stderr, result.exit_code, result.ok) == ("HELLO GRID\n", "", 0, True)
    assert result.commands == (aiomig.CommandResult("echo HELLO GRID", 0),)


@pytest.mark.job(["echo one", "false", "echo three"])
async def test_a_failed_command_does_not_stop_the_others(job: aiomig.Job) -> None:
    with pytest.raises(CommandFailed) as caught:
        await job
    assert (caught.value.command, caught.value.exit_code) == ("false", 1)
    result = caught.value.result
    assert result is not None
    assert (codes(result), result.stdout) == ([0, 1, 0], "one\nthree\n")
    assert (result.exit_code, result.ok, result.status.state) == (1, False, JobState.FINISHED)


CODES = {
    "true": 0,
    "false": 1,
    "bash -c 'exit 77'": 77,
    "(exit 256)": 0,
    "no-such-program-at-all": 127,
    "echo x > plain; ./plain": 126,
    "bash -c 'kill -9 $$'": 137,
    "bash -c 'kill -TERM $$'": 143,
    'echo "unbalanced': 255,
    "! true": 1,
}


@pytest.mark.combined("test_exit_codes")
@pytest.mark.parametrize("command", CODES)
@pytest.mark.job.with_args(lambda command: command)
async def test_exit_code(job: aiomig.Job, command: str) -> None:
    code, result = CODES[command], await job.result(check=False)
    assert (result.exit_code, codes(result)) == (code, [code])
    assert (result.status.state, result.ok) == (JobState.FINISHED, code == 0)


@pytest.mark.job(list(CODES))
async def test_exit_codes(job: aiomig.Job) -> None:
    result = await job.result(check=False)
    assert {each.command: each.exit_code for each in result.commands} == CODES
    assert (result.exit_code, result.status.state) == (1, JobState.FINISHED)


@pytest.mark.job(["echo before", "exit 0", "echo never"])
async def test_an_early_exit_0_is_a_good_end(job: aiomig.Job) -> None:
    result = await job
    assert (result.stdout, codes(result), result.exit_code) == ("before\n", [0, None, None], 0)


@pytest.mark.parametrize(
    "commands",
    [
        ["echo a", "exit 3"],
        ["set -e", "echo a", "false", "echo b"],
        ["set -u", "echo $NO_SUCH_VARIABLE"],
        ["kill $$"],
        ["kill -9 $$"],
    ],
)
@pytest.mark.job.with_args(lambda commands: commands, retries=0)
async def test_a_shell_that_dies_fails_the_attempt(mig: aiomig.Session, job: aiomig.Job, commands: list[str]) -> None:
    result = await job.result(check=False)
    assert (result.status.state, result.exit_code, result.reported) == (JobState.FAILED, None, False)
    assert codes(result) == [None] * len(commands)
    assert not await mig.files.exists(f"job_output/{job.id}")


@pytest.mark.job(["echo a", "[ -d nosuch ] || exit 3"], retries=0)
async def test_a_failure_names_the_command_that_may_have_ended_the_shell(job: aiomig.Job) -> None:
    with pytest.raises(JobFailed, match=r"may be the cause: '\[ -d nosuch \] \|\| exit 3'$"):
        await job


async def test_local_mode_keeps_what_a_failed_attempt_wrote(local_settings: Settings) -> None:
    async with local_settings.session() as mig:
        job = await mig.submit(["echo said", "echo complained >&2", "exit 3"], retries=0)
        with pytest.raises(JobFailed) as caught:
            await job
        assert caught.value.result is not None
        assert (caught.value.result.stdout, caught.value.result.stderr) == ("said\n", "complained\n")
        assert (await job.stdout(), await job.stderr()) == ("said\n", "complained\n")


@pytest.mark.job(["set -e", "echo a", "true"])
async def test_set_e_is_no_harm_where_all_goes_well(job: aiomig.Job) -> None:
    assert (await job).stdout == "a\n"


@pytest.mark.job(["mkdir sub", "cd sub", "export A=1", "B=2", "f() { echo f; }", "basename $PWD", "echo $A$B", "f"])
async def test_all_commands_run_in_one_shell(job: aiomig.Job) -> None:
    assert (await job).stdout == "sub\n12\nf\n"


@pytest.mark.job(["(exit 42)", "echo $?", "echo $?"])
async def test_the_last_exit_code_is_visible(job: aiomig.Job) -> None:
    result = await job.result(check=False)
    assert (result.stdout, codes(result)) == ("42\n0\n", [42, 0, 0])


@pytest.mark.job(["echo o1", "echo e1 >&2", "echo o2", "echo e2 >&2"])
async def test_stdout_and_stderr_are_apart_and_in_order(job: aiomig.Job) -> None:
    await job
    assert (await job.stdout(), await job.stderr()) == ("o1\no2\n", "e1\ne2\n")


@pytest.mark.job(["cat all", "cat all >&2"], inputs=[(BINARY, "all")])
async def test_binary_output_is_kept_byte_for_byte(job: aiomig.Job) -> None:
    result = await job
    assert (result.stdout_bytes, result.stderr_bytes) == (BINARY, BINARY)
    assert (await job.stdout_bytes(), await job.stderr_bytes()) == (BINARY, BINARY)
    assert "\ufffd" in result.stdout


@pytest.mark.job("head -c 3000000 /dev/zero | tr '\\0' A")
async def test_much_output(job: aiomig.Job) -> None:
    assert await job.stdout_bytes() == b"A" * 3_000_000


@pytest.mark.job("true")
async def test_no_output(job: aiomig.Job) -> None:
    assert (await job.stdout(), await job.stderr()) == ("", "")


@pytest.mark.job("cat; echo rc $?")
async def test_standard_input_is_empty(job: aiomig.Job) -> None:
    assert (await job).stdout == "rc 0\n"


TEXTS = (
    "blåbær 漢字 😀",
    "::MEMORY::",
    "a # b",
    r"back\slash \\ \#",
    "$HOME `date` $(date)",
    "it's",
    'say "hi"',
    "%s %d %%",
)


def printing(text: str) -> str:
    """A command that writes a text."""
    return "printf '%s' '" + text.replace("'", "'\\''") + "'"


@pytest.mark.combined("test_all_texts_survive_in_commands")
@pytest.mark.parametrize("text", TEXTS)
@pytest.mark.job.with_args(lambda text: printing(text))
async def test_any_text_survives_in_a_command(job: aiomig.Job, text: str) -> None:
    result = await job
    assert result.stdout == text
    assert [each.command for each in result.commands] == [printing(text)]


@pytest.mark.job([printing(text) for text in TEXTS])
async def test_all_texts_survive_in_commands(job: aiomig.Job) -> None:
    result = await job
    assert result.stdout == "".join(TEXTS)
    assert [each.command for each in result.commands] == [printing(text) for text in TEXTS]


@pytest.mark.job(f"echo {'x' * 10_000} | wc -c")
async def test_a_long_command(job: aiomig.Job) -> None:
    assert (await job).stdout.strip() == "10001"


VALUES = (
    "",
    "plain",
    "two words",
    "$HOME",
    "`date`; $(date) # no",
    'it\'s "quoted"',
    "a\\b",
    "<in >out",
    "+JOBID+",
    "é\t|&*?[",
)


@pytest.mark.combined("test_all_environment_values_arrive_literally")
@pytest.mark.parametrize("value", VALUES)
@pytest.mark.job("printf '%s' \"$VALUE\"", environment=lambda value: {"VALUE": value, "OTHER": "1"})
async def test_environment_values_arrive_literally(job: aiomig.Job, value: str) -> None:
    assert await job.stdout() == value


@pytest.mark.job(
    [f'printf "%s:" "$V{number}"' for number in range(len(VALUES))],
    environment={f"V{number}": value for number, value in enumerate(VALUES)},
)
async def test_all_environment_values_arrive_literally(job: aiomig.Job) -> None:
    assert await job.stdout() == "".join(f"{value}:" for value in VALUES)


@pytest.mark.job(
    [
        "echo $MIG_JOBID $MIG_JOBNODECOUNT $MIG_JOBCPUCOUNT $MIG_JOBCPUTIME $MIG_JOBMEMORY $MIG_JOBDISK",
        'cd / && cd "$MIG_JOBDIR" && ls',
    ],
    resources=aiomig.Resources(wall_time=77, memory_mb=333, disk_gb=1),
)
async def test_variables_of_mig(job: aiomig.Job) -> None:
    first, *listing = (await job.stdout()).splitlines()
    assert first == f"{job.id} 1 1 77 333 1"
    assert f"{job.id}.status" in listing


async def test_programs_environment_is_not_the_jobs(monkeypatch: pytest.MonkeyPatch, mig: aiomig.Session) -> None:
    monkeypatch.setenv("AIOMIG_TEST_SECRET", "secret")
    assert await (await mig.submit("echo [$AIOMIG_TEST_SECRET] [$PYTHONPATH]")).stdout() == "[] []\n"


@pytest.mark.usefixtures("no_new_job")
@pytest.mark.parametrize("commands", [[], "", ["true", ""], "two\nlines", "nul\0", [1], b"bytes"])
async def test_what_is_no_command_is_refused_and_nothing_is_made(mig: aiomig.Session, commands: list[str]) -> None:
    with pytest.raises(aiomig.SpecError) as caught:
        await mig.submit(commands)
    assert all(fault.field.startswith("commands") and fault.remedy for fault in caught.value.faults)


@pytest.mark.usefixtures("no_new_job")
async def test_what_bash_cannot_read_is_refused_and_nothing_is_made(mig: aiomig.Session, tmp_path: Path) -> None:
    (tmp_path / "job.mRSL").write_text("::EXECUTE::\ntrue\necho ${#HOME}\n")
    before = await mig.files.find("aiomig_jobs*")
    for by_hand in (False, True):
        with pytest.raises(aiomig.SpecError) as caught:
            if by_hand:
                await mig.submit_mrsl(tmp_path / "job.mRSL")
            await mig.submit(["true", "echo ${"], inputs=[(b"x", "i")])
        (fault,) = caught.value.faults
        assert (fault.field, fault.value) == ("commands[1]", "echo ${")
        assert "bash says: unexpected EOF" in fault.problem
        assert "executables" in fault.remedy
    with pytest.raises(aiomig.SubmitErrors) as several:
        await mig.submit_many(["true", "echo (", aiomig.JobSpec(["for i in 1", "do :", "done"]), " "])
    assert [
        error.faults[0].field for error in several.value.errors.values() if isinstance(error, aiomig.SpecError)
    ] == [
        "specs",
        "commands",
        "commands[0]",
        "commands",
    ]
    assert await mig.files.find("aiomig_jobs*") == before


async def test_commands_that_end_the_shell_are_warned_of(mig: aiomig.Session, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "aiomig"):
        for _ in range(2):
            await mig.submit(["echo exit 3", "cd . && exit 0", "( exit 3 )", "[ -d . ] || exit 4"])
    (record,) = [record for record in caplog.records if vars(record).get("event_name") == "command_warning"]
    assert vars(record)["field"] == "commands[3]"
    assert "exit 4" in record.getMessage()
