"""Operations on archives: pack and unpack."""

from __future__ import annotations

import bz2
import gzip
import io
import posixpath
import tarfile
import zipfile
from typing import TYPE_CHECKING, Literal

from ._operation import Operation, Parameter
from ._operations_listing import FLAGS, HERE

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from ._operation import Call

Mode = Literal["zip", "", "gz", "bz2"]

_SUFFIXES: tuple[tuple[str, Mode], ...] = (
    (".zip", "zip"), (".tar", ""), (".tar.gz", "gz"), (".tgz", "gz"), (".tar.bz2", "bz2"), (".tbz", "bz2"),
)  # fmt: skip


def _mode(path: str) -> Mode | None:
    return next((mode for suffix, mode in _SUFFIXES if path.endswith(suffix)), None)


def _pack(call: Call) -> None:
    here, dst = call.last("current_dir"), call.last("dst")
    call.text(f"working in {here}")
    target = posixpath.normpath(call.joined(dst))
    place = call.home.place(target)
    if place is None or not place.parent.is_dir():
        call.error(f"Invalid destination ({dst} expands to an illegal path)")
        return
    sources = [posixpath.join(here, pattern) for pattern in call.all("src")]
    mode = _mode(dst)
    if mode is None:
        call.error(f"Error: Unknown/unsupported archive format: {dst}")
    for source in sources if mode is not None else ():
        paths = call.home.find(source)
        if not paths:
            call.error(f"{call.operation.name}: cannot pack '{source}': no valid src paths")
        for path in paths:
            # Each source replaces the archive: only the last one survives (docs/protocol.md#archives).
            place.write_bytes(_archive(call, mode or "", path))
            call.text(f"Added {path} to {target}")
    call.text(f"Packed archive of {' '.join(sources)} is now available in {target}")
    call.add("link", text="Download archive", destination=f"../{call.home.name}/{target}")


def _archive(call: Call, mode: Mode, path: str) -> bytes:
    stream = io.BytesIO()
    start = posixpath.normpath(call.last("current_dir"))
    members = [(posixpath.relpath(member, start), call.home.root / member) for member in _members(call, path)]
    if mode == "zip":
        with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, place in members:
                archive.write(place, name)
        return stream.getvalue()
    with tarfile.open(fileobj=stream, mode="w") as tar:
        for name, place in members:
            tar.add(place, name, recursive=False)
    data = stream.getvalue()
    return gzip.compress(data) if mode == "gz" else bz2.compress(data) if mode == "bz2" else data


def _members(call: Call, path: str) -> Iterator[str]:
    yield path
    if (call.home.root / path).is_dir():
        for name in call.home.names(path, hidden=True):
            yield from _members(call, posixpath.join(path, name))


def _unpack(call: Call) -> None:
    dst = call.last("dst")
    folder = call.home.place(dst)
    if folder is None:
        call.error(f"Invalid destination ({dst} expands to an illegal path)")
        return
    for path in call.matches("src"):
        problem = unpack(call.home.root / path, path, folder)
        if problem:
            call.error(f"Error: {problem}")
        else:
            call.text(f"The zip/tar archive {path} was unpacked in {posixpath.normpath(dst)}")


def unpack(place: Path, path: str, folder: Path) -> str:
    """Unpack an archive; return what is wrong with it, or an empty string."""
    mode = _mode(path)
    if mode is None:
        return f"Unknown/unsupported archive format: {path}"
    try:
        members = list(_contents(place, mode))
    except zipfile.BadZipFile as error:
        return f"Could not open zipfile: {error}! "
    except (tarfile.TarError, OSError, EOFError) as error:
        return f"Could not open tarfile: {error}! "
    for name, content in members:
        target = folder / posixpath.normpath(name)
        if posixpath.isabs(name) or posixpath.normpath(name).split("/")[0] == "..":
            return f"Illegal path in archive: {name}"
        if content is None:
            target.mkdir(parents=True, exist_ok=True)
        else:
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(content)
    return ""


def _contents(place: Path, mode: Mode) -> Iterator[tuple[str, bytes | None]]:
    if mode == "zip":
        with zipfile.ZipFile(place) as archive:
            for info in archive.infolist():
                yield info.filename, None if info.is_dir() else archive.read(info)
        return
    with tarfile.open(place, "r:*") as tar:
        for member in tar:
            stream = tar.extractfile(member) if member.isreg() else None
            if member.isdir():
                yield member.name, None
            elif stream is not None:
                yield member.name, stream.read()


_PACKING = (
    Parameter("src", "pattern", required=True),
    Parameter("dst", "path", required=True),
    HERE,
    FLAGS,
)

OPERATIONS = (
    Operation("pack", _PACKING, _pack, changes=True, title="ZIP/TAR archiver"),
    Operation("unpack", _PACKING, _unpack, changes=True, title="Zip/tar archive extractor"),
)
