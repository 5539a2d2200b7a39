"""Exceptions: their messages, attributes, HTML and causes; and no secrets in logs, reprs or errors."""

from __future__ import annotations

import copy
import logging
import pickle
import shutil
import signal
import traceback
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from cryptography.hazmat.primitives import serialization

import aiomig
from aiomig import (
    Attempt,
    AuthenticationFailed,
    CommandFailed,
    Config,
    ConfigError,
    ConnectionFailed,
    EventsLost,
    Fault,
    FileExists,
    FileNotFound,
    JobCanceled,
    JobError,
    JobExpired,
    JobFailed,
    JobNotFound,
    JobResult,
    JobState,
    JobStatus,
    LocalError,
    MigError,
    NoSession,
    PathRefused,
    ProtocolError,
    ResultsMissing,
    ServerError,
    SpecError,
    SubmitErrors,
    SubmitRejected,
    SubmitUnknown,
)
from aiomig._core.display import explain_exit_code, short_repr
from aiomig._core.errors import ActionRefused
from aiomig._spec.mrsl import Description
from aiomig.testing import USER, Authority, FakeGrid
from tests.unit.jobs.accounts import raise_for, result

if TYPE_CHECKING:
    from collections.abc import Iterator

JOB = "7_11_23_2026__5_4_49_localhost.0"
WHEN = datetime(2026, 11, 23, 5, 4, 49, tzinfo=UTC)
STATUS = JobStatus(JOB, JobState.FINISHED, "FINISHED", attempts=(Attempt(failed_at=WHEN, reason="JOB TIMEOUT"),))
RESULT = JobResult(STATUS, stderr_bytes=b"oh no\n", reported=True)
OUTCOME = aiomig.Outcome(JOB, JobState.FINISHED, None, "not now")

ERRORS: list[MigError] = [
    MigError("words"),
    ConfigError("words", path="miguser.conf", line=3, field="key"),
    SpecError([Fault("commands", ["x"], "is wrong", "mend it", line=7), Fault("name", None, "bad", "good")]),
    NoSession("words"),
    EventsLost(2),
    LocalError("problem", path="/p", remedy="do"),
    ConnectionFailed("words", sent=True),
    SubmitUnknown("marker", "reason"),
    AuthenticationFailed("words"),
    ServerError("ls", ["one", "two"]),
    ProtocolError("words", excerpt="<html>"),
    SubmitRejected(["one"], [Fault("CPUTIME", "x", "bad", "good")]),
    SubmitErrors([SpecError([Fault("a", 1, "b", "c")]), NoSession("d")]),
    FileNotFound("p"),
    FileExists("p"),
    PathRefused("p", "words"),
    JobError(JOB, "words", status=STATUS, result=RESULT),
    JobNotFound(JOB),
    CommandFailed(JOB, command="x", exit_code=127, status=STATUS, result=RESULT, staging=["staging: a"]),
    JobFailed(JOB, "words", status=STATUS, result=RESULT),
    JobCanceled(JOB, "words", status=STATUS),
    JobExpired(JOB, "words", status=STATUS),
    ResultsMissing(JOB, ["a"], arrived=["b"], staging=["staging: a"], remedy="wait", status=STATUS, result=RESULT),
    ActionRefused(OUTCOME),
]


def subclasses(kind: type[MigError]) -> set[type[MigError]]:
    return {kind}.union(*(subclasses(each) for each in kind.__subclasses__()))


def test_every_error_of_the_package_is_here() -> None:
    ours = {each for each in subclasses(MigError) if getattr(aiomig, each.__name__, None) is each}
    assert {type(error) for error in ERRORS} | {aiomig.GridError} == ours


def same(first: object, second: object) -> bool:
    """Errors cannot be compared, but their class, message and attributes can."""
    if isinstance(first, MigError):
        assert isinstance(second, MigError)
        kept, given = first.__dict__, second.__dict__
        return (
            (type(first), first.args) == (type(second), second.args)
            and kept.keys() == given.keys()
            and all(same(kept[name], given[name]) for name in kept)
        )
    if isinstance(first, tuple) and isinstance(second, tuple):
        return len(first) == len(second) and all(map(same, first, second))
    if isinstance(first, dict) and isinstance(second, dict):
        return first.keys() == second.keys() and all(same(first[key], second[key]) for key in first)
    return first == second


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_errors_travel(error: MigError) -> None:
    error.add_note("a note")
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        assert same(error, pickle.loads(pickle.dumps(error, protocol)))
    for again in (copy.copy(error), copy.deepcopy(error)):
        assert same(error, again)
        assert again is not error


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_reprs_say_what_and_why(error: MigError) -> None:
    assert repr(error) == f"{type(error).__name__}({str(error)!r})"
    assert str(error)


