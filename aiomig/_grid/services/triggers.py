"""Workflow triggers: actions of a VGrid when a file changes."""

from __future__ import annotations

import logging
import secrets
from collections.abc import Mapping  # noqa: TC003 - typing.get_type_hints needs it
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeAlias

from ..._core.errors import SpecError
from ..._core.models import Fault
from ..._core.validation import is_text
from ..protocol.answer import text_of
from .service import Service, given_id, given_texts, id_of, texts, words

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ..protocol.answer import Answer, Object

_Triggers: TypeAlias = "list[Trigger]"  # inside Triggers, `list` is a method

logger = logging.getLogger("aiomig.grid")

_CHANGES = ("created", "modified", "deleted")
_ACTIONS = ("submit", "command")


@dataclass(frozen=True, slots=True)
class Trigger:
    """A workflow trigger.

    Attributes:
        id: its id in the VGrid.
        vgrid: the VGrid.
        path: a pattern for paths below the folder of the VGrid.
        changes: the changes that fire it: ``"created"``, ``"modified"``, ``"deleted"``.
        action: the action: ``"submit"`` or ``"command"``.
        arguments: the job descriptions to submit, or the command.
        details: all fields of the server's response.
    """

    id: str
    vgrid: str
    path: str
    changes: tuple[str, ...] = ()
    action: str = ""
    arguments: tuple[str, ...] = ()
    details: Mapping[str, object] = field(default_factory=dict, repr=False, compare=False)


class Triggers(Service):
    """The workflow triggers of VGrids, reached as ``session.triggers``. A grid only.

    Each method raises `GridError` if the request fails or the grid refuses it, and `LocalError` in local mode.

    Servers on Python 3 store triggers, but never fire them, so `add` logs a warning.
    """

    __slots__ = ()

    async def add(
        self,
        vgrid: str,
        path: str,
        *,
        changes: Iterable[str] = ("created",),
        action: str = "submit",
        arguments: Iterable[str] = (),
        rule_id: str | None = None,
        recursive: bool = False,
    ) -> Trigger:
        """Add a trigger to a VGrid that the user owns or is a member of.

        Args:
            vgrid: the VGrid.
            path: a pattern for paths below the folder of the VGrid.
            changes: the changes that fire it: ``"created"``, ``"modified"``, ``"deleted"``.
            action: ``"submit"`` or ``"command"``.
            arguments: the job descriptions to submit, or the command with its arguments.
            rule_id: the id of the trigger; by default a new one. An existing trigger with this id is replaced.
            recursive: whether files in subfolders count.

        Returns:
            The trigger as the server reports it.

        Raises:
            SpecError: a value is not one of those above.
        """
        change_names, action_arguments = given_texts(changes, "changes"), given_texts(arguments, "arguments")
        faults = [
            Fault("changes", name, "no such change", f"use {', '.join(_CHANGES)}")
            for name in change_names
            if name not in _CHANGES
        ]
        if not change_names:
            faults.append(Fault("changes", change_names, "no change would fire it", f"use {', '.join(_CHANGES)}"))
        if action not in _ACTIONS:
            faults.append(Fault("action", action, "no such action", f"use {' or '.join(_ACTIONS)}"))
        for name, text in (("vgrid", vgrid), ("path", path)):
            if not is_text(text):
                faults.append(Fault(name, text, "empty", "give a text"))
        if faults:
            raise SpecError(faults)
        rule = given_id(rule_id, "rule_id") if rule_id is not None else f"aiomig{secrets.token_hex(6)}"
        await self._call(
            "addvgridtrigger",
            vgrid_name=vgrid,
            rule_id=rule,
            path=path,
            changes=change_names,
            action=action,
            arguments=action_arguments,
            match_files="True",
            match_recursive="True" if recursive else None,
        )
        logger.warning(
            "trigger %s: servers on Python 3 store triggers, but never fire them; test that this one fires", rule
        )
        stored = [trigger for trigger in await self.list(vgrid) if trigger.id == rule]
        return stored[0] if stored else Trigger(rule, vgrid, path, change_names, action, action_arguments)

    async def list(self, vgrid: str) -> _Triggers:
        """List the triggers of a VGrid that the user owns or is a member of."""
        return _parsed(vgrid, await self._call("lsvgridtriggers", vgrid_name=vgrid))

    async def remove(self, vgrid: str, trigger: Trigger | str) -> None:
        """Remove a trigger.

        Args:
            vgrid: the VGrid.
            trigger: the trigger, or its id.
        """
        await self._call("rmvgridtrigger", vgrid_name=vgrid, rule_id=given_id(trigger, "trigger"))


def _parsed(vgrid: str, answer: Answer) -> _Triggers:
    """Return the triggers of a response: every row with a ``rule_id`` in any list (docs/protocol.md#services)."""
    rows = [row for item in answer for value in item.values() if isinstance(value, list) for row in value]
    return [_trigger(vgrid, row) for row in rows if isinstance(row, dict) and "rule_id" in row]


def _trigger(vgrid: str, row: Object) -> Trigger:
    return Trigger(
        id=id_of("lsvgridtriggers", row, "rule_id"),
        vgrid=words(row, "vgrid_name") or vgrid,
        path=text_of(row, "path"),
        changes=texts(row, "changes"),
        action=words(row, "action"),
        arguments=texts(row, "arguments"),
        details=dict(row),
    )
