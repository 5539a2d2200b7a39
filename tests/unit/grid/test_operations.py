"""Operations on a scripted server: programs, tokens, retries, redirects, nonsensical responses, the log."""

from __future__ import annotations

import json
import logging
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs

import anyio
import httpx
import pytest

from aiomig import AuthenticationFailed, Config, ConnectionFailed, NoSession, ProtocolError, ServerError
from aiomig._grid.http import HttpClient
from aiomig._grid.operations import OperationClient
from tests.clocks import anyio_backend

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

__all__ = ["anyio_backend"]

TOKEN = "ab" * 32
NEW_TOKEN = "cd" * 32
SECRET = "the-passphrase"
REFUSED = [{"object_type": "error_text", "text": "Only accepting\nCSRF-filtered POST requests to prevent unintended"}]
CRASHED = [{"object_type": "error_text", "text": "A critical internal error occurred in the ls backend. error ID 1."}]


def answer(*objects: dict[str, Any], status: int = 200, **headers: str) -> httpx.Response:
    return httpx.Response(status, json=list(objects), headers=headers)


def page(token: str = TOKEN) -> httpx.Response:
    return answer({"object_type": "title", "script": {"init": f'csrf_map["mkdir"] = "{token}";'}})


FINE = {"object_type": "text", "text": "fine"}


class Server:
    """Gives the responses of a script, by operation, and repeats the last one. Records requests and their times."""

    def __init__(self, **script: list[httpx.Response | Exception]) -> None:
        self.script: dict[str, list[httpx.Response | Exception]] = {"jobman": [page()], **script}
        self.requests: list[httpx.Request] = []
        self.times: list[float] = []

    async def __call__(self, request: httpx.Request) -> httpx.Response:
        await request.aread()
        self.requests.append(request)
        self.times.append(anyio.current_time())
        await anyio.lowlevel.checkpoint()
        operation = request.url.path.rpartition("/")[2].removesuffix(".py")
        answers = self.script[operation]
        given = answers.pop(0) if len(answers) > 1 else answers[0]
        if isinstance(given, Exception):
            raise given
        return httpx.Response(given.status_code, headers=given.headers, content=given.content)

    @property
    def paths(self) -> list[str]:
        return [request.url.path for request in self.requests]

    def tokens(self) -> list[str]:
        return [
            parse_qs(request.content.decode()).get("_csrf", ["none"])[0]
            for request in self.requests
            if not request.url.path.endswith(("jobman.py", "fileman.py"))
        ]

    def pauses(self) -> list[float]:
        return [after - before for before, after in zip(self.times, self.times[1:], strict=False)]


@asynccontextmanager
async def linked(handler: Callable[[httpx.Request], Any]) -> AsyncIterator[OperationClient]:
    config = Config("https://grid.example.org:446", certificate="c.pem", key="k.pem", password=SECRET)  # type: ignore[arg-type]
    client = HttpClient(config, "1.2.3", httpx.MockTransport(handler))
    await client.open()
    try:
        yield OperationClient(client)
    finally:
        await client.close()


