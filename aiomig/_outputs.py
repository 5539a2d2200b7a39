"""What a user names as outputs, turned into `OutputFile` values. Pure, no I/O."""

from __future__ import annotations

import glob
import posixpath
from collections.abc import Iterable, Mapping
from pathlib import PurePath
from typing import TypeAlias

from ._errors import Fault
from ._names import Claims, Complaint, home_complaint, is_safe, is_url, name_complaint, url_complaint
from ._values import OutputFile, Remote

Name: TypeAlias = str | PurePath
OutputItem: TypeAlias = Name | tuple[Name, Name | Remote]
"""One item of ``outputs``."""

_PACK = "pack it with tar in a command, and name the archive as the output"
_FORMS = "give a name, (name, destination), (name, Remote('path')) or (name, 'https://…')"


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
        return Complaint(f"is of type {type(name).__name__}, not a name", _FORMS)
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
        return Complaint(f"has a destination of type {type(destination).__name__}", _FORMS)
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
