"""A session on a server with faults: reads recover, changes happen once, and losses are reported."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import anyio
import httpx
import pytest

import aiomig
from aiomig import (
    AuthenticationFailed,
    ConnectionFailed,
    GridError,
    JobNotFound,
    JobState,
    ProtocolError,
    RequestLimits,
    ResultsMissing,
    ServerError,
    Session,
)
from aiomig.testing import FakeGrid, Site
from tests.clocks import anyio_backend

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from aiomig.testing import FaultKind as Kind
    from aiomig.testing import FaultTime as When

__all__ = ["anyio_backend"]

BYTES = bytes(range(256))
IDS = RequestLimits().ids_a_request
PASSING: list[tuple[str, dict[str, Any]]] = [
    ("slow", {"seconds": 30}),
    ("error", {}),
    ("unavailable", {"retry_after": 7}),
    ("crash", {}),
    ("drop", {"when": "before"}),
    ("drop", {"when": "after"}),
    ("truncate", {"size": 0}),
    ("truncate", {"size": 40}),
    ("html", {}),
    ("content-type", {}),
    ("extra", {}),
]
"""The temporary faults: all but a redirect and a refused token."""

passing = pytest.mark.parametrize(
    ("kind", "details"), PASSING, ids=[f"{kind}{at}" for at, (kind, _) in enumerate(PASSING)]
)


def session(grid: FakeGrid, transport: httpx.AsyncBaseTransport | None = None, **fields: Any) -> Session:
    return aiomig.grid(
        url="https://grid.example.org",
        certificate="c.pem",
        key="k.pem",
        transport=transport or grid.transport(),
        **fields,
    )


@pytest.fixture
async def grid(tmp_path: Path) -> AsyncIterator[FakeGrid]:
    async with FakeGrid(tmp_path / "home") as opened:
        opened.hold()
        yield opened


@pytest.fixture
async def mig(grid: FakeGrid) -> AsyncIterator[Session]:
    limits = RequestLimits(upload_chunk=100, download_piece=100)
    async with session(grid, request_limits=limits) as opened:
        yield opened


# -- reads


@passing
async def test_opening(grid: FakeGrid, kind: Kind, details: dict[str, Any]) -> None:
    grid.faults.add("jobstatus", kind, times=2, **details)
    async with session(grid) as mig:
        assert mig.is_open


@passing
async def test_status(grid: FakeGrid, mig: Session, kind: Kind, details: dict[str, Any]) -> None:
    job = await mig.submit("echo hello")
    grid.faults.add("jobstatus", kind, times=2, **details)
    assert (await job.status()).state in (JobState.PARSE, JobState.QUEUED)
    assert list(await mig.statuses([job])) == [job.id]


@passing
async def test_watch_and_results(grid: FakeGrid, mig: Session, kind: Kind, details: dict[str, Any]) -> None:
    job = await mig.submit("echo hello")
    grid.job(job.id).executing(after=100).finish("hello\n", after=200)
    for operation in ("jobstatus", "cert_redirect"):
        grid.faults.add(operation, kind, times=3, **details)
    states = [status.state async for status in job]
    assert states[-2:] == [JobState.EXECUTING, JobState.FINISHED]
    assert len(states) == len(set(states))
    result = await job
    assert result.stdout == "hello\n"
    assert result.ok


@passing
async def test_download(grid: FakeGrid, mig: Session, tmp_path: Path, kind: Kind, details: dict[str, Any]) -> None:
    (grid.home / "f").write_bytes(BYTES)
    grid.faults.add("cert_redirect", kind, skip=1, times=3, **details)
    assert await mig.files.get("f", tmp_path / "f") == (tmp_path / "f",)
    assert (tmp_path / "f").read_bytes() == BYTES
    assert sorted(path.name for path in tmp_path.iterdir()) == ["f", "home"]


async def test_a_download_that_breaks_for_good_leaves_nothing(grid: FakeGrid, mig: Session, tmp_path: Path) -> None:
    (grid.home / "f").write_bytes(BYTES)
    (tmp_path / "f").write_text("before")
    grid.faults.add("cert_redirect", "truncate", skip=1, times=None, size=10)
    with pytest.raises(ConnectionFailed):
        await mig.files.get("f", tmp_path / "f")
    assert (tmp_path / "f").read_text() == "before"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["f", "home"]
    assert grid.count("cert_redirect") == 6


@passing
async def test_upload(grid: FakeGrid, mig: Session, kind: Kind, details: dict[str, Any]) -> None:
    for operation in ("mkdir", "uploadchunked", "mv", "statpath"):
        grid.faults.add(operation, kind, **details)
    await mig.files.write_bytes("d/e/f", BYTES)
    assert (grid.home / "d/e/f").read_bytes() == BYTES
    assert list((grid.home / ".upload-cache").iterdir()) == []


@pytest.mark.parametrize("kind", ["drop", "error", "html", "truncate"])
async def test_no_truncated_file_ever_has_the_final_name(grid: FakeGrid, mig: Session, kind: Kind) -> None:
    for operation in ("uploadchunked", "mv"):
        grid.faults.add(operation, kind, times=None, skip=2 if operation == "uploadchunked" else 0)
        with pytest.raises(GridError):
            await mig.files.write_bytes("f", BYTES)
        # If the server has acted and every response is lost, the complete file may exist.
        assert not (grid.home / "f").exists() or (grid.home / "f").read_bytes() == BYTES
        grid.faults.clear()


# -- changes


@passing
async def test_cancel(grid: FakeGrid, mig: Session, kind: Kind, details: dict[str, Any]) -> None:
    job = await mig.submit("echo hello")
    grid.faults.add("jobaction", kind, **details)
    outcome = await job.cancel()
    assert outcome.changed
    assert grid.job(job.id).state == "CANCELED"
    assert not (await job.cancel()).changed


@passing
async def test_freeze_and_thaw(grid: FakeGrid, mig: Session, kind: Kind, details: dict[str, Any]) -> None:
    job = await mig.submit("echo hello")
    grid.job(job.id).queued()
    for act, state in ((job.freeze, "FROZEN"), (job.thaw, "QUEUED")):
        grid.faults.add("jobaction", kind, **details)
        assert (await act()).changed
        assert grid.job(job.id).state == state


@passing
async def test_mkdir_touch_and_truncate_may_be_repeated(
    grid: FakeGrid, mig: Session, kind: Kind, details: dict[str, Any]
) -> None:
    for operation in ("mkdir", "touch", "truncate"):
        grid.faults.add(operation, kind, **details)
    await mig.files.mkdir("a/b")
    await mig.files.touch("a/b/f")
    await mig.files.truncate("a/b/f", 7)
    assert (grid.home / "a/b/f").read_bytes() == bytes(7)


@pytest.mark.parametrize("operation", ["rm", "mv", "cp"])
@pytest.mark.parametrize("when", ["before", "after"])
async def test_other_changes_are_sent_once_and_the_failure_is_told(
    grid: FakeGrid, mig: Session, operation: str, when: When
) -> None:
    (grid.home / "f").write_bytes(BYTES)
    grid.faults.add(operation, "drop", when=when)
    act: dict[str, Callable[[], Any]] = {
        "rm": lambda: mig.files.remove("f"),
        "mv": lambda: mig.files.move("f", "g"),
        "cp": lambda: mig.files.copy("f", "g"),
    }
    with pytest.raises(ConnectionFailed, match="broke: Server disconnected") as caught:
        await act[operation]()
    assert caught.value.sent is True
    assert grid.count(operation) == 1


async def test_a_server_that_hangs_is_given_up(grid: FakeGrid) -> None:
    async with session(grid, timeout=60.0) as mig:
        grid.faults.add("mkdir", "slow", seconds=1000, times=None)
        began = anyio.current_time()
        with pytest.raises(ConnectionFailed, match=r"did not respond in time"):
            await mig.files.mkdir("x")
        assert 300 <= anyio.current_time() - began < 320


@pytest.mark.parametrize("operation", ["jobstatus", "ls", "mkdir", "submitfields", "cert_redirect", "uploadchunked"])
async def test_a_login_page_anywhere_says_what_to_do(grid: FakeGrid, mig: Session, operation: str) -> None:
    (grid.home / "f").write_bytes(BYTES)
    job = await mig.submit("echo hello")
    grid.faults.add(operation, "login", times=None, location="https://oid.example.org/login?x=1")
    act: dict[str, Callable[[], Any]] = {
        "jobstatus": job.status,
        "ls": mig.files.ls,
        "mkdir": lambda: mig.files.mkdir("d"),
        "submitfields": lambda: mig.submit("echo"),
        "cert_redirect": lambda: mig.files.read_bytes("f"),
        "uploadchunked": lambda: mig.files.write_bytes("g", b"x"),
    }
    before = len(grid.requests)
    with pytest.raises(AuthenticationFailed, match=r"redirects to 'https://oid.example.org/login'.*certificate host"):
        await act[operation]()
    assert sum(request.operation == operation for request in grid.requests[before:]) == 1


async def test_an_unknown_user(grid: FakeGrid) -> None:
    stranger = session(grid, grid.transport("/C=DK/CN=Somebody Else"))
    with pytest.raises(AuthenticationFailed, match=r"No such user \(/C=DK/CN=Somebody Else\).*sign up"):
        async with stranger:
            pass
    assert len(grid.requests) == 1


async def test_a_site_without_wsgi(tmp_path: Path) -> None:
    async with FakeGrid(tmp_path / "home", site=Site(wsgi=False)) as grid:
        grid.script(lambda job: job.executing(after=1).finish("hello\n", after=2))
        async with session(grid) as mig:
            job = await mig.submit("echo hello", inputs=[(b"data", "in.txt")])
            assert (await job).stdout == "hello\n"
        assert sum(request.path.startswith("/wsgi-bin/") for request in grid.requests) == 1


# -- jobs


async def test_everything_works_where_answers_hold_what_nobody_knows(grid: FakeGrid, tmp_path: Path) -> None:
    grid.faults.add("*", "extra", times=None)
    grid.script(lambda job: job.executing(after=1).finish("hello\n", outputs={"out.txt": "out"}, after=2))
    async with session(grid) as mig:
        job = await mig.submit("echo hello", inputs=[(b"data", "in.txt")], outputs=["out.txt"])
        assert (await job).stdout == "hello\n"
        assert await job.fetch(tmp_path / "out") == [tmp_path / "out/out.txt"]
        await mig.files.write_bytes("d/f", BYTES)
        assert [entry.path for entry in await mig.files.ls("d")] == ["d/f"]
        assert await mig.files.checksum("d/f", "md5")
        assert len(await mig.submit_many(["echo 1", "echo 2"])) == 2
        await job.clean()


async def test_an_unknown_word_for_a_state_is_carried_along(grid: FakeGrid, mig: Session) -> None:
    job = await mig.submit("echo hello")
    grid.job(job.id).says("HIBERNATING", after=10).says(None, after=60).finish("hello\n", after=100)
    seen = [(status.state, status.native) async for status in job]
    assert (JobState.UNKNOWN, "HIBERNATING") in seen
    assert seen[-1] == (JobState.FINISHED, "FINISHED")
    assert (await job).stdout == "hello\n"


@pytest.mark.parametrize("how", ["site", "status"])
async def test_finished_without_results_is_no_success(tmp_path: Path, how: str) -> None:
    async with FakeGrid(tmp_path / "home", site=Site(empty_results=how == "site")) as grid:
        grid.script(lambda job: job.finish("hello\n", status=b"", after=1))
        async with session(grid) as mig:
            job = await mig.submit("echo hello")
            with pytest.raises(ResultsMissing, match="FINISHED, but these did not arrive") as caught:
                await job
            assert caught.value.job_id == job.id
            result = await job.result(check=False)
            assert result.exit_code is None
            assert not result.ok


async def test_finished_with_no_files_at_all(grid: FakeGrid, mig: Session) -> None:
    job = await mig.submit("echo hello", outputs=["out.txt"])
    grid.job(job.id).finish("hello\n")
    for path in (grid.home / "job_output" / job.id).iterdir():
        path.unlink()
    with pytest.raises(ResultsMissing):
        await job
    with pytest.raises(ResultsMissing):
        await job.fetch(grid.home.parent / "out")


class Editing(httpx.AsyncBaseTransport):
    """Changes the responses of one operation, by number."""

    def __init__(self, inner: httpx.AsyncBaseTransport, operation: str, edit: Callable[[int, Any], Any]) -> None:
        self._inner = inner
        self._operation = operation
        self._edit = edit
        self._count = 0

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        response = await self._inner.handle_async_request(request)
        if not request.url.path.endswith(f"/{self._operation}.py"):
            return response
        self._count += 1
        edited = self._edit(self._count, json.loads(await response.aread()))
        return httpx.Response(response.status_code, json=edited)


async def test_a_job_that_is_missing_from_an_answer_has_not_ended(grid: FakeGrid) -> None:
    def edit(number: int, answer: list[dict[str, Any]]) -> list[dict[str, Any]]:
        for each in answer:
            if each["object_type"] == "job_list" and each["jobs"] and 3 <= number <= 8:
                hidden.append(number)
                each["jobs"] = []
        return answer

    hidden: list[int] = []
    async with session(grid, Editing(grid.transport(), "jobstatus", edit)) as mig:
        job = await mig.submit("echo hello")
        grid.job(job.id).executing(after=5).finish("hello\n", after=60)
        assert (await job).stdout == "hello\n"
    assert len(hidden) > 2


async def test_a_job_of_nobody(grid: FakeGrid, mig: Session) -> None:
    job = mig.job("12_1_1_2026__1_1_1_localhost.0")
    for attempt in (job.status(), job.wait(), job.result(), job.cancel(), job.plan(), job.stdout()):
        with pytest.raises(JobNotFound, match="job 12_1_1_2026__1_1_1_localhost.0: "):
            await attempt
    assert await mig.statuses([job]) == {}


@pytest.mark.parametrize(
    "nonsense", [[], {}, [[]], [{"object_type": "job_list"}], [{"object_type": "job_list", "jobs": 3}]]
)
async def test_nonsense_is_a_protocol_error(grid: FakeGrid, nonsense: object) -> None:
    async with session(
        grid, Editing(grid.transport(), "jobstatus", lambda number, answer: answer if number < 2 else nonsense)
    ) as mig:
        job = await mig.submit("echo hello")
        with pytest.raises(ProtocolError, match="jobstatus: "):
            await job.status()


@pytest.mark.parametrize("ids", [1, IDS, IDS + 1])
async def test_many_statuses_in_few_requests(grid: FakeGrid, mig: Session, ids: int) -> None:
    before = grid.count("jobstatus")
    assert await mig.statuses([f"{number}_1_1_2026__1_1_1_localhost.0" for number in range(ids)]) == {}
    assert grid.count("jobstatus") - before == -(-ids // IDS)


async def test_a_job_is_asked_for_by_nothing_after_its_session_is_closed(grid: FakeGrid) -> None:
    async with session(grid) as mig:
        job = await mig.submit("echo hello")
    before = len(grid.requests)
    for attempt in (job.status(), job.cancel(), mig.files.ls()):
        with pytest.raises(aiomig.NoSession):
            await attempt
    assert len(grid.requests) == before


async def test_a_server_error_during_a_watch_reaches_who_waits_in_the_end(grid: FakeGrid, mig: Session) -> None:
    job = await mig.submit("echo hello")
    grid.faults.add("jobstatus", "error", times=None, skip=1)
    with pytest.raises(ServerError, match="jobstatus: 500 Internal Server Error"):
        await job.wait()
    grid.faults.clear()
    grid.job(job.id).finish("hello\n", after=1)
    assert (await job).stdout == "hello\n"
