"""The pauses before the retry of a read."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiomig._grid.config import Retry
from aiomig._grid.server_time import retry_after

DATE = "Wed, 21 Oct 2026 07:28:00 GMT"


def test_pauses_double_up_to_the_longest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("random.uniform", lambda low, high: high)
    assert list(Retry().pauses()) == [0.5, 1.0, 2.0, 4.0]
    assert list(Retry(tries=6, first=3, longest=10).pauses()) == [3, 6, 10, 10, 10]
    assert list(Retry(tries=1).pauses()) == []


@given(tries=st.integers(1, 40), first=st.floats(0.01, 10), longest=st.floats(0.01, 100))
def test_jitter_keeps_between_half_and_whole(tries: int, first: float, longest: float) -> None:
    pauses = list(Retry(tries, first, longest).pauses())
    assert len(pauses) == tries - 1
    for number, pause in enumerate(pauses):
        whole = min(first * 2**number, longest)
        assert whole / 2 <= pause <= whole


def test_jitter_differs() -> None:
    assert len({next(Retry().pauses()) for _ in range(20)}) > 1


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (None, 0),
        ("", 0),
        ("7", 7),
        (" 7 ", 7),
        ("0", 0),
        ("100000", 300),
        ("9" * 400, 300),
        ("-3", 0),
        ("1.5", 0),
        ("²", 0),
        ("soon", 0),
        ("Wed, 21 Oct 2026 07:28:42 GMT", 42),
        ("Wed, 21 Oct 2026 07:28:42 -0000", 42),
        ("Wed, 21 Oct 2026 07:27:00 GMT", 0),
        ("Wed, 21 Oct 2099 07:28:00 GMT", 300),
        ("Wed, 99 Oct 2026 07:28:42 GMT", 0),
    ],
)
def test_retry_after(value: str | None, seconds: float) -> None:
    assert retry_after(value, DATE) == seconds


def test_a_date_without_one_to_count_from_is_counted_from_now() -> None:
    assert retry_after("Wed, 21 Oct 2015 07:28:00 GMT") == 0
    assert retry_after("Wed, 21 Oct 2099 07:28:00 GMT", "nonsense") == 300


@given(st.text())
def test_any_text_gives_a_time(value: str) -> None:
    assert 0 <= retry_after(value, DATE) <= 300
