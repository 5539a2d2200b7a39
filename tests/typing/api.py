"""The public API as users write it. Checked by mypy, never run: an accidental change of a name or type fails here."""

from __future__ import annotations

import logging
from datetime import datetime
from pathlib import Path, PurePosixPath
from typing import assert_type

import anyio

import aiomig
from aiomig import as_completed, cancel, current_session, statuses, submit, submit_many, submit_mrsl, sweep, wait, watch


async def one_look() -> None:
    async with aiomig.connect():
        job = await submit("echo HELLO GRID")
        async for status in watch(job):
            assert_type(status.state, aiomig.JobState)
            assert_type(status.queued_at, datetime | None)
        result = await job
        assert_type(result, aiomig.JobResult)
        assert_type(result.stdout, str)


async def whole_submit(mig: aiomig.Session, folder: Path) -> None:
    job = await mig.submit(
        ["python3 fit.py data.csv > out.txt"],
        inputs=["fit.py", ("runs/7.csv", "data.csv"), folder / "a", aiomig.Remote("b"), (b"text", "c")],
        executables=["run.sh", ("bin/tool", "tool")],
        outputs=["out.txt", ("fit.png", "plots/7.png"), ("log", aiomig.Remote("logs/7"))],
        resources=aiomig.Resources(wall_time=3600, memory_mb=4096, disk_gb=1, cores=2, nodes=1, hosts=("a",)),
        environment={"SEED": "7"},
        name="fit-7",
        runtime_environments=["PYTHON-3"],
        vgrids=["ANY"],
        retries=2,
        notify=["email: me@example.org"],
        verify=["right.stdout"],
        mount=[("data", "mnt")],
        project="P1",
        kind="batch",
        mrsl={"SANDBOX": "true", "RETRIES": ["1"]},
    )
    assert_type(job, aiomig.Job)
    assert_type(job.id, str)
    assert_type(job.spec, aiomig.JobSpec | None)
    assert_type(await job.fetch("results/"), list[Path])
    assert_type(await job.fetch(folder, check=False, progress=lambda done, total: None), list[Path])
    report = await mig.check(["./fit"], executables=["fit"], vgrids=["ANY"])
    assert_type(report, aiomig.CheckReport)
    assert_type(report.ok, bool)
    assert_type((report.faults, report.warnings), tuple[tuple[aiomig.Fault, ...], tuple[aiomig.Fault, ...]])
    assert_type(await mig.check(job), aiomig.CheckReport)
    mig.check_commands = False


async def specs(mig: aiomig.Session) -> None:
    spec = aiomig.JobSpec("true", outputs=["a"])
    assert_type(spec.commands, tuple[str, ...])
    assert_type(spec.outputs, tuple[aiomig.OutputFile, ...])
    assert_type(spec.mrsl_text(), str)
    await submit(aiomig.JobSpec.from_mrsl("::EXECUTE::\ntrue\n"))
    await mig.submit(spec)
    await mig.submit_mrsl(Path("a.mRSL"))
    await submit_mrsl("a.mRSL")
    try:
        aiomig.JobSpec("")
    except aiomig.SpecError as error:
        assert_type(error.faults, tuple[aiomig.Fault, ...])


async def sessions() -> None:
    async with (
        aiomig.local(slots=2, on_exit="leave", limits=True) as one,
        aiomig.connect("local", home=Path("/tmp/x"), kill_grace=5) as two,
        aiomig.connect("grid", config="miguser.conf") as three,
        aiomig.grid(url="https://grid.example.org", certificate="cert.pem", key=Path("key.pem")),
        aiomig.grid(aiomig.Config.load(), polling=aiomig.Polling(ceiling=10), timeout=60),
    ):
        assert_type(one, aiomig.Session)
        assert_type(two.files, aiomig.Files)
        assert_type(three.is_open, bool)
        assert_type(current_session(), aiomig.Session)


