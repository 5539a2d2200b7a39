"""Data transfers: the server copies files from other servers into the home, and from the home to other servers."""

from __future__ import annotations

import secrets
from collections.abc import Mapping  # noqa: TC003 - for those who ask for the types of the fields
from dataclasses import dataclass, field
from datetime import datetime  # noqa: TC003 - for those who ask for the types of the fields
from typing import TYPE_CHECKING, TypeAlias
from urllib.parse import SplitResult, unquote, urlsplit

import anyio

from ..._core.errors import SpecError
from ..._core.models import Fault
from ..._core.paths import home_path
from ..protocol.answer import rows, text_of
from .service import Service, find_by_id, given_id, given_paths, given_texts, id_of, moment, texts, words

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

    Each method raises `GridError` if the grid refuses it or cannot be asked, and `LocalError` in local mode.

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
            SpecError: the URLs are not those of files of one host, or hold a login.
        """
        fields, paths = _fields(url, username, password, key_id, exclude)
        return await self._start("import", paths, home_path(destination), fields)

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
        """Have the server send files of the home to another server. Result and errors are those of `import_from`.

        Args:
            sources: files and directories of the home.
            url: the URL of the directory there.
            username: as for `import_from`.
            password: as for `import_from`.
            key_id: as for `import_from`.
            exclude: as for `import_from`.
        """
        fields, (path,) = _fields(url, username, password, key_id, exclude)
        return await self._start("export", given_paths(sources, "sources", "nothing to send"), path, fields)

    async def list(self) -> _Transfers:
        """List the transfers of the user."""
        answer = await self._call(_OPERATION, action="show")
        return [_transfer(row) for row in rows(_OPERATION, answer, "datatransfers")]

    async def status(self, transfer: Transfer | str) -> Transfer:
        """Return a transfer as it is now.

        Raises:
            FileNotFound: there is none with this id.
        """
        transfer_id = given_id(transfer, "transfer")
        return find_by_id(await self.list(), transfer_id, "data transfer")

    async def wait(self, transfer: Transfer | str) -> Transfer:
        """Wait until a transfer has ended, well or not. Cancelling this does nothing to the transfer.

        Returns:
            The transfer at its end: see `Transfer.ok`.

        Raises:
            FileNotFound: there is none with this id, or it was deleted meanwhile.
        """
        pause, longest = _PAUSES
        while not (found := await self.status(transfer)).is_final:
            await anyio.sleep(pause)
            pause = min(2 * pause, longest)
        return found

    async def delete(self, transfer: Transfer | str) -> None:
        """Delete a transfer from the list of the server, which stops it if it runs. Files that it copied stay."""
        await self._call(_OPERATION, action="deltransfer", transfer_id=given_id(transfer, "transfer"))

    async def _start(
        self, action: str, sources: tuple[str, ...], destination: str, fields: Mapping[str, object]
    ) -> Transfer:
        transfer_id = f"aiomig{secrets.token_hex(8)}"
        places = {"transfer_src": sources, "transfer_dst": destination}
        await self._call(_OPERATION, action=action, transfer_id=transfer_id, **places, **fields)
        return await self.status(transfer_id)


def _fields(
    url: str | Iterable[str], username: str | None, password: str | None, key_id: str | None, exclude: Iterable[str]
) -> tuple[dict[str, object], tuple[str, ...]]:
    """Return the fields that name the other server and the login there, and the paths of the URLs."""
    urls = [url] if isinstance(url, str) else list(url)
    parts = [_split(each) for each in urls]
    servers = {(part.scheme, part.hostname, part.port) for part in parts}
    if len(servers) != 1:
        raise SpecError([Fault("url", urls, "not URLs of one host", "start a transfer for each host")])
    (protocol, host, port) = servers.pop()
    login = {
        "username": username,
        "transfer_pw": password,
        "key_id": key_id,
        "exclude": given_texts(exclude, "exclude"),
    }
    paths = tuple(unquote(part.path) or "/" for part in parts)
    return {"protocol": protocol, "fqdn": host, "port": port, **login}, paths


def _split(url: str) -> SplitResult:
    without_login = url.rpartition("@")[2]
    try:
        parts = urlsplit(url)
        if not parts.scheme or not parts.hostname or parts.port == 0:
            raise ValueError
    except ValueError:
        fault = Fault("url", without_login, "not a URL with a host", "give https://host/path")
        raise SpecError([fault]) from None
    if parts.username or parts.password:
        remedy = "give username= and password="
        raise SpecError([Fault("url", without_login, "the URL holds a login, which would be logged", remedy)])
    if parts.query or parts.fragment:
        remedy = "give a URL without ? and #; quote them as %3F and %23 in the name of a file"
        raise SpecError([Fault("url", parts.path, "the transfer would drop what follows the path", remedy)])
    return parts


def _transfer(row: Object) -> Transfer:
    return Transfer(
        id=id_of(_OPERATION, row, "transfer_id"),
        action=words(row, "action"),
        state=words(row, "status", "state").upper(),
        sources=texts(row, "src", "transfer_src"),
        destination=text_of(row, "dst") or text_of(row, "transfer_dst"),
        created_at=moment(row.get("created_timestamp", row.get("created"))),
        details={key: value for key, value in row.items() if key not in ("password", "transfer_pw", "password_digest")},
    )
