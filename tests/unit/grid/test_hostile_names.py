"""Hostile names from a server or an archive: nothing hangs, and nothing outside is touched."""

from __future__ import annotations

import io
import os
import stat
import tarfile
import zipfile
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING

import anyio
import httpx
import pytest

from aiomig import Files, MigError
from aiomig._local.home import LocalHome
from tests.clocks import anyio_backend  # noqa: F401  # the fixture
from tests.unit.grid.test_hostile import JOB, Server, entry, opened

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator
    from pathlib import Path

    from aiomig import Session

NAMES = {
    "above": "../x",
    "far above": "../../../../../../tmp/x",
    "absolute": "/tmp/aiomig-hostile",
    "above in the middle": "a/../../x",
    "only above": "..",
    "itself": ".",
    "nothing": "",
    "slash": "/",
    "double slash": "a//b",
    "through itself": "./x",
    "slash at the end": "a/",
    "NUL": "a\0b",
    "escape": "\x1b]0;title\x07\x1b[2J",
    "C1": "a\x9b31mb",
    "line break": "a\nb",
    "carriage return": "a\rb",
    "bidi": "a\u202egpj.exe",
    "line separator": "a\u2028b",
    "255 bytes": "n" * 255,
    "256 bytes": "n" * 256,
    "400 bytes": "é" * 200,
    "longer than a path": "n/" * 3000 + "n",
    "blank": " ",
    "a home": "~root/x",
    "an option": "-rf",
    "a pattern": "*",
    "backslash": "..\\x",
    "half a character": "\ud800x",
    "not UTF-8": "a\udcff",
    "a file of the server": ".htaccess",
    "a folder of local mode": ".aiomig/jobs.sqlite",
    "a variable": "$HOME",
    "percent": "%2e%2e%2fx",
}


