"""What all operations of the server share: their parameters, their objects and the refusals that come first."""

from __future__ import annotations

import html
import json
import posixpath
import unicodedata
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, Protocol

from ._wire import Field, Response

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from ._home import Home
    from ._jobs import Jobs
    from ._site import Site

_LETTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
_DIGITS = "0123456789"
_PATH = _LETTERS + _DIGITS + "¤$€£¢¥₣₤/.,_-+±×÷=½¾ ':;@§%‰()~!&¶"  # as the server's refusal lists them

Characters = Literal["path", "pattern", "flags", "digits", "word", "id", "text", "message", "any"]

_ALLOWED: Mapping[Characters, str] = {
    "path": _PATH,
    "pattern": _PATH + ".*?",
    "flags": _LETTERS,
    "digits": _DIGITS,
    "word": _LETTERS + _DIGITS,
    "id": _LETTERS + _DIGITS + ".-_.*?",
    "message": _PATH + '?#*[]{}"`|^\\\t\n',
}

REFUSED = "Only accepting\nCSRF-filtered POST requests to prevent unintended updates"
_MENU_WORDS = (
    "home files submitjob jobs vgrids resources runtimeenvs people settings downloads transfers"
    " sharelinks crontab docs logout"
)
_MENU = _MENU_WORDS.split()


@dataclass(frozen=True, slots=True)
class Parameter:
    """One parameter of an operation."""

    name: str
    characters: Characters = "text"
    required: bool = False
    default: tuple[str, ...] = ()
    limits: tuple[int, int] | None = None


def stray(text: str, characters: Characters) -> str | None:
    """The server's words on the first character that it does not take; ``None`` where it takes all."""
    if characters == "any":
        return None
    if characters == "text":
        bad = next((each for each in text if each in "<>"), None)
        return None if bad is None else f"found invalid character: {bad!r}"
    allowed = _ALLOWED[characters]
    letters = characters in ("path", "pattern")
    for each in unicodedata.normalize("NFC", text) if letters else text:
        if each in allowed or (letters and unicodedata.category(each) in ("Lu", "Ll", "Lt")):
            continue
        if characters == "message" and each.isalpha() and "À" <= each <= "ÿ":
            continue
        return f"found invalid character: {each!r} (allowed: {allowed})"
    return None


class Operate(Protocol):
    """What an operation does."""

    def __call__(self, call: Call, /) -> None: ...


@dataclass(frozen=True, slots=True)
class Operation:
    """One operation of the server.

    Attributes:
        name: as in its URL.
        parameters: what it takes; anything else is refused.
        act: what it does.
        changes: whether it changes something and so wants POST and a token; or a test of the call.
        title: the title of its page, default its name.
        header: the header of its page, default the title.
        refusal: how it says that it wants POST and a token.
        lax: whether it takes any parameter.
        strangers: what it says to those without an account; default what most say.
    """

    name: str
    parameters: tuple[Parameter, ...]
    act: Operate
    changes: bool | Callable[[Call], bool] = False
    title: str = ""
    header: str | None = None
    refusal: str = REFUSED
    lax: bool = False
    strangers: str = ""


