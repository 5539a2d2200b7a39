"""The command line: ``aiomig``, which ``pip install 'aiomig[cli]'`` brings."""

from __future__ import annotations

import sys
from io import TextIOWrapper
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the command line, and exits.

    Args:
        arguments: without the name of the program; default are those of this process.

    Raises:
        SystemExit: always, with one of the exit codes that ``aiomig --help`` lists.
    """
    try:
        import click  # noqa: F401 - the core of aiomig is installed without it
    except ModuleNotFoundError:
        sys.exit("aiomig: the command line needs packages that are not installed; run: pip install 'aiomig[cli]'")
    from ._app import run

    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # no name of a file is an error
    sys.exit(run(arguments))
