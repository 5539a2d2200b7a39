"""The operations of a MiG server: which ones only read, which are broken, and which methods to use instead.

See docs/protocol.md#services and the pages that it links to.
"""

from __future__ import annotations

import re
from pathlib import PurePath
from typing import TYPE_CHECKING

from .errors import SpecError
from .models import Fault

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

METHODS: Mapping[str, str] = {
    "canceljob": "job.cancel()",
    "cat": "session.files.cat",
    "chksum": "session.files.checksum",
    "cp": "session.files.copy",
    "docs": "session.site()",
    "du": "session.files.disk_usage",
    "editfile": "session.files.write_text",
    "expand": "session.files.find",
    "find": "session.files.find",
    "grep": "session.files.grep",
    "head": "session.files.head",
    "jobaction": "job.cancel(), freeze() and thaw()",
    "jobfeasible": "job.feasibility()",
    "jobobjsubmit": "session.submit",
    "jobschedule": "job.feasibility()",
    "jobstatus": "session.statuses and session.jobs",
    "ls": "session.files.ls",
    "mkdir": "session.files.mkdir",
    "mqueue": "session.queue(name)",
    "mrslview": "job.plan()",
    "mv": "session.files.move",
    "pack": "session.files.pack",
    "rangefileaccess": "session.files.read_range and write_range",
    "redb": "session.site()",
    "resubmit": "job.resubmit()",
    "rm": "session.files.remove",
    "rmdir": "session.files.rmdir",
    "statpath": "session.files.stat",
    "submit": "session.submit_mrsl",
    "submitfields": "session.submit",
    "tail": "session.files.tail",
    "tar": "session.files.pack",
    "textarea": "session.submit and session.files.put",
    "touch": "session.files.touch",
    "truncate": "session.files.truncate",
    "unpack": "session.files.unpack",
    "untar": "session.files.unpack",
    "unzip": "session.files.unpack",
    "upload": "session.files.put",
    "uploadchunked": "session.files.put",
    "wc": "session.files.word_count",
    "zip": "session.files.pack",
}
"""The method to use instead of an operation, in both modes."""

_PYTHON_3 = "it is broken in servers on Python 3"
BROKEN: Mapping[str, str] = {
    "canceljob": "it requires a token that no server provides",
    "createbackup": "it requires a token that no server provides; use session.archives.create(…, flavor='backup')",
    "createre": "it fails on all known servers; ask the site to create the runtime environment",
    "deletebackup": "it is broken; use session.archives.delete(id, flavor='backup')",
    "jobobjsubmit": _PYTHON_3,
    "jsonrpcinterface": f"{_PYTHON_3}; use session.call",
    "put": f"{_PYTHON_3}; use session.files.put",
    "rangefileaccess": _PYTHON_3,
    "resubmit": _PYTHON_3,
    "showbackup": "it is broken; use session.archives.show(id, flavor='backup')",
    "upload": "it does nothing on most sites",
    "xmlrpcinterface": f"{_PYTHON_3}; use session.call",
}
"""Operations that do not work, and why (docs/protocol.md#python-3-servers)."""

_READING_OPERATIONS = (
    "cat chksum dashboard docs downloads du expand fileman find freezedb grep head jobman jobstatus ls lscrontab"
    " lsvgridmembers lsvgridowners lsvgridres lsvgridtriggers lsvgrids mrslview people pubvgridprojs redb resman"
    " settings showfreeze showre showvgridmonitor statpath tail userstats vgridman vgridworkflows viewres viewuser"
    " viewvgrid wc"
)
_READS = frozenset(_READING_OPERATIONS.split())
_READING_ACTIONS: Mapping[str, frozenset[str]] = {
    "crontab": frozenset({"show"}),
    "datatransfer": frozenset({"show"}),
    "mqueue": frozenset({"interactive", "listmessages", "listqueues", "show"}),
    "sharelink": frozenset({"edit", "show"}),
    "uploadchunked": frozenset({"status"}),
}


def only_reads(operation: str, fields: Sequence[tuple[str, str]]) -> bool:
    """Return whether a call only reads, so that it may be retried and needs no token (docs/protocol.md#csrf-tokens)."""
    values = dict(fields)
    if operation in _READING_ACTIONS:
        return values.get("action") in _READING_ACTIONS[operation]
    return operation in _READS and "dst" not in values


def instead_of(operation: str) -> str:
    """Return the advice which method to use instead of an operation, or an empty string."""
    return f"use {METHODS[operation]}" if operation in METHODS else ""


_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,63}", re.ASCII)
_SET_BY_AIOMIG = frozenset({"_csrf", "output_format"})


def form_fields(operation: object, fields: Mapping[str, object]) -> list[tuple[str, str]]:
    """Return the form fields for the parameters of an operation. A list or tuple becomes one field per value.

    Raises:
        SpecError: the name or some of the parameters are invalid.
    """
    faults: list[Fault] = []
    if not isinstance(operation, str) or not _NAME.fullmatch(operation):
        faults.append(Fault("operation", operation, "not the name of an operation", "give a name such as 'ls'"))
    sent: list[tuple[str, str]] = []
    for name, value in fields.items():
        if not name or name in _SET_BY_AIOMIG:
            faults.append(Fault(name, value, "not a field of an operation", "leave it out: aiomig sets it"))
        for item in value if isinstance(value, (list, tuple)) else (value,):
            if problem_and_remedy := _value_problem(item):
                faults.append(Fault(name, item, *problem_and_remedy))
            else:
                sent.append((name, str(item)))
    if faults:
        raise SpecError(faults)
    return sent


def _value_problem(value: object) -> tuple[str, str] | None:
    if isinstance(value, bool) or not isinstance(value, (str, int, float, PurePath)):
        return "neither a string nor a number", "give the string that the operation expects, or a list of strings"
    if not str(value):
        return "empty, and a server ignores empty fields", "leave the field out"
    if "\0" in str(value):
        return "contains a NUL character", "remove it"
    return None
