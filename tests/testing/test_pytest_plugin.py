"""The pytest plugin: its fixtures in real runs of anyio's plugin, pytest-asyncio and pytest-trio."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pytest

pytest_plugins = ["pytester"]

ROOT = Path(__file__).parents[2]
STRICT = ("-W", "error", "-o", "asyncio_default_fixture_loop_scope=function", "-p", "no:cacheprovider")

# Collected first: the modules imported by then are the cost of the plugin for tests that do not use it.
UNUSED = """
import sys

LOADED = {"pytest_aiomig", "aiomig", "httpx"} & sys.modules.keys()

def test_is_cheap():
    assert LOADED == {"pytest_aiomig"}

def test_only_for_async_tests(mig_local):
    pass
"""

TESTS = """
import anyio, pytest, sys
import aiomig

if "{plugin}" == "asyncio":
    import pytest_asyncio
    fixture = pytest_asyncio.fixture
else:
    fixture = pytest.fixture

{mark}

@fixture
async def made(mig_local):
    return await mig_local.submit("echo made")

async def test_local(mig_local):
    assert aiomig.current_session() is mig_local
    assert (await (await aiomig.submit("true"))).ok
    await mig_local.submit("sleep 1000")  # is not waited for

async def test_home_is_fresh(mig_local):
    assert await mig_local.jobs() == []

async def test_other_fixtures_may_use_it(made, mig_local):
    assert (await made).stdout == "made\\n"

async def test_hours_pass_at_once(fake_grid, mig_session):
    fake_grid.script(lambda job: job.executing(after=60).finish(stdout="0.25\\n", after=7200))
    inputs = [(b"1,2", "data.csv")]
    job = await aiomig.submit("fit", inputs=inputs, outputs=["out"], name="fit", environment={{"A": "b c"}})
    assert [status.state async for status in job] == ["QUEUED", "EXECUTING", "FINISHED"]
    result = await job
    assert (result.stdout, result.status.finished_at - result.status.queued_at) == ("0.25\\n", hours(2))
    (submitted,) = fake_grid.jobs
    assert (submitted.name, submitted.inputs) == ("fit", {{"data.csv": b"1,2"}})
    assert (submitted.outputs, submitted.environment) == (("out",), {{"A": "b c"}})

def hours(count):
    import datetime
    return datetime.timedelta(hours=count)

async def test_misbehaving_server(fake_grid, mig_session):
    fake_grid.faults.add("jobstatus", "error", times=2)
    fake_grid.script(lambda job: job.requeue("RESOURCE DIED").executing().finish(stdout="again\\n"))
    assert (await (await aiomig.submit("fit"))).stdout == "again\\n"
    assert (fake_grid.count("submitfields"), fake_grid.count("jobstatus") >= 3) == (1, True)

async def test_really_runs(fake_grid, mig_session):
    assert (await (await mig_session.submit("echo hello"))).stdout == "hello\\n"

async def test_fails(fake_grid, mig_session, mig_local):
    await mig_local.submit("sleep 1000")
    assert await mig_session.jobs() == ["none"]
"""
PASSED, FAILED = 6, 1

OTHER_LOOP = """
import pytest

@pytest.mark.asyncio(loop_scope="module")
async def test_in_the_loop_of_the_test(mig_session, mig_local):
    assert await mig_session.jobs() == await mig_local.jobs() == []
"""


def modules(**marks: str) -> dict[str, str]:
    return {f"test_{plugin}": TESTS.format(plugin=plugin, mark=mark) for plugin, mark in marks.items()}


def test_side_by_side(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    marked = modules(
        anyio="pytestmark = pytest.mark.anyio",
        asyncio="pytestmark = pytest.mark.asyncio",
        trio="pytestmark = pytest.mark.trio",
    )
    pytester.makepyfile(test_0=UNUSED, test_1=OTHER_LOOP, **marked)
    done = pytester.runpytest_subprocess("-q", *STRICT, "-p", "pytest_aiomig", timeout=120)
    # anyio's plugin runs each test on asyncio and on trio.
    done.assert_outcomes(passed=2 + 4 * PASSED, failed=4 * FAILED, errors=1)
    done.stdout.fnmatch_lines(["*test_0.py::test_only_for_async_tests: mig_local is for async tests; mark it with *"])
    # A test fails with its own error, without warnings or errors from its sessions.
    told = re.findall(
        r"^FAILED \S+::test_fails\S* - AssertionError\W+assert \[\] == \['no", str(done.stdout), re.MULTILINE
    )
    assert len(told) == 4


def test_asyncio_alone_in_auto_mode(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    pytester.makepyfile(test_0=UNUSED, **modules(asyncio=""))
    alone = ("-o", "asyncio_mode=auto", "-p", "no:trio", "-p", "no:anyio")
    done = pytester.runpytest_subprocess("-q", *STRICT, *alone, "-p", "pytest_aiomig", timeout=120)
    done.assert_outcomes(passed=1 + PASSED, failed=FAILED, errors=1)
