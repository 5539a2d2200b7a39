"""Parsers of what a server, a job or a disk may hold: twice the input is at most two and a half times the work.

Work is counted in lines of Python that run. `test_fuzz` has texts on which a regular expression that is not linear
would not come to an end. Parsers of descriptions, names and ``.status`` files are tested beside their own tests.
"""

from __future__ import annotations

import copy
import json
from contextlib import suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import click
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aiomig import MigError
from aiomig._core.models import Attempt
from aiomig._grid.credential import _read_chain
from aiomig._grid.miguser import UserFile
from aiomig._grid.protocol import jobs
from aiomig._grid.protocol.json_pieces import load_json
from aiomig._grid.submit_journal import SubmitJournal, read_rows
from aiomig._jobs.sweep_journal import SweepJournal
from aiomig._local.liveness import Origin, _has_process_ended
from aiomig._local.records import DamagedRecord, Record, decode_attempts, decode_plan, encode_attempts, encode_plan
from aiomig._spec.mrsl import Description
from aiomig._spec.plan import Plan, PlannedOutput
from aiomig.cli import _parameters
from tests.steps import steps
from tests.unit.grid.test_protocol import PARSERS, nothing
from tests.unit.recordings import EXCHANGES, objects
from tests.unit.test_fuzz import OTHERS, RECORDED, UNHURRIED, broken

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

COUNT = 40


def assert_linear(work: Callable[..., object], make: Callable[[int], Any], count: int = COUNT) -> None:
    def quietly(given: Any) -> None:
        with suppress(MigError):
            work(given)

    once, twice = make(count), make(2 * count)
    quietly(copy.deepcopy(once))  # late imports have happened by now
    few, many = steps(quietly, once), steps(quietly, twice)
    assert few <= many <= 2.5 * few


# -- responses of a server

NAMES = ("job_id", "keyword", "name", "new_job_id", "path", "rel_path", "text")


