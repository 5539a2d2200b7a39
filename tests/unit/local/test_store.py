"""The records of local mode: atomic transitions, ids, and values that are read back unchanged."""

from __future__ import annotations

import json
import sqlite3
import string
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiomig import JobState, LocalError
from aiomig._core.models import Attempt
from aiomig._local.records import (
    RESOURCE,
    decode_attempts,
    decode_plan,
    encode_attempts,
    encode_plan,
    job_id_of,
    moment,
)
from aiomig._local.store import Store
from aiomig._spec.mrsl import Description
from aiomig._spec.plan import Plan, PlannedOutput, Upload

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

JOB = (Plan(Description({"EXECUTE": ("true",)})), 1)
NOW = 1_700_000_000.0


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[Callable[[], Store]]:
    """Opens sessions on one home; closes them."""
    stores: list[Store] = []

    def one() -> Store:
        store = Store(tmp_path)
        stores.append(store)
        store.begin_session(NOW)
        return store

    yield one
    for store in stores:
        store.close()


@pytest.fixture
def store(opened: Callable[[], Store]) -> Store:
    return opened()


def _numbers(store: Store, count: int) -> list[int]:
    return list(store.insert([JOB] * count, NOW))


def _state(store: Store, number: int) -> JobState:
    (record,) = store.records([number])
    return record.state


def test_from_the_queue_to_the_end(store: Store) -> None:
    (number,) = store.insert([JOB], NOW)
    claimed = store.claim(number, NOW + 1, "name.1")
    assert claimed is not None
    assert (claimed.state, claimed.attempt, claimed.local_name) == (JobState.EXECUTING, 1, "name.1")
    assert store.claim(number, NOW + 1, "name.2") is None
    ended = store.finish(number, 1, NOW + 2, "NO")
    assert ended is not None
    status = ended.status()
    assert status.state is JobState.FINISHED
    times = (status.received_at, status.queued_at, status.executing_at, status.finished_at)
    assert times == (moment(NOW), moment(NOW), moment(NOW + 1), moment(NOW + 2))
    assert (status.failed_at, status.canceled_at, status.verified) == (None, None, "NO")
    assert store.finish(number, 1, NOW + 3, "NO") is None
    assert store.fail(number, 1, NOW + 3, "[]", again=True) is None
    assert store.change(number, (JobState.QUEUED, JobState.EXECUTING), JobState.CANCELED, NOW) is None
    assert _state(store, number) is JobState.FINISHED


def test_an_end_of_an_older_attempt_is_not_taken(store: Store) -> None:
    (number,) = store.insert([JOB], NOW)
    store.claim(number, NOW, "name.1")
    again = store.fail(
        number,
        1,
        NOW + 5,
        encode_attempts([Attempt(moment(NOW), moment(NOW), moment(NOW + 5), "JOB TIMEOUT", "late")]),
        again=True,
    )
    assert again is not None
    assert (again.state, again.queued, again.executing) == (JobState.QUEUED, NOW + 5, None)
    store.claim(number, NOW + 6, "name.2")
    assert store.finish(number, 1, NOW + 7, "NO") is None
    assert store.fail(number, 1, NOW + 7, "[]", again=False) is None
    ended = store.fail(number, 2, NOW + 7, again.attempts_text or "", again=False)
    assert ended is not None
    assert ended.status().failed_at == moment(NOW + 7)
    (attempt,) = ended.attempts()
    assert (attempt.reason, attempt.detail, attempt.failed_at) == ("JOB TIMEOUT", "late", moment(NOW + 5))


def test_a_canceled_job_takes_no_end(store: Store) -> None:
    (number,) = store.insert([JOB], NOW)
    store.claim(number, NOW, "name.1")
    canceled = store.change(number, (JobState.EXECUTING,), JobState.CANCELED, NOW + 1)
    assert canceled is not None
    assert canceled.status().canceled_at == moment(NOW + 1)
    assert store.finish(number, 1, NOW + 2, "NO") is None
    assert store.fail(number, 1, NOW + 2, "[]", again=True) is None
    assert not store.unclaim(number, "name.1")
    assert _state(store, number) is JobState.CANCELED


def test_an_attempt_that_never_began_does_not_count(store: Store) -> None:
    (number,) = store.insert([JOB], NOW)
    store.claim(number, NOW + 1, "name.1")
    assert not store.unclaim(number, "name.0")
    assert store.unclaim(number, "name.1")
    (record,) = store.records([number])
    assert (record.state, record.attempt, record.executing) == (JobState.QUEUED, 0, None)


def test_freeze_and_thaw(store: Store) -> None:
    (number,) = store.insert([JOB], NOW)
    assert store.change(number, (JobState.FROZEN,), JobState.QUEUED, NOW + 1) is None
    assert store.change(number, (JobState.QUEUED,), JobState.FROZEN, NOW + 1) is not None
    assert store.claim(number, NOW + 2, "name.1") is None
    thawed = store.change(number, (JobState.FROZEN,), JobState.QUEUED, NOW + 3)
    assert thawed is not None
    assert thawed.status().queued_at == moment(NOW + 3)


