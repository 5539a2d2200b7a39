"""What a user names as inputs, turned into one `InputFile` per file. Looks at the disk, reads no content.

What a user names as outputs, turned into `OutputFile` values. Pure, no I/O.
"""

from __future__ import annotations

import glob
import os
import posixpath
import stat
from collections.abc import Iterable, Mapping
from pathlib import Path, PurePath
from typing import TypeAlias

from .._core.models import Fault
from .names import Claims, Complaint, home_complaint, is_safe, is_url, name_complaint, url_complaint
from .values import InputFile, OutputFile, Remote

Source: TypeAlias = str | PurePath | Remote | bytes
InputItem: TypeAlias = Source | tuple[Source, str | PurePath]
"""One item of ``inputs`` or ``executables``."""

_FORMS = "give a local path, a directory, a glob, a URL, Remote('path'), (source, name) or (b'content', name)"


class _Refused(Exception):
    def __init__(self, problem: str, remedy: str) -> None:
        self.complaint = Complaint(problem, remedy)


def input_files(field: str, items: Iterable[InputItem], claims: Claims, faults: list[Fault]) -> tuple[InputFile, ...]:
    """Expand the items of one field.

    Args:
        field: ``"inputs"`` or ``"executables"``, for the faults.
        items: as `JobSpec` takes them.
        claims: the names in the job that are taken; those found are added.
        faults: takes what is wrong.

    Returns:
        The good ones, in order; directories and globs sorted by path.
    """
    if isinstance(items, tuple) and not items:
        return ()
    if isinstance(items, str | bytes | PurePath | Remote | Mapping) or not isinstance(items, Iterable):
        remedy = f"put it into a list: {field}=[…]"
        faults.append(Fault(field, items, "is not a sequence of inputs", remedy))
        return ()
    files: list[InputFile] = []
    for position, item in enumerate(items):
        label = f"{field}[{position}]"
        try:
            found = _expand(item)
        except _Refused as refusal:
            faults.append(Fault(label, item, *refusal.complaint))
            continue
        for file in found:
            complaint = name_complaint(file.name)
            if complaint is None:
                file = file if is_safe(file.name) else InputFile(file.source, posixpath.normpath(file.name))
                complaint = claims.claim(file.name, label)
            if complaint:
                faults.append(Fault(label, file.name, f"the name in the job {complaint.problem}", complaint.remedy))
            else:
                files.append(file)
    return tuple(files)


def _expand(item: object) -> list[InputFile]:
    source, name = item, None
    if isinstance(item, tuple):
        if len(item) != 2 or not isinstance(item[1], str | PurePath):
            raise _Refused("is not a pair of source and name", "give (source, name), the name as text")
        source, name = item[0], str(item[1])
    if isinstance(source, bytes):
        if name is None:
            raise _Refused("is content without a name", "give (b'content', name)")
        return [InputFile(source, name)]
    if isinstance(source, Remote):
        _refuse(home_complaint(source.path, written=False))
        default = source.name if source.name is not None else posixpath.basename(source.path)
        return [InputFile(source, default if name is None else name)]
    if isinstance(source, str) and is_url(source):
        return [_from_url(source, name)]
    if isinstance(source, str | PurePath):
        return _local(str(source), name)
    raise _Refused(f"is of type {type(source).__name__}", _FORMS)


def _refuse(complaint: Complaint | None) -> None:
    if complaint:
        raise _Refused(*complaint)


def _from_url(url: str, name: str | None) -> InputFile:
    _refuse(url_complaint(url))
    default = url.partition("://")[2].partition("/")[2].rpartition("/")[2]
    if name is None and not default:
        raise _Refused("is a URL whose path does not end in the name of a file", "give (url, name)")
    return InputFile(url, default if name is None else name)


def _local(text: str, name: str | None) -> list[InputFile]:
    if not text or "\0" in text:
        raise _Refused("is empty or holds NUL", "give the path of a local file")
    path = Path(text)
    try:
        found: list[InputFile] = _file_or_tree(path, name, frozenset())
    except OSError as error:
        missing = isinstance(error, FileNotFoundError | NotADirectoryError)
        if missing and glob.has_magic(text) and not os.path.lexists(path):
            return _matches(text, name)
        if missing:
            remedy = "check the path (the working directory counts), or say Remote('…') for the MiG home"
            raise _Refused(f"{_filename(error, path)} does not exist", remedy) from None
        raise _Refused(
            f"{_filename(error, path)} cannot be looked at: {error.strerror}",
            "check the path and its permissions",
        ) from None
    except UnicodeError:
        raise _Refused("holds half a character", "give a path that the file system can hold") from None
    if not found:
        raise _Refused("is a directory without files", "make empty directories with mkdir in a command")
    return found


def _filename(error: OSError, path: Path) -> str:
    return repr(str(error.filename if error.filename is not None else path))


