"""Parses the responses of a MiG server: JSON objects, and the errors in them. Pure functions, no I/O.

The exit code of an operation is not in its JSON, and the HTTP status is 200 for nearly every failure, so the objects
tell whether an operation failed (docs/protocol.md#errors). `read_objects` reads any response and raises the errors
that every operation may have. `raise_for_errors` raises those that the operation reports. The modules ``jobs``,
``files`` and ``site`` turn the objects into values. Whatever a server sends, these modules raise only `MigError`.
"""

from __future__ import annotations

import re
from collections.abc import Container, Generator, Iterator, Mapping, Sequence
from html import unescape
from typing import TypeAlias

from ..._core.errors import (
    AuthenticationFailed,
    ConfigError,
    FileExists,
    FileNotFound,
    JobNotFound,
    MigError,
    PathRefused,
    ProtocolError,
    ServerError,
)
from .json_pieces import Excess, load_json

Object: TypeAlias = Mapping[str, object]
"""One object of a response, with its type in ``object_type``."""

Answer: TypeAlias = Sequence[Object]
"""The objects of one response."""

NOISE = frozenset(
    {"start", "title", "header", "html_form", "link", "multilinkline", "timing_info", "end", "table_pager"}
)
"""Object types without data, for web pages only."""

_NO_ACCESS = re.compile(
    r"No such user\b|Invalid or missing user credentials|Authentication is missing!"
    r"|Invalid client/sharelink id!"
)
_BROKEN = re.compile(
    r"A critical internal error occurred|Could not load backend|Job execution is not enabled on this system"
)
_LONGEST_WORDS = 20_000  # characters of one message
_MOST_WORDS = 200_000  # characters of all messages of a response
_MOST_OBJECTS = 20_000
_LONGEST_PAGE = 1_000_000  # bytes of a response that is not JSON
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
_LONG_REFERENCE = re.compile(
    r"&#[xX]?[0-9a-fA-F]{9,};?"
)  # not a character; `unescape` raises an error for very long ones
_CSRF_REFUSED = "Only accepting CSRF-filtered POST requests"
_CSRF_TOKEN = re.compile(r'csrf_map\["(\w+)"\]\s*=\s*"([0-9a-f]{64})"')
_TAG = re.compile(r"<[^<>]*>")
_FORM_NAME = re.compile(r"""\sname=['"]?_csrf['"\s]""")
_FORM_VALUE = re.compile(r"""\svalue=['"]?([0-9a-f]{64})\b""")
_TOKEN = re.compile(r"[0-9a-f]{32,}")
_LONGEST_REFUSAL = 5000  # a path of 4096 characters, and the message about it
_JOB_ID = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,254}", re.ASCII)
_NO_JOB = re.compile(r"(\S+): You do not have any matching job IDs!")
_REFUSALS: tuple[tuple[re.Pattern[str], type[FileNotFound | FileExists | PathRefused]], ...] = (
    (re.compile(r"(?P<path>.+): path exist!"), FileExists),
    (re.compile(r"mv: no such file or directory! (?P<path>.+)"), FileNotFound),
    (
        re.compile(r"input parsing error: (?:path|src|dst|current_dir): (?P<path>.*): found invalid character.*"),
        PathRefused,
    ),
    (
        re.compile(r"Invalid (?:path!|destination) \('?(?P<path>.*?)'? expands to (?:an )?illegal path\)"),
        PathRefused,
    ),
    (re.compile(r"Invalid path! \((?P<path>.*): found invalid character.*"), PathRefused),
    (re.compile(r"Illegal dst path provided!?(?P<path>.*)"), PathRefused),
    (re.compile(r"(?:touch|mkdir|rmdir): .*?'(?P<path>.+)': Permission denied"), PathRefused),
    (re.compile(r"cannot \w+ [\"'](?P<path>.+)[\"']: inside a read-only location!"), PathRefused),
)


def read_objects(
    operation: str, body: bytes, content_type: str = "", http_status: int = 200, *, keep_noise: bool = False
) -> Generator[None, None, list[Object]]:
    """Parse the response to a request with ``output_format=json``. Yields between pieces.

    Args:
        operation: the name of the operation, such as ``"ls"``, for messages.
        body: the whole response, decompressed.
        content_type: the ``Content-Type`` header; some servers send ``json`` instead of ``application/json``.
        http_status: the HTTP status; with a JSON body, only 500 and above count as a failure.
        keep_noise: whether to keep the objects of `NOISE`, which `csrf_tokens` needs.

    Returns:
        The objects, in order.

    Raises:
        AuthenticationFailed: the server knows no user for the certificate (docs/protocol.md#certificates).
        ServerError: the operation crashed, does not exist or is switched off.
        ConfigError: the server redirects, as login hosts do.
        ProtocolError: the response is not a list of objects for any other reason.
    """
    if 300 <= http_status < 400:
        raise redirected(operation, "")
    parsed = yield from _parsed(operation, body, content_type, http_status)
    texts = list(_words(parsed))
    errors = [text for kind, text in texts if kind == "error_text"]
    for text in errors:
        if _NO_ACCESS.match(text):
            raise _no_access(text)
    if http_status >= 500 or any(_BROKEN.match(text) for _, text in texts):
        raise ServerError(operation, errors or [text for _, text in texts] or [f"HTTP {http_status}"])
    return [item for item in parsed if keep_noise or text_of(item, "object_type") not in NOISE]


