"""How the commands of a job run, and what is known of them afterwards."""

from __future__ import annotations

import pytest

import aiomig
from aiomig import CommandFailed, JobFailed, JobState


def codes(result: aiomig.JobResult) -> list[int | None]:
    return [each.exit_code for each in result.commands]


async def test_output_of_one_command(mig: aiomig.Session) -> None:
    result = await (await mig.submit("echo HELLO GRID"))
    assert (result.stdout, result.stderr, result.exit_code, result.ok) == ("HELLO GRID\n", "", 0, True)
    assert result.commands == (aiomig.CommandResult("echo HELLO GRID", 0),)


async def test_a_failed_command_does_not_stop_the_others(mig: aiomig.Session) -> None:
    job = await mig.submit(["echo one", "false", "echo three"])
    with pytest.raises(CommandFailed) as caught:
        await job
    assert (caught.value.command, caught.value.exit_code) == ("false", 1)
    result = caught.value.result
    assert result is not None
    assert (codes(result), result.stdout) == ([0, 1, 0], "one\nthree\n")
    assert (result.exit_code, result.ok, result.status.state) == (1, False, JobState.FINISHED)


@pytest.mark.parametrize(
    ("command", "code"),
    [
        ("true", 0),
        ("false", 1),
        ("bash -c 'exit 77'", 77),
        ("(exit 256)", 0),
        ("no-such-program-at-all", 127),
        ("echo x > plain; ./plain", 126),
        ("bash -c 'kill -9 $$'", 137),
        ("bash -c 'kill -TERM $$'", 143),
        ('echo "unbalanced', 255),
        ("! true", 1),
    ],
)
async def test_exit_code(mig: aiomig.Session, command: str, code: int) -> None:
    result = await (await mig.submit(command)).result(check=False)
    assert (result.exit_code, codes(result)) == (code, [code])
    assert (result.status.state, result.ok) == (JobState.FINISHED, code == 0)


async def test_an_early_exit_0_is_a_good_end(mig: aiomig.Session) -> None:
    result = await (await mig.submit(["echo before", "exit 0", "echo never"]))
    assert (result.stdout, codes(result), result.exit_code) == ("before\n", [0, None, None], 0)


@pytest.mark.parametrize(
    "commands",
    [
        ["echo a", "exit 3"],
        ["set -e", "echo a", "false", "echo b"],
        ["set -u", "echo $NO_SUCH_VARIABLE"],
        ["kill $$"],
        ["kill -9 $$"],
        ["echo a", "echo b; }"],
        ["echo (", "true"],
        ["for i in 1 2", "do", "echo $i", "done"],
    ],
)
async def test_a_shell_that_dies_fails_the_attempt(mig: aiomig.Session, commands: list[str]) -> None:
    job = await mig.submit(commands, retries=0)
    result = await job.result(check=False)
    assert (result.status.state, result.exit_code, result.reported) == (JobState.FAILED, None, False)
    assert codes(result) == [None] * len(commands)
    assert not await mig.files.exists(f"job_output/{job.id}")


async def test_local_mode_keeps_what_a_failed_attempt_wrote(mig: aiomig.Session) -> None:
    if mig.mode != "local":
        pytest.skip("a grid throws it away")
    job = await mig.submit(["echo said", "echo complained >&2", "exit 3"], retries=0)
    with pytest.raises(JobFailed) as caught:
        await job
    assert caught.value.result is not None
    assert (caught.value.result.stdout, caught.value.result.stderr) == ("said\n", "complained\n")
    assert (await job.stdout(), await job.stderr()) == ("said\n", "complained\n")


async def test_set_e_is_no_harm_where_all_goes_well(mig: aiomig.Session) -> None:
    assert (await (await mig.submit(["set -e", "echo a", "true"]))).stdout == "a\n"


async def test_all_commands_run_in_one_shell(mig: aiomig.Session) -> None:
    commands = ["mkdir sub", "cd sub", "export A=1", "B=2", "f() { echo f; }", "basename $PWD", "echo $A$B", "f"]
    assert (await (await mig.submit(commands))).stdout == "sub\n12\nf\n"


async def test_the_last_exit_code_is_visible(mig: aiomig.Session) -> None:
    result = await (await mig.submit(["(exit 42)", "echo $?", "echo $?"])).result(check=False)
    assert (result.stdout, codes(result)) == ("42\n0\n", [42, 0, 0])


async def test_stdout_and_stderr_are_apart_and_in_order(mig: aiomig.Session) -> None:
    job = await mig.submit(["echo o1", "echo e1 >&2", "echo o2", "echo e2 >&2"])
    await job
    assert (await job.stdout(), await job.stderr()) == ("o1\no2\n", "e1\ne2\n")


async def test_binary_output_is_kept_byte_for_byte(mig: aiomig.Session) -> None:
    content = bytes(range(256)) * 3
    job = await mig.submit(["cat all", "cat all >&2"], inputs=[(content, "all")])
    result = await job
    assert (result.stdout_bytes, result.stderr_bytes) == (content, content)
    assert (await job.stdout_bytes(), await job.stderr_bytes()) == (content, content)
    assert "\ufffd" in result.stdout


async def test_much_output(mig: aiomig.Session) -> None:
    job = await mig.submit("head -c 3000000 /dev/zero | tr '\\0' A")
    assert await job.stdout_bytes() == b"A" * 3_000_000


async def test_no_output(mig: aiomig.Session) -> None:
    job = await mig.submit("true")
    assert (await job.stdout(), await job.stderr()) == ("", "")


async def test_standard_input_is_empty(mig: aiomig.Session) -> None:
    assert (await (await mig.submit("cat; echo rc $?"))).stdout == "rc 0\n"


@pytest.mark.parametrize(
    "text",
    [
        "blåbær 漢字 😀",
        "::MEMORY::",
        "a # b",
        r"back\slash \\ \#",
        "$HOME `date` $(date)",
        "it's",
        'say "hi"',
        "%s %d %%",
    ],
)
async def test_any_text_survives_in_a_command(mig: aiomig.Session, text: str) -> None:
    quoted = "'" + text.replace("'", "'\\''") + "'"
    result = await (await mig.submit(f"printf '%s' {quoted}"))
    assert result.stdout == text
    assert [each.command for each in result.commands] == [f"printf '%s' {quoted}"]


async def test_a_long_command(mig: aiomig.Session) -> None:
    assert (await (await mig.submit(f"echo {'x' * 10_000} | wc -c"))).stdout.strip() == "10001"


@pytest.mark.parametrize(
    "value",
    [
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
    ],
)
async def test_environment_values_arrive_literally(mig: aiomig.Session, value: str) -> None:
    job = await mig.submit("printf '%s' \"$VALUE\"", environment={"VALUE": value, "OTHER": "1"})
    assert await job.stdout() == value


async def test_variables_of_mig(mig: aiomig.Session) -> None:
    names = "$MIG_JOBID $MIG_JOBNODECOUNT $MIG_JOBCPUCOUNT $MIG_JOBCPUTIME $MIG_JOBMEMORY $MIG_JOBDISK"
    resources = aiomig.Resources(wall_time=77, memory_mb=333, disk_gb=1)
    job = await mig.submit([f"echo {names}", 'cd / && cd "$MIG_JOBDIR" && ls'], resources=resources)
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
