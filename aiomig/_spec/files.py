"""Validation and expansion of the inputs and outputs of a job. No I/O except ``stat`` and listing directories."""

from __future__ import annotations

import glob
import os
import posixpath
import stat
from collections.abc import AsyncIterable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any, NoReturn, TypeAlias

from .._core.errors import SpecError
from .._core.models import Fault
from .._core.validation import plain_text, spent_fault
from .names import Claims, home_path_fault, is_safe, is_url, name_fault, url_fault
from .values import InputFile, InputStream, OutputFile, Remote

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .mrsl import Description, Transfer

Source: TypeAlias = str | PurePath | Remote | bytes | AsyncIterable[bytes] | InputStream
InputItem: TypeAlias = Source | tuple[Source, str | PurePath]
"""One item of ``inputs`` or ``executables``."""

Name: TypeAlias = str | PurePath
OutputItem: TypeAlias = Name | tuple[Name, Name | Remote]
"""One item of ``outputs``."""

STAGED = ("INPUTFILES", "EXECUTABLES")
"""The keywords whose lines begin with a path in the home."""

_INPUT_FORMS = (
    "give a local path, a directory, a glob, a URL, Remote('path'), (source, name), (bytes, name) or (stream, name)"
)
_OUTPUT_FORMS = "give a name, (name, destination), (name, Remote('path')) or (name, 'https://…')"
_PACK = "pack it with tar in a command, and name the archive as the output"


# -- inputs


def input_files(field: str, items: Iterable[InputItem], claims: Claims, faults: list[Fault]) -> tuple[InputFile, ...]:
    """Expand the items of one field.

    Args:
        field: ``"inputs"`` or ``"executables"``, for the faults.
        items: the argument of `JobSpec`.
        claims: the names in the job that are taken. The names of the files are added.
        faults: the list to which faults are added.

    Returns:
        The valid files, in order. Those of a directory or a glob are sorted by path.
    """
    files: list[InputFile] = []
    for position, item in enumerate(_items(field, items, faults)):
        label = f"{field}[{position}]"
        try:
            expanded = _expand(item)
        except SpecError as error:
            faults += [replace(fault, field=label, value=item) for fault in error.faults]
            continue
        for file in expanded:
            # The job directory itself may be the target of a folder of the home. The submit claims the names in it.
            fault = name_fault(label, posixpath.join(file.name, "file") if file.is_home_folder else file.name)
            if fault is None:
                normal = InputFile(file.source, _normal(file.name))
                fault = claims.claim(label, normal.name) if not file.is_home_folder else None
                if fault is None:
                    files.append(normal)
                    continue
            faults.append(replace(fault, problem=f"the name in the job {fault.problem}"))
    return tuple(files)


def _items(field: str, items: object, faults: list[Fault]) -> Iterable[object]:
    if isinstance(items, str | bytes | PurePath | Remote | Mapping) or not isinstance(items, Iterable):
        faults.append(Fault(field, items, f"is not a sequence of {field}", f"put it into a list: {field}=[…]"))
        return ()
    if fault := spent_fault(field, items):
        faults.append(fault)
    return items


def _refuse(problem: str, remedy: str) -> NoReturn:
    """Raise `SpecError`. The caller adds the field and the value."""
    raise SpecError([Fault("", None, problem, remedy)])


def _refuse_if(fault: Fault | None, prefix: str = "") -> None:
    if fault is not None:
        _refuse(prefix + fault.problem, fault.remedy)


