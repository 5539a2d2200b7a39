"""Operations that read files: cat, head, tail, grep, wc and chksum."""

from __future__ import annotations

import hashlib
import io
import posixpath
import re
from typing import TYPE_CHECKING, Any

from ._operation import Operation, Parameter
from ._operations_listing import FLAGS, HERE, PATHS, joined, with_destination
from ._wire import Response, page

if TYPE_CHECKING:
    from ._operation import Call

_LINES = Parameter("lines", "digits", default=("20",), limits=(1, 1_000_000))
_BLOCKS = 32_768
_TEXT_SUFFIXES = (".txt", ".csv", ".log", ".py", ".sh", ".md")


def _lines(data: bytes, newline: str | None) -> list[str]:
    """The lines of a text, with their ends.

    Raises:
        UnicodeDecodeError: it is no UTF-8.
    """
    return list(io.StringIO(data.decode("utf-8"), newline=newline))


def _output(call: Call, path: str, lines: list[str]) -> None:
    found = call.add("file_output", lines=lines, wrap_binary=False, wrap_targets=["lines"])
    if "v" in call.flags:
        found["path"] = path


def _attachment(call: Call, path: str, data: bytes) -> None:
    name = posixpath.basename(path)
    kind = "text/plain" if name.endswith(_TEXT_SUFFIXES) else "application/octet-stream"
    # Header values are carried as latin-1; the server writes UTF-8 into them.
    disposition = f'attachment; filename="{name}";'.encode().decode("latin-1")
    call.raw = Response(200, (("Content-Disposition", disposition), ("Content-Type", kind)), data)


def _cat(call: Call) -> None:
    if "b" in call.flags and call.output == "json":
        call.raw = page(500, close=True)  # mig-live 2: an internal server error
        return
    call.verbose()
    collected = b""
    shown = ""
    for pattern in call.all("path"):
        found = call.home.find(pattern)
        if not found:
            call.missing(pattern)
            call.status = call.code = 404
        for path in found:
            place = call.home.root / path
            if place.is_dir():
                call.error(f"cat failed on '{path}'", 200)
                continue
            data = place.read_bytes()
            collected, shown = collected + data, path
            if not call.last("dst") and call.output != "file":
                _cat_one(call, path, data)
    if call.last("dst"):
        _write(call, collected)
    elif call.output == "file" and call.status == 404:
        call.raw = Response(404, (("Content-Type", "text/plain"),))
    elif call.output == "file" and shown:
        # Of several files as many bytes come as the last one has (mig-protocol 2.4).
        _attachment(call, shown, collected[: (call.home.root / shown).stat().st_size])


def _cat_one(call: Call, path: str, data: bytes) -> None:
    try:
        _output(call, path, _lines(data, None))
    except UnicodeDecodeError:
        call.error(f"cat failed on '{path}'", 200)


def _write(call: Call, data: bytes) -> None:
    place = call.home.place(call.last("dst"))
    if place is None or not place.parent.is_dir():
        call.error(f"Invalid destination ({call.last('dst')} expands to an illegal path)")
        return
    place.write_bytes(data)
    for pattern in call.all("path"):
        for path in call.home.find(pattern):
            call.text(f"wrote {path} to {call.last('dst')}")


def _head_or_tail(call: Call) -> None:
    call.verbose()
    count = int(call.last("lines"))
    for pattern in call.all("path"):
        found = call.home.find(pattern)
        if not found:
            call.missing(pattern)
        for path in found:
            place = call.home.root / path
            if place.is_dir():
                call.error(f"{call.operation.name} failed on '{path}'", 200)
                continue
            _ends(call, path, place.read_bytes(), count)


