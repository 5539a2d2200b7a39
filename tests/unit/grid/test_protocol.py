"""Every recorded response of a real server, parsed by the parser of its operation."""

from __future__ import annotations

import contextlib
import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from aiomig._core.errors import (
    AuthenticationFailed,
    ConfigError,
    FileExists,
    FileNotFound,
    JobNotFound,
    MigError,
    PathRefused,
    ProtocolError,
    ServerError,
    SubmitRejected,
)
from aiomig._core.models import Attempt, Fault, JobState, JobStatus
from aiomig._core.paths import FileInfo
from aiomig._grid.protocol import answer as protocol
from aiomig._grid.protocol import files, jobs, site
from tests.unit.recordings import EXCHANGES, FOLDER, Exchange, Statuses, listing, objects, statuses

if TYPE_CHECKING:
    from collections.abc import Callable

    from aiomig._grid.protocol.answer import Answer


def nothing(answer: Answer, operation: str) -> None:
    """For operations whose response has no errors and nothing else to parse."""
    protocol.raise_for_errors(operation, answer)


def queue(answer: Answer, operation: str) -> Any:
    if protocol.of_type(answer, "list"):
        return site.names(answer, operation)
    return site.message(answer, operation)


PARSERS: dict[str, Callable[[Answer, str], Any]] = {
    "canceljob": jobs.changed,
    "cat": files.output_lines,
    "chksum": files.checksums,
    "editfile": jobs.submitted,
    "find": listing,
    "grep": files.output_lines,
    "head": files.output_lines,
    "jobaction": jobs.changed,
    "jobfeasible": jobs.feasible,
    "jobobjsubmit": jobs.submitted,
    "jobstatus": statuses,
    "liveio": jobs.raise_unless_live,
    "ls": listing,
    "mqueue": queue,
    "mrslview": jobs.mrsl_texts,
    "statpath": files.stats,
    "submit": jobs.submitted,
    "submitfields": jobs.submitted,
    "tail": files.output_lines,
    "textarea": jobs.submitted,
    "uploadchunked": files.uploads,
}


def replay(exchange: Exchange) -> Any:
    operation = exchange.operation
    if exchange.location:
        raise protocol.redirected(operation, exchange.location)
    answer = objects(operation, exchange.body, exchange.content_type, exchange.status)
    return PARSERS.get(operation, nothing)(answer, operation)


NOT_JSON = {
    "cat--*--file": "raw bytes: the file itself, which the transport streams",
    "head--*--file, tail--*--file, mqueue--*--file": "raw bytes, or nothing; aiomig asks for JSON",
    "cert_redirect": "raw bytes of Apache's own file access; the transport judges by the HTTP status",
    "put-patched, put-stock, rangefileaccess, rpc, upload": "interfaces that aiomig does not use",
    "*--txt, *--format--*": "aiomig asks for JSON; other formats must give a clear error",
    "csrf--matrix, csrf--modes, measure, timeline, tls": "tables, not exchanges: not copied",
}
"""Recordings that are not responses for these parsers, with the reason. All but those of the last row are replayed too:
any response must end in the right error."""

EXPECTED: dict[str, list[str]] = json.loads((FOLDER / "expected.json").read_text("utf-8"))
"""The outcome of each exchange: the exception and its message, or ``value`` and the beginning of its repr."""

EXIT_CODES: dict[str, int] = json.loads((FOLDER / "exit-codes.json").read_text("utf-8"))
"""The exit code of the server for the same request in txt format. JSON omits it."""

