"""Text without control characters for a terminal."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiomig._core.display import printable


@pytest.mark.parametrize(
    ("text", "escaped"),
    [
        ("plain blåbær £ 日本", "plain blåbær £ 日本"),
        ("\x1b]0;title\x07\x1b[2J", "\\x1b]0;title\\x07\\x1b[2J"),
        ("a\r\nb\tc\0\x7f", "a\\r\\nb\\tc\\x00\\x7f"),
        ("\x9b31m\x85", "\\x9b31m\\x85"),
        ("\u202e\u2066\u200f\ufeff", "\\u202e\\u2066\\u200f\\ufeff"),
        ("\u2028\u2029", "\\u2028\\u2029"),
        ("\udcff\U000e0001", "\\udcff\\U000e0001"),
    ],
)
def test_printable(text: str, escaped: str) -> None:
    assert printable(text) == escaped
    assert printable(f"{text}\n\t", keep="\n\t").endswith("\n\t")


@given(st.text())
def test_printable_text_is_printable(text: str) -> None:
    assert printable(text).isprintable()
    assert printable(text, keep="\n").replace("\n", "").isprintable()
