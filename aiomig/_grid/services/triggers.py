"""Workflow triggers: what a VGrid does when a file changes."""

from __future__ import annotations

import logging
import secrets
from collections.abc import Mapping  # noqa: TC003 - for those who ask for the types of the fields
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
    """One workflow trigger.

    Attributes:
        id: its id in the VGrid.
        vgrid: the VGrid.
        path: the pattern of files below the folder of the VGrid.
        changes: which changes: ``"created"``, ``"modified"``, ``"deleted"``.
        action: what is done: ``"submit"`` or ``"command"``.
        arguments: the job descriptions to submit, or the command.
        details: everything that the server says of it.
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

    Each method raises `GridError` if the grid refuses it or cannot be asked, and `LocalError` in local mode.

    Servers on Python 3 keep triggers, but never fire them; `add` logs a warning.
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
            path: a pattern of paths below the folder of the VGrid.
            changes: which changes: ``"created"``, ``"modified"``, ``"deleted"``.
            action: ``"submit"`` or ``"command"``.
            arguments: the job descriptions to submit, or the command with its arguments.
            rule_id: the id of the trigger; the default is a new one. An existing trigger with this id is replaced.
            recursive: whether files in folders below count.

        Returns:
            The trigger as the server has it.

        Raises:
            SpecError: a value is not one of those above.
        """
        given, words_of_action = given_texts(changes, "changes"), given_texts(arguments, "arguments")
        faults = [
            Fault("changes", each, "no such change", f"use {', '.join(_CHANGES)}")
            for each in given
            if each not in _CHANGES
        ]
        if not given:
            faults.append(Fault("changes", given, "no change would fire it", f"use {', '.join(_CHANGES)}"))
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
            changes=given,
            action=action,
            arguments=words_of_action,
            match_files="True",
            match_recursive="True" if recursive else None,
        )
        logger.warning(
            "trigger %s: servers on Python 3 keep triggers, but never fire them; test that this one does", rule
        )
        found = [trigger for trigger in await self.list(vgrid) if trigger.id == rule]
        return found[0] if found else Trigger(rule, vgrid, path, given, action, words_of_action)

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
    """Return the triggers of a response: the rows of any list that have a rule_id (docs/protocol.md#services)."""
    rows = [row for each in answer for value in each.values() if isinstance(value, list) for row in value]
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
