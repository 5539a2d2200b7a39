"""Frozen archives: copies of files that a site keeps unchanged."""

from __future__ import annotations

import secrets
from collections.abc import Mapping  # noqa: TC003 - for those who ask for the types of the fields
from dataclasses import dataclass, field
from datetime import datetime  # noqa: TC003 - for those who ask for the types of the fields
from functools import partial
from typing import TYPE_CHECKING, TypeAlias

from ..._core.errors import FileNotFound, ServerError, SpecError
from ..._core.models import Fault
from ..._core.paths import FileInfo, home_path
from ..._core.tasks import run_shielded
from ..._core.validation import is_text
from ..._spec.plan import PRIVATE_FOLDER
from ..protocol.answer import integer_of, of_type, rows, text_of
from .service import Service, find_by_id, given_id, given_paths, id_of, moment, words

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from ..._backend import Backend
    from ..._core.paths import HomePath
    from ..._home.files import Files
    from ..._home.transfer import LocalPath
    from ..protocol.answer import Object

_Archives: TypeAlias = "list[Archive]"  # inside Archives, `list` is a method

_CLEAN_UP = 20.0
"""Seconds that removing the folder of a download may take after a cancellation."""

_FLAVORS = ("freeze", "phd", "backup")


@dataclass(frozen=True, slots=True)
class Archive:
    """One frozen archive.

    Attributes:
        id: its id.
        name: the name that the user gave it.
        flavor: ``"freeze"``, ``"phd"`` or ``"backup"``.
        state: the server's word.
        created_at: when it was made, or ``None`` if the server does not say.
        files: its files, if they were asked for by `Archives.show`; empty otherwise.
        details: everything that the server says of it.
    """

    id: str
    name: str = ""
    flavor: str = "freeze"
    state: str = ""
    created_at: datetime | None = None
    files: tuple[FileInfo, ...] = ()
    details: Mapping[str, object] = field(default_factory=dict, repr=False, compare=False)