def _expand(item: object) -> list[InputFile]:
    source, name = item, None
    if isinstance(item, tuple):
        if len(item) != 2 or not isinstance(item[1], str | PurePath):
            _refuse("is not a pair of source and name", "give (source, name) with the name as a string")
        source, name = item[0], plain_text(item[1])
    if isinstance(source, AsyncIterable):
        source = InputStream(source)
    if isinstance(source, bytes | InputStream):
        if name is None:
            _refuse("is content without a name", "give (b'content', name) or (stream, name)")
        return [InputFile(source, name)]
    if isinstance(source, Remote):
        path = source.path.rstrip("/")
        _refuse_if(home_path_fault("", path, written=False))
        default = source.name if source.name is not None else posixpath.basename(path)
        return [InputFile(source, default if name is None else name)]
    if isinstance(source, str) and is_url(source):
        _refuse_if(url_fault("", source))
        default = source.partition("://")[2].partition("/")[2].rpartition("/")[2]
        if name is None and not default:
            _refuse("is a URL whose path does not end in the name of a file", "give (url, name)")
        return [InputFile(source, default if name is None else name)]
    if isinstance(source, str | PurePath):
        return _local(plain_text(source), name)
    _refuse(f"is of type {type(source).__name__}", _INPUT_FORMS)


def _local(text: str, name: str | None) -> list[InputFile]:
    if not text or "\0" in text:
        _refuse("is empty or contains NUL", "give the path of a local file")
    path = Path(text)
    try:
        files = _file_or_tree(path, name, frozenset())
    except OSError as error:
        missing = isinstance(error, FileNotFoundError | NotADirectoryError)
        if missing and glob.has_magic(text) and not os.path.lexists(path):
            return _matches(text, name)
        culprit = repr(str(error.filename if error.filename is not None else path))
        if missing:
            remedy = "check the path and the working directory, or write Remote('…') for a file of the MiG home"
            _refuse(f"{culprit} does not exist", remedy)
        _refuse(f"{culprit} cannot be accessed: {error.strerror}", "check the path and its permissions")
    except UnicodeError:
        _refuse("contains a lone surrogate", "give a path that the file system supports")
    if not files:
        _refuse("is a directory without files", "create empty directories with mkdir in a command")
    return files


def _matches(pattern: str, name: str | None) -> list[InputFile]:
    if name is not None:
        remedy = "give the glob without a name, or one (path, name) per file"
        _refuse("is a glob with a name, which all its files would get", remedy)
    matches = sorted(glob.glob(pattern, recursive=True))
    if not matches:
        remedy = "check the pattern (it is relative to the working directory)"
        _refuse("is a glob that matches nothing", remedy)
    if "**" in pattern:
        # It matches directories as well as the files in them.
        matches = [match for match in matches if not Path(match).is_dir()]
    return [file for match in matches for file in _local(match, None)]


def _file_or_tree(path: Path, name: str | None, above: frozenset[tuple[int, int]]) -> list[InputFile]:
    information = path.stat()
    if name is None:
        name = path.name if path.name not in ("", "..") else path.resolve().name
    if stat.S_ISDIR(information.st_mode):
        identity = (information.st_dev, information.st_ino)
        if identity in above:
            problem = f"{str(path)!r} is a link to one of its parent directories"
            _refuse(problem, "remove the link, or list the files")
        return [
            file
            for child in sorted(path.iterdir())
            for file in _file_or_tree(child, posixpath.join(name, child.name), above | {identity})
        ]
    if not stat.S_ISREG(information.st_mode):
        _refuse(f"{str(path)!r} is neither a file nor a directory", "copy its content to a file")
    if not os.access(path, os.R_OK):
        _refuse(f"{str(path)!r} is not readable", "change its permissions: chmod u+r")
    return [InputFile(path, name)]


# -- outputs


def output_files(items: Iterable[OutputItem], faults: list[Fault]) -> tuple[OutputFile, ...]:
    """Validate and normalise the ``outputs`` of a spec.

    Args:
        items: the argument of `JobSpec`.
        faults: the list to which faults are added.

    Returns:
        The valid outputs, in order.
    """
    below_folder, in_home, urls = Claims(), Claims(), Claims()
    files: list[OutputFile] = []
    for position, item in enumerate(_items("outputs", items, faults)):
        label = f"outputs[{position}]"
        try:
            file = _output_file(item)
            place = file.destination
            if isinstance(place, Remote):
                _refuse_if(in_home.claim(label, place.path))
            elif not is_url(place):
                _refuse_if(below_folder.claim(label, place))
            # Only equal URLs collide, so each URL is claimed as one component.
            elif urls.claim(label, place.replace("/", "\0")):
                remedy = "give each output its own destination"
                _refuse("is the destination of two outputs", remedy)
        except SpecError as error:
            faults += [replace(fault, field=label, value=item) for fault in error.faults]
        else:
            files.append(file)
    return tuple(files)


