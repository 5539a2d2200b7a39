"""The parameters of a sweep: ranges, lists and files; and how they come into a job. No I/O but reading a file."""

from __future__ import annotations

import csv
import itertools
import json
import re
import shlex
import sys
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

Parameter = dict[str, str]
"""Names and values of one job."""

_RANGE = re.compile(r"([^:,]+):([^:,]+)(?::([^:,]+))?")
_PLACE = re.compile(r"(?<!\$)\{([A-Za-z_][A-Za-z0-9_]*)\}")
_MOST_VALUES = 10_000_000


def parse(text: str) -> tuple[str, list[str]]:
    """A name and its values: of ``N=1:10`` the numbers from 1 to 10, of ``N=a,b,c`` these words.

    Raises:
        click.BadParameter: it is neither.
    """
    name, equals, values = text.partition("=")
    if not equals or not name.isidentifier() or not name.isascii():
        raise click.BadParameter(f"{text!r}: give NAME=FIRST:LAST[:STEP], or NAME=VALUE,VALUE,…")
    if match := _RANGE.fullmatch(values):
        try:
            first, last, step = (Decimal(each) for each in (match[1], match[2], match[3] or "1"))
        except InvalidOperation:
            return name, [values]
        return name, list(_numbers(text, first, last, step))
    return name, values.split(",")


def _numbers(text: str, first: Decimal, last: Decimal, step: Decimal) -> Iterator[str]:
    if not all(each.is_finite() for each in (first, last, step)) or not step or (last - first) / step < 0:
        raise click.BadParameter(f"{text!r}: {step} steps from {first} never reach {last}; give another step")
    count = int((last - first) / step) + 1
    if count > _MOST_VALUES:
        raise click.BadParameter(f"{text!r}: {count} values; give {_MOST_VALUES} at most")
    return (format(first + place * step, "f") for place in range(count))


def combined(given: Sequence[tuple[str, list[str]]], *, side_by_side: bool) -> list[Parameter]:
    """All combinations of the values; or with ``side_by_side`` the first of each, the second of each, and so on.

    Raises:
        click.UsageError: a name is there twice, or the lists differ in length.
    """
    names = [name for name, _ in given]
    if len(set(names)) < len(names):
        raise click.UsageError("a parameter is given twice; join its values by commas")
    lists = [values for _, values in given]
    if side_by_side and len({len(values) for values in lists}) > 1:
        lengths = ", ".join(f"{name} has {len(values)}" for name, values in given)
        raise click.UsageError(f"--zip needs as many values of each parameter: {lengths}")
    rows: Iterable[tuple[str, ...]] = zip(*lists, strict=True) if side_by_side else itertools.product(*lists)
    return [dict(zip(names, row, strict=True)) for row in rows]


def read(file: str) -> list[Parameter]:
    """The parameters in a file: CSV or TSV with a heading, JSON (a list of objects), or JSON lines (``-``: from stdin).

    Raises:
        OSError: it cannot be read.
        click.BadParameter: it holds something else.
    """
    suffix = Path(file).suffix.lower()
    text = sys.stdin.read() if file == "-" else Path(file).read_text("utf-8-sig")
    try:
        if suffix in (".csv", ".tsv"):
            table = csv.DictReader(text.splitlines(), delimiter="\t" if suffix == ".tsv" else ",", strict=True)
            return [_texts(file, row, place) for place, row in enumerate(table, 1)]
        if suffix == ".json":
            rows = json.loads(text)
        else:
            rows = [json.loads(line) for line in text.splitlines() if line.strip()]
    except (ValueError, csv.Error) as error:
        raise click.BadParameter(f"{file}: is no {suffix.lstrip('.') or 'JSON lines'}: {error}") from error
    if not isinstance(rows, list):
        raise click.BadParameter(f"{file}: holds no list; give a list of objects such as {{'seed': 7}}")
    return [_texts(file, row, place) for place, row in enumerate(rows, 1)]


def _texts(file: str, row: Any, place: int) -> Parameter:
    if (
        not isinstance(row, dict)
        or None in row
        or any(value is None or isinstance(value, dict | list) for value in row.values())
    ):
        raise click.BadParameter(f"{file}: row {place} is not a value for each name; give text or numbers")
    return {str(name): value if isinstance(value, str) else json.dumps(value) for name, value in row.items()}


def filled(text: str, parameter: Mapping[str, str], *, quoted: bool = False) -> str:
    """A text with ``{name}`` replaced by values; other braces, and ``${name}``, stay as they are.

    Args:
        text: with placeholders.
        parameter: names and values.
        quoted: as one word for a shell, whatever the value holds.
    """

    def value(match: re.Match[str]) -> str:
        found = parameter.get(match[1])
        return match[0] if found is None else shlex.quote(found) if quoted else found

    return _PLACE.sub(value, text)


def placeholders(texts: Iterable[str]) -> set[str]:
    """The names of all placeholders."""
    return {name for text in texts for name in _PLACE.findall(text)}
