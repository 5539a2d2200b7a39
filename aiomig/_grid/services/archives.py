"""Frozen archives: read-only copies of files that a site preserves."""

from __future__ import annotations

import secrets
from collections.abc import Mapping  # noqa: TC003 - typing.get_type_hints needs it
from dataclasses import dataclass, field
from datetime import datetime  # noqa: TC003 - typing.get_type_hints needs it
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
"""Seconds allowed for removing the folder of a download after a cancellation."""

_FLAVORS = ("freeze", "phd", "backup")


@dataclass(frozen=True, slots=True)
class Archive:
    """A frozen archive.

    Attributes:
        id: its id.
        name: the name that the user gave it.
        flavor: ``"freeze"``, ``"phd"`` or ``"backup"``.
        state: its state, in the server's terms.
        created_at: when it was created, if the server reports it.
        files: its files, if `Archives.show` returned it; empty otherwise.
        details: all fields of the server's response.
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

    Each method raises `GridError` if the request fails or the grid refuses it, and `LocalError` in local mode.

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

        The request is sent once. If this is cancelled, or the response is lost, `list` shows whether the server
        created the archive.

        Args:
            name: its name: ASCII letters, digits, blanks and ``. - _``.
            paths: the files and directories to copy.
            description: a description of the archive.
            author: the author of the archive.
            department: the department of the author.
            organization: the organization of the author.
            publish: whether to make the archive public on the web.
            flavor: ``"freeze"``, ``"phd"`` or ``"backup"``; not every site offers all of them.

        Returns:
            The archive with its files.

        Raises:
            SpecError: the name is empty, there are no paths, or the flavor is unknown.
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
            flavor: its flavor; by default the one of the `Archive`, or ``"freeze"`` for an id.

        Raises:
            FileNotFound: there is no such archive.
        """
        archive_id, kind = given_id(archive, "archive"), _flavor_of(archive, flavor)
        try:
            answer = await self._call("showfreeze", flavor=kind, freeze_id=archive_id, operation="list")
        except ServerError:
            find_by_id(await self.list(), archive_id, "archive")
            raise
        for row in of_type(answer, "frozenarchive"):
            return _archive("showfreeze", {"flavor": kind, "id": archive_id, **row})
        raise FileNotFound(archive_id, "there is no archive with this id")

    async def restore(self, archive: Archive | str, destination: HomePath) -> str:
        """Copy the files of an archive into a directory of the home. Create the directory if it is missing.

        Returns:
            The path of the directory.

        Raises:
            FileNotFound: there is no such archive.
        """
        folder = home_path(destination)
        existing = find_by_id(await self.list(), given_id(archive, "archive"), "archive")
        await self._files.mkdir(folder)
        await self._call("cp", freeze_id=existing.id, src="*", dst=folder, flags="r")
        return folder

    async def download(self, archive: Archive | str, destination: LocalPath) -> tuple[Path, ...]:
        """Copy the files of an archive into a directory on this machine, through a temporary folder of the home.

        If this is cancelled, it removes the temporary folder. Local files that are complete stay.

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
        """Delete an archive, if the site permits it.

        Args:
            archive: the archive, or its id.
            flavor: as for `show`.
        """
        archive_id, kind = given_id(archive, "archive"), _flavor_of(archive, flavor)
        # The server refuses the request without a target (docs/protocol.md#services).
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
        files=tuple(_file(file) for file in files if isinstance(file, dict) and text_of(file, "name")),
        details=dict(row),
    )


def _file(row: Object) -> FileInfo:
    path = text_of(row, "name")
    name = path.rpartition("/")[2]
    return FileInfo(path, name, False, integer_of(row, "size") or 0, moment(row.get("timestamp")))
