"""Random data from servers, files and certificates: only errors of aiomig, in bounded time and memory.

`test_protocol` mutates single answers for single parsers; here whole sessions are answered nonsense, and what else is
read from outside is mutated, too.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import re
import ssl
import tracemalloc
from typing import TYPE_CHECKING, Any

import anyio
import httpx
import pytest
import trio.testing
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

import aiomig
from aiomig import ConfigError, JobError, JobSpec, JobState, JobStatus, MigError
from aiomig._backend import KINDS
from aiomig._grid.config import Config
from aiomig._grid.credential import _Certificate, _read_chain
from aiomig._grid.job_finder import plan_from
from aiomig._grid.protocol import answer as protocol
from aiomig._grid.protocol import jobs, site
from aiomig._grid.services import account, archives, crontab, shares, transfers, triggers
from aiomig._grid.statuses import ChangedStatuses
from aiomig._jobs.results import parse_io_status
from aiomig._spec.mrsl import escape, parse, render
from aiomig.testing import USER, Authority
from tests.clocks import AutojumpLoop
from tests.unit.grid.test_protocol import PARSERS, nothing
from tests.unit.jobs.accounts import parse_status, raise_for, result
from tests.unit.recordings import EXCHANGES, listing, objects

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from aiomig import Session

BACKENDS: dict[str, dict[str, Any]] = {
    "asyncio": {"loop_factory": AutojumpLoop},
    "trio": {"clock": trio.testing.MockClock},
}
UNHURRIED = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture])
JOB = "7_11_23_2026__5_4_49_localhost.0"
RECORDED = sorted(name for name, each in EXCHANGES.items() if each.body[:1] == b"[" and len(each.body) < 8000)


# -- values and bytes that no one expects

JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**1100), 2**1100) | st.floats() | st.text(max_size=6),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=6,
)


@st.composite
def mutants(draw: st.DrawFn, value: Any) -> Any:
    """Return a copy in which one value is replaced, repeated or missing."""
    if not isinstance(value, dict | list) or not value or draw(st.integers(0, 4)) == 0:
        return draw(JSON_VALUES)
    keys = list(value) if isinstance(value, dict) else list(range(len(value)))
    key = draw(st.sampled_from(keys))
    changed: Any = value.copy()
    match draw(st.integers(0, 5)):
        case 0:
            del changed[key]
        case 1 if isinstance(changed, list):
            changed[key:key] = [changed[key]] * draw(st.integers(1, 20))
        case _:
            changed[key] = draw(mutants(value[key]))
    return changed


@st.composite
def broken(draw: st.DrawFn, data: bytes) -> bytes:
    """Return bytes that are truncated, or have other bytes inserted."""
    at = draw(st.integers(0, len(data)))
    match draw(st.integers(0, 3)):
        case 0:
            return data[:at]
        case 1:
            return data[:at] + draw(st.binary(max_size=12)) + data[at:]
        case 2:
            return data[:at] + draw(st.binary(min_size=1, max_size=4)) + data[at + draw(st.integers(0, 8)) :]
        case _:
            return data[at:] + data[:at]


NESTED = [b"[" * depth + b"]" * depth for depth in (20, 35, 300, 900, 960, 980, 990, 100_000)]
NESTED += [b'[{"object_type":' + b'{"a":' * depth + b"1" + b"}" * depth + b"}]" for depth in (20, 300, 900, 980, 9000)]
PAGES = [b"", b"<html><title>502</title></html>", b"\xff\xfe\0", b"null", b"[{}]", b"[[]]", b'"\\ud800"', *NESTED]


@st.composite
def answers(draw: st.DrawFn) -> bytes:
    """The body of a response: a recording, mutated or truncated, or unrelated bytes."""
    match draw(st.integers(0, 9)):
        case 0:
            return draw(st.sampled_from(PAGES) | st.binary(max_size=60))
        case 1:
            return draw(broken(EXCHANGES[draw(st.sampled_from(RECORDED))].body))
    value = json.loads(EXCHANGES[draw(st.sampled_from(RECORDED))].body)
    for _ in range(draw(st.integers(1, 3))):
        value = draw(mutants(value))
    return json.dumps(value).encode()


# -- every parser


def twice(answer: Any, operation: str) -> None:
    changed, body = ChangedStatuses(), json.dumps(answer).encode()
    ids = frozenset(re.findall(r'"job_id": "([^"\\]*)"', body.decode()))
    for _ in range(2):
        changed.is_repeated(ids, body)
        list(changed.read(ids, body, answer))


OTHERS: dict[str, Callable[[Any, str], Any]] = {
    "tokens": lambda answer, operation: protocol.csrf_tokens(answer),
    "form": lambda answer, operation: protocol.form_token(answer),
    "fresh": twice,
    "documentation": site.keywords,
    "runtime environments": site.runtime_environments,
    "topics": site.topics,
    "nothing": nothing,
}
EVERY = [*dict.fromkeys((*PARSERS.values(), *OTHERS.values()))]


@settings(UNHURRIED, max_examples=400)
@given(answers(), st.sampled_from([200, 200, 200, 206, 302, 403, 404, 500, 503]))
@example(json.dumps([{"object_type": "stats", "stats": [{"mode": 2**70, "size": 1, "mtime": 10**400}]}]).encode(), 200)
def test_every_parser_takes_every_answer(body: bytes, status: int) -> None:
    for parser in EVERY:
        with contextlib.suppress(MigError):
            parser(objects("ls", body, "text/html", status, keep_noise=True), "ls")


_SHARE = {
    "share_id": "a",
    "path": "x",
    "share_url": "https://a/b/c",
    "access": ["read"],
    "expire": "-1",
    "created": 1.0,
}
_ARCHIVE = {"id": "a", "name": "x", "created": "Mon Nov 23 05:06:21 2026", "frozenfiles": [{"name": "b", "size": 1}]}
_TRANSFER = {"transfer_id": "a", "action": "import", "status": "DONE", "src": ["b"], "dst": "c", "created": 1.0}
_TRIGGER = {"rule_id": "a", "vgrid_name": "b", "path": "c", "changes": ["created"], "arguments": ["d"]}
SERVICES: list[tuple[dict[str, Any], Callable[[Any], Any]]] = [
    ({"object_type": "sharelinks", "sharelinks": [_SHARE]}, shares._parsed),
    (
        {"object_type": "frozenarchives", "frozenarchives": [_ARCHIVE]},
        lambda answer: [archives._archive("x", row) for row in protocol.rows("x", answer, "frozenarchives")],
    ),
    (
        {"object_type": "datatransfers", "datatransfers": [_TRANSFER]},
        lambda answer: [transfers._transfer(row) for row in protocol.rows("x", answer, "datatransfers")],
    ),
    ({"object_type": "crontab_listing", "crontab": ["* * * * * ls\n"]}, crontab._lines),
    ({"object_type": "list", "list": [_TRIGGER]}, lambda answer: triggers._parsed("b", answer)),
    (
        {"object_type": "vgrid_list", "vgrids": [{"name": "a"}]},
        lambda answer: list(account.named_rows(answer, "name")),
    ),
    ({"object_type": "html_form", "text": '<input name="_csrf" value="ab">'}, protocol.form_token),
]


@settings(UNHURRIED, max_examples=300)
@given(st.data(), st.sampled_from(SERVICES))
def test_every_service_takes_every_answer(
    data: st.DataObject, case: tuple[dict[str, Any], Callable[[Any], Any]]
) -> None:
    known, reader = case
    value: Any = [known]
    for _ in range(data.draw(st.integers(1, 3))):
        value = data.draw(mutants(value))
    with contextlib.suppress(MigError):
        reader(objects("x", json.dumps(value).encode(), keep_noise=True))


@pytest.mark.parametrize("body", NESTED, ids=lambda body: str(len(body)))
def test_deep_nests_are_refused_or_read_in_every_depth_of_the_caller(body: bytes) -> None:
    def below(depth: int) -> None:
        if depth:
            below(depth - 1)
            return
        for parser in EVERY:
            with contextlib.suppress(MigError):
                parser(objects("ls", body), "ls")

    for depth in (0, 100, 400):
        below(depth)


# -- bounded time and memory

MANY = 200_000
HOSTILE: dict[str, list[dict[str, Any]]] = {
    "quotes": [{"object_type": "error_text", "text": "touch: " + "'" * MANY}],
    "long words": [{"object_type": "error_text", "text": "x " * MANY}],
    "path": [{"object_type": "error_text", "text": "a: path exist!" * MANY}],
    "entities": [{"object_type": "error_text", "text": "&amp;" * MANY}],
    "many errors": [{"object_type": "error_text", "text": f"error {number}"} for number in range(MANY // 10)],
    "many files": [{"object_type": "file_not_found", "name": f"{number}"} for number in range(MANY // 10)],
    "tokens": [{"object_type": "title", "script": "csrf_map[" * MANY}],
    "form": [{"object_type": "html_form", "text": "<input name=_csrf value='" * MANY}],
    "form without a tag": [{"object_type": "html_form", "text": "name=_csrf " * MANY}],
    "long strings": [{"object_type": "x", "y": "z" * 50 * MANY}],
    "long tokens": [{"object_type": "x", "y": "abcdef0123456789" * MANY}],
    "odd": [{"object_type": "job_list", "jobs": [{"job_id": "x" * MANY}]}],
}


@pytest.mark.parametrize("name", HOSTILE)
def test_big_answers_make_small_errors(name: str) -> None:
    answer = objects("ls", json.dumps(HOSTILE[name]).encode(), keep_noise=True)
    errors: list[MigError] = []
    for parser in EVERY:
        try:
            parser(answer, "ls")
        except MigError as error:
            errors.append(error)
    assert errors
    assert max(len(str(error)) for error in errors) < 50_000


def test_a_refusal_of_many_lines_takes_no_time_at_all() -> None:
    block = f"{jobs._FAULT_BEGINS}\nKeyword: CPUTIME\nError: no\n" + "and so on\n" * MANY + "-->"
    error = jobs.rejected(block * 5)
    assert error.faults[0].field == "CPUTIME"
    assert len(str(error)) < 50_000


def test_a_hundred_thousand_entries_are_a_listing() -> None:
    rows = [{"object_type": "direntry", "type": "file", "name": f"f{n}", "rel_path": f"d/f{n}"} for n in range(100_000)]
    listed = [{"object_type": "dir_listings", "dir_listings": [{"entries": rows}]}]
    body = json.dumps(listed).encode()
    tracemalloc.start()
    try:
        found = listing(objects("ls", body))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(found.entries) == 100_000
    assert peak < 20 * len(body)


# -- whole sessions


async def use(session: Session, folder: Path) -> None:
    """Use most operations; each may end in an error of aiomig."""
    job = session.job(JOB)

    async def watch() -> None:
        async for _ in session.watch(JOB):
            pass

    async def tail() -> None:
        async for _ in job.tail():
            pass

    async def submit() -> None:
        await session.submit("true", inputs=[(b"x", "x y")], outputs=["a", "b c"])

    parts: list[Callable[[], Awaitable[object]]] = [
        job.status, job.result, lambda: job.fetch(folder), job.cancel, job.freeze, job.resubmit, job.plan, job.clean,
        watch, tail, submit, lambda: session.submit_many(["true", "false"]), session.jobs,
        lambda: session.statuses([JOB, "8_x"]), lambda: session.files.ls(recursive=True),
        lambda: session.files.get("d", folder / "d"), lambda: session.files.put(os.devnull, "x"),
        lambda: session.files.put(folder, "many"), lambda: session.files.get("d/*", folder / "all"),
        lambda: session.files.write_text("x/y", "z"), lambda: session.files.stat("x"),
        lambda: session.files.checksum("x"), lambda: session.files.tail("x"), lambda: session.files.remove("x"),
        lambda: session.files.unpack("x.zip"), lambda: session.find_submitted("aa"),
    ]  # fmt: skip
    for part in parts:
        with contextlib.suppress(MigError), anyio.move_on_after(3600):
            await part()


FILE_HEADERS = st.fixed_dictionaries(
    {},
    optional={
        "ETag": st.sampled_from(['"a"', 'W/"a"', ""]),
        "Last-Modified": st.just("Mon, 23 Nov 2026 05:04:49 GMT"),
        "Content-Range": st.sampled_from(["bytes 0-3/4", "bytes 0-3/*", "bytes 4-7/999", "x", "bytes 0-/0"]),
        "Location": st.sampled_from(["/x", "https://elsewhere.example.org/", "file:///etc/passwd"]),
        "Retry-After": st.sampled_from(["1", "soon", "9" * 30, "Mon, 23 Nov 2026 05:04:49 GMT"]),
        "Content-Type": st.sampled_from(["application/json", "text/html", ""]),
    },
)


@st.composite
def replies(draw: st.DrawFn) -> tuple[int, dict[str, str], bytes]:
    statuses = st.sampled_from([200, 200, 200, 206, 301, 302, 304, 403, 404, 416, 429, 500, 503])
    return draw(statuses), draw(FILE_HEADERS), draw(answers())


NOBODY = json.dumps([{"object_type": "error_text", "text": "0-aiomig: You do not have any matching job IDs!"}]).encode()
PAGE = EXCHANGES["csrf--tokens-from-jobman"].body


def status_of(state: str) -> bytes:
    return json.dumps([{"object_type": "job_list", "jobs": [{"job_id": JOB, "status": state}]}]).encode()


@settings(UNHURRIED, max_examples=20)
@given(
    replies_given=st.lists(replies(), min_size=1, max_size=6),
    state=st.sampled_from(["FINISHED", "FAILED", "CANCELED", "EXECUTING", "HIBERNATING", None]),
)
@pytest.mark.parametrize("backend", BACKENDS)
def test_a_session_takes_every_answer(
    backend: str, replies_given: list[tuple[int, dict[str, str], bytes]], state: str | None, tmp_path: Path
) -> None:
    asked: list[str] = []

    def handler(request: httpx.Request) -> httpx.Response:
        operation = request.url.path.rpartition("/")[2].removesuffix(".py")
        asked.append(request.url.host)
        if len(asked) == 1:
            return httpx.Response(200, content=NOBODY)
        if operation == "jobman":
            return httpx.Response(200, content=PAGE)
        if operation == "jobstatus" and state is not None:
            return httpx.Response(200, content=status_of(state))
        status, headers, body = replies_given[len(asked) % len(replies_given)]
        return httpx.Response(status, headers=headers, content=body)

    async def run() -> None:
        transport = httpx.MockTransport(handler)
        limits = aiomig.RequestLimits(archive_from=1)
        server = {"url": "https://grid.example.org", "certificate": "c", "key": "k"}
        async with aiomig.grid(transport=transport, request_limits=limits, **server) as mig:  # type: ignore[arg-type]
            await use(mig, tmp_path)

    (tmp_path / "a file").write_bytes(b"x")
    logging.disable(logging.CRITICAL)
    options = dict(BACKENDS[backend])
    if backend == "trio":
        options["clock"] = options["clock"](autojump_threshold=0)
    try:
        anyio.run(run, backend=backend, backend_options=options)
    finally:
        logging.disable(logging.NOTSET)
    assert set(asked) == {"grid.example.org"}


# -- files of a job

STATUS_LINES = st.sampled_from(
    [b"./fit 0", b"./fit", b"0", b"7", b"x y 3", b"system: x 1", b"", b" ", b"\xff 2", b"it`s 1"]
)
IO_LINES = st.sampled_from(
    [b"get_input_files 22", b"get_executables -1", b"output_files_missing 99999999999", b"x", b""]
)
COMMANDS = st.lists(st.sampled_from(["./fit", "it's", "x y", "0", ""]), max_size=5)


@settings(UNHURRIED)
@given(
    st.dictionaries(st.sampled_from(KINDS), st.binary(max_size=60) | st.lists(STATUS_LINES | IO_LINES).map(b"\n".join)),
    COMMANDS,
    st.sampled_from([state for state in JobState if state.is_final]),
)
def test_any_results_are_read(content: dict[str, bytes], commands: list[str], state: JobState) -> None:
    made = result(JobStatus(JOB, state, state.value), content, commands)
    with contextlib.suppress(JobError):
        raise_for(JOB, made, plan_from(parse("::EXECUTE::\nx\n\n::INPUTFILES::\na b\n")).description)


@pytest.mark.parametrize(
    ("line", "commands"),
    [
        (b"unknown 3\n5\n", ["./fit"]),
        (b"5\n", ["./fit"]),
        (b"5\n", []),
        (b"./fit and more\n", ["./fit", *(f"./fit {number}" for number in range(2000))]),
        (b"./fit 0\n", ["./fit"] * 2000),
    ],
    ids=["orphans", "codes", "codes alone", "prefixes", "one command"],
)
def test_results_of_many_lines_take_no_square_of_time(line: bytes, commands: list[str]) -> None:
    report = parse_status(line * (MANY // 2), commands)
    assert report.reported
    assert parse_io_status(b"get_input_files 22\n" * MANY)[-1] == ("get_input_files", 22)


# -- mRSL

HAND_WRITTEN = (
    "# comment\n::EXECUTE::\necho \\#1 # x\n./fit 'a b'\n\n::INPUTFILES::\na.csv b/c.csv\nhttps://h/x y\n\n"
    "::OUTPUTFILES::\nout.txt aiomig_jobs/t/out/out.txt\n\n::CPUTIME::\n600\n\n::ENVIRONMENT::\nA=$'x\\\\x20y'\n\n"
    "::VGRID::\nGeneric\n"
)
PIECES = st.sampled_from(
    ["::EXECUTE::\n", "::", "\n\n", "#", "\\", "::INPUTFILES::\n", " ", "..", "/", "\0", "\ud800", "9" * 40, "\u2028"]
)


@st.composite
def descriptions(draw: st.DrawFn) -> str:
    text = HAND_WRITTEN
    for _ in range(draw(st.integers(0, 4))):
        at, length = draw(st.integers(0, len(text))), draw(st.integers(0, 20))
        text = text[:at] + draw(PIECES | st.text(max_size=5)) + text[at + length :]
    return text


@settings(UNHURRIED, max_examples=400)
@given(descriptions() | st.text())
def test_any_mrsl_is_read(text: str) -> None:
    with contextlib.suppress(aiomig.SpecError):
        assert parse(render(parse(text))) == parse(text)
    with contextlib.suppress(aiomig.SpecError):
        JobSpec.from_mrsl(text).mrsl_text()


@settings(UNHURRIED)
@given(descriptions())
def test_any_description_of_a_server_is_planned(text: str) -> None:
    with contextlib.suppress(MigError):
        plan = plan_from(parse("\n".join(escape(line) for line in text.splitlines())))
        for each in plan.outputs:
            assert not (each.destination or "").startswith("/")
            assert ".." not in (each.destination or "").split("/")


@pytest.mark.parametrize("text", ["x\n\n", "::X::\n\n", "::CPUTIME::\n1\n\n", "::EXECUTE::\n\0\n\n"])
def test_mrsl_of_many_faults_is_given_up(text: str) -> None:
    with pytest.raises(aiomig.SpecError) as caught:
        parse(text * MANY)
    assert len(caught.value.faults) <= MANY
    assert caught.value.faults[0].line


# -- configuration

CONF = (
    "migserver https://grid.example.org:446\ncertfile ~/.mig/cert.pem\nkeyfile $HOME/key.pem\n# comment\n"
    "cacertfile AUTO\nconnect_timeout 20 # s\nmax_time 3600\npassword a # b\nusername me\n"
)
CONF_PIECES = st.sampled_from(
    [
        "\n",
        " ",
        "#",
        "~",
        "~nobody",
        "$",
        "${",
        "\0",
        "\ud7ff",
        "[",
        "]",
        "@",
        ":",
        "1e999",
        "nan",
        "-1",
        "/dev/null",
        "\x85",
    ]
)


@settings(UNHURRIED, max_examples=300)
@given(data=st.data())
def test_any_configuration_is_read(data: st.DataObject, tmp_path: Path) -> None:
    text = CONF.replace("~/.mig", str(tmp_path)).replace("$HOME", str(tmp_path))
    for name in ("cert.pem", "key.pem"):
        (tmp_path / name).write_text("none")
    for _ in range(data.draw(st.integers(0, 3))):
        at, length = data.draw(st.integers(0, len(text))), data.draw(st.integers(0, 15))
        text = (
            text[:at] + data.draw(CONF_PIECES | st.text(st.characters(codec="utf-8"), max_size=4)) + text[at + length :]
        )
    body = data.draw(st.just(text.encode()) | broken(text.encode()))
    (tmp_path / "miguser.conf").write_bytes(body)
    (tmp_path / "miguser.conf").chmod(0o600)
    try:
        loaded = Config.load(tmp_path / "miguser.conf")
    except ConfigError as error:
        assert str(error)
        return
    with pytest.raises(ConfigError):
        loaded.ssl_context()


FIELD_VALUES = st.one_of(
    st.text(max_size=12), st.integers(), st.floats(), st.none(), st.booleans(), st.binary(max_size=4), st.just(10**5000)
)


@settings(UNHURRIED, max_examples=300)
@given(st.dictionaries(st.sampled_from(["url", "certificate", "key", "ca", "password", "timeout"]), FIELD_VALUES))
def test_any_field_is_taken_or_refused(fields: dict[str, Any]) -> None:
    with contextlib.suppress(ConfigError):
        Config(**{"url": "https://x", "certificate": "/no/c", "key": "/no/k", **fields})


@settings(UNHURRIED, max_examples=300)
@given(st.text(max_size=20).map("https://".__add__) | st.text())
def test_any_url_is_taken_or_refused(url: str) -> None:
    with contextlib.suppress(ConfigError):
        assert Config(url, certificate="c", key="k").url.startswith("https://")  # type: ignore[arg-type]


# -- certificates


@pytest.fixture(scope="module")
def pem(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return Authority(tmp_path_factory.mktemp("authority")).client(USER).certificate.read_bytes()


@settings(UNHURRIED, max_examples=400)
@given(data=st.data())
def test_any_certificate_is_read(data: st.DataObject, pem: bytes) -> None:
    der = ssl.PEM_cert_to_DER_cert(pem.decode())
    for content in (armored(data.draw(broken(der))), data.draw(broken(pem))):
        with contextlib.suppress(ValueError):
            for certificate in _read_chain(content):
                assert isinstance(certificate, _Certificate)
                assert certificate.not_before.tzinfo is not None


def armored(der: bytes) -> bytes:
    return ssl.DER_cert_to_PEM_cert(der).encode()


@given(st.binary())
def test_any_bytes_are_no_certificate(content: bytes) -> None:
    for pem in (content, armored(content)):
        with pytest.raises(ValueError, match="certificate"):
            _read_chain(pem)