async def jobs(mig: aiomig.Session, job: aiomig.Job) -> None:
    assert_type(mig.job("7"), aiomig.Job)
    assert_type(await mig.jobs("7_*", newest=10), list[aiomig.Job])
    assert_type(await job.status(), aiomig.JobStatus)
    assert_type(await job.wait(), aiomig.JobStatus)
    assert_type(await job.result(check=False), aiomig.JobResult)
    assert_type(await job.cancel(), aiomig.Outcome)
    await job.freeze()
    await job.thaw()
    assert_type(await job.resubmit(), aiomig.Job)
    assert_type(await job.stdout(), str)
    assert_type(await job.stderr_bytes(), bytes)
    async for line in job.tail("stdout"):
        assert_type(line, str)
    async for status in job:
        assert_type(status, aiomig.JobStatus)
    assert_type(job.output("out.txt"), aiomig.Remote)
    await job.clean()


async def many(mig: aiomig.Session, jobs: list[aiomig.Job], job_id: str) -> None:
    done, pending = await wait(jobs, return_when="any")
    assert_type(done, list[aiomig.Job])
    assert_type(pending, list[aiomig.Job])
    async for job in as_completed(jobs):
        assert_type(job, aiomig.Job)
    async for status in mig.watch([*jobs, job_id]):
        assert_type(status.job_id, str)
    assert_type(await statuses(jobs), dict[str, aiomig.JobStatus])
    assert_type(await cancel([job_id]), dict[str, aiomig.Outcome])
    with anyio.fail_after(60):
        await mig.wait(jobs)


async def bulk(mig: aiomig.Session, spec: aiomig.JobSpec) -> None:
    assert_type(await submit_many([spec, "true", ["a", "b"]]), list[aiomig.Job])
    assert_type(mig.sweep(lambda seed: spec, range(10), in_flight=4, journal="sweep.log"), aiomig.Sweep)
    async for job in sweep("echo $N", ({"N": str(n)} for n in range(3)), order="submission", on_failure="raise"):
        assert_type(job, aiomig.Job)
    async with mig.scope() as jobs:
        assert_type(jobs, aiomig.Scope)
        assert_type(await jobs.submit("true", name="a"), aiomig.Job)
    try:
        await mig.submit_many([])
    except aiomig.SubmitErrors as error:
        assert_type(error.jobs, list[aiomig.Job])


async def results(job: aiomig.Job) -> None:
    try:
        result = await job
    except aiomig.CommandFailed as error:
        assert_type(error.command, str)
        assert_type(error.exit_code, int)
        assert_type(error.result, aiomig.JobResult | None)
    except aiomig.JobFailed as error:
        if error.status is not None:
            assert_type(error.status.attempts, tuple[aiomig.Attempt, ...])
    else:
        assert_type(result.commands, tuple[aiomig.CommandResult, ...])
        assert_type(result.exit_code, int | None)
        assert_type(result.ok, bool)


async def files(mig: aiomig.Session, folder: Path) -> None:
    home = mig.files
    await home.put([folder, "b*.txt"], PurePosixPath("data/"), progress=lambda done, total: None)
    assert_type(await home.get("data/*", folder), tuple[Path, ...])
    await home.write_text("a", "text")
    assert_type(await home.read_bytes("a"), bytes)
    assert_type(await home.read_text("a"), str)
    assert_type(await home.ls(recursive=True), list[aiomig.FileInfo])
    info = await home.stat("a")
    assert_type(info.size, int)
    assert_type(info.is_dir, bool)
    assert_type(await home.exists("a"), bool)
    await home.mkdir("b/c", parents=True)
    await home.remove("b", recursive=True)
    assert_type(await home.head("a", lines=3), list[str])
    assert_type(await home.cat("a", "b"), str)
    assert_type(await home.word_count("a"), aiomig.WordCount)
    assert_type(await home.checksum("a"), str)
    assert_type(await home.read_range("a", 0, 10), bytes)


async def queues(mig: aiomig.Session) -> None:
    queue = mig.queue("results")
    assert_type(queue, aiomig.Queue)
    await queue.create(exist_ok=True)
    assert_type(await queue.send("text"), str)
    assert_type(await queue.receive(), str | None)
    assert_type(await queue.peek(), str | None)
    assert_type(await queue.list(), list[str])
    await queue.remove(missing_ok=True)
    assert_type(await mig.queues(), list[aiomig.Queue])


async def site(mig: aiomig.Session) -> None:
    site = await mig.site()
    assert_type(site, aiomig.Site)
    assert_type(site.keywords["CPUTIME"], aiomig.Keyword)
    assert_type(site.architectures, tuple[str, ...])


logging.getLogger("aiomig").setLevel(logging.DEBUG)