@pytest.fixture(autouse=True)
def no_jitter(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("random.uniform", lambda low, high: high)


# -- what is sent


async def test_a_request_says_who_asks_and_wants_json() -> None:
    server = Server(ls=[answer(FINE)])
    async with linked(server) as operations:
        assert await operations.query("ls", [("path", "a&b;c=d"), ("path", "æ +%")]) == [FINE]
    (request,) = server.requests
    assert str(request.url) == "https://grid.example.org:446/wsgi-bin/ls.py"
    assert request.method == "POST"
    assert request.headers["user-agent"].startswith("aiomig/1.2.3 (httpx ")
    assert request.headers["accept-encoding"] == "identity"
    assert "transfer-encoding" not in request.headers
    assert parse_qs(request.content.decode()) == {"output_format": ["json"], "path": ["a&b;c=d", "æ +%"]}


@pytest.mark.parametrize("missing", [httpx.Response(404), httpx.Response(500, text="500 ERROR")])
async def test_cgi_bin_is_found_once(missing: httpx.Response) -> None:
    def handler(request: httpx.Request) -> httpx.Response:
        server.append(request.url.path)
        return missing if request.url.path.startswith("/wsgi-bin") else answer(FINE)

    server: list[str] = []
    async with linked(handler) as operations:
        for _ in range(3):
            await operations.query("ls")
    assert server == ["/wsgi-bin/ls.py", "/cgi-bin/ls.py", "/cgi-bin/ls.py", "/cgi-bin/ls.py"]


async def test_wsgi_bin_is_kept_where_it_works_though_an_operation_is_missing_later() -> None:
    server = Server(ls=[answer(FINE)], stat=[httpx.Response(404, text="<title>404 Not Found</title>")])
    async with linked(server) as operations:
        await operations.query("ls")
        with pytest.raises(ServerError, match=r"stat: 404 Not Found"):
            await operations.query("stat")
    assert server.paths == ["/wsgi-bin/ls.py", "/wsgi-bin/stat.py"]


async def test_a_passing_failure_does_not_move_a_session_to_slow_cgi_bin() -> None:
    server = Server(ls=[httpx.Response(500, text="<title>500 Internal Server Error</title>"), answer(FINE)])
    async with linked(server) as operations:
        await operations.query("ls")
        await operations.query("ls")
    assert set(server.paths) == {"/wsgi-bin/ls.py"}


async def test_live_output_goes_by_cgi_bin() -> None:
    server = Server(liveio=[answer(FINE)], ls=[answer(FINE)])
    async with linked(server) as operations:
        await operations.query("ls")
        await operations.execute("liveio")
        await operations.query("ls")
    assert server.paths[-2:] == ["/cgi-bin/liveio.py", "/wsgi-bin/ls.py"]


# -- tokens


async def test_tokens_are_fetched_once_for_many_changes_and_always_sent() -> None:
    server = Server(mkdir=[answer(FINE)])
    async with linked(server) as operations:
        await operations.query("mkdir")
        assert server.paths == ["/wsgi-bin/mkdir.py"]  # reading needs no token
        async with anyio.create_task_group() as group:
            for _ in range(20):
                group.start_soon(operations.execute, "mkdir")
    assert server.paths.count("/wsgi-bin/jobman.py") == 1
    assert server.tokens() == ["none", *[TOKEN] * 20]


async def test_a_refused_token_is_renewed_once_and_the_change_sent_again() -> None:
    server = Server(jobman=[page(), page(NEW_TOKEN)], mkdir=[answer(FINE), answer(*REFUSED), answer(FINE)])
    async with linked(server) as operations:
        await operations.execute("mkdir")
        assert await operations.execute("mkdir") == [FINE]
    assert server.tokens() == [TOKEN, TOKEN, NEW_TOKEN]
    assert server.paths.count("/wsgi-bin/jobman.py") == 2


async def test_many_refused_at_once_renew_together() -> None:
    def handler(request: httpx.Request) -> httpx.Response:
        if request.url.path.endswith("jobman.py"):
            pages.append(request)
            return page(TOKEN if len(pages) == 1 else NEW_TOKEN)
        return answer(FINE) if NEW_TOKEN in request.content.decode() else answer(*REFUSED)

    pages: list[httpx.Request] = []
    async with linked(handler) as operations, anyio.create_task_group() as group:
        for _ in range(20):
            group.start_soon(operations.execute, "mkdir")
    assert len(pages) == 2


async def test_a_token_that_stays_refused_is_sent_twice_and_no_more() -> None:
    server = Server(mkdir=[answer(*REFUSED)])
    async with linked(server) as operations:
        found = await operations.execute("mkdir", repeatable=True)
    assert len(server.tokens()) == 2
    assert "CSRF" in str(found[0]["text"])


async def test_tokens_come_from_the_file_manager_where_jobs_are_switched_off() -> None:
    off = {"object_type": "error_text", "text": "Job execution is not enabled on this system"}
    server = Server(jobman=[answer(off)], fileman=[page()], mkdir=[answer(FINE)])
    async with linked(server) as operations:
        await operations.execute("mkdir")
    assert server.tokens() == [TOKEN]


@pytest.mark.parametrize("broken", [answer(*CRASHED), httpx.Response(500), answer(FINE)])
async def test_tokens_come_from_the_file_manager_where_the_other_page_is_broken(broken: httpx.Response) -> None:
    server = Server(jobman=[broken], fileman=[page()], mkdir=[answer(FINE)])
    async with linked(server) as operations:
        await operations.execute("mkdir")
    assert server.tokens() == [TOKEN]


async def test_an_operation_without_a_token_does_not_fetch_them_for_each_request() -> None:
    server = Server(canceljob=[answer(FINE)])
    async with linked(server) as operations:
        for _ in range(3):
            await operations.execute("canceljob")
    assert server.paths.count("/wsgi-bin/jobman.py") == 1
    assert server.tokens() == ["none"] * 3  # MiG drops empty fields


async def test_a_change_whose_tokens_cannot_be_had_was_not_sent() -> None:
    server = Server(jobman=[httpx.ReadError("gone")], mkdir=[answer(FINE)])
    async with linked(server) as operations:
        with pytest.raises(ConnectionFailed) as caught:
            await operations.execute("mkdir")
    assert caught.value.sent is False
    assert set(server.paths) == {"/wsgi-bin/jobman.py"}


async def test_prepare_fetches_tokens_beforehand() -> None:
    server = Server(mkdir=[answer(FINE)])
    async with linked(server) as operations:
        await operations.prepare("mkdir")
        assert server.paths == ["/wsgi-bin/jobman.py"]
        await operations.execute("mkdir")
    assert len(server.paths) == 2


# -- repetitions


@pytest.mark.parametrize(
    "failure",
    [
        httpx.ReadError("reset"),
        httpx.RemoteProtocolError("Server disconnected without sending a response."),
        httpx.ReadTimeout(""),
        httpx.ConnectError("refused"),
        httpx.Response(500, text="<html><title>500 Internal Server Error</title></html>"),
        httpx.Response(502),
        httpx.Response(503),
        httpx.Response(429),
        httpx.Response(200, text="<html>It works!</html>", headers={"Content-Type": "text/html"}),
        httpx.Response(200, text='[{"object_type": "te'),
        httpx.Response(200, text=""),
        answer(*CRASHED),
    ],
)
async def test_reads_are_tried_again(failure: httpx.Response | Exception) -> None:
    server = Server(ls=[failure, failure, failure, failure, answer(FINE)])
    async with linked(server) as operations:
        assert await operations.query("ls") == [FINE]
    assert server.pauses() == pytest.approx([0.5, 1.0, 2.0, 4.0])


async def test_reads_give_up_after_five() -> None:
    server = Server(ls=[httpx.ReadError("reset by peer")])
    async with linked(server) as operations:
        with pytest.raises(ConnectionFailed, match=r"https://grid\.example\.org:446 broke: reset by peer"):
            await operations.query("ls")
    assert len(server.requests) == 5


@pytest.mark.parametrize(
    ("failure", "error", "words"),
    [
        (httpx.Response(503, text="<title>503 Service Unavailable</title>"), ServerError, "503 Service Unavailable"),
        (httpx.Response(500), ServerError, "ls: HTTP 500"),
        (answer(*CRASHED), ServerError, "critical internal error .* error ID"),
        (
            httpx.Response(200, text="<html>Welcome</html>", headers={"Content-Type": "text/html"}),
            ProtocolError,
            "ls: the server answered text/html, not the JSON that was asked for: '<html>Welcome",
        ),
        (httpx.Response(200, text='[{"object'), ProtocolError, r"not the JSON"),
        (httpx.Response(200, text="{}"), ProtocolError, r"not a list of objects"),
        (httpx.Response(200), ProtocolError, r"the server answered nothing"),
    ],
)
async def test_what_is_said_in_the_end(failure: httpx.Response, error: type[Exception], words: str) -> None:
    server = Server(ls=[failure])
    async with linked(server) as operations:
        with pytest.raises(error, match=words):
            await operations.query("ls")


async def test_retry_after_in_seconds_and_as_a_date() -> None:
    server = Server(
        ls=[
            httpx.Response(503, headers={"Retry-After": "7"}),
            httpx.Response(
                503,
                headers={"Date": "Wed, 21 Oct 2015 07:28:00 GMT", "Retry-After": "Wed, 21 Oct 2015 07:28:42 GMT"},
            ),
            httpx.Response(503, headers={"Retry-After": "1"}),
            httpx.Response(503, headers={"Retry-After": "nonsense"}),
            answer(FINE),
        ]
    )
    async with linked(server) as operations:
        await operations.query("ls")
    assert server.pauses() == pytest.approx([7, 42, 2, 4])


@pytest.mark.parametrize(
    "failure",
    [httpx.ReadError("reset"), httpx.Response(503), httpx.Response(200, text="<html>"), answer(*CRASHED)],
)
async def test_a_change_is_sent_once(failure: httpx.Response | Exception) -> None:
    server = Server(mkdir=[failure, answer(FINE)])
    async with linked(server) as operations:
        with pytest.raises((ConnectionFailed, ServerError, ProtocolError)):
            await operations.execute("mkdir")
    assert server.paths.count("/wsgi-bin/mkdir.py") == 1


async def test_a_repeatable_change_is_sent_again() -> None:
    server = Server(mkdir=[httpx.ReadError("reset"), httpx.Response(503), answer(FINE)])
    async with linked(server) as operations:
        assert await operations.execute("mkdir", repeatable=True) == [FINE]
    assert server.pauses()[1:] == pytest.approx([0.5, 1.0])


@pytest.mark.parametrize("text", ["Could not load backend: ls", "Job execution is not enabled on this system"])
async def test_what_is_switched_off_is_not_asked_for_again(text: str) -> None:
    server = Server(ls=[answer({"object_type": "error_text", "text": text})])
    async with linked(server) as operations:
        with pytest.raises(ServerError, match=f"ls: {text}"):
            await operations.query("ls")
    assert len(server.requests) == 1


async def test_a_refusal_is_for_the_caller_to_read() -> None:
    refusal = {"object_type": "error_text", "text": "input parsing error: path: x: y"}
    server = Server(ls=[answer(refusal)])
    async with linked(server) as operations:
        assert await operations.query("ls") == [refusal]
    assert len(server.requests) == 1


async def test_cancelling_a_pause_ends_it() -> None:
    server = Server(ls=[httpx.ReadError("reset")])
    async with linked(server) as operations:
        with anyio.move_on_after(0.7):
            await operations.query("ls")
        assert anyio.current_time() - server.times[0] == pytest.approx(0.7)
    assert len(server.requests) == 2


# -- who is asked


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_redirect_is_not_followed_and_says_what_to_do(status: int) -> None:
    location = "https://oid.example.org/login?secret=1"
    server = Server(ls=[httpx.Response(status, headers={"Location": location})])
    async with linked(server) as operations:
        with pytest.raises(AuthenticationFailed) as caught:
            await operations.query("ls")
        with pytest.raises(AuthenticationFailed):
            await operations.execute("ls")
    said = str(caught.value)
    assert "redirects to 'https://oid.example.org/login'" in said
    assert "certificate host" in said
    assert "migserver in miguser.conf" in said
    assert "secret" not in said
    assert not any("oid.example.org" in str(request.url) for request in server.requests)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("No such user (/C=DK/CN=Someone)", "/C=DK/CN=Someone.*sign up"),
        ("Authentication is missing!", "URL of the certificate host"),
    ],
)
async def test_an_unknown_user_is_told_at_once(text: str, words: str) -> None:
    server = Server(ls=[answer({"object_type": "error_text", "text": text})])
    async with linked(server) as operations:
        with pytest.raises(AuthenticationFailed, match=words):
            await operations.query("ls")
    assert len(server.requests) == 1


