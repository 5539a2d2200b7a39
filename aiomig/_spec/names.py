"""Rules for the names of files in a job, in the MiG home and in URLs. No I/O."""

from __future__ import annotations

import posixpath
import re
from dataclasses import replace

from .._core.models import Fault
from .._core.paths import INVISIBLE, MAX_LENGTH, path_fault, stray_character

URL_MARK = "://"
"""The mark by which a server distinguishes URLs from paths. See docs/protocol.md#staging-lines."""

_RESERVED_NAMES = INVISIBLE | {".interactivejobfinished"}
_UNPRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
_SAFE_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._+-]*(?:/[A-Za-z0-9_][A-Za-z0-9._+-]*)*")
_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://[^/].*|file:///.+")
_LONGEST_NAME = 3500  # with the job directory of the resource, a path must fit into PATH_MAX (4096)


def is_url(text: str) -> bool:
    """Return whether a server treats `text` as a URL and not as a path."""
    return URL_MARK in text


def is_safe(name: str) -> bool:
    """Return whether MiG's generated scripts can handle `name`, even where they do not quote it."""
    return _SAFE_NAME.fullmatch(name) is not None and not name.endswith(".status")


def name_fault(field: str, name: str) -> Fault | None:
    """Return the fault of a relative path in the job directory or below the folder of `Job.fetch`, or ``None``."""
    if is_safe(name) and len(name) < 256:
        return None
    if not name or posixpath.normpath(name) == ".":
        return Fault(field, name, "is empty", "give the name of a file, such as 'data.csv'")
    if _UNPRINTABLE.search(name):
        problem = "contains a control character or a lone surrogate"
        return Fault(field, name, problem, "use printable characters in names")
    if is_url(name):
        return Fault(field, name, "is a URL, not the name of a file", "give a relative path")
    if name.startswith("/"):
        return Fault(field, name, "is absolute", "give a path relative to the job directory, without the leading '/'")
    if name.endswith("/"):
        return Fault(field, name, "is a directory, not a file", "name the file itself, such as 'plots/7.png'")
    components = posixpath.normpath(name).split("/")
    if components[0] == "..":
        return Fault(field, name, "leads out of the folder", "remove the '..'")
    return _component_fault(field, name, components)


def _component_fault(field: str, name: str, components: list[str]) -> Fault | None:
    for component in components:
        if len(component.encode()) > 255:
            return Fault(field, name, "has a component longer than 255 bytes", "use a shorter name")
        if component in _RESERVED_NAMES:
            return Fault(field, name, f"contains {component!r}, a name reserved by MiG", "use another name")
    if sum(len(component.encode()) + 1 for component in components) > _LONGEST_NAME:
        return Fault(field, name, f"is longer than {_LONGEST_NAME} bytes", "use a shorter path")
    return None


def home_path_fault(field: str, path: str, *, written: bool) -> Fault | None:
    """Return why a job cannot read a path of the MiG home, or cannot write it if `written`; else ``None``."""
    if not path or path == ".":
        return Fault(field, path, "is the MiG home itself", "name a file in it")
    if path.endswith("/"):
        return Fault(field, path, "is a directory, not a file", "name the file itself")
    if fault := path_fault(path):
        return replace(fault, field=field)
    if written and path.endswith(".status"):
        problem = "ends in '.status'; such an output makes MiG end the job before its results are sent"
        return Fault(field, path, problem, "use another ending, such as '.state'")
    return _character_fault(field, path, "choose another name" if written else "rename it with session.files.move")


def url_fault(field: str, url: str) -> Fault | None:
    """Return why a resource cannot read or write a URL, or ``None``. See docs/protocol.md#staging-lines."""
    if not _URL.fullmatch(url):
        return Fault(field, url, "is not the URL of a file", "write it as 'https://host/path'")
    return _character_fault(field, url, "percent-encode it, or fetch the file with curl in a command")


def _character_fault(field: str, path: str, remedy: str) -> Fault | None:
    if len(path) > MAX_LENGTH:
        return Fault(field, path, f"is longer than {MAX_LENGTH} characters", remedy)
    stray = stray_character(path)
    if stray is None:
        # MiG splits staging lines at blanks, and quotes names with single quotes without escaping.
        stray = next((character for character in " '" if character in path), None)
    if stray is None:
        return None
    return Fault(field, path, f"contains {stray!r}, which MiG does not accept in a file name", remedy)


class Claims:
    """The names that are taken in a tree of files, so that no two files get the same path."""

    def __init__(self) -> None:
        self._owners: dict[str, str] = {}
        self._folders: dict[str, str] = {}

    def claim(self, owner: str, name: str) -> Fault | None:
        """Reserve the normalised `name` for the field `owner`, or return why it conflicts with another field."""
        folders = [name[:position] for position, character in enumerate(name) if character == "/"]
        rival = self._owners.get(name)
        if rival is not None:
            return Fault(owner, name, f"{name!r} is taken by {rival}", "give each file its own name")
        rival = self._folders.get(name) or next((self._owners[up] for up in folders if up in self._owners), None)
        if rival is not None:
            problem = f"{name!r} and {rival} would make the same path a file and a folder"
            return Fault(owner, name, problem, "rename one of them")
        self._owners[name] = owner
        for folder in folders:
            self._folders.setdefault(folder, owner)
        return None
