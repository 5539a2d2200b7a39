"""The services of a user: share links, archives, transfers, a crontab, triggers."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass(slots=True)
class Services:
    """The records of one user.

    Attributes:
        shares: the rows of share links by id.
        archives: the rows of archives by id.
        frozen: the bytes of each archive's files by id and path.
        has_cache: whether ``freezedb`` was called; before that, ``createfreeze`` fails.
        transfers: the rows of transfers by id.
        crontab: the text.
        triggers: the rows by VGrid and id.
    """

    shares: dict[str, dict[str, Any]] = field(default_factory=dict)
    archives: dict[str, dict[str, Any]] = field(default_factory=dict)
    frozen: dict[str, dict[str, bytes]] = field(default_factory=dict)
    has_cache: bool = False
    transfers: dict[str, dict[str, Any]] = field(default_factory=dict)
    crontab: str = ""
    triggers: dict[tuple[str, str], dict[str, Any]] = field(default_factory=dict)
