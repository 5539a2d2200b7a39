"""The options that describe a job; ranges, lists and files of parameters; sizes and times. In memory."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

pytest.importorskip("click")
pytest.importorskip("rich")

import click

from aiomig import Attempt, ConnectionFailed, JobState, JobStatus, Remote
from aiomig.cli import _app, _describing, _output, _parameters
from aiomig.cli._exit_codes import ExitCode, exit_code_of, sentence
from aiomig.cli._live import row
from aiomig.cli._settings import Settings
from aiomig.cli._timeline import Span, spans

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.cli.conftest import Done

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def at(seconds: float) -> datetime:
    return NOW + timedelta(seconds=seconds)


# -- values


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90", 90), ("90s", 90), ("15m", 900), ("2h30m", 9000), ("1d", 86_400), ("2:30:00", 9000), ("1h5", 3605)],
)
def test_wall_times(text: str, seconds: int) -> None:
    assert _describing.parse_duration(text) == seconds


@pytest.mark.parametrize(
    ("text", "amount"), [("512", 512), ("512M", 512), ("4G", 4096), ("4gb", 4096), ("1T", 1 << 20)]
)
def test_amounts_of_memory(text: str, amount: int) -> None:
    assert _describing.parse_megabytes(text) == amount


@pytest.mark.parametrize("text", ["", "soon", "-5", "1.5h", "2:70:00", "²"])
def test_invalid_wall_times(text: str) -> None:
    with pytest.raises(click.BadParameter, match="is not a time; give seconds"):
        _describing.parse_duration(text)


@pytest.mark.parametrize("text", ["", "much", "-1", "1.5G", "3K"])
def test_invalid_amounts(text: str) -> None:
    with pytest.raises(click.BadParameter, match="is not a size"):
        _describing.parse_megabytes(text)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.04, "0.0s"),
        (3.21, "3.2s"),
        (59.9, "59.9s"),
        (60, "1m00s"),
        (245, "4m05s"),
        (7620, "2h07m"),
        (273_600, "3d04h"),
    ],
)
def test_durations(seconds: float, text: str) -> None:
    assert _output.duration(seconds) == text


def test_sizes() -> None:
    assert [_output.size(count) for count in (0, 1023, 1536, 5 << 30, 3 << 40)] == [
        "0 B",
        "1023 B",
        "1.5 KiB",
        "5.0 GiB",
        "3.0 TiB",
    ]


# -- files


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("fit.py", "fit.py"),
        ("runs/7.csv:data.csv", ("runs/7.csv", "data.csv")),
        ("mig:data/x", Remote("data/x")),
        ("mig:data/x:y", Remote("data/x", "y")),
        ("https://host:80/x.dat", "https://host:80/x.dat"),
        ("https://host:80/x.dat:y", ("https://host:80/x.dat", "y")),
        ("https://host:80", "https://host:80"),
    ],
)
def test_inputs(text: str, wanted: Any) -> None:
    assert _describing._input(text) == wanted


def test_a_file_with_a_colon_in_its_name(work: Path) -> None:
    (work / "a:b").write_text("x")
    assert _describing._input("a:b") == "a:b"


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("out", "out"),
        ("out:plots/out", ("out", "plots/out")),
        ("out:mig:kept/out", ("out", Remote("kept/out"))),
        ("out:https://host/x", ("out", "https://host/x")),
    ],
)
def test_outputs(text: str, wanted: Any) -> None:
    assert _describing._output(text) == wanted


def test_the_description_has_all_options(
    call: Callable[..., Done], work: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (work / "in.txt").write_text("x")
    monkeypatch.setenv("GIVEN", "by the shell")
    done = call(
        *("mrsl", "-c", "echo first", "-i", "in.txt:data/in.txt", "-x", "mig:tools/run", "-o", "out:mig:kept/out"),
        *("-e", "A=b c", "-e", "GIVEN", "--name", "fit-7", "-t", "2h", "-m", "4G", "--disk", "3", "--cores", "2"),
        *("--nodes", "1", "--architecture", "AMD64", "--retries", "1", "--vgrid", "ANY", "-r", "GCC"),
        *("--mrsl", "PLATFORM=X", "--no-sandbox", "grep", "a b", "in.txt"),
    )
    assert done.code == 0, done.stderr
    fields: dict[str, list[str]] = {}
    for block in done.out.split("\n\n"):
        keyword, *lines = block.strip().splitlines()
        fields[keyword.strip(":")] = lines
    assert {"echo first", "grep 'a b' in.txt"} <= set(fields["EXECUTE"])
    assert fields["CPUTIME"] == ["7200"]
    assert fields["MEMORY"] == ["4096"]
    assert fields["DISK"] == ["3"]
    assert fields["CPUCOUNT"] == ["2"]
    assert fields["JOBNAME"] == ["fit-7"]
    assert fields["SANDBOX"] == ["false"]
    assert fields["PLATFORM"] == ["X"]
    assert fields["RUNTIMEENVIRONMENT"] == ["GCC"]
    assert fields["OUTPUTFILES"] == ["out kept/out"]
    assert fields["INPUTFILES"][0].endswith(" data/in.txt")
    assert "by the shell" in "".join(fields["ENVIRONMENT"])


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["mrsl"], "there is no command to run"),
        (["mrsl", "-e", "AIOMIG_NOT_SET", "x"], "'AIOMIG_NOT_SET' is not set in this shell; give AIOMIG_NOT_SET=VALUE"),
        (["mrsl", "--mrsl", "X", "x"], "give KEYWORD=LINE"),
        (["mrsl", "-t", "soon", "x"], "is not a time"),
        (["run", "--local", "--grid", "x"], "--local and --grid exclude each other"),
        (["--local", "run", "--grid", "x"], "--local and --grid exclude each other"),
        (["--local", "jobs", "--config", "x"], "--config is for the grid"),
        (["--grid", "jobs", "--home", "x"], "--home and --slots are for local mode"),
        (["stauts"], "did you mean 'status'?"),
        (["xyzzy"], "aiomig --help lists all commands"),
        (["cancel"], "Missing argument"),
        (["sweep", "x"], "there are no parameters"),
        (["init", "--url", "https://x"], "the certificate is missing"),
    ],
)
def test_invalid_command_lines(call: Callable[..., Done], arguments: list[str], words: str) -> None:
    done = call(*arguments)
    assert done.code == ExitCode.USAGE
    assert words in done.stderr
    assert done.stderr.startswith("aiomig: ")
    assert done.out == ""


# -- parameters


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("n=1:4", ["1", "2", "3", "4"]),
        ("n=0:1:0.25", ["0.00", "0.25", "0.50", "0.75", "1.00"]),
        ("n=10:1:-4", ["10", "6", "2"]),
        ("n=a,b,c", ["a", "b", "c"]),
        ("n=7", ["7"]),
        ("n=a:b", ["a:b"]),
        ("n=", [""]),
    ],
)
def test_values(text: str, values: list[str]) -> None:
    assert _parameters.parse(text) == ("n", values)


@pytest.mark.parametrize("text", ["n", "=1", "a b=1", "n=1:0", "n=1:2:0", "n=0:1:1e-9", "n=0:inf", "ñ=1"])
def test_invalid_values(text: str) -> None:
    with pytest.raises(click.BadParameter):
        _parameters.parse(text)


def test_combinations() -> None:
    given = [("a", ["1", "2"]), ("b", ["x", "y"])]
    assert [tuple(row.values()) for row in _parameters.combine(given, side_by_side=False)] == [
        ("1", "x"),
        ("1", "y"),
        ("2", "x"),
        ("2", "y"),
    ]
    assert _parameters.combine(given, side_by_side=True) == [{"a": "1", "b": "x"}, {"a": "2", "b": "y"}]
    with pytest.raises(click.UsageError, match="a has 1, b has 2"):
        _parameters.combine([("a", ["1"]), ("b", ["x", "y"])], side_by_side=True)
    with pytest.raises(click.UsageError, match="given twice"):
        _parameters.combine([("a", ["1"]), ("a", ["2"])], side_by_side=False)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("p.csv", 'id,word\n7,"x, y"\n'),
        ("p.tsv", "id\tword\n7\tx, y\n"),
        ("p.json", '[{"id": 7, "word": "x, y"}]'),
        ("p.jsonl", '{"id": 7, "word": "x, y"}\n\n'),
        ("p.csv", '\ufeffid,word\r\n7,"x, y"\r\n'),
        ("p.csv", 'id,word\n7,"x, y"\n,\n,\n'),
        ("p.csv", "sep=;\r\nid;word\r\n7;x, y\r\n"),
        ("p.csv", '\ufeffsep=,\nid,word\n7,"x, y"\n'),
    ],
)
def test_files_of_parameters(work: Path, name: str, content: str) -> None:
    (work / name).write_text(content)
    assert _parameters.read(name) == [{"id": "7", "word": "x, y"}]


@pytest.mark.parametrize("word", ["two\nlines", "two\r\nlines", 'a "word", quoted', "a\u2028b\x85c\x0cd", ";"])
def test_cells_are_not_changed(work: Path, word: str) -> None:
    quoted = word.replace('"', '""')
    (work / "p.csv").write_bytes(f'id,word\n7,"{quoted}"\n'.encode())
    (work / "p.jsonl").write_text(json.dumps({"id": 7, "word": word}, ensure_ascii=False) + "\n", newline="")
    assert _parameters.read("p.csv") == _parameters.read("p.jsonl") == [{"id": "7", "word": word}]


@pytest.mark.parametrize("number", ["1.10", "0.12345678901234567890", "1e400", "-0", "123456789012345678901", "NaN"])
def test_numbers_keep_their_spelling(work: Path, number: str) -> None:
    (work / "p.json").write_text(f'[{{"n": {number}, "is": true}}]')
    assert _parameters.read("p.json") == [{"n": number, "is": "true"}]


def test_the_separator_of_a_table(work: Path) -> None:
    for separator in ";|\t":
        (work / "p.csv").write_text(f"id{separator}word\n7{separator}a,b\n")
        with pytest.raises(click.BadParameter, match="the only column is .*give --separator"):
            _parameters.read("p.csv")
        assert _parameters.read("p.csv", separator) == [{"id": "7", "word": "a,b"}]
    with pytest.raises(click.BadParameter, match=r"p\.csv"):
        _parameters.read("p.csv", ";;")


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("p.csv", "id,word\n7\n"),
        ("p.csv", "id\n7,8\n"),
        ("p.json", "{}"),
        ("p.json", "[1]"),
        ("p.jsonl", '{"id": [1]}'),
        ("p.jsonl", "{"),
        ("p.json", "[" * 100_000),
        ("p.csv", "id,id\n7,8\n"),
        ("p.csv", 'id,word\n7,"x\n'),
        ("p.csv", "id\n" + "x" * 200_000),
        ("p.csv", ""),
    ],
)
def test_files_without_parameters(work: Path, name: str, content: str) -> None:
    (work / name).write_text(content)
    with pytest.raises(click.BadParameter, match=name):
        _parameters.read(name)


@pytest.mark.parametrize("name", ["p.csv", "p.tsv", "p.json", "p.jsonl"])
def test_a_file_that_is_not_utf_8_is_refused(work: Path, name: str) -> None:
    (work / name).write_bytes('id\n"größe"\n'.encode("latin-1"))
    with pytest.raises(click.BadParameter, match="not UTF-8 text at byte .*save it as UTF-8"):
        _parameters.read(name)


def test_a_file_of_another_format(work: Path) -> None:
    (work / "p.txt").write_text("id\n7\n")
    with pytest.raises(click.BadParameter, match=r"p\.txt: not JSON lines, the format of all files but \.csv"):
        _parameters.read("p.txt")


def test_placeholders() -> None:
    values = {"n": "7", "w": "it's $x"}
    assert _parameters.fill("{n} ${n} {m} {1,2} {n}{n}", values) == "7 ${n} {m} {1,2} 77"
    assert _parameters.fill("echo {w}", values, quoted=True) == """echo 'it'"'"'s $x'"""
    assert _parameters.placeholders(["{a} ${b}", "{c}{a} {{d}}"]) == {"a", "c"}
    assert _parameters.fill("{{n}} {n} {{{n}}} {{1,2}}", values) == "{n} 7 {{n}} {{1,2}}"


# -- reports about jobs


def test_rows_of_the_live_table() -> None:
    waiting = JobStatus("1", JobState.QUEUED, "QUEUED", received_at=at(-100), queued_at=at(-90))
    assert row(waiting, NOW) == ["1", "-", "QUEUED", "-", "1m40s", "1m30s", "-", "-"]
    running = JobStatus("2", JobState.EXECUTING, "EXECUTING", at(-100), at(-90), at(-30), resource="r1")
    assert row(running, NOW) == ["2", "-", "EXECUTING", "-", "1m40s", "1m00s", "30.0s", "r1"]
    ended = JobStatus("3", JobState.FINISHED, "FINISHED", at(-100), at(-90), at(-30), at(-20), name="fit", exit_code=3)
    assert row(ended, NOW) == ["3", "fit", "FINISHED", "3", "1m40s", "1m00s", "10.0s", "-"]


def test_spans_of_a_timeline() -> None:
    attempt = Attempt(at(0), at(10), at(30), "JOB TIMEOUT")
    again = JobStatus("1", JobState.FINISHED, "FINISHED", at(0), at(30), at(35), at(40), attempts=(attempt,))
    assert spans(again, at(99)) == [
        Span("waited", at(0), at(10)),
        Span("failed", at(10), at(30)),
        Span("waited", at(30), at(35)),
        Span("ran", at(35), at(40)),
    ]
    bad = JobStatus("1", JobState.FINISHED, "FINISHED", at(0), at(0), at(1), at(2), exit_code=1)
    assert spans(bad, at(9)) == [Span("waited", at(0), at(1)), Span("failed", at(1), at(2))]
    failed = JobStatus("1", JobState.FAILED, "FAILED", at(0), at(0), at(10), failed_at=at(30), attempts=(attempt,))
    assert spans(failed, at(99)) == [Span("waited", at(0), at(10)), Span("failed", at(10), at(30))]
    canceled = JobStatus("1", JobState.CANCELED, "CANCELED", at(0), at(0), canceled_at=at(5))
    assert spans(canceled, at(99)) == [Span("waited", at(0), at(5))]
    assert spans(JobStatus("1", JobState.QUEUED, "QUEUED", at(0), at(1)), at(9)) == [Span("waited", at(1), at(9))]


# -- errors


def test_jobs_remain_on_an_unreachable_grid(capsys: pytest.CaptureFixture[str]) -> None:
    settings = Settings(mode="grid", config=Path("my conf"), jobs=["1_2"])
    assert _app._report_failure(settings, ExceptionGroup("x", [ConnectionFailed("no answer")])) == ExitCode.UNAVAILABLE
    assert capsys.readouterr().err.splitlines() == [
        "aiomig: no answer",
        "aiomig: the jobs remain on the grid; try later: aiomig --grid --config 'my conf' wait 1_2",
    ]


def test_foreign_errors_are_sentences() -> None:
    missing = ModuleNotFoundError("No module named 'matplotlib'", name="matplotlib.figure")
    assert sentence(missing) == "this needs matplotlib.figure, which is not installed; run: pip install 'aiomig[plot]'"
    assert exit_code_of(missing) is ExitCode.UNAVAILABLE
    assert exit_code_of(RuntimeError("x")) is ExitCode.SOFTWARE
    assert "please report it (RuntimeError: x)" in sentence(RuntimeError("x"))
    assert exit_code_of(KeyboardInterrupt()) is ExitCode.INTERRUPTED
    assert sentence(FileNotFoundError(2, "No such file or directory", "a/b")) == "a/b: No such file or directory"