def _ends(call: Call, path: str, data: bytes, count: int) -> None:
    chosen = slice(None, count) if call.operation.name == "head" else slice(-count, None)
    if call.output == "file":
        _attachment(call, path, b"".join(data.splitlines(keepends=True)[chosen]))
        return
    try:
        lines = _lines(data, "")[chosen]
    except UnicodeDecodeError:
        lines = []  # mig-live 6: binary files have no lines, and nothing is said
    _output(call, path, lines)


def _grep(call: Call) -> None:
    call.verbose()
    for pattern in call.all("path"):
        found = call.home.find(pattern)
        if not found:
            call.missing(pattern)
        for path in found:
            try:
                lines = _lines((call.home.root / path).read_bytes(), None)
                search = re.compile(call.last("pattern")).search
            except (re.error, UnicodeDecodeError, OSError):
                call.error(f"grep: '{path}'", 200)
                continue
            _output(call, path, [line for line in lines if search(line)])


def _wc(call: Call) -> None:
    call.verbose()
    rows: list[dict[str, Any]] = []
    for pattern in call.all("path"):
        found = call.home.find(pattern)
        if not found:
            call.missing(pattern)
        for path in found:
            try:
                lines = _lines((call.home.root / path).read_bytes(), None)
            except (UnicodeDecodeError, OSError):
                call.error(f"wc: '{path}'", 200)
                continue
            # In text mode: a last line without an end counts, and bytes are characters (mig-protocol 2.3).
            counts = {
                "lines": len(lines),
                "words": sum(len(line.split()) for line in lines),
                "bytes": sum(map(len, lines)),
            }
            wanted = [name for name in counts if name[0] in call.flags] or list(counts)
            rows.append({"object_type": "filewc", "name": path, **{name: counts[name] for name in wanted}})
    call.add("filewcs", filewcs=rows)


def _chksum(call: Call) -> None:
    names = call.all("hash_algo") or [min(hashlib.algorithms_guaranteed)]
    for name in names:
        if name not in hashlib.algorithms_guaranteed:
            call.error(f"unsupported checksum algorithm '{name}'")
            return
    written = ""
    for pattern in call.all("path"):
        found = call.home.find(joined(call, pattern))
        if not found:
            call.missing(pattern)
        for path in found:
            line = "".join(_checksum(call, path, name) for name in names)
            call.add("file_output", lines=[line])
            written += line
    place = call.home.place(call.last("dst")) if call.last("dst") else None
    if place is not None and place.parent.is_dir():
        place.write_text(written, "utf-8")


def _checksum(call: Call, path: str, name: str) -> str:
    place = call.home.root / path
    if place.is_dir():
        return f"checksum '{path}' failed {path}\n"
    blocks = int(call.last("max_chunks"))
    digest = hashlib.new(name, usedforsecurity=False)
    with place.open("rb") as stream:
        data = stream.read(-1 if blocks == 0 else blocks * _BLOCKS)
        more = bool(stream.read(1))
    digest.update(data)
    value = digest.hexdigest(32) if name.startswith("shake") else digest.hexdigest()  # type: ignore[call-arg]
    return f"{value} {path}{f' (of first {len(data)} bytes)' if more else ''}\n"


OPERATIONS = (
    Operation(
        "cat",
        (PATHS, Parameter("dst", "path"), FLAGS),
        _cat,
        changes=with_destination,
        refusal="Only accepting CSRF-filtered POST requests to prevent unintended updates",
    ),
    Operation("head", (PATHS, _LINES, FLAGS), _head_or_tail),
    Operation("tail", (PATHS, _LINES, FLAGS), _head_or_tail),
    Operation("grep", (PATHS, Parameter("pattern", "pattern", required=True), FLAGS), _grep),
    Operation("wc", (PATHS, FLAGS), _wc),
    Operation(
        "chksum",
        (
            PATHS,
            Parameter("hash_algo", "id"),
            Parameter("max_chunks", "digits", default=("1024",)),
            Parameter("dst", "path"),
            HERE,
            FLAGS,
        ),
        _chksum,
        changes=with_destination,
    ),
)
