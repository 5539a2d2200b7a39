"""Commands that change files of the home: ``cp``, ``mv``, ``rm``, ``mkdir``, ``touch``, ``pack``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from ._command import command

if TYPE_CHECKING:
    from .. import Session

_paths = click.argument("paths", nargs=-1, required=True, metavar="PATH...")
_sources = click.argument("sources", nargs=-1, required=True, metavar="SOURCE...")
_destination = click.argument("destination")


@command("cp")
@_sources
@_destination
@click.option("--recursive", "-r", is_flag=True, help="Also copy directories.")
async def cp(mig: Session, /, *, sources: tuple[str, ...], destination: str, recursive: bool) -> None:
    """Copy files within the MiG home. If there are several sources, the destination is a directory."""
    for source in sources:
        await mig.files.copy(source, _target(destination, sources), recursive=recursive)


@command("mv")
@_sources
@_destination
async def mv(mig: Session, /, *, sources: tuple[str, ...], destination: str) -> None:
    """Move or rename files within the MiG home. If there are several sources, the destination is a directory."""
    for source in sources:
        await mig.files.move(source, _target(destination, sources))


def _target(destination: str, sources: tuple[str, ...]) -> str:
    return f"{destination.rstrip('/')}/" if len(sources) > 1 else destination


@command("rm")
@_paths
@click.option("--recursive", "-r", is_flag=True, help="Also remove directories with everything in them.")
@click.option("--force", "-f", is_flag=True, help="Ignore files that do not exist.")
async def rm(mig: Session, /, *, paths: tuple[str, ...], recursive: bool, force: bool) -> None:
    """Remove files of the MiG home permanently, without asking."""
    for path in paths:
        await mig.files.remove(path, recursive=recursive, missing_ok=force)


@command("mkdir")
@_paths
async def mkdir(mig: Session, /, *, paths: tuple[str, ...]) -> None:
    """Create directories in the MiG home, and missing parent directories."""
    for path in paths:
        await mig.files.mkdir(path)


@command("rmdir")
@_paths
async def rmdir(mig: Session, /, *, paths: tuple[str, ...]) -> None:
    """Remove empty directories of the MiG home."""
    for path in paths:
        await mig.files.rmdir(path)


@command("touch")
@_paths
async def touch(mig: Session, /, *, paths: tuple[str, ...]) -> None:
    """Set the time of files of the MiG home to now; create missing files."""
    for path in paths:
        await mig.files.touch(path)


@command("truncate")
@_paths
@click.option(
    "--size", "-s", type=click.IntRange(0), metavar="N", default=0, show_default=True, help="The new size in bytes."
)
async def truncate(mig: Session, /, *, paths: tuple[str, ...], size: int) -> None:
    """Shorten files of the MiG home to a size, or extend them with zero bytes."""
    for path in paths:
        await mig.files.truncate(path, size)


@command("pack")
@click.argument("source")
@click.argument("archive")
async def pack(mig: Session, /, *, source: str, archive: str) -> None:
    """Create an archive of a file or directory of the MiG home: .zip .tar .tar.gz .tgz .tar.bz2 .tbz."""
    await mig.files.pack(source, archive)


@command("unpack")
@click.argument("archive")
@click.argument("destination", default=".")
async def unpack(mig: Session, /, *, archive: str, destination: str) -> None:
    """Unpack an archive of the MiG home into a directory of the home; the default is the home itself."""
    await mig.files.unpack(archive, destination)
