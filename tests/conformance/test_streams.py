"""Streams of bytes into and out of the home."""

from __future__ import annotations

from contextlib import aclosing
from typing import TYPE_CHECKING

import anyio
import pytest

import aiomig
from aiomig import FileNotFound, MigError, PathRefused, SpecError

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from pathlib import Path

PIECES = [bytes([number]) * 100_000 for number in range(30)]


@pytest.fixture
def files(mig: aiomig.Session) -> aiomig.Files:
    return mig.files


async def pieces(*content: bytes) -> AsyncGenerator[bytes, None]:
    for piece in content:
        yield piece
        await anyio.lowlevel.checkpoint()


@pytest.mark.parametrize("size", [3_000_000, None])
async def test_a_stream_goes_there_and_back(files: aiomig.Files, top: str, size: int | None) -> None:
    assert await files.put_stream(pieces(*PIECES), f"{top}/new/x", size=size) == 3_000_000
    assert (await files.stat(f"{top}/new/x")).size == 3_000_000
    back = [piece async for piece in files.stream(f"{top}/new/x", chunk=70_000)]
    assert b"".join(back) == b"".join(PIECES)
    assert max(map(len, back)) == 70_000


async def test_a_stream_without_bytes(files: aiomig.Files, top: str) -> None:
    assert await files.put_stream(pieces(), f"{top}/empty") == 0
    assert await files.put_stream(pieces(b"", b"x", b""), f"{top}/x") == 1
    assert [piece async for piece in files.stream(f"{top}/empty")] == []
    assert await files.read_bytes(f"{top}/x") == b"x"


@pytest.mark.parametrize("error", [FileNotFoundError(2, "mine"), ConnectionResetError("mine"), ValueError("mine")])
async def test_errors_of_streams_and_callbacks_come_out_as_they_are(
    files: aiomig.Files, top: str, tmp_path: Path, error: Exception
) -> None:
    async def broken() -> AsyncGenerator[bytes, None]:
        yield b"x"
        raise error

    def report(done: int, total: int) -> None:
        raise error

    await files.write_bytes(f"{top}/there", b"there")
    (tmp_path / "here").write_bytes(b"here")
    for call in (
        lambda: files.put_stream(broken(), f"{top}/x"),
        lambda: files.put(tmp_path / "here", f"{top}/x", progress=report),
        lambda: files.get(f"{top}/there", tmp_path / "got", progress=report),
    ):
        with pytest.raises(type(error)) as caught:
            await call()
        assert caught.value is error
    assert [info.name for info in await files.ls(top)] == ["there"]
    assert not (tmp_path / "got").exists()


async def test_a_callback_that_would_have_to_be_awaited_is_refused(
    files: aiomig.Files, top: str, tmp_path: Path
) -> None:
    async def report(done: int, total: int) -> None:
        raise AssertionError

    (tmp_path / "here").write_bytes(b"here")
    with pytest.raises(TypeError, match="not a coroutine function"):
        await files.put(tmp_path / "here", f"{top}/x", progress=report)


async def test_a_stream_can_be_left_at_any_time(files: aiomig.Files, top: str) -> None:
    await files.put_stream(pieces(*PIECES), f"{top}/x")
    async for piece in files.stream(f"{top}/x", chunk=10):
        assert piece == bytes(10)
        break
    async with files.stream(f"{top}/x") as stream:
        assert await anext(stream)
    assert [piece async for piece in stream] == []
    async with aclosing(files.stream(f"{top}/x")):
        pass
    await files.remove(f"{top}/x")


async def test_a_stream_that_was_cut_off_does_not_look_ended(files: aiomig.Files, top: str) -> None:
    await files.put_stream(pieces(*PIECES), f"{top}/x")
    stream = files.stream(f"{top}/x", chunk=3_000_000)
    with anyio.CancelScope() as scope:
        scope.cancel()
        async for _ in stream:
            pass
    assert scope.cancelled_caught
    with pytest.raises(MigError, match="cut off"):
        await anext(stream)


async def test_what_cannot_be_streamed(files: aiomig.Files, top: str) -> None:
    await files.mkdir(f"{top}/folder")
    with pytest.raises(FileNotFound):
        await anext(files.stream(f"{top}/missing"))
    with pytest.raises(PathRefused):
        await anext(files.stream(f"{top}/folder"))
    with pytest.raises(PathRefused):
        files.stream("../outside")
    with pytest.raises(ValueError, match="chunk=0"):
        files.stream(f"{top}/x", chunk=0)
    with pytest.raises(PathRefused):
        await files.put_stream(pieces(b"x"), f"{top}/folder")


