"""Uploads of the inputs of jobs: those of one job into its private folder, those that several jobs share once."""

from __future__ import annotations

import hashlib
import logging
import os
from collections import Counter
from functools import partial
from typing import TYPE_CHECKING

import anyio

from .._core.errors import FileNotFound, MigError
from .._core.models import Fault
from .._core.paths import name_of
from .._core.tasks import run_all, run_shielded
from .._home.disk import read_file, translate_os_errors
from .._spec.plan import PRIVATE_FOLDER
from .._spec.values import Remote

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from .._home.files import Files
    from .._spec.jobspec import JobSpec
    from .._spec.plan import Plan

logger = logging.getLogger("aiomig")

SHARED_FOLDER = f"{PRIVATE_FOLDER}/shared"
"""Folder of inputs that several jobs share, named after the checksums of their contents; `Job.clean` keeps it."""

_AT_ONCE = 8
_CLEAN_UP_SECONDS = 10.0
"""How long a failed or cancelled submit may take to remove its uploads."""


class Uploads:
    """Uploads the inputs of the jobs of one session.

    Args:
        files: the home.
    """

    def __init__(self, files: Files) -> None:
        self._files = files
        self._limiter = anyio.CapacityLimiter(_AT_ONCE)
        self._shared: dict[tuple[object, ...], str] = {}

    async def upload(self, plan: Plan) -> None:
        """Upload the inputs of one job."""
        async with self._limiter:
            for upload in plan.uploads:
                await self._put(upload.source, upload.path)

    async def _put(self, source: Path | bytes, path: str) -> None:
        if isinstance(source, bytes):
            await self._files.write_bytes(path, source)
        else:
            await self._files.put(source, path)

    async def upload_all(self, plans: Mapping[int, Plan]) -> dict[int, MigError]:
        """Upload the inputs of many jobs; return the errors, by the keys of the plans."""
        errors: dict[int, MigError] = {}

        async def upload(key: int) -> None:
            try:
                await self.upload(plans[key])
            except MigError as error:
                errors[key] = error

        await run_all(upload, [key for key, plan in plans.items() if plan.uploads], at_once=_AT_ONCE)
        return errors

    async def share(self, plans: Mapping[int, Plan]) -> tuple[dict[int, Plan], dict[int, MigError]]:
        """Upload the inputs that several of these jobs have, or that earlier jobs shared, to a shared folder.

        Returns:
            The plans with the new places of these inputs, and the errors of the jobs whose input could not be uploaded.
        """
        uses = Counter(upload.source for plan in plans.values() for upload in plan.uploads)
        places: dict[Path | bytes, str] = {}
        errors: dict[Path | bytes, MigError] = {}
        for upload in (upload for plan in plans.values() for upload in plan.uploads):
            source = upload.source
            if source not in places and source not in errors and (uses[source] > 1 or self._is_shared(source)):
                try:
                    places[source] = await self._share(source, name_of(upload.path))
                except MigError as error:
                    errors[source] = error
        failed = {
            key: errors[upload.source]
            for key, plan in plans.items()
            for upload in plan.uploads
            if upload.source in errors
        }
        return {key: _moved(plan, places) for key, plan in plans.items() if key not in failed}, failed

    def _is_shared(self, source: Path | bytes) -> bool:
        try:
            return bool(self._shared) and identity_of(source) in self._shared
        except OSError:
            return False  # the upload of the file raises the error

    async def _share(self, source: Path | bytes, name: str) -> str:
        """Return the path of a shared input in the home, uploaded unless it is there already from any earlier day."""
        with translate_os_errors(str(source), "on this machine"):
            identity = identity_of(source)
            known = self._shared.get(identity)
            if known is not None:
                return known
            size = len(source) if isinstance(source, bytes) else source.stat().st_size
            path = f"{SHARED_FOLDER}/{await content_digest(source)}/{name}"
        try:
            there = (await self._files.stat(path)).size
        except FileNotFound:
            there = None
        if there != size:
            await self._put(source, path)
        self._shared[identity] = path
        return path

    async def remove(self, plans: Sequence[Plan]) -> None:
        """Remove the private folders of jobs that were not made, even if the caller is cancelled."""
        folders = [plan.folder for plan in plans if plan.folder is not None]
        if folders:
            await run_shielded(partial(self._remove_all, folders), seconds=_CLEAN_UP_SECONDS)

    async def _remove_all(self, folders: Sequence[str]) -> None:
        async def remove(folder: str) -> None:
            try:
                await self._files.remove(folder, recursive=True, missing_ok=True)
            except MigError as error:
                logger.warning("%s is left behind in the MiG home: %s", folder, error)

        await run_all(remove, folders, at_once=_AT_ONCE)


def _moved(plan: Plan, places: Mapping[Path | bytes, str]) -> Plan:
    moved = {upload.path: places[upload.source] for upload in plan.uploads if upload.source in places}
    return plan.with_uploads_at(moved) if moved else plan


_WITHOUT = "a grid looks for it for a minute, and then runs the job without it"  # docs/protocol.md#inputs


async def missing_inputs(spec: JobSpec, files: Files) -> list[Fault]:
    """Return a warning for each `Remote` input that is not in the home now, or is a folder.

    Raises:
        GridError: the grid could not be asked.
    """
    warnings: list[Fault] = []
    for field, inputs in (("inputs", spec.inputs), ("executables", spec.executables)):
        for source in dict.fromkeys(file.source for file in inputs if isinstance(file.source, Remote)):
            try:
                is_folder = (await files.stat(source.path)).is_dir
            except FileNotFound:
                remedy = "put it there before the job starts: session.files.put(…)"
                warnings.append(Fault(field, source, f"is not in the MiG home; {_WITHOUT}", remedy))
            else:
                if is_folder:
                    remedy = "name its files, or an archive of it: session.files.pack(…)"
                    warnings.append(Fault(field, source, f"is a folder; {_WITHOUT}", remedy))
    return warnings


def identity_of(source: Path | bytes) -> tuple[object, ...]:
    """Return what changes with the content of an input. Raises OSError."""
    if isinstance(source, bytes):
        return (hashlib.sha256(source).digest(),)
    information = source.stat()
    return os.path.realpath(source), information.st_ino, information.st_size, information.st_mtime_ns


async def content_digest(source: Path | bytes) -> str:
    """Return a checksum of an input. Raises OSError."""
    digest = hashlib.sha256()
    if isinstance(source, bytes):
        digest.update(source)
    else:
        async for piece in read_file(source):
            digest.update(piece)
    return digest.hexdigest()[:40]
