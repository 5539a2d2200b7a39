"""What a user names as inputs, turned into one `InputFile` per file. Looks at the disk, reads no content."""

from __future__ import annotations

import glob
import os
import posixpath
import stat
from collections.abc import Iterable, Mapping
from pathlib import Path, PurePath
from typing import TypeAlias

from ._errors import Fault
from ._names import Claims, Complaint, home_complaint, is_safe, is_url, name_complaint, url_complaint
from ._values import InputFile, Remote

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
