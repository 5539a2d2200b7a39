"""Operations that look at paths: ls, expand, find, statpath, du, and the words of ls on strangers."""

from __future__ import annotations

import fnmatch
import posixpath
import re
from typing import TYPE_CHECKING, Any

from ._operation import Operation, Parameter

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ._home import Home
    from ._operation import Call

FLAGS = Parameter("flags", "flags")
PATHS = Parameter("path", "pattern", required=True)
HERE = Parameter("current_dir", "path", default=(".",))
SHARE = Parameter("share_id", "id")


def joined(call: Call, pattern: str) -> str:
    """A path or pattern below the current directory of the call."""
    return posixpath.join(call.last("current_dir") or ".", pattern.lstrip("/"))


def _ls(call: Call) -> None:
    for _ in range(2):
        call.add("html_form", text="<div class='files'></div>")
    listings: list[dict[str, Any]] = []
    missing: list[str] = []
    for pattern in call.all("path"):
        found = call.home.find(joined(call, pattern))
        if not found:
            missing.append(pattern)
        listings += [_listing(call, path) for path in found]
    call.add(
        "dir_listings",
        dir_listings=listings,
        flags=call.flags,
        redirect_name="/cert_redirect",
        redirect_path="/cert_redirect",
        share_id="",
        **_templates(call),
    )
    for name in missing:
        call.missing(name)


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
    if call.operation.name == "expand" and call.last("with_dest").lower() == "true":
        base = "" if not place.is_dir() else path
        for entry in entries:
            entry["file_dest"] = posixpath.relpath(entry["rel_path"], posixpath.dirname(base) or ".")
            if not base:
                entry["file_dest"] = posixpath.basename(entry["rel_path"])
    return {"object_type": "dir_listing", "relative_path": path, "entries": entries, "flags": call.flags}


def _above(path: str) -> dict[str, str]:
    # The server calls the folder above by the empty text where there is none that may be seen.
    above = posixpath.dirname(path)
    return {"rel_path": above, "rel_path_enc": above, "rel_dir_enc": above, "dirname_with_dir": above}


def _below(call: Call, path: str) -> Iterator[dict[str, Any]]:
    for name in call.home.names(path, hidden="a" in call.flags):
        below = name if path == "." else posixpath.join(path, name)
        yield call.home.entry(below, call.flags)
        place = call.home.root / below
        if "r" in call.flags and place.is_dir() and not place.is_symlink():
            yield from _below(call, below)


def _find(call: Call) -> None:
    listings: list[dict[str, Any]] = []
    missing: list[str] = []
    flags = call.flags
    match = re.compile(fnmatch.translate(call.last("pattern"))).match
    for pattern in call.all("path"):
        found = call.home.find(joined(call, pattern))
        if not found:
            missing.append(pattern)
        for path in found:
            entries = [
                {key: value for key, value in call.home.entry(each, flags).items() if key != "long_format"}
                for each in _walk(call.home, path)
                if match(posixpath.basename(each)) and (call.home.root / each).is_file()
            ]
            shown = str(call.home.root) if path == "." else path  # mig-live 6
            listings.append({"object_type": "dir_listing", "relative_path": shown, "entries": entries, "flags": flags})
    call.add("dir_listings", dir_listings=listings, flags=flags, **_templates(call))
    for name in missing:
        call.missing(name)
    if not missing:
        call.add("file_output", lines=[])


def _walk(home: Home, path: str) -> Iterator[str]:
    for name in home.names(path, hidden=True) if (home.root / path).is_dir() else ():
        below = name if path == "." else posixpath.join(path, name)
        yield below
        if not (home.root / below).is_symlink():
            yield from _walk(home, below)


def _statpath(call: Call) -> None:
    call.verbose()
    for pattern in call.all("path"):
        found = call.home.find(pattern)
        stats = [_stat(call, path) for path in found]
        # The server adds the whole list once for each match (mig-protocol 2.3).
        for _ in found:
            call.add("stats", stats=stats)
        if not found:
            call.missing(pattern)


def _stat(call: Call, path: str) -> dict[str, Any]:
    status = (call.home.root / path).stat()
    found: dict[str, Any] = {
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
    return {**found, "name": path} if "v" in call.flags else found


def _du(call: Call) -> None:
    rows: list[dict[str, Any]] = []
    for pattern in call.all("path"):
        found = call.home.find(joined(call, pattern))
        if not found:
            call.missing(posixpath.join(call.last("current_dir"), pattern))
        for path in found:
            inner = list(_walk(call.home, path))
            sizes = {each: (call.home.root / each).stat().st_size for each in [*inner, path]}
            for each in [path] if "s" in call.flags else [*inner, path]:
                total = sum(size for name, size in sizes.items() if name == each or name.startswith(f"{each}/"))
                rows.append({"object_type": "filedu", "name": each, "bytes": total})
    call.add("filedus", filedus=rows)


def with_destination(call: Call) -> bool:
    """Whether a call that reads otherwise writes its output into the home."""
    return bool(call.last("dst"))


_STRANGERS = "No such user files!"

OPERATIONS = (
    Operation(
        "ls",
        (Parameter("path", "pattern", default=(".",)), FLAGS, HERE, SHARE),
        _ls,
        title="User Files",
        strangers=_STRANGERS,
    ),
    Operation(
        "expand",
        (Parameter("path", "pattern", default=(".",)), FLAGS, HERE, SHARE, Parameter("with_dest", "word")),
        _ls,
        strangers=_STRANGERS,
    ),
    Operation(
        "find",
        (
            Parameter("path", "pattern", default=(".",)),
            Parameter("pattern", "pattern", default=("*",)),
            FLAGS,
            HERE,
        ),
        _find,
    ),
    Operation("statpath", (PATHS, FLAGS), _statpath),
    Operation("du", (PATHS, FLAGS, Parameter("dst", "path"), HERE), _du, changes=with_destination),
)