@pytest.mark.parametrize(
    "value", [lambda: 1, (each for each in "ab"), open, object()], ids=["function", "generator", "builtin", "object"]
)
def test_faults_travel_whatever_was_given(value: object) -> None:
    error = SpecError([Fault("commands", value, "bad", "good")])
    again = pickle.loads(pickle.dumps(error))
    assert str(again) == str(error)
    assert again.faults[0].field == "commands"
    copy.deepcopy(error)


class Unshowable:
    def __repr__(self) -> str:
        raise RuntimeError("no")


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("x" * 500, f"'{'x' * 100}'… (500 characters)"),
        (b"x" * 500, f"b'{'x' * 100}'… (500 bytes)"),
        (list(range(100)), "[0, 1, 2, 3"),
        (10**5000, "<int>"),
        (Unshowable(), "<Unshowable>"),
        ("\x1b[2J", "'\\x1b[2J'"),
    ],
    ids=["text", "bytes", "list", "digits", "repr", "codes"],
)
def test_values_are_shown_whatever_they_are(value: object, text: str) -> None:
    assert short_repr(value).startswith(text)
    assert len(short_repr(value)) < 160


def test_fields_that_would_steer_a_terminal_do_not() -> None:
    with pytest.raises(SpecError) as caught:
        aiomig.JobSpec.from_mrsl("\x1b[2J\ntrue\n")
    assert "\x1b" not in str(caught.value)


async def test_jobs_of_submit_errors_stay_in_copies_and_travel_as_ids() -> None:
    async with FakeGrid() as grid:
        grid.hold()
        async with grid_session(grid) as session:
            job = await session.submit("true")
            error = SubmitErrors([job, NoSession("x")])
            assert copy.copy(error).jobs == copy.deepcopy(error).jobs == [job]
            assert pickle.loads(pickle.dumps(error)).outcomes[0] == job.id


def grid_session(grid: FakeGrid, **fields: Any) -> aiomig.Session:
    usual = {"url": "https://grid.example.org", "certificate": "c.pem", "key": "k.pem"}
    return aiomig.grid(**{**usual, **fields}, transport=grid.transport())


# -- what failures say


def finished(description: Description | None = None, **files: bytes) -> JobResult:
    contents = {name.replace("_", "-"): content for name, content in files.items()}
    return result(STATUS, contents, ["./fit"], description=description)


def failure(made: JobResult, description: Description | None = None) -> Any:
    with pytest.raises(JobError) as caught:
        raise_for(JOB, made, description)
    return caught.value


def test_forty_lines_of_stderr_and_not_more() -> None:
    error = failure(finished(status=b"./fit 1\n", stderr=b"".join(b"line %d\n" % number for number in range(100))))
    assert str(error).split("\n") == [
        f"job {JOB}: './fit' exited with 1",
        *(f"line {number}" for number in range(60, 100)),
    ]


@pytest.mark.parametrize(
    ("stderr", "lines"),
    [
        (b"", []),
        (b"a\r\nb\r\n", ["a", "b"]),
        (b" 1%\r 50%\r100%\ndone\n", ["100%", "done"]),
        ("a\u2028b\x0cc\n".encode(), ["a\\u2028b\\x0cc"]),
        (b"x" * 1000, ["x" * 400 + "…"]),
        (b"\xff", ["\ufffd"]),
        (b"x" * (10 << 20) + b"\nlast", ["x" * 400 + "…", "last"]),
    ],
    ids=["none", "crlf", "progress", "odd breaks", "long line", "not UTF-8", "huge"],
)
def test_lines_of_stderr_are_as_a_terminal_shows_them(stderr: bytes, lines: list[str]) -> None:
    error = failure(finished(status=b"./fit 1\n", stderr=stderr))
    assert str(error).split("\n")[1:] == lines
    assert error.result.stderr_bytes == stderr


def test_long_commands_are_cut_in_words_but_not_in_data() -> None:
    command = "./fit " + "x" * 10_000
    made = result(STATUS, {"status": f"{command} 3\n".encode()}, [command])
    error = failure(made)
    assert len(str(error)) < 300
    assert error.command == command


