"""Statistics of the user, and the VGrids and resources that the user sees."""

from __future__ import annotations

from collections.abc import Mapping  # noqa: TC003 - for those who ask for the types of the fields
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
    """Figures about the user.

    Attributes:
        jobs: the number of jobs by the server's words, such as ``"total"`` and ``"finished"``.
        disk: the size of the home, by the server's words.
        resources: the resources that the user may use.
        certificate: the certificate of the user.
    """

    jobs: Mapping[str, object] = field(default_factory=dict)
    disk: Mapping[str, object] = field(default_factory=dict)
    resources: Mapping[str, object] = field(default_factory=dict)
    certificate: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class VGrid:
    """One VGrid that the user sees.

    Attributes:
        name: what `JobSpec.vgrids` takes.
        details: everything that the server says of it.
    """

    name: str
    details: Mapping[str, object] = field(default_factory=dict, repr=False, compare=False)


@dataclass(frozen=True, slots=True)
class Resource:
    """One resource that the user sees.

    Attributes:
        name: what ``Resources(hosts=…)`` takes, as far as the server tells it.
        details: everything that the server says of it.
    """

    name: str
    details: Mapping[str, object] = field(default_factory=dict, repr=False, compare=False)


class Account(Service):
    """Asks for what `Session.statistics`, `vgrids` and `resources` return."""

    __slots__ = ()

    async def statistics(self) -> UserStatistics:
        """Ask by ``userstats`` (docs/protocol.md#services)."""
        answer = await self._call("userstats", stats=_PARTS)
        found = of_type(answer, "user_stats")
        if not found:
            raise ProtocolError("userstats: the answer has no user_stats", excerpt=excerpt(answer))
        return UserStatistics(**{name: _figures(found[0].get(name)) for name in _PARTS})

    async def vgrids(self) -> list[VGrid]:
        """Ask by ``vgridman`` (docs/protocol.md#services)."""
        answer = await self._call("vgridman", operation="list")
        return [VGrid(name, row) for name, row in named_rows(answer, "vgridname", "name", "vgrid_name")]

    async def resources(self) -> list[Resource]:
        """Ask by ``resman`` (docs/protocol.md#services)."""
        answer = await self._call("resman", operation="list")
        return [Resource(name, row) for name, row in named_rows(answer, "name", "resource", "unique_resource_name")]


def named_rows(answer: Answer, *keys: str) -> Iterator[tuple[str, Object]]:
    """Yield the names of a listing with what else it says: the texts of ``list`` objects, or the rows of any list.

    Args:
        answer: its objects.
        keys: the members that may hold the name of a row; a row without a name is left out.
    """
    for each in answer:
        for value in each.values():
            for row in value if isinstance(value, list) else ():
                if isinstance(row, str) and each.get("object_type") == "list":
                    yield plain(row), {}
                elif isinstance(row, dict) and row.get("object_type") != "link" and (name := words(row, *keys)):
                    yield name, row


def _figures(value: object) -> Object:
    if not isinstance(value, dict):
        return {}
    return {plain(str(key)): plain(each) if isinstance(each, str) else each for key, each in value.items()}