async def test_a_closed_session_says_so() -> None:
    async with linked(Server(ls=[answer(FINE)])) as operations:
        pass
    with pytest.raises(NoSession, match="not open"):
        await operations.query("ls")


# -- files


async def test_fetch_asks_for_a_part_and_quotes_the_path() -> None:
    def handler(request: httpx.Request) -> httpx.Response:
        requests.append(request)
        return httpx.Response(206, content=b"abc", headers={"ETag": '"1"', "Content-Range": "bytes 2-4/9"})

    requests: list[httpx.Request] = []
    async with linked(handler) as operations:
        reply = await operations.fetch("a b/æ#?%41\udce5.txt", first=2, last=4, etag='"1"')
    assert reply.body == b"abc"
    assert requests[0].url.raw_path == b"/cert_redirect/a%20b/%C3%A6%23%3F%2541%E5.txt"
    assert requests[0].headers["range"] == "bytes=2-4"
    assert requests[0].headers["if-range"] == '"1"'


async def test_a_page_is_not_taken_for_a_file() -> None:
    html = {"Content-Type": "text/html"}
    server = Server(file=[httpx.Response(200, text="<html>It works!</html>", headers=html)])
    async with linked(server) as operations:
        with pytest.raises(ProtocolError, match=r"file: the server answered text/html, not the file: '<html>It works"):
            await operations.fetch("file", first=0, last=9)
    assert len(server.requests) == 5


