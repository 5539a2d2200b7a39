"""Translates the library's messages: options for arguments, ``mig:PATH`` for ``Remote('PATH')``."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from .. import Remote, SpecError
from .._core.display import printable, short_repr

if TYPE_CHECKING:
    from .. import CheckReport, Fault

_OPTIONS = {
    "commands": "command",
    "inputs": "--input",
    "executables": "--executable",
    "outputs": "--output",
    "environment": "--env",
    "runtime_environments": "--runtime-environment",
    "vgrids": "--vgrid",
    "hosts": "--host",
    "labels": "--label",
    "memory_mb": "--memory",
    "disk_gb": "--disk",
    "default_retries": "--retries",
}
"""The options whose names differ from the arguments."""

_SAME_NAME = {
    *("mrsl", "name", "wall_time", "cores", "nodes", "architecture", "platform", "fill", "sandbox", "max_price"),
    *("retries", "notify", "verify", "mount", "project", "kind", "home", "slots", "journal", "key", "algorithm"),
}
_COMMANDS = {
    "move": "mv",
    "copy": "cp",
    "remove": "rm",
    "read_range": "read",
    "write_range": "write",
    "write_text": "write",
    "word_count": "wc",
    "disk_usage": "du",
    "statuses": "status",
    "submit_mrsl": "submit-mrsl",
}
"""The commands whose names differ from the methods."""

_REPLACEMENTS = (
    (re.compile(r"Remote\('…'\)"), "mig:PATH"),
    (re.compile(r"Remote\((['\"])(?P<path>.*?)\1\)"), r"mig:\g<path>"),
    (re.compile(r"\bexecutables=\[…\] (sends|makes)"), r"-x FILE \1"),
    (re.compile(r"\b(?:inputs|outputs)=\[…\]"), "-i or -o for each"),
    (
        re.compile(r"\baiomig\.local\(home=…\)(?:, AIOMIG_HOME or --home for local mode)?"),
        "--home FOLDER or AIOMIG_HOME",
    ),
    (re.compile(r", aiomig\.grid\(journal=…\) for a grid"), ""),
    (re.compile(r"(?:await )?session\.unconfirmed\(\)"), "aiomig unconfirmed"),
    (re.compile(r"\bsession\.check\(job\)"), "see aiomig check --job ID"),
    (re.compile(r"\bqueue\.create\(\)"), "aiomig queue create"),
    (re.compile(r"\bcreate\(exist_ok=True\)"), "--exist-ok"),
    (re.compile(r"\bremove\(recursive=True\)(, or rmdir)?"), r"aiomig rm -r\1"),
    (re.compile(r"\brecursive=True(?:, or rmdir if empty)?"), "--recursive"),
    (re.compile(r"\bsession\.find_submitted\(marker\)"), "aiomig unconfirmed"),
    (re.compile(r"\bsession\.files\.(get|put|pack)\((['\"])(?P<path>.*?)\2, …\)"), r"aiomig \1 \g<path>"),
    (re.compile(r"\bsession\.files\.(get|put|pack)\(…\)"), r"aiomig \1"),
    (re.compile(r"\bsession\.archives\.(\w+)\((?:id|…), flavor='(\w+)'\)"), r"aiomig archive \1 --flavor \2"),
    (
        re.compile(r"\bsession\.(?:files\.(\w+)|(call|jobs|site|statuses|submit_mrsl|submit)\b)(?:\(\))?"),
        lambda match: f"aiomig {_command(match[1] or match[2])}",
    ),
    (re.compile(r"\bjob\.feasibility\(\)"), "aiomig check --job ID"),
    (re.compile(r"\bjob\.(cancel|resubmit)\(\)"), r"aiomig \1"),
    (re.compile(r"\b(freeze|thaw)\(\)"), r"aiomig \1"),
    (re.compile(r"\bexecutables=\['(\S+)'\]"), r"-x \1"),
    (re.compile(r"\binputs=\[\(b'…', 'name'\)\]"), "-i FILE"),
    (re.compile(r", or declare it: aiomig\.local\(.*\)"), ""),
    (re.compile(r"\bopen a session on a grid: aiomig\.grid\(\), or --grid"), "--grid chooses a grid"),
    (re.compile(r"\buse labels=\{…\}"), "use --label NAME=VALUE"),
    (re.compile(r"\bresult\(check=False\) returns"), "aiomig output prints"),
    (re.compile(r", give another folder as journal=, or do without: journal=False"), ""),
    (re.compile(r"\bresubmit\(\) runs"), "aiomig resubmit runs"),
)
_ASSIGNMENT = re.compile(r"\b([a-z_]+)=(?=['\"\d])")


def _command(method: str) -> str:
    return _COMMANDS.get(method, method)


def translate(text: str) -> str:
    """Replace Python arguments and calls in a message by options and commands."""
    for pattern, replacement in _REPLACEMENTS:
        text = pattern.sub(replacement, text)
    return _ASSIGNMENT.sub(lambda match: f"{_option(match[1])} " if _option(match[1]) else match[0], text)


def _option(field: str) -> str | None:
    return _OPTIONS.get(field) or (f"--{field.replace('_', '-')}" if field in _SAME_NAME else None)


def _argument(value: object) -> str:
    """Return a value as the user wrote it on the command line, if possible."""
    if isinstance(value, Remote):
        return f"mig:{_argument(value.path)}"
    if isinstance(value, tuple) and len(value) == 2:
        return ":".join(map(_argument, value))
    return printable(value) if isinstance(value, str) and value else short_repr(value)


def fault_message(fault: Fault) -> str:
    """Return the message for a fault of an option."""
    name, _, _ = fault.field.removeprefix("resources.").partition("[")
    option = _option(name) or printable(fault.field)
    if isinstance(fault.value, str) and fault.value.strip(":") == fault.field:
        return f"line {fault.line}: {option}: {translate(f'{fault.problem}; {fault.remedy}')}"
    line = f"line {fault.line}: " if fault.line is not None else ""
    problem = fault.problem.removeprefix(f"{fault.value!r} ")
    return f"{line}{option} {_argument(fault.value)}: {translate(f'{problem}; {fault.remedy}')}"


def spec_error_message(error: SpecError) -> str:
    """Return the message for all faults of a job description."""
    lines = [fault_message(fault) for fault in error.faults]
    return lines[0] if len(lines) == 1 else f"{len(lines)} faults:\n" + "\n".join(f"- {line}" for line in lines)


def report_message(report: CheckReport) -> str:
    """Return the result of a check, one line for each fault."""
    lines = [f"fault: {fault_message(fault)}" for fault in report.faults]
    lines += [f"warning: {fault_message(fault)}" for fault in report.warnings]
    lines += [f"unknown: {translate(text)}" for text in report.unknown]
    return "\n".join(lines) or str(report)
