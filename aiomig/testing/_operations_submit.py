"""Operations that create jobs: submitfields and resubmit (docs/protocol.md#submit-operations)."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, Any

from ._mrsl_parser import KEYWORDS, Refused, parse
from ._operation import Operation, Parameter

if TYPE_CHECKING:
    from ._operation import Call

_LIMIT = 100  # ids of one resubmit (docs/protocol.md#actions)


def submit_text(call: Call, text: str, name: str) -> dict[str, Any]:
    """Submit a description; return its ``submitstatus``."""
    row: dict[str, Any] = {"object_type": "submitstatus", "name": name}
    try:
        description = parse(text, call.site)
    except Refused as refused:
        call.jobs.number()
        return {**row, "status": False, "message": str(refused)}
    job = call.jobs.make(call.client, description)
    return {**row, "status": True, "job_id": job.id}


def _submitfields(call: Call) -> None:
    blocks = (f"::{keyword}::\n" + "\n".join(call.all(keyword)) for keyword in KEYWORDS if call.all(keyword))
    name = f"tmp{secrets.token_hex(4)}"
    call.add("submitstatuslist", submitstatuslist=[submit_text(call, "\n\n".join(blocks) + "\n", name)])


def _resubmit(call: Call) -> None:
    rows: list[dict[str, Any]] = []
    for job in call.matching_jobs():
        if not call.site.resubmit_works:
            call.crash()
            return
        new = call.jobs.make(call.client, job.description)
        rows.append({"object_type": "resubmitobj", "job_id": job.id, "status": True, "new_job_id": new.id})
    if len(rows) > _LIMIT:
        call.error(f"Too many matching jobs ({len(rows)})!")
        return
    call.add("resubmitobjs", resubmitobjs=rows)


_FIELDS = (
    *(Parameter(name, rule.characters, required=name == "EXECUTE") for name, rule in KEYWORDS.items()),
    Parameter("save_as_default", "word"),
)

OPERATIONS = (
    Operation("submitfields", _FIELDS, _submitfields, changes=True),
    Operation("resubmit", (Parameter("job_id", "id", required=True),), _resubmit, changes=True),
)
