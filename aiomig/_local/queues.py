"""The message queues of local mode: folders of the home, as on a grid, that several processes share.

Each step that others can see is one that a file system does as a whole. A message is renamed into its queue; who
removes its file has received it; and a queue is renamed out of sight before what it holds is removed.
"""

from __future__ import annotations

import os
import secrets
import shutil
from typing import TYPE_CHECKING

from .._core.errors import FileExists, FileNotFound
from .._home.disk import atomic_write, remove_tree, translate_os_errors, write_pieces
from .._home.queues import FOLDER, is_name, no_queue, queue_exists

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

_DEFAULT = "default"


class LocalQueues:
    """The queues of a home.

    Args:
        home: the home.
        own: local mode's own folder in it.
        checkpoint: where an operation may be cancelled; raises where the session is closed.
    """

    def __init__(self, home: Path, own: Path, checkpoint: Callable[[], Awaitable[None]]) -> None:
        self._top = home / FOLDER
        self._spare = own / "tmp"
        self._checkpoint = checkpoint

    async def names(self) -> list[str]:
        """The folders."""
        await self._ready()
        with translate_os_errors(FOLDER), os.scandir(self._top) as entries:
            return sorted(
                entry.name for entry in entries if is_name(entry.name) and entry.is_dir(follow_symlinks=False)
            )

    async def create(self, name: str, *, exist_ok: bool) -> None:
        """Makes the folder."""
        await self._ready()
        try:
            with translate_os_errors(f"{FOLDER}/{name}"):
                (self._top / name).mkdir()
        except FileExists:
            if not (exist_ok and (self._top / name).is_dir()):
                raise queue_exists(name) from None

    async def remove(self, name: str, *, missing_ok: bool) -> None:
        """Removes the folder."""
        await self._ready()
        doomed = self._spare / f".aiomig-{secrets.token_hex(8)}.part"
        try:
            with translate_os_errors(f"{FOLDER}/{name}"):
                os.rename(f"{self._top / name}/", doomed)
        except FileNotFound:
            if not missing_ok:
                raise no_queue(name) from None
            return
        with translate_os_errors(f"{FOLDER}/{name}"):
            try:
                await remove_tree(doomed)
            except BaseException:
                shutil.rmtree(doomed, ignore_errors=True)
                raise

    async def ids(self, name: str) -> list[str]:
        """The names of the files."""
        await self._ready()
        return self._ids(name)

    def _ids(self, name: str) -> list[str]:
        try:
            with translate_os_errors(f"{FOLDER}/{name}"), os.scandir(self._top / name) as entries:
                return sorted(
                    entry.name for entry in entries if is_name(entry.name) and entry.is_file(follow_symlinks=False)
                )
        except FileNotFound:
            raise no_queue(name) from None

    async def send(self, name: str, message_id: str, message: str) -> None:
        """Writes a file, and moves it into the folder."""
        await self._ready()
        try:
            with (
                translate_os_errors(f"{FOLDER}/{name}"),
                atomic_write(self._top / name / message_id, folder=self._spare, mode=0o600) as file,
            ):
                await write_pieces(file, message.encode())
        except FileNotFound:
            raise no_queue(name) from None

    async def next(self, name: str, *, take: bool) -> str | None:
        """Reads the first file, and removes it. Where somebody else did so first, it is the turn of the next one."""
        await self._ready()
        for message_id in self._ids(name):
            path = self._top / name / message_id
            with translate_os_errors(f"{FOLDER}/{name}/{message_id}"):
                try:
                    content = path.read_bytes()
                    if take:
                        path.unlink()
                except FileNotFoundError:
                    continue
            return content.decode("utf-8", "replace")
        return None

    async def _ready(self) -> None:
        """Sees to the folders that are always there."""
        await self._checkpoint()
        with translate_os_errors(FOLDER):
            self._spare.mkdir(mode=0o700, exist_ok=True)
            (self._top / _DEFAULT).mkdir(parents=True, exist_ok=True)
