"""Operations about the site and the user: jobman, fileman, docs, redb, mqueue."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ._mrsl_parser import KEYWORDS
from ._operation import Operation, Parameter
from ._operations_listing import FLAGS

if TYPE_CHECKING:
    from pathlib import Path

    from ._operation import Call

_ACTIONS = ["interactive", "listqueues", "listmessages", "show", "create", "remove", "send", "receive"]
_READING = ("interactive", "listqueues", "listmessages", "show")


def _jobman(call: Call) -> None:
    if not call.site.jobs_enabled:
        call.error("Job execution is not enabled on this system")
        return
    call.add("table_pager", entry_name="jobs", default_entries=25, form_append="")
    call.add("html_form", text="<div class='jm_container'></div>")


def _fileman(call: Call) -> None:
    call.add("html_form", text="<div class='fm_container'></div>")


def _docs(call: Call) -> None:
    if "mrsl" not in [topic.lower() for topic in call.all("show")]:
        call.add("text", text="The following documentation topics are available on this server.")
        call.add("list", list=["About", "mRSL job description", "User scripts"])
        return
    call.add("header", text="mRSL job description")
    for keyword in KEYWORDS:
        lines = [f"Type: {KEYWORDS[keyword].shape}", f"Example: ::{keyword}::"]
        values = {"ARCHITECTURE": call.site.architectures, "JOBTYPE": call.site.job_types}.get(keyword)
        if values:
            lines.append(f"This particular server supports the following values: {', '.join(values)}")
        call.add("sectionheader", text=keyword)
        call.add("list", list=lines)


def _redb(call: Call) -> None:
    names = sorted(call.site.runtime_environments) if call.last("operation") == "list" else []
    rows = [{"object_type": "runtimeenvironment", "name": name} for name in names]
    call.add("runtimeenvironments", runtimeenvironments=rows)


def _userstats(call: Call) -> None:
    """Count jobs and files (docs/protocol.md#services)."""
    wanted = call.all("stats")
    stats: dict[str, object] = {}
    if "jobs" in wanted:
        states = [job.state for job in call.jobs.find(call.client, "*")]
        stats["jobs"] = {"total": len(states)} | {state.lower(): states.count(state) for state in sorted(set(states))}
    if "disk" in wanted:
        files = [path for path in call.home.root.rglob("*") if path.is_file()]
        stats["disk"] = {"own_files": len(files), "own_megabytes": sum(path.stat().st_size for path in files) / 1e6}
    call.add("user_stats", **stats)


# -- message queues (docs/protocol.md#message-queues)


def _mqueue(call: Call) -> None:
    action = call.last("action")
    call.header = f"Message queue {action}"
    lines: list[str] = []
    path: dict[str, str] = {}
    if action not in _ACTIONS:
        call.error(f"Invalid action '{action}' (supported: {', '.join(_ACTIONS)})")
    elif action in ("listqueues", "listmessages"):
        _list(call, action)
    elif action in ("show", "receive"):
        lines, path = _take(call, action)
    else:
        _change(call, action)
    call.add("file_output", lines=lines, wrap_binary=True, wrap_targets=["lines"], **path)
    if action in _ACTIONS:
        back = f"mqueue.py?queue={call.last('queue')}&msg={call.last('msg')}"
        call.add("link", destination=back, text="Back to message queue interaction")


def _folder(call: Call) -> Path:
    base = call.home.root / "message_queues"
    (base / "default").mkdir(parents=True, exist_ok=True)
    return base


def _list(call: Call, action: str) -> None:
    folder = _folder(call)
    if action == "listmessages":
        folder /= call.last("queue")
    if not folder.is_dir():
        call.error(f"Could not list messages in '{call.last('queue')}' queue")
        return
    call.add("list", list=sorted(path.name for path in folder.iterdir()))


def _take(call: Call, action: str) -> tuple[list[str], dict[str, str]]:
    folder = _folder(call) / call.last("queue")
    if not folder.is_dir():
        call.error(f"Could not {action}{' from' if action == 'receive' else ''} '{call.last('queue')}' queue")
        return [], {}
    message_id = call.last("msg_id")
    names = sorted(path.name for path in folder.iterdir() if message_id in ("", path.name))
    if not names:
        return ["NO MESSAGES"], {}
    message = folder / names[0]
    text = message.read_text("utf-8")
    if action == "receive":
        message.unlink()
    return text.splitlines(keepends=True), {"path": names[0]}


def _change(call: Call, action: str) -> None:
    name = call.last("queue")
    folder = _folder(call) / name
    if action == "create" and not folder.exists():
        folder.mkdir()
        call.text(f"New '{name}' queue created")
    elif action == "remove" and folder.is_dir():
        for message in folder.iterdir():
            message.unlink()
        folder.rmdir()
        call.text(f"Existing '{name}' queue removed")
    elif action == "send" and folder.is_dir():
        (folder / (call.last("msg_id") or str(int(call.now)))).write_text(call.last("msg"), "utf-8")
        call.text(f"Message sent to '{name}' queue")
    elif action != "interactive":
        call.error(f"Could not {action}{' to' if action == 'send' else ''} '{name}' queue")


OPERATIONS = (
    Operation("jobman", (FLAGS,), _jobman, title="Job Manager"),
    Operation("fileman", (FLAGS, Parameter("path", "path")), _fileman, title="File Manager"),
    Operation("docs", (Parameter("show", "pattern"), Parameter("search", "pattern")), _docs, title="Documentation"),
    Operation("redb", (Parameter("operation", "word", default=("list",)),), _redb, title="Runtime Environments"),
    Operation("userstats", (Parameter("stats", "word", default=("jobs", "disk")),), _userstats),
    Operation(
        "mqueue",
        (
            Parameter("queue", "word", default=("default",)),
            Parameter("action", "word", default=("interactive",)),
            Parameter("msg", "message"),
            Parameter("msg_id", "word"),
            Parameter("iosessionid", "word"),
        ),
        _mqueue,
        changes=lambda call: call.last("action") in _ACTIONS and call.last("action") not in _READING,
        header="",
    ),
)
