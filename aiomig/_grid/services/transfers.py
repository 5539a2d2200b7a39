"""Data transfers: the server copies files from other servers into the home, and from the home to other servers."""

from __future__ import annotations

import secrets
from collections.abc import Mapping  # noqa: TC003 - for those who ask for the types of the fields
from dataclasses import dataclass, field
from datetime import datetime  # noqa: TC003 - for those who ask for the types of the fields
from pathlib import PurePath
from typing import TYPE_CHECKING, TypeAlias
from urllib.parse import unquote, urlsplit

import anyio

from ..._core.errors import FileNotFound, SpecError
from ..._core.models import Fault
from ..._core.paths import home_path
from .service import Service, checked_id, id_of, moment, records, texts, words

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ..._core.paths import HomePath
    from ..protocol.answer import Object

_Transfers: TypeAlias = "list[Transfer]"  # inside Transfers, `list` is a method

_OPERATION = "datatransfer"
_DONE = frozenset({"DONE", "FINISHED", "COMPLETED"})
_FAILED = frozenset({"FAILED", "CANCELED", "CANCELLED"})
_PAUSES = (1.0, 30.0)  # seconds between two looks: the first, and the longest


@dataclass(frozen=True, slots=True)
class Transfer:
    """One data transfer.

    Attributes:
        id: its id.
        action: ``"import"`` or ``"export"``.
        state: the server's word: ``"FAILED"`` if a file was missing.
        sources: where the files come from.
        destination: where they go.
        created_at: when it was made, or ``None`` if the server does not say.
        details: everything that the server says of it, without the password.
    """

    id: str
    action: str
    state: str
    sources: tuple[str, ...] = ()
    destination: str = ""
    created_at: datetime | None = None
    details: Mapping[str, object] = field(default_factory=dict, repr=False, compare=False)

    @property
    def is_final(self) -> bool:
        """Whether it has ended. A word that is new to aiomig is not an end."""
        return self.state in _DONE | _FAILED

    @property
    def ok(self) -> bool:
        """Whether it has ended well."""
        return self.state in _DONE


