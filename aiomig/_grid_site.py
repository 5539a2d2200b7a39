"""Asks a grid what it says of itself."""

from __future__ import annotations

from typing import TYPE_CHECKING

from . import _protocol_site
from ._site import Site

if TYPE_CHECKING:
    from ._link import Link


async def describe(link: Link) -> Site:
    """What ``docs`` and ``redb`` say (mig-protocol 2.3): three requests, all of them read-only.

    Raises:
        GridError: the server could not be asked, or has no answer.
    """
    keywords = _protocol_site.keywords(await link.read("docs", [("show", "mrsl")]))
    runtime_environments = _protocol_site.runtime_environments(await link.read("redb", [("operation", "list")]))
    topics = _protocol_site.topics(await link.read("docs"))
    return Site(keywords, runtime_environments, topics)