def lists_in(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Return the places of all lists, but only the first of each kind."""
    if isinstance(value, list) and value:
        yield path
        value = value[:1]
    for key, inner in value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ():
        yield from lists_in(inner, (*path, key))


def grown(value: Any, path: tuple[Any, ...], count: int) -> Any:
    """Return a copy in which the list at a place has so many elements, with different names."""
    value = copy.deepcopy(value)
    target = value
    for key in path:
        target = target[key]
    for number in range(len(target), count):
        row = copy.deepcopy(target[number % len(target)])
        if isinstance(row, dict):
            row |= {key: f"{row[key]}{number}" for key in NAMES if isinstance(row.get(key), str)}
        target.append(row)
    return value


LARGEST = {EXCHANGES[name].operation: name for name in sorted(RECORDED, key=lambda name: len(EXCHANGES[name].body))}


@pytest.mark.parametrize("operation", LARGEST)
def test_responses(operation: str) -> None:
    value = json.loads(EXCHANGES[LARGEST[operation]].body)
    parsers = [PARSERS.get(operation, nothing), *OTHERS.values()]

    def parse(body: bytes) -> None:
        answer = objects(operation, body, keep_noise=True)
        for parser in parsers:
            with suppress(MigError):
                parser(answer, operation)

    for path in lists_in(value):
        assert_linear(parse, lambda count, at=path: json.dumps(grown(value, at, count)).encode())  # type: ignore[misc]


ROW = {"object_type": "job", "job_id": "7_1_1_2026__1_1_1_h.0", "status": "QUEUED", "histories": [{"a": [1, "x"]}]}
BODIES: dict[str, Callable[[int], Any]] = {
    "rows": lambda count: [{"object_type": "job_list", "jobs": [ROW] * count}],
    "rows of many kinds": lambda count: [ROW | {f"k{number}": [number] * (number % 7)} for number in range(count)],
    "members": lambda count: {f"k{number}": number for number in range(count)},
    "lists": lambda count: [[[]]] * count,
    "a long text": lambda count: ["x" * 100 * count],
}


@pytest.mark.parametrize("kind", BODIES)
def test_json_in_pieces(kind: str) -> None:
    def load(body: bytes) -> None:
        for _ in load_json(body, whole=100):
            pass

    assert_linear(load, lambda count: json.dumps(BODIES[kind](count)).encode(), 2000)


def test_refusals() -> None:
    fault = f"{jobs._FAULT_BEGINS}\nKeyword: CPUTIME\nError: no\n-->\nunknown keyword: X\n"
    assert_linear(jobs.rejected, lambda count: fault * count)


# -- configuration


@pytest.mark.parametrize("line", ["migserver https://x", "# comment", "unknown x", "password a # b", ""])
def test_configurations(tmp_path: Path, line: str) -> None:
    def read(text: str) -> None:
        (tmp_path / "c").write_text(text)
        UserFile.read(tmp_path / "c")

    assert_linear(read, lambda count: f"{line}\n" * count, 300)


def test_chains_of_certificates() -> None:
    block = b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"

    def read(pem: bytes) -> None:
        with suppress(ValueError):
            _read_chain(pem)

    assert_linear(read, lambda count: block * count)


# -- tables and journals of sweeps, the journal of submits

TABLES: dict[str, Callable[[int], str]] = {
    "csv": lambda count: "a,b\n" + "".join(f"{number},x\n" for number in range(count)),
    "tsv": lambda count: "a\tb\n" + "1\t2\n" * count,
    "json": lambda count: json.dumps([{"a": number} for number in range(count)]),
    "jsonl": lambda count: "".join(f'{{"a": {number}}}\n' for number in range(count)),
}


@pytest.mark.parametrize("suffix", TABLES)
def test_tables(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"t.{suffix}"

    def read(text: str) -> None:
        path.write_text(text)
        _parameters.read(str(path))

    assert_linear(read, TABLES[suffix], 300)


@pytest.mark.parametrize("text", ["{a} ", "{{a}}", "{", "${a}", "}{"])
def test_placeholders(text: str) -> None:
    assert_linear(lambda line: _parameters.fill(line, {"a": "x"}, quoted=True), lambda count: text * count, 300)


def journal_of(version: int, count: int) -> str:
    rows: list[dict[str, Any]] = [{"aiomig sweep": version}]
    for number in range(count):
        if version == 1:
            rows += [{"i": number, "m": f"m{number}", "h": "x"}, {"i": number, "id": f"{number}"}, {"i": 0, "d": 1}]
        else:
            rows += [{"marker": f"m{number}", "job": f"d{number % 5}", "replaces": None}]
            rows += [{"marker": f"m{number}", "id": f"{number}"}, {"marker": f"m{number}", "state": "done"}]
    return "".join(json.dumps(row) + "\n" for row in rows)


def read_sweep_journal(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    journal = SweepJournal(path)
    journal.unclaimed()
    journal.close()


@pytest.mark.parametrize("version", [1, 2])
def test_journals_of_sweeps(tmp_path: Path, version: int) -> None:
    assert_linear(
        lambda text: read_sweep_journal(tmp_path / "j", text.encode()), lambda count: journal_of(version, count), 200
    )


def submits(count: int) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    for number in range(count):
        rows += [{"submit": f"m{number}", "at": 1.0, "name": "n", "project": ""}]
        rows += [{"made": f"m{number}", "job": f"{number}"}, {"settled": f"m{number - 1}"}]
    return rows


def test_the_journal_of_submits() -> None:
    assert_linear(read_rows, submits, 200)


# -- the records of a home


def plan_of(count: int) -> str:
    description = Description({"EXECUTE": tuple(f"echo {number}" for number in range(count))})
    return encode_plan(Plan(description, outputs=tuple(PlannedOutput(f"{n}", f"p/{n}", None) for n in range(count))))


def attempts_of(count: int) -> str:
    now = datetime.now(UTC)
    return encode_attempts([Attempt(now, now, now, "RESOURCE DIED", "x", "r")] * count)


def test_records() -> None:
    assert_linear(decode_plan, plan_of, 300)
    assert_linear(decode_attempts, attempts_of, 300)


# -- whatever they hold, nothing but the errors of aiomig


@settings(UNHURRIED)
@given(data=st.data(), version=st.sampled_from([1, 2]))
def test_any_journal_of_a_sweep_is_read_or_refused(data: st.DataObject, version: int, tmp_path: Path) -> None:
    content = data.draw(broken(journal_of(version, 4).encode()))
    with suppress(MigError):
        read_sweep_journal(tmp_path / "j", content)


@settings(UNHURRIED)
@given(data=st.data())
def test_any_journal_of_submits_is_read(data: st.DataObject, tmp_path: Path) -> None:
    (tmp_path / "x").mkdir(exist_ok=True)
    lines = "".join(json.dumps(row) + "\n" for row in submits(4)).encode()
    journal = SubmitJournal(tmp_path / "x", required=True)
    journal.open()
    assert journal.folder is not None
    (journal.folder / "1.jsonl").write_bytes(data.draw(broken(lines) | st.binary(max_size=50)))
    with suppress(MigError):
        journal.open()
    journal.close()


@settings(UNHURRIED)
@given(data=st.data(), suffix=st.sampled_from(sorted(TABLES)))
def test_any_table_is_read_or_refused(data: st.DataObject, suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"t.{suffix}"
    path.write_bytes(data.draw(broken(TABLES[suffix](3).encode()) | st.binary(max_size=50)))
    with suppress(click.ClickException):
        _parameters.read(str(path))


ROWS = [json.loads(plan_of(2)), json.loads(attempts_of(2))]
WORDS = st.sampled_from([*map(json.dumps, ROWS), "", "[]", "{}", "x", '{"k": {"EXECUTE": ["x"]}, "o": [[1, 2, 3]]}'])
REALS = st.floats(allow_nan=False) | st.just(1.7e9)


@settings(UNHURRIED)
@given(
    plan=WORDS | st.text(max_size=20),
    attempts=st.none() | WORDS | st.text(max_size=20),
    state=st.sampled_from(["QUEUED", "FINISHED", "RESTING", ""]),
    times=st.tuples(REALS, REALS, st.none() | REALS, st.none() | REALS),
    name=st.none() | st.text(max_size=9) | st.just("010126-000000.1"),
)
def test_any_record_is_read_or_refused(
    plan: str,
    attempts: str | None,
    state: str,
    times: tuple[float, float, float | None, float | None],
    name: str | None,
) -> None:
    values = {
        "number": 1, "state_text": state, "owner": 1, "plan_text": plan, "received": times[0], "queued": times[1],
        "executing": times[2], "ended": times[3], "attempt": 1, "local_name": name, "attempts_text": attempts,
        "verified": None,
    }  # fmt: skip
    fields = Record._fields
    record = Record(**{key: values.get(key) for key in fields})  # type: ignore[arg-type]
    for read in (record.plan, record.attempts, record.status, lambda: record.job_id, lambda: record.attempt_name):
        with suppress(DamagedRecord):
            read()


@settings(UNHURRIED)
@given(st.binary(max_size=200) | st.just(b"9" * 190 + b" 1 x"), st.text(max_size=50))
def test_any_word_of_a_session_is_read(lock: bytes, origin: str) -> None:
    assert _has_process_ended(lock) in (True, False)
    assert len(Origin.decode(origin)) == 3
