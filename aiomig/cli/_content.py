"""Commands that read and write the content of files: ``cat``, ``head``, ``grep``, ``wc``, ``read``, ``write``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from ._command import command
from ._exit_codes import ExitCode
from ._output import read_bytes, read_chunks, write_bytes, write_json, write_table
from ._output import write as print_line
from ._settings import current

if TYPE_CHECKING:
    from .. import Session

_CHUNK = 8 << 20
_COUNTS = {"LINES": "right", "WORDS": "right", "BYTES": "right", "PATH": "left"}

_paths = click.argument("paths", nargs=-1, required=True, metavar="FILE...")


@command("cat")
@_paths
async def cat(mig: Session, /, *, paths: tuple[str, ...]) -> None:
    """Print files of the MiG home. Control characters are escaped on a terminal, but not in a pipe."""
    for path in paths:
        if current().json:
            write_json({"path": path, "content": await mig.files.read_bytes(path)})
        else:
            async for chunk in mig.files.stream(path):
                write_bytes(chunk)


@command("head")
@_paths
@click.option(
    "--lines",
    "-n",
    type=click.IntRange(1, 1_000_000),
    metavar="N",
    default=20,
    show_default=True,
    help="Maximum number of lines.",
)
async def head(mig: Session, /, *, paths: tuple[str, ...], lines: int) -> None:
    """Print the first lines of files of the MiG home. See also: aiomig tail."""
    for path in paths:
        first = await mig.files.head(path, lines)
        if current().json:
            write_json({"path": path, "lines": first})
            continue
        for line in first:
            print_line(line, content=True)


@command("grep")
@click.argument("pattern")
@_paths
async def grep(mig: Session, /, *, pattern: str, paths: tuple[str, ...]) -> int:
    """Print the lines of files that match a Python regular expression. Exits with 1 if no line matches."""
    matched = False
    for path in paths:
        lines = await mig.files.grep(pattern, path)
        matched = matched or bool(lines)
        if current().json:
            write_json({"path": path, "lines": lines})
            continue
        for line in lines:
            print_line(f"{path}:{line}" if len(paths) > 1 else line, content=True)
    return ExitCode.SUCCESS if matched else ExitCode.FAILURE


@command("wc")
@_paths
async def wc(mig: Session, /, *, paths: tuple[str, ...]) -> None:
    """Count lines, words and bytes of files of the MiG home."""
    counts = {path: await mig.files.word_count(path) for path in paths}
    if current().json:
        write_json(counts)
    else:
        rows = ([str(count.lines), str(count.words), str(count.bytes), path] for path, count in counts.items())
        write_table(_COUNTS, rows)


@command("checksum")
@_paths
@click.option("--algorithm", "-a", default="sha256", show_default=True, help="sha256, sha512, md5, …")
async def checksum(mig: Session, /, *, paths: tuple[str, ...], algorithm: str) -> None:
    """Print checksums of files of the MiG home in the format of sha256sum."""
    for path in paths:
        digest = await mig.files.checksum(path, algorithm)
        if current().json:
            write_json({"path": path, "algorithm": algorithm, "checksum": digest})
        else:
            print_line(f"{digest}  {path}")


@command("read")
@click.argument("path", metavar="FILE")
@click.option(
    "--start", type=click.IntRange(0), metavar="N", default=0, show_default=True, help="The first byte, counted from 0."
)
@click.option(
    "--end", type=click.IntRange(0), metavar="N", help="The byte after the last; default: the end of the file."
)
async def read(mig: Session, /, *, path: str, start: int, end: int | None) -> None:
    """Print a range of bytes of a file of the MiG home."""
    if end is not None and end < start:
        raise click.BadParameter(f"{end} comes before --start {start}; give a later byte", param_hint="--end")
    while True:  # in chunks, because the file may be larger than the memory
        stop = start + _CHUNK if end is None else min(start + _CHUNK, end)
        data = await mig.files.read_range(path, start, stop)
        write_bytes(data)
        start += len(data)
        if len(data) < _CHUNK:
            return


@command("write")
@click.argument("path", metavar="FILE")
@click.option(
    "--start",
    type=click.IntRange(0),
    metavar="N",
    help="Overwrite the file from this byte on instead of replacing it.",
)
async def write(mig: Session, /, *, path: str, start: int | None) -> None:
    """Write standard input to a file of the MiG home: create or replace the file, or with --start change a part."""
    if start is None:
        await mig.files.put_stream(read_chunks(), path)
    else:
        await mig.files.write_range(path, start, read_bytes())