@pytest.mark.parametrize("number", [each for each in signal.Signals if each < 65])
def test_every_signal_has_its_name(number: signal.Signals) -> None:
    assert f"(signal {number.value}, {number.name}" in explain_exit_code(128 + number)


@pytest.mark.parametrize("code", [0, 1, 2, 3, 64, 125, 128, 128 + 100, 254])
def test_other_codes_are_not_explained(code: int) -> None:
    assert explain_exit_code(code) == ""


STAGED = Description(
    {
        "INPUTFILES": ("aiomig_jobs/t/in/data.csv data.csv", "https://host/x.bin"),
        "EXECUTABLES": ("tools/fit bin/fit",),
    }
)
BAD_INPUT = b"get_special_input_files 0\nget_input_files 22\nget_executables 0\n" * 5


def test_staging_faults_name_the_files() -> None:
    error = failure(finished(STAGED, status=b"./fit 1\n", io_status=BAD_INPUT, stderr=b"no data.csv\n"))
    assert isinstance(error, CommandFailed)
    assert error.staging == (
        "staging: get_input_files failed with 22, so some INPUTFILES may have been missing while the job ran: "
        + "data.csv (from aiomig_jobs/t/in/data.csv), host/x.bin (from https://host/x.bin)",
    )
    assert str(error).split("\n")[1:] == [*error.staging, "no data.csv"]


def test_staging_faults_of_every_step() -> None:
    steps = b"get_input_files 0\nget_executables 22\noutput_files_missing 2\nsend_output_files 7\nsend_io_files 0\n"
    assert finished(STAGED, io_status=steps).staging == (
        "staging: get_executables failed with 22, so some EXECUTABLES may have been missing while the job ran: bin/fit "
        + "(from tools/fit)",
        "staging: 2 of the outputs were missing when the commands ended, or were directories or symbolic links with "
        + "relative targets (a grid sends only the link itself; use cp -L)",
        "staging: send_output_files failed with 7",
    )
    assert "see the description of the job" in finished(io_status=BAD_INPUT).staging[0]


def test_a_step_that_worked_in_the_end_is_no_fault() -> None:
    assert finished(STAGED, io_status=BAD_INPUT + b"get_input_files 0\n").staging == ()


def test_many_files_are_not_all_named() -> None:
    many = Description({"INPUTFILES": tuple(f"in/{number}" for number in range(500))})
    (line,) = finished(many, io_status=BAD_INPUT).staging
    assert line.endswith("in/19 (from in/19) and 480 more")


def test_results_missing_says_what_came() -> None:
    error = failure(finished(STAGED, stdout=b"x", io_status=BAD_INPUT))
    assert (error.missing, error.arrived) == ((f"{JOB}.status",), (f"{JOB}.stdout", f"{JOB}.io-status"))
    assert "data.csv" in str(error)
    nothing = failure(finished())
    assert nothing.arrived == ()
    assert "did:" not in str(nothing)


def test_failed_jobs_have_their_attempts() -> None:
    attempts = (
        Attempt(queued_at=WHEN, executing_at=WHEN, failed_at=WHEN, reason="JOB TIMEOUT", resource="a_exe1"),
        Attempt(failed_at=WHEN, reason="JOB TIMEOUT"),
    )
    error = failure(result(JobStatus(JOB, JobState.FAILED, "FAILED", attempts=attempts), {}))
    assert error.attempts == attempts
    lines = str(error).split("\n")
    assert lines[1].startswith("- JOB TIMEOUT, on a_exe1, queued 2026-11-23 05:04:49 UTC, executing 2026-11-23")
    assert "raise resources.wall_time" in lines[-1]


def test_commands_that_may_have_ended_the_shell_are_named() -> None:
    status = JobStatus(JOB, JobState.FAILED, "FAILED", attempts=(Attempt(failed_at=WHEN, reason="RESOURCE DIED"),))
    description = Description({"EXECUTE": ("echo exit 3", "[ -f x ] || exit 3", "( exit 4 )", "set -e")})
    lines = str(failure(result(status, {}), description)).split("\n")
    assert lines[-1] == "these commands may be the cause: '[ -f x ] || exit 3', 'set -e'"
    assert "set -e, exec" in lines[-2]
    assert "may be the cause" not in str(failure(result(status, {})))
    good = Description({"EXECUTE": ("echo exit 3",)})
    assert "may be the cause" not in str(failure(result(status, {}), good))


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (124, "timeout"),
        (126, "executables=["),
        (127, "executables=["),
        (132, "another processor"),
        (137, "wall_time"),
        (143, "asked to terminate"),
        (152, "wall_time"),
        (153, "disk_gb"),
    ],
)
def test_exit_codes_are_explained_with_what_to_do(code: int, words: str) -> None:
    assert words in explain_exit_code(code)
    assert f"exited with {code} (" in str(failure(finished(status=b"./fit %d\n" % code)))


