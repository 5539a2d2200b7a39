"""Commands in local mode: jobs, their output, sweeps. In this process, unless a test needs another one."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio
import pytest

import aiomig
from aiomig import Session, Unconfirmed
from aiomig.cli import ExitCode

from .conftest import LONGEST, PROGRAM

if TYPE_CHECKING:
    from collections.abc import Callable

    from .conftest import Done

    Cli = Callable[..., Done]

BYTES = rb"printf '\377\000\n'; printf 'bad\376' >&2"
"""Writes bytes that are not text."""


def submitted(local: Cli, *arguments: str) -> str:
    """Submit a job; return its id."""
    done = local("submit", *arguments)
    assert done.code == 0, done.stderr
    return done.out.strip()


# -- run


def test_options_after_the_command_belong_to_it(local: Cli) -> None:
    assert local("run", "echo", "-q", "--json").out == "-q --json\n"


def test_run_passes_on_bytes_and_the_exit_code(work: Path, tmp_path: Path) -> None:
    command = [*PROGRAM, "run", "--home", str(tmp_path / "home"), "-q", BYTES.decode() + "; (exit 7)"]
    done = subprocess.run(command, capture_output=True, timeout=LONGEST, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (7, b"\xff\x00\n", b"bad\xfe")


def test_run_reports_each_state_on_standard_error(local: Cli) -> None:
    done = local("run", "echo", "a  b", "$HOME")
    assert (done.code, done.out) == (0, "a  b $HOME\n")
    *_, last = done.stderr.splitlines()
    assert last.startswith("aiomig: job ")
    assert last.endswith(" FINISHED")


def test_run_transfers_inputs_and_outputs(local: Cli, work: Path) -> None:
    (work / "in.txt").write_text("b\na\n")
    done = local(
        "run",
        "-i",
        "in.txt:data",
        "-o",
        "out:plots/out",
        "--fetch-to",
        "got",
        "-e",
        "N=x y",
        'sort data > out; echo "$N"',
    )
    assert (done.code, done.out) == (0, "x y\n")
    assert Path("got/plots/out").read_text() == "a\nb\n"
    assert f"outputs: {Path('got/plots/out')}" in done.stderr


def test_a_missing_output(local: Cli) -> None:
    done = local("run", "-o", "out", "true")
    assert done.code == ExitCode.FAILURE
    assert "did not create these outputs: out" in done.stderr


def test_run_without_an_exit_code(local: Cli) -> None:
    done = local("run", "kill -9 $$")
    assert done.code == ExitCode.NO_EXIT_CODE
    assert "has no exit code: it is FAILED; RESOURCE DIED" in done.stderr


def test_run_follows_both_streams(local: Cli) -> None:
    done = local("run", "-f", "echo one; echo two >&2; echo three")
    assert (done.code, done.out) == (0, "one\nthree\n")
    assert "two\n" in done.stderr


def test_run_in_json(local: Cli) -> None:
    done = local("run", "--json", "-q", "echo one; (exit 3)")
    assert done.code == 3
    assert {key: done.json[key] for key in ("state", "exit_code", "ok", "stdout", "stderr")} == {
        "state": "FINISHED",
        "exit_code": 3,
        "ok": False,
        "stdout": "one\n",
        "stderr": "",
    }


def test_an_invalid_description_gives_one_clear_message(local: Cli) -> None:
    done = local("run", "-i", "nowhere.txt", "-o", "folder/", "true")
    assert done.code == ExitCode.DESCRIPTION
    assert done.stderr.startswith("aiomig: 2 faults:\n- --input nowhere.txt: does not exist")
    assert "Traceback" not in done.stderr
    done = local("--json", "run", "-i", "nowhere.txt", "true")
    error = json.loads(done.stderr)["error"]
    assert (error["type"], error["exit_code"]) == ("SpecError", ExitCode.DESCRIPTION)


def test_verbosity(local: Cli) -> None:
    assert "INFO" not in local("run", "true").stderr
    assert "aiomig: INFO: job 2_" in local("-v", "run", "true").stderr
    assert local("-q", "run", "true").stderr == ""
    assert "Traceback" in local("--debug", "status", "9_9").stderr


# -- the life of a job over several commands


def test_a_submitted_job_ends_without_aiomig(spawn: Cli, work: Path, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    os.mkfifo(gate)
    home = ("--home", tmp_path / "home", "--slots", 1)
    first = spawn(*home, "submit", f"read word < {gate}; echo got $word")
    second = spawn(*home, "submit", "echo second")
    assert first.stderr == ""
    job, waiting = first.out.strip(), second.out.strip()
    assert f"{waiting} waits for a core; to run it: aiomig --home {tmp_path / 'home'} wait {waiting}" in second.stderr
    status = spawn(*home, "jobs", "--json")
    assert {row["job_id"]: row["state"] for row in status.json} == {waiting: "QUEUED", job: "EXECUTING"}
    gate.write_text("it\n")  # which waits for the job: the job runs although no program of aiomig does
    done = spawn(*home, "output", job, waiting)
    assert (done.code, done.out) == (0, "got it\nsecond\n")


def test_showing_jobs(local: Cli) -> None:
    good, bad = submitted(local, "--name", "good", "echo good"), submitted(local, "echo bad >&2; ls nowhere")
    assert local("wait", good).lines == [f"{good}  FINISHED  exit code 0"]
    done = local("wait", good, bad)
    assert (done.code, sorted(done.lines)) == (
        ExitCode.FAILURE,
        sorted([f"{good}  FINISHED  exit code 0", f"{bad}  FINISHED  exit code 2"]),
    )
    assert local("jobs", "--ids").lines == [bad, good]
    assert local("jobs", "-n", 1, "--ids").lines == [bad]
    assert local("jobs", "--state", "queued", "--ids").lines == []
    heading, *lines = local("jobs", "1_*").lines
    assert heading.split() == ["JOB", "NAME", "STATE", "EXIT", "RECEIVED", "STARTED", "ENDED", "RESOURCE"]
    assert [line.split()[:4] for line in lines] == [[good, "good", "FINISHED", "0"]]
    status = local("status", "last")
    facts = dict(line.split(maxsplit=1) for line in status.lines if not line.startswith("exit code"))
    assert (facts["job"], facts["state"]) == (bad, "FINISHED")
    assert "exit code  2" in status.lines
    assert "name       good" in local("status", good).lines
    assert [job["state"] for job in local("status", "--json", good, bad).json] == ["FINISHED", "FINISHED"]
    assert local("output", good).out == "good\n"
    assert local("output", "--stderr", bad).out.startswith("bad\n")
    assert local("output", "--json", good).json == {"job_id": good, "stdout": "good\n", "stderr": ""}
    assert local("tail", "-n", 1, "--stderr", bad).out.startswith("ls: ")
    assert local("tail", "-f", good).lines == ["good"]
    assert [line.split("  ")[1:] for line in local("watch", good).lines] == [[good, "FINISHED", "exit code 0", "good"]]
    assert "all jobs have ended" in local("watch").stderr
    assert (local("wait").code, local("wait").out) == (0, "")


def test_finding_jobs(local: Cli) -> None:
    one = submitted(local, "--name", "fit-1", "--label", "owner=ada", "--label", "note=a=b c", "true")
    two = submitted(local, "--name", "fit-2", "--label", "owner=bob", "false")
    local("wait")
    assert local("jobs", "--name", "fit-*", "--ids").lines == [two, one]
    assert local("jobs", "--label", "owner=ada", "--label", "note=a=b c", "--ids").lines == [one]
    assert local("jobs", "--since", "1h", "--newest", 1, "--ids").lines == [two]
    assert local("jobs", "--since", "2999-01-01", "--ids").lines == []
    assert local("jobs", "--since", "2020-01-01 12:00", "--state", "finished", "--name", "*1", "--ids").lines == [one]
    assert "labels     note=a=b c owner=ada" in local("status", one).lines
    assert local("jobs", "--json", "--name", "fit-1").json[0]["labels"] == {"owner": "ada", "note": "a=b c"}
    for wrong in (
        ("jobs", "--since", "yesterday"),
        ("jobs", "--label", "owner"),
        ("submit", "--label", "owner", "true"),
    ):
        assert local(*wrong).code == ExitCode.USAGE


def test_submit_once(local: Cli) -> None:
    first = submitted(local, "--key", "report 7", "true")
    assert submitted(local, "--key", "report 7", "true") == first
    refused = local("submit", "--key", "report 7", "false")
    assert refused.code == ExitCode.DESCRIPTION
    assert f"aiomig: --key report 7: is the key of job {first}, which differs in: commands" in refused.stderr
    assert local("jobs", "--ids").lines == [first]


def test_clean_by_age(local: Cli) -> None:
    job = submitted(local, "-o", "out", "echo x > out")
    local("wait", job)
    assert "removed the files of 0 jobs" in local("clean", "--older-than", "30d").stderr
    assert "removed the files of 1 jobs" in local("clean", "--older-than", "0").stderr
    assert local("jobs", "--ids").lines == [job]
    assert local("clean", "--older-than", "0", "--records", "--json").json == {"jobs": 1}
    assert local("jobs", "--ids").lines == []
    for wrong in ((), ("--records",), (job, "--older-than", "1d"), ("--older-than", "1d", "--results")):
        assert local("clean", *wrong).code == ExitCode.USAGE


def test_missing_outputs_are_reported_once(local: Cli) -> None:
    done = local("run", "-i", "mig:missing", "-o", "out", "true")
    job = local("jobs", "--ids").lines[0]
    assert (done.code, done.stderr.count("output")) == (ExitCode.FAILURE, 1)
    assert done.stderr.splitlines()[-2:] == [
        f"aiomig: WARNING: job {job}: staging: input missing did not arrive: missing: No such file or directory",
        f"aiomig: job {job} did not create these outputs: out",
    ]
    assert local("fetch", job).stderr.splitlines() == done.stderr.splitlines()[-2:]
    # Without a download, nothing else reports the failure.
    assert local("run", "--no-fetch", "-o", "out", "true").stderr.count("staging: output out did not arrive") == 1


def test_a_sweep_says_how_to_rerun_failures(local: Cli, work: Path) -> None:
    (work / "1.txt").touch()
    done = local("sweep", "-p", "n=1,2", "--journal", "j", "-i", "{n}.txt", "test {n} = 7")
    assert done.code == ExitCode.FAILURE
    assert "n=2: --input 2.txt: does not exist" in done.stderr
    assert "aiomig: to rerun the failed jobs, add --retry-failed" in done.stderr.splitlines()
    again = local("sweep", "-p", "n=1,2", "--journal", "j", "--retry-failed", "-i", "{n}.txt", "test {n} = 7")
    assert "add --retry-failed" not in again.stderr


def test_no_message_names_the_home(local: Cli, tmp_path: Path) -> None:
    bad = submitted(local, "if true; then", "exit 3")
    local("wait", bad)
    commands = [("status", "1_1_1_2020__1_1_1_local.0"), ("status", bad), ("wait", "7_*"), ("jobs",)]
    for done in (local(*command) for command in commands):
        assert str(tmp_path / "home") not in done.out + done.stderr


def test_as_dict_equals_the_printed_json(local: Cli, tmp_path: Path) -> None:
    job_id = submitted(local, "-o", "missing", f"{BYTES.decode()}; (exit 3)")
    printed = local("wait", "--json", job_id).json, local("status", "--json", job_id).json[0]

    async def values() -> tuple[dict[str, Any], dict[str, Any]]:
        async with aiomig.local(tmp_path / "home") as mig:
            result = await mig.job(job_id).result(check=False)
            return result.as_dict(), result.status.as_dict()

    assert printed == anyio.run(values)


def test_acting_on_jobs(local: Cli, tmp_path: Path) -> None:
    running = submitted(local, "--cores", "1000", "sleep 600")  # which takes all of them
    waiting = submitted(local, "true")
    assert local("freeze", waiting).lines == [f"{waiting}  QUEUED -> FROZEN"]
    refused = local("thaw", running)
    assert refused.code == ExitCode.FAILURE
    assert f"{running} stays EXECUTING" in refused.stderr
    assert local("thaw", waiting).lines == [f"{waiting}  FROZEN -> QUEUED"]
    assert local("cancel", running).lines == [f"{running}  EXECUTING -> CANCELED"]
    assert local("wait", waiting).code == 0
    assert "stays CANCELED" in local("cancel", running).stderr
    again = local("resubmit", waiting).out.strip()
    assert again not in (running, waiting)
    assert local("wait", again).code == 0
    assert local("clean", "--results", "*").code == 0
    assert local("ls", "job_output").lines == []


def test_fetch(local: Cli, work: Path) -> None:
    one, two = (submitted(local, "-o", "out", f"echo {word} > out") for word in ("one", "two"))
    assert local("fetch", one, "--to", "single").lines == ["single/out"]
    assert local("fetch", one, two, "--to", "both").lines == [f"both/{one}/out", f"both/{two}/out"]
    assert Path(f"both/{two}/out").read_text() == "two\n"
    lost = submitted(local, "-o", "never", "echo oops >&2; false")
    done = local("fetch", lost)
    assert done.code == ExitCode.FAILURE
    assert f"job {lost} did not create these outputs: never" in done.stderr
    assert "'echo oops >&2; false' exited with 1" in done.stderr


@pytest.mark.parametrize("command", ["status", "wait", "cancel", "output", "fetch", "resubmit"])
def test_unknown_jobs(local: Cli, command: str) -> None:
    done = local(command, "7_1_1_2026__0_0_0_local.0")
    assert done.code == ExitCode.NOT_FOUND
    assert "7_1_1_2026__0_0_0_local.0" in done.stderr


def test_patterns_without_a_match(local: Cli) -> None:
    assert "no job id matches" in local("status", "9*").stderr
    assert "there is no job yet" in local("status", "last").stderr


def test_submit_mrsl(local: Cli, work: Path) -> None:
    text = "::EXECUTE::\necho by hand\n"
    (work / "job.mrsl").write_text(text)
    first = local("submit-mrsl", "job.mrsl").out.strip()
    second = local("submit-mrsl", "-", stdin=text.encode()).out.strip()
    assert local("output", first, second).out == "by hand\nby hand\n"
    (work / "bad.mrsl").write_text("::EXECUTE::\necho\n\n::CPUTIME::\nlong\n")
    done = local("submit-mrsl", "bad.mrsl")
    assert done.code == ExitCode.DESCRIPTION
    assert "line 5" in done.stderr
    assert local("submit-mrsl", "gone.mrsl").code == ExitCode.NOT_FOUND


def test_check(local: Cli) -> None:
    assert local("check", "true").code == 0
    done = local("check", "--vgrid", "Nobodys", "--json", "true")
    assert done.code == ExitCode.DESCRIPTION
    assert done.json["ok"] is False
    assert "Nobodys" in done.json["faults"][0]
    wrong = local("check", "-i", "nowhere", "true")
    assert (wrong.code, "--input nowhere: does not exist" in wrong.out) == (ExitCode.DESCRIPTION, True)


def test_unconfirmed(local: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    assert local("unconfirmed", "--json").json == []
    sent_at = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    lost = [Unconfirmed("aiomig1", "fit", "", sent_at, ("7_1",)), Unconfirmed("aiomig2", "", "", sent_at)]
    confirmed: list[object] = []

    async def unconfirmed(session: Session) -> list[Unconfirmed]:
        return lost

    monkeypatch.setattr(Session, "unconfirmed", unconfirmed)
    monkeypatch.setattr(Session, "confirm", lambda session, *submits: confirmed.extend(submits))
    heading, *lines = local("unconfirmed").lines
    assert heading.split() == ["MARKER", "SENT", "NAME", "JOB"]
    assert [(line.split()[0], *line.split()[-2:]) for line in lines] == [
        ("aiomig1", "fit", "7_1"),
        ("aiomig2", "-", "-"),
    ]
    assert confirmed == []
    assert local("unconfirmed", "--confirm", "aiomig2").code == 0
    assert confirmed == lost[1:]


# -- sweeps


def test_sweep(local: Cli, work: Path) -> None:
    done = local(
        *(
            "sweep",
            "-p",
            "n=1:3",
            "-p",
            "word=a b,$c",
            "--in-flight",
            2,
            "-o",
            "out:{n}-{word}.txt",
            "--fetch-to",
            "got",
        ),
        *("--name", "n{n}", "-e", "N={n}", "echo {n} {word} ${N} > out; [ {n} != 2 ]"),
    )
    assert done.code == ExitCode.FAILURE
    reports = {tuple(line.rsplit("  ", 3)[:3]) for line in done.lines}
    assert reports == {
        (f"n={n} word={word}", "FINISHED", str(int(n == 2))) for n in (1, 2, 3) for word in ("a b", "$c")
    }
    assert Path("got/3-$c.txt").read_text() == "3 $c 3\n"
    assert "4 of 6 jobs succeeded, 2 failed" in done.stderr


def test_sweep_over_a_file(local: Cli, work: Path) -> None:
    (work / "p.csv").write_text("id,text,unused\n1,it's,x\n2,a b,y\n")
    done = local("sweep", "-q", "-P", "p.csv", "--print", "printf", r"%s\n", "{id}", "{text}")
    assert sorted(done.lines) == ["1", "2", "a b", "it's"]
    lines = local("sweep", "--json", "-q", "-P", "p.csv", "echo {text}").lines
    values = {json.loads(line)["parameter"]["id"]: json.loads(line)["stdout"] for line in lines}
    assert values == {"1": "it's\n", "2": "a b\n"}


def test_a_sweep_with_a_journal_continues(local: Cli, work: Path) -> None:
    command = ("sweep", "-p", "n=1:3", "--journal", "sweep.journal", "echo {n} >> " + str(work / "ran"))
    assert local(*command).code == 0
    assert sorted((work / "ran").read_text().split()) == ["1", "2", "3"]
    again = local(*command)
    assert (again.code, again.lines) == (0, [])
    assert sorted((work / "ran").read_text().split()) == ["1", "2", "3"]


def test_failures_of_earlier_runs_count_and_can_be_rerun(local: Cli, work: Path) -> None:
    command = ("sweep", "-p", "n=0:2", "--journal", "sweep.journal", f"[ {{n}} != 1 ] || [ -e {work}/mended ]")
    assert local(*command).code == ExitCode.FAILURE
    again = local(*command)
    assert (again.code, again.lines) == (ExitCode.FAILURE, [])
    assert "2 of 3 jobs succeeded, 1 failed; 3 ended in earlier runs; " in again.stderr
    assert local("sweep", "--retry-failed", *command[1:]).code == ExitCode.FAILURE
    (work / "mended").touch()
    mended = local("sweep", "--retry-failed", *command[1:])
    assert (mended.code, len(mended.lines)) == (0, 1)
    assert "3 of 3 jobs succeeded, 0 failed; 2 ended in earlier runs; " in mended.stderr
    assert local(*command).code == 0


def test_ctrl_c_in_a_sweep_and_its_continuation(work: Path, tmp_path: Path) -> None:
    job = f"echo {{n}} >> {work}/ran; [ {{n}} = 1 ] || until [ -e {work}/gate ]; do sleep 0.05; done"
    options = ["-p", "n=1:3", "--in-flight", "1", "--journal", "sweep.journal"]
    command = [*PROGRAM, "--home", str(tmp_path / "home"), "sweep", *options, job]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline().startswith("n=1  FINISHED  0  ")
        process.send_signal(signal.SIGINT)
        lines = process.stderr.read().splitlines()
        assert process.wait(LONGEST) == ExitCode.INTERRUPTED
    assert lines[0].startswith("aiomig: 1 of 3 jobs succeeded, 0 failed, 2 were not run; ")
    left = "aiomig: to run the remaining 2, repeat the command; sweep.journal records which jobs have ended"
    assert lines[1:] == [left, "aiomig: interrupted"]
    (work / "gate").touch()
    done = subprocess.run(command, capture_output=True, text=True, timeout=LONGEST, check=True)
    assert [line.split()[0] for line in done.stdout.splitlines()] == ["n=2", "n=3"]
    assert (work / "ran").read_text().split().count("1") == 1


def test_an_invalid_sweep_submits_nothing(local: Cli, work: Path) -> None:
    assert "the parameter 'n' is not used; write {n}" in local("sweep", "-p", "n=1:3", "true").stderr
    assert local("sweep", "-p", "n=1:3", "-o", "{n}/", "true").code == ExitCode.DESCRIPTION
    refused = local("sweep", "-p", "n=1:3", "echo {n} | awk {print}")
    assert refused.code == ExitCode.USAGE
    assert "{print} is not a parameter of job 1, which has: n; correct the name, or write {{print}}" in refused.stderr
    (work / "rows.jsonl").write_text('{"n": 1, "word": "a"}\n{"n": 2}\n')
    assert "{word} is not a parameter of job 2" in local("sweep", "-P", "rows.jsonl", "echo {n} {word}").stderr
    (work / "rows.csv").write_text("id,word\n1,a\n")
    unused = local("sweep", "-P", "rows.csv", "-p", "n=1:2", "echo {n}").stderr
    assert "no column of the file is used; write {id} {word}" in unused
    twice = local("sweep", "-P", "rows.csv", "-p", "id=1:2", "echo {id}").stderr
    assert "the parameter 'id' is given by -p and by rows.csv" in twice
    (work / "names.csv").write_text("n,First Name\n1,Ada\n")
    assert (
        "{First Name} cannot be a placeholder; rename the column"
        in local("sweep", "-P", "names.csv", "echo {n} {First Name}").stderr
    )
    assert "--retry-failed needs" in local("sweep", "-p", "n=1:2", "--retry-failed", "echo {n}").stderr
    assert local("jobs", "--ids").lines == []


# -- timeline


def test_timeline(local: Cli, work: Path) -> None:
    pytest.importorskip("matplotlib")
    assert local("timeline").code == ExitCode.FAILURE
    assert local("run", "true").code == 0
    assert local("run", "kill -9 $$").code == ExitCode.NO_EXIT_CODE
    assert local("timeline").lines == ["timeline.svg"]
    picture = (work / "timeline.svg").read_text()
    assert "<svg" in picture
    assert local("timeline", "-o", "t.png", "last").code == 0
    assert (work / "t.png").read_bytes().startswith(b"\x89PNG")
    assert local("timeline", "-o", "t.gif").code == ExitCode.USAGE
    assert local("timeline", "--json").json == {"path": "timeline.svg"}


@pytest.mark.parametrize(
    "arguments", [("jobs", "--bogus", "--json"), ("jobs", "--json", "--bogus"), ("bogus", "--json")]
)
def test_wrong_command_lines_are_json_too(local: Cli, work: Path, arguments: tuple[str, ...]) -> None:
    done = local(*arguments)
    assert done.code == ExitCode.USAGE
    error = json.loads(done.stderr)["error"]
    assert "bogus" in error["message"]
    assert error["exit_code"] == ExitCode.USAGE


# -- processes


def test_a_reader_that_closes_the_pipe(local: Cli, work: Path, tmp_path: Path) -> None:
    assert local("write", "big", stdin=b"x\n" * 1_000_000).code == 0
    command = [*PROGRAM, "--home", str(tmp_path / "home"), "cat", "big"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline() == b"x\n"
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait(LONGEST) == ExitCode.BROKEN_PIPE


def interrupted(home: Path, number: signal.Signals, *arguments: str) -> tuple[int, str]:
    """Run a command, and send it a signal once it reports that its job runs; return exit code and standard error."""
    command = [*PROGRAM, "--home", str(home), *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        line = process.stderr.readline()
        while "EXECUTING" not in line:
            line = process.stderr.readline()
        process.send_signal(number)
        rest = process.stderr.read()
        return process.wait(LONGEST), rest


def test_ctrl_c_cancels_a_local_run(work: Path, tmp_path: Path, local: Cli) -> None:
    code, stderr = interrupted(tmp_path / "home", signal.SIGINT, "run", "sleep 600")
    assert (code, stderr) == (ExitCode.INTERRUPTED, "aiomig: interrupted; its jobs were canceled\n")
    assert [job["state"] for job in local("jobs", "--json").json] == ["CANCELED"]


def test_the_end_of_the_terminal_cancels_a_local_run(work: Path, tmp_path: Path, local: Cli) -> None:
    code, stderr = interrupted(tmp_path / "home", signal.SIGHUP, "run", "sleep 600")
    assert (code, stderr) == (ExitCode.HANGUP, "aiomig: interrupted; its jobs were canceled\n")
    assert [job["state"] for job in local("jobs", "--json").json] == ["CANCELED"]


def test_under_nohup_a_run_outlives_its_terminal(work: Path, tmp_path: Path) -> None:
    os.mkfifo(work / "gate")
    command = ["nohup", *PROGRAM, "--home", str(tmp_path / "home"), "run", f"read < {work}/gate"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        while "EXECUTING" not in process.stderr.readline():
            pass
        process.send_signal(signal.SIGHUP)
        (work / "gate").write_text("\n")
        assert "FINISHED" in process.stderr.read()
        assert process.wait(LONGEST) == ExitCode.SUCCESS


def test_an_interrupted_run_names_the_running_job(work: Path, tmp_path: Path, local: Cli) -> None:
    home = tmp_path / "home"
    code, stderr = interrupted(home, signal.SIGTERM, "run", "--on-interrupt", "leave", "sleep 600")
    (job,) = local("jobs", "--ids").lines
    assert code == ExitCode.TERMINATED
    assert stderr == (
        f"aiomig: interrupted; a job is still waiting or running on this machine: {job}; "
        f"see aiomig --home {home} wait {job}, or stop it: aiomig --home {home} cancel {job}\n"
    )
    assert local("cancel", job).lines == [f"{job}  EXECUTING -> CANCELED"]


def test_missing_packages_are_named(work: Path) -> None:
    program = "import sys; sys.modules['click'] = None\nfrom aiomig.cli import main\nmain(['jobs'])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=LONGEST, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.splitlines()[-1].endswith("run: pip install 'aiomig[cli]'")
