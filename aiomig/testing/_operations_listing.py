"""Operations that read paths: ls, statpath and chksum."""

from __future__ import annotations

import hashlib
import posixpath
from typing import TYPE_CHECKING, Any

from ._operation import Operation, Parameter

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ._operation import Call

FLAGS = Parameter("flags", "flags")
PATHS = Parameter("path", "pattern", required=True)
HERE = Parameter("current_dir", "path", default=(".",))
SHARE = Parameter("share_id", "id")
_BLOCK = 32_768


def _ls(call: Call) -> None:
    for _ in range(2):
        call.add("html_form", text="<div class='files'></div>")
    listings: list[dict[str, Any]] = []
    call.add(
        "dir_listings",
        dir_listings=listings,
        flags=call.flags,
        redirect_name="/cert_redirect",
        redirect_path="/cert_redirect",
        share_id="",
        **_templates(call),
    )
    listings += [_listing(call, path) for path in call.matches("path")]


def _templates(call: Call) -> dict[str, str]:
    token = call.token("rm")
    return {
        "ls_url_template": f"ls.py?current_dir=%(rel_dir_enc)s&flags={call.flags}",
        "rm_url_template": f"rm.py?path=%(rel_path_enc)s&_csrf={token}",
        "rmdir_url_template": f"rm.py?path=%(rel_path_enc)s&flags=r&_csrf={token}",
        "editor_url_template": "editor.py?path=%(rel_path_enc)s",
        "redirect_url_template": "//cert_redirect/%(rel_path_enc)s",
    }


def _listing(call: Call, path: str) -> dict[str, Any]:
    entries: list[dict[str, Any]] = []
    place = call.home.root / path
    if not place.is_dir():
        entries.append(call.home.entry(path, call.flags))
    else:
        if "a" in call.flags:
            entries.append(call.home.entry(path, call.flags, "."))
            entries.append({**call.home.entry(path, call.flags, ".."), **_above(path)})
        entries += _below(call, path)
    return {"object_type": "dir_listing", "relative_path": path, "entries": entries, "flags": call.flags}


def _above(path: str) -> dict[str, str]:
    # If the folder above is out of the home, the server names it by an empty string.
    above = posixpath.dirname(path)
    return {"rel_path": above, "rel_path_enc": above, "rel_dir_enc": above, "dirname_with_dir": above}


def _below(call: Call, path: str) -> Iterator[dict[str, Any]]:
    for name in call.home.names(path, hidden="a" in call.flags):
        below = name if path == "." else posixpath.join(path, name)
        yield call.home.entry(below, call.flags)
        place = call.home.root / below
        if "r" in call.flags and place.is_dir() and not place.is_symlink():
            yield from _below(call, below)


def _statpath(call: Call) -> None:
    call.verbose()
    for pattern in call.all("path"):
        paths = call.home.find(pattern)
        stats = [_stat(call, path) for path in paths]
        # The server adds the whole list once for each match (docs/protocol.md#statpath).
        for _ in paths:
            call.add("stats", stats=stats)
        if not paths:
            call.missing(pattern)


def _stat(call: Call, path: str) -> dict[str, Any]:
    status = (call.home.root / path).stat()
    row: dict[str, Any] = {
        "device": status.st_dev,
        "inode": status.st_ino,
        "mode": status.st_mode,
        "nlink": status.st_nlink,
        "uid": status.st_uid,
        "gid": status.st_gid,
        "rdev": status.st_rdev,
        "size": status.st_size,
        "atime": status.st_atime,
        "mtime": status.st_mtime,
        "ctime": status.st_ctime,
        "object_type": "stat",
    }
    return {**row, "name": path} if "v" in call.flags else row


def _chksum(call: Call) -> None:
    names = call.all("hash_algo") or [min(hashlib.algorithms_guaranteed)]
    for name in names:
        if name not in hashlib.algorithms_guaranteed:
            call.error(f"unsupported checksum algorithm '{name}'")
            return
    for path in call.matches("path"):
        call.add("file_output", lines=["".join(_checksum(call, path, name) for name in names)])


def _checksum(call: Call, path: str, name: str) -> str:
    place = call.home.root / path
    if place.is_dir():
        return f"checksum '{path}' failed {path}\n"
    blocks = int(call.last("max_chunks"))
    digest = hashlib.new(name, usedforsecurity=False)
    with place.open("rb") as stream:
        data = stream.read(-1 if blocks == 0 else blocks * _BLOCK)
        more = bool(stream.read(1))
    digest.update(data)
    value = digest.hexdigest(32) if name.startswith("shake") else digest.hexdigest()  # type: ignore[call-arg]
    return f"{value} {path}{f' (of first {len(data)} bytes)' if more else ''}\n"


OPERATIONS = (
    Operation(
        "ls",
        (Parameter("path", "pattern", default=(".",)), FLAGS, HERE, SHARE),
        _ls,
        title="User Files",
        stranger_message="No such user files!",
    ),
    Operation("statpath", (PATHS, FLAGS), _statpath),
    Operation(
        "chksum",
        (
            PATHS,
            Parameter("hash_algo", "id"),
            Parameter("max_chunks", "digits", default=("1024",)),
            HERE,
            FLAGS,
        ),
        _chksum,
    ),
)