async def test_a_login_page_in_place_of_a_file() -> None:
    server = Server(file=[httpx.Response(302, headers={"Location": "https://oid.example.org/"})])
    async with linked(server) as operations:
        with pytest.raises(AuthenticationFailed, match="certificate host"):
            await operations.fetch("file", first=0, last=9)


async def test_an_answer_that_says_that_it_is_too_long_is_not_read() -> None:
    async def body() -> AsyncIterator[bytes]:
        raise AssertionError("it was read")
        yield b""

    headers = {"ETag": '"1"', "Content-Length": str(1 << 40)}
    async with linked(lambda request: httpx.Response(200, content=body(), headers=headers)) as operations:
        with pytest.raises(ProtocolError, match=r"GET /cert_redirect/file: the response is longer than"):
            await operations.fetch("file", first=0, last=9)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # of generators in httpx, on trio
async def test_an_answer_without_end_is_not_read() -> None:
    async def endless() -> AsyncIterator[bytes]:
        while True:
            pieces.append(1)
            yield bytes(1 << 20)

    pieces: list[int] = []
    async with linked(lambda request: httpx.Response(200, content=endless(), headers={"ETag": '"1"'})) as operations:
        with pytest.raises(ProtocolError, match=r"GET /cert_redirect/file: the response is longer than"):
            await operations.fetch("file", first=0, last=9)
        assert len(pieces) < 5
        pieces.clear()
        with pytest.raises(ProtocolError, match=r"POST /wsgi-bin/ls\.py: the response is longer than"):
            await operations.query("ls")
        assert len(pieces) < 70


