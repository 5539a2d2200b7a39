"""`FakeGrid` beyond the recordings: jobs, time, faults, accounts, tokens, and HTTP."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any, Literal

import anyio
import httpx
import pytest

from aiomig.testing import FakeGrid, Site
from tests.testing.fake_grid_calls import call, client, one, state, submit

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from aiomig.testing import FaultKind, FaultTime

AT_ONCE = Site(parse_time=0)


@pytest.fixture
async def grid(tmp_path: Path) -> AsyncIterator[FakeGrid]:
    async with FakeGrid(tmp_path / "home", site=AT_ONCE) as opened:
        yield opened


# -- jobs that are run


async def test_runs_jobs(grid: FakeGrid) -> None:
    (grid.home / "in.txt").write_text("data")
    async with client(grid) as http:
        job_id = await submit(
            http,
            grid,
            EXECUTE=["cat in.txt", "false", "echo $MIG_JOBID > out.txt"],
            INPUTFILES="in.txt",
            OUTPUTFILES="out.txt sub/out.txt",
            MEMORY="1024",
        )
        await grid.job(job_id).reach("FINISHED")
        job = await state(http, job_id)
        assert job["verified"] == "NO"
        base = f"/cert_redirect/job_output/{job_id}/{job_id}"
        assert (await http.get(f"{base}.stdout")).content == b"data"
        assert (await http.get(f"{base}.status")).text == "cat in.txt 0\nfalse 1\necho $MIG_JOBID > out.txt 0\n"
        assert (await http.get("/cert_redirect/sub/out.txt")).text == f"{job_id}\n"
        listed = one(await call(http, "ls", path=".", flags="a"), "dir_listings")["dir_listings"][0]
        assert ".aiomig" not in {entry["name"] for entry in listed["entries"]}


async def test_a_failing_script_is_tried_again_then_fails(grid: FakeGrid) -> None:
    async with client(grid) as http:
        job_id = await submit(http, grid, EXECUTE="exit 3", RETRIES="1")
        await grid.job(job_id).reach("FAILED")
        job = await state(http, job_id)
        assert "finished_timestamp" not in job
        (job,) = one(await call(http, "jobstatus", job_id=job_id, flags="v"), "job_list")["jobs"]
        assert [each["count"] for each in job["execution_histories"]] == [0, 1]
        assert not (grid.home / "job_output" / job_id).exists()


async def test_cancel_kills_and_leaves_no_results(grid: FakeGrid) -> None:
    async with client(grid) as http:
        job_id = await submit(http, grid, EXECUTE="echo started; sleep 1000")
        await grid.job(job_id).reach("EXECUTING")
        await call(http, "jobaction", job_id=job_id, action="cancel", _csrf=grid.token("jobaction"))
        assert (await state(http, job_id))["status"] == "CANCELED"
    assert not (grid.home / "job_output" / job_id).exists()


async def test_leaving_the_grid_ends_its_jobs(tmp_path: Path) -> None:
    with anyio.fail_after(20):
        async with FakeGrid(tmp_path / "home", site=AT_ONCE) as grid, client(grid) as http:
            job_id = await submit(http, grid, EXECUTE="sleep 1000")
            await grid.job(job_id).reach("EXECUTING")


async def test_empty_results_of_a_python_3_site(tmp_path: Path) -> None:
    site = Site(parse_time=0, empty_results=True)
    async with FakeGrid(tmp_path / "home", site=site) as grid, client(grid) as http:
        job_id = await submit(http, grid, EXECUTE="echo hello")
        await grid.job(job_id).reach("FINISHED")
        sizes = {path.stat().st_size for path in (grid.home / "job_output" / job_id).iterdir()}
        assert sizes == {0}


# -- jobs that the test decides on


@pytest.mark.parametrize("anyio_backend", [("trio", {})])
async def test_virtual_time(tmp_path: Path, autojump_clock: None) -> None:
    async with FakeGrid(tmp_path / "home", site=Site(parse_time=0.5), epoch=1_795_409_934) as grid:
        grid.hold()
        async with client(grid) as http:
            job_id = await submit(http, grid, EXECUTE="echo 'hi'", OUTPUTFILES=["a.txt", "b.txt"])
            assert (await state(http, job_id))["status"] == "PARSE"
            await anyio.sleep(1)
            queued = await state(http, job_id)
            assert (queued["status"], queued["queued_timestamp"]) == ("QUEUED", "Mon Nov 23 04:58:54 2026")
            grid.job(job_id).executing(after=59).finish("hi\n", outputs={"b.txt": "b"}, after=7199)
            await anyio.sleep(60)
            assert (await state(http, job_id))["executing_timestamp"] == "Mon Nov 23 04:59:54 2026"
            await anyio.sleep(7200)
            assert (await state(http, job_id))["finished_timestamp"] == "Mon Nov 23 06:58:54 2026"
    folder = grid.home / "job_output" / job_id
    assert (folder / f"{job_id}.stdout").read_text() == "hi\n"
    assert (folder / f"{job_id}.status").read_text() == "echo `hi` 0\n"
    assert "output_files_missing 1" in (folder / f"{job_id}.io-status").read_text()
    assert (grid.home / "b.txt").read_text() == "b"


@pytest.fixture
def autojump_clock(anyio_backend: tuple[str, dict[str, Any]]) -> None:
    from trio.testing import MockClock

    anyio_backend[1]["clock"] = MockClock(autojump_threshold=0)


async def test_script_for_every_job(grid: FakeGrid) -> None:
    grid.script(lambda job: job.executing().finish(status=[3]))
    async with client(grid) as http:
        job_ids = [await submit(http, grid, EXECUTE=f"echo {number}") for number in range(3)]
        assert [(await state(http, job_id))["status"] for job_id in job_ids] == ["FINISHED"] * 3
    assert [job.id for job in grid.jobs] == job_ids
    assert [job.commands for job in grid.jobs] == [("echo 0",), ("echo 1",), ("echo 2",)]
    assert (grid.home / "job_output" / job_ids[0] / f"{job_ids[0]}.status").read_text() == "echo 0 3\n"
    assert [grid.counts["submitfields"], grid.count("jobstatus", job_id=job_ids[1])] == [3, 1]


async def test_other_ends(grid: FakeGrid) -> None:
    grid.hold()
    async with client(grid) as http:
        job_ids = [await submit(http, grid, EXECUTE="true") for _ in range(4)]
        failed, again, expired, strange = (grid.job(job_id) for job_id in job_ids)
        failed.executing().fail("JOB TIMEOUT")
        again.executing().requeue("RESOURCE DIED")
        expired.expire()
        strange.says("THINKING")
        words = [(await state(http, job_id))["status"] for job_id in job_ids]
        assert words == ["FAILED", "QUEUED", "EXPIRED", "THINKING"]
        await call(http, "jobaction", job_id=again.id, action="cancel", _csrf=grid.token("jobaction"))
        again.finish("too late")
        assert again.state == "CANCELED"
        assert again.is_final
        assert not (grid.home / "job_output").exists()


async def test_jobs_without_requests(grid: FakeGrid) -> None:
    grid.script(lambda job: job.executing().finish("done"))
    first, second = grid.add_jobs(2, ["echo done"])
    assert [first.state, second.commands] == ["FINISHED", ("echo done",)]
    second.forget()
    async with client(grid) as http:
        answer = await call(http, "jobstatus", job_id=[first.id, second.id])
    assert [job["job_id"] for job in one(answer, "job_list")["jobs"]] == [first.id]
    assert one(answer, "error_text")["text"] == f"{second.id}: You do not have any matching job IDs!"


async def test_wrong_use_is_explained(grid: FakeGrid, tmp_path: Path) -> None:
    async with client(grid) as http:
        job_id = await submit(http, grid, EXECUTE="sleep 9")
    with pytest.raises(RuntimeError, match=r"call grid\.hold"):
        grid.job(job_id).finish()
    with pytest.raises(LookupError, match="no such job was submitted"):
        grid.job("7_1_1_2026__1_1_1_localhost.0")
    with pytest.raises(ValueError, match="no such misbehaviour"):
        grid.faults.add("ls", "nap")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="after acting"):
        grid.faults.add("ls", "truncate", when="before")
    closed = FakeGrid(tmp_path)
    async with client(closed) as http:
        with pytest.raises(RuntimeError, match="not open"):
            await http.get("/")


async def test_live_output(tmp_path: Path) -> None:
    site = Site(parse_time=0, liveio_time=0, liveio_interval=0)
    async with FakeGrid(tmp_path / "home", site=site) as grid, client(grid) as http:
        grid.script(lambda job: job.executing().writes("half\n"))
        job_id = await submit(http, grid, EXECUTE="true")
        path = grid.home / "job_output" / job_id / f"{job_id}.stdout"
        for program in ("wsgi-bin", "cgi-bin"):
            await http.post(
                f"/{program}/liveio.py",
                data={"job_id": job_id, "action": "send", "_csrf": grid.token("liveio")},
            )
            await state(http, job_id)
            assert path.exists() is (program == "cgi-bin")
        assert path.read_text() == "half\n"
        grid.job(job_id).finish("done\n")
        assert path.read_text() == "half\ndone\n"


async def test_project_finds_a_job_again(grid: FakeGrid) -> None:
    grid.hold()
    async with client(grid) as http:
        wanted = await submit(http, grid, EXECUTE="true", PROJECT="token1")
        await submit(http, grid, EXECUTE="true", PROJECT="token2")
        answer = await call(http, "jobstatus", job_id="none", project_name="token1")
    assert [job["job_id"] for job in one(answer, "job_list")["jobs"]] == [wanted]
    assert one(answer, "error_text")["text"] == "none: You do not have any matching job IDs!"


async def test_more_than_500_jobs_are_not_canceled_at_once(grid: FakeGrid) -> None:
    grid.hold()
    grid.add_jobs(501)
    async with client(grid) as http:
        answer = await call(http, "jobaction", job_id="*", action="cancel", _csrf=grid.token("jobaction"))
    assert one(answer, "error_text")["text"] == "Too many matching jobs (501)!"


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"EXECUTE": "a # b"}, None),
        ({"EXECUTE": ["a", "b"], "JOBTYPE": "parallel"}, "specified jobtype not valid"),
        ({"EXECUTE": "a", "CPUTIME": ["10", "20"]}, "requires an integer"),
        ({"EXECUTE": "a", "INPUTFILES": "two  blanks"}, "1 or 2 space-separated items"),
        ({"EXECUTE": "a\n\n::JOBNAME::\nb"}, None),
        ({"EXECUTE": "a\n\nb"}, "unknown keyword: B"),
    ],
)
async def test_descriptions(grid: FakeGrid, fields: dict[str, Any], words: str | None) -> None:
    grid.hold()
    async with client(grid) as http:
        answer = await call(http, "submitfields", _csrf=grid.token("submitfields"), **fields)
    (status,) = one(answer, "submitstatuslist")["submitstatuslist"]
    assert status["status"] is (words is None)
    assert (words or "") in status.get("message", "")


async def test_the_server_escapes_are_undone(grid: FakeGrid) -> None:
    grid.hold()
    async with client(grid) as http:
        job_id = await submit(http, grid, EXECUTE=r"echo \# \\ # comment")
        assert grid.job(job_id).commands == (r"echo # " + "\\",)
        lines = one(await call(http, "mrslview", job_id=job_id), "file_output")["lines"]
    assert lines[1] == "echo # \\\n"


# -- uploads


async def test_upload_by_chunks(grid: FakeGrid) -> None:
    token = grid.token("uploadchunked")
    (grid.home / "to").mkdir()
    async with client(grid) as http:
        for first, part in ((0, b"abc"), (3, b"def")):
            answer = await http.post(
                "/wsgi-bin/uploadchunked.py",
                data={"output_format": "json", "action": "put", "current_dir": "to", "_csrf": token},
                files={"files[]": ("ü x.bin", part)},
                headers={"Content-Range": f"bytes {first}-{first + 2}/6"},
            )
            (entry,) = one(answer.json(), "uploadfiles")["files"]
            assert entry["size"] == first + 3
            assert entry["moveDest"] == "to"
        moved = await call(
            http,
            "uploadchunked",
            **{"action": "move", "current_dir": "to", "files[]filename": "ü x.bin", "files[]": "x", "_csrf": token},
        )
    assert one(moved, "uploadfiles")["files"][0][".upload-cache/ü x.bin"] is True
    assert (grid.home / "to/ü x.bin").read_bytes() == b"abcdef"
    assert not (grid.home / ".upload-cache/ü x.bin").exists()


async def test_the_upload_cache_keeps_an_old_tail(tmp_path: Path) -> None:
    site = Site(largest_chunk=10)
    async with FakeGrid(tmp_path / "home", site=site) as grid, client(grid) as http:
        fields = {"output_format": "json", "action": "put", "_csrf": grid.token("uploadchunked")}
        for content in (b"long one", b"new", b""):
            await http.post("/wsgi-bin/uploadchunked.py", data=fields, files={"files[]": ("a", content)})
        assert (grid.home / ".upload-cache/a").read_bytes() == b"newg one"
        answer = await http.post("/wsgi-bin/uploadchunked.py", data=fields, files={"files[]": ("b", b"eleven byte")})
        assert one(answer.json(), "error_text")["text"] == "No files included to upload!"


async def test_trash(grid: FakeGrid) -> None:
    (grid.home / "a").write_text("a")
    async with client(grid) as http:
        await call(http, "rm", path="a", _csrf=grid.token("rm"))
        listed = one(await call(http, "ls"), "dir_listings")
        assert [entry["name"] for entry in listed["dir_listings"][0]["entries"]] == ["Trash"]
        assert listed["rm_url_template"].endswith(grid.token("rm"))
        inside = await call(http, "ls", path="Trash", flags="r")
    (entry,) = one(inside, "dir_listings")["dir_listings"][0]["entries"]
    assert entry["rel_path"] == "Trash/a"


async def test_nothing_outside_is_reached(grid: FakeGrid, tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside/secret").write_text("secret")
    (grid.home / "link").symlink_to(tmp_path / "outside")
    async with client(grid) as http:
        for path in ("link/secret", "link", "../outside/secret", "link/*"):
            assert one(await call(http, "statpath", path=path), "file_not_found")["name"] == path
            assert (await http.get(f"/cert_redirect/{path}")).status_code in (403, 404)
        answer = await call(http, "touch", path="link/new", _csrf=grid.token("touch"))
        assert "Permission denied" in one(answer, "error_text")["text"]


# -- accounts and tokens


@pytest.mark.parametrize("mode", ["FULL", "MEDIUM", "WARN", "MINIMAL"])
async def test_csrf_modes(tmp_path: Path, mode: Literal["FULL", "MEDIUM", "WARN", "MINIMAL"]) -> None:
    """The table csrf--modes of the recordings."""
    async with FakeGrid(tmp_path / "home", site=Site(csrf=mode)) as grid, client(grid) as http:
        passed = []
        for number, (agent, method, token) in enumerate(
            [
                ("aiomig/1", "GET", ""),
                ("curl/8", "GET", ""),
                ("aiomig/1", "POST", ""),
                ("curl/8", "POST", ""),
                ("aiomig/1", "POST", grid.token("mkdir")),
                ("curl/8", "POST", grid.token("mkdir")),
            ]
        ):
            fields = {"output_format": "json", "path": f"d{number}", "_csrf": token}
            await http.request(method, "/wsgi-bin/mkdir.py", params=fields, headers={"User-Agent": agent}, data={})
            passed.append((grid.home / f"d{number}").exists())
    lax = mode in ("WARN", "MINIMAL")
    assert passed == [False, False, lax, lax or mode == "MEDIUM", True, True]


async def test_pages_give_tokens_until_they_are_renewed(grid: FakeGrid) -> None:
    async with client(grid) as http:
        tokens: dict[str, str] = {}
        for page in ("jobman", "fileman"):
            title = one(await call(http, page), "title")
            tokens = dict(re.findall(r'csrf_map\["(\w+)"\] = "([0-9a-f]{64})"', title["script"]["init"]))
            assert tokens["mkdir"] == grid.token("mkdir")
        grid.renew_tokens()
        answer = await call(http, "mkdir", path="x", _csrf=tokens["mkdir"])
        assert "CSRF-filtered POST" in one(answer, "error_text")["text"]


async def test_what_a_site_lacks(tmp_path: Path) -> None:
    site = Site(wsgi=False, jobs_enabled=False)
    async with FakeGrid(tmp_path / "home", site=site) as grid, client(grid) as http:
        assert (await http.get("/wsgi-bin/ls.py")).status_code == 500
        answer = (await http.get("/cgi-bin/jobstatus.py?output_format=json")).json()
        assert one(answer, "error_text")["text"] == "Job execution is not enabled on this system"


async def test_docs_of_keywords(grid: FakeGrid) -> None:
    async with client(grid) as http:
        answer = await call(http, "docs", show="mrsl")
        sections = [each["text"] for each in answer if each["object_type"] == "sectionheader"]
        assert {"EXECUTE", "ARCHITECTURE"} <= set(sections)
        assert "supports the following values: X86, AMD64" in json.dumps(answer)


# -- faults


async def test_faults_before_and_after_acting(grid: FakeGrid) -> None:
    grid.hold()
    fields = {"output_format": "json", "EXECUTE": "true", "_csrf": grid.token("submitfields")}
    async with client(grid) as http:
        moments: dict[FaultTime, int] = {"before": 0, "after": 1}
        for when, jobs in moments.items():
            grid.faults.add("submitfields", "drop", when=when)
            with pytest.raises(httpx.RemoteProtocolError):
                await http.post("/wsgi-bin/submitfields.py", data=fields)
            assert len(grid.jobs) == jobs
        await http.post("/wsgi-bin/submitfields.py", data=fields)
    assert len(grid.jobs) == 2
    assert grid.count("submitfields") == 3
    assert "_csrf" not in grid.requests[0].parameters


async def test_a_slow_server_acts_though_the_client_has_left(grid: FakeGrid) -> None:
    grid.hold()
    grid.faults.add("submitfields", "slow", seconds=60)
    fields = {"output_format": "json", "EXECUTE": "true", "_csrf": grid.token("submitfields")}
    async with client(grid, timeout=0.01) as http:
        with pytest.raises(httpx.ReadTimeout):
            await http.post("/wsgi-bin/submitfields.py", data=fields)
    assert len(grid.jobs) == 1


async def test_faults_of_answers(grid: FakeGrid) -> None:
    (grid.home / "big").write_bytes(b"x" * 1000)
    async with client(grid) as http:
        grid.faults.add("ls", "error", times=2, skip=1)
        assert [(await http.get("/wsgi-bin/ls.py")).status_code for _ in range(4)] == [200, 500, 500, 200]
        grid.faults.add("*", "unavailable", retry_after=7)
        assert (await http.get("/wsgi-bin/ls.py")).headers["retry-after"] == "7"
        grid.faults.add("ls", "login", location="https://login.example.org/")
        assert (await http.get("/wsgi-bin/ls.py")).headers["location"] == "https://login.example.org/"
        marks: dict[FaultKind, str] = {
            "crash": "internal error occurred in the ls",
            "html": "It works!",
            "csrf": "CSRF",
        }
        for kind, mark in marks.items():
            grid.faults.add("ls", kind)
            assert mark in (await http.get("/wsgi-bin/ls.py?output_format=json")).text
        grid.faults.add("ls", "extra")
        assert one((await http.get("/wsgi-bin/ls.py?output_format=json")).json(), "weather")
        grid.faults.add("ls", "content-type")
        response = await http.get("/wsgi-bin/ls.py?output_format=json")
        assert response.headers["content-type"] == "text/plain"
        grid.faults.add("cert_redirect", "truncate", size=10)
        with pytest.raises(httpx.RemoteProtocolError, match=r"received 10 bytes, expected 1000"):
            await http.get("/cert_redirect/big")
        grid.faults.add("ls", "error", times=None)
        grid.faults.clear()
        assert (await http.get("/wsgi-bin/ls.py")).status_code == 200


async def test_what_the_web_server_refuses(grid: FakeGrid) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        yield b"output_format=json"

    async with client(grid) as http:
        assert (await http.post("/wsgi-bin/ls.py", content=pieces())).status_code == 411
        assert (await http.get("/wsgi-bin/ls.py", params={"path": "x" * 8200})).status_code == 414


@pytest.mark.parametrize("anyio_backend", [("trio", {})])
async def test_jobs_expire(tmp_path: Path, autojump_clock: None) -> None:
    async with FakeGrid(tmp_path / "home", site=Site(parse_time=0, expire_after=100)) as grid, client(grid) as http:
        grid.hold()
        jobs = [grid.job(await submit(http, grid, EXECUTE="true")) for _ in range(2)]
        jobs[1].executing(after=99)
        assert await jobs[0].reach("EXPIRED") == "EXPIRED"
        assert jobs[1].state == "EXECUTING"
        with pytest.raises(RuntimeError, match="is EXPIRED, and cannot become FINISHED any more"):
            await jobs[0].reach("FINISHED")