@pytest.mark.parametrize(("size", "words"), [(5, "has at least 6 bytes"), (7, "has 6 bytes")])
async def test_a_wrong_size_is_refused(files: aiomig.Files, top: str, size: int, words: str) -> None:
    await files.write_text(f"{top}/x", "old")
    with pytest.raises(SpecError, match=f"size={size}: the stream {words}"):
        await files.put_stream(pieces(b"abc", b"def"), f"{top}/x", size=size)
    assert await files.read_text(f"{top}/x") == "old"


@pytest.mark.parametrize("source", [b"bytes", [b"bytes"], open, "text"])
async def test_what_is_not_a_stream_is_refused(files: aiomig.Files, top: str, source: object) -> None:
    with pytest.raises(SpecError, match="source=.*not an async iterable"):
        await files.put_stream(source, f"{top}/x")  # type: ignore[arg-type]


async def test_text_is_not_bytes(files: aiomig.Files, top: str) -> None:
    with pytest.raises(SpecError, match="is not bytes"):
        await files.put_stream(pieces("text"), f"{top}/x")  # type: ignore[arg-type]
    assert not await files.exists(f"{top}/x")


async def test_the_error_of_a_source_leaves_the_old_file(files: aiomig.Files, top: str) -> None:
    closed: list[str] = []

    async def broken() -> AsyncGenerator[bytes, None]:
        try:
            yield bytes(100_000)
            raise ZeroDivisionError
        finally:
            closed.append("closed")

    await files.write_text(f"{top}/x", "old")
    with pytest.raises(ZeroDivisionError):
        await files.put_stream(broken(), f"{top}/x")
    assert await files.read_text(f"{top}/x") == "old"
    assert [info.path for info in await files.ls(top)] == [f"{top}/x"]
    assert closed == ["closed"]


async def test_a_cancelled_upload_closes_its_source_and_leaves_nothing(files: aiomig.Files, top: str) -> None:
    closed: list[str] = []

    async def endless() -> AsyncGenerator[bytes, None]:
        try:
            yield b"x"
            scope.cancel()
            await anyio.sleep_forever()
        finally:
            closed.append("closed")

    with anyio.CancelScope() as scope:
        await files.put_stream(endless(), f"{top}/x")
    assert closed == ["closed"]
    assert not await files.exists(f"{top}/x")


# -- inputs of jobs


async def test_a_stream_is_an_input(mig: aiomig.Session) -> None:
    job = await mig.submit("cat one two", inputs=[(pieces(b"a", b"b"), "one")], executables=[(pieces(b"c"), "two")])
    assert (await job).stdout == "abc"


async def test_streams_of_many_jobs(mig: aiomig.Session) -> None:
    specs = [aiomig.JobSpec("cat x", inputs=[(pieces(b"%d" % number), "x")]) for number in range(3)]
    jobs = await mig.submit_many(specs)
    assert [(await job).stdout for job in jobs] == ["0", "1", "2"]


async def test_a_stream_is_read_once(mig: aiomig.Session) -> None:
    stream = pieces(b"x")
    spec = aiomig.JobSpec("cat x", inputs=[(stream, "x")])
    await mig.submit(spec)
    with pytest.raises(SpecError, match="a stream that was read before"):
        await mig.submit(spec)
    with pytest.raises(SpecError, match="a stream that was read before"):
        await mig.submit("cat x", inputs=[(stream, "x")])


async def test_a_broken_stream_makes_no_job(mig: aiomig.Session) -> None:
    async def broken() -> AsyncGenerator[bytes, None]:
        yield b"x"
        raise ZeroDivisionError

    before = await mig.jobs(newest=1)
    with pytest.raises(ZeroDivisionError):
        await mig.submit("cat x", inputs=[(broken(), "x"), (b"y", "y")])
    assert await mig.jobs(newest=1) == before


async def test_a_journal_cannot_know_a_stream(mig: aiomig.Session, tmp_path: Path) -> None:
    def job(number: int) -> aiomig.JobSpec:
        return aiomig.JobSpec(f"cat x; echo {number}", inputs=[(pieces(b"x"), "x")])

    with pytest.raises(SpecError, match="cannot be compared with an earlier run"):
        await anext(mig.sweep(job, range(2), journal=tmp_path / "journal"))
    async with mig.sweep(job, range(2)) as jobs:
        assert sorted([(await job).stdout async for job in jobs]) == ["x0\n", "x1\n"]


async def test_a_stream_needs_a_name(mig: aiomig.Session) -> None:
    stream = pieces(b"x")
    with pytest.raises(SpecError, match=r"inputs\[0\].*without a name"):
        await mig.submit("true", inputs=[stream])