DISAGREE = {
    "auth--mkdir-cert-otheruser": "asked twice: the second time the directory existed",
    "cat--dst-post": "writes a file and gives no lines; aiomig does not use dst",
    "chksum--dir": "0, although the line says failed",
    "editfile--submit-bad": "0, although the description was refused",
    "jobfeasible--CANCELED": "0, although it was not looked at",
    "jobfeasible--EXECUTING": "0, although it was not looked at",
    "jobfeasible--unknown": "unknown jobs are left out",
    "liveio--get-QUEUED": "0 for every error of liveio",
    "liveio--send-EXECUTING-too-soon": "0 for every error of liveio",
    "liveio--send-FINISHED": "0 for every error of liveio",
    "liveio--send-QUEUED": "0 for every error of liveio",
    "liveio--unknown": "0 for every error of liveio",
    "mqueue--create-exists": "0 for every error of mqueue",
    "mqueue--receive-nosuch": "0 for every error of mqueue",
    "mqueue--remove-nosuch": "0 for every error of mqueue",
    "mqueue--send-nosuch": "0 for every error of mqueue",
    "rangefileaccess--get-missing-wsgi-bin": "no sign of the error in JSON; aiomig does not use it",
    "rangefileaccess--get-wsgi-bin": "no sign of the error in JSON; aiomig does not use it",
    "resubmit--unknown": "0, although there is no such job",
    "rm--iosessionid-unknown": "the file was removed, and gone the second time",
    "rmdir--missing": "0, although nothing was there",
    "rmdir--parents": "0, although nothing was there",
    "statpath--many": "missing paths are left out",
    "statpath--missing": "missing paths are left out",
    "statpath--outside": "missing paths are left out",
    "textarea--freetext": "0, although the description was refused",
    "textarea--submitmrsl-bad": "0, although the description was refused",
    "textarea--submitmrsl-two-one-bad": "0, although one description was refused",
    "textarea--upload-extract-notzip": "0, although it was not unpacked",
    "uploadchunked--delete-missing": "0 for every error of uploadchunked",
    "uploadchunked--move-missing": "0 for every error of uploadchunked",
    "uploadchunked--move-newdir": "0 for every error of uploadchunked",
    "uploadchunked--move-outside": "0 for every error of uploadchunked",
    "uploadchunked--put-range-wrong": "0 for every error of uploadchunked",
}
"""Exchanges whose exit code differs from the correct outcome (EXITCODE-VS-JSON.txt), with the reason."""


def ending(exchange: Exchange) -> list[str]:
    try:
        value = replay(exchange)
    except MigError as error:
        return [type(error).__name__, str(error)[:240]]
    return ["value", repr(value)[:600]]


@pytest.mark.parametrize("name", sorted(EXCHANGES))
def test_every_exchange(name: str) -> None:
    assert ending(EXCHANGES[name]) == EXPECTED[name]


def troubled(value: Any) -> bool:
    if isinstance(value, Statuses | files.Listing):
        return bool(value.missing)
    rows = value.values() if isinstance(value, dict) else value if isinstance(value, list | tuple) else ()
    return any(
        getattr(row, "error", None) or getattr(row, "message", "") or getattr(row, "changed", True) is False
        for row in rows
    )


@pytest.mark.parametrize("case", sorted(case for case in EXIT_CODES if f"{case}--json" in EXCHANGES))
def test_trouble_is_seen_where_the_exit_code_tells_of_it(case: str) -> None:
    try:
        bad = troubled(replay(EXCHANGES[f"{case}--json"]))
    except MigError:
        bad = True
    assert bad == ((EXIT_CODES[case] != 0) != (case in DISAGREE))


def answer(name: str) -> list[protocol.Object]:
    exchange = EXCHANGES[name]
    return objects(exchange.operation, exchange.body, exchange.content_type, exchange.status)


def at(hour: int, minute: int, second: int) -> datetime:
    return datetime(2026, 11, 23, hour, minute, second, tzinfo=UTC)


def test_status_of_a_failed_job() -> None:
    found, missing = statuses(answer("jobstatus--FAILED-v-retry1--json"))
    job = "172_11_23_2026__5_14_13_localhost.0"
    attempts = (
        Attempt(at(5, 14, 13), at(5, 17, 8), at(5, 19, 11), "JOB TIMEOUT"),
        Attempt(at(5, 19, 11), at(5, 19, 14), at(5, 21, 10), "JOB TIMEOUT"),
    )
    assert missing == ()
    assert found[job] == JobStatus(
        job_id=job,
        state=JobState.FAILED,
        native="FAILED",
        received_at=at(5, 14, 13),
        queued_at=at(5, 19, 11),
        executing_at=at(5, 19, 14),
        failed_at=at(5, 21, 10),
        attempts=attempts,
        resource="ee6f88c5f68e506ce379ef437c530fc0_exe2",
    )


def test_statuses_of_many_keep_order_and_tell_the_missing() -> None:
    found, missing = statuses(answer("jobstatus--bulk-one-unknown--json"))
    assert list(found) == sorted(found, key=lambda job: int(job.partition("_")[0]))
    assert len(found) > 1
    assert missing
    assert not set(missing) & set(found)