def redirected(operation: str, location: str) -> ConfigError:
    """Return the error for a redirect: OpenID hosts redirect, certificate hosts do not (docs/protocol.md#certificates).

    Args:
        operation: the name of the operation, for the message.
        location: the ``Location`` header, if any.
    """
    where = f" to {location.partition('?')[0][:200]!r}" if location else ""
    return ConfigError(
        f"{operation}: the server redirects{where}, as a host for logins by password does; give the URL "
        "of the certificate host of the site, often another name or port, as url (migserver in miguser.conf)",
        field="url",
    )


def csrf_refused(answer: Answer) -> bool:
    """Return whether the server refused a missing or outdated token (docs/protocol.md#csrf-tokens)."""
    return any(kind == "error_text" and text.startswith(_CSRF_REFUSED) for kind, text in _words(answer))


def csrf_tokens(answer: Answer) -> dict[str, str]:
    """Return the tokens in the pages ``jobman.py`` and ``fileman.py``, by operation (docs/protocol.md#csrf-tokens).

    Args:
        answer: the objects of such a page, noise included.

    Raises:
        ProtocolError: the page contains no tokens.
    """
    tokens: dict[str, str] = {}
    for title in of_type(answer, "title"):
        script = title.get("script")
        for text in script.values() if isinstance(script, dict) else (script,):
            if isinstance(text, str):
                tokens.update(_CSRF_TOKEN.findall(text))
    if not tokens:
        raise ProtocolError("the page contains no tokens (csrf_map)", excerpt=excerpt(answer))
    return tokens


def form_token(answer: Answer) -> str:
    """Return the token in the form on an operation's own page, if any (docs/protocol.md#csrf-tokens)."""
    texts = (text_of(form, "text")[:_LONGEST_PAGE] for form in of_type(answer, "html_form"))
    tags = (tag for text in texts for tag in _TAG.findall(text) if _FORM_NAME.search(tag))
    return next((match[1] for tag in tags if (match := _FORM_VALUE.search(tag))), "")


def raise_for_errors(operation: str, answer: Answer, expect: str | None = None) -> None:
    """Raise the error that an operation reports, if any.

    Errors are objects of type ``error_text``, ``file_not_found`` and ``warning`` (docs/protocol.md#errors).

    Args:
        operation: the name of the operation, for messages.
        answer: the objects of the response.
        expect: the type of an object that must be present.

    Raises:
        FileNotFound: a path does not exist, or leaves the home: the server reports both in the same way.
        FileExists: a path exists.
        PathRefused: a path is not allowed, or its parent is missing ("inside a read-only location").
        JobNotFound: no job has this id.
        ServerError: any other failure, with all messages of the server.
        ProtocolError: there is no object of the expected type.
    """
    errors = faults(operation, answer)
    if errors:
        raise errors[0]
    if expect is not None and not of_type(answer, expect):
        raise ProtocolError(f"{operation}: the response has no {expect}", excerpt=excerpt(answer))


def faults(operation: str, answer: Answer, *, but: type[MigError] | tuple[()] = ()) -> list[MigError]:
    """Return every error that an operation reports, the most specific first, except those of one type."""
    errors: list[MigError] = [
        # Operations with a current_dir report names such as ./name.
        FileNotFound(text_of(item, "name")[:_LONGEST_WORDS].removeprefix("./") or "?")
        for item in of_type(answer, "file_not_found")
    ]
    messages: list[str] = []
    for kind, text in _words(answer, ("error_text", "warning")):
        refusal = _refusal(text)
        if refusal:
            errors.append(refusal)
        else:
            messages.append(text or f"{kind} without a message")
    if messages and not any(isinstance(error, PathRefused) for error in errors):
        errors.append(ServerError(operation, messages))
    return [error for error in errors if not isinstance(error, but)]


def missing_jobs(answer: Answer) -> tuple[str, ...]:
    """Return the ids and patterns that match no job, as the server reports."""
    matches = (_NO_JOB.fullmatch(text) for kind, text in _words(answer) if kind == "error_text")
    return tuple(match[1] for match in matches if match)


def parse_job_id(operation: str, value: object) -> str:
    """Return a job id from a response, which is safe to use in a path.

    Raises:
        ProtocolError: the value is not a job id (docs/protocol.md#characters).
    """
    if isinstance(value, str) and _JOB_ID.fullmatch(value):
        return value
    raise ProtocolError(f"{operation}: the response has an invalid job id", excerpt=shown(value))


def of_type(answer: Answer, kind: str) -> list[Object]:
    """Return the objects of one type."""
    return [item for item in answer if item.get("object_type") == kind]


