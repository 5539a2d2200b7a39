"""`Session.check`: the check of a job without submitting it."""

from __future__ import annotations

import copy
import pickle
from typing import TYPE_CHECKING, Any, cast

import anyio
import pytest

import aiomig
from aiomig import CheckReport, Fault, JobSpec, Remote, Resources
from aiomig._grid.protocol import jobs as _protocol_jobs
from aiomig._grid.protocol.jobs import Feasibility
from aiomig._grid.protocol.site import runtime_environments
from aiomig.testing import FakeGrid, Site
from tests.clocks import anyio_backend  # noqa: F401  # the fixture

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

SITE = Site(runtime_environments={"GCC-13": {}, "PYTHON-3.11": {}}, nodes=4)
READING = {"docs", "redb", "statpath", "ls", "jobstatus"}


@pytest.fixture
async def grid(tmp_path: Path) -> AsyncIterator[FakeGrid]:
    async with FakeGrid(tmp_path / "home", site=SITE) as grid:
        grid.hold()
        yield grid


@pytest.fixture
async def mig(grid: FakeGrid) -> AsyncIterator[aiomig.Session]:
    session = aiomig.grid(url="https://grid.example.org", certificate="c", key="k", transport=grid.transport())
    async with session as mig:
        yield mig


def fields(report: CheckReport) -> list[tuple[str, object]]:
    return [(fault.field, fault.value) for fault in report.faults]


async def test_what_the_site_has_not_is_told_at_once(grid: FakeGrid, mig: aiomig.Session) -> None:
    report = await mig.check(
        "./fit",
        inputs=[(b"x", "i"), Remote("nosuch")],
        resources=Resources(architecture="PDP11"),
        runtime_environments=["gcc-13", "FORTRAN"],
        vgrids=["Generic", "Chemistry"],
        kind="bulk",
    )
    assert fields(report) == [("ARCHITECTURE", "PDP11"), ("JOBTYPE", "bulk"), ("RUNTIMEENVIRONMENT", "FORTRAN")]
    assert not report.ok
    assert "AMD64" in report.faults[0].remedy
    assert "GCC-13, PYTHON-3.11" in report.faults[2].remedy
    assert report.offers["JOBTYPE"] == SITE.job_types
    assert report.offers["ARCHITECTURE"] == SITE.architectures
    (warning,) = report.warnings
    assert (warning.field, warning.value) == ("inputs", Remote("nosuch"))
    assert [line for line in report.unknown if "Chemistry" in line]
    assert [line for line in report.unknown if "session.check(job)" in line]
    assert set(grid.counts) <= READING
    assert grid.jobs == []
    assert not list((grid.home / "aiomig_jobs").glob("*"))


async def test_what_speaks_for_nothing_against_it(grid: FakeGrid, mig: aiomig.Session) -> None:
    (grid.home / "data").mkdir()
    (grid.home / "data.csv").write_text("1")
    good = await mig.check(JobSpec("./fit", inputs=[Remote("data.csv")], resources=Resources(architecture="AMD64")))
    assert (good.ok, good.faults, good.warnings) == (True, (), ())
    assert grid.count("redb") == 0
    (warning,) = (await mig.check("./fit", executables=[Remote("data")])).warnings
    assert (warning.field, "is a directory" in warning.problem) == ("executables", True)


async def test_a_wrong_description_needs_no_server(grid: FakeGrid, mig: aiomig.Session) -> None:
    before = grid.count()
    report = await mig.check(" ", name="a b", retries=-1)
    assert [field for field, _ in fields(report)] == ["commands", "name", "retries"]
    assert [field for field, _ in fields(await mig.check(JobSpec("true"), name="x"))] == ["commands"]
    assert grid.count() == before


async def test_a_site_that_does_not_say_leaves_it_open(grid: FakeGrid, mig: aiomig.Session) -> None:
    for operation, kind in (("docs", "crash"), ("docs", "html"), ("redb", "error"), ("redb", "html")):
        grid.faults.add(operation, cast("Any", kind), times=None)
        report = await mig.check("true", runtime_environments=["FORTRAN"])
        assert report.ok
        assert report.unknown[0].startswith(f"what the site offers: {operation}: ")
        assert ("ARCHITECTURE" in report.offers) == (operation == "redb")
        grid.faults.clear()
    grid.faults.add("docs", "drop", times=None)
    with pytest.raises(aiomig.ConnectionFailed):
        await mig.check("true")


def test_runtime_environments_have_names() -> None:
    for row in ({}, {"name": ""}, {"name": 7}, "text"):
        with pytest.raises(aiomig.ProtocolError, match="redb"):
            runtime_environments([{"object_type": "runtimeenvironments", "runtimeenvironments": [row]}])
    with pytest.raises(aiomig.ServerError, match="disk on fire"):
        runtime_environments([{"object_type": "error_text", "text": "disk on fire"}])


async def test_a_verdict_without_a_reason_is_one(grid: FakeGrid, mig: aiomig.Session) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_protocol_jobs, "feasible", lambda _: {"7_1": Feasibility("7_1", "Not feasible", "RED")})
        assert fields(await mig.check(mig.job("7_1"))) == [("job", "7_1")]


async def test_feasibility_of_a_job(grid: FakeGrid, mig: aiomig.Session) -> None:
    fits, large = await mig.submit_many(["true", JobSpec("true", resources=Resources(nodes=5))])
    await anyio.sleep(5)  # virtual time, until the server has queued them
    assert await mig.check(fits) == CheckReport()
    report = await mig.check(large)
    assert fields(report) == [("RESOURCE", large.id)]
    assert report.faults[0].problem == "No valid/allowed resources available."
    assert grid.count("jobschedule") == 0
    assert await large.feasibility() == report
    assert (await large.status()).schedule_hint == "STAY"
    await large.cancel()
    (line,) = (await mig.check(large)).unknown
    assert "QUEUED or RETRY or FROZEN" in line
    for job_id in ("9_nosuch", "*"):
        with pytest.raises(aiomig.JobNotFound):
            await mig.check(mig.job(job_id))
        with pytest.raises(aiomig.JobNotFound):
            await mig.job(job_id).feasibility()


async def test_local_mode_tells_what_it_would_refuse(tmp_path: Path) -> None:
    async with aiomig.local(tmp_path / "home", vgrids=["Mine"], runtime_environments={"gcc-13": {}}) as mig:
        assert (await mig.check("true", vgrids=["Mine", "ANY"], runtime_environments=["GCC-13"])).unknown == ()
        report = await mig.check("true", vgrids=["X"], runtime_environments=["Y"], kind="interactive")
        assert fields(report) == [("VGRID", "X"), ("RUNTIMEENVIRONMENT", "Y"), ("JOBTYPE", "interactive")]
        assert report.offers["VGRID"] == ("Generic", "ANY", "Mine")
        assert await mig.jobs() == []
        assert (await (await mig.submit("true")).feasibility()).ok


def test_reports_are_values_and_can_be_read() -> None:
    fault = Fault("ARCHITECTURE", "PDP11", "bad", "good")
    report = CheckReport((fault,), (fault,), ("the rest",), {"ARCHITECTURE": ("AMD64",)})
    assert str(report).splitlines() == [f"fault: {fault}", f"warning: {fault}", "unknown: the rest"]
    assert str(CheckReport()) == "no problems found"
    assert pickle.loads(pickle.dumps(report)) == copy.deepcopy(report) == report
    assert hash(report) == hash(copy.copy(report))


async def test_a_closed_session_checks_nothing(tmp_path: Path) -> None:
    with pytest.raises(aiomig.NoSession):
        await aiomig.local(tmp_path / "home").check("true")