def test_status_tolerates_what_it_does_not_know() -> None:
    row: dict[str, Any] = {
        "object_type": "job",
        "job_id": "7_1",
        "status": "HIBERNATING",
        "queued_timestamp": "soon",
        "finished_timestamp": 17,
        "failed_timestamp": "Mon Feb 31 05:14:13 2026",
        "execution_histories": [
            None,
            {"execution_history": 3},
            {"execution_history": {"failed_message": "X"}},
        ],
        "new_field": [1],
        "schedule_hint": "GO",
    }
    status = statuses([{"object_type": "job_list", "jobs": [row]}]).found["7_1"]
    assert (status.state, status.native) == (JobState.UNKNOWN, "HIBERNATING")
    assert not status.state.is_final
    assert status.queued_at is status.finished_at is status.failed_at is None
    assert status.attempts == (Attempt(reason="X"),)
    assert status.schedule_hint == "GO"


@pytest.mark.parametrize("bad", ["", "..", ".", "a/b", "a b", "*", 3, None, "x" * 256, "ø"])
def test_no_odd_job_id_gets_through(bad: object) -> None:
    row = {"object_type": "job", "job_id": bad, "status": "QUEUED"}
    with pytest.raises(ProtocolError, match="the response has an invalid job id"):
        statuses([{"object_type": "job_list", "jobs": [row]}])


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Mon Nov 23 05:14:13 2026", at(5, 14, 13)),
        ("Mon Nov  2 05:14:13 2026", datetime(2026, 11, 2, 5, 14, 13, tzinfo=UTC)),
        ("Mon Nøv 23 05:14:13 2026", None),
        ("Mon Xxx 23 05:14:13 2026", None),
        ("Mon Nov 23 25:14:13 2026", None),
        ("", None),
        (None, None),
    ],
)
def test_timestamps(text: object, expected: datetime | None) -> None:
    assert jobs.timestamp(text) == expected


def test_type_errors_become_faults() -> None:
    (made,) = jobs.submitted(answer("submit--bad-bad-cputime--json"))
    assert isinstance(made.error, SubmitRejected)
    remedy = "give a value such as 60"
    assert made.error.faults == (
        Fault("CPUTIME", "abc", "invalid data value: found invalid character: 'a' (allowed: 0123456789)", remedy),
        Fault("CPUTIME", "abc", "requires an integer", remedy),
    )
    assert made.error.messages[1] == "CPUTIME: requires an integer (you supplied: abc)"


def test_keyword_errors_become_faults() -> None:
    error = jobs.rejected("parse failed, Error in mRSL file - or parser -\nor subsystem :)\nunknown keyword: NOSUCHKEY")
    assert error.messages == ("unknown keyword: NOSUCHKEY",)
    assert [fault.field for fault in error.faults] == ["NOSUCHKEY"]
    assert str(jobs.rejected("")) == "the description was refused without a reason"


def test_jobs_made_are_not_lost_over_errors() -> None:
    mixed = [*answer("textarea--submitmrsl--json"), {"object_type": "error_text", "text": "disk on fire"}]
    made = jobs.submitted(mixed, "textarea")
    assert made[0].job_id == "64_11_23_2026__5_5_47_localhost.0"
    assert made[1].name == ""
    assert str(made[1].error) == "textarea: disk on fire"


def test_action_on_known_and_unknown_jobs() -> None:
    mixed = [*answer("jobaction--cancel-two--json"), *answer("jobaction--unknown-id--json")]
    outcomes = list(jobs.changed(mixed).values())
    assert [(each.before, each.after) for each in outcomes] == [
        (None, None),
        (JobState.QUEUED, JobState.CANCELED),
        (JobState.CANCELED, None),
    ]
    assert "You can only cancel jobs with status" in outcomes[2].message


def test_feasibility() -> None:
    # From the recorded run arch-wrong.
    row = {
        "object_type": "checkcondjob",
        "job_id": "728_11_23_2026__5_54_35_localhost.0",
        "verdict": "The job is not feasible due to the following condition(s):",
        "color": "RED",
        "icon": "/images/icons/red.png",
        "error_desc": {"RESOURCE": "No valid/allowed resources available."},
    }
    (found,) = jobs.feasible([{"object_type": "checkcondjobs", "checkcondjobs": [row]}]).values()
    assert found.color == "RED"
    assert found.reasons == (("RESOURCE", "No valid/allowed resources available."),)


def test_listing_with_sizes() -> None:
    found = listing(answer("ls--dir-all-fileinfo-long--json")).entries
    assert found[0] == FileInfo(".davs", ".davs", True, 0, datetime(2026, 11, 23, 4, 35, 2, 23085, tzinfo=UTC))
    assert not {".", "..", ""} & {each.path for each in found}
    (one,) = listing(answer("ls--one-file--json")).entries
    assert (one.path, one.size, one.is_dir) == ("rec/a-json.txt", 54, False)


