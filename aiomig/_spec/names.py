"""Which names a file can have in a job, in the MiG home, in a URL. Pure text, no I/O."""

from __future__ import annotations

import posixpath
import re
from dataclasses import replace

from .._core.models import Fault
from .._core.paths import INVISIBLE, MAX_LENGTH, path_fault, stray_character

URL_MARK = "://"
"""What makes a text a URL for a server. See docs/protocol.md#staging-lines."""

_RESERVED_NAMES = INVISIBLE | {".interactivejobfinished"}
_UNPRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
_SAFE_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._+-]*(?:/[A-Za-z0-9_][A-Za-z0-9._+-]*)*")
_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://[^/].*|file:///.+")
_LONGEST_NAME = 3500  # a resource joins it to its own job directory, within PATH_MAX of 4096


def is_url(text: str) -> bool:
    """Return whether a server takes `text` as a URL and not as a path."""
    return URL_MARK in text


def is_safe(name: str) -> bool:
    """Return whether all of MiG's generated scripts carry `name` as it is, even where they do not quote it."""
    return _SAFE_NAME.fullmatch(name) is not None and not name.endswith(".status")


def name_fault(field: str, name: str) -> Fault | None:
    """Return what is wrong with a relative path in the job directory, or below the folder of `Job.fetch`."""
    if is_safe(name) and len(name) < 256:
        return None
    if not name or posixpath.normpath(name) == ".":
        return Fault(field, name, "is empty", "give the name of a file, such as 'data.csv'")
    if _UNPRINTABLE.search(name):
        return Fault(field, name, "holds a control character or half a character", "use printable characters in names")
    if is_url(name):
        return Fault(field, name, "is a URL where the name of a file is needed", "give a relative path")
    if name.startswith("/"):
        return Fault(field, name, "is absolute", "give a path relative to the job directory, without the leading '/'")
    if name.endswith("/"):
        return Fault(
            field, name, "is a directory where a file is needed", "name the file itself, such as 'plots/7.png'"
        )
    components = posixpath.normpath(name).split("/")
    if components[0] == "..":
        return Fault(field, name, "leads out of the folder", "remove the '..'")
    return _component_fault(field, name, components)


def _component_fault(field: str, name: str, components: list[str]) -> Fault | None:
    for component in components:
        if len(component.encode()) > 255:
            return Fault(field, name, "has a component longer than 255 bytes", "use a shorter name")
        if component in _RESERVED_NAMES:
            return Fault(field, name, f"holds {component!r}, a name reserved by MiG", "use another name")
    if sum(len(component.encode()) + 1 for component in components) > _LONGEST_NAME:
        return Fault(field, name, f"is longer than {_LONGEST_NAME} bytes", "use a shorter path")
    return None


def home_path_fault(field: str, path: str, *, written: bool) -> Fault | None:
    """Return why a job cannot read a path of the MiG home or, if `written`, cannot write it."""
    if not path or path == ".":
        return Fault(field, path, "is the MiG home itself", "name a file in it")
    if path.endswith("/"):
        return Fault(field, path, "is a directory where a file is needed", "name the file itself")
    if fault := path_fault(path):
        return replace(fault, field=field)
    if written and path.endswith(".status"):
        problem = "ends in '.status', which makes MiG end the job before its results are sent"
        return Fault(field, path, problem, "use another ending, such as '.state'")
    return _carrying_fault(field, path, "choose another name" if written else "rename it with session.files.move first")


def url_fault(field: str, url: str) -> Fault | None:
    """Return why a resource cannot read or write a URL. See docs/protocol.md#staging-lines."""
    if not _URL.fullmatch(url):
        return Fault(field, url, "is not a URL of a file", "write it as 'https://host/path'")
    return _carrying_fault(field, url, "write it in percent-encoding, or fetch it with curl in a command")


def _carrying_fault(field: str, path: str, remedy: str) -> Fault | None:
    if len(path) > MAX_LENGTH:
        return Fault(field, path, f"is longer than {MAX_LENGTH} characters", remedy)
    stray = stray_character(path)
    if stray is None:
        # MiG splits staging lines at blanks, and puts the names into single quotes as they are.
        stray = next((character for character in " '" if character in path), None)
    if stray is None:
        return None
    return Fault(field, path, f"holds {stray!r}, which MiG cannot carry in a file name", remedy)


class Claims:
    """The names taken so far in one tree of files, so that no two files get the same place."""

    def __init__(self) -> None:
        self._owners: dict[str, str] = {}
        self._folders: dict[str, str] = {}

    def claim(self, owner: str, name: str) -> Fault | None:
        """Take the normalised `name` for the field `owner`, or return why another field is in its way."""
        folders = [name[:position] for position, character in enumerate(name) if character == "/"]
        rival = self._owners.get(name)
        if rival is not None:
            return Fault(owner, name, f"{name!r} is taken by {rival}", "give each file its own name")
        rival = self._folders.get(name) or next((self._owners[up] for up in folders if up in self._owners), None)
        if rival is not None:
            problem = f"{name!r} would be a file and a folder at once, with {rival}"
            return Fault(owner, name, problem, "rename one of them")
        self._owners[name] = owner
        for folder in folders:
            self._folders.setdefault(folder, owner)
        return None