class Archives(Service):
    """The frozen archives of the user, reached as ``session.archives``. A grid only.

    Each method raises `GridError` if the grid refuses it or cannot be asked, and `LocalError` in local mode.

    Example::

        archive = await session.archives.create("fit of 2026", ["results/7"], description="runs 1 to 90")
        print([file.path for file in archive.files])
    """

    __slots__ = ("_files",)

    def __init__(self, backend: Backend, files: Files) -> None:
        super().__init__(backend)
        self._files = files

    async def create(
        self,
        name: str,
        paths: HomePath | Iterable[HomePath],
        *,
        description: str = "",
        author: str = "",
        department: str = "",
        organization: str = "",
        publish: bool = False,
        flavor: str = "freeze",
    ) -> Archive:
        """Copy files and directories of the home into a new archive.

        It is sent once. If this is cancelled, or its response is lost, `list` shows whether the server made it.

        Args:
            name: ASCII letters, digits, blanks and ``. - _``.
            paths: what to copy.
            description: what it is.
            author: who made it.
            department: of the author.
            organization: of the author.
            publish: whether everybody can see it, on the web.
            flavor: ``"freeze"``, ``"phd"`` or ``"backup"``; the site says which it has.

        Returns:
            The archive with its files.

        Raises:
            SpecError: the name is empty, there are no paths, or there is no such flavor.
        """
        sources = given_paths(paths, "paths", "nothing to archive")
        if not is_text(name):
            raise SpecError([Fault("name", name, "not a name of an archive", "give a short text")])
        kind = _flavor(flavor)
        # createfreeze fails until the user's first freezedb (docs/protocol.md#services).
        await self.list()
        fields = {
            "freeze_name": name,
            "freeze_description": description,
            "freeze_author": author,
            "freeze_department": department,
            "freeze_organization": organization,
            "freeze_publish": "on" if publish else None,
            **{f"freeze_copy_{number}": source for number, source in enumerate(sources)},
        }
        answer = await self._call("createfreeze", flavor=kind, **fields)
        status = next(iter(of_type(answer, "freezestatus")), {})
        return await self.show(id_of("createfreeze", status, "freeze_id"), flavor=kind)

    async def list(self) -> _Archives:
        """List the archives of the user, without their files."""
        answer = await self._call("freezedb", operation="list")
        return [_archive("freezedb", row) for row in rows("freezedb", answer, "frozenarchives")]

    async def show(self, archive: Archive | str, *, flavor: str | None = None) -> Archive:
        """Return an archive with its files.

        Args:
            archive: the archive, or its id.
            flavor: that of the id; the default is that of the archive, or ``"freeze"``.

        Raises:
            FileNotFound: there is no such archive.
        """
        archive_id, kind = given_id(archive, "archive"), _flavor_of(archive, flavor)
        try:
            answer = await self._call("showfreeze", flavor=kind, freeze_id=archive_id, operation="list")
        except ServerError:
            find_by_id(await self.list(), archive_id, "archive")
            raise
        for each in of_type(answer, "frozenarchive"):
            return _archive("showfreeze", {"flavor": kind, "id": archive_id, **each})
        raise FileNotFound(archive_id, "there is no archive with this id")

    async def restore(self, archive: Archive | str, destination: HomePath) -> str:
        """Copy the files of an archive into a directory of the home, which is made if it is missing.

        Returns:
            The path of the directory.

        Raises:
            FileNotFound: there is no such archive.
        """
        folder = home_path(destination)
        known = find_by_id(await self.list(), given_id(archive, "archive"), "archive")
        await self._files.mkdir(folder)
        await self._call("cp", freeze_id=known.id, src="*", dst=folder, flags="r")
        return folder

    async def download(self, archive: Archive | str, destination: LocalPath) -> tuple[Path, ...]:
        """Copy the files of an archive into a directory of this machine, by way of a folder of the home.

        If it is cancelled, it removes that folder; whole files that have arrived stay.

        Returns:
            The local paths of the files.

        Raises:
            FileNotFound: there is no such archive.
        """
        folder = f"{PRIVATE_FOLDER}/archive-{secrets.token_hex(8)}"
        try:
            await self.restore(archive, folder)
            names = [info.path for info in await self._files.ls(folder, hidden=True)]
            return await self._files.get(names, f"{destination}/") if names else ()
        finally:
            remove = partial(self._files.remove, folder, recursive=True, missing_ok=True)
            await run_shielded(remove, seconds=_CLEAN_UP)

    async def delete(self, archive: Archive | str, *, flavor: str | None = None) -> None:
        """Delete an archive, if the site allows it.

        Args:
            archive: the archive, or its id.
            flavor: as for `show`.
        """
        archive_id, kind = given_id(archive, "archive"), _flavor_of(archive, flavor)
        # Without a target the server refuses it (docs/protocol.md#services).
        await self._call("deletefreeze", flavor=kind, freeze_id=archive_id, target="ARCHIVE")


def _flavor(flavor: str) -> str:
    if flavor not in _FLAVORS:
        raise SpecError([Fault("flavor", flavor, "no kind of archive", f"use one of {', '.join(_FLAVORS)}")])
    return flavor


def _flavor_of(archive: Archive | str, flavor: str | None) -> str:
    if flavor is not None:
        return _flavor(flavor)
    return archive.flavor if isinstance(archive, Archive) else "freeze"


def _archive(operation: str, row: Object) -> Archive:
    listed = row.get("frozenfiles")
    files = listed if isinstance(listed, list) else []
    return Archive(
        id=id_of(operation, row, "id", "freeze_id"),
        name=words(row, "name", "freeze_name"),
        flavor=words(row, "flavor") or "freeze",
        state=words(row, "state", "freeze_state"),
        created_at=moment(row.get("created_timestamp", row.get("created"))),
        files=tuple(_file(each) for each in files if isinstance(each, dict) and text_of(each, "name")),
        details=dict(row),
    )


def _file(row: Object) -> FileInfo:
    path = text_of(row, "name")
    name = path.rpartition("/")[2]
    return FileInfo(path, name, False, integer_of(row, "size") or 0, moment(row.get("timestamp")))
