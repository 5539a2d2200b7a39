r"""A MiG server for tests of programs that use aiomig: `FakeGrid`, in memory or over TLS.

If aiomig is installed, pytest has the fixtures ``mig_local``, ``fake_grid`` and ``mig_session``, for async tests by
anyio's plugin, pytest-asyncio and pytest-trio; see `pytest_aiomig`. Elsewhere::

    async with FakeGrid(clock="virtual") as grid, grid.session() as session:
        ...

**The life of a job.** Jobs really run, as in local mode, unless `FakeGrid.script` or `FakeGrid.hold` was called before
their submit. Then the test decides what happens to them, with the methods of `GridJob`. Times are seconds from now, and
a virtual clock jumps to the next event that a client waits for::

    grid.script(lambda job: job.executing(after=60).finish(stdout="0.25\n", outputs={"out.txt": b"…"}, after=7200))
    grid.script(lambda job: job.executing().requeue("RESOURCE DIED", after=10).fail("JOB TIMEOUT", after=20))
    grid.script(lambda job: job.finish(status=[0, 3], stderr="no such column\n"))      # the second command fails

    grid.hold()                                                 # or step by step
    job = await session.submit("./fit")
    grid.job(job.id).executing()
    assert (await job.status()).state == "EXECUTING"
    grid.pass_time(3600)
    grid.job(job.id).expire()

If the program itself sleeps for hours, the event loop also needs a virtual clock, such as ``autojump_clock`` of
pytest-trio. ``FakeGrid()`` then uses that clock.

**What was submitted.** `FakeGrid.jobs` has every job, with its ``commands``, ``name``, ``environment``, ``inputs``
(their content), ``outputs``, and in ``description`` everything that the server read. `FakeGrid.requests` and
`FakeGrid.count` show the requests to the server. `FakeGrid.home` is the folder of the user's home.

**A server that misbehaves.** `Faults.add` makes the server drop connections or respond slowly, with errors, with
truncated responses, or with pages that have nothing to do with MiG. `Site` sets up a server with other vgrids and
runtime environments, or one that loses results or runs no jobs::

    grid.faults.add("jobstatus", "error", times=2)              # HTTP 500 twice, then success
    grid.faults.add("submitfields", "drop", when="after")       # the job is submitted, and the response is lost
    grid = FakeGrid(site=Site(empty_results=True, vgrids=("Generic", "Ocean")))

In memory, a `FakeGrid` needs only aiomig itself. `FakeGrid.serve` and `ServerProcess` serve over TLS, for programs that
run as a process. They need trustme, which ``pip install 'aiomig[test]'`` installs.
"""

from __future__ import annotations

from ._certificates import Authority, ClientFiles
from ._fake_grid import FakeGrid
from ._faults import Dropped, FaultKind, Faults, FaultTime
from ._process import ServerProcess
from ._scripted import GridJob
from ._serve import Address
from ._server import RecordedRequest
from ._site import USER, Site
from ._wire import Request, Response

__all__ = [
    "USER",
    "Address",
    "Authority",
    "ClientFiles",
    "Dropped",
    "FakeGrid",
    "FaultKind",
    "FaultTime",
    "Faults",
    "GridJob",
    "RecordedRequest",
    "Request",
    "Response",
    "ServerProcess",
    "Site",
]
