"""Carrying the inputs of jobs into the MiG home: those of one job to its own folder, what several share once."""

from __future__ import annotations

import hashlib
import logging
import os
from collections import Counter
from typing import TYPE_CHECKING

import anyio

from ._errors import MigError
from ._local_io import read_file
from ._lowering import PRIVATE_FOLDER
from ._paths import name_of
from ._plan import rerouted

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from ._files import Files
    from ._plan import Plan

logger = logging.getLogger("aiomig")

SHARED_FOLDER = f"{PRIVATE_FOLDER}/shared"
"""Where inputs lie that several jobs share, by the checksum of their content; `Job.clean` leaves them."""

_AT_ONCE = 8
_CLEAN_UP_SECONDS = 10.0
"""The longest that a failed or cancelled submit takes to remove what it carried."""


class Uploads:
    """The carrier of one session.

    Args:
        files: the home.
    """

    def __init__(self, files: Files) -> None:
        self._files = files
        self._limiter = anyio.CapacityLimiter(_AT_ONCE)
        self._shared: dict[tuple[object, ...], str] = {}

    async def carry(self, plan: Plan) -> None:
        """Carries the inputs of one job; some jobs at a time."""
        async with self._limiter:
            for upload in plan.uploads:
                await self._carry(upload.source, upload.path)

    async def _carry(self, source: Path | bytes, path: str) -> None:
        if isinstance(source, bytes):
            await self._files.write_bytes(path, source)
        else:
            await self._files.put(source, path)

    async def share(self, plans: Sequence[Plan]) -> list[Plan]:
        """Carries what more than one of these jobs has for an input; the plans without that."""
        uses = Counter(upload.source for plan in plans for upload in plan.uploads)
        places: dict[Path | bytes, str] = {}
        for plan in plans:
            for upload in plan.uploads:
                if uses[upload.source] > 1 and upload.source not in places:
                    places[upload.source] = await self._share(upload.source, name_of(upload.path))
        if not places:
            return list(plans)
        return [
            rerouted(plan, {each.path: places[each.source] for each in plan.uploads if each.source in places})
            for plan in plans
        ]

    async def _share(self, source: Path | bytes, name: str) -> str:
        """Where a shared input lies in the home; carried there unless it is there already, also from another day."""
        identity = _identity(source)
        known = self._shared.get(identity)
        if known is not None:
            return known
        size = len(source) if isinstance(source, bytes) else source.stat().st_size
        path = f"{SHARED_FOLDER}/{await _digest(source)}/{name}"
        there = await self._files.exists(path) and (await self._files.stat(path)).size == size
        if not there:
            await self._carry(source, path)
        self._shared[identity] = path
        return path

    async def remove(self, plans: Sequence[Plan]) -> None:
        """Removes the private folders of jobs that were not made. Not cancelled, but bounded in time."""
        with anyio.move_on_after(_CLEAN_UP_SECONDS, shield=True):
            for plan in plans:
                if plan.folder is None:
                    continue
                try:
                    await self._files.remove(plan.folder, recursive=True, missing_ok=True)
                except MigError as error:
                    logger.warning("%s is left behind in the MiG home: %s", plan.folder, error)


def _identity(source: Path | bytes) -> tuple[object, ...]:
    if isinstance(source, bytes):
        return (source,)
    information = source.stat()
    return os.path.realpath(source), information.st_ino, information.st_size, information.st_mtime_ns


async def _digest(source: Path | bytes) -> str:
    digest = hashlib.sha256()
    if isinstance(source, bytes):
        digest.update(source)
    else:
        async for piece in read_file(source):
            digest.update(piece)
    return digest.hexdigest()[:40]
