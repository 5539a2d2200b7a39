"""The common part of all operations of the server: parameters, objects, and the check of the parameters."""

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
    from ._jobs import Job, Jobs
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


def character_error(text: str, characters: Characters) -> str | None:
    """Return the server's message about the first refused character; ``None`` if all are allowed."""
    if characters == "any":
        return None
    if characters == "text":
        bad = next((character for character in text if character in "<>"), None)
        return None if bad is None else f"found invalid character: {bad!r}"
    allowed = _ALLOWED[characters]
    letters = characters in ("path", "pattern")
    for character in unicodedata.normalize("NFC", text) if letters else text:
        if character in allowed or (letters and unicodedata.category(character) in ("Lu", "Ll", "Lt")):
            continue
        if characters == "message" and character.isalpha() and "À" <= character <= "ÿ":
            continue
        return f"found invalid character: {character!r} (allowed: {allowed})"
    return None


class Operate(Protocol):
    """Carries out a call of an operation."""

    def __call__(self, call: Call, /) -> None: ...


@dataclass(frozen=True, slots=True)
class Operation:
    """One operation of the server.

    Attributes:
        name: its name in the URL.
        parameters: the parameters that it accepts.
        act: carries it out.
        changes: whether it changes something, and so requires POST and a token; or a function of the call.
        title: the title of its page; the default is its name.
        header: the header of its page; the default is the title.
        refusal: the error message if POST or the token is missing.
        accepts_all: whether it accepts any parameter.
        stranger_message: the error message for clients without an account; the default is that of most operations.
    """

    name: str
    parameters: tuple[Parameter, ...]
    act: Operate
    changes: bool | Callable[[Call], bool] = False
    title: str = ""
    header: str | None = None
    refusal: str = REFUSED
    accepts_all: bool = False
    stranger_message: str = ""


@dataclass(slots=True)
class Call:
    """One call of an operation, and the response so far."""

    operation: Operation
    site: Site
    jobs: Jobs
    home: Home
    client: str
    host: str
    site_url: str
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
        """Return all values of a parameter, or its default."""
        values = [sent.text for sent in self.fields if sent.name == name and sent.filename is None]
        if not values:
            values = next((list(rule.default) for rule in self.operation.parameters if rule.name == name), [])
        return values

    def last(self, name: str) -> str:
        """Return the last value of a parameter, or an empty string."""
        values = self.all(name)
        return values[-1] if values else ""

    @property
    def flags(self) -> str:
        """The letters of all flags."""
        return "".join(self.all("flags"))

    def add(self, object_type: str, **values: object) -> dict[str, Any]:
        """Add an object to the response."""
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

    def matching_jobs(self) -> Iterator[Job]:
        """Yield the jobs that match the patterns of ``job_id``; report patterns without a match."""
        for pattern in self.all("job_id"):
            jobs = self.jobs.find(self.client, "*" if pattern == "ALL" else pattern)
            if not jobs:
                self.error(f"{pattern}: You do not have any matching job IDs!")
            yield from jobs

    def text(self, text: str) -> None:
        """Add a text."""
        self.add("text", text=text)

    def error(self, text: str) -> None:
        """Add an error."""
        self.add("error_text", text=text)

    def missing(self, name: str) -> None:
        """Report that a path does not exist."""
        self.add("file_not_found", name=name)

    def verbose(self) -> None:
        """Report the flags if flag ``v`` asks for it."""
        if "v" in self.flags:
            self.text(f"{self.operation.name} using flag: v")

    def check(self) -> bool:
        """Return whether the parameters are valid; report problems as errors (docs/protocol.md#parameters)."""
        parameters = {parameter.name: parameter for parameter in self.operation.parameters}
        problems: list[str] = []
        for sent in self.fields:
            if sent.name in ("output_format", "_csrf", "_"):
                problem = character_error(sent.text, "word") if sent.name == "output_format" else None
            elif sent.name not in parameters:
                problem = None if self.operation.accepts_all else f"unexpected field: {sent.name}"
            elif sent.filename is not None:
                continue
            else:
                problem = self._problem(parameters[sent.name], sent.text)
            if problem:
                problems.append(f"{sent.name}: {sent.text}: {problem}")
        names = {sent.name for sent in self.fields if sent.filename is None}
        for parameter in self.operation.parameters:
            if parameter.required and parameter.name not in names:
                name = parameter.name
                problems += [f"{name}: {name[0]}: {name[1]}", f"{name}: is required but missing: "]
        for problem in problems:
            self.error(html.escape(f"input parsing error: {problem}", quote=False))
        if problems:
            self.error("Input arguments were rejected - not allowed for this script!")
            self.add("link", text="Go back to try again", destination="javascript:history.back();")
        return not problems

    @staticmethod
    def _problem(parameter: Parameter, text: str) -> str | None:
        problem = character_error(text, parameter.characters)
        if problem is None and parameter.limits is not None:
            low, high = parameter.limits
            if not low <= int(text) <= high:
                return f"{parameter.name}: out of range"
        return problem

    def crash(self) -> None:
        """Respond like an operation that crashed."""
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
        """Return the HTTP response: JSON, or a page of HTML without the objects."""
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
    "addvgridtrigger chksum cp createfreeze datatransfer deletefreeze editfile imagepreview jobaction jobfeasible"
    " jobobjsubmit jobschedule liveio mkdir mqueue mv pack resubmit rmdir rm rmvgridtrigger scripts settingsaction"
    " sharelink submitfields submit tar textarea touch truncate unpack untar unzip uploadchunked upload zip"
)
TOKENS = tuple(_TOKEN_WORDS.split())
"""The operations whose tokens the pages show (docs/protocol.md#csrf-tokens)."""