def _matches(pattern: str, name: str | None) -> list[InputFile]:
    if name is not None:
        raise _Refused("is a glob with one name for all", "give the glob alone, or one (path, name) per file")
    matches = sorted(glob.glob(pattern, recursive=True))
    if not matches:
        raise _Refused("is a glob without a match", "check the pattern (it is relative to the working directory)")
    if "**" in pattern:
        # The files below a matching directory match themselves.
        matches = [match for match in matches if not Path(match).is_dir()]
    return [file for match in matches for file in _local(match, None)]


def _file_or_tree(path: Path, name: str | None, above: frozenset[tuple[int, int]]) -> list[InputFile]:
    found = path.stat()
    if name is None:
        name = path.name if path.name not in ("", "..") else path.resolve().name
    if stat.S_ISDIR(found.st_mode):
        identity = (found.st_dev, found.st_ino)
        if identity in above:
            raise _Refused(f"{str(path)!r} links to a directory above it", "remove the link, or list the files")
        children = sorted(path.iterdir())
        below = above | {identity}
        return [file for child in children for file in _file_or_tree(child, posixpath.join(name, child.name), below)]
    if not stat.S_ISREG(found.st_mode):
        raise _Refused(f"{str(path)!r} is neither a file nor a directory", "copy its content to a file")
    if not os.access(path, os.R_OK):
        raise _Refused(f"{str(path)!r} is not readable", "give yourself read permission: chmod u+r")
    return [InputFile(path, name)]


Name: TypeAlias = str | PurePath
OutputItem: TypeAlias = Name | tuple[Name, Name | Remote]
"""One item of ``outputs``."""

_PACK = "pack it with tar in a command, and name the archive as the output"
_FORMS_OUTPUTS = "give a name, (name, destination), (name, Remote('path')) or (name, 'https://…')"


class _Places:
    """The places that are taken, per tree of files."""

    def __init__(self) -> None:
        self._below_folder = Claims()
        self._in_home = Claims()
        self._urls = Claims()

    def claim(self, destination: str | Remote, owner: str) -> Complaint | None:
        if isinstance(destination, Remote):
            return self._in_home.claim(destination.path, owner)
        if is_url(destination):
            # No URL is a folder of another: only equal ones are in each other's way.
            return self._urls.claim(destination.replace("/", "\0"), owner) and Complaint(
                "is the destination of two outputs", "give each output its own destination"
            )
        return self._below_folder.claim(destination, owner)


def output_files(items: Iterable[OutputItem], faults: list[Fault]) -> tuple[OutputFile, ...]:
    """Check and normalise the ``outputs`` of a spec.

    Args:
        items: as `JobSpec` takes them.
        faults: takes what is wrong.

    Returns:
        The good ones, in order.
    """
    if isinstance(items, tuple) and not items:
        return ()
    if isinstance(items, str | bytes | PurePath | Remote | Mapping) or not isinstance(items, Iterable):
        faults.append(Fault("outputs", items, "is not a sequence of outputs", "put it into a list: outputs=[…]"))
        return ()
    places = _Places()
    files: list[OutputFile] = []
    for position, item in enumerate(items):
        label = f"outputs[{position}]"
        file = _output_file(item)
        if isinstance(file, OutputFile):
            complaint = places.claim(file.destination, label)
            if complaint is None:
                files.append(file)
                continue
        else:
            complaint = file
        faults.append(Fault(label, item, *complaint))
    return tuple(files)


def _output_file(item: object) -> OutputFile | Complaint:
    name, destination = item if isinstance(item, tuple) and len(item) == 2 else (item, None)
    if not isinstance(name, str | PurePath):
        return Complaint(f"is of type {type(name).__name__}, not a name", _FORMS_OUTPUTS)
    name = str(name)
    complaint = _source_complaint(name)
    if complaint:
        return complaint
    normal = _normal(name)
    if destination is None and not isinstance(item, tuple):
        return OutputFile(normal, normal)
    if isinstance(destination, str | PurePath):
        destination = str(destination)
    elif not isinstance(destination, Remote):
        return Complaint(f"has a destination of type {type(destination).__name__}", _FORMS_OUTPUTS)
    complaint = _destination_complaint(destination)
    if complaint:
        return Complaint(f"the destination {complaint.problem}", complaint.remedy)
    if isinstance(destination, Remote) or is_url(destination):
        return OutputFile(normal, destination)
    return OutputFile(normal, _normal(destination))


def _source_complaint(name: str) -> Complaint | None:
    if name.endswith("/") and name.strip("/"):
        return Complaint("is a directory, which MiG would lose without a word", _PACK)
    if glob.has_magic(name):
        return Complaint("is a glob, which MiG refuses", f"name each file, or {_PACK}")
    return name_complaint(name)


def _destination_complaint(destination: str | Remote) -> Complaint | None:
    if isinstance(destination, Remote):
        return home_complaint(destination.path, written=True)
    return url_complaint(destination) if is_url(destination) else name_complaint(destination)


def _normal(name: str) -> str:
    return name if is_safe(name) else posixpath.normpath(name)
