"""Uploads of the inputs of jobs: those of one job into its private folder, those that several jobs share once."""

from __future__ import annotations

import hashlib
import logging
import os
from collections import Counter
from functools import partial
from typing import TYPE_CHECKING

import anyio

from .._backend import PutFile
from .._core.errors import MigError
from .._core.paths import chain, folder_of, name_of
from .._core.tasks import run_all, run_shielded
from .._core.turns import Paced
from .._home.disk import ON_THIS_MACHINE, read_file, translate_os_errors
from .._spec.plan import PRIVATE_FOLDER
from .._spec.values import InputStream

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from .._backend import HomeBackend
    from .._home.files import Files
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
        home: the same, to carry many files at once.
    """

    def __init__(self, files: Files, home: HomeBackend) -> None:
        self._files = files
        self._home = home
        self._limiter = anyio.CapacityLimiter(_AT_ONCE)
        self._shared: dict[tuple[object, ...], str] = {}

    async def upload(self, plan: Plan) -> None:
        """Upload the inputs of one job."""
        async with self._limiter:
            files = {each.path: each.source for each in plan.uploads if not isinstance(each.source, InputStream)}
            if files:
                await self._put(files)
        for upload in plan.uploads:
            if isinstance(upload.source, InputStream):  # which may be slow, and is not to keep others from uploading
                await self._files.put_stream(upload.source.open(name_of(upload.path)), upload.path)

    async def _put(self, sources: Mapping[str, Path | bytes]) -> None:
        """Upload files under their paths in the home."""
        files: list[PutFile] = []
        async for path, source in Paced(sources.items()):
            with translate_os_errors(str(source), ON_THIS_MACHINE):
                files.append(PutFile(source, path, size_of(source)))
        folders = {folder for path in sources for folder in chain(folder_of(path))}
        await self._home.put_files(sorted(folders), files, lambda size: None)

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
        names = {
            upload.source: name_of(upload.path)
            for plan in plans.values()
            for upload in plan.uploads
            if not isinstance(upload.source, InputStream)
            and (uses[upload.source] > 1 or self._is_shared(upload.source))
        }
        places, errors = await self._share(names)
        failed = {
            key: errors[upload.source]
            for key, plan in plans.items()
            for upload in plan.uploads
            if not isinstance(upload.source, InputStream) and upload.source in errors
        }
        return {key: _moved(plan, places) for key, plan in plans.items() if key not in failed}, failed

    def _is_shared(self, source: Path | bytes) -> bool:
        try:
            return bool(self._shared) and identity_of(source) in self._shared
        except OSError:
            return False  # the upload of the file raises the error

    async def _share(
        self, names: Mapping[Path | bytes, str]
    ) -> tuple[dict[Path | bytes, str], dict[Path | bytes, MigError]]:
        """Upload shared inputs, unless they are there already from any earlier day.

        Args:
            names: their base names.

        Returns:
            Their paths in the home, and the errors of those that could not be uploaded.
        """
        places: dict[Path | bytes, str] = {}
        errors: dict[Path | bytes, MigError] = {}
        identities: dict[Path | bytes, tuple[object, ...]] = {}
        for source, name in names.items():
            try:
                with translate_os_errors(str(source), ON_THIS_MACHINE):
                    identity = identity_of(source)
                    if identity in self._shared:
                        places[source] = self._shared[identity]
                    else:
                        places[source] = f"{SHARED_FOLDER}/{await content_digest(source)}/{name}"
                        identities[source] = identity
            except MigError as error:
                errors[source] = error
        errors |= await self._put_absent({source: places[source] for source in identities})
        self._shared |= {identity: places[source] for source, identity in identities.items() if source not in errors}
        return places, errors

    async def _put_absent(self, places: Mapping[Path | bytes, str]) -> dict[Path | bytes, MigError]:
        """Upload what is not in its place with the right size; return the errors."""
        errors: dict[Path | bytes, MigError] = {}
        absent: dict[str, Path | bytes] = {}
        try:
            present = await self._home.stat_many(list(places.values()))
            for source, path in places.items():
                with translate_os_errors(str(source), ON_THIS_MACHINE):
                    if path not in present or present[path].size != size_of(source):
                        absent[path] = source
            if absent:
                await self._put(absent)
        except MigError as error:
            if len(places) == 1:
                return dict.fromkeys(places, error)
            for source, path in places.items():  # whose fault it is
                errors |= await self._put_absent({source: path})
        return errors

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
    moved = {
        upload.path: places[upload.source]
        for upload in plan.uploads
        if not isinstance(upload.source, InputStream) and upload.source in places
    }
    return plan.with_uploads_at(moved) if moved else plan


def size_of(source: Path | bytes) -> int:
    """Return how many bytes an input has. Raises OSError."""
    return len(source) if isinstance(source, bytes) else source.stat().st_size


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