class Transfers(Service):
    """The data transfers of the user, reached as ``session.transfers``. A grid only.

    Example::

        transfer = await session.transfers.import_from("https://example.org/data/in.csv", "data/")
        ended = await session.transfers.wait(transfer)
        print(ended.state)
    """

    __slots__ = ()

    async def import_from(
        self,
        url: str | Iterable[str],
        destination: HomePath,
        *,
        username: str | None = None,
        password: str | None = None,
        key_id: str | None = None,
        exclude: Iterable[str] = (),
    ) -> Transfer:
        """Have the server fetch files into the home.

        It is sent once. If the response is lost, `list` shows whether the server has it.

        Args:
            url: the URL of a file or directory, or several of one host: http, https, ftp, ftps, sftp, webdav, webdavs,
                rsyncssh, as far as the site has them.
            destination: the directory of the home.
            username: the login at the other server.
            password: the password there. The server keeps it.
            key_id: instead of a password, a key that the site made for the user.
            exclude: names to leave out.

        Returns:
            The transfer, which goes on at the server.

        Raises:
            SpecError: the URLs are not those of one host, or hold a password.
            GridError: the server refuses it, or could not be asked.
        """
        urls = [url] if isinstance(url, str) else list(url)
        fields = _server(urls)
        paths = tuple(_path(each) for each in urls)
        login = {"username": username, "transfer_pw": password, "key_id": key_id, "exclude": tuple(exclude)}
        return await self._start("import", paths, home_path(destination), **fields, **login)

    async def export_to(
        self,
        sources: HomePath | Iterable[HomePath],
        url: str,
        *,
        username: str | None = None,
        password: str | None = None,
        key_id: str | None = None,
        exclude: Iterable[str] = (),
    ) -> Transfer:
        """Have the server send files of the home to another server.

        Args:
            sources: files and directories of the home.
            url: the URL of the directory there; the rest is as for `import_from`.
            username: the login at the other server.
            password: the password there. The server keeps it.
            key_id: instead of a password, a key that the site made for the user.
            exclude: names to leave out.

        Returns:
            The transfer, which goes on at the server.

        Raises:
            SpecError: there are no sources, or the URL cannot be used.
            GridError: the server refuses it, or could not be asked.
        """
        given = [sources] if isinstance(sources, str | PurePath) else list(sources)
        paths = tuple(home_path(path) for path in given)
        if not paths:
            raise SpecError([Fault("sources", sources, "nothing to send", "give files or directories of the home")])
        login = {"username": username, "transfer_pw": password, "key_id": key_id, "exclude": tuple(exclude)}
        return await self._start("export", paths, _path(url), **_server([url]), **login)

    async def list(self) -> _Transfers:
        """List the transfers of the user.

        Raises:
            GridError: the grid could not be asked.
        """
        answer = await self._call(_OPERATION, action="show")
        return [_transfer(row) for row in records(_OPERATION, answer, "datatransfers")]

    async def status(self, transfer: Transfer | str) -> Transfer:
        """Return a transfer as it is now.

        Raises:
            FileNotFound: there is none with this id.
            GridError: the grid could not be asked.
        """
        transfer_id = _id(transfer)
        found = next((each for each in await self.list() if each.id == transfer_id), None)
        if found is None:
            raise FileNotFound(transfer_id, "there is no data transfer with this id")
        return found

    async def wait(self, transfer: Transfer | str) -> Transfer:
        """Wait until a transfer has ended, well or not. Cancelling this does nothing to the transfer.

        Returns:
            The transfer at its end: see `Transfer.ok`.

        Raises:
            FileNotFound: there is none with this id, or it was deleted meanwhile.
            GridError: the grid could not be asked for too long.
        """
        pause, longest = _PAUSES
        while not (found := await self.status(transfer)).is_final:
            await anyio.sleep(pause)
            pause = min(2 * pause, longest)
        return found

    async def delete(self, transfer: Transfer | str) -> None:
        """Delete a transfer from the list of the server, which stops it if it runs. Files that it copied stay.

        Raises:
            GridError: the server does not have it, or could not be asked.
        """
        await self._call(_OPERATION, action="deltransfer", transfer_id=_id(transfer))

    async def _start(self, action: str, sources: tuple[str, ...], destination: str, **fields: object) -> Transfer:
        transfer_id = f"aiomig{secrets.token_hex(8)}"
        places = {"transfer_src": sources, "transfer_dst": destination}
        await self._call(_OPERATION, action=action, transfer_id=transfer_id, **places, **fields)
        return await self.status(transfer_id)


def _id(transfer: Transfer | str) -> str:
    return transfer.id if isinstance(transfer, Transfer) else checked_id(transfer, "transfer")


def _server(urls: list[str]) -> dict[str, object]:
    """Return the fields that name the other server."""
    parts = [urlsplit(url) for url in urls]
    for url, part in zip(urls, parts, strict=True):
        if not part.scheme or not part.hostname:
            raise SpecError([Fault("url", url, "not a URL with a host", "give https://host/path")])
        if part.username or part.password:
            remedy = "give username= and password="
            raise SpecError([Fault("url", part.hostname, "the URL holds a login, which would be logged", remedy)])
    if len({(part.scheme, part.netloc) for part in parts}) != 1:
        raise SpecError([Fault("url", urls, "not URLs of one host", "start a transfer for each host")])
    return {"protocol": parts[0].scheme, "fqdn": parts[0].hostname, "port": parts[0].port}


def _path(url: str) -> str:
    return unquote(urlsplit(url).path) or "/"


def _transfer(row: Object) -> Transfer:
    return Transfer(
        id=id_of(_OPERATION, row, "transfer_id"),
        action=words(row, "action"),
        state=words(row, "status", "state").upper(),
        sources=texts(row, "src", "transfer_src"),
        destination=words(row, "dst", "transfer_dst"),
        created_at=moment(row.get("created_timestamp", row.get("created"))),
        details={key: value for key, value in row.items() if key not in ("password", "transfer_pw", "password_digest")},
    )
