"""The message queues of local mode: folders of the home, as on a grid, that several processes share.

Each step that other processes can see is atomic. Sending renames a message into its queue. The process that removes the
file has received the message. A queue is renamed to a hidden place before its messages are removed.
"""

from __future__ import annotations

import os
from functools import partial
from typing import TYPE_CHECKING

from .._core.errors import FileExists, FileNotFound
from .._core.tasks import run_shielded
from .._core.turns import Paced
from .._home.disk import atomic_write, read_small, temporary_name, translate_os_errors, write_pieces
from .._home.folders import remove_tree
from .._home.queues import FOLDER, is_name, no_queue, queue_exists

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

_DEFAULT = "default"


class LocalQueues:
    """The queues of a home.

    Args:
        home: the home.
        own: local mode's own directory in it.
        checkpoint: called first in each method; raises if the session is closed.
    """

    def __init__(self, home: Path, own: Path, checkpoint: Callable[[], Awaitable[None]]) -> None:
        self._top = home / FOLDER
        self._temporary = own / "tmp"
        self._checkpoint = checkpoint

    async def names(self) -> list[str]:
        """As `QueueBackend.names`."""
        await self._prepare()
        with translate_os_errors(FOLDER), os.scandir(self._top) as entries:
            return sorted(
                [
                    entry.name
                    async for entry in Paced(entries)
                    if is_name(entry.name) and entry.is_dir(follow_symlinks=False)
                ]
            )

    async def create(self, name: str, *, exist_ok: bool) -> None:
        """As `QueueBackend.create`."""
        await self._prepare()
        try:
            with translate_os_errors(f"{FOLDER}/{name}"):
                (self._top / name).mkdir()
        except FileExists:
            if not (exist_ok and (self._top / name).is_dir()):
                raise queue_exists(name) from None

    async def remove(self, name: str, *, missing_ok: bool) -> None:
        """As `QueueBackend.remove`."""
        await self._prepare()
        hidden = self._temporary / temporary_name()
        try:
            with translate_os_errors(f"{FOLDER}/{name}"):
                os.rename(f"{self._top / name}/", hidden)
                await run_shielded(partial(remove_tree, str(hidden)))
        except FileNotFound:
            if not missing_ok:
                raise no_queue(name) from None

    async def ids(self, name: str) -> list[str]:
        """As `QueueBackend.ids`."""
        await self._prepare()
        return await self._ids(name)

    async def _ids(self, name: str) -> list[str]:
        try:
            with translate_os_errors(f"{FOLDER}/{name}"), os.scandir(self._top / name) as entries:
                return sorted(
                    [
                        entry.name
                        async for entry in Paced(entries)
                        if is_name(entry.name) and entry.is_file(follow_symlinks=False)
                    ]
                )
        except FileNotFound:
            raise no_queue(name) from None

    async def send(self, name: str, message_id: str, message: str) -> None:
        """As `QueueBackend.send`."""
        await self._prepare()
        try:
            with (
                translate_os_errors(f"{FOLDER}/{name}"),
                atomic_write(self._top / name / message_id, folder=self._temporary, mode=0o600) as file,
            ):
                await write_pieces(file, message.encode())
        except FileNotFound:
            raise no_queue(name) from None

    async def next(self, name: str, *, take: bool) -> str | None:
        """As `QueueBackend.next`. If another process takes the message first, the next one follows."""
        await self._prepare()
        for message_id in await self._ids(name):
            path = self._top / name / message_id
            with translate_os_errors(f"{FOLDER}/{name}/{message_id}"):
                try:
                    content = read_small(path)
                    if take:
                        path.unlink()
                except FileNotFoundError:
                    continue
            return content.decode("utf-8", "replace")
        return None

    async def _prepare(self) -> None:
        """Create the directories that always exist."""
        await self._checkpoint()
        with translate_os_errors(FOLDER):
            self._temporary.mkdir(mode=0o700, exist_ok=True)
            (self._top / _DEFAULT).mkdir(parents=True, exist_ok=True)
