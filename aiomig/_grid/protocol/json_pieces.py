"""Parses large JSON in pieces, so that other tasks can run in between, and with bounded memory."""

from __future__ import annotations

import codecs
import json
import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Generator

_WHOLE = 1 << 18

_SLICE = 1 << 12
"""The most characters of one value that is parsed at once. The members of a larger list or object are parsed singly."""

_BATCH = 1 << 16
"""Characters of a list whose members are parsed at once."""

_GUESSES = 4
_LONGEST_TEXT = 16 << 20
"""The most characters of one string, and the bytes that are decoded at once."""

_MOST_VALUES = 5_000_000
"""A limit on the memory of the values: the number of commas, plus three times that of opening braces and brackets."""

_DEEPEST = 30
"""The most levels of nesting. Servers need eight; functions that are called for each level fail at some hundred."""

_SPACE = re.compile(r"[ \t\n\r]{0,100000}")
_decoder = json.JSONDecoder()


def _decode(text: str) -> tuple[Any, int]:
    """Return the value at the beginning of a text, and its length."""
    try:
        return _decoder.raw_decode(text)
    except RecursionError:
        raise Excess("nested too deeply") from None


def load_json(body: bytes, whole: int = _WHOLE) -> Generator[None, None, Any]:
    """Parse JSON and return its value. Yields between pieces.

    Args:
        body: the JSON in UTF-8.
        whole: the most bytes that are parsed at once.

    Raises:
        ValueError: it is not JSON; `Excess` if it is nested too deeply or has too many values.
    """
    if len(body) <= whole:
        try:
            value = json.loads(body.decode())
        except RecursionError:
            raise Excess("nested too deeply") from None
        _check_depth(value, 0)
        return value
    decoder = codecs.getincrementaldecoder("utf-8")()
    pieces: list[str] = []
    for start in range(0, len(body), _LONGEST_TEXT):
        pieces.append(decoder.decode(body[start : start + _LONGEST_TEXT]))
        yield
    text = "".join(pieces) + decoder.decode(b"", final=True)
    parser = _Parser(text)
    value, end = yield from parser.value(0, 0)
    if parser.skip_space(end) != len(text):
        raise ValueError("there is something after the value")
    return value


class Excess(ValueError):
    """JSON that is nested too deeply or has too many values."""


class _Parser:
    """Parses one text."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._count = 0

    def skip_space(self, at: int) -> int:
        match = _SPACE.match(self._text, at)
        return match.end() if match else at

    def value(self, at: int, depth: int) -> Generator[None, None, tuple[Any, int]]:
        """Return the value at a position, and the position of its end."""
        at = self.skip_space(at)
        piece = self._text[at : at + _SLICE]
        value: Any = None
        try:
            value, length = _decode(piece)
        except ValueError:
            length = len(piece)
        if length < len(piece):  # otherwise it may be cut off
            self._check(value, piece, length, depth)
            return value, at + length
        if depth > _DEEPEST:
            raise Excess("nested too deeply")
        if piece.startswith("["):
            return (yield from self._list(at + 1, depth + 1))
        if piece.startswith("{"):
            return (yield from self._object(at + 1, depth + 1))
        value, length = _decode(self._text[at : at + _LONGEST_TEXT])
        yield
        return value, at + length

    def _add(self, values: int) -> None:
        self._count += values
        if self._count > _MOST_VALUES:
            raise Excess("too large: it has too many values")

    def _list(self, at: int, depth: int) -> Generator[None, None, tuple[list[Any], int]]:
        values: list[Any] = []
        at = self.skip_space(at)
        while self._text[at : at + 1] != "]":
            value, end = yield from self.value(at, depth)
            values.append(value)
            at = self._next(end, "]")
            while batch := self._batch(end, at, depth):
                values += batch[0]
                end, at = batch[1], self._next(batch[1], "]")
                yield
            yield
        return values, at + 1

    def _batch(self, end: int, at: int, depth: int) -> tuple[list[Any], int] | None:
        """Parse many members of a list at once. Return them and the position of their end, or ``None``.

        To cut the text between two members, guess that members end and begin with the same characters as the last two.
        The parser fails if the guess is wrong.
        """
        piece = self._text[at : at + _BATCH]
        between = self._text[end - 1 : at + 1]
        cut = len(piece)
        for _ in range(_GUESSES if len(piece) == _BATCH else 0):
            cut = piece.rfind(between, 0, cut) + 1
            try:
                values, length = _decode(f"[{piece[:cut]}]")
            except ValueError:
                continue
            if cut and length == cut + 2:
                self._check(values, piece, cut, depth)
                return values, at + cut
        return None

    def _check(self, value: object, piece: str, length: int, depth: int) -> None:
        """Raise Excess if a value at the start of a piece is nested too deeply, or exceeds the number of values."""
        containers = piece.count("[", 0, length) + piece.count("{", 0, length)
        self._add(piece.count(",", 0, length) + 3 * containers)
        if containers > _DEEPEST - depth:
            _check_depth(value, depth)

    def _object(self, at: int, depth: int) -> Generator[None, None, tuple[dict[str, Any], int]]:
        values: dict[str, Any] = {}
        at = self.skip_space(at)
        while self._text[at : at + 1] != "}":
            key, at = yield from self.value(at, depth)
            at = self.skip_space(at)
            if not isinstance(key, str) or self._text[at : at + 1] != ":":
                raise ValueError("a member of an object is not a name and a value")
            values[key], at = yield from self.value(at + 1, depth)
            at = self._next(at, "}")
            yield
        return values, at + 1

    def _next(self, at: int, end: str) -> int:
        """Return the position of the next member, or of the end of the list or object."""
        at = self.skip_space(at)
        sign = self._text[at : at + 1]
        if sign == end:
            return at
        self._add(1)
        at = self.skip_space(at + 1)
        if sign != "," or self._text[at : at + 1] == end:
            raise ValueError("a comma is missing or in excess")
        return at


def _check_depth(value: object, depth: int) -> None:
    """Raise ValueError if a value has too many levels."""
    level = [value]
    for _ in range(_DEEPEST - depth):
        inner = [item.values() if isinstance(item, dict) else item for item in level if isinstance(item, dict | list)]
        level = [item for members in inner for item in members if isinstance(item, dict | list)]
        if not level:
            return
    raise Excess("nested too deeply")