def _output_file(item: object) -> OutputFile:
    name, destination = item if isinstance(item, tuple) and len(item) == 2 else (item, item)
    if not isinstance(name, str | PurePath):
        _refuse(f"is of type {type(name).__name__}, not a name", _OUTPUT_FORMS)
    name = plain_text(name)
    if name.endswith("/") and name.strip("/"):
        _refuse("is a directory, which MiG would lose without an error", _PACK)
    if glob.has_magic(name):
        _refuse("is a glob, which MiG refuses", f"name each file, or {_PACK}")
    _refuse_if(name_fault("", name))
    if isinstance(destination, Remote):
        _refuse_if(home_path_fault("", destination.path, written=True), "the destination ")
        return OutputFile(_normal(name), destination)
    if not isinstance(destination, str | PurePath):
        _refuse(f"has a destination of type {type(destination).__name__}", _OUTPUT_FORMS)
    destination = plain_text(destination)
    if is_url(destination):
        _refuse_if(url_fault("", destination), "the destination ")
        return OutputFile(_normal(name), destination)
    _refuse_if(name_fault("", destination), "the destination ")
    return OutputFile(_normal(name), _normal(destination))


def _normal(name: str) -> str:
    return name if is_safe(name) else posixpath.normpath(name)


# -- lines of a description


def files_of(description: Description) -> dict[str, Any]:
    """Return the inputs, executables and outputs of the equivalent `JobSpec`.

    If several inputs have the same name in the job, or several outputs the same destination, the last one is kept, as
    on the grid. See docs/protocol.md#staging-lines.
    """
    taken: set[str] = set()
    # The front end fetches EXECUTABLES after INPUTFILES, so they replace inputs. See docs/protocol.md#inputs.
    executables = _last_of_each(description.transfers("EXECUTABLES"), taken)
    inputs = _last_of_each(description.transfers("INPUTFILES"), taken)
    outputs = _last_of_each(description.transfers("OUTPUTFILES"), set())
    return {
        "inputs": [_input_item(transfer) for transfer in inputs],
        "executables": [_input_item(transfer) for transfer in executables],
        "outputs": [_output_item(transfer) for transfer in outputs],
    }


def _last_of_each(transfers: Sequence[Transfer], taken: set[str]) -> list[Transfer]:
    kept = []
    for transfer in reversed(transfers):
        if transfer.destination not in taken:
            taken.add(transfer.destination)
            kept.append(transfer)
    return kept[::-1]


def _input_item(transfer: Transfer) -> InputItem:
    return (_place(transfer.source), transfer.destination)


def _output_item(transfer: Transfer) -> OutputItem:
    return (transfer.source, _place(transfer.destination))


def _place(path: str) -> str | Remote:
    return path if is_url(path) else Remote(path)


def folder_faults(description: Description) -> list[Fault]:
    """Return a fault for each staging line that names a folder, because MiG would lose it. See docs/protocol.md#inputs.

    The fields of the faults are keywords.
    """
    problem = "names a folder, which MiG would lose without an error"
    remedy = "name each file, or an archive made with tar"
    return [
        Fault(keyword, line, problem, remedy)
        for keyword in (*STAGED, "OUTPUTFILES")
        for line in description.lines(keyword)
        if (source := line.partition(" ")[0]).endswith("/") and not is_url(source)
    ]


def lost_file_faults(description: Description) -> list[Fault]:
    """Return a fault for each staging line that a server would accept, but whose files it would lose.

    The fields of the faults are keywords.
    """
    faults = folder_faults(description)
    for keyword in (*STAGED, "OUTPUTFILES"):
        lost: list[Fault] = []
        for transfer in description.transfers(keyword):
            if keyword in STAGED:
                input_files(keyword, [_input_item(transfer)], Claims(), lost)
            else:
                output_files([_output_item(transfer)], lost)
        faults += [replace(fault, field=keyword) for fault in lost]
    return faults
