"""The parameters of a sweep: parses ranges, lists and files, and replaces placeholders."""

from __future__ import annotations

import csv
import io
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
"""The values of one job by name."""

_RANGE = re.compile(r"([^:,]+):([^:,]+)(?::([^:,]+))?")
_NAME = r"[A-Za-z_][A-Za-z0-9_]*"
_PLACEHOLDER = re.compile(rf"(?<!\$)\{{(?:\{{(?P<literal>{_NAME})\}}|(?P<name>{_NAME}))\}}")
_MAX_VALUES = 10_000_000
_FORMATS = {".csv": "CSV", ".tsv": "TSV", ".json": "JSON", ".jsonl": "JSON lines"}
_EXCEL_SEPARATOR = re.compile(r"sep=(.)\r?\n")  # Excel writes and reads this as the first line


def is_name(text: str) -> bool:
    """Return whether a text is a valid name for a placeholder."""
    return re.fullmatch(_NAME, text) is not None


def parse(text: str) -> tuple[str, list[str]]:
    """Parse a name and its values: for ``N=1:10`` the numbers from 1 to 10, for ``N=a,b,c`` these strings.

    Raises:
        click.BadParameter: the text has another form.
    """
    name, equals, values = text.partition("=")
    if not equals or not is_name(name):
        raise click.BadParameter(f"{text!r}: give NAME=FIRST:LAST[:STEP], or NAME=VALUE,VALUE,…")
    if match := _RANGE.fullmatch(values):
        try:
            first, last, step = (Decimal(number) for number in (match[1], match[2], match[3] or "1"))
        except InvalidOperation:
            return name, [values]
        return name, list(_numbers(text, first, last, step))
    return name, values.split(",")


def _numbers(text: str, first: Decimal, last: Decimal, step: Decimal) -> Iterator[str]:
    if not all(number.is_finite() for number in (first, last, step)) or not step or (last - first) / step < 0:
        raise click.BadParameter(f"{text!r}: {step} steps from {first} never reach {last}; give another step")
    count = int((last - first) / step) + 1
    if count > _MAX_VALUES:
        raise click.BadParameter(f"{text!r}: {count} values; give at most {_MAX_VALUES}")
    return (format(first + index * step, "f") for index in range(count))


def combine(parsed: Sequence[tuple[str, list[str]]], *, side_by_side: bool) -> list[Parameter]:
    """Return all combinations of the values, or with ``side_by_side`` the first of each, the second of each, and so on.

    Raises:
        click.UsageError: a name occurs twice, or with ``side_by_side`` the lists differ in length.
    """
    names = [name for name, _ in parsed]
    if len(set(names)) < len(names):
        raise click.UsageError("a parameter is given twice; join its values by commas")
    lists = [values for _, values in parsed]
    if side_by_side and len({len(values) for values in lists}) > 1:
        lengths = ", ".join(f"{name} has {len(values)}" for name, values in parsed)
        raise click.UsageError(f"--zip needs the same number of values for each parameter: {lengths}")
    rows: Iterable[tuple[str, ...]] = zip(*lists, strict=True) if side_by_side else itertools.product(*lists)
    return [dict(zip(names, row, strict=True)) for row in rows]


def read(file: str, separator: str | None = None) -> list[Parameter]:
    """Read parameters from a file: CSV or TSV with a heading, JSON (a list of objects), or JSON lines.

    Args:
        file: the name of the file; ``-`` means JSON lines on standard input.
        separator: the column separator of a CSV file; the default is a comma.

    Raises:
        OSError: the file cannot be read.
        click.BadParameter: the file has another format.
    """
    suffix = Path(file).suffix.lower()
    try:
        text = sys.stdin.read() if file == "-" else Path(file).read_bytes().decode("utf-8-sig")
        if suffix in (".csv", ".tsv"):
            rows = _table(file, text, separator or ("\t" if suffix == ".tsv" else ","))
        elif suffix == ".json":
            rows = _json(text)
        else:
            rows = [_json(line) for line in text.split("\n") if line.strip()]
    except UnicodeDecodeError as error:
        remedy = "save it as UTF-8 (spreadsheet programs: as CSV UTF-8)"
        raise click.BadParameter(f"{file}: not UTF-8 text at byte {error.start}; {remedy}") from error
    except (ValueError, TypeError, RecursionError, csv.Error) as error:
        expected = _FORMATS.get(suffix, "JSON lines, the format of all files but .csv, .tsv and .json")
        raise click.BadParameter(f"{file}: not {expected}: {error}") from error
    if not isinstance(rows, list):
        raise click.BadParameter(f"{file}: not a list; give a list of objects such as {{'seed': 7}}")
    return [_strings(file, row, number) for number, row in enumerate(rows, 1)]


def _json(text: str) -> Any:
    return json.loads(text, parse_float=str, parse_int=str, parse_constant=str)  # keep the spelling of numbers


def _table(file: str, text: str, separator: str) -> list[dict[str, str]]:
    if match := _EXCEL_SEPARATOR.match(text):
        separator, text = match[1], text[match.end() :]
    table = csv.DictReader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
    names = list(table.fieldnames or ())
    if not names:
        raise click.BadParameter(f"{file}: is empty; give a table whose first row names the columns")
    if len(set(names)) < len(names):
        raise click.BadParameter(f"{file}: two columns have the same name: {', '.join(names)}; rename one")
    guess = next((character for character in ";\t|," if len(names) == 1 and character in names[0]), None)
    if guess is not None:
        raise click.BadParameter(
            f"{file}: the only column is {names[0]!r}; if {guess!r} separates columns, give --separator {guess!r}"
        )
    # Spreadsheets write empty rows below a table.
    return [row for row in table if len(names) == 1 or any(row.values())]


def _strings(file: str, row: Any, number: int) -> Parameter:
    if (
        not isinstance(row, dict)
        or None in row
        or any(value is None or isinstance(value, dict | list) for value in row.values())
    ):
        raise click.BadParameter(f"{file}: row {number} does not have one value for each name; give text or numbers")
    return {str(name): value if isinstance(value, str) else json.dumps(value) for name, value in row.items()}


def fill(text: str, parameter: Mapping[str, str], *, quoted: bool = False) -> str:
    """Replace ``{name}`` by its value and ``{{name}}`` by ``{name}``; keep other braces and ``${name}``.

    Args:
        text: a text with placeholders.
        parameter: the values by name.
        quoted: whether to quote each value for a shell.
    """

    def replace(match: re.Match[str]) -> str:
        if match["literal"]:
            return f"{{{match['literal']}}}"
        value = parameter.get(match["name"])
        return match[0] if value is None else shlex.quote(value) if quoted else value

    return _PLACEHOLDER.sub(replace, text)


def placeholders(texts: Iterable[str]) -> set[str]:
    """Return the names of all placeholders in the texts."""
    return {match["name"] for text in texts for match in _PLACEHOLDER.finditer(text) if match["name"]}
