"""Message queues, and the documentation of a site."""

from __future__ import annotations

import re
import secrets
from typing import TYPE_CHECKING, Any

import anyio
import pytest

import aiomig
from aiomig import FileExists, FileNotFound, NoSession, Queue, SpecError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from .modes import Settings

TEXTS = ["plain", "NO MESSAGES", "two\nlines\n", " blanks ", "a=1&b=%41+;#?'\"\\`$", "æøå ÀÿÖ €½"]


@pytest.fixture
async def queue(mig: aiomig.Session) -> AsyncIterator[Queue]:
    """A new queue for the test."""
    queue = mig.queue(f"conformance{secrets.token_hex(6)}")
    await queue.create()
    yield queue
    await queue.remove(missing_ok=True)


async def test_messages_come_out_in_order_and_once(queue: Queue) -> None:
    assert await queue.list() == []
    assert await queue.receive() is None
    ids = [await queue.send(text) for text in TEXTS]
    assert len(set(ids)) == len(TEXTS)
    assert await queue.list() == ids
    assert await queue.peek() == TEXTS[0]
    assert [await queue.receive() for _ in TEXTS] == TEXTS
    assert (await queue.receive(), await queue.peek(), await queue.list()) == (None, None, [])


async def test_each_message_has_one_receiver(queue: Queue) -> None:
    sent = [f"message {number}" for number in range(12)]
    for text in sent:
        await queue.send(text)
    got: list[str] = []

    async def receive() -> None:
        while (text := await queue.receive()) is not None:
            got.append(text)

    async with anyio.create_task_group() as group:
        for _ in range(3):
            group.start_soon(receive)
    assert sorted(got) == sorted(sent)


async def test_other_sessions_have_the_same_queues(settings: Settings, mig: aiomig.Session, queue: Queue) -> None:
    await queue.send("from one")
    async with settings.session() as other:
        assert queue.name in [each.name for each in await other.queues()]
        assert await other.queue(queue.name).receive() == "from one"
    assert await queue.list() == []


async def test_a_message_is_a_file_of_the_home(mig: aiomig.Session, queue: Queue) -> None:
    first, second = await queue.send("one"), await queue.send("two")
    assert await mig.files.read_text(f"message_queues/{queue.name}/{second}") == "two"
    await mig.files.remove(f"message_queues/{queue.name}/{first}")
    assert await queue.list() == [second]


async def test_a_queue_that_is_there(mig: aiomig.Session, queue: Queue) -> None:
    with pytest.raises(FileExists, match=queue.name) as caught:
        await queue.create()
    assert caught.value.path == f"message_queues/{queue.name}"
    await queue.create(exist_ok=True)
    await mig.queue().create(exist_ok=True)
    assert {queue, mig.queue("default")} <= set(await mig.queues())


async def test_removing_takes_the_messages_along(mig: aiomig.Session, queue: Queue) -> None:
    await queue.send("never received")
    await queue.remove()
    assert queue not in await mig.queues()
    await queue.remove(missing_ok=True)
    await queue.create()
    assert await queue.list() == []


async def test_a_queue_that_is_not_there(mig: aiomig.Session) -> None:
    queue = mig.queue("NoSuchQueue")
    acts: list[Callable[[], Awaitable[object]]] = [queue.receive, queue.peek, queue.list, queue.remove]
    acts.append(lambda: queue.send("text"))
    for act in acts:
        with pytest.raises(FileNotFound, match="no such message queue; create it") as caught:
            await act()
        assert caught.value.path == "message_queues/NoSuchQueue"


async def test_bad_names_are_refused(mig: aiomig.Session) -> None:
    names: list[Any] = ["", "a-b", "../x", "a b", "æ", "x" * 256, "a\n", None, 7]
    for name in names:
        with pytest.raises(SpecError, match="letters and digits"):
            mig.queue(name)


async def test_bad_messages_are_refused(queue: Queue) -> None:
    messages: list[Any] = [
        "",
        "a<b",
        "a>b",
        "\0",
        "a\r\nb",
        "\ud800",
        b"bytes",
        None,
        "æ Ж",
        "☃",
        "ª",
        "\x7f",
        "²",
        "Ł",
    ]
    for message in messages:
        with pytest.raises(SpecError, match="message="):
            await queue.send(message)
    assert await queue.list() == []


async def test_a_closed_session_has_no_queues(settings: Settings) -> None:
    async with settings.session() as session:
        queue = session.queue()
    for act in (session.queues, session.site, queue.list, queue.receive):
        with pytest.raises(NoSession):
            await act()


async def test_a_site_documents_its_keywords(mig: aiomig.Session) -> None:
    site = await mig.site()
    assert {"EXECUTE", "CPUTIME", "RUNTIMEENVIRONMENT"} <= set(site.keywords)
    assert all(re.fullmatch("[A-Z]+", name) for name in site.keywords)
    assert all(each.name == name and each.text for name, each in site.keywords.items())
    assert "batch" in site.job_types
    assert str(site.keywords["JOBTYPE"]).startswith("JOBTYPE\n  ")
