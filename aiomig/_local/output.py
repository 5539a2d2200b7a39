"""Reads the output of jobs: their result files, and the output of running or failed attempts."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import anyio.lowlevel

from .._backend import KINDS
from .._core.errors import LocalError
from .._core.models import JobState
from .._home.disk import PIECE, open_regular
from .records import number_of

if TYPE_CHECKING:
    from .._core.models import JobStatus
    from .settings import LocalSettings

MOST_OF_A_RESULT = 256 << 20
"""The most bytes of one result file that are read into memory."""

STREAM_PIECE = 8 << 20
"""The most bytes of a stream that are read at once."""


async def read_results(settings: LocalSettings, status: JobStatus) -> dict[str, bytes]:
    """Return the result files of a job by kind, or the kept output of its failed attempt."""
    job_id = status.job_id
    if status.state is JobState.FINISHED:
        start = f"{settings.stored_results(job_id)}/{job_id}."
        paths = {kind: start + kind for kind in KINDS}
        paths["remarks"] = f"{settings.kept}/{job_id}.remarks"
    else:
        number = number_of(job_id)
        paths = {kind: f"{settings.kept}/{number}.{kind}" for kind in ("stdout", "stderr")}
    contents = {kind: await read_output(path) for kind, path in paths.items()}
    return {kind: content for kind, content in contents.items() if content is not None}


async def read_output(path: str, start: int = 0, most: int | None = None) -> bytes | None:
    """Return at most ``most`` bytes of a file that a job wrote; ``None`` if there is no such file.

    Raises:
        LocalError: it cannot be read, or has more than `MOST_OF_A_RESULT` bytes if ``most`` is not given.
    """
    try:
        with open_regular(path, follow=False) as file:
            if most is None:
                most = MOST_OF_A_RESULT
                if os.fstat(file.fileno()).st_size > most:
                    raise LocalError(
                        f"{path} has more than {most} bytes", path=path, remedy="get it with session.files.get"
                    )
            file.seek(start)
            pieces = [file.read(min(PIECE, most))]
            while len(pieces[-1]) == PIECE and (left := most - sum(map(len, pieces))) > 0:
                await anyio.lowlevel.checkpoint()
                pieces.append(file.read(min(PIECE, left)))
            return b"".join(pieces)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise LocalError(f"{path} cannot be read: {error.strerror}", path=path) from error
