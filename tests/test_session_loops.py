"""A session belongs to the event loop that opened it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

import aiomig

if TYPE_CHECKING:
    from pathlib import Path


def test_a_session_of_another_event_loop_is_refused(tmp_path: Path) -> None:
    session = aiomig.local(tmp_path / "home")
    loop = asyncio.new_event_loop()
    try:
        loop.run_until_complete(session.open())

        async def elsewhere() -> None:
            with pytest.raises(aiomig.NoSession, match="in another event loop"):
                await session.submit("true")

        asyncio.run(elsewhere())
        job = loop.run_until_complete(session.submit("echo here"))
        assert loop.run_until_complete(job.result()).stdout == "here\n"
        loop.run_until_complete(session.aclose())
    finally:
        loop.close()
