"""Hostile servers, homes and archives: refused or limited, with the right error and without effects."""

from __future__ import annotations

import bz2
import gzip
import io
import json
import os
import stat
import tarfile
import zipfile
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import anyio
import httpx
import pytest

import aiomig
from aiomig import (
    AuthenticationFailed,
    ConnectionFailed,
    FileExists,
    FileNotFound,
    Files,
    JobNotFound,
    LocalError,
    MigError,
    PathRefused,
    ProtocolError,
    RequestLimits,
    ResultsMissing,
)
from aiomig._grid.job_finder import plan_from
from aiomig._local import archives
from aiomig._local.home import LocalHome
from aiomig._spec.mrsl import parse
from aiomig._spec.plan import output_names
from tests.clocks import anyio_backend  # noqa: F401  # the fixture
from tests.unit.recordings import EXCHANGES

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from aiomig import Session

JOB = "7_11_23_2026__5_4_49_localhost.0"
NOBODY = {"object_type": "error_text", "text": "0-aiomig: You do not have any matching job IDs!"}
OUTSIDE = ["../x", "../../etc/cron.d/x", "/etc/passwd", "a/../../x", "a//b", "./x", "a\0b", "a/"]
TOKENS = httpx.Response(200, content=EXCHANGES["csrf--tokens-from-jobman"].body)


class Server:
    """Gives the responses that a test sets, and records the requests."""

    def __init__(self) -> None:
        self.answers: dict[str, Callable[[httpx.Request], httpx.Response]] = {}
        self.requests: list[httpx.Request] = []

    def says(self, operation: str, *objects: dict[str, Any]) -> None:
        self.answers[operation] = lambda request: httpx.Response(200, json=list(objects))

    def lists(self, *rows: dict[str, Any]) -> None:
        self.says("ls", {"object_type": "dir_listings", "dir_listings": [{"entries": list(rows)}]})

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        path = request.url.path
        operation = "cert_redirect" if "cert_redirect" in path else path.rpartition("/")[2].removesuffix(".py")
        if operation in self.answers:
            return self.answers[operation](request)
        if operation == "jobman":
            return httpx.Response(200, content=TOKENS.content)
        return httpx.Response(200, json=[NOBODY])


@asynccontextmanager
async def opened(server: Server, **fields: Any) -> AsyncIterator[Session]:
    transport = httpx.MockTransport(server)
    async with aiomig.grid(
        url="https://grid.example.org", certificate="c", key="k", transport=transport, **fields
    ) as session:
        yield session


@pytest.fixture
def server() -> Server:
    return Server()


@pytest.fixture
def limits() -> RequestLimits:
    return RequestLimits()


@pytest.fixture
async def mig(server: Server, limits: RequestLimits) -> AsyncIterator[Session]:
    async with opened(server, request_limits=limits) as session:
        yield session


def entry(path: str, kind: str = "file") -> dict[str, Any]:
    return {"object_type": "direntry", "type": kind, "name": os.path.basename(path) or "x", "rel_path": path}


