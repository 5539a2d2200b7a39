"""What is new in an answer of ``jobstatus`` is what a full reading says, whatever the form of the answer."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiomig import JobState, ProtocolError
from aiomig._grid.protocol.answer import objects
from aiomig._grid.protocol.jobs import statuses
from aiomig._grid.protocol.news import News
from tests.recordings import exchanges

STATES = st.sampled_from(["QUEUED", "EXECUTING", "FINISHED", "FAILED"])
TEXTS = st.text() | st.sampled_from(['{"object_type": "job", ', '"]}, ', "æ\\", ']}, {"object_type": "timing_info", '])


def answer(rows: list[dict[str, Any]], *before: dict[str, Any], seconds: str = "0.012", compact: bool = False) -> bytes:
    """An answer as a server writes it, or with no blanks as others may."""
    document = [
        {"object_type": "title", "text": "jobstatus"},
        *before,
        {"object_type": "job_list", "jobs": rows},
        {"object_type": "timing_info", "text": f"done in {seconds}s"},
    ]
    return json.dumps(document, separators=(",", ":") if compact else None).encode()


def row(job_id: str, state: str = "QUEUED", execute: str = "true") -> dict[str, Any]:
    return {"object_type": "job", "job_id": job_id, "status": state, "execute": execute, "execution_histories": []}


def read(news: News, job_ids: list[str], body: bytes) -> list[str]:
    """The ids of the jobs of which an answer tells something new."""
    return [status.job_id for status in news.read(job_ids, body, objects("jobstatus", body))]


@pytest.mark.parametrize("compact", [False, True])
def test_what_changed_is_told_and_nothing_else(compact: bool) -> None:
    news, ids = News(), ["a", "b", "c"]
    before = answer([row("a"), row("b"), row("c")], compact=compact)
    assert not news.is_none(ids, before)
    assert read(news, ids, before) == ids
    after = answer([row("a"), row("b", "EXECUTING"), row("c")], seconds="1.5", compact=compact)
    assert not news.is_none(ids, after)
    assert read(news, ids, after) == ["b"]
    assert read(news, ids, after) == []


def test_an_answer_that_is_the_same_but_for_its_duration_is_no_news() -> None:
    news, ids = News(), ["a", "b"]
    read(news, ids, answer([row("a"), row("b")]))
    assert news.is_none(ids, answer([row("a"), row("b")], seconds="77.1"))
    assert news.is_none(["b", "a"], answer([row("b"), row("a")]))  # in another chunk, and in another place
    assert news.is_none(["b"], answer([row("b")]))


def test_a_row_that_is_again_as_it_once_was_is_news() -> None:
    news, ids = News(), ["a"]
    queued, executing = answer([row("a")]), answer([row("a", "EXECUTING")])
    for body in (queued, executing, queued, executing):
        assert not news.is_none(ids, body)
        assert read(news, ids, body) == ids
        assert news.is_none(ids, body)
        assert news.is_none(ids, body)


@pytest.mark.parametrize(
    "body",
    [
        answer([row("a")]),
        answer([row("b"), row("a")]),
        answer([row("a"), row("a")]),
        answer([row("a"), row("b")], {"object_type": "error_text", "text": "b: You do not have any matching job IDs!"}),
        answer([row("a"), row("b")], {"object_type": "warning", "text": "something"}),
        answer([row("a"), row("b"), row("c")]),
        answer([row("a"), row("b")])[:-40],
        b"",
    ],
)
def test_anything_else_is_read_as_a_whole(body: bytes) -> None:
    news, ids = News(), ["a", "b"]
    read(news, ids, answer([row("a"), row("b")]))
    assert not news.is_none(ids, body)


def test_a_forgotten_job_and_one_that_ended_are_news_again() -> None:
    news, ids = News(), ["a", "b"]
    body = answer([row("a"), row("b", "FINISHED")])
    assert read(news, ids, body) == ids
    assert read(news, ids, body) == ["b"]
    news.forget(["a"])
    assert read(news, ids, body) == ids


def test_a_job_without_an_id_is_an_error_and_those_before_it_are_told() -> None:
    news = News()
    body = answer([row("a"), {"object_type": "job", "status": "QUEUED"}])
    told = news.read(["a", "b"], body, objects("jobstatus", body))
    assert next(told).state is JobState.QUEUED
    with pytest.raises(ProtocolError):
        next(told)


@given(st.lists(st.tuples(STATES, TEXTS), max_size=5), st.lists(st.tuples(STATES, TEXTS), max_size=5))
def test_it_says_what_a_full_reading_says(first: list[tuple[str, str]], second: list[tuple[str, str]]) -> None:
    news, known = News(), dict[str, Any]()
    for pairs in (first, second, second):
        ids = [f"job{place}" for place in range(len(pairs))]
        body = answer([row(name, *pair) for name, pair in zip(ids, pairs, strict=True)])
        parsed = statuses(objects("jobstatus", body)).found
        changed = {name for name, status in parsed.items() if known.get(name) != status}
        if news.is_none(ids, body):
            told = set[str]()
        else:
            told = {status.job_id for status in news.read(ids, body, objects("jobstatus", body))}
        # A row may differ in what no status tells; and what has ended is told again.
        assert changed <= told | {name for name in changed if known.get(name) and known[name].state.is_final}
        known |= parsed


def test_a_recorded_answer_is_no_news_the_second_time() -> None:
    found = exchanges()["jobstatus--bulk-300-ids--json"]
    body = found.body
    ids = [each["job_id"] for entry in json.loads(body) for each in entry.get("jobs", [])]
    news = News()
    assert len(ids) > 50
    assert read(news, ids, body) == ids
    assert news.is_none(ids, body)