@dataclass(slots=True)
class Call:
    """One call of an operation, and the answer that it builds up."""

    operation: Operation
    site: Site
    jobs: Jobs
    home: Home
    client: str
    host: str
    program: str
    method: str
    fields: tuple[Field, ...]
    headers: Mapping[str, str]
    now: float
    as_json: bool
    token: Callable[[str], str]
    objects: list[dict[str, Any]] = field(default_factory=list)
    title: str = ""
    header: str | None = None

    def all(self, name: str) -> list[str]:
        """All values of a parameter, or its default."""
        found = [each.text for each in self.fields if each.name == name and each.filename is None]
        if not found:
            found = next((list(each.default) for each in self.operation.parameters if each.name == name), [])
        return found

    def last(self, name: str) -> str:
        """The last value of a parameter; empty where there is none."""
        values = self.all(name)
        return values[-1] if values else ""

    @property
    def flags(self) -> str:
        """The letters of all flags."""
        return "".join(self.all("flags"))

    def add(self, object_type: str, **values: object) -> dict[str, Any]:
        """Adds an object to the answer."""
        self.objects.append({"object_type": object_type, **values})
        return self.objects[-1]

    def joined(self, pattern: str) -> str:
        """Return a path or pattern below the current directory of the call."""
        return posixpath.join(self.last("current_dir") or ".", pattern.lstrip("/"))

    def matches(self, name: str) -> Iterator[str]:
        """Yield the paths of the home that match the patterns of a parameter; report patterns without a match."""
        for pattern in self.all(name):
            paths = self.home.find(self.joined(pattern))
            if not paths:
                self.missing(pattern)
            yield from paths

    def text(self, text: str) -> None:
        """Says something."""
        self.add("text", text=text)

    def error(self, text: str) -> None:
        """Says what went wrong."""
        self.add("error_text", text=text)

    def missing(self, name: str) -> None:
        """Says that a path is not there."""
        self.add("file_not_found", name=name)

    def verbose(self) -> None:
        """Says which flags count, as flag ``v`` asks."""
        if "v" in self.flags:
            self.text(f"{self.operation.name} using flag: v")

    def check(self) -> bool:
        """Whether the parameters are as the operation wants them; else it says so (docs/protocol.md#parameters)."""
        known = {each.name: each for each in self.operation.parameters}
        complaints: list[str] = []
        for each in self.fields:
            if each.name in ("output_format", "_csrf", "_"):
                wrong = stray(each.text, "word") if each.name == "output_format" else None
            elif each.name not in known:
                wrong = None if self.operation.lax else f"unexpected field: {each.name}"
            elif each.filename is not None:
                continue
            else:
                wrong = self._complaint(known[each.name], each.text)
            if wrong:
                complaints.append(f"{each.name}: {each.text}: {wrong}")
        given = {each.name for each in self.fields if each.filename is None}
        for parameter in self.operation.parameters:
            if parameter.required and parameter.name not in given:
                name = parameter.name
                complaints += [f"{name}: {name[0]}: {name[1]}", f"{name}: is required but missing: "]
        for complaint in complaints:
            self.error(html.escape(f"input parsing error: {complaint}", quote=False))
        if complaints:
            self.error("Input arguments were rejected - not allowed for this script!")
            self.add("link", text="Go back to try again", destination="javascript:history.back();")
        return not complaints

    @staticmethod
    def _complaint(parameter: Parameter, text: str) -> str | None:
        wrong = stray(text, parameter.characters)
        if wrong is None and parameter.limits is not None:
            low, high = parameter.limits
            if not low <= int(text) <= high:
                return f"{parameter.name}: out of range"
        return wrong

    def crash(self) -> None:
        """Answers as an operation does that broke down."""
        self.objects.clear()
        self.title, self.header = "Runtime Error", "Internal Error"
        self.add(
            "error_text",
            text=f"A critical internal error occurred in the {self.operation.name} backend. It has been\n"
            f"logged internally with error ID {self.now!r}\n         ",
        )
        self.add(
            "error_text",
            text="Please report it to MiG site support (mig@localhost) if the problem persists.\n         ",
        )

    def response(self) -> Response:
        """Return the answer as it is sent: JSON, or a page of HTML without the objects."""
        if not self.as_json:
            page = f"<!DOCTYPE html>\n<html>\n<head>\n<title>{self.title}</title>\n</head>\n<body></body>\n</html>\n"
            return Response(200, (("Content-Type", "text/html"),), page.encode())
        timing = {"object_type": "timing_info", "text": "done in 0.010s"}
        body = json.dumps([*self._page(), *self.objects, timing])
        return Response(200, (("Content-Type", "application/json"),), body.encode())

    def _page(self) -> list[dict[str, Any]]:
        parts = ("base", "ui_base", "advanced", "skin", "ui_skin", "site_extra")
        scripts = dict.fromkeys(("base", "advanced", "skin", "init", "ready", "site_extra"), "")
        title: dict[str, Any] = {
            "object_type": "title",
            "text": self.title,
            "meta": "",
            "style": dict.fromkeys(parts, ""),
            "script": scripts,
            "skipmenu": False,
            "skipwidgets": True,
            "backend": self.operation.name,
            "base_menu": _MENU,
        }
        if self.operation.name in ("jobman", "fileman"):
            scripts["init"] = "var csrf_map = {};\n" + "".join(
                f'csrf_map["{name}"] = "{self.token(name)}";\n' for name in TOKENS
            )
        start = {"object_type": "start", "headers": [["Content-Type", "application/json"]]}
        header = [{"object_type": "header", "text": self.header}] if self.header else []
        return [start, title, *header]


_TOKEN_WORDS = (
    "chksum cp createfreeze datatransfer deletefreeze editfile imagepreview jobaction jobfeasible"
    " jobobjsubmit jobschedule liveio mkdir mqueue mv pack resubmit rmdir rm scripts settingsaction sharelink"
    " submitfields submit tar textarea touch truncate unpack untar unzip uploadchunked upload zip"
)
TOKENS = tuple(_TOKEN_WORDS.split())
"""The operations whose tokens the pages show (docs/protocol.md#csrf-tokens)."""
