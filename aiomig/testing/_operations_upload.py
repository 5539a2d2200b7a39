"""Operations that put files into the home: uploadchunked and textarea (docs/protocol.md#uploads)."""

from __future__ import annotations

import html
import posixpath
import re
from typing import TYPE_CHECKING, Any

from ._operation import Operation, Parameter, character_error
from ._operations_archives import unpack
from ._operations_listing import FLAGS, HERE, SHARE
from ._operations_submit import submit_text

if TYPE_CHECKING:
    from pathlib import Path

    from ._operation import Call
    from ._wire import Field

CACHE = ".upload-cache"
_RANGE = re.compile(r"bytes (\d+)-(\d+)/(\d+)")
_ACTIONS = ("put", "move", "delete", "status")


def _uploadchunked(call: Call) -> None:
    action = call.last("action") or "put"
    call.title = call.header = f"Upload to User Directory: {action}"
    listed: list[dict[str, Any]] = []
    call.add("uploadfiles", files=listed)
    names, problems = _names(call, listed)
    if action not in _ACTIONS:
        call.error(f"Invalid action: {action}!")
    elif problems:
        call.error(f"Errors parsing upload files: {' '.join(problems)}")
    elif not names:
        call.error("No files included to upload!")
    for name, field in names if action in _ACTIONS and not problems else ():
        _chunk(call, action, name, field, listed)


def _names(call: Call, listed: list[dict[str, Any]]) -> tuple[list[tuple[str, Field]], list[str]]:
    filenames = call.all("files[]filename")
    fields = [field for field in call.fields if field.name == "files[]"]
    names: list[tuple[str, Field]] = []
    problems: list[str] = []
    for number, field in enumerate(fields):
        name = field.filename or (filenames[number] if number < len(filenames) else None)
        if name is None:
            continue
        base = posixpath.basename(name)
        if problem := character_error(base, "path"):
            listed.append(
                {
                    "object_type": "uploadfile",
                    "name": base,
                    "size": -1,
                    "error": f"upload rejected: invalid filename: {base} ({problem})",
                }
            )
            problems.append(f"{base} invalid filename: {base} ({problem})")
        elif len(field.value) <= call.site.largest_chunk:
            names.append((base, field))
    return names, problems


def _chunk(call: Call, action: str, name: str, field: Field, listed: list[dict[str, Any]]) -> None:
    path = name if "i" in call.flags else f"{CACHE}/{name}"
    place = call.home.root / path
    entry: dict[str, Any] = {"object_type": "uploadfile"}
    listed.append(entry)
    match action:
        case "put":
            _put(call, place, path, field, entry)
        case "move":
            _move(call, place, path, name, entry)
        case "delete":
            entry[name] = place.is_file()
            place.unlink(missing_ok=True)
        case _:
            entry |= _described(call, place, path, name)


def _put(call: Call, place: Path, path: str, field: Field, entry: dict[str, Any]) -> None:
    content_range = _RANGE.fullmatch(call.headers.get("content-range", ""))
    first, last = (int(content_range[1]), int(content_range[2])) if content_range else (0, len(field.value) - 1)
    if last - first + 1 != len(field.value):
        entry |= {"name": path, "error": f"failed to write chunk {(first, last)} - try again"}
        call.error(f"failed to write chunk {(first, last)} at {first}")
        return
    place.parent.mkdir(exist_ok=True)
    # Do not truncate: the end of an earlier upload with that name remains (docs/protocol.md#uploads).
    with place.open("r+b" if place.exists() else "wb") as stream:
        stream.seek(first)
        stream.write(field.value)
    entry |= _described(call, place, path, posixpath.basename(path))