def test_a_transaction_is_all_or_nothing(store: Store) -> None:
    (number,) = store.insert([JOB], NOW)
    with pytest.raises(ZeroDivisionError), store.transaction():
        store.claim(number, NOW, "name.1")
        store.insert([JOB], NOW)
        store.insert([JOB], NOW)
        raise ZeroDivisionError
    assert _state(store, number) is JobState.QUEUED
    assert len(store.newest(None)) == 1
    with store.transaction():
        store.claim(number, NOW, "name.1")
    assert _state(store, number) is JobState.EXECUTING


def test_numbers_are_never_given_twice(opened: Callable[[], Store]) -> None:
    one, two = opened(), opened()
    numbers = [each for _ in range(5) for store in (one, two) for each in _numbers(store, 1)]
    assert numbers == list(range(1, 11))


def test_only_the_owner_claims(opened: Callable[[], Store]) -> None:
    one, two = opened(), opened()
    (number,) = one.insert([JOB], NOW)
    assert two.claim(number, NOW, "name.1") is None
    assert two.adopt() == []
    assert one.claim(number, NOW, "name.1") is not None


def test_what_a_closed_session_left_is_adopted_once_and_in_order(opened: Callable[[], Store]) -> None:
    one = opened()
    numbers = _numbers(one, 4)
    one.claim(numbers[0], NOW, "name.1")
    one.change(numbers[1], (JobState.QUEUED,), JobState.FROZEN, NOW)
    one.change(numbers[2], (JobState.QUEUED,), JobState.CANCELED, NOW)
    owner = one.session
    one.close()
    two, three = opened(), opened()
    assert not two.is_alive(owner)
    assert two.is_alive(two.session)
    assert three.is_alive(two.session)
    assert [record.number for record in two.adopt()] == [numbers[0], numbers[1], numbers[3]]
    assert three.adopt() == []
    assert two.place_of(owner) == "here"
    assert two.place_of(None) == "before restart"


def test_another_session_is_told_of_a_change_and_of_its_jobs(opened: Callable[[], Store]) -> None:
    one, two = opened(), opened()
    one.changed_elsewhere()
    assert not one.changed_elsewhere()
    one.insert([JOB], NOW)
    assert not one.changed_elsewhere()
    two.signal(one.session, 1)
    assert one.changed_elsewhere()
    assert not one.changed_elsewhere()
    assert (two.signaled(), one.signaled(), one.signaled()) == ([], [1], [])


def test_names_in_use(opened: Callable[[], Store]) -> None:
    one = opened()
    numbers = _numbers(one, 3)
    for number in numbers:
        one.claim(number, NOW, f"name.{number}")
    one.finish(numbers[1], 1, NOW, "NO")
    one.change(numbers[2], (JobState.EXECUTING,), JobState.CANCELED, NOW)
    names = {"name.1", "name.2", "name.3", "unknown"}
    assert one.names_in_use(names) == {"name.1"}
    two = opened()
    assert two.names_in_use(names) == {"name.1", "name.2", "name.3"}, "an open session cleans up itself"
    one.close()
    assert two.names_in_use(names) == {"name.1"}
    assert two.names_in_use(()) == set()


def test_expiry(store: Store) -> None:
    old, frozen, running = _numbers(store, 3)
    (new,) = store.insert([JOB], NOW + 100)
    store.change(frozen, (JobState.QUEUED,), JobState.FROZEN, NOW)
    store.claim(running, NOW, "name.1")
    assert store.oldest_waiting() == NOW
    assert {record.number for record in store.expire(NOW + 50, NOW + 200)} == {old, frozen}
    assert [_state(store, number) for number in (old, frozen, running, new)] == [
        JobState.EXPIRED,
        JobState.EXPIRED,
        JobState.EXECUTING,
        JobState.QUEUED,
    ]
    assert store.oldest_waiting() == NOW + 100


def test_looking_up(store: Store) -> None:
    numbers = _numbers(store, 1200)
    assert [record.number for record in store.newest(3)] == [1200, 1199, 1198]
    assert [record.number for record in store.newest(2, before=1199)] == [1198, 1197]
    assert {record.number for record in store.records(numbers)} == set(numbers)
    assert store.records([]) == []
    found = store.find(job_id_of(7, NOW))
    assert found is not None
    assert found.number == 7


@pytest.mark.parametrize(
    "job_id",
    [
        "",
        "7",
        "x",
        "7 OR 1",
        job_id_of(7, NOW + 1),
        job_id_of(99, NOW),
        job_id_of(7, NOW) + "\n",
        job_id_of(7, NOW).replace("local.0", "grid.0"),
        "9" * 30 + "_1_1_2026__0_0_0_local.0",
        "\u0667_1_1_2026__0_0_0_local.0",
    ],
)
def test_what_is_no_id_of_a_job_here(store: Store, job_id: str) -> None:
    _numbers(store, 10)
    assert store.find(job_id) is None


