"""Statistics about the user, and the VGrids and resources that the user can see."""

from __future__ import annotations

from collections.abc import Mapping  # noqa: TC003 - typing.get_type_hints needs it
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ..._core.errors import ProtocolError
from ..protocol.answer import excerpt, of_type, plain
from .service import Service, words

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ..protocol.answer import Answer, Object

_PARTS = ("jobs", "disk", "resources", "certificate")


@dataclass(frozen=True, slots=True)
class UserStatistics:
    """Statistics about the user. The keys are the server's.

    Attributes:
        jobs: numbers of jobs, with keys such as ``"total"`` and ``"finished"``.
        disk: the size of the home.
        resources: the resources that the user may use.
        certificate: the user's certificate.
    """

    jobs: Mapping[str, object] = field(default_factory=dict)
    disk: Mapping[str, object] = field(default_factory=dict)
    resources: Mapping[str, object] = field(default_factory=dict)
    certificate: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class VGrid:
    """A VGrid that the user can see.

    Attributes:
        name: its name, for `JobSpec.vgrids`.
        details: all fields of the server's response.
    """

    name: str
    details: Mapping[str, object] = field(default_factory=dict, repr=False, compare=False)


@dataclass(frozen=True, slots=True)
class Resource:
    """A resource that the user can see.

    Attributes:
        name: its name, for ``Resources(hosts=…)``, unless the server hides it.
        details: all fields of the server's response.
    """

    name: str
    details: Mapping[str, object] = field(default_factory=dict, repr=False, compare=False)


class Account(Service):
    """Implements `Session.statistics`, `Session.vgrids` and `Session.resources`."""

    __slots__ = ()

    async def statistics(self) -> UserStatistics:
        """Read the statistics by ``userstats`` (docs/protocol.md#services)."""
        answer = await self._call("userstats", stats=_PARTS)
        statistics = of_type(answer, "user_stats")
        if not statistics:
            raise ProtocolError("userstats: the response has no user_stats", excerpt=excerpt(answer))
        return UserStatistics(**{name: _figures(statistics[0].get(name)) for name in _PARTS})

    async def vgrids(self) -> list[VGrid]:
        """List the VGrids by ``vgridman`` (docs/protocol.md#services)."""
        answer = await self._call("vgridman", operation="list")
        return [VGrid(name, row) for name, row in named_rows(answer, "vgridname", "name", "vgrid_name")]

    async def resources(self) -> list[Resource]:
        """List the resources by ``resman`` (docs/protocol.md#services)."""
        answer = await self._call("resman", operation="list")
        return [Resource(name, row) for name, row in named_rows(answer, "name", "resource", "unique_resource_name")]


def named_rows(answer: Answer, *keys: str) -> Iterator[tuple[str, Object]]:
    """Yield name and row for each string in a ``list`` object, and for each object in any list of a response.

    Args:
        answer: the objects of the response.
        keys: the members that may contain the name of a row. Rows without a name are skipped.
    """
    for item in answer:
        for value in item.values():
            for row in value if isinstance(value, list) else ():
                if isinstance(row, str) and item.get("object_type") == "list":
                    yield plain(row), {}
                elif isinstance(row, dict) and row.get("object_type") != "link" and (name := words(row, *keys)):
                    yield name, row


def _figures(value: object) -> Object:
    if not isinstance(value, dict):
        return {}
    return {plain(str(key)): plain(figure) if isinstance(figure, str) else figure for key, figure in value.items()}
