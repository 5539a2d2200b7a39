"""Processes that do not end."""

from __future__ import annotations

from typing import TYPE_CHECKING

import anyio

from aiomig._shell.process import Process
from tests.clocks import anyio_backend  # noqa: F401  # the fixture

if TYPE_CHECKING:
    import pytest


class StuckProcess(Process):
    """A process that waits in the kernel, where no signal reaches it."""

    pid = 4321
    signals = 0
    is_released = False

    def _signal_members(self, number: int) -> list[int]:
        self.signals += 1
        return self._members()

    def _members(self) -> list[int]:
        return [self.pid]

    async def wait(self) -> int | None:
        await anyio.sleep_forever()
        return None

    def release(self) -> None:
        self.is_released = True


class ReapedProcess(StuckProcess):
    """A process session whose leader cannot be waited for, although no process of it is left."""

    def _members(self) -> list[int]:
        return []


async def test_a_process_that_sigkill_does_not_end_is_left_behind(caplog: pytest.LogCaptureFixture) -> None:
    process = StuckProcess()
    with anyio.fail_after(60):
        await process.end_session(grace=2)
    assert process.signals > 2
    assert process.is_released
    assert "left behind, waiting in the kernel: 4321" in caplog.text
    caplog.clear()
    with anyio.fail_after(0.001):
        await process.end_session()  # it is not waited for again
    assert not caplog.text


async def test_a_leader_that_does_not_end_is_left_behind(caplog: pytest.LogCaptureFixture) -> None:
    process = ReapedProcess()
    with anyio.fail_after(60):
        await process.end_session()
    assert process.is_released
    assert "4321" in caplog.text
