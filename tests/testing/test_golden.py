"""Runs of a real grid, repeated in local mode: see tests/golden/README.md.

Each recorded description is submitted to a fresh session, what was done to the job on the grid is done to it
here in the same state, and how it ended there and here is compared. `DIFFERENT` has what differs on purpose.
"""

from __future__ import annotations

import os
import re
import signal
from contextlib import suppress
from dataclasses import asdict
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING, Any

import anyio
import pytest

import aiomig
from aiomig import JobState
from tests.golden.runs import Ending, Run, local_ending, put_before, recordings, run_of, snapshot

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

HOST = "shows the host, its user, its paths or the time"
NO_RESOURCE = "waits on a grid without such a resource; this machine takes it"
LOSES = "taken and lost by a grid; refused here before anything is sent, as a spec with that fault is"
SYNTAX = "a syntax error loses all outputs on the grid; refused here before anything is sent, unless told not to"
LIVE = "waits for a grid's minutes; and its messages to jobs are empty. tests/conformance/test_live_files.py has it"

DIFFERENT: Mapping[str, tuple[str, str]] = {
    # name: (what differs: a field of Ending, "refused FIELD", "taken" or "all", and why)
    "background": ("stdout", "shows a process id"),
    "env": ("stdout", HOST),
    "env-mig": ("stdout", HOST),
    "exe-leadslash": ("stdout", HOST),
    "in-dir": ("stdout", HOST),
    "jobname": ("stdout", "MIG_JOBNAME is the name of the execution unit"),
    "ls-start": ("stdout", HOST),
    "maxfill": ("stdout", "MAXFILL gives the job all of this machine"),
    "out-5mb": ("stdout home", "random content"),
    "out-same-a": ("home", HOST),
    "ps": ("stdout", HOST),
    "pwd-id": ("stdout", HOST),
    "thirty": ("stdout", HOST),
    "ulimit-set": ("stdout", HOST),
    "exe-url": (
        "status stdout stderr",
        "aiomig writes the implied name of a URL out, so the file is executable",
    ),
    "jobdir-unset": (
        "stderr",
        "the lost accounting complains of another path: root could write to the grid's",
    ),
    "arch-wrong": ("taken", NO_RESOURCE),
    "cpucount-2": ("taken", NO_RESOURCE),
    "memory-big": ("taken", NO_RESOURCE),
    "mount": ("taken", NO_RESOURCE),
    "nodecount-2": ("taken", NO_RESOURCE),
    "platform-other": ("taken", NO_RESOURCE),
    "sandbox-true": ("taken", NO_RESOURCE),
    "in-quote": ("refused inputs", LOSES),
    "in-dir-slash": ("refused INPUTFILES", LOSES),
    "in-dotdot": ("refused inputs", LOSES),
    "in-dotdot-dst": ("refused inputs", LOSES),
    "out-dotdot": ("refused outputs", LOSES),
    "out-hidden": ("refused outputs", LOSES),
    "out-status-name": ("refused outputs", LOSES),
    "bad-substitution": ("refused commands", SYNTAX),
    "brace-close": ("refused commands", SYNTAX),
    "brace-open": ("refused commands", SYNTAX),
    "comment-bash": ("refused commands", SYNTAX),
    "hash-raw": ("refused commands", SYNTAX),
    "heredoc": ("refused commands", SYNTAX),
    "loop-lines": ("refused commands", SYNTAX),
    "paren-open": ("refused commands", SYNTAX),
    "paren-syntax": ("refused commands", SYNTAX),
    "percent": ("refused commands", SYNTAX),
    "cancel-staging": ("taken", "a missing input is looked for once, not for a minute in which to cancel"),
    "liveio": ("all", LIVE),
    "mqueue": ("all", LIVE),
    "self-liveio": ("all", LIVE),
}

_LISTED = r"(?m)^(-\S{9}) .* ((?:LOCALJOBNAME|JOBID|ls-start-in|run)\.(?!control)\S*)$"
_VARIABLES = r"(?m)^MIG_(?:JOB(?:ID|CPU|DISK|MEMORY|NODE|SECONDS)\w*=.*|\w+)"
PROMISED: Mapping[str, str] = {
    # The part of a stdout that is the same on every host.
    "env": _VARIABLES,
    "env-mig": _VARIABLES,
    "exe-leadslash": _LISTED,
    "in-dir": _LISTED,
    "ls-start": _LISTED,
    "thirty": "job 0",
    "ulimit-set": r"(?m)-([cftuv])\) +(.*)$",
}

