"""Commands that transfer files: ``put``, ``get``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from ._command import command
from ._output import write, write_json
from ._progress import progress_bar
from ._settings import current, local_files

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .. import Session


@command("put")
@click.argument("sources", nargs=-1, required=True, metavar="SOURCE... DESTINATION", shell_complete=local_files)
async def put(mig: Session, /, *, sources: tuple[str, ...]) -> None:
    """Upload files and directories of this machine into the MiG home.

    If DESTINATION exists as a directory or ends in /, the files keep their names in it. With a single argument, the
    destination is the home itself. Each file appears once it is complete.
    """
    *local, destination = sources if len(sources) > 1 else (*sources, "/")
    with progress_bar("put") as report:
        paths = await mig.files.put(_one_or_more(local), destination, progress=report)
    _print(paths)


@command("get")
@click.argument("sources", nargs=-1, required=True, metavar="SOURCE... DESTINATION", shell_complete=local_files)
async def get(mig: Session, /, *, sources: tuple[str, ...]) -> None:
    """Download files and directories of the MiG home. A quoted SOURCE may be a pattern with * and ?.

    If DESTINATION exists as a directory or ends in /, the files keep their names in it. With a single argument, the
    destination is the current directory. Each file appears once it is complete.
    """
    *remote, destination = sources if len(sources) > 1 else (*sources, "./")
    with progress_bar("get") as report:
        paths = await mig.files.get(_one_or_more(remote), destination, progress=report)
    _print([str(path) for path in paths])


def _one_or_more(sources: list[str]) -> str | list[str]:
    """Return a single source as a string: `Files` then accepts a new name as destination."""
    return sources if len(sources) > 1 else sources[0]


def _print(paths: Sequence[str]) -> None:
    if current().json:
        write_json(paths)
    elif not current().quiet:
        for path in paths:
            write(path)
