"""Operations that change the home: mkdir, rmdir, rm, touch, truncate, cp and mv."""

from __future__ import annotations

import os
import posixpath
import shutil
from typing import TYPE_CHECKING

from ._operation import Operation, Parameter
from ._operations_listing import FLAGS, HERE, PATHS, SHARE
from ._operations_services import restore

if TYPE_CHECKING:
    from pathlib import Path

    from ._operation import Call

_TRASH = ".trash"
_UNKNOWN_CLIENT = "Invalid client/sharelink id!"
_OVERVIEW = {"destination": "ls.py", "text": "Return to files overview"}


def _mkdir(call: Call) -> None:
    has_created = False
    for path in call.all("path"):
        clean = posixpath.normpath(call.joined(path))
        place = call.home.place(clean)
        if place is None:
            call.error(f"mkdir: cannot create directory '{path}': Permission denied")
        elif place.exists() and not ("p" in call.flags and place.is_dir()):
            call.error(f"{path}: path exist!")
        elif not place.parent.is_dir():
            call.error(f'cannot create "{path}": inside a read-only location!')
        else:
            place.mkdir(exist_ok=True)
            call.text(f"created directory {path}")
            call.add("link", destination=f"ls.py?current_dir={path}", text=f"Open {path}")
            has_created = True
    if has_created:
        call.text("")
    call.add("link", **_OVERVIEW)


def _rmdir(call: Call) -> None:
    for path in call.all("path"):
        place = call.home.place(call.joined(path))
        if place is None:
            call.error(f"rmdir: cannot remove directory '{path}': Permission denied")
        elif not place.is_dir() or place == call.home.root:
            call.missing(path)
        elif any(place.iterdir()):
            call.error(f"rmdir '{path}' failed!")
        else:
            _remove_empty(call, place)
            call.text(f"removed directory {path}")
    call.add("link", **_OVERVIEW)


def _remove_empty(call: Call, place: Path) -> None:
    place.rmdir()
    while "p" in call.flags and (place := place.parent) != call.home.root and not any(place.iterdir()):
        place.rmdir()


def _rm(call: Call) -> None:
    for path in call.matches("path"):
        _rm_one(call, path)
    call.add("link", **_OVERVIEW)


def _rm_one(call: Call, path: str) -> None:
    place = call.home.root / path
    if path == ".":
        call.add("warning", text="You're not allowed to delete your entire home directory!")
        return
    if place.is_dir() and not place.is_symlink() and "r" not in call.flags:
        call.error(f"rm: cannot remove '{path}': is a directory")
        return
    if "f" not in call.flags and not place.is_symlink():
        _to_trash(call, place)
    elif place.is_dir() and not place.is_symlink():
        shutil.rmtree(place)
    else:
        place.unlink()
    call.text(f"removed {path}")


def _to_trash(call: Call, place: Path) -> None:
    trash = call.home.root / _TRASH
    trash.mkdir(exist_ok=True)
    link = call.home.root / "Trash"
    if not link.exists():
        link.symlink_to(_TRASH)
    target = trash / place.name
    number = 0
    while target.exists():
        number += 1
        target = trash / f"{place.name}.{number}"
    place.rename(target)


def _touch(call: Call) -> None:
    for pattern in call.all("path"):
        for path in call.home.find(pattern) or [pattern]:
            place = call.home.place(path)
            if place is None:
                call.error(f"touch: '{pattern}': Permission denied")
            elif not place.parent.is_dir():
                call.error(f"cannot touch '{pattern}': inside a read-only location!")
            else:
                place.touch()


def _truncate(call: Call) -> None:
    for path in call.matches("path"):
        place = call.home.root / path
        if place.is_dir():
            call.error(f"truncate: '{path}' failed!")
        else:
            os.truncate(place, int(call.last("size")))


def _destination(call: Call, message: str) -> Path | None:
    dst = call.last("dst")
    if call.home.place(dst) is None:
        call.error(message.format(dst))
        return None
    paths = call.home.find(dst)
    place = call.home.root / paths[0] if paths else call.home.place(dst)
    if place is None or not place.parent.is_dir():
        call.error("Illegal dst path provided!")
        return None
    return place


def _cp(call: Call) -> None:
    if call.last("freeze_id"):
        restore(call)
        return
    target = _destination(call, "Invalid destination ({} expands to an illegal path)")
    if target is None:
        return
    for path in call.matches("src"):
        _cp_one(call, path, target)


def _cp_one(call: Call, path: str, target: Path) -> None:
    source = call.home.root / path
    place = target / source.name if target.is_dir() else target
    if place == source:
        call.add("warning", text=f"Cannot copy '{path}' to self!")
    elif not source.is_dir():
        shutil.copyfile(source, place)
    elif "r" not in call.flags:
        call.add("warning", text=f"skipping directory source {path}")
    elif source in place.parents:
        call.error(f"cp failed on '{path}' to '{call.last('dst')}'")
    else:
        shutil.copytree(source, place, symlinks=True, dirs_exist_ok=True)


def _mv(call: Call) -> None:
    target = _destination(call, "Invalid path! ({} expands to an illegal path)")
    if target is None:
        return
    for pattern in call.all("src"):
        paths = call.home.find(pattern)
        if not paths:
            call.error(f"mv: no such file or directory! {pattern}")
        for path in paths:
            source = call.home.root / path
            place = target / source.name if target.is_dir() else target
            try:
                source.rename(place)
            except OSError:
                call.error(f"mv: '{path}': '{call.last('dst')}' failed!")


_SOURCES = (
    Parameter("src", "pattern", required=True),
    Parameter("dst", "pattern", required=True),
    FLAGS,
    Parameter("iosessionid", "word"),
)

OPERATIONS = (
    Operation(
        "mkdir",
        (Parameter("path", "path", required=True), FLAGS, HERE, SHARE),
        _mkdir,
        changes=True,
        title="Create User Directory",
        stranger_message=_UNKNOWN_CLIENT,
    ),
    Operation(
        "rmdir",
        (Parameter("path", "path", required=True), FLAGS, HERE, SHARE),
        _rmdir,
        changes=True,
        title="Remove User Directory",
        stranger_message=_UNKNOWN_CLIENT,
    ),
    Operation(
        "rm",
        (PATHS, FLAGS, SHARE, Parameter("iosessionid", "word")),
        _rm,
        changes=True,
        title="Remove User File",
        stranger_message=_UNKNOWN_CLIENT,
    ),
    Operation("touch", (PATHS, FLAGS), _touch, changes=True),
    Operation("truncate", (PATHS, Parameter("size", "digits", default=("0",)), FLAGS), _truncate, changes=True),
    Operation("cp", (*_SOURCES, SHARE, Parameter("freeze_id", "id")), _cp, changes=True),
    Operation("mv", _SOURCES, _mv, changes=True),
)