SUBSTITUTIONS: Mapping[str, Mapping[str, str]] = {
    # Shorten long sleeps, and move files from /tmp to the folder of the test (TMP).
    "background-late": {"seq 60": "seq 1", "/tmp/gold-bg.txt": "TMP/bg.txt"},
    "background-wait": {"sleep 2;": "sleep 0.2;"},
    "cancel-background2": {"sleep 1004": "echo >TMP/gate; sleep 1004"},
    "cpu-child": {"10\\n\\n::MEMORY": "0\\n\\n::MEMORY"},
    "cpu-self": {"10\\n\\n::MEMORY": "0\\n\\n::MEMORY"},
    "freeze-executing": {"sleep 12": "read x <TMP/gate"},
    "in-file-url": {"/tmp/gsrv": "TMP"},
    "out-abs": {"/tmp/gold-abs.txt": "TMP/gold-abs.txt"},
    "out-same-a": {"sleep 2": "sleep 0.2"},
    "overtime-ok": {"sleep 50": "sleep 2", "10\\n\\n::MEMORY": "1\\n\\n::MEMORY"},
    "retry-then-ok": {"/tmp/gold-retry-marker": "TMP/marker"},
    "sleep-only-two": {"sleep 2": "sleep 0.2", "sleep 1": "sleep 0.1"},
}

SERVED = {"/url.txt": b"from url\n", "/sub/u2.txt": b"u2\n", "/s.sh": b"#!/bin/bash\necho url script\n"}
"""The files of the recorder's web server."""

RECORDINGS = recordings()
TOGETHER = ("cpu-child", "cpu-self")
"""These runs use ten seconds of CPU time each."""
NAMES = [name for name in RECORDINGS if name not in TOGETHER and DIFFERENT.get(name, ("",))[0] != "all"]


class _Answer(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        content = SERVED.get(self.path)
        self.send_response(404 if content is None else 200)
        self.send_header("Content-Length", str(len(content or b"")))
        self.end_headers()
        self.wfile.write(content or b"")

    def log_message(self, *_: object) -> None:
        """Log nothing."""


@pytest.fixture(scope="module")
def port() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), _Answer) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        yield str(server.server_port)
        server.shutdown()
        thread.join()


@pytest.fixture
def gate(tmp_path: Path) -> Iterator[int]:
    """The pipe TMP/gate, which jobs wait at or write to, opened for both."""
    os.mkfifo(tmp_path / "gate")
    descriptor = os.open(tmp_path / "gate", os.O_RDWR | os.O_NONBLOCK)
    yield descriptor
    os.close(descriptor)


@pytest.fixture(autouse=True)
def _home_of_the_grid(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/srv/mig/reshome")


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Path]:
    """A folder for homes. At the end, kill the processes that their jobs left running."""
    yield tmp_path
    for pid in processes(tmp_path):
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def processes(home: Path) -> dict[int, str]:
    """The process ids and command lines of the jobs of a home, in any process group."""
    found: dict[int, str] = {}
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if os.fsencode(home) in (folder / "environ").read_bytes():
                command = (folder / "cmdline").read_bytes().rstrip(b"\0").replace(b"\0", b" ")
                found[int(folder.name)] = command.decode()
    return found


def run_named(name: str, port: str, folder: Path) -> Run:
    fixed = {old: new.replace("TMP", str(folder)) for old, new in SUBSTITUTIONS.get(name, {}).items()}
    recording = RECORDINGS[name]
    if "127.0.0.1:18999" in recording:
        fixed["127.0.0.1:18999"] = f"127.0.0.1:{port}"
    return run_of(recording, fixed)


def session(home: Path, name: str) -> aiomig.Session:
    """Local mode with the settings of that grid: two retries by default, and limits for the runs that test them."""
    limits = name.startswith(("cpu-", "file-limit", "mem-", "ulimit", "maxfill"))
    return aiomig.local(home, slots=2, default_retries=2, limits=limits)


async def until(job: aiomig.Job, state: str) -> None:
    async for status in job:
        if status.state == state:
            return


def first_state(run: Run) -> str:
    """The state of the job at the first action on it; empty if there was none."""
    for action in run.actions:
        if "home" in action:
            return JobState.QUEUED
        for each in action["answer"]:
            for changed in each.get("changedstatusjobs", ()):
                return str(changed["oldstatus"])
    return ""


async def act(mig: aiomig.Session, job: aiomig.Job, run: Run, action: Mapping[str, Any]) -> None:
    """Repeat the recorded actions on the job, and compare the responses."""
    job_ids = [job.id if job_id == run.job_id else job_id for job_id in action["job_id"]]
    expected: dict[str, tuple[str | None, str | None, str]] = {}
    for each in action["answer"]:
        if each["object_type"] == "error_text":
            job_id, _, words = each["text"].partition(": ")
            expected[job_id] = (None, None, words)
        for changed in each.get("changedstatusjobs", ()):
            assert changed["job_id"] == run.job_id
            expected[job.id] = (changed["oldstatus"], changed.get("newstatus"), changed.get("message", ""))
    outcomes = await outcomes_of(mig, job, action["action"], job_ids)
    assert {each.job_id: (each.before, each.after, each.message) for each in outcomes} == expected


