"""Operations of the services: sharelink, freezes, datatransfer, crontab, triggers (docs/protocol.md#services)."""

from __future__ import annotations

import re
import secrets
from typing import TYPE_CHECKING

from ._jobs import RESOURCE, stamp
from ._operation import Operation, Parameter
from ._operations_listing import FLAGS

if TYPE_CHECKING:
    from collections.abc import Callable

    from ._operation import Call

_COPY = re.compile(r"freeze_copy_\d+")
_TIMES = re.compile(r"(?:(?:\*|\d+)\s+){5}\S.*")


def _changes_unless(*actions: str) -> Callable[[Call], bool]:
    return lambda call: call.last("action") not in actions


def _sharelink(call: Call) -> None:
    shares, action = call.home.services.shares, call.last("action")
    share_id = call.last("share_id")
    if action == "create":
        share_id = secrets.token_hex(5)
        if not call.home.find(call.last("path")):
            call.error(f"Provided share path '{call.last('path')}' is not available to you")
            return
        url = f"{call.site_url}/share_redirect/{share_id}"
        row = {"object_type": "sharelink", "share_id": share_id, "share_url": url, "created": stamp(call.now)}
        shares[share_id] = {**row, "active": True}
    elif action in ("update", "delete") and share_id not in shares:
        call.error(f"No such sharelink: {share_id}")
        return
    if action in ("create", "update"):
        rights = [name for name in ("read", "write") if call.last(f"{name}_access").lower() in ("on", "yes", "true")]
        shares[share_id] |= {
            "path": call.last("path"),
            "access": rights,
            "expire": call.last("expire") or "-1",
            "invites": call.all("invite"),
        }
    if action == "delete":
        del shares[share_id]
        call.text(f"Deleted sharelink {share_id}")
    else:
        call.add("sharelinks", sharelinks=[shares[share_id]] if action == "create" else list(shares.values()))


# -- archives


def _freezedb(call: Call) -> None:
    call.home.services.has_cache = True
    if call.last("operation") == "list":
        call.add("frozenarchives", frozenarchives=list(call.home.services.archives.values()))


def _createfreeze(call: Call) -> None:
    services = call.home.services
    if not services.has_cache:
        call.error("Failed to create archive: [Errno 2] No such file or directory")
        return
    files: dict[str, bytes] = {}
    for pattern in (field.text for field in call.fields if _COPY.fullmatch(field.name)):
        paths = call.home.find(pattern)
        if not paths:
            call.missing(pattern)
            return
        for path in paths:
            place = call.home.root / path
            inside = sorted(file for file in place.rglob("*") if file.is_file()) if place.is_dir() else [place]
            files |= {str(file.relative_to(place.parent)): file.read_bytes() for file in inside}
    archive_id = f"archive-{secrets.token_hex(4)}"
    services.frozen[archive_id] = files
    services.archives[archive_id] = {
        "object_type": "frozenarchive",
        "id": archive_id,
        "name": call.last("freeze_name"),
        "flavor": call.last("flavor"),
        "state": "Final",
        "created": stamp(call.now),
        "frozenfiles": len(files),
    }
    call.add("freezestatus", freeze_id=archive_id, flavor=call.last("flavor"), freeze_state="Final")


def _showfreeze(call: Call) -> None:
    row = call.home.services.archives.get(call.last("freeze_id"))
    if row is None or row["flavor"] != call.last("flavor"):
        call.error(f"No such archive: '{call.last('freeze_id')}'")
        return
    files = call.home.services.frozen[row["id"]]
    listed = [{"object_type": "frozenfile", "name": name, "size": len(data)} for name, data in files.items()]
    call.add("frozenarchive").update(row, frozenfiles=listed)


def _deletefreeze(call: Call) -> None:
    archive_id = call.last("freeze_id")
    if call.last("target") != "ARCHIVE":
        call.error(f"Invalid delete freeze target: {call.last('target') or 'E'}")
    elif call.home.services.archives.pop(archive_id, None) is None:
        call.error(f"No such archive: '{archive_id}'")
    else:
        del call.home.services.frozen[archive_id]
        call.text(f"Successfully deleted archive {archive_id}")


def restore(call: Call) -> None:
    """Copy all files of an archive, for ``cp`` with ``freeze_id``."""
    files = call.home.services.frozen.get(call.last("freeze_id"))
    folder = call.home.place(call.last("dst"))
    if files is None or folder is None or not folder.is_dir():
        call.error("Illegal dst path provided!" if files is not None else "Invalid freeze id!")
        return
    for name, data in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)


# -- transfers, crontab, triggers


def _datatransfer(call: Call) -> None:
    transfers, action = call.home.services.transfers, call.last("action")
    transfer_id = call.last("transfer_id")
    if action in ("import", "export"):
        if action == "export" and not all(call.home.find(path) for path in call.all("transfer_src")):
            call.missing(call.last("transfer_src"))
            return
        row = {
            "object_type": "datatransfer",
            "transfer_id": transfer_id,
            "action": action,
            "protocol": call.last("protocol"),
            "fqdn": call.last("fqdn"),
            "src": call.all("transfer_src"),
            "dst": call.last("transfer_dst"),
            "created": stamp(call.now),
            "status": "NEW",
        }
        transfers[transfer_id] = row
        # There are no other servers. A host named missing.* stands for one without the file.
        ended = "FAILED" if call.last("fqdn").startswith("missing.") else "DONE"
        call.jobs.later(call.site.transfer_time, lambda: row.update(status=ended))
    elif action == "deltransfer":
        if transfers.pop(transfer_id, None) is None:
            call.error(f"No such data transfer: {transfer_id}")
    elif action == "show":
        call.add("datatransfers", datatransfers=list(transfers.values()))
    else:
        call.error(f"Invalid action: {action}")


