"""What a file may be called: in a job, in the MiG home, in a URL. Pure text, no I/O."""

from __future__ import annotations

import posixpath
import re
import string
import unicodedata
from typing import NamedTuple

from .._core.paths import INVISIBLE, OWN_FOLDER

URL_MARK = "://"
"""What makes a text a URL for a server (mig-protocol 4.3)."""

_RESERVED_NAMES = INVISIBLE | {".interactivejobfinished"}
_PATH_CHARACTERS = frozenset(
    string.ascii_letters + string.digits + " /.,_-+=:;@'%()~!&" + "¤$€£¢¥₣₤±×÷½¾§‰¶"
)  # mig-protocol 8.1
_LETTER_CATEGORIES = frozenset({"Lu", "Ll", "Lt"})
_PLAIN_PATH = re.compile(r"[A-Za-z0-9_./+=:@%,-]*")
_UNPRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
_SAFE_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._+-]*(?:/[A-Za-z0-9_][A-Za-z0-9._+-]*)*")
_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://[^/].*|file:///.+")
_LONGEST_PATH = 3500  # a resource joins it to its own job directory, within PATH_MAX of 4096
_LONGEST_HOME_PATH = 4096  # mig-protocol 4.5


class Complaint(NamedTuple):
    """What is wrong with a value, and what to do."""

    problem: str
    remedy: str


def is_url(text: str) -> bool:
    """Whether a server takes `text` as a URL rather than a path."""
    return URL_MARK in text


def is_safe(name: str) -> bool:
    """Whether every part of MiG's generated scripts carries `name` as it is, also unquoted."""
    return _SAFE_NAME.fullmatch(name) is not None and not name.endswith(".status")


def stray_character(text: str) -> str | None:
    """The first character that MiG does not take in a path, or ``None`` (mig-protocol 8.1)."""
    if _PLAIN_PATH.fullmatch(text):
        return None
    for character in unicodedata.normalize("NFC", text):
        if character not in _PATH_CHARACTERS and unicodedata.category(character) not in _LETTER_CATEGORIES:
            return character
    return None


def name_complaint(name: str) -> Complaint | None:
    """What is wrong with a relative path below the job directory or the folder of `Job.fetch`."""
    if is_safe(name) and len(name) < 256:
        return None
    if not name or posixpath.normpath(name) == ".":
        return Complaint("is empty", "give the name of a file, such as 'data.csv'")
    if _UNPRINTABLE.search(name):
        return Complaint("holds a control character or half a character", "use printable characters in names")
    if is_url(name):
        return Complaint("is a URL where the name of a file is needed", "give a relative path")
    if name.startswith("/"):
        return Complaint("is absolute", "give a path relative to the job directory, without the leading '/'")
    if name.endswith("/"):
        return Complaint("is a directory where a file is needed", "name the file itself, such as 'plots/7.png'")
    components = posixpath.normpath(name).split("/")
    if components[0] == "..":
        return Complaint("leads out of the folder", "remove the '..'")
    return _component_complaint(components)


def _component_complaint(components: list[str]) -> Complaint | None:
    for component in components:
        if len(component.encode()) > 255:
            return Complaint("has a component longer than 255 bytes", "use a shorter name")
        if component in _RESERVED_NAMES:
            return Complaint(f"holds {component!r}, a name reserved by MiG", "use another name")
    if sum(len(component.encode()) + 1 for component in components) > _LONGEST_PATH:
        return Complaint(f"is longer than {_LONGEST_PATH} bytes", "use a shorter path")
    return None


def home_complaint(path: str, *, written: bool) -> Complaint | None:
    """What is wrong with a path in the MiG home, as far as jobs can read it or, if `written`, write it."""
    if not path or path == ".":
        return Complaint("is the MiG home itself", "name a file in it")
    if path.endswith("/"):
        return Complaint("is a directory where a file is needed", "name the file itself")
    components = path.split("/")
    if components[0] == "..":
        return Complaint("leads out of the MiG home", "remove the '..'")
    hidden = next((component for component in components if component in INVISIBLE), None)
    if components[0] == OWN_FOLDER:
        return Complaint(f"lies in {OWN_FOLDER!r}, the own folder of local mode", "use another folder")
    if hidden is not None:
        return Complaint(f"holds {hidden!r}, a name that MiG hides", "use another name")
    if written and path.endswith(".status"):
        return Complaint(
            "ends in '.status', which makes MiG end the job before its results are sent",
            "use another ending, such as '.state'",
        )
    return _uncarriable(path, "choose another name" if written else "rename it with session.files.move first")


def url_complaint(url: str) -> Complaint | None:
    """What is wrong with a URL that a resource shall read or write (mig-protocol 4.3)."""
    if not _URL.fullmatch(url):
        return Complaint("is not a URL of a file", "write it as 'https://host/path'")
    return _uncarriable(url, "write it in percent-encoding, or fetch it with curl in a command")


def _uncarriable(path: str, remedy: str) -> Complaint | None:
    if len(path) > _LONGEST_HOME_PATH:
        return Complaint(f"is longer than {_LONGEST_HOME_PATH} characters", remedy)
    stray = stray_character(path)
    if stray is None:
        # MiG splits staging lines at blanks, and puts the names into single quotes as they are.
        stray = next((character for character in " '" if character in path), None)
    return None if stray is None else Complaint(f"holds {stray!r}, which MiG cannot carry in a file name", remedy)


class Claims:
    """The names given out so far in one tree of files, so that no two want one place."""

    def __init__(self) -> None:
        self._owners: dict[str, str] = {}
        self._folders: dict[str, str] = {}

    def claim(self, name: str, owner: str) -> Complaint | None:
        """Take the normalised `name` for `owner`, or tell who has it, or has a part of it."""
        folders = _folders_of(name) if "/" in name else []
        rival = self._owners.get(name)
        if rival is not None:
            return Complaint(f"{name!r} is taken by {rival}", "give each file its own name")
        rival = self._folders.get(name) or next((self._owners[up] for up in folders if up in self._owners), None)
        if rival is not None:
            return Complaint(f"{name!r} would be a file and a folder at once, with {rival}", "rename one of them")
        self._owners[name] = owner
        for folder in folders:
            self._folders.setdefault(folder, owner)
        return None


def _folders_of(name: str) -> list[str]:
    return [name[:position] for position, character in enumerate(name) if character == "/"]