def test_ids_have_the_form_of_a_grid() -> None:
    assert job_id_of(12, 1_700_000_000) == "12_11_14_2023__22_13_20_local.0"
    assert job_id_of(1, 1_704_164_645.9) == "1_1_2_2024__3_4_5_local.0"


def test_a_database_of_someone_else(tmp_path: Path) -> None:
    database = sqlite3.connect(tmp_path / "jobs.sqlite")
    database.execute("PRAGMA user_version = 3")
    database.close()
    with pytest.raises(LocalError, match="format 3, this one is 2"):
        Store(tmp_path)


def test_a_home_that_an_earlier_version_has_open(tmp_path: Path, opened: Callable[[], Store]) -> None:
    earlier = Store(tmp_path)
    earlier.begin_session(NOW)
    database = sqlite3.connect(tmp_path / "jobs.sqlite")
    database.execute("PRAGMA user_version = 1")
    with pytest.raises(LocalError, match="in use by an earlier version"):
        Store(tmp_path)
    assert database.execute("PRAGMA user_version").fetchone() == (1,)
    earlier.close()
    opened()
    assert database.execute("PRAGMA user_version").fetchone() == (2,)
    database.close()


# -- what is written comes back

texts = st.text(st.characters(codec="utf-8"), max_size=30)
descriptions = st.dictionaries(
    st.text(string.ascii_uppercase, min_size=1, max_size=10), st.lists(texts, max_size=4).map(tuple), max_size=5
).map(Description)
plans = st.builds(
    Plan,
    descriptions,
    outputs=st.lists(st.builds(PlannedOutput, texts, texts, st.none() | texts), max_size=3).map(tuple),
    folder=st.none() | texts,
    prologue_lines=st.integers(0, 3),
    epilogue_lines=st.integers(0, 3),
)


@given(plans)
def test_a_plan_comes_back(plan: Plan) -> None:
    text = encode_plan(plan)
    assert decode_plan(text) == plan
    json.loads(text)


def test_uploads_are_not_recorded() -> None:
    plan = Plan(Description({"EXECUTE": ("true",)}), uploads=(Upload(b"secret", "in.txt"),))
    assert "secret" not in encode_plan(plan)
    assert decode_plan(encode_plan(plan)).uploads == ()


times = st.integers(0, 4_000_000_000).map(moment)
failures = st.builds(Attempt, times, st.none() | times, times, texts, texts, st.just(RESOURCE))


@given(st.lists(failures, max_size=3).map(tuple))
def test_attempts_come_back(attempts: tuple[Attempt, ...]) -> None:
    assert decode_attempts(encode_attempts(attempts)) == attempts


def test_no_attempts() -> None:
    assert decode_attempts(None) == ()
    assert decode_attempts("") == ()


OLDER = """
CREATE TABLE jobs (
    number INTEGER PRIMARY KEY, state TEXT NOT NULL, owner INTEGER, rank INTEGER NOT NULL, plan TEXT NOT NULL,
    received REAL NOT NULL, queued REAL NOT NULL, executing REAL, ended REAL, attempt INTEGER NOT NULL DEFAULT 0,
    local_name TEXT, attempts TEXT, verified TEXT
) STRICT;
CREATE INDEX unfinished ON jobs (owner, rank) WHERE state IN ('QUEUED', 'EXECUTING', 'FROZEN');
CREATE TABLE sessions (number INTEGER PRIMARY KEY AUTOINCREMENT, boot TEXT NOT NULL, opened REAL NOT NULL) STRICT;
CREATE TABLE signals (session INTEGER NOT NULL, job INTEGER NOT NULL) STRICT;
PRAGMA user_version = 1;
"""
"""The tables of the first version."""

OLDER_JOB = "INSERT INTO jobs (state, rank, plan, received, queued, ended) VALUES ('FINISHED', 1, ?, ?, ?, ?)"


def test_a_home_of_an_older_version_is_read_and_written(tmp_path: Path, opened: Callable[[], Store]) -> None:
    older = sqlite3.connect(tmp_path / "jobs.sqlite")
    older.executescript(OLDER)
    texts = [
        '{"k":{"EXECUTE":["true"],"JOBNAME":["fit-7"]}}',
        '{"k":{"EXECUTE":["echo \'\\"JOBNAME\\":[\\"x\\"]\'"]}}',
    ]
    for text in texts:
        older.execute(OLDER_JOB, (text, NOW, NOW, NOW))
    older.commit()
    store = opened()
    assert older.execute("PRAGMA user_version").fetchone() == (2,), "older versions would misread the control files"
    statuses = [record.status() for record in store.records([1, 2])]
    assert [(status.name, status.exit_code) for status in statuses] == [("fit-7", None), (None, None)]
    (number,) = store.insert([JOB], NOW)
    assert number == 3
    older.execute(OLDER_JOB, (texts[0], NOW, NOW, NOW))  # a program of the older version continues with the home
    older.commit()
    older.close()
    assert [record.number for record in store.newest(None)] == [4, 3, 2, 1]