def _described(call: Call, place: Path, path: str, name: str) -> dict[str, Any]:
    size = place.stat().st_size if place.is_file() else -1
    row: dict[str, Any] = {"name": path, "size": size, "url": f"/cert_redirect/{path}"}
    query = f"files[]filename={name}&files[]=dummy"
    token = call.token("uploadchunked")
    here = call.last("current_dir")
    if here and here != "." and call.last("action") == "put":
        move = f"uploadchunked.py?output_format=json&action=move&{query}&current_dir={here}&_csrf={token}"
        return {**row, "moveType": "POST", "moveDest": here, "moveUrl": move}
    delete = f"uploadchunked.py?output_format=json&action=delete&{query}&_csrf={token}"
    return {**row, "deleteType": "POST", "deleteUrl": delete}


def _move(call: Call, place: Path, path: str, name: str, entry: dict[str, Any]) -> None:
    here = posixpath.normpath(call.last("current_dir"))
    folder = call.home.place(here)
    entry[path] = False
    target = posixpath.normpath(posixpath.join(here, name))
    if folder is None:
        call.error(f"Invalid destination ('{here}' expands to an illegal path)")
    elif not place.is_file():
        return
    elif not folder.is_dir():
        call.error(f"cannot move '{target}': inside a read-only location!")
    elif not (folder / name).is_dir():
        place.replace(folder / name)
        size = (folder / name).stat().st_size
        entry |= {path: True, "name": target, "size": size, "url": f"/cert_redirect/{target}"}


# -- textarea


def _textarea(call: Call) -> None:
    uploads: list[dict[str, Any]] = []
    submitted: list[dict[str, Any]] = []
    for field in call.fields:
        match = re.fullmatch(r"fileupload_(\d+)_\d+_\d+", field.name)
        if match is None or not field.filename:
            continue
        saved = _save(call, field, match[1])
        if saved is None:
            return
        uploads.append(saved)
        if saved["submitmrsl"] and saved["name"].endswith(".mRSL"):
            submitted.append(submit_text(call, field.value.decode(), f"/{saved['name']}"))
    call.add("header", text="Uploaded/created files")
    call.add("fileuploadobjs", fileuploadobjs=uploads)
    call.add("header", text="Submitted jobs")
    call.add("submitstatuslist", submitstatuslist=submitted)


def _save(call: Call, field: Field, number: str) -> dict[str, Any] | None:
    """Save one part; return ``None`` if the server gives up on the whole request."""
    name = call.last(f"remotefilename_{number}") or posixpath.basename(field.filename or "")
    if problem := character_error(name, "path"):
        call.error(html.escape(f"Invalid path! ({name}: {problem})", quote=False))
        return None
    place = call.home.place(name)
    if place is None or place == call.home.root:
        call.error(f"Invalid path! ({name} expands to illegal path)")
        return None
    place.parent.mkdir(parents=True, exist_ok=True)
    try:
        field.value.decode("utf-8")
    except UnicodeDecodeError:
        place.write_bytes(b"")  # leave an empty file (docs/protocol.md#uploads)
        call.error("Error writing file in memory to disk")
        return None
    place.write_bytes(field.value)
    extract = call.last(f"extract_{number}").lower() == "on"
    problem = unpack(place, name, place.parent) if extract else ""
    if problem:
        call.error(f"Problems unpacking: Received '{name}' for unpacking. {problem}")
    else:
        call.text(f"File saved: {name}")
    return {
        "object_type": "fileuploadobj",
        "submitmrsl": call.last(f"submitmrsl_{number}").lower() == "on",
        "name": name,
        "saved": True,
        "extract_packages": extract,
        "size": len(field.value),
    }


OPERATIONS = (
    Operation(
        "uploadchunked",
        (
            Parameter("action", "word", default=("put",)),
            HERE,
            FLAGS,
            SHARE,
            Parameter("files[]", "any"),
            Parameter("files[]filename", "any"),
        ),
        _uploadchunked,
        changes=lambda call: call.last("action") != "status",
        refusal="Only accepting\n                CSRF-filtered POST requests to prevent unintended updates",
        header="",
    ),
    Operation("textarea", (), _textarea, changes=True, accepts_all=True, header="MiG file handling"),
)
