"""Commands that list files of the home: ``ls``, ``find``, ``stat``, ``du``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from ._command import command
from ._exit_codes import ExitCode
from ._output import local_time, size, write, write_json, write_table
from ._settings import current

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .. import FileInfo, Session

_COLUMNS = {"SIZE": "right", "MODIFIED": "left", "PATH": "left"}


@command("ls")
@click.argument("paths", nargs=-1, metavar="[PATH]...")
@click.option("--long", "-l", is_flag=True, help="Show sizes and times.")
@click.option("--recursive", "-R", is_flag=True, help="List subdirectories, too.")
@click.option("--all", "-a", "hidden", is_flag=True, help="Include names that begin with a dot.")
async def ls(mig: Session, /, *, paths: tuple[str, ...], long: bool, recursive: bool, hidden: bool) -> None:
    """List directories of the MiG home, or the files that match a quoted pattern with * and ?."""
    for path in paths or (".",):
        _print(await mig.files.ls(path, recursive=recursive, hidden=hidden), long=long)


@command("find")
@click.argument("pattern")
@click.argument("path", default=".")
@click.option("--long", "-l", is_flag=True, help="Show sizes and times.")
@click.option("--all", "-a", "hidden", is_flag=True, help="Include names that begin with a dot.")
async def find(mig: Session, /, *, pattern: str, path: str, long: bool, hidden: bool) -> int:
    """Find files below PATH whose names match a quoted PATTERN with * and ?. Exits with 1 if no file matches."""
    files = await mig.files.find(pattern, path, hidden=hidden)
    _print(files, long=long)
    return ExitCode.SUCCESS if files else ExitCode.FAILURE


def _print(files: Sequence[FileInfo], *, long: bool) -> None:
    if current().json:
        write_json(files)
    elif long:
        write_table(_COLUMNS, map(_row, files))
    else:
        for info in files:
            write(_name(info))


def _name(info: FileInfo) -> str:
    return info.path + "/" * (info.is_dir and info.path != ".")


def _row(info: FileInfo) -> list[str]:
    return ["-" if info.is_dir else size(info.size), local_time(info.modified_at), _name(info)]


@command("stat")
@click.argument("paths", nargs=-1, required=True, metavar="PATH...")
async def stat(mig: Session, /, *, paths: tuple[str, ...]) -> None:
    """Show the size and time of files of the MiG home."""
    _print([await mig.files.stat(path) for path in paths], long=True)


@command("du")
@click.argument("paths", nargs=-1, metavar="[PATH]...")
@click.option("--bytes", "-b", "exact", is_flag=True, help="Print bytes.")
async def du(mig: Session, /, *, paths: tuple[str, ...], exact: bool) -> None:
    """Show the total size of all files in directories of the MiG home."""
    for path in paths or (".",):
        total = await mig.files.disk_usage(path)
        if current().json:
            write_json({"path": path, "bytes": total})
        else:
            write(f"{total if exact else size(total)}  {path}")
