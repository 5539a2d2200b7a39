"""The world in which a recorded request was made: files and jobs, arranged in a `FakeGrid`."""

from __future__ import annotations

import json
import re
import shutil
import zipfile
from typing import TYPE_CHECKING, Any

from aiomig._spec.mrsl import Description

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from aiomig.testing import FakeGrid

JOB_ID = re.compile(r"\d+_\d+_\d+_\d+__\d+_\d+_\d+_localhost\.0")
TEXT = b"line one\nline two\nline three\nlast line without newline"
CRLF = b"a\r\nb\rc\n\n"
BERRIES = "blå bær\ngrød på fad\n".encode()
BYTES = bytes(range(256))

_FILES = {
    "rec/a-json.txt": TEXT,
    "rec/a-txt.txt": TEXT,
    "rec/crlf-json.txt": CRLF,
    "rec/crlf-txt.txt": CRLF,
    "rec/blåbær-json.txt": BERRIES,
    "rec/with some space-json.txt": TEXT,
    "rec/empty-json.txt": b"",
    "rec/real.dat": BYTES,
    "rec/latin1.txt": b"bl\xe5\n",
    "rec/two1-json.txt": TEXT,
    "rec/two2-json.txt": TEXT,
    "rec/new-json/moved.txt": TEXT,
    "rec/copy-json.txt": TEXT,
    "rec/moved-json.txt": TEXT,
    "rec/ucmv-json.dat": BYTES * 8,
    "rec/bigtext.txt": b"the same line again\n" * 2300,
    ".htaccess": b"secret",
    ".upload-cache/ucmv-json.dat": BYTES * 8,
    ".upload-cache/uc2-json.dat": BYTES * 8,
    ".upload-cache/uc-json.dat": BYTES * 8,
    ".upload-cache/uc4-json.dat": b"x" * 1034,
    "message_queues/qjson/1795410448": "hello æ".encode(),
    "message_queues/default/none": b"",
}
"""The approximate content of the home at the time of most requests."""

_ABSENT = {
    "mqueue--create--json": "message_queues/qjson",
    "mqueue--remove-nosuch--json": "message_queues/qjson",
    "cert_redirect--file": ".upload-cache",
}
_FOLDERS = {
    "mkdir--exists-p--json": "rec/new-json",
    "rmdir--empty--json": "rec/cgi-json",
    "mv--dir--json": "rec/newcopy-json",
}


def arrange_files(grid: FakeGrid, name: str, expected: list[dict[str, Any]]) -> None:
    """Create the files of the home that appear in the recorded response."""
    home = grid.home
    for path, content in _FILES.items():
        put(home, path, content)
    _special(home, name)
    for each in expected:
        if each["object_type"] == "dir_listings":
            _listed(home, each)
    if name.startswith(("chksum--wildcard", "statpath--wildcard")):
        _only(home, expected)


def _special(home: Path, name: str) -> None:
    if name in _ABSENT:
        shutil.rmtree(home / _ABSENT[name])
    if name in _FOLDERS:
        (home / _FOLDERS[name]).mkdir(parents=True, exist_ok=True)
    if name == "mqueue--receive-second--json":
        (home / "message_queues/qjson/1795410448").rename(home / "message_queues/qjson/zz")
        (home / "message_queues/qjson/zz").write_text("second")
    if name == "touch--existing--json":
        put(home, "rec/touched-json", b"")
    if name == "rm--wildcard--json":
        for each in ("unp-json", "unz-json", "unt-json"):
            put(home, f"rec/{each}/file", b"")
    _archives(home, name)
    if name == "ls--current_dir--json":
        for stray in (home / "rec").glob("*.dat"):
            stray.unlink()


def put(home: Path, path: str, content: bytes) -> None:
    place = home / path
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_bytes(content)


def _archives(home: Path, name: str) -> None:
    if name.startswith("unpack--zip"):
        with zipfile.ZipFile(home / "rec/p-json.zip", "w") as archive:
            archive.writestr("one.txt", "one")


def _listed(home: Path, listings: dict[str, Any]) -> None:
    for listing in listings["dir_listings"]:
        folder = listing["relative_path"]
        if folder.startswith("/"):
            folder = "."
        if any(entry["rel_path"] != folder for entry in listing["entries"]):
            shutil.rmtree(home / folder, ignore_errors=True)
            (home / folder).mkdir(parents=True)
    for entry in _entries(listings):
        if entry["type"] == "directory":
            (home / entry["rel_path"]).mkdir(parents=True, exist_ok=True)
        elif not (home / entry["rel_path"]).exists() or "file_info" in entry:
            size = entry.get("file_info", {}).get("size")
            if size is None and "long_format" in entry:
                size = int(entry["long_format"].split()[1])
            put(home, entry["rel_path"], b"x" * (size or 0))


