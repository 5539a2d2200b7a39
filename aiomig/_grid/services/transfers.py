"""Data transfers: the server copies files from other servers into the home, and from the home to other servers."""

from __future__ import annotations

import secrets
from collections.abc import Mapping  # noqa: TC003 - typing.get_type_hints needs it
from dataclasses import dataclass, field
from datetime import datetime  # noqa: TC003 - typing.get_type_hints needs it
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
_PAUSES = (1.0, 30.0)  # seconds between two requests of `wait`: the first, and the longest


@dataclass(frozen=True, slots=True)
class Transfer:
    """A data transfer.

    Attributes:
        id: its id.
        action: ``"import"`` or ``"export"``.
        state: its state, in the server's terms: for example ``"FAILED"`` if a file was missing.
        sources: the paths of the files to copy.
        destination: the path to copy them to.
        created_at: when it was created, if the server reports it.
        details: all fields of the server's response, without the password.
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
        """Whether the transfer has ended. A state unknown to aiomig does not count as an end."""
        return self.state in _DONE | _FAILED

    @property
    def ok(self) -> bool:
        """Whether the transfer succeeded."""
        return self.state in _DONE


class Transfers(Service):
    """The data transfers of the user, reached as ``session.transfers``. A grid only.

    Each method raises `GridError` if the request fails or the grid refuses it, and `LocalError` in local mode.

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
        """Make the server fetch files into the home.

        The request is sent once. If the response is lost, `list` shows whether the server started the transfer.

        Args:
            url: the URL of a file or directory, or several URLs of one host. Schemes are http, https, ftp, ftps, sftp,
                webdav, webdavs and rsyncssh; not every site offers all of them.
            destination: the directory in the home.
            username: the user name at the other server.
            password: the password at the other server. The site stores it.
            key_id: instead of a password, the id of a key that the site created for the user.
            exclude: names of files to leave out.

        Returns:
            The transfer, which continues on the server.

        Raises:
            SpecError: a URL is invalid or contains a login, or the URLs are not of one host.
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
        """Make the server send files of the home to another server. Result and errors are those of `import_from`.

        Args:
            sources: files and directories of the home.
            url: the URL of the directory on the other server.
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
        """Return the current state of a transfer.

        Raises:
            FileNotFound: there is no transfer with this id.
        """
        transfer_id = given_id(transfer, "transfer")
        return find_by_id(await self.list(), transfer_id, "data transfer")

    async def wait(self, transfer: Transfer | str) -> Transfer:
        """Wait until a transfer has succeeded or failed. Cancelling this does not affect the transfer.

        Returns:
            The ended transfer. `Transfer.ok` tells whether it succeeded.

        Raises:
            FileNotFound: there is no transfer with this id, or it was deleted in the meantime.
        """
        pause, longest = _PAUSES
        while not (current := await self.status(transfer)).is_final:
            await anyio.sleep(pause)
            pause = min(2 * pause, longest)
        return current

    async def delete(self, transfer: Transfer | str) -> None:
        """Delete a transfer from the server's list. This stops a running transfer. Copied files stay."""
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
    """Return the form fields for the other server and its login, and the paths of the URLs."""
    urls = [url] if isinstance(url, str) else list(url)
    parts = [_split(text) for text in urls]
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
        raise SpecError([Fault("url", without_login, "the URL contains a login, which would be logged", remedy)])
    if parts.query or parts.fragment:
        remedy = "give a URL without ? and #; in file names, quote them as %3F and %23"
        raise SpecError([Fault("url", parts.path, "the transfer would drop everything after the path", remedy)])
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
