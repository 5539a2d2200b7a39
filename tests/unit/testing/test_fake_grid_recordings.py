"""Sends recorded requests to `FakeGrid`, and compares its answers with those of the real server.

Ids, tokens, times, and what differs from one machine to the next are made alike before. The order of entries in a
listing is that of the file system on a real server, and is left out.
"""

from __future__ import annotations

import base64
import gzip
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from aiomig.testing import USER, FakeGrid, Request, Response, Site
from tests.testing.fake_grid_calls import client, one
from tests.unit.recordings import EXCHANGES, Exchange
from tests.unit.testing.fake_grid_world import JOB_ID, arrange_files, arrange_jobs

OTHER = "/C=DK/ST=NA/L=NA/O=Test Org/OU=NA/CN=Other User/emailAddress=other@example.org"
CLIENTS = {
    "otheruser": OTHER,
    "unknownuser": USER.replace("Test User", "Unknown User").replace("test@", "unknown@"),
    "nonascii": USER.replace("Test User", r"Jens \xC3\x86r\xC3\xB8sk\xC3\xB8bing").replace("test@", "jens@"),
}

NOT_COVERED = {
    "http--gzip-txt": "aiomig asks for JSON only",
    "http--txt": "aiomig asks for JSON only",
    "http--gzip-json-cgi": "the choice between chunked and sized answers of cgi-bin, which HTTP hides",
    "resubmit-patched--FINISHED": "the same as resubmit-patched--CANCELED, with another state",
    "uploadchunked--limit-": "64 MiB bodies, left out of the recordings; test_fake_grid has the limit",
    "auth--public-host": "another virtual host",
    "textarea--freetext": "the web form for people",
    "textarea--urlencoded-freetext": "the web form for people",
    "cert_redirect--root": "the page at the top, which is the site's own",
}
"""Prefixes of the names of recordings that are not compared, with the reason."""


@dataclass(frozen=True)
class Recorded:
    name: str
    exchange: Exchange
    data: dict[str, Any]

    @property
    def body(self) -> bytes:
        if "base64" in self.data:
            return base64.b64decode(self.data["base64"])
        return str(self.data.get("body", "")).encode()


def _recorded() -> list[Recorded]:
    path = Path(__file__).parents[2] / "data" / "fake_grid" / "requests.jsonl"
    rows = (json.loads(line) for line in path.read_text("utf-8").splitlines())
    return [Recorded(row["name"], EXCHANGES[row["name"]], row) for row in rows]


RECORDED = _recorded()
COVERED = [recorded for recorded in RECORDED if not recorded.name.startswith(tuple(NOT_COVERED))]


def test_most_are_covered() -> None:
    assert len(COVERED) > 290
    for beginning in NOT_COVERED:
        assert any(recorded.name.startswith(beginning) for recorded in RECORDED), beginning


_PAGE = EXCHANGES["csrf--tokens-from-jobman"].body.decode().replace('\\"', '"')
TOKENS = {token: name for name, token in re.findall(r'csrf_map\["(\w+)"\] = "(\w{64})"', _PAGE)}


def _request(recorded: Recorded, grid: FakeGrid) -> Request:
    def changed(text: str) -> str:
        return re.sub(r"\b[0-9a-f]{64}\b", lambda found: _token(grid, found[0]), text)

    data = recorded.data
    body = recorded.body
    if "base64" not in data:
        body = changed(body.decode()).encode()
    path = changed(data["path"]).replace(
        "+C=DK+ST=NA+L=NA+O=Test_Org+OU=NA+CN=Test_User+emailAddress=test@example.org",
        USER.replace("/", "+").replace(" ", "_"),
    )
    headers = dict(data["headers"])
    if "if-none-match" in headers:
        status = (grid.home / "rec/ucmv-json.dat").stat()
        headers["if-none-match"] = f'"{status.st_size:x}-{status.st_mtime_ns // 1000:x}"'
    client = "" if data.get("port") == 18448 else CLIENTS.get(data.get("client", ""), USER)
    return Request(data["method"], path, changed(data["query"]), headers, body, client, "https://localhost:18443")


