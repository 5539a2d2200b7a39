"""Following jobs on a grid: one task asks for all that anyone watches, in one request a round."""

from __future__ import annotations

import logging
import random
from dataclasses import dataclass
from typing import TYPE_CHECKING

import anyio

from ._errors import Fault, GridError, SpecError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from ._board import Board
    from ._status import JobStatus

logger = logging.getLogger("aiomig.grid")


@dataclass(frozen=True, slots=True)
class Polling:
    """How often a grid is asked for the state of jobs that are watched. All times are in seconds.

    The pause between two rounds is a share of the time since something last happened (a job was first watched, or
    changed), between a floor and a ceiling, with jitter. Where nobody watches, nothing is asked.

    Attributes:
        floor: the shortest pause.
        ceiling: the longest.
        share: of the time since something last happened.
        failures: how many failed rounds in a row are borne before everyone who waits gets the error.
    """

    floor: float = 1.0
    ceiling: float = 30.0
    share: float = 0.1
    failures: int = 5

    def __post_init__(self) -> None:
        faults = [
            Fault(name, getattr(self, name), "not a positive number", "give seconds")
            for name in ("floor", "ceiling", "share", "failures")
            if not isinstance(getattr(self, name), (int, float)) or getattr(self, name) <= 0
        ]
        if not faults and self.floor > self.ceiling:
            faults.append(Fault("floor", self.floor, "above the ceiling", f"give at most {self.ceiling}"))
        if faults:
            raise SpecError(faults)

    def pause(self, quiet: float) -> float:
        """The next pause, where nothing happened for so many seconds."""
        return min(max(self.floor, self.share * quiet), self.ceiling) * random.uniform(0.9, 1.1)


class Poller:
    """The task that asks.

    Args:
        board: who watches what; what is found is published there.
        ask: gives the statuses of the ids that are known.
        polling: how often.
    """

    def __init__(
        self,
        board: Board,
        ask: Callable[[Sequence[str]], Awaitable[Mapping[str, JobStatus]]],
        polling: Polling,
    ) -> None:
        self._board = board
        self._ask = ask
        self._polling = polling
        self._last: dict[str, JobStatus] = {}
        self._happened = 0.0
        self._needed = anyio.Event()

    def wake(self, job_id: str) -> None:
        """Someone began to watch a job."""
        if job_id not in self._last:
            self._happened = anyio.current_time()
        self._needed.set()

    async def run(self) -> None:
        """Asks for ever; ends by cancellation only."""
        failures = 0
        while True:
            if not self._board:
                self._last.clear()
                self._needed = anyio.Event()
                await self._needed.wait()
            await self._rest(failures)
            watched = list(self._board)
            if not watched:
                continue
            try:
                found = await self._ask(watched)
            except GridError as error:
                failures += 1
                logger.warning("asking for %d jobs failed (%d in a row): %s", len(watched), failures, error)
                if failures >= self._polling.failures:
                    self._board.fail(error)
                    failures = 0
                continue
            failures = 0
            self._publish(found)

    async def _rest(self, failures: int) -> None:
        """Waits until the next round is due; a job that someone begins to watch makes it due sooner."""
        began = anyio.current_time()
        while (left := began + self._pause(failures) - anyio.current_time()) > 0:
            self._needed = anyio.Event()
            with anyio.move_on_after(left) as scope:
                await self._needed.wait()
            if scope.cancelled_caught:
                return

    def _pause(self, failures: int) -> float:
        pause = self._polling.pause(anyio.current_time() - self._happened)
        return min(pause * (1 << failures), max(self._polling.ceiling, pause))

    def _publish(self, found: Mapping[str, JobStatus]) -> None:
        """A job that is missing from an answer is not known to have ended: nothing is said of it."""
        for job_id, status in found.items():
            if self._last.get(job_id) != status:
                self._happened = anyio.current_time()
                self._board.publish(status)
            if status.state.is_final:
                self._last.pop(job_id, None)
            else:
                self._last[job_id] = status