@pytest.fixture
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The working directory of the program. A file next to it must stay unchanged."""
    (tmp_path / "x").write_text("precious")
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setenv("HOME", str(tmp_path / "user"))
    yield tmp_path / "here"
    assert sorted(os.listdir(tmp_path)) == ["here", "x"]
    assert (tmp_path / "x").read_text() == "precious"
    assert not os.path.lexists("/tmp/aiomig-hostile")
    for folder, folders, files in os.walk(tmp_path / "here"):
        assert not any(os.path.islink(f"{folder}/{name}") for name in folders + files)


def answers_of_files(server: Server, name: str, *, kind: str = "file", prefix: str = "d/") -> None:
    status = {"object_type": "stats", "stats": [{"mode": stat.S_IFDIR | 0o755, "size": 0}]}
    server.says("statpath", status)
    headers = {"ETag": '"a"', "Content-Range": "bytes 0-3/4"}
    server.answers["cert_redirect"] = lambda request: httpx.Response(206, headers=headers, content=b"text")
    server.lists(entry("d", "directory"), entry(prefix + name, kind) | {"name": name}, entry("d/ok"))


def answers_of_a_job(server: Server, name: str) -> None:
    row = {"job_id": JOB, "status": "FINISHED", "resource": name, "execution_histories": [{"execution_history": name}]}
    server.says("jobstatus", {"object_type": "job_list", "jobs": [row | {name: name}, row | {"job_id": name}]})
    mrsl = f"::EXECUTE::\ntrue {name}\n\n::OUTPUTFILES::\n{name} {name}\n{name}\nok aiomig_jobs/t/out/{name}\n"
    server.says("mrslview", {"object_type": "file_output", "lines": mrsl.splitlines(keepends=True)})
    text = f"true {name} 0\n{name} 1\n{name}\nsystem: {name} 1\n{name}\n".encode("utf-8", "surrogatepass")
    headers = {"ETag": '"a"', "Content-Range": f"bytes 0-{len(text) - 1}/{len(text)}"}
    server.answers["cert_redirect"] = lambda request: httpx.Response(206, headers=headers, content=text)
    server.says(
        "submitfields", {"object_type": "submitstatuslist", "submitstatuslist": [{"status": True, "job_id": name}]}
    )
    server.answers["textarea"] = server.answers["submitfields"]
    changed = {"object_type": "changedstatusjobs", "changedstatusjobs": [{"job_id": name, "oldstatus": name}]}
    server.says("jobaction", changed)
    server.says("resubmit", {"object_type": "resubmitobjs", "resubmitobjs": [{"status": True, "new_job_id": name}]})


def answers_of_a_site(server: Server, name: str) -> None:
    server.says("mqueue", {"object_type": "list", "list": [name]}, {"object_type": "file_output", "lines": [name]})
    sections = {"object_type": "sectionheader", "text": name}, {"object_type": "html_form", "text": name}
    server.says("docs", *sections, {"object_type": "link", "text": name})
    server.says("redb", {"object_type": "runtimeenvironments", "runtimeenvironments": [{"name": name}]})
    server.says("uploadchunked", {"object_type": "uploadfiles", "files": [{"name": name, "size": 4, name: True}]})
    for operation in ("mkdir", "rm", "mv", "cp", "touch", "truncate", "pack", "unpack", "chksum"):
        server.says(
            operation, {"object_type": "file_not_found", "name": name}, {"object_type": "error_text", "text": name}
        )


async def use_files(mig: Session, here: Path) -> None:
    files = mig.files
    await each(
        lambda: files.get("d", here / "got"),
        lambda: files.get("d/*", here / "matches"),
        lambda: files.get(["d", "e"], here / "several"),
        lambda: files.ls("d", recursive=True, hidden=True),
        lambda: files.find("*", "d"),
        lambda: files.disk_usage("d"),
        lambda: files.remove("d", recursive=True),
    )


async def use_jobs(mig: Session, here: Path) -> None:
    job = mig.job(JOB)
    await each(
        job.status,
        lambda: job.result(check=False),
        lambda: job.fetch(here / "got"),
        lambda: job.fetch(here / "got", check=False),
        job.plan,
        job.stdout,
        job.cancel,
        job.resubmit,
        job.clean,
        lambda: mig.jobs("*"),
        lambda: mig.submit("true"),
        lambda: mig.submit_many(["true", "false"]),
        lambda: mig.submit("true", inputs=[(b"x", "in")], outputs=["out"]),
    )


async def use_site(mig: Session, here: Path) -> None:
    (here / "local").write_text("text")
    await each(
        mig.queues,
        lambda: mig.queue("q").receive(),
        mig.site,
        lambda: mig.files.put(here / "local", "remote"),
        lambda: mig.files.write_bytes("remote", b"text"),
        lambda: mig.files.mkdir("m"),
        lambda: mig.files.move("a", "b"),
        lambda: mig.files.checksum("a"),
        lambda: mig.files.unpack("a.zip", "d"),
        lambda: mig.submit("true", inputs=[str(here / "local")]),
    )


async def each(*actions: Callable[[], Awaitable[object]]) -> None:
    for action in actions:
        with suppress(MigError):
            await action()


CHANNELS: dict[str, tuple[Callable[[Server, str], None], Callable[[Session, Path], Awaitable[None]]]] = {
    "files": (answers_of_files, use_files),
    "folders": (partial(answers_of_files, kind="directory"), use_files),
    "paths": (partial(answers_of_files, prefix=""), use_files),
    "jobs": (answers_of_a_job, use_jobs),
    "site": (answers_of_a_site, use_site),
}


@pytest.mark.parametrize("channel", CHANNELS)
async def test_a_session_takes_every_name(work: Path, channel: str) -> None:
    answer, use = CHANNELS[channel]
    for number, name in enumerate(NAMES.values()):
        server = Server()
        here = work / str(number)
        here.mkdir()
        with anyio.fail_after(1e6):  # of virtual time
            async with opened(server) as mig:
                answer(server, name)
                await use(mig, here)


def zip_with(name: str) -> bytes:
    out = io.BytesIO()
    wanted = name.encode("utf-8", "surrogatepass") or b"."
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("ok", b"text")
        archive.writestr("?" * len(wanted), b"text")
    return out.getvalue().replace(b"?" * len(wanted), wanted)


def tar_with(name: str) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.GNU_FORMAT, errors="surrogatepass") as archive:
        for each_name in ("ok", name):
            member = tarfile.TarInfo(each_name)
            member.size = 4
            archive.addfile(member, io.BytesIO(b"text"))
    return out.getvalue()


@pytest.mark.parametrize("kind", ["zip", "tar"])
async def test_archives_take_every_name(work: Path, kind: str) -> None:
    for number, name in enumerate(NAMES.values()):
        data = zip_with(name) if kind == "zip" else tar_with(name)
        files = Files(LocalHome(work / str(number)))
        await files.write_bytes(f"a.{kind}", data)
        with suppress(MigError):
            await files.unpack(f"a.{kind}", "d")
        assert {path.name for path in (work / str(number)).iterdir()} <= {".aiomig", f"a.{kind}", "d"}
