"""Share links: URLs that give others access to parts of the home, without a certificate."""

from __future__ import annotations

from collections.abc import Mapping  # noqa: TC003 - typing.get_type_hints needs it
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Literal, TypeAlias

from ..._core.errors import ProtocolError, ServerError, SpecError
from ..._core.models import Fault
from ..._core.paths import home_path
from ..protocol.answer import rows, text_of
from .service import Service, find_by_id, given_id, given_texts, id_of, moment, texts, words

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ..._core.paths import HomePath
    from ..protocol.answer import Answer, Object

_Shares: TypeAlias = "list[Share]"  # inside Shares, `list` is a method

_OPERATION = "sharelink"
_NEVER = "-1"
_DAY = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Share:
    """A share link.

    Attributes:
        id: its id.
        path: the file or directory of the home.
        url: the URL to give to others; `SharedFolder` reads and writes through it.
        read: whether others may read.
        write: whether others may write.
        expires_at: when it expires, an aware datetime in UTC; ``None`` for never.
        created_at: when it was created, if the server reports it.
        invites: the email addresses that received it.
        is_active: whether the server reports it as usable.
        details: all fields of the server's response.
    """

    id: str
    path: str
    url: str
    read: bool
    write: bool
    expires_at: datetime | None = None
    created_at: datetime | None = None
    invites: tuple[str, ...] = ()
    is_active: bool = True
    details: Mapping[str, object] = field(default_factory=dict, repr=False, compare=False)


class Shares(Service):
    """The share links of the user, reached as ``session.shares``. A grid only.

    Each method raises `GridError` if the request fails or the grid refuses it, and `LocalError` in local mode.

    Example::

        share = await session.shares.create("results/7", expires=date(2027, 1, 1))
        print(share.url)
    """

    __slots__ = ()

    async def create(
        self,
        path: HomePath,
        *,
        read: bool = True,
        write: bool = False,
        expires: date | None = None,
        invites: Iterable[str] = (),
        message: str = "",
    ) -> Share:
        """Create a share link.

        The request is sent once. If this is cancelled, `list` shows whether the server created the link.

        Args:
            path: the file or directory of the home.
            read: whether others may read.
            write: whether others may write, which includes deleting.
            expires: when the link expires: a date, or an aware datetime.
            invites: email addresses to which the server sends the URL.
            message: the text of these emails.

        Returns:
            The share link as the server reports it.

        Raises:
            SpecError: the link would give no rights, or ``expires`` has no time zone.
            PathRefused: the path leaves the home.
            ServerError: the server refuses the link, or has ignored ``expires``. aiomig deletes such a link again.
        """
        checked = home_path(path)
        rights = _rights(read=read, write=write)
        expire = _expire(expires) if expires is not None else None
        fields = {"path": checked, "expire": expire, "invite": given_texts(invites, "invites"), "msg": message}
        before = {share.id for share in await self.list()}
        answer = await self._call(_OPERATION, action="create", **fields, **rights)
        made = [share for share in await self._shares(answer) if share.id not in before]
        if len(made) > 1:  # another program creates links at the same time
            made = [share for share in made if share.path == checked]
        if len(made) != 1:
            raise ProtocolError(f"{_OPERATION}: {len(made)} new share links of {checked} after creating one")
        if expire is not None and not _ends_about(made[0], expire):
            await self.delete(made[0])
            raise ServerError(
                _OPERATION, [f"the server did not accept the expiry {expire}; the link was deleted again"]
            )
        return made[0]

    async def list(self) -> _Shares:
        """List the share links of the user."""
        return _parsed(await self._call(_OPERATION, action="show"))

    async def get(self, share: Share | str) -> Share:
        """Return the current state of a share link.

        Args:
            share: the share link, or its id.

        Raises:
            FileNotFound: there is no share link with this id.
        """
        share_id = given_id(share, "share")
        return find_by_id(await self.list(), share_id, "share link")

    async def change(
        self,
        share: Share | str,
        *,
        read: bool | None = None,
        write: bool | None = None,
        expires: date | Literal["as it is"] | None = "as it is",
        invites: Iterable[str] = (),
        message: str = "",
    ) -> Share:
        """Change a share link. Arguments that are left out change nothing.

        Args:
            share: the share link, or its id.
            read: whether others may read.
            write: whether others may write.
            expires: the new expiry; ``None`` for never.
            invites: email addresses to which the server sends the URL now.
            message: the text of these emails.

        Returns:
            The changed share link as the server reports it.

        Raises:
            FileNotFound: there is no share link with this id.
            SpecError: the link would give no rights.
        """
        invited = given_texts(invites, "invites")
        old = await self.get(share)
        rights = _rights(read=old.read if read is None else read, write=old.write if write is None else write)
        if expires == "as it is":
            expire = words(old.details, "expire")
        else:
            expire = _expire(expires) if expires is not None else _NEVER
        fields = {"share_id": old.id, "path": old.path, "expire": expire, "invite": invited, "msg": message}
        await self._call(_OPERATION, action="update", **fields, **rights)
        return await self.get(old.id)

    async def delete(self, share: Share | str) -> None:
        """Delete a share link. The files stay."""
        await self._call(_OPERATION, action="delete", share_id=given_id(share, "share"))

    async def _shares(self, answer: Answer) -> _Shares:
        return _parsed(answer) if any(item.get("object_type") == "sharelinks" for item in answer) else await self.list()


def _expire(value: date) -> str:
    """Return the form field for an expiry."""
    if isinstance(value, datetime):
        if value.tzinfo is None:
            raise SpecError([Fault("expires", value, "has no time zone", "give an aware datetime, such as one in UTC")])
        return value.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S")
    if isinstance(value, date):
        return value.isoformat()
    raise SpecError([Fault("expires", value, "not a date", "give a datetime.date or an aware datetime")])


def _ends_about(share: Share, expire: str) -> bool:
    """Return whether the expiry is within a day of the requested one, since the server may use another time zone."""
    wanted = moment(expire)
    return wanted is not None and share.expires_at is not None and abs(share.expires_at - wanted) <= _DAY


def _rights(*, read: bool, write: bool) -> dict[str, str | None]:
    if not (read or write):
        raise SpecError([Fault("read", read, "a share link without any rights", "set read or write, or delete it")])
    return {"read_access": "on" if read else None, "write_access": "on" if write else None}


def _parsed(answer: Answer) -> _Shares:
    """Return the share links of a response (docs/protocol.md#services)."""
    return [_share(row) for row in rows(_OPERATION, answer, "sharelinks")]


def _share(row: Object) -> Share:
    access = " ".join(texts(row, "access")).lower()
    return Share(
        id=id_of(_OPERATION, row, "share_id"),
        path=text_of(row, "path").strip("/") or ".",
        url=words(row, "share_url"),
        read="read" in access or is_on(row.get("read_access")),
        write="write" in access or is_on(row.get("write_access")),
        expires_at=moment(row.get("expire")),
        created_at=moment(row.get("created")),
        invites=texts(row, "invites"),
        is_active="active" not in row or is_on(row["active"]),
        details=dict(row),
    )


def is_on(value: object) -> bool:
    """Return whether a member is true: ``True``, or one of the strings that servers use for it."""
    return value is True or (isinstance(value, str) and value.strip().lower() in {"on", "yes", "true", "1"})
