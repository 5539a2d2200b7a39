"""Carrying the inputs of jobs into the MiG home: those of one job to its own folder, what several share once."""

from __future__ import annotations

import hashlib
import logging
import os
from collections import Counter
from typing import TYPE_CHECKING

import anyio

from .._core.errors import FileNotFound, MigError
from .._core.paths import name_of
from .._home.disk import read_file, translate_os_errors
from .._spec.plan import PRIVATE_FOLDER

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from .._home.files import Files
    from .._spec.plan import Plan

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

    async def share(self, plans: Sequence[Plan]) -> list[Plan | MigError]:
        """Carries what more than one of these jobs, or an earlier bulk of them, has for an input.

        Returns:
            Of each plan what is left of it, or why an input that it shares could not be carried.
        """
        uses = Counter(upload.source for plan in plans for upload in plan.uploads)
        places: dict[Path | bytes, str | MigError] = {}
        for upload in (upload for plan in plans for upload in plan.uploads):
            source = upload.source
            if source not in places and (uses[source] > 1 or self._is_shared(source)):
                try:
                    places[source] = await self._share(source, name_of(upload.path))
                except MigError as error:
                    places[source] = error
        return [_without(plan, places) for plan in plans] if places else list(plans)

    def _is_shared(self, source: Path | bytes) -> bool:
        try:
            return bool(self._shared) and _identity(source) in self._shared
        except OSError:
            return False  # whoever carries it says so

    async def _share(self, source: Path | bytes, name: str) -> str:
        """Where a shared input lies in the home; carried there unless it is there already, also from another day."""
        with translate_os_errors(str(source), "on this machine"):
            identity = _identity(source)
            known = self._shared.get(identity)
            if known is not None:
                return known
            size = len(source) if isinstance(source, bytes) else source.stat().st_size
            path = f"{SHARED_FOLDER}/{await _digest(source)}/{name}"
        try:
            there = (await self._files.stat(path)).size
        except FileNotFound:
            there = None
        if there != size:
            await self._carry(source, path)
        self._shared[identity] = path
        return path

    async def remove(self, plans: Sequence[Plan]) -> None:
        """Removes the private folders of jobs that were not made. Not cancelled, but bounded in time."""
        with anyio.move_on_after(_CLEAN_UP_SECONDS, shield=True):
            async with anyio.create_task_group() as group:
                for plan in plans:
                    if plan.folder is not None:
                        group.start_soon(self._remove, plan.folder)

    async def _remove(self, folder: str) -> None:
        async with self._limiter:
            try:
                await self._files.remove(folder, recursive=True, missing_ok=True)
            except MigError as error:
                logger.warning("%s is left behind in the MiG home: %s", folder, error)


def _without(plan: Plan, places: Mapping[Path | bytes, str | MigError]) -> Plan | MigError:
    moved: dict[str, str] = {}
    for upload in plan.uploads:
        place = places.get(upload.source)
        if isinstance(place, MigError):
            return place
        if place is not None:
            moved[upload.path] = place
    return plan.with_uploads_at(moved) if moved else plan


def _identity(source: Path | bytes) -> tuple[object, ...]:
    if isinstance(source, bytes):
        return (hashlib.sha256(source).digest(),)
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