def _token(grid: FakeGrid, token: str) -> str:
    operation = TOKENS.get(token)
    return grid.token(operation) if operation else grid.token("mkdir", OTHER)


NOISE = ("start", "html_form", "multilinkline", "timing_info", "table_pager", "link")
MASKED = {
    "device", "inode", "uid", "gid", "rdev", "nlink", "mode", "atime", "mtime", "ctime", "created", "modified",
    "accessed", "destination", "long_format", "actual_dir", "resource", "form_append", "default_entries",
    "rel_dir_enc",
}  # fmt: skip
"""Fields that belong to a machine, or to a moment. rel_dir_enc: of folders in find; checked in test_fake_grid."""


def _alike(value: Any, ids: list[str]) -> Any:
    if isinstance(value, dict):
        if value.get("object_type") == "title":
            return {"object_type": "title", "text": value["text"]}
        if value.get("type") == "directory":
            value = {key: each for key, each in value.items() if key != "file_info"}
        if value.get("object_type") == "filedu" and "." not in value["name"]:
            value = {**value, "bytes": "…"}
        return {
            key: "…" if key in MASKED else _alike(each, ids)
            for key, each in value.items()
            if not key.endswith("_url_template")
        }
    if isinstance(value, list):
        found = [
            _alike(each, ids) for each in value if not (isinstance(each, dict) and each.get("object_type") in NOISE)
        ]
        listed = all(isinstance(each, dict) and "object_type" in each for each in found)
        kinds = {each["object_type"] for each in found} if listed else set()
        # The order of the file system, and of jobs that match a pattern.
        if kinds and kinds <= {"direntry", "dir_listing", "filewc", "filedu"}:
            found.sort(key=lambda each: json.dumps(each, sort_keys=True))
        return found
    if isinstance(value, str):
        return _alike_text(value, ids)
    return value


def _alike_text(text: str, ids: list[str]) -> str:
    text = JOB_ID.sub(lambda found: found[0] if found[0] in ids else "JOB", text)
    text = re.sub(r"\b[0-9a-f]{64}\b", "TOKEN", text)
    text = re.sub(r"error ID [\d.]+", "error ID N", text)
    text = re.sub(r"\btmp\w+", "TMP", text)
    return re.sub(r"^\w{3} \w{3} [ \d]\d \d\d:\d\d:\d\d \d{4}$", "TIME", text)


def _objects(body: bytes) -> list[dict[str, Any]]:
    try:
        found = json.loads(body)
    except ValueError:
        return []
    assert isinstance(found, list)
    return found


def _unordered(name: str) -> bool:
    return name.startswith(("statpath--", "cat--wildcard", "chksum--wildcard", "rm--wildcard"))


@pytest.mark.parametrize("recorded", COVERED, ids=lambda recorded: recorded.name)
@pytest.mark.parametrize("anyio_backend", ["trio"])
async def test_recording(recorded: Recorded, tmp_path: Path) -> None:
    name, exchange = recorded.name, recorded.exchange
    expected = _objects(exchange.body)
    site = Site(parse_time=1000, resubmit_works="patched" in name or "unknown" in name)
    async with FakeGrid(tmp_path / "home", site=site) as grid:
        grid.hold()
        arrange_files(grid, name, expected)
        grid.add_user(OTHER, tmp_path / "other")
        (tmp_path / "other/welcome.txt").write_text("welcome")
        asked = f"{recorded.data['path']} {recorded.data['query']} {recorded.data.get('body', '')}"
        ids = arrange_jobs(grid, expected, asked)
        _refine(grid, name, ids)
        response = await grid.handle(_request(recorded, grid))
    assert response.status == exchange.status
    _compare(name, exchange, response, expected, ids)


def _refine(grid: FakeGrid, name: str, ids: list[str]) -> None:
    if name == "liveio--send-EXECUTING-too-soon--json":
        for record in grid._jobs.records.values():
            record.live_asked = grid.now
    if name == "jobstatus--project-name--json":
        for record in grid._jobs.records.values():
            assert not record.description.lines("PROJECT")
    found = re.match(r"cert_redirect--(?:job_output-\w+-|liveio-)([a-z-]+)", name)
    if found and EXCHANGES[name].status == 200:
        job_id = ids[0]
        suffix = "stdout" if "liveio" in name else found[1]
        place = grid.home / "job_output" / job_id / f"{job_id}.{suffix}"
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(EXCHANGES[name].body)


