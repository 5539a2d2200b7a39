"""Arguments that are subclasses of text or numbers of NumPy count as what they are; others are refused by name."""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, Any

import numpy
import pytest

import aiomig
from aiomig import JobSpec, Remote, SpecError
from aiomig.testing import FakeGrid

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Generator
    from pathlib import Path

pytestmark = pytest.mark.anyio

THREE: Any = numpy.int64(3)


class Name(str, Enum):  # noqa: UP042 - `str()` of a member is "Name.DATA", and of a StrEnum its value
    DATA = "data.txt"
    COMMAND = "cat data.txt"
    VARIABLE = "SEED"


async def test_a_member_of_an_enumeration_is_its_text(tmp_path: Path) -> None:
    (tmp_path / "data.txt").write_text("data")
    async with FakeGrid() as grid, grid.session() as mig:
        await mig.files.write_text(Name.DATA, "one")
        assert [info.path for info in await mig.files.ls()] == ["data.txt"]
        assert await mig.files.get(Name.DATA, tmp_path) == (tmp_path / "data.txt",)
        job = await mig.submit(
            Name.COMMAND, inputs=[Remote(Name.DATA)], outputs=[Name.DATA], environment={Name.VARIABLE: Name.DATA}
        )
        assert job.spec is not None
        assert job.spec.commands == ("cat data.txt",)
        assert [output.name for output in job.spec.outputs] == ["data.txt"]
        assert dict(job.spec.environment) == {"SEED": "data.txt"}
        assert (await job).stdout == "one"


def test_a_member_of_an_enumeration_names_a_local_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "data.txt").write_text("data")
    monkeypatch.chdir(tmp_path)
    spec = JobSpec("true", inputs=[Name.DATA, (b"content", Name.COMMAND)])
    assert [file.name for file in spec.inputs] == ["data.txt", "cat data.txt"]


async def test_numbers_of_numpy_are_counts() -> None:
    async with FakeGrid() as grid, grid.session() as mig:
        await mig.files.write_text("lines", "1\n2\n3\n4\n")
        assert await mig.files.head("lines", THREE) == ["1", "2", "3"]
        assert await mig.files.read_range("lines", THREE, numpy.int64(5)) == b"\n3"  # type: ignore[arg-type]
        rows = ({"N": number} for number in numpy.arange(4))
        jobs = [job async for job in mig.sweep("echo $N", rows, in_flight=THREE, retries=THREE)]
        assert sorted([(await job).stdout for job in jobs]) == ["0\n", "1\n", "2\n", "3\n"]
        assert len(await mig.jobs(newest=THREE)) == 3


async def test_what_is_not_a_number_or_a_text_is_named() -> None:
    async with FakeGrid() as grid, grid.session() as mig:
        value: Any
        for value in (2.0, True, None, "2"):
            with pytest.raises(TypeError, match="lines=.*must be a whole number"):
                await mig.files.head("lines", value)
        for call in (lambda: mig.files.write_text("a", 7), lambda: mig.files.find(7), lambda: mig.files.grep(7, "a")):  # type: ignore[arg-type]
            with pytest.raises(TypeError, match="=7: must be a string, not int"):
                await call()


@pytest.mark.parametrize(
    "settings", [{"vgrids": "Generic"}, {"pass_environment": "HOME"}, {"vgrids": 7}, {"runtime_environments": {"R": 1}}]
)
def test_settings_of_local_mode_are_lists_and_mappings(settings: Any, tmp_path: Path) -> None:
    with pytest.raises(SpecError, match=next(iter(settings))):
        aiomig.local(tmp_path, **settings)
    aiomig.local(tmp_path, vgrids=(name for name in ["Generic"]))


async def test_a_generator_that_was_read_before_is_refused(tmp_path: Path) -> None:
    (tmp_path / "data.txt").write_text("data")
    async with FakeGrid() as grid, grid.session() as mig:

        async def later() -> AsyncGenerator[int, None]:
            yield 1

        files = (str(path) for path in tmp_path.iterdir())
        assert len(JobSpec("true", inputs=files).inputs) == 1
        commands, numbers, rows = (iter_once("true") for _ in range(3))
        jobs = await mig.submit_many(commands)
        await mig.wait(job for job in jobs)
        assert len([job async for job in mig.sweep(str, numbers)]) == 1
        stream = later()
        assert len([job async for job in mig.sweep(str, stream)]) == 1
        list(rows)
        for call in (
            lambda: JobSpec("true", inputs=files),
            lambda: mig.sweep(str, numbers),
            lambda: mig.sweep(str, stream),
            lambda: mig.watch(rows),
        ):
            with pytest.raises(SpecError, match="a generator that was read before"):
                call()
        with pytest.raises(SpecError, match="specs=.*a generator that was read before"):
            await mig.submit_many(commands)
        assert len(grid.jobs) == 3


def iter_once(command: str) -> Generator[str, None, None]:
    yield command
