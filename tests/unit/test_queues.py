"""Failures of message queues: lost and recorded responses of a grid, several processes in one home."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio
import pytest

import aiomig
from aiomig import ConnectionFailed, FileExists, FileNotFound, LocalError, Queue, ServerError
from aiomig._grid.protocol.site import keywords
from aiomig._grid.queues import GridQueues
from aiomig.testing import FakeGrid, Site
from tests.cancel_points import cancelled_at, task_cancelled_at
from tests.clocks import anyio_backend  # noqa: F401  # the fixture
from tests.unit.recordings import EXCHANGES, objects

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

ROOT = Path(__file__).parents[2]


@pytest.fixture
async def grid() -> AsyncIterator[FakeGrid]:
    async with FakeGrid(site=Site(runtime_environments={"GCC-13": {}})) as grid:
        yield grid


@pytest.fixture
async def mig(grid: FakeGrid) -> AsyncIterator[aiomig.Session]:
    url = "https://grid.example.org"
    async with aiomig.grid(url=url, certificate="c.pem", key="k.pem", transport=grid.transport()) as session:
        yield session


@pytest.fixture
def queue(mig: aiomig.Session) -> Queue:
    return mig.queue()


# -- lost answers


async def test_a_send_whose_answer_is_lost_is_not_repeated(grid: FakeGrid, queue: Queue) -> None:
    grid.faults.add("mqueue", "drop", when="after")
    message_id = await queue.send("once")
    assert await queue.list() == [message_id]
    assert grid.count("mqueue") == 3, "the send, and two looks at the queue"


@pytest.mark.parametrize("kind", ["drop", "html", "crash"])
async def test_a_send_that_did_not_arrive_is_told(grid: FakeGrid, queue: Queue, kind: Any) -> None:
    grid.faults.add("mqueue", kind)
    with pytest.raises(aiomig.GridError):
        await queue.send("never")
    assert await queue.list() == []


async def test_a_server_that_is_gone_for_good(grid: FakeGrid, queue: Queue) -> None:
    grid.faults.add("mqueue", "drop", times=None)
    with pytest.raises(ConnectionFailed):
        await queue.send("never")


async def test_a_message_is_received_once_at_most(grid: FakeGrid, queue: Queue) -> None:
    await queue.send("lost")
    await queue.send("next")
    before = grid.count("mqueue")
    grid.faults.add("mqueue", "drop", when="after")
    with pytest.raises(ConnectionFailed) as caught:
        await queue.receive()
    assert caught.value.sent
    assert grid.count("mqueue") == before + 1
    assert await queue.receive() == "next"


async def test_making_and_removing_are_repeated_where_that_does_no_harm(grid: FakeGrid, mig: aiomig.Session) -> None:
    queue = mig.queue("q")
    for act, tolerant in ((queue.create, {"exist_ok": True}), (queue.remove, {"missing_ok": True})):
        grid.faults.add("mqueue", "drop", when="after")
        await act(**tolerant)
    assert queue not in await mig.queues()
    grid.faults.add("mqueue", "drop", when="after")
    with pytest.raises(ConnectionFailed):
        await queue.create()
    assert queue in await mig.queues()


# -- what a real server said


class Recorded:
    """An `OperationClient` that gives recorded responses, and reports these queues."""

    def __init__(self, name: str, *queues: str) -> None:
        recorded = EXCHANGES[f"mqueue--{name}--json"]
        self._answer = objects("mqueue", recorded.body, recorded.content_type, recorded.status)
        self._queues = ["mqueue.lock", *queues]
        self.sent: list[tuple[str, str]] = []

    async def query(self, operation: str, fields: Sequence[tuple[str, str]]) -> Any:
        return [{"object_type": "list", "list": self._queues}] if ("action", "listqueues") in fields else self._answer

    async def execute(self, operation: str, fields: Sequence[tuple[str, str]], *, repeatable: bool = False) -> Any:
        self.sent += fields
        return self._answer


def recorded(name: str, *queues: str) -> Queue:
    return Queue(GridQueues(Recorded(name, *queues)), "qjson")  # type: ignore[arg-type]


async def test_recorded_answers() -> None:
    await recorded("create").create()
    await recorded("send").send("hello æ")
    await recorded("remove").remove()
    assert await recorded("show").peek() == "hello æ"
    assert await recorded("receive").receive() == "hello æ"
    assert await recorded("receive-second").receive() == "second"


async def test_a_list_of_nothing() -> None:
    # The response of the recorded server for a queue without messages is unknown: an empty list, or no list.
    assert await recorded("create").list() == []
    with pytest.raises(ServerError):
        await recorded("bogus", "qjson").list()


async def test_recorded_refusals() -> None:
    await recorded("create-exists", "qjson").create(exist_ok=True)
    with pytest.raises(FileExists):
        await recorded("create-exists", "qjson").create()
    with pytest.raises(FileNotFound):
        await recorded("receive-nosuch").receive()
    with pytest.raises(FileNotFound):
        await recorded("send-nosuch").send("x")
    with pytest.raises(FileNotFound):
        await recorded("remove-nosuch").remove()
    await recorded("remove-nosuch").remove(missing_ok=True)


async def test_what_another_reason_has_is_told_as_the_server_does() -> None:
    with pytest.raises(ServerError, match="Could not create 'qjson' queue"):
        await recorded("create-exists").create(exist_ok=True)
    with pytest.raises(ServerError, match="Could not remove 'qjson' queue"):
        await recorded("remove-nosuch", "qjson").remove(missing_ok=True)


# -- several processes in one home

RECEIVER = """
import sys, anyio, aiomig