async def outcomes_of(
    mig: aiomig.Session, job: aiomig.Job, action: str, job_ids: Sequence[str]
) -> list[aiomig.Outcome]:
    if action == "cancel":
        return list((await mig.cancel(job_ids)).values())
    try:
        return [await (job.freeze() if action == "freeze" else job.thaw())]
    except aiomig.ActionRefused as refusal:
        return [refusal.outcome]


async def repeat(run: Run, folder: Path, gate: int | None = None, *, check_commands: bool = True) -> Ending:
    """Run a recorded job, and repeat the recorded actions in the same states."""
    home = folder / "home"
    put_before(run, home)
    description = folder / "job.mRSL"
    description.write_bytes(run.mrsl.encode())
    state = first_state(run) if DIFFERENT.get(run.name, ("",))[0] != "taken" else ""
    async with session(home, run.name) as mig:
        mig.check_commands = check_commands
        before = snapshot(home)
        blockers: Sequence[aiomig.Job] = ()
        if state == JobState.QUEUED:
            blockers = [await mig.submit("sleep 1000") for _ in range(2)]
        job = await mig.submit_mrsl(description)
        if state:
            await until(job, state)
        for action in run.actions if state else ():
            if "home" in action:
                path, _, text = action["home"].partition(" := ")
                (home / path).write_text(text + "\n")
                before = snapshot(home)
            else:
                await act(mig, job, run, action)
        if gate is not None:
            os.write(gate, b"\n")
        await mig.cancel(blockers)
        with anyio.fail_after(60):
            status = await job.wait()
    return local_ending(status, home, before)


def without(ending: Ending, fields: str) -> dict[str, Any]:
    return {name: value for name, value in asdict(ending).items() if name not in fields.split()}


def promised(name: str, ending: Ending) -> list[Any]:
    return sorted(re.findall(PROMISED[name], str(ending.stdout)))


@pytest.fixture
def anyio_backend(request: pytest.FixtureRequest) -> str:
    """Alternate between asyncio and trio."""
    name = request.node.callspec.params.get("name") if hasattr(request.node, "callspec") else None
    return ("asyncio", "trio")[NAMES.index(name) % 2] if name in NAMES else "asyncio"


@pytest.mark.parametrize("name", NAMES)
async def test_run(name: str, port: str, place: Path, gate: int) -> None:
    run = run_named(name, port, place)
    what, _ = DIFFERENT.get(name, ("", ""))
    if name == "in-file-url":
        (place / "plainfile.txt").write_text("local file\n")
    if run.job_id is None:
        await refused(run, run.refused_keyword, place)
    elif what.startswith("refused"):
        await refused(run, what.removeprefix("refused "), place)
        if what == "refused commands":
            assert await repeat(run, place, check_commands=False) == run.ending()
    elif what == "taken":
        assert (await repeat(run, place)).state == JobState.FINISHED
    else:
        ending = await repeat(run, place, gate if name == "freeze-executing" else None)
        assert without(ending, what) == without(run.ending(), what)
        if name in PROMISED:
            assert promised(name, ending) == promised(name, run.ending()) != []


async def refused(run: Run, field: str, folder: Path) -> None:
    """The description is refused for the same reason as on a grid, and there is no job."""
    description = folder / "job.mRSL"
    description.write_bytes(run.mrsl.encode())
    async with session(folder / "home", run.name) as mig:
        with pytest.raises((aiomig.SpecError, aiomig.SubmitRejected)) as caught:
            await mig.submit_mrsl(description)
        assert isinstance(caught.value, aiomig.SpecError | aiomig.SubmitRejected)
        assert field in {fault.field.partition("[")[0] for fault in caught.value.faults}
        assert all(fault.problem and fault.remedy for fault in caught.value.faults)
        assert await mig.jobs() == []


async def test_cpu_limit(place: Path) -> None:
    endings: dict[str, Ending] = {}

    async def one(name: str) -> None:
        folder = place / name
        folder.mkdir()
        endings[name] = await repeat(run_named(name, "", folder), folder)

    async with anyio.create_task_group() as tasks:
        for name in TOGETHER:
            tasks.start_soon(one, name)
    assert endings == {name: run_named(name, "", place).ending() for name in TOGETHER}


async def test_cancel_kills_all_processes_of_a_job(place: Path, gate: int) -> None:
    """In cancel-background2 a grid leaves a process in a session of its own; local mode leaves none."""
    run = run_named("cancel-background2", "", place)
    description = place / "job.mRSL"
    description.write_text(run.mrsl)
    async with session(place / "home", run.name) as mig:
        job = await mig.submit_mrsl(description)
        with anyio.fail_after(20):
            await anyio.wait_readable(gate)
            while sum(command.startswith("sleep 100") for command in processes(place).values()) < 4:
                await anyio.lowlevel.checkpoint()
        await job.cancel()
    with anyio.fail_after(20):
        while processes(place):
            await anyio.lowlevel.checkpoint()


def test_every_difference_is_of_a_run() -> None:
    assert {*DIFFERENT, *SUBSTITUTIONS, *TOGETHER} <= set(RECORDINGS)
