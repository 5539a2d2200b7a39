"""The command line program ``aiomig``: ``pip install 'aiomig[cli]'``."""

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
    """Run a command line and exit.

    Args:
        arguments: the arguments, without the program's name; the default is ``sys.argv[1:]``.

    Raises:
        SystemExit: always, with one of the exit codes that ``aiomig --help`` lists.
    """
    _open_closed_streams()
    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # any file name can be printed
    code = run(arguments)
    try:
        sys.stdout.flush()
    except OSError:
        # The interpreter flushes again at exit and would print an error.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    sys.exit(code)


def run(arguments: Sequence[str] | None = None) -> int:
    """Run a command line in this process, without changing the standard streams.

    Args:
        arguments: the arguments, without the program's name; the default is ``sys.argv[1:]``.

    Returns:
        The exit code; see `ExitCode`. ``aiomig run`` returns the exit code of its job.
    """
    try:
        import click  # noqa: F401 - the library is installed without it
    except ModuleNotFoundError:
        sys.stderr.write("aiomig: the command line needs more packages; run: pip install 'aiomig[cli]'\n")
        return ExitCode.FAILURE
    from . import _app

    return _app.run(arguments)


def _open_closed_streams() -> None:
    """Open /dev/null for closed standard streams. Otherwise a file opened later would get their descriptors.

    Standard input is opened for writing, so that a command that reads it fails instead of reading an empty input.
    """
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            null = os.open(os.devnull, os.O_WRONLY)
            setattr(sys, name, open(null, mode))  # noqa: PTH123, SIM115 - stays open
