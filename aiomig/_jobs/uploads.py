"""Uploads of inputs: into the private folder of a job, or once into a shared folder if several jobs use them."""

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
"""Folder of shared inputs, in subfolders named after the checksums of their contents. `Job.clean` keeps it."""

_AT_ONCE = 8
_CLEAN_UP_SECONDS = 10.0
"""The maximum time for removing the uploads of a failed or cancelled submit."""


class Uploads:
    """Uploads the inputs of the jobs of one session.

    Args:
        files: the user's home.
        home: the backend of the same home, for uploads of many files at once.
    """

    def __init__(self, files: Files, home: HomeBackend) -> None:
        self._files = files
        self._home = home
        self._limiter = anyio.CapacityLimiter(_AT_ONCE)
        self._shared: dict[tuple[object, ...], str] = {}

    async def upload(self, plan: Plan) -> None:
        """Upload the inputs of one job."""
        async with self._limiter:
            files = {
                upload.path: upload.source for upload in plan.uploads if not isinstance(upload.source, InputStream)
            }
            if files:
                await self._put(files)
        for upload in plan.uploads:
            if isinstance(upload.source, InputStream):  # a slow stream must not block other uploads
                await self._files.put_stream(upload.source.open(name_of(upload.path)), upload.path)

    async def _put(self, sources: Mapping[str, Path | bytes]) -> None:
        """Upload sources to their paths in the home."""
        files: list[PutFile] = []
        async for path, source in Paced(sources.items()):
            with translate_os_errors(str(source), ON_THIS_MACHINE):
                files.append(PutFile(source, path, size_of(source)))
        folders = {folder for path in sources for folder in chain(folder_of(path))}
        await self._home.put_files(sorted(folders), files, lambda size: None)

    async def upload_all(self, plans: Mapping[int, Plan]) -> dict[int, MigError]:
        """Upload the inputs of many jobs, and return the errors by the keys of the plans."""
        errors: dict[int, MigError] = {}

        async def upload(key: int) -> None:
            try:
                await self.upload(plans[key])
            except MigError as error:
                errors[key] = error

        await run_all(upload, [key for key, plan in plans.items() if plan.uploads], at_once=_AT_ONCE)
        return errors

    async def share(self, plans: Mapping[int, Plan]) -> tuple[dict[int, Plan], dict[int, MigError]]:
        """Upload inputs that several of these jobs or earlier jobs use to a shared folder.

        Returns:
            The plans with the new paths of these inputs, and the errors of the jobs whose input could not be uploaded.
        """
        uses = Counter(upload.source for plan in plans.values() for upload in plan.uploads)
        names = {
            upload.source: name_of(upload.path)
            for plan in plans.values()
            for upload in plan.uploads
            if not isinstance(upload.source, InputStream)
            and (uses[upload.source] > 1 or self._is_shared(upload.source))
        }
        paths, errors = await self._share(names)
        failed = {
            key: errors[upload.source]
            for key, plan in plans.items()
            for upload in plan.uploads
            if not isinstance(upload.source, InputStream) and upload.source in errors
        }
        return {key: _with_shared(plan, paths) for key, plan in plans.items() if key not in failed}, failed

    def _is_shared(self, source: Path | bytes) -> bool:
        try:
            return bool(self._shared) and identity_of(source) in self._shared
        except OSError:
            return False  # the upload of the file raises the error

    async def _share(
        self, names: Mapping[Path | bytes, str]
    ) -> tuple[dict[Path | bytes, str], dict[Path | bytes, MigError]]:
        """Upload shared inputs, unless an earlier submit or session has uploaded them.

        Args:
            names: the base names of the inputs.

        Returns:
            The paths of the inputs in the home, and the errors of inputs that could not be uploaded.
        """
        paths: dict[Path | bytes, str] = {}
        errors: dict[Path | bytes, MigError] = {}
        identities: dict[Path | bytes, tuple[object, ...]] = {}
        for source, name in names.items():
            try:
                with translate_os_errors(str(source), ON_THIS_MACHINE):
                    identity = identity_of(source)
                    if identity in self._shared:
                        paths[source] = self._shared[identity]
                    else:
                        paths[source] = f"{SHARED_FOLDER}/{await content_digest(source)}/{name}"
                        identities[source] = identity
            except MigError as error:
                errors[source] = error
        errors |= await self._put_absent({source: paths[source] for source in identities})
        self._shared |= {identity: paths[source] for source, identity in identities.items() if source not in errors}
        return paths, errors

    async def _put_absent(self, paths: Mapping[Path | bytes, str]) -> dict[Path | bytes, MigError]:
        """Upload inputs that are missing in the home or have another size there, and return the errors."""
        errors: dict[Path | bytes, MigError] = {}
        absent: dict[str, Path | bytes] = {}
        try:
            present = await self._home.stat_many(list(paths.values()))
            for source, path in paths.items():
                with translate_os_errors(str(source), ON_THIS_MACHINE):
                    if path not in present or present[path].size != size_of(source):
                        absent[path] = source
            if absent:
                await self._put(absent)
        except MigError as error:
            if len(paths) == 1:
                return dict.fromkeys(paths, error)
            for source, path in paths.items():  # one by one, to find the inputs that fail
                errors |= await self._put_absent({source: path})
        return errors

    async def remove(self, plans: Sequence[Plan]) -> None:
        """Remove the private folders of jobs that were not created, even if the caller is cancelled."""
        folders = [plan.folder for plan in plans if plan.folder is not None]
        if folders:
            await run_shielded(partial(self._remove_all, folders), seconds=_CLEAN_UP_SECONDS)

    async def _remove_all(self, folders: Sequence[str]) -> None:
        async def remove(folder: str) -> None:
            try:
                await self._files.remove(folder, recursive=True, missing_ok=True)
            except MigError as error:
                logger.warning("%s could not be removed from the MiG home: %s", folder, error)

        await run_all(remove, folders, at_once=_AT_ONCE)


def _with_shared(plan: Plan, paths: Mapping[Path | bytes, str]) -> Plan:
    shared = {
        upload.path: paths[upload.source]
        for upload in plan.uploads
        if not isinstance(upload.source, InputStream) and upload.source in paths
    }
    return plan.with_uploads_at(shared) if shared else plan


def size_of(source: Path | bytes) -> int:
    """Return the size of an input in bytes. Raises OSError."""
    return len(source) if isinstance(source, bytes) else source.stat().st_size


def identity_of(source: Path | bytes) -> tuple[object, ...]:
    """Return a value that changes with the content of an input. Raises OSError."""
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
        async for chunk in read_file(source):
            digest.update(chunk)
    return digest.hexdigest()[:40]
