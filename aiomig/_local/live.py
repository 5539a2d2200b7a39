"""The exchange of files and messages between running jobs and the home (docs/protocol.md#live-output).

A job requests it by a file in its directory, as on a grid; a program by the methods of `Job`. A job may replace its
files by anything, so each step uses a descriptor of the job directory and follows no link there.
"""

from __future__ import annotations

import logging
import os
from typing import TYPE_CHECKING

from .._core.errors import MigError, PathRefused
from .._core.paths import check_characters, home_path
from .._home.disk import atomic_write, copy_content, open_regular, read_small
from .._home.folders import inside, open_below
from .._home.queues import Queue
from .job_folder import below

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence
    from pathlib import Path

    from .._backend import QueueBackend
    from .job_folder import JobFolder

logger = logging.getLogger("aiomig.local")

_LONGEST_REQUEST = 1 << 16
_LONGEST_MESSAGE = 1 << 20


class LiveFiles:
    """Copies files and messages between the running jobs of a home and the home.

    Args:
        home: the home.
        queues: its message queues.
    """

    def __init__(self, home: Path, queues: QueueBackend) -> None:
        self._home = home
        self._queues = queues
        self._told: set[str] = set()

    async def send(self, job: JobFolder, sources: Sequence[str], destination: str) -> None:
        """Copy files of a job directory into a directory of the home, under their last names.

        Raises:
            OSError: a file is missing, or is no regular file, or the copy cannot be written.
            PathRefused: a path leads out of the job directory or the home.
        """
        target = inside(self._home, destination)
        if target is None:
            raise PathRefused(destination, "a symbolic link leads out of the MiG home")
        root = self._home.resolve()
        with job.open() as folder, open_below(root, os.path.relpath(target, root), make=True) as parent:
            for source in sources:
                above, name = os.path.split(_below(source))
                with (
                    open_below(folder, above) as place,
                    open_regular(name, place, follow=False) as file,
                    atomic_write(name, parent) as copy,
                ):
                    await copy_content(file, copy)

    async def get(self, job: JobFolder, sources: Sequence[str], destination: str) -> None:
        """Copy files of the home into a directory of a job, under their last names. Raises as `send`."""
        with job.open() as folder, open_below(folder, _below(destination), make=True) as parent:
            for source in sources:
                real = inside(self._home, source)
                if real is None:
                    raise PathRefused(source, "a symbolic link leads out of the MiG home")
                with open_regular(real) as file, atomic_write(os.path.basename(source), parent) as copy:
                    await copy_content(file, copy)

    # -- requests of jobs

    async def answer(self, job: JobFolder, local_name: str) -> None:
        """Carry out the requests ``NAME.sendupdate`` and ``NAME.getupdate`` of a job, then rename them to ``…done``.

        A request that fails stays, as on a grid, and the reason is logged.
        """
        for name, act in ((f"{local_name}.sendupdate", self._send_for), (f"{local_name}.getupdate", self._get_for)):
            if os.path.lexists(f"{job.path}/{name}"):
                await self._answer_one(job, name, act)

    async def _answer_one(
        self, job: JobFolder, name: str, act: Callable[[JobFolder, dict[str, list[str]]], Awaitable[None]]
    ) -> None:
        try:
            with job.open() as folder:
                text = read_small(name, folder, most=_LONGEST_REQUEST).decode("utf-8", "replace")
            if not text.endswith("\n"):
                return  # not written to its end
            await act(job, _fields(text))
            with job.open() as folder:
                os.rename(name, f"{name}done", src_dir_fd=folder, dst_dir_fd=folder)
        except (OSError, MigError, UnicodeError) as error:
            self._tell(job, name, error)
        else:
            self._told.discard(f"{job.path}/{name}")

    def _tell(self, job: JobFolder, name: str, error: Exception) -> None:
        if f"{job.path}/{name}" not in self._told and os.path.lexists(f"{job.path}/{name}"):
            self._told.add(f"{job.path}/{name}")
            logger.warning("%s: the request of the job waits: %s", name, error)

    async def _send_for(self, job: JobFolder, fields: dict[str, list[str]]) -> None:
        sources, destination = fields["source"], fields["destination"][-1]
        if fields["target"][-1] != "mqueue":
            await self.send(job, sources, _home_folder(destination))
            return
        queue = Queue(self._queues, destination)
        for source in sources:
            above, name = os.path.split(_below(source))
            with job.open() as folder, open_below(folder, above) as place:
                message = read_small(name, place, most=_LONGEST_MESSAGE).decode()
            await queue.send(message)

    async def _get_for(self, job: JobFolder, fields: dict[str, list[str]]) -> None:
        sources, destination = fields["source"], fields["destination"][-1]
        if fields["target"][-1] != "mqueue":
            await self.get(job, [home_path(source) for source in sources], destination)
            return
        with job.open() as folder, open_below(folder, _below(destination), make=True) as parent:
            for source in sources:
                queue = Queue(self._queues, source)
                # The file is there before the message leaves the queue. If there is none, it stays empty.
                with atomic_write(queue.name, parent) as file:
                    file.write((await queue.receive() or "").encode())


def _fields(text: str) -> dict[str, list[str]]:
    """Return the lines ``NAME VALUE`` of a request by name.

    Raises:
        PathRefused: it names no source or no destination.
    """
    fields: dict[str, list[str]] = {}
    for line in text.splitlines():
        name, _, value = line.strip().partition(" ")
        fields.setdefault(name, []).append(value.strip())
    for name in ("source", "destination"):
        if not fields.get(name, [""])[-1]:
            raise PathRefused(text[:200], f"the request has no line: {name} VALUE")
    return {"target": ["liveio"], **fields}


def _below(path: str) -> str:
    """Return a path of the job directory, normalised. Raises PathRefused."""
    normal = below(path)
    if normal is None or "\0" in path:
        raise PathRefused(path, "leads out of the job directory")
    return normal


def _home_folder(path: str) -> str:
    clean = home_path(path)
    check_characters(clean)
    return clean