# -- the log


async def test_log_lines_share_an_id_and_hold_no_secret(caplog: pytest.LogCaptureFixture) -> None:
    server = Server(mkdir=[httpx.ReadError("reset"), answer(FINE)], ls=[answer(FINE)])
    with caplog.at_level(logging.DEBUG, "aiomig"):
        async with linked(server) as operations:
            await operations.execute("mkdir", [("path", "x")], repeatable=True)
            await operations.query("ls")
    records = [record for record in caplog.records if record.name.startswith("aiomig")]
    marks = [record.__dict__["correlation_id"] for record in records]
    # tokens, the failure, the pause, the retry; then the other operation
    assert len(records) == 5
    assert len(set(marks[:4])) == 1
    assert marks[4] != marks[0]
    assert "mkdir.py: https://grid.example.org:446" not in records[0].getMessage()
    assert [record.__dict__.get("status") for record in records] == [200, None, None, 200, 200]
    for record in records:
        said = record.getMessage() + json.dumps({key: str(value) for key, value in record.__dict__.items()})
        assert TOKEN not in said
        assert SECRET not in said
        assert record.__dict__["correlation_id"] in record.getMessage()


async def test_at_most_eight_requests_at_once() -> None:
    async def handler(request: httpx.Request) -> httpx.Response:
        running.append(request)
        most.append(len(running))
        await anyio.sleep(1)
        running.remove(request)
        return answer(FINE)

    running: list[httpx.Request] = []
    most: list[int] = []
    began = anyio.current_time()
    async with linked(handler) as operations, anyio.create_task_group() as group:
        for _ in range(20):
            group.start_soon(operations.query, "ls")
    assert max(most) == 8
    assert anyio.current_time() - began == pytest.approx(3)
