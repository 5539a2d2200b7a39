"""Virtual time: a clock that jumps to the next timer once nothing else can run, on asyncio and on trio.

The async tests of a module that imports `anyio_backend` from here use this clock. It does not suit real sockets or
processes: the clock runs ahead while a test waits for them.
"""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
import trio.testing


class AutojumpLoop(asyncio.SelectorEventLoop):
    """An asyncio loop with a virtual clock that begins at 0."""

    def __init__(self) -> None:
        super().__init__()
        self._now = 0.0
        self._really_select = self._selector.select  # type: ignore[attr-defined]
        self._selector.select = self._select  # type: ignore[attr-defined]

    def _select(self, timeout: float | None) -> Any:
        if timeout is None:
            return self._really_select(None)
        events = self._really_select(0)
        if not events:
            self._now += timeout
        return events

    def time(self) -> float:
        return self._now


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, Any]]:
    if request.param == "asyncio":
        return "asyncio", {"loop_factory": AutojumpLoop}
    return "trio", {"clock": trio.testing.MockClock(autojump_threshold=0)}