def _entries(listings: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for listing in listings["dir_listings"]:
        yield from (entry for entry in listing["entries"] if entry["name"] not in (".", ".."))


def _content(name: str) -> bytes:
    marks = {"empty": b"", "blåbær": BERRIES, "cat-": TEXT + b"a\nb\nc\n\n", "crlf": CRLF, "two2": b"b\n"}
    return next((content for mark, content in marks.items() if mark in name), TEXT)


def _only(home: Path, expected: list[dict[str, Any]]) -> None:
    lines = [line for each in expected for line in each.get("lines", ())]
    if lines:
        shutil.rmtree(home / "rec")
        for line in lines:
            name = line.partition(" ")[2].strip()
            put(home, name, _content(name))
    else:
        for path in (home / "rec").glob("*.dat"):
            path.unlink()
        for number in range(sum(each["object_type"] == "stats" for each in expected)):
            put(home, f"rec/{number}.dat", b"")


def arrange_jobs(grid: FakeGrid, expected: list[dict[str, Any]], asked: str) -> list[str]:
    """Create the jobs in the response, with their ids and states; return the ids."""
    ids: list[str] = []
    for row in [*_jobs_in(expected, asked), *_unshown(expected)]:
        if row["job_id"] in ids:
            continue
        commands = tuple(row.get("execute", "echo").split("; "))
        record = grid._jobs.make(grid.user, Description({"EXECUTE": commands, **row.get("keywords", {})}))
        del grid._jobs.records[record.id]
        record.id = row["job_id"]
        grid._jobs.records[record.id] = record
        ids.append(record.id)
        _bring(grid, record.id, row)
    return ids


def _unshown(expected: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Jobs that appear in the response only by their ids."""
    found = re.search(r"Only showing first (\d+) of the (\d+) matching jobs", json.dumps(expected))
    for number in range(int(found[2]) - int(found[1]) if found else 0):
        yield {"job_id": f"{9000 + number}_1_1_2026__1_1_1_localhost.0", "status": "QUEUED"}


def _jobs_in(expected: list[dict[str, Any]], asked: str) -> Iterator[dict[str, Any]]:
    for each in expected:
        match each["object_type"]:
            case "job_list":
                yield from each["jobs"]
            case "changedstatusjobs":
                for row in each["changedstatusjobs"]:
                    yield {**row, "status": row["oldstatus"]}
            case "resubmitobjs":
                for row in each["resubmitobjs"]:
                    yield {**row, "status": "FINISHED"}
            case "checkcondjobs":
                for row in each["checkcondjobs"]:
                    yield {**row, "status": "CANCELED" if "verdict" not in row else "QUEUED"}
    yield from _asked_for(expected, asked)


def _asked_for(expected: list[dict[str, Any]], asked: str) -> Iterator[dict[str, Any]]:
    errors = (each["text"] for each in expected if each["object_type"] == "error_text")
    missing = set(JOB_ID.findall("\n".join(errors)))
    said = json.dumps(expected)
    found = re.search(r"Job status: (\w+)", said)
    state = found[1] if found else "EXECUTING" if "liveio" in asked else "QUEUED"
    views = [each["lines"] for each in expected if each["object_type"] == "file_output"]
    for number, job_id in enumerate(JOB_ID.findall(asked)):
        if job_id not in missing:
            view = views[number] if number < len(views) and views[number] else []
            yield {"job_id": job_id, "status": state, "keywords": _keywords("".join(view))}


def _keywords(text: str) -> dict[str, tuple[str, ...]]:
    blocks = (block.split("\n") for block in text.split("\n\n") if block.strip())
    return {head.strip(":"): tuple(lines) for head, *lines in blocks}


def _bring(grid: FakeGrid, job_id: str, row: dict[str, Any]) -> None:
    job, state = grid.job(job_id), row["status"]
    if state != "PARSE":
        job.queued()
    for history in row.get("execution_histories", ())[: None if state != "FAILED" else -1]:
        job.executing().requeue(history["execution_history"]["failed_message"])
    if "executing_timestamp" in row or state == "EXECUTING":
        job.executing()
    record = grid._jobs.records[job_id]
    if state == "FINISHED":
        job.finish()
    elif state == "FAILED":
        job.fail()
    elif state == "EXPIRED":
        job.expire()
    elif state in ("CANCELED", "FROZEN"):
        grid._jobs.act({"CANCELED": "cancel", "FROZEN": "freeze"}[state], record)
    if "schedule_timestamp" in row:
        record.times["schedule"] = grid.now