def _crontab(call: Call) -> None:
    services = call.home.services
    if call.last("action") == "save":
        # The server drops lines that it cannot read, without an error.
        lines = [line for line in call.last("crontab").splitlines() if _TIMES.fullmatch(line)]
        services.crontab = "".join(f"{line}\n" for line in lines)
        call.text(f"Saved {len(lines)} crontab entries")
    call.add("crontab_listing", crontab=services.crontab.splitlines(keepends=True))
    form = f'<form method="post"><input type="hidden" name="_csrf" value="{call.token("crontab")}" /></form>'
    call.add("html_form", text=form)


def _addvgridtrigger(call: Call) -> None:
    key = call.last("vgrid_name"), call.last("rule_id")
    if key[0] not in call.site.vgrids:
        call.error(f"You must be an owner or member of {key[0]} vgrid to do that!")
        return
    row = {name: call.last(name) for name in ("vgrid_name", "rule_id", "path", "action")}
    call.home.services.triggers[key] = {**row, "changes": call.all("changes"), "arguments": call.all("arguments")}
    call.text(f"Saved trigger {key[1]}")


def _lsvgridtriggers(call: Call) -> None:
    rows = [row for (vgrid, _), row in call.home.services.triggers.items() if vgrid == call.last("vgrid_name")]
    call.add("list", list=rows)


def _rmvgridtrigger(call: Call) -> None:
    if call.home.services.triggers.pop((call.last("vgrid_name"), call.last("rule_id")), None) is None:
        call.error(f"No such trigger: {call.last('rule_id')}")


def _vgridman(call: Call) -> None:
    rows = [{"object_type": "vgrid", "vgridname": name} for name in call.site.vgrids]
    call.add("vgrid_list", vgrids=rows)


def _resman(call: Call) -> None:
    call.add("resource_list", resources=[{"object_type": "resource", "name": RESOURCE.partition("_")[0]}])


_FREEZE = (Parameter("flavor", "word", default=("freeze",)), Parameter("freeze_id", "id", required=True), FLAGS)
_TRIGGER = (
    Parameter("vgrid_name", "path", required=True),
    Parameter("rule_id", "id", required=True),
    Parameter("path", "pattern"),
    Parameter("changes", "word"),
    Parameter("action", "word"),
    Parameter("arguments", "any"),
    Parameter("match_files", "word"),
    Parameter("match_recursive", "word"),
)
_FREEZE_TEXTS = ("description", "author", "department", "organization", "publish")

OPERATIONS = (
    Operation(
        "sharelink",
        (
            Parameter("action", "word", default=("show",)),
            Parameter("share_id", "id"),
            Parameter("path", "path"),
            Parameter("read_access", "word"),
            Parameter("write_access", "word"),
            Parameter("expire"),
            Parameter("invite"),
            Parameter("msg"),
        ),
        _sharelink,
        changes=_changes_unless("show", "edit"),
    ),
    Operation("freezedb", (Parameter("operation", "word", default=("showlist",)), Parameter("caching")), _freezedb),
    Operation(
        "createfreeze",
        (
            Parameter("flavor", "word", default=("freeze",)),
            Parameter("freeze_name", "path", required=True),
            *(Parameter(f"freeze_{name}") for name in _FREEZE_TEXTS),
            *(Parameter(f"freeze_copy_{number}", "pattern") for number in range(100)),
        ),
        _createfreeze,
        changes=True,
    ),
    Operation("showfreeze", (*_FREEZE, Parameter("operation", "word"), Parameter("checksum", "word")), _showfreeze),
    Operation("deletefreeze", (*_FREEZE, Parameter("target", "word"), Parameter("path")), _deletefreeze, changes=True),
    Operation(
        "datatransfer",
        (
            Parameter("action", "word", default=("show",)),
            Parameter("transfer_id", "id"),
            Parameter("protocol", "word"),
            Parameter("fqdn", "id"),
            Parameter("port", "digits"),
            Parameter("username"),
            Parameter("transfer_pw", "any"),
            Parameter("key_id", "id"),
            Parameter("notify"),
            Parameter("exclude", "pattern"),
            Parameter("transfer_src", "pattern"),
            Parameter("transfer_dst", "path"),
            FLAGS,
        ),
        _datatransfer,
        changes=_changes_unless("show"),
    ),
    Operation(
        "crontab",
        (Parameter("action", "word", default=("show",)), Parameter("crontab", "any"), Parameter("atjobs", "any")),
        _crontab,
        changes=_changes_unless("show"),
    ),
    Operation("addvgridtrigger", _TRIGGER, _addvgridtrigger, changes=True),
    Operation("rmvgridtrigger", _TRIGGER, _rmvgridtrigger, changes=True),
    Operation("lsvgridtriggers", _TRIGGER[:1], _lsvgridtriggers),
    Operation("vgridman", (Parameter("operation", "word", default=("list",)),), _vgridman),
    Operation("resman", (Parameter("operation", "word", default=("list",)),), _resman),
)
