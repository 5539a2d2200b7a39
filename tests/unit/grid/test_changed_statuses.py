"""The changed statuses in a response to ``jobstatus``: the same as from parsing all of it, in any format."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiomig import JobState, ProtocolError
from aiomig._grid.statuses import ChangedStatuses
from tests.unit.recordings import exchanges, objects, statuses

STATES = st.sampled_from(["QUEUED", "EXECUTING", "FINISHED", "FAILED"])
TEXTS = st.text() | st.sampled_from(['"timing_info"', "}", "æ\\", ']}, {"object_type": "timing_info", '])
UNKNOWN = {"object_type": "error_text", "text": "c: You do not have any matching job IDs!"}


def body_of(rows: list[dict[str, Any]], *more: dict[str, Any], seconds: str = "0.012", compact: bool = False) -> bytes:
    """A response in the format of a server, or without blanks."""
    document = [
        {"object_type": "title", "text": "jobstatus"},
        *more,
        {"object_type": "job_list", "jobs": rows},
        {"object_type": "timing_info", "text": f"done in {seconds}s"},
        {"object_type": "end"},
    ]
    return json.dumps(document, separators=(",", ":") if compact else None).encode()


def row(job_id: str, state: str = "QUEUED", hint: str = "", **more: Any) -> dict[str, Any]:
    return {"object_type": "job", "job_id": job_id, "status": state, "schedule_hint": hint, **more}


def read(changed: ChangedStatuses, job_ids: list[str], body: bytes) -> list[str]:
    """The ids of the jobs whose status changed."""
    read_now = changed.read(frozenset(job_ids), body, objects("jobstatus", body))
    return [status.job_id for status in read_now if status is not None]


@pytest.mark.parametrize("compact", [False, True])
def test_only_what_changed_is_read(compact: bool) -> None:
    changed, ids = ChangedStatuses(), ["a", "b", "c"]
    before = body_of([row("a"), row("b"), row("c")], compact=compact)
    assert read(changed, ids, before) == ids
    after = body_of([row("c"), row("a"), row("b", "EXECUTING")], seconds="1.5", compact=compact)
    assert not changed.is_repeated(frozenset(ids), after)
    assert read(changed, ids, after) == ["b"]
    assert read(changed, ids, after) == []


def test_a_field_that_is_not_of_the_status_is_no_change() -> None:
    changed, ids = ChangedStatuses(), ["a"]
    assert read(changed, ids, body_of([row("a", execute="true")])) == ids
    assert read(changed, ids, body_of([row("a", execute="false")])) == []


def test_a_response_that_differs_in_its_duration_only_is_repeated() -> None:
    changed, ids = ChangedStatuses(), frozenset("ab")
    assert not changed.is_repeated(ids, body_of([row("a"), row("b")]))
    read(changed, ["a", "b"], body_of([row("a"), row("b")]))
    assert changed.is_repeated(ids, body_of([row("a"), row("b")], seconds="77.1"))
    assert not changed.is_repeated(ids, body_of([row("a"), row("b")], {"object_type": "warning", "text": "x"}))
    assert not changed.is_repeated(frozenset("a"), body_of([row("a"), row("b")]))


def test_what_comes_after_the_duration_counts() -> None:
    changed, ids = ChangedStatuses(), frozenset("a")

    def odd(state: str) -> bytes:
        timing = {"object_type": "timing_info", "text": "x"}
        return json.dumps([timing, {"object_type": "job_list", "jobs": [row("a", state)]}]).encode()

    read(changed, ["a"], odd("QUEUED"))
    assert changed.is_repeated(ids, odd("QUEUED"))
    assert not changed.is_repeated(ids, odd("EXECUTING"))


def test_a_row_that_changes_back_is_a_change() -> None:
    changed, ids = ChangedStatuses(), ["a"]
    queued, executing = body_of([row("a")]), body_of([row("a", "EXECUTING")])
    for body in (queued, executing, queued, executing):
        assert not changed.is_repeated(frozenset(ids), body)
        assert read(changed, ids, body) == ids
        assert changed.is_repeated(frozenset(ids), body)


def test_a_job_that_moves_between_requests_is_not_mistaken() -> None:
    changed = ChangedStatuses()
    queued = body_of([row("a"), row("b")])
    read(changed, ["a", "b"], queued)
    assert read(changed, ["b", "c"], body_of([row("b", "EXECUTING"), row("c")])) == ["b", "c"]
    assert not changed.is_repeated(frozenset("ab"), queued)
    assert read(changed, ["a", "b"], queued) == ["b"]


def test_rows_of_jobs_that_were_not_asked_for_are_ignored() -> None:
    changed = ChangedStatuses()
    assert read(changed, ["a"], body_of([row(str(number)) for number in range(1000)] + [row("a")])) == ["a"]
    assert len(changed._rows) == 1
    for number in range(100):
        read(changed, ["a", "b", str(number)], body_of([row("a")]))
    assert len(changed._digests) == 1


def test_a_response_about_an_unknown_job_is_never_repeated() -> None:
    changed, ids = ChangedStatuses(), ["a", "c"]
    body = body_of([row("a")], UNKNOWN)
    assert read(changed, ids, body) == ["a"]
    assert not changed.is_repeated(frozenset(ids), body)


def test_a_forgotten_job_and_one_that_ended_are_read_again() -> None:
    changed, ids = ChangedStatuses(), ["a", "b"]
    body = body_of([row("a"), row("b", "FINISHED")])
    assert read(changed, ids, body) == ids
    assert read(changed, ids, body) == ["b"]
    changed.forget(["a"])
    assert not changed.is_repeated(frozenset(ids), body)
    assert read(changed, ids, body) == ids


def test_a_job_without_an_id_is_an_error_and_those_before_it_are_read() -> None:
    changed = ChangedStatuses()
    body = body_of([row("a"), {"object_type": "job", "status": "QUEUED"}])
    read_now = changed.read(frozenset("ab"), body, objects("jobstatus", body))
    first = next(read_now)
    assert first is not None
    assert first.state is JobState.QUEUED
    with pytest.raises(ProtocolError):
        next(read_now)
    assert not changed.is_repeated(frozenset("ab"), body)


@given(st.lists(st.tuples(STATES, TEXTS), max_size=5), st.lists(st.tuples(STATES, TEXTS), max_size=5))
def test_it_says_what_a_full_reading_says(first: list[tuple[str, str]], second: list[tuple[str, str]]) -> None:
    changed, known = ChangedStatuses(), dict[str, Any]()
    for pairs in (first, second, second):
        ids = [f"job{place}" for place in range(len(pairs))]
        body = body_of([row(name, *pair) for name, pair in zip(ids, pairs, strict=True)])
        parsed = statuses(objects("jobstatus", body)).found
        expected = {name for name, status in parsed.items() if known.get(name) != status}
        seen = set[str]() if changed.is_repeated(frozenset(ids), body) else set(read(changed, ids, body))
        # A job that has ended is read again.
        assert expected <= seen | {name for name in expected if known.get(name) and known[name].state.is_final}
        known |= parsed


def test_a_recorded_response_is_repeated_the_second_time() -> None:
    body = exchanges()["jobstatus--bulk-300-ids--json"].body
    ids = [each["job_id"] for entry in json.loads(body) for each in entry.get("jobs", [])]
    changed = ChangedStatuses()
    assert len(ids) > 50
    assert read(changed, ids, body) == ids
    assert changed.is_repeated(frozenset(ids), body)