def _compare(name: str, exchange: Exchange, response: Response, expected: list[dict[str, Any]], ids: list[str]) -> None:
    kind = dict(response.headers).get("Content-Type", "")
    assert kind == exchange.content_type
    body = b"".join(response.pieces())
    if not expected:
        if "gzip" in name:
            body = gzip.decompress(body)
            assert body == gzip.decompress(exchange.body) or len(set(body.splitlines())) == 1
        elif exchange.method != "HEAD":
            assert body == (b"" if response.status == 304 else exchange.body)
        return
    got, wanted = _alike(_shortened(_objects(body)), ids), _alike(expected, ids)
    if _unordered(name):
        got, wanted = (sorted(each, key=lambda item: json.dumps(item, sort_keys=True)) for each in (got, wanted))
    assert got == wanted


def _shortened(objects: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the first 60 jobs, as the recordings do."""
    names = ("jobs", "changedstatusjobs")
    return [{key: each[:60] if key in names else each for key, each in found.items()} for found in objects]


DESCRIPTIONS = {
    "ok": "::EXECUTE::\necho ok\n\n::MEMORY::\n999999\n",
    "bad-bad-arch": "::EXECUTE::\necho x\n\n::ARCHITECTURE::\nZX81\n",
    "bad-bad-cputime": "::EXECUTE::\necho x\n\n::CPUTIME::\nabc\n",
    "bad-negative-cputime": "::EXECUTE::\necho x\n\n::CPUTIME::\n-5\n",
    "bad-comment": "# comment\n::EXECUTE::\necho x\n\n::MEMORY::\n999999\n",
    "bad-duplicate-keyword": "::EXECUTE::\necho x\n\n::CPUTIME::\n60\n\n::CPUTIME::\n70\n",
    "bad-empty-execute": "::EXECUTE::\n\n\n",
    "bad-empty-file": "",
    "bad-lower-keyword": "::execute::\necho x\n",
    "bad-no-blank-line": "::EXECUTE::\necho x\n::MEMORY::\n999999\n",
    "bad-no-execute": "::JOBNAME::\nfoo\n",
    "bad-not-mrsl": "this is just text\n",
    "bad-syntax-error": "::EXECUTE\necho x\n",
    "bad-unknown-keyword": "::EXECUTE::\necho x\n\n::NOSUCHKEY::\nfoo\n",
    "bad-unknown-re": "::EXECUTE::\necho x\n\n::RUNTIMEENVIRONMENT::\nNOSUCHRE\n",
    "bad-unknown-vgrid": "::EXECUTE::\necho x\n\n::VGRID::\nNoSuchVGrid\n",
}
"""Descriptions that a real server judged after ``submit``; here ``textarea`` carries them, as aiomig does."""


@pytest.mark.parametrize("anyio_backend", ["trio"])
async def test_descriptions_are_judged_as_recorded(tmp_path: Path) -> None:
    async with FakeGrid(tmp_path / "home") as grid, client(grid) as http:
        grid.hold()
        for name, description in DESCRIPTIONS.items():
            fields = {
                "output_format": "json",
                "remotefilename_0": "a.mRSL",
                "submitmrsl_0": "on",
                "_csrf": grid.token("textarea"),
            }
            files = {"fileupload_0_0_0": ("a.mRSL", description)}
            reply = await http.post("/wsgi-bin/textarea.py", data=fields, files=files)
            rows = [_submit_rows(answer) for answer in (reply.content, EXCHANGES[f"submit--{name}--json"].body)]
            assert _alike(rows[0], []) == _alike(rows[1], []), name


def _submit_rows(body: bytes) -> list[dict[str, Any]]:
    rows = one(_objects(body), "submitstatuslist")["submitstatuslist"]
    return [{**row, "name": "…"} for row in rows]