async def main():
    async with aiomig.local(sys.argv[1]) as mig:
        queue = mig.queue("shared")
        print("ready", flush=True)
        sys.stdin.readline()
        while (message := await queue.receive()) is not None:
            print(message)

anyio.run(main)
"""


def test_processes_share_the_messages_of_a_queue(tmp_path: Path) -> None:
    sent = [f"message {number}" for number in range(100)]

    async def fill() -> None:
        async with aiomig.local(tmp_path) as mig:
            await mig.queue("shared").create()
            for text in sent:
                await mig.queue("shared").send(text)

    anyio.run(fill)
    command = [sys.executable, "-c", RECEIVER, str(tmp_path)]
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True, "cwd": ROOT}
    with subprocess.Popen(command, **pipes) as one, subprocess.Popen(command, **pipes) as other:
        for each in (one, other):
            assert each.stdout is not None
            assert each.stdout.readline() == "ready\n"
        for each in (one, other):
            assert each.stdin is not None
            each.stdin.write("go\n")
            each.stdin.flush()
        got = [each.communicate()[0].splitlines() for each in (one, other)]
    assert sorted(got[0] + got[1]) == sorted(sent)
    assert (one.returncode, other.returncode) == (0, 0)


async def test_who_comes_second_takes_the_next_message(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with aiomig.local(tmp_path) as mig:
        queue = mig.queue()
        ids = [await queue.send(text) for text in ("one", "two")]
        (tmp_path / "message_queues" / "default" / ids[0]).unlink()
        access: Any = queue._access

        async def known(_name: str) -> list[str]:
            return ids

        monkeypatch.setattr(access, "_ids", known)
        assert [await queue.receive(), await queue.receive()] == ["two", None]


@pytest.mark.parametrize("cancelled", [cancelled_at, task_cancelled_at])
async def test_cancelling_loses_and_halves_no_message_here(tmp_path: Path, cancelled: Any) -> None:
    async with aiomig.local(tmp_path) as mig:
        queue = mig.queue()
        for act, left in (
            (lambda: queue.send("text"), ([], ["text"])),
            (queue.receive, (["text"], [])),
            (lambda: queue.remove(), (["text"], [])),
        ):
            number, reached, texts = 0, True, [""]
            while reached:
                await queue.remove()
                if left[0]:
                    await queue.send("text")
                reached, _ = await cancelled(number, act)
                texts = [await mig.files.read_text(f"message_queues/default/{each}") for each in await queue.list()]
                assert texts in left
                number += 1
            assert number > 1, "it was cancelled once at least"
            assert texts == left[1]
        assert not list((tmp_path / ".aiomig" / "tmp").iterdir())


async def test_cancelling_a_grid_leaves_the_session_usable(grid: FakeGrid, mig: aiomig.Session) -> None:
    queue = mig.queue()
    await queue.list()
    number, reached = 0, True
    while reached:
        reached, received = await cancelled_at(number, queue.receive)
        assert received is None
        number += 1
    await queue.send("after")
    assert await queue.receive() == "after"


async def test_what_is_no_message_is_not_one(tmp_path: Path) -> None:
    async with aiomig.local(tmp_path) as mig:
        folder = tmp_path / "message_queues"
        (folder / "default" / "deeper").mkdir(parents=True)
        (folder / "default" / ".hidden").write_text("x")
        (folder / "afile").write_text("x")
        (folder / "default" / "1795410448").write_bytes(b"by a job: \xff")
        assert [each.name for each in await mig.queues()] == ["default"]
        assert await mig.queue().receive() == "by a job: �"
        assert await mig.queue().receive() is None
        with pytest.raises(FileExists):
            await mig.queue("afile").create(exist_ok=True)
        with pytest.raises(FileExists, match="a file is in the way"):
            await mig.queue("afile").remove()
        assert not list((tmp_path / ".aiomig" / "tmp").iterdir())


async def test_a_home_that_cannot_be_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with aiomig.local(tmp_path) as mig:
        (tmp_path / "message_queues").write_text("in the way")
        with pytest.raises(FileExists, match="a file is in the way"):
            await mig.queues()
        (tmp_path / "message_queues").unlink()

        def full(*_arguments: Any, **_options: Any) -> Any:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr("aiomig._local.queues.atomic_write", full)
        with pytest.raises(LocalError, match="free some space"):
            await mig.queue().send("x")


# -- what a site says of itself


async def test_what_a_grid_offers(grid: FakeGrid, mig: aiomig.Session) -> None:
    site = await mig.site()
    assert site.architectures[:2] == ("X86", "AMD64")
    assert site.runtime_environments == ("GCC-13",)
    assert "About" in site.topics
    assert "supports the following values" in str(site.keywords["ARCHITECTURE"])
    assert (site.keywords["MEMORY"].example, site.keywords["MEMORY"].default) == ("::MEMORY::", "")
    assert {request.operation for request in grid.requests} <= {"jobstatus", "docs", "redb"}
    grid.faults.add("redb", "error", times=None)
    with pytest.raises(ServerError):
        await mig.site()


async def test_what_local_mode_offers(tmp_path: Path) -> None:
    async with aiomig.local(tmp_path, vgrids=["Mine"], runtime_environments={"gcc-13": {}}) as mig:
        site = await mig.site()
        assert site.runtime_environments == ("GCC-13",)
        assert site.keywords["VGRID"].values == ("Generic", "ANY", "Mine")
        assert list(site.keywords) == list(aiomig._spec.keywords.KEYWORDS)
        assert str(site.keywords["VGRID"]).endswith("\n  Values: Generic, ANY, Mine")
        assert (site.architectures, site.topics) == ((), ())
        memory = site.keywords["MEMORY"]
        assert (memory.type, memory.example, memory.default) == ("integer", "2048", "64")
        assert all(each.description.endswith(".") for each in site.keywords.values())


def test_documentation_with_headings_and_line_breaks() -> None:
    # The format of the recorded refusal of an architecture: submit--bad-bad-arch.
    example = "Example: ::ARCHITECTURE::<br/>X86<br/><br/>This particular server supports the following values:<br/>"
    page: list[dict[str, object]] = [
        {"object_type": "sectionheader", "text": "ARCHITECTURE"},
        {"object_type": "list", "list": ["Description: CPU architecture", f"{example}X86, AMD64<br/>", "Default: X"]},
    ]
    found = keywords(page)["ARCHITECTURE"]
    assert found.values == ("X86", "AMD64")
    assert found.description == "CPU architecture"
    assert found.example.splitlines()[:2] == ["::ARCHITECTURE::", "X86"]
    assert found.default == "X"
    assert "Values:" not in str(found), "the text has them"


def test_a_description_without_a_heading() -> None:
    assert aiomig.Keyword("X", ("Type: text", "Says nothing: at all.", "More.")).description == "Says nothing: at all."
    assert aiomig.Keyword("X", ("Type: text",)).description == ""