def rows(operation: str, answer: Answer, kind: str, key: str = "") -> list[Object]:
    """Return the rows of all objects of a type, such as the ``jobs`` of a ``job_list``; by default the key is the type.

    Raises:
        ProtocolError: there is no such object, or it has no list of objects.
    """
    objects = of_type(answer, kind)
    if not objects:
        raise ProtocolError(f"{operation}: the response has no {kind}", excerpt=excerpt(answer))
    return [row for item in objects for row in members(operation, item, key or kind)]


def members(operation: str, item: Object, key: str) -> list[Object]:
    """Return the list of objects in a member of an object.

    Raises:
        ProtocolError: the member is not a list of objects.
    """
    value = item.get(key)
    if isinstance(value, list) and set(map(type, value)) <= {dict}:  # the fastest check; the list may be long
        return value
    raise ProtocolError(f"{operation}: {key} is not a list of objects", excerpt=shown(value))


def text_of(item: Object, key: str) -> str:
    """Return a string member of an object; empty if it has none."""
    value = item.get(key)
    return value if isinstance(value, str) else ""


def integer_of(item: Object, key: str) -> int | None:
    """Return a member of an object that is an integer from 0 to below 2**63, or ``None``."""
    value = item.get(key)
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 1 << 63 else None


def lines_of(operation: str, item: Object) -> list[str]:
    """Return the lines of a ``file_output``, with their line ends.

    Raises:
        ProtocolError: it has no list of lines.
    """
    lines = item.get("lines")
    if isinstance(lines, list) and all(isinstance(line, str) for line in lines):
        return lines
    raise ProtocolError(f"{operation}: lines is not a list of text", excerpt=shown(lines))


def plain(text: str) -> str:
    """Return a server's message without HTML entities, line breaks, repeated blanks and control characters."""
    return _CONTROL.sub("\ufffd", " ".join(unescape(_LONG_REFERENCE.sub("\ufffd", text)).split()))


def excerpt(answer: Answer) -> str:
    """Return the beginning of a response, for messages."""
    return shown([item for item in answer if text_of(item, "object_type") not in NOISE])


def shown(value: object) -> str:
    """Return the beginning of any part of a response, for messages, without tokens."""
    # Cut before the search, too, because a response may have many megabytes.
    return _TOKEN.sub("…", repr(value)[:100_000])[:400]


def _words(
    answer: Answer, kinds: Container[object] = ("error_text", "warning", "text")
) -> Iterator[tuple[object, str]]:
    """Yield type and text of each message, up to a limit on their total length."""
    left = _MOST_WORDS
    for item in answer:
        if (kind := item.get("object_type")) in kinds and left > 0:
            text = text_of(item, "text")[:_LONGEST_WORDS]
            left -= len(text)
            yield kind, plain(text)


def _refusal(message: str) -> MigError | None:
    if match := _NO_JOB.fullmatch(message):
        return JobNotFound(match[1], "You do not have any matching job IDs!")
    for pattern, kind in _REFUSALS if len(message) <= _LONGEST_REFUSAL else ():
        if match := pattern.fullmatch(message):
            path = match["path"].strip()
            return kind(path, message.removeprefix(f"{path}: "))
    return None


def _no_access(message: str) -> AuthenticationFailed:
    if "issing" in message:
        remedy = "no certificate reached the server; give the URL of the certificate host of the site"
    else:
        remedy = (
            "the server accepts the certificate, but knows no account for it; sign up at the site, or use "
            "the certificate that belongs to the account"
        )
    return AuthenticationFailed(f"{message}: {remedy}")


def _parsed(operation: str, body: bytes, content_type: str, http_status: int) -> Generator[None, None, list[Object]]:
    try:
        value = yield from load_json(body)
    except Excess as error:
        beginning = body[:400].decode("utf-8", "replace")
        raise ProtocolError(f"{operation}: the response is {error}", excerpt=beginning) from None
    except ValueError:
        raise _not_json(operation, body[:_LONGEST_PAGE].decode("utf-8", "replace"), content_type, http_status) from None
    if isinstance(value, list) and len(value) <= _MOST_OBJECTS and all(isinstance(item, dict) for item in value):
        return value
    raise ProtocolError(f"{operation}: the response is JSON, but not a list of objects", excerpt=shown(value))


def _not_json(operation: str, text: str, content_type: str, http_status: int) -> MigError:
    words = _page_words(text)
    if message := next((word for word in words if _NO_ACCESS.match(word)), None):
        return _no_access(message)
    if http_status in (401, 403):
        return AuthenticationFailed(f"{operation}: HTTP {http_status}, {'; '.join(words) or 'no access'}")
    if http_status >= 400 or any(_BROKEN.match(word) for word in words):
        return ServerError(operation, words or [f"HTTP {http_status}"])
    what = f"{content_type or 'something without a type'}, not the JSON that was asked for" if text else "nothing"
    return ProtocolError(f"{operation}: the server answered {what}", excerpt=_TOKEN.sub("…", text[:400]))


def _page_words(text: str) -> list[str]:
    """Return the errors that a plain-text response marks, or the title of an HTML page."""
    marked = [plain(part) for part in text[:_LONGEST_WORDS].split("**")[1::2]]
    title = text.partition("<title>")[2].partition("</title>")[0]
    return [word for word in marked if word] or ([plain(title[:200])] if title.strip() else [])
