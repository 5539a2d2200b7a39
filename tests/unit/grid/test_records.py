"""The records of a client about its jobs, in addition to the reports of the server."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import pytest

from aiomig import JobState, JobStatus
from aiomig._grid.records import JobRecords

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

FINISHED = JobStatus("7", JobState.FINISHED, "FINISHED")


@pytest.fixture
def opened() -> Iterator[Callable[[Path | None], JobRecords]]:
    made: list[JobRecords] = []

    def one(folder: Path | None) -> JobRecords:
        records = JobRecords()
        records.open(folder)
        made.append(records)
        return records

    yield one
    for records in made:
        records.close()


def all_of(records: JobRecords, *statuses: JobStatus) -> list[JobStatus]:
    steps = records.completed(statuses)
    while True:
        try:
            next(steps)
        except StopIteration as end:
            return list(end.value)


def test_without_a_folder_they_last_as_long_as_the_session(opened: Callable[[Path | None], JobRecords]) -> None:
    records = opened(None)
    assert all_of(records, FINISHED) == [FINISHED]
    records.note_descriptions([("7", "fit", {"owner": "ada"})])
    records.note_exit_code("7", 3)
    complete = records.complete(FINISHED)
    assert (complete.name, complete.labels, complete.exit_code) == ("fit", {"owner": "ada"}, 3)
    records.close()
    assert records.complete(FINISHED) == FINISHED


def test_sessions_share_a_folder(tmp_path: Path, opened: Callable[[Path | None], JobRecords]) -> None:
    one, other = opened(tmp_path), opened(tmp_path)
    assert other.complete(FINISHED) == FINISHED
    assert list(tmp_path.iterdir()) == []  # no file is created before the first record
    one.note_exit_code("7", 0)
    one.note_descriptions([("7", None, {}), ("8", "fit", {})])
    assert other.complete(FINISHED).exit_code == 0
    others = [JobStatus(str(number), JobState.QUEUED, "QUEUED") for number in range(1000)]
    assert [status.name for status in all_of(other, *others)].count("fit") == 1
    assert other.undescribed(["7", "8", "9"]) == ["9"]


def test_a_damaged_file_is_no_error(
    tmp_path: Path, opened: Callable[[Path | None], JobRecords], caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "jobs.sqlite").write_bytes(b"something else" * 1000)
    records = opened(tmp_path)
    with caplog.at_level(logging.WARNING, "aiomig"):
        assert records.complete(FINISHED) == FINISHED
    assert "jobs.sqlite" in caplog.text
    records.note_exit_code("7", 1)
    assert records.complete(FINISHED).exit_code == 1
