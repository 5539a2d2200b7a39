"""The methods of a session for files, message queues and the services of a grid."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ._core.operations import form_fields
from ._home.files import Files
from ._home.queues import Queue
from ._lifecycle import SessionLifecycle

if TYPE_CHECKING:
    from collections.abc import Callable

    from ._backend import Backend
    from ._core.site import Site
    from ._grid.credential import Credential
    from ._grid.services.account import Resource, UserStatistics, VGrid
    from ._grid.services.archives import Archives
    from ._grid.services.crontab import Crontab
    from ._grid.services.shares import Shares
    from ._grid.services.transfers import Transfers
    from ._grid.services.triggers import Triggers


class SessionServices(SessionLifecycle):
    """The methods of a `Session` that are not about jobs. Modules for grids only are imported on first use."""

    def __init__(self, backend: Backend, credential: Callable[[], Credential | None]) -> None:
        super().__init__(backend)
        self._credential = credential
        self._files = Files(backend.home, self._tasks.require_open)

    @property
    def files(self) -> Files:
        """The user's MiG home."""
        return self._files

    def queue(self, name: str = "default") -> Queue:
        """Return a message queue of the user, which need not exist yet. No I/O. See `Queue`.

        Args:
            name: 1 to 255 ASCII letters and digits.

        Raises:
            SpecError: the name is not valid for MiG.
        """
        return Queue(self._backend.queues, name, self._tasks.require_open)

    async def queues(self) -> list[Queue]:
        """Return the existing message queues, sorted by name.

        Raises:
            GridError: the request to the grid failed.
        """
        self._tasks.require_open()
        return [self.queue(name) for name in await self._backend.queues.names()]

    async def site(self) -> Site:
        """Return the mRSL keywords, architectures and runtime environments that the grid documents. See `Site`.

        In local mode: what local mode supports, with the settings of `aiomig.local`.

        Raises:
            GridError: the request to the grid failed, or the grid has no documentation.
        """
        self._tasks.require_open()
        return await self._backend.site()

    @property
    def credential(self) -> Credential | None:
        """The certificate with which the user authenticates to the grid; after a renewal, the new one.

        ``None`` in local mode, while the session is not open, and if a ``transport`` for tests replaces the network.
        """
        return self._credential()

    @property
    def shares(self) -> Shares:
        """The share links of the user, which give other people access to parts of the home. Grid only."""
        from ._grid.services.shares import Shares

        return Shares(self._backend)

    @property
    def archives(self) -> Archives:
        """The frozen archives of the user. Grid only."""
        from ._grid.services.archives import Archives

        return Archives(self._backend, self._files)

    @property
    def transfers(self) -> Transfers:
        """The data transfers between the home and other servers. Grid only."""
        from ._grid.services.transfers import Transfers

        return Transfers(self._backend)

    @property
    def crontab(self) -> Crontab:
        """The commands that the server runs for the user at given times. Grid only."""
        from ._grid.services.crontab import Crontab

        return Crontab(self._backend)

    @property
    def triggers(self) -> Triggers:
        """The workflow triggers of VGrids. Grid only."""
        from ._grid.services.triggers import Triggers

        return Triggers(self._backend)

    async def statistics(self) -> UserStatistics:
        """Return statistics about the user's jobs and files.

        Raises:
            LocalError: local mode has no statistics.
            GridError: the request to the grid failed.
        """
        from ._grid.services.account import Account

        return await Account(self._backend).statistics()

    async def vgrids(self) -> list[VGrid]:
        """Return the VGrids that the user can see. Raises the same errors as `statistics`."""
        from ._grid.services.account import Account

        return await Account(self._backend).vgrids()

    async def resources(self) -> list[Resource]:
        """Return the resources that the user can see. Raises the same errors as `statistics`."""
        from ._grid.services.account import Account

        return await Account(self._backend).resources()

    async def call(self, operation: str, /, **fields: object) -> list[dict[str, object]]:
        """Call any operation of a MiG server, even one for which aiomig has no method.

        Operations that only read are retried after a failure. All others are sent once, with the token that the
        server requires. If the response is lost or the call is cancelled, the server may still have executed it.

        Example::

            for item in await session.call("userstats", stats=["jobs", "disk"]):
                print(item)

        Args:
            operation: the name of the operation without ``.py``, such as ``"userstats"``.
            **fields: the parameters: strings, numbers, or lists of them to send several values. Names that are not
                Python identifiers can be passed as ``**{"files[]": …}``.

        Returns:
            The objects of the response, as the server sends them, without those that only decorate a page.

        Raises:
            SpecError: a name or a value is invalid; nothing was sent.
            LocalError: local mode has no server; the message names the equivalent method, if there is one.
            ServerError: the operation failed; ``remedy`` says if it is known to be broken or disabled.
            FileNotFound, FileExists, PathRefused, JobNotFound: part of the operation failed for that reason.
            GridError: the request to the grid failed.
        """
        self._tasks.require_open()
        return await self._backend.call(operation, form_fields(operation, fields))