@pytest.mark.parametrize("path", ["../x", "/etc/passwd", "a//b", "a/../../b", "a/", "\0"])
def test_listing_gives_no_path_outside(path: str) -> None:
    row = {"object_type": "direntry", "type": "file", "name": "x", "rel_path": path}
    listed = [{"object_type": "dir_listings", "dir_listings": [{"entries": [row]}]}]
    with pytest.raises(PathRefused):
        listing(listed)


def test_listing_leaves_out_what_nobody_may_use() -> None:
    rows = [{"type": "directory", "name": name, "rel_path": name} for name in (".", "..", ".trash", ".aiomig", "a")]
    listed = [{"object_type": "dir_listings", "dir_listings": [{"entries": rows}]}]
    assert [each.path for each in listing(listed).entries] == ["a"]


def test_stat_reads_the_repeated_list_once() -> None:
    assert len(files.stats(answer("statpath--wildcard--json"))[0]) == 2
    assert files.stats(answer("statpath--missing--json")) == ([], frozenset({"rec/missing.txt"}))
    found, missing = files.stats(answer("statpath--many--json"))
    assert [stat.path for stat in found] == [""]  # no flag v
    assert missing == {"nosuch"}


def test_short_checksum_is_refused() -> None:
    partly = [{"object_type": "file_output", "lines": [f"{'a' * 32} big.dat (of first 33554432 bytes)\n"]}]
    with pytest.raises(ServerError, match="of first"):
        files.checksums(partly)


def test_queues() -> None:
    listed = [{"object_type": "list", "list": ["1795413500"]}, {"object_type": "file_output", "lines": []}]
    assert site.names(listed) == ("1795413500",)
    assert site.message([{"object_type": "file_output", "lines": ["NO MESSAGES"]}]) is None
    named = [{"object_type": "file_output", "lines": ["NO MESSAGES"], "path": "1"}]
    assert site.message(named) == site.Message("1", "NO MESSAGES")


def test_documented_keywords() -> None:
    page: list[protocol.Object] = [
        {"object_type": "sectionheader", "text": "Job description: mRSL"},
        {"object_type": "text", "text": "Introduction"},
        {"object_type": "sectionheader", "text": "ARCHITECTURE"},
        {
            "object_type": "list",
            "list": [
                "CPU architecture",
                "Example: X86<br/><br/>This server supports the following values:<br/>X86, AMD64<br/>",
            ],
        },
        {"object_type": "sectionheader", "text": "CPUTIME"},
        {"object_type": "list", "list": ["Seconds"]},
    ]
    found = site.keywords(page)
    assert found["ARCHITECTURE"].values == ("X86", "AMD64")
    assert found["CPUTIME"] == site.Keyword("CPUTIME", ("Seconds",))
    assert set(found) == {"ARCHITECTURE", "CPUTIME"}
    with pytest.raises(ProtocolError, match="no keyword"):
        site.keywords([])


def test_tokens() -> None:
    exchange = EXCHANGES["csrf--tokens-from-jobman"]
    page = objects("jobman", exchange.body, exchange.content_type, keep_noise=True)
    tokens = protocol.csrf_tokens(page)
    assert len(tokens) == 78
    assert tokens["chksum"] == "b9614cf5e1fc1d3b131accaee97699bc1934a399196461a0651f5cf95a9a39fc"
    with pytest.raises(ProtocolError, match="no tokens"):
        protocol.csrf_tokens(answer("csrf--tokens-from-jobman"))


def test_tokens_are_not_shown() -> None:
    token = "0123456789abcdef" * 4
    with pytest.raises(ProtocolError) as caught:
        protocol.raise_for_errors(
            "ls", [{"object_type": "x", "rm_url_template": f"rm.py?_csrf={token}"}], "dir_listings"
        )
    assert "_csrf" in caught.value.excerpt
    assert token not in f"{caught.value} {caught.value.excerpt}"


@pytest.mark.parametrize(
    "name",
    [each for each, (kind, text) in EXPECTED.items() if "Only accepting CSRF" in text and each.endswith("--json")],
)
def test_csrf_refusals(name: str) -> None:
    assert protocol.csrf_refused(answer(name))


def test_other_refusals_are_no_csrf() -> None:
    assert not protocol.csrf_refused(answer("mkdir--exists--json"))