@pytest.mark.parametrize(
    ("stderr", "words"),
    [
        (b"x: line 9: /bin/echo: Argument list too long\n", "make it an input"),
        (b"bash: ./fit: cannot execute binary file: Exec format error\nmore\n", "another processor"),
        (b"bash: ./fit: Is a directory\n", "a directory, not a program"),
        (b"bash: ./fit: Permission denied\n", "noexec"),
    ],
)
def test_exit_code_126_is_explained_by_what_bash_says(stderr: bytes, words: str) -> None:
    text = str(failure(finished(status=b"./fit 126\n", stderr=stderr)))
    assert words in text
    assert ("not executable" in text) == (b"denied" in stderr)


def test_missing_outputs_are_told_with_what_came_and_what_to_look_for() -> None:
    error = ResultsMissing(JOB, ["a", "b"], arrived=["c"])
    assert "these did not arrive: a, b; these did: c; check that" in str(error)
    assert "not as folders" in str(error)


def test_of_many_attempts_the_last_are_told() -> None:
    attempts = tuple(Attempt(failed_at=WHEN, reason="JOB TIMEOUT", resource=f"exe{number}") for number in range(100))
    error = failure(result(JobStatus(JOB, JobState.FAILED, "FAILED", attempts=attempts), {}))
    assert str(error).split("\n")[1] == "- … and 80 before"
    assert "on exe80" in str(error)
    assert "on exe79" not in str(error)
    assert len(error.attempts) == 100


def test_what_local_mode_knows_of_an_attempt_is_told() -> None:
    attempts = (Attempt(failed_at=WHEN, reason="RESOURCE DIED", detail="syntax error near '('"),)
    error = failure(result(JobStatus(JOB, JobState.FAILED, "FAILED", attempts=attempts), {}))
    assert "- RESOURCE DIED, syntax error near '(', failed 2026" in str(error)
    assert "set -e" not in str(error)


# -- causes


def caused(act: Any, kind: type[MigError]) -> BaseException:
    with pytest.raises(kind) as caught:
        act()
    assert caught.value.__cause__ is not None
    return caught.value.__cause__


def config(**fields: Any) -> Config:
    usual = {"url": "https://x", "certificate": "no.pem", "key": "no.pem"}
    return Config(**{**usual, **fields})


def test_errors_of_files_and_urls_chain_their_cause(tmp_path: Path) -> None:
    assert isinstance(caused(config().ssl_context, ConfigError), FileNotFoundError)
    assert isinstance(caused(lambda: Config.load(tmp_path / "no"), ConfigError), FileNotFoundError)
    assert isinstance(caused(lambda: config(url="https://x:y"), ConfigError), ValueError)
    (tmp_path / "bad.pem").write_text("nothing")
    assert isinstance(caused(config(certificate=tmp_path / "bad.pem").ssl_context, ConfigError), ValueError)


async def test_errors_of_connections_chain_their_cause() -> None:
    def handler(request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("no route")

    session = aiomig.grid(config(), transport=httpx.MockTransport(handler))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(aiomig.Retry, "pauses", lambda self: iter(()))
        with pytest.raises(ConnectionFailed, match="no route") as caught:
            await session.__aenter__()
    assert isinstance(caught.value.__cause__, httpx.ConnectError)


# -- secrets

PASSWORD = "correct-horse-battery-staple"


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture
def locked(tmp_path: Path, authority: Authority) -> Path:
    """A configuration with an encrypted key, in the same file as the certificate or in another one."""
    files = authority.client(USER)
    key = serialization.load_pem_private_key(files.key.read_bytes(), None)
    encrypted = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(PASSWORD.encode()),
    )
    (tmp_path / "user.pem").write_bytes(files.certificate.read_bytes() + encrypted)
    (tmp_path / "user.pem").chmod(0o600)
    shutil.copy(files.key, tmp_path / "plain.key")
    return tmp_path


