"""Writes the bash script that runs the commands of one job in local mode. No I/O.

It records exit codes as a MiG resource does (docs/protocol.md#the-script): one shell, one ``{ … }`` group with its
output in two files, and around each command the lines that write ``.status`` and ``.log``. bash treats odd commands
(unbalanced quotes, ``exit``, ``set -e``, a syntax error) here as there.

aiomig adds two things that commands do not see. First, the script creates its *control file* with O_EXCL. The process
that creates this file, the script or a session that cleans up after a crash, owns the attempt, so it runs at most once.
Last, the script appends its exit code to that file, so that the code survives even if no program waits for it.
"""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .._spec.mrsl import Description

SYSTEM_FILES = ("givejob", "inputfiles_available", "system.outputfiles", "user.outputfiles")
"""Suffixes of the other, empty files in a job directory (docs/protocol.md#the-script)."""

QUOTE_GUARD = "    # MiG caught stray quotes in a command! #\"; (exit 255) #'; (exit 255) #"
"""The line after each command. It closes an unbalanced quote and sets 255; after any other command it is a comment.

The words are those of a grid, because they come out on stdout."""


def script(
    description: Description,
    *,
    job_id: str,
    local_name: str,
    control: str,
    inode: int | None = None,
    limits: bool = False,
    complaints: Sequence[str] = (),
    remark: str = "",
    largest_group: int = 1000,
) -> str:
    """Return the text of the script.

    Args:
        description: the job.
        job_id: its id, which names the files.
        local_name: MiG's name of the attempt, ``DDMMYY-HHMMSS.NUMBER``.
        control: absolute path of the control file.
        inode: the inode of the job directory, for the control file.
        limits: whether to set the ulimits of a MiG resource.
        complaints: lines for the beginning of ``.status``, such as ``"system: chmod 1"``.
        remark: a line for the head of the script.
        largest_group: the most commands of one group. With more commands, the script redirects its output
            without a group, because bash crashes in a group of about 2,500 commands. See docs/protocol.md#the-script.
    """
    commands, variables = description.keywords.get("EXECUTE", ()), description.keywords.get("ENVIRONMENT", ())
    grouped = len(commands) <= largest_group
    streams = f"1>{job_id}.stdout 2>{job_id}.stderr"
    quoted = shlex.quote(control)
    directory = "" if inode is None else f" inode {inode}"
    status = f'"${{MIG_JOBDIR-/dev/null}}/{job_id}.status"'
    log = f'"${{MIG_JOBDIR-/dev/null}}/{job_id}.log"'
    system = " ".join(f">{local_name}.{suffix}" for suffix in SYSTEM_FILES)
    parts = [
        f"#!/bin/bash\n# {remark}",
        f"set -C; {{ echo pid $${directory} >{quoted}; }} 2>/dev/null || exit 125; set +C",
        f"trap 'echo $? >>'{shlex.quote(quoted)} EXIT",
        "umask 022",
        f": >{job_id}.log >{job_id}.status {system}",
        *(f"echo {shlex.quote(line)} >>{status}" for line in complaints),
        *(_environment(variables, job_id, description.text("JOBNAME"), status) if variables else ()),
        *(_limits(description) if limits else ()),
        "__MiG_LAST_RET=0",
        "{" if grouped else f"exec {streams}",
    ]
    for command in commands:
        parts += _accounted(command, status, log)
    parts += [f"}} {streams}" if grouped else "", f"echo 0 >>{quoted}", "exit 0", ""]
    return "\n".join(parts)


def _environment(lines: Sequence[str], job_id: str, job_name: str, status: str) -> list[str]:
    exports = " && ".join("export " + line.replace("+JOBID+", job_id).replace("+JOBNAME+", job_name) for line in lines)
    return [
        exports,
        f'__MiG_LAST_RET=$?; [ $__MiG_LAST_RET = 0 ] || echo "system: set environments $__MiG_LAST_RET" >>{status}',
    ]


def _limits(description: Description) -> list[str]:
    """Return the ulimits that a resource sets (docs/protocol.md#limits)."""
    seconds = (description.number("CPUTIME") + 10) * description.number("CPUCOUNT")
    return [
        "ulimit -c 0",
        "ulimit -u 1024",
        f"ulimit -f {(description.number('DISK') + 1) * 1048576}",
        f"ulimit -t {seconds}",
        f"ulimit -v {(description.number('MEMORY') + 16) * 1024}",
    ]


def _accounted(command: str, status: str, log: str) -> list[str]:
    text = command.replace("'", "`")
    return [
        f"echo 'EXECUTING: {text}' >>{log}",
        f"echo -n '--Exit code: ' >>{log}",
        f"echo -n '{text} ' >>{status}",
        # Sets `$?` to the last command's exit code. This forks only if it is not 0 already.
        "[ $__MiG_LAST_RET = 0 ] || (exit $__MiG_LAST_RET)",
        # Indented as on a grid, so that a here-document never finds its end mark (docs/protocol.md#the-script).
        f"    {command}",
        QUOTE_GUARD,
        "__MiG_LAST_RET=$?",
        f"echo $__MiG_LAST_RET >>{status}",
        f"echo $__MiG_LAST_RET >>{log}",
        "",
    ]
