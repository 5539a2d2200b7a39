"""Which changes of a job are logged, and the warning of clocks that differ."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from aiomig import JobState
from aiomig._core.job_log import JobLog
from aiomig._grid.server_time import ClockSkew
from tests.virtual import EPOCH


def extra(record: logging.LogRecord) -> dict[str, Any]:
    return vars(record)


@pytest.fixture
def log(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    caplog.set_level(logging.DEBUG, "aiomig")
    return caplog


def test_each_event_once(log: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    jobs = JobLog("grid")
    for state, attempt in (
        (JobState.QUEUED, 1),
        (JobState.QUEUED, 1),
        (JobState.EXECUTING, 1),
        (JobState.EXECUTING, 2),
        (JobState.EXECUTING, 2),
        (JobState.FINISHED, 1),
        (JobState.EXECUTING, 2),  # an older response
        (JobState.FINISHED, 1),
    ):
        jobs.state("7", state, attempt)
    assert [(extra(record)["state"], extra(record)["attempt"]) for record in log.records] == [
        ("QUEUED", None),
        ("EXECUTING", 1),
        ("EXECUTING", 2),
        ("FINISHED", None),
    ]
    monkeypatch.setattr("aiomig._core.job_log._REMEMBERED", 3)
    for number in range(10):
        jobs.state(str(number), JobState.FINISHED)
    assert list(jobs._logged) == ["7", "8", "9"]  # the number of remembered jobs is limited


@pytest.mark.parametrize(
    ("ahead", "took", "words"),
    [
        (0.0, 0.0, None),
        (59.0, 0.0, None),
        (-59.0, 0.0, None),
        (200.0, 300.0, None),  # the server may have set it at any time in between
        (61.0, 0.0, "0:01:01 ahead of"),
        (-62.0, 0.0, "0:01:01 behind"),
        (7384.0, 1.0, "2:03:03 ahead of"),
        (-86400.0 * 3, 0.0, "2 days, 23:59:59 behind"),
    ],
)
def test_clock_skew(caplog: pytest.LogCaptureFixture, ahead: float, took: float, words: str | None) -> None:
    from email.utils import formatdate

    skew = ClockSkew()
    for _ in range(3):
        skew.note(formatdate(EPOCH + ahead, usegmt=True), EPOCH, EPOCH + took)
    assert len(caplog.records) == (words is not None)  # logged once
    if words is not None:
        (record,) = caplog.records
        assert record.levelname == "WARNING"
        assert f"the server's clock is {words} this machine's, so times of jobs, files" in record.getMessage()
        assert extra(record)["skew"] == pytest.approx(ahead, abs=1.0)


@pytest.mark.parametrize("date", [None, "", "yesterday", "Thu, 99 Nov 2026 10:00:00 GMT"])
def test_a_date_that_is_none(caplog: pytest.LogCaptureFixture, date: str | None) -> None:
    ClockSkew().note(date, EPOCH, EPOCH)
    assert caplog.records == []
