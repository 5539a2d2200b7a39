"""What all operations of the server share: their parameters, their objects and the refusals that come first."""

from __future__ import annotations

import html
import json
import unicodedata
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, Protocol

from ._wire import Field, Response

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from ._home import Home
    from ._jobs import Jobs
    from ._site import Site

_LETTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
_DIGITS = "0123456789"
_PATH = _LETTERS + _DIGITS + "¤$€£¢¥₣₤/.,_-+±×÷=½¾ ':;@§%‰()~!&¶"  # as the server's refusal lists them

Characters = Literal["path", "pattern", "flags", "digits", "word", "id", "text", "any"]

_ALLOWED: Mapping[Characters, str] = {
    "path": _PATH,
    "pattern": _PATH + ".*?",
    "flags": _LETTERS,
    "digits": _DIGITS,
    "word": _LETTERS + _DIGITS,
    "id": _LETTERS + _DIGITS + ".-_.*?",
}

CODES = {
    0: "OK",
    1: "Client or system error",
    100: "Client error",
    105: "File not found",
    200: "SYSTEM_ERROR",
    404: "Not Found",
    422: "Unprocessable Content",
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
    output: str
    token: Callable[[str], str]
    objects: list[dict[str, Any]] = field(default_factory=list)
    code: int = 0
    status: int = 200
    raw: Response | None = None
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

    def text(self, text: str) -> None:
        """Says something."""
        self.add("text", text=text)

    def error(self, text: str, code: int = 100) -> None:
        """Says what went wrong."""
        self.add("error_text", text=text)
        self.code = code

    def missing(self, name: str) -> None:
        """Says that a path is not there."""
        self.add("file_not_found", name=name)
        self.code = 105

    def verbose(self) -> None:
        """Says which flags count, as flag ``v`` asks."""
        if "v" in self.flags:
            self.text(f"{self.operation.name} using flag: v")

    def check(self) -> bool:
        """Whether the parameters are as the operation wants them; else it says so (mig-live 1)."""
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
        self.title, self.header, self.code = "Runtime Error", "Internal Error", 1
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
        """The answer as it is sent."""
        if self.raw is not None:
            return self.raw
        kind = {"json": "application/json", "html": "text/html", "file": "application/octet-stream"}.get(
            self.output, "text/plain"
        )
        if self.status != 200:
            kind = self.output if self.output in ("json", "txt") else kind  # mig-live 2
        return Response(self.status, (("Content-Type", kind),), self._body(kind).encode())

    def _body(self, kind: str) -> str:
        if self.output == "file":
            return ""
        if self.output == "json":
            return json.dumps([*self._page(kind), *self.objects, self._timing()])
        if self.output == "html":
            lines = "\n".join(f"<p>{html.escape(line)}</p>" for line in self._lines())
            head = f"<!DOCTYPE html>\n<html>\n<head>\n<title>{self.title}</title>\n</head>"
            return f"{head}\n<body>\n{lines}\n</body>\n</html>\n"
        head = f"Exit code: {self.code} Description {CODES.get(self.code, 'Unknown')} (done in 0.010s)"
        return "\n".join([head, f"Title: {self.title}", *self._lines(), ""])

    def _timing(self) -> dict[str, Any]:
        return {"object_type": "timing_info", "text": "done in 0.010s"}

    def _page(self, kind: str) -> list[dict[str, Any]]:
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
        start = {"object_type": "start", "headers": [["Content-Type", kind]]}
        header = [{"object_type": "header", "text": self.header}] if self.header else []
        return [start, title, *header]

    def _lines(self) -> Iterable[str]:
        if self.header:
            yield from ("", f"___{self.header.upper()}___", "")
        for each in self.objects:
            match each["object_type"]:
                case "error_text":
                    yield f"** {each['text']} **"
                case "warning":
                    yield f"! {each['text']} !"
                case "file_not_found":
                    yield f"{each['name']}: No such file or directory"
                case "text":
                    yield each["text"]
                case "file_output":
                    yield "".join(each["lines"])
                case "link":
                    pass
                case other:
                    yield f"unknown object {other}"


_TOKEN_WORDS = (
    "chksum cp createfreeze datatransfer deletefreeze editfile imagepreview jobaction jobfeasible"
    " jobobjsubmit jobschedule liveio mkdir mqueue mv pack resubmit rmdir rm scripts settingsaction sharelink"
    " submitfields submit tar textarea touch truncate unpack untar unzip uploadchunked upload zip"
)
TOKENS = tuple(_TOKEN_WORDS.split())
"""The operations whose tokens the pages show (mig-protocol 7.2); not canceljob, nor cat and du with dst."""
