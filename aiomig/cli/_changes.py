"""Commands that change files of the home: ``cp``, ``mv``, ``rm``, ``mkdir``, ``touch``, ``pack``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from ._app import Command
from ._running import with_session
from ._settings import shared_options

if TYPE_CHECKING:
    from .. import Session

_paths = click.argument("paths", nargs=-1, required=True, metavar="PATH...")
_sources = click.argument("sources", nargs=-1, required=True, metavar="SOURCE...")
_destination = click.argument("destination")


@click.command(cls=Command)
@_sources
@_destination
@click.option("--recursive", "-r", is_flag=True, help="Directories, too.")
@shared_options
@with_session
async def cp(mig: Session, /, *, sources: tuple[str, ...], destination: str, recursive: bool) -> None:
    """Copy files inside the MiG home. Of several the destination is a directory."""
    for source in sources:
        await mig.files.copy(source, _inside(destination, sources), recursive=recursive)


@click.command(cls=Command)
@_sources
@_destination
@shared_options
@with_session
async def mv(mig: Session, /, *, sources: tuple[str, ...], destination: str) -> None:
    """Move or rename files and directories inside the MiG home. Of several the destination is a directory."""
    for source in sources:
        await mig.files.move(source, _inside(destination, sources))


def _inside(destination: str, sources: tuple[str, ...]) -> str:
    return f"{destination.rstrip('/')}/" if len(sources) > 1 else destination


@click.command(cls=Command)
@_paths
@click.option("--recursive", "-r", is_flag=True, help="Directories with all they hold, too.")
@click.option("--force", "-f", is_flag=True, help="What is not there is no error.")
@shared_options
@with_session
async def rm(mig: Session, /, *, paths: tuple[str, ...], recursive: bool, force: bool) -> None:
    """Remove files of the MiG home for good, without asking."""
    for path in paths:
        await mig.files.remove(path, recursive=recursive, missing_ok=force)


@click.command(cls=Command)
@_paths
@shared_options
@with_session
async def mkdir(mig: Session, /, *, paths: tuple[str, ...]) -> None:
    """Make directories in the MiG home, with those above them; those that exist are fine."""
    for path in paths:
        await mig.files.mkdir(path)


@click.command(cls=Command)
@_paths
@shared_options
@with_session
async def rmdir(mig: Session, /, *, paths: tuple[str, ...]) -> None:
    """Remove empty directories of the MiG home."""
    for path in paths:
        await mig.files.rmdir(path)


@click.command(cls=Command)
@_paths
@shared_options
@with_session
async def touch(mig: Session, /, *, paths: tuple[str, ...]) -> None:
    """Set the time of files of the MiG home to now; make empty ones where nothing is."""
    for path in paths:
        await mig.files.touch(path)


@click.command(cls=Command)
@_paths
@click.option(
    "--size", "-s", type=click.IntRange(0), metavar="N", default=0, show_default=True, help="The new size in bytes."
)
@shared_options
@with_session
async def truncate(mig: Session, /, *, paths: tuple[str, ...], size: int) -> None:
    """Cut files of the MiG home to a size, or lengthen them with zero bytes."""
    for path in paths:
        await mig.files.truncate(path, size)


@click.command(cls=Command)
@click.argument("source")
@click.argument("archive")
@shared_options
@with_session
async def pack(mig: Session, /, *, source: str, archive: str) -> None:
    """Make an archive of one file or directory of the MiG home: .zip .tar .tar.gz .tgz .tar.bz2 .tbz."""
    await mig.files.pack(source, archive)


@click.command(cls=Command)
@click.argument("archive")
@click.argument("destination", default=".")
@shared_options
@with_session
async def unpack(mig: Session, /, *, archive: str, destination: str) -> None:
    """Unpack an archive of the MiG home into a directory of it; default is the home itself."""
    await mig.files.unpack(archive, destination)