def test_errors_of_paths() -> None:
    with pytest.raises(FileExists) as exists:
        protocol.raise_for_errors("mkdir", answer("mkdir--exists--json"))
    assert exists.value.path == "rec/new-json"
    with pytest.raises(FileNotFound) as missing:
        protocol.raise_for_errors("mv", answer("mv--missing--json"))
    assert missing.value.path == "rec/missing"
    with pytest.raises(PathRefused) as refused:
        protocol.raise_for_errors("ls", answer("ls--bracket-escaped--json"))
    assert refused.value.path == "rec/a[[]1]+b,c&d-json.txt"
    with pytest.raises(JobNotFound) as unknown:
        protocol.raise_for_errors("liveio", answer("liveio--unknown--json"))
    assert unknown.value.job_id == "nosuch"


DEEP = b"[" * 100_000 + b"]" * 100_000


@pytest.mark.parametrize(
    ("body", "status", "kind", "words"),
    [
        (b"", 200, ProtocolError, "nothing"),
        (b"{}", 200, ProtocolError, "not a list of objects"),
        (b"[1]", 200, ProtocolError, "not a list of objects"),
        (b"null", 200, ProtocolError, "not a list of objects"),
        (b'[{"object_type": "st', 200, ProtocolError, "not the JSON"),
        (b"\xff\xfe", 200, ProtocolError, "not the JSON"),
        (b"[" + b"9" * 5000 + b"]", 200, ProtocolError, "not the JSON"),
        (DEEP, 200, ProtocolError, "nested too deeply"),
        (b"<html><title>502 Bad Gateway</title>", 502, ServerError, "502 Bad Gateway"),
        (b"", 503, ServerError, "HTTP 503"),
        (b'[{"object_type": "error_text", "text": "oh"}]', 500, ServerError, "oh"),
        (b"[]", 500, ServerError, "HTTP 500"),
        (b"<title>401 Unauthorized</title>", 401, AuthenticationFailed, "401 Unauthorized"),
        (b"", 302, ConfigError, "certificate host"),
        (
            b'[{"object_type": "text", "text": "Job execution is not enabled on this system"}]',
            200,
            ServerError,
            "Job execution is not enabled",
        ),
        (
            b'[{"object_type": "error_text", "text": "Invalid or missing user credentials"}]',
            200,
            AuthenticationFailed,
            "no certificate reached the server",
        ),
    ],
    ids=lambda value: repr(value)[:30],
)
def test_answers_that_are_none(body: bytes, status: int, kind: type[MigError], words: str) -> None:
    with pytest.raises(kind, match=words):
        objects("jobstatus", body, "text/html", status)


def test_redirect_names_the_place_without_its_query() -> None:
    error = protocol.redirected("ls", "https://login.example.org/openid?token=secret")
    assert "login.example.org" in str(error)
    assert "secret" not in str(error)
    assert error.field == "url"


ODD = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-5, 2**70),
    st.floats(),
    st.text(max_size=8),
    st.just([]),
    st.just({}),
    st.just([None]),
    st.just([{}]),
)
ANSWERS = sorted(
    name
    for name, each in EXCHANGES.items()
    if name.endswith("--json") and each.body.startswith(b"[") and len(each.body) < 8000
)


def mutate(value: Any, data: st.DataObject) -> Any:
    """Return a copy in which one value is replaced or missing."""
    keys = list(value) if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()
    if not keys or data.draw(st.integers(0, 3)) == 0:
        return data.draw(ODD)
    key = data.draw(st.sampled_from(list(keys)))
    copy = value.copy()
    if data.draw(st.integers(0, 5)) == 0:
        del copy[key]
    else:
        copy[key] = mutate(value[key], data)
    return copy


@settings(suppress_health_check=[HealthCheck.too_slow], max_examples=400, deadline=None)
@given(st.data())
def test_mutated_answers_raise_nothing_else(data: st.DataObject) -> None:
    exchange = EXCHANGES[data.draw(st.sampled_from(ANSWERS))]
    body = json.loads(exchange.body)
    for _ in range(data.draw(st.integers(1, 3))):
        body = mutate(body, data)
    text = json.dumps(body)
    if data.draw(st.integers(0, 9)) == 0:
        text = text[: data.draw(st.integers(0, len(text)))]
    any_parser = data.draw(st.sampled_from(list(PARSERS.values())))
    for parser in (PARSERS.get(exchange.operation, nothing), any_parser):
        with contextlib.suppress(MigError):
            parser(objects(exchange.operation, text.encode()), exchange.operation)


@given(st.binary(max_size=200), st.sampled_from([200, 302, 403, 404, 500]))
def test_any_bytes_raise_nothing_else(body: bytes, status: int) -> None:
    with contextlib.suppress(MigError):
        objects("ls", body, "text/html", status)
