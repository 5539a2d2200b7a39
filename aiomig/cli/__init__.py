"""The command line: ``aiomig``, which ``pip install 'aiomig[cli]'`` brings."""

from __future__ import annotations

import os
import sys
from io import TextIOWrapper
from typing import TYPE_CHECKING

from ._exit_codes import ExitCode

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["ExitCode", "main", "run"]


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line, and exit.

    Args:
        arguments: without the name of the program; the default are those of this process.

    Raises:
        SystemExit: always, with one of the exit codes that ``aiomig --help`` lists.
    """
    _open_closed_streams()
    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # any name of a file can be printed
    code = run(arguments)
    try:
        sys.stdout.flush()
    except OSError:
        # The interpreter flushes again when it ends, and would print an error.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    sys.exit(code)


def run(arguments: Sequence[str] | None = None) -> int:
    """Run a command line on the standard streams as they are.

    Args:
        arguments: without the name of the program; the default are those of this process.

    Returns:
        The exit code; see `ExitCode`. That of ``aiomig run`` is the exit code of the job.
    """
    try:
        import click  # noqa: F401 - aiomig itself is installed without it
    except ModuleNotFoundError:
        sys.stderr.write("aiomig: the command line needs more packages; run: pip install 'aiomig[cli]'\n")
        return ExitCode.NOT_WELL
    from . import _app

    return _app.run(arguments)


def _open_closed_streams() -> None:
    """Open standard streams that were closed as /dev/null: a file opened later would get their numbers."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode))  # noqa: PTH123, SIM115 - open until the program ends