def everything(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*")}


# -- what a server says of paths


@pytest.mark.parametrize("path", OUTSIDE)
async def test_a_listing_that_leads_out_writes_nothing(server: Server, mig: Session, tmp_path: Path, path: str) -> None:
    server.says("statpath", {"object_type": "stats", "stats": [{"mode": stat.S_IFDIR | 0o755, "size": 0}]})
    server.lists(entry("d/ok.txt"), entry(path))
    with pytest.raises(PathRefused):
        await mig.files.get("d", tmp_path / "here" / "d")
    with pytest.raises(PathRefused):
        await mig.files.ls("d")
    assert everything(tmp_path) == set()


async def test_a_listing_of_another_folder_writes_nothing(server: Server, mig: Session, tmp_path: Path) -> None:
    server.says("statpath", {"object_type": "stats", "stats": [{"mode": stat.S_IFDIR | 0o755, "size": 0}]})
    server.lists(entry("elsewhere/x"))
    with pytest.raises(PathRefused, match="a path outside it"):
        await mig.files.get("d", tmp_path / "d")
    assert everything(tmp_path) == set()


@pytest.mark.parametrize("exists", [False, True])
async def test_a_name_that_this_machine_cannot_hold(server: Server, mig: Session, tmp_path: Path, exists: bool) -> None:
    if exists:
        (tmp_path / "d").mkdir()
    headers = {"ETag": '"a"', "Content-Range": "bytes 0-3/4"}
    server.answers["cert_redirect"] = lambda request: httpx.Response(206, headers=headers, content=b"text")
    server.says("statpath", {"object_type": "stats", "stats": [{"mode": stat.S_IFDIR | 0o755, "size": 0}]})
    server.lists(entry("d/" + "x" * 300))
    with pytest.raises(PathRefused, match="shorter name"):
        await mig.files.get("d", tmp_path / "d/")
    assert everything(tmp_path) <= {"d", "d/d"}


async def test_a_listing_of_a_hundred_thousand_entries(server: Server, mig: Session) -> None:
    server.lists(*(entry(f"d/{number:06}") for number in range(100_000)))
    found = await mig.files.ls("d")
    assert [found[0].path, found[-1].path, len(found)] == ["d/000000", "d/099999", 100_000]


@pytest.mark.parametrize("job_id", ["../../x", "a/b", "..", "", "*", "x" * 300, None, 7])
async def test_a_job_id_with_a_path_is_no_job(server: Server, mig: Session, job_id: object) -> None:
    row = {"status": True, "job_id": job_id, "name": "x"}
    server.says("submitfields", {"object_type": "submitstatuslist", "submitstatuslist": [row]})
    with pytest.raises(ProtocolError, match="job id"):
        await mig.submit("true")
    server.says("jobstatus", {"object_type": "job_list", "jobs": [{"job_id": job_id, "status": "FINISHED"}]})
    with pytest.raises(ProtocolError, match="job id"):
        await mig.jobs()


@pytest.mark.parametrize("job_id", ["../../x", "a/b", "*", "ALL", "a b", "a\nb", "é", "x" * 300])
async def test_a_handle_of_such_an_id_asks_nothing(server: Server, mig: Session, job_id: str) -> None:
    asked = len(server.requests)
    job = mig.job(job_id)
    for act in (job.status, job.cancel, job.plan, job.clean):
        with pytest.raises(JobNotFound):
            await act()
    assert len(server.requests) == asked


PLANTED = """::EXECUTE::
true
(cd -- "$MIG_JOBDIR" && {{ [ ! -e '{name}' ] || command -p mv -f -- '{name}' aiomig-out-1; }})

::OUTPUTFILES::
aiomig-out-1 aiomig_jobs/t/out/aiomig-out-1
"""


@pytest.mark.parametrize("name", ["/etc/passwd", "../../.bashrc", "./../x", "a/../../x", ".//etc/x"])
def test_names_of_outputs_that_lead_out_are_not_believed(name: str) -> None:
    text = PLANTED.format(name=name)
    assert output_names(parse(text).lines("EXECUTE")[-1]) == {}
    (output,) = plan_from(parse(text)).outputs
    assert (output.name, output.destination) == ("aiomig-out-1", "aiomig-out-1")


async def test_fetching_a_job_that_a_server_describes_stays_in_the_folder(
    server: Server, mig: Session, tmp_path: Path
) -> None:
    target = tmp_path / "victim"
    server.says("jobstatus", {"object_type": "job_list", "jobs": [{"job_id": JOB, "status": "FINISHED"}]})
    text = PLANTED.format(name=target)
    server.says("mrslview", {"object_type": "file_output", "lines": text.splitlines(keepends=True)})
    server.says("statpath", {"object_type": "stats", "stats": [{"mode": stat.S_IFREG | 0o644, "size": 4}]})
    headers = {"ETag": '"a"', "Content-Range": "bytes 0-3/4"}
    server.answers["cert_redirect"] = lambda request: httpx.Response(206, headers=headers, content=b"evil")
    (tmp_path / "here").mkdir()
    assert await mig.job(JOB).fetch(tmp_path / "here", check=False) == [tmp_path / "here" / "aiomig-out-1"]
    assert everything(tmp_path) == {"here", "here/aiomig-out-1"}


# -- answers without end


class Endless(httpx.AsyncByteStream):
    """Endless bytes; counts how many were read."""

    def __init__(self) -> None:
        self.taken = 0
        self.closed = False

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while True:
            self.taken += 100
            yield b" " * 100

    async def aclose(self) -> None:
        self.closed = True


# trio warns of a dropped generator if the client does not close a body that it has not read to its end.
LEFT_OPEN = pytest.mark.filterwarnings(
    "ignore:Async generator 'httpx", "ignore::pytest.PytestUnraisableExceptionWarning"
)


@LEFT_OPEN
@pytest.mark.parametrize("limits", [RequestLimits(largest_response=1000)])
@pytest.mark.parametrize(("headers", "most"), [({"Content-Length": str(10 << 30)}, 0), ({}, 1100)])
async def test_an_answer_without_end_is_left(
    server: Server, mig: Session, headers: dict[str, str], most: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(aiomig.Retry, "pauses", lambda self: iter(()))
    stream = Endless()
    server.answers["ls"] = lambda request: httpx.Response(200, headers=headers, stream=stream)
    with pytest.raises(ProtocolError, match="longer than 1000 bytes"):
        await mig.files.ls()
    assert stream.taken <= most
    assert stream.closed


class Dripping(httpx.AsyncByteStream):
    """An endless body, with one byte a minute."""

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while True:
            await anyio.sleep(60)
            yield b" "


@LEFT_OPEN
async def test_an_answer_that_drips_is_left(server: Server, mig: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(aiomig.Retry, "pauses", lambda self: iter(()))
    server.answers["ls"] = lambda request: httpx.Response(200, stream=Dripping())
    began = anyio.current_time()
    with pytest.raises(ConnectionFailed, match=r"less than 1024 bytes per second \(6 bytes so far\)"):
        await mig.files.ls()
    assert anyio.current_time() - began == pytest.approx(360)


async def test_an_answer_that_does_not_begin_is_not_waited_for() -> None:
    class Silent(httpx.AsyncBaseTransport):
        async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
            await anyio.sleep_forever()
            raise AssertionError

    session = aiomig.grid(url="https://x", certificate="c", key="k", timeout=10, transport=Silent())
    began = anyio.current_time()
    with pytest.raises(ConnectionFailed, match="no response within"):
        async with session:
            pass
    assert anyio.current_time() - began > 40


@LEFT_OPEN
async def test_a_file_gives_no_more_than_was_asked_for(server: Server, mig: Session) -> None:
    headers = {"ETag": '"a"', "Content-Range": "bytes 0-9/10"}
    server.answers["cert_redirect"] = lambda request: httpx.Response(206, headers=headers, content=b"x" * 100)
    with pytest.raises(ProtocolError, match="were requested"):
        await mig.files.read_range("f", 0, 10)
    stream = Endless()
    server.answers["cert_redirect"] = lambda request: httpx.Response(206, headers=headers, stream=stream)
    with pytest.raises(ProtocolError, match="longer than"):
        await mig.files.read_range("f", 0, 10)
    assert stream.taken < 4 << 20


# -- redirects


@pytest.mark.parametrize(
    "place", ["https://evil.example.org/", "http://grid.example.org/", "//evil/x", "file:///etc/x"]
)
@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_redirects_are_not_followed(server: Server, mig: Session, place: str, status: int) -> None:
    for operation in ("ls", "mkdir", "submitfields", "cert_redirect", "mv"):
        server.answers[operation] = lambda request: httpx.Response(status, headers={"Location": place})
    for act in (mig.files.ls(), mig.files.mkdir("d"), mig.submit("true"), mig.files.read_bytes("f")):
        with pytest.raises(AuthenticationFailed, match="certificate host"):
            await act
    assert {request.url.host for request in server.requests} == {"grid.example.org"}
    assert {request.url.scheme for request in server.requests} == {"https"}


async def test_tokens_go_nowhere_else(server: Server, mig: Session) -> None:
    def handler(request: httpx.Request) -> httpx.Response:
        return httpx.Response(302, headers={"Location": f"https://evil.example.org/?{request.content.decode()}"})

    server.answers["mkdir"] = handler
    with pytest.raises(AuthenticationFailed) as caught:
        await mig.files.mkdir("d")
    assert "_csrf" not in str(caught.value)


# -- a hostile home


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "secret").write_text("secret")
    (tmp_path / "secrets").mkdir()
    (tmp_path / "secrets/inner").write_text("secret")
    folder = tmp_path / "home"
    (folder / "d").mkdir(parents=True)
    (folder / "f").write_text("mine")
    (folder / "d/file").symlink_to(tmp_path / "secret")
    (folder / "d/relative").symlink_to("../../secret")
    (folder / "d/folder").symlink_to(tmp_path / "secrets")
    (folder / "d/chain").symlink_to("file")
    (folder / "d/self").symlink_to("self")
    os.mkfifo(folder / "d/pipe")
    return folder


@pytest.fixture
def files(root: Path) -> Files:
    return Files(LocalHome(root))


LINKS = ["d/file", "d/relative", "d/chain", "d/folder/inner", "d/folder/new"]


@pytest.mark.parametrize("path", LINKS)
async def test_links_out_of_the_home_are_not_followed(files: Files, root: Path, tmp_path: Path, path: str) -> None:
    acts = (
        files.read_bytes(path),
        files.write_text(path, "x"),
        files.write_range(path, 0, b"x"),
        files.truncate(path),
        files.touch(path),
        files.stat(path),
        files.checksum(path),
        files.head(path),
        files.copy("f", path),
        files.move("f", f"{path}/x"),
        files.copy(path, "copied"),
        files.pack(path, "p.zip"),
        files.get(path, tmp_path / "got"),
        files.put(root / "f", path),
    )
    for act in acts:
        with pytest.raises((PathRefused, FileNotFound)):
            await act
    assert (tmp_path / "secret").read_text() == (tmp_path / "secrets/inner").read_text() == "secret"
    assert everything(tmp_path / "secrets") == {"inner"}
    assert not (tmp_path / "got").exists()
    assert (root / "f").read_text() == "mine"


async def test_links_out_of_the_home_are_not_listed_packed_or_removed(files: Files, tmp_path: Path) -> None:
    assert await files.ls("d", recursive=True) == []
    await files.copy("d", "e", recursive=True)
    assert await files.ls("e", recursive=True) == []
    await files.pack("d", "d.zip")
    assert await files.get("d", tmp_path / "got") == ()
    await files.remove("d", recursive=True)
    assert (tmp_path / "secret").read_text() == "secret"
    assert everything(tmp_path / "secrets") == {"inner"}


# -- hostile archives


def zipped(*members: tuple[str, bytes], mode: int = 0) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members:
            info = zipfile.ZipInfo(name)
            info.external_attr = mode << 16
            archive.writestr(info, content, zipfile.ZIP_DEFLATED)
    return out.getvalue()


def tarred(*members: tuple[str, bytes], kind: bytes = tarfile.REGTYPE, target: str = "") -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for name, content in members:
            info = tarfile.TarInfo(name)
            info.type, info.linkname, info.size = kind, target, len(content)
            archive.addfile(info, io.BytesIO(content))
    return out.getvalue()


GOOD = ("good.txt", b"good")
BAD_NAMES = ["../evil", "/evil", "a/../../evil", "d/../../evil", "../home/evil", ".trash/evil", "d/.htaccess"]
WHOLE = {
    **{f"zip {name}": ("a.zip", zipped(GOOD, (name, b"evil"))) for name in BAD_NAMES},
    **{f"tar {name}": ("a.tar", tarred(GOOD, (name, b"evil"))) for name in BAD_NAMES},
    "tgz": ("a.tar.gz", gzip.compress(tarred(GOOD, ("../evil", b"evil")))),
    "tbz": ("a.tar.bz2", bz2.compress(tarred(GOOD, ("../evil", b"evil")))),
    "own folder": ("a.zip", zipped(GOOD, (".aiomig/evil", b"evil"))),
    "zip operations": ("a.zip", zipped(GOOD, ("evil", b"/etc/passwd"), mode=stat.S_IFLNK | 0o777)),
    "tar operations": ("a.tar", tarred(("evil", b""), kind=tarfile.SYMTYPE, target="../../secret")),
    "tar hard operations": ("a.tar", tarred(("evil", b""), kind=tarfile.LNKTYPE, target="../secret")),
    "device": ("a.tar", tarred(("evil", b""), kind=tarfile.CHRTYPE)),
    "pipe": ("a.tar", tarred(("evil", b""), kind=tarfile.FIFOTYPE)),
}


@pytest.mark.parametrize("case", WHOLE)
async def test_archives_that_lead_out_are_refused_whole(files: Files, root: Path, tmp_path: Path, case: str) -> None:
    name, content = WHOLE[case]
    (root / name).write_bytes(content)
    before = everything(tmp_path)
    with pytest.raises(PathRefused):
        await files.unpack(name, ".")
    assert everything(tmp_path) - {"home/.aiomig", "home/.aiomig/tmp"} == before


async def test_archives_do_not_write_through_links(files: Files, root: Path, tmp_path: Path) -> None:
    for name, member in (("a.zip", "d/folder/evil"), ("b.zip", "d/file")):
        (root / name).write_bytes(zipped((member, b"evil")))
        with pytest.raises((PathRefused, FileExists)):
            await files.unpack(name, ".")
    assert (tmp_path / "secret").read_text() == "secret"
    assert everything(tmp_path / "secrets") == {"inner"}


async def test_bombs_are_refused(files: Files, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archives, "_FREE_SIZE", 1000)
    monkeypatch.setattr(archives, "_MOST_MEMBERS", 10)
    bomb = bytes(4 << 20)
    (root / "a.zip").write_bytes(zipped(GOOD, ("bomb", bomb)))
    (root / "b.tar.gz").write_bytes(gzip.compress(tarred(GOOD, ("bomb", bomb))))
    (root / "c.zip").write_bytes(zipped(*((f"{number}", b"") for number in range(11))))
    for name, words in (("a.zip", "times as many"), ("b.tar.gz", "times as many"), ("c.zip", "more than 10 members")):
        with pytest.raises(PathRefused, match=words):
            await files.unpack(name, "out")
    assert await files.ls("out") == []


async def test_archives_that_lie_of_their_sizes(files: Files, root: Path) -> None:
    honest = zipped(("liar", b"x" * 5000))
    (root / "a.zip").write_bytes(honest.replace((5000).to_bytes(4, "little"), (50).to_bytes(4, "little")))
    with pytest.raises((LocalError, PathRefused)):
        await files.unpack("a.zip", "out")
    assert await files.ls("out") == []


@pytest.mark.parametrize("name", ["a.zip", "a.tar", "a.tar.gz", "a.tar.bz2"])
async def test_broken_archives_leave_nothing_that_is_cut(files: Files, root: Path, name: str) -> None:
    members = [(f"file{number}", os.urandom(300)) for number in range(5)]
    packers: dict[str, Callable[[bytes], bytes]] = {"a.tar.gz": gzip.compress, "a.tar.bz2": bz2.compress}
    whole = zipped(*members) if name == "a.zip" else packers.get(name, bytes)(tarred(*members))
    for cut in range(0, len(whole) - 1024, 97):
        (root / name).write_bytes(whole[:cut] + bytes(10) + whole[cut + 10 :] if cut % 2 else whole[:cut])
        try:
            await files.unpack(name, "out")
        except MigError:
            for info in await files.ls("out"):
                assert info.size == 300


# -- numbers and tags that break converters

DIGITS = "9" * 5000
PART = b"0123456789"


def parts(**headers: str) -> Callable[[httpx.Request], httpx.Response]:
    """Respond to requests for ten bytes of a file of twenty, or with false headers."""

    def answer(request: httpx.Request) -> httpx.Response:
        first = int(request.headers["Range"].removeprefix("bytes=").partition("-")[0])
        told = {"ETag": '"a"', "Content-Range": f"bytes {first}-{first + 9}/20", **headers}
        raw = [(name.encode(), value.encode("latin-1")) for name, value in told.items()]
        return httpx.Response(206, headers=raw, content=PART)

    return answer


@pytest.mark.parametrize(
    "reference", [f"&#{DIGITS};", f"&#x{DIGITS};", f"&#{DIGITS}", "&#1114112;", "&#xD800;", "&#0;"]
)
async def test_a_character_reference_of_any_length(server: Server, mig: Session, reference: str) -> None:
    for kind in ("error_text", "warning", "text"):
        server.says("ls", {"object_type": kind, "text": f"cannot {reference} do"})
        with pytest.raises(MigError):
            await mig.files.ls(".")


@pytest.mark.parametrize(
    "headers", [{"Content-Range": f"bytes 0-9/{DIGITS}"}, {"Content-Range": f"bytes 0-{DIGITS}/*"}]
)
async def test_a_range_of_any_length(server: Server, mig: Session, headers: dict[str, str]) -> None:
    server.answers["cert_redirect"] = parts(**headers)
    with pytest.raises(MigError):
        await mig.files.read_bytes("x")


@pytest.mark.parametrize("tag", ['"\xe9"', '"\x80\xff"', "", "x", 'W/"\xe9"'])
async def test_a_tag_of_any_characters(server: Server, mig: Session, tag: str) -> None:
    server.answers["cert_redirect"] = parts(ETag=tag, **{"Last-Modified": "Mon, 23 Nov 2026 05:07:28 GMT"})
    assert await mig.files.read_bytes("x") == PART * 2


@pytest.mark.parametrize("field", ["size", "modified"])
@pytest.mark.parametrize("value", [int("9" * 4000), -1, "7", True, None, [], {}])
async def test_a_size_or_time_of_any_kind(server: Server, mig: Session, field: str, value: Any) -> None:
    row = entry("d/f") | {"file_info": {field: value}}
    server.lists(row)
    (info,) = await mig.files.ls("d")
    assert info.size < 1 << 63


# -- a grid that is unsure of itself


async def test_a_finished_job_without_results_is_no_success(server: Server, mig: Session) -> None:
    server.says("jobstatus", {"object_type": "job_list", "jobs": [{"job_id": JOB, "status": "FINISHED"}]})
    server.says("mrslview", {"object_type": "file_output", "lines": ["::EXECUTE::\n", "true\n"]})
    server.answers["cert_redirect"] = lambda request: httpx.Response(404)
    with pytest.raises(ResultsMissing) as caught:
        await mig.job(JOB)
    assert caught.value.missing == (f"{JOB}.status",)


@pytest.mark.parametrize("limits", [RequestLimits(largest_result=1000, download_piece=300)])
async def test_output_without_end_is_not_taken_into_memory(server: Server, mig: Session) -> None:
    def endless(request: httpx.Request) -> httpx.Response:
        first, last = map(int, request.headers["Range"].removeprefix("bytes=").split("-"))
        given.append(last)
        headers = {"ETag": '"a"', "Content-Range": f"bytes {first}-{last}/*"}
        return httpx.Response(206, headers=headers, content=bytes(last - first + 1))

    given: list[int] = []
    server.says("jobstatus", {"object_type": "job_list", "jobs": [{"job_id": JOB, "status": "FINISHED"}]})
    server.answers["cert_redirect"] = endless
    job = mig.job(JOB)
    for attempt in (job.result, job.stdout):
        with pytest.raises(ProtocolError, match=r"too much for memory; download it: session.files.get\('job_"):
            await attempt()
        assert max(given) < 1300


def test_the_limit_of_answers_is_there() -> None:
    assert RequestLimits().largest_response == 64 << 20
    assert len(json.dumps([entry(f"folder/file-{number}") for number in range(100_000)])) < 64 << 20