class Kept:
    """Everything that a program may write or show: log lines, reprs, exceptions, command lines."""

    def __init__(self) -> None:
        self.texts: list[str] = []

    def value(self, value: object) -> None:
        self.texts += [repr(value), str(value)]

    def error(self, error: BaseException) -> None:
        seen: set[int] = set()
        waiting: list[BaseException | None] = [error]
        while waiting:
            each = waiting.pop()
            if each is None or id(each) in seen:
                continue
            seen.add(id(each))
            self.texts += [repr(each), str(each), repr(each.args), repr(each.__dict__), repr(vars(each))]
            waiting += [each.__cause__, each.__context__]
        self.texts += traceback.format_exception(error)

    def records(self, records: list[logging.LogRecord]) -> None:
        for record in records:
            self.texts += [record.getMessage(), repr(record.__dict__)]

    def children(self) -> None:
        me = str(Path("/proc/self").resolve().name)
        for place in Path("/proc").iterdir():
            if not place.name.isdigit():
                continue
            try:
                parent = place.joinpath("stat").read_text().rpartition(")")[2].split()[1]
                if me in (place.name, parent):
                    self.texts.append(place.joinpath("cmdline").read_bytes().decode("utf-8", "replace"))
            except OSError:
                continue  # the process has ended meanwhile


def secrets_in(folder: Path) -> Iterator[str]:
    yield PASSWORD
    for name in ("user.pem", "plain.key"):
        text = (folder / name).read_text()
        for block in text.split("-----BEGIN ")[1:]:
            if "PRIVATE KEY" in block:
                yield from (line for line in block.splitlines()[1:] if len(line) > 20 and "-----" not in line)


async def failing(kept: Kept, act: Any) -> None:
    with pytest.raises(MigError) as caught:
        while hasattr(act, "__await__"):
            act = await act
    kept.error(caught.value)


async def test_no_secret_is_told(locked: Path, caplog: pytest.LogCaptureFixture, authority: Authority) -> None:
    caplog.set_level(logging.DEBUG)
    kept = Kept()
    user = str(locked / "user.pem")
    async with FakeGrid(locked / "home") as grid, grid.serve(authority=authority) as address:
        fields = {"url": address.url, "certificate": user, "key": user, "ca": address.ca, "password": PASSWORD}
        async with aiomig.grid(config(**fields)) as session:
            kept.value(session)
            job = await session.submit("sleep 0.2; exit 3", inputs=[(b"x" * 10, "x")], outputs=["y"], name="fit")
            kept.children()
            await failing(kept, job)
            await failing(kept, session.files.read_bytes("nosuch"))
            await failing(kept, session.submit("true", vgrids=["NoSuch"]))
            grid.faults.add("ls", "error", times=1)
            await session.files.ls()
            kept.value(vars(session))
        for change in ({"password": "wrong"}, {"password": None}, {"password": PASSWORD + "\ud800"}, {"ca": user}):
            await failing(kept, aiomig.grid(config(**{**fields, **change})).__aenter__())
        kept.value(config(**fields))
        kept.value(config(**fields).replace(timeout=3.0))
    kept.records(caplog.records)
    assert len(kept.texts) > 100
    assert any("fit" in text or "submitfields" in text for text in kept.texts)
    for secret in secrets_in(locked):
        assert not [text[:200] for text in kept.texts if secret in text]


CONF = "migserver {url}\ncertfile user.pem\nkeyfile user.pem\npassword {password}\n"


@pytest.mark.parametrize(
    "text",
    [
        CONF.format(url="http://x", password=PASSWORD),
        CONF.format(url="https://x/y", password=PASSWORD).encode() + b"username \xff\n",
        CONF.format(url=f"https://me:{PASSWORD}@x", password="x"),
        CONF.format(url=f"https://me:{PASSWORD}@x:port", password="x"),
        CONF.format(url=f"https://me:{PASSWORD}@[::1", password="x"),
        CONF.format(url="https://x", password=PASSWORD) + "max_time soon\n",
        CONF.format(url="https://x", password=PASSWORD).replace("keyfile user", "keyfile no"),
    ],
    ids=["no TLS", "not UTF-8", "user in URL", "bad port", "bad address", "bad time", "no key"],
)
def test_no_secret_of_a_configuration_is_told(
    locked: Path, text: str | bytes, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level(logging.DEBUG)
    monkeypatch.chdir(locked)
    (locked / "miguser.conf").write_bytes(text.encode() if isinstance(text, str) else text)
    kept = Kept()
    with pytest.raises(ConfigError) as caught:
        Config.load("miguser.conf")
    kept.error(caught.value)
    kept.records(caplog.records)
    for secret in secrets_in(locked):
        assert not [each for each in kept.texts if secret in each]
