"""What a mode must be able to do: the one seam between the API and the grid or this machine."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from ._board import Board
    from ._check import CheckReport
    from ._description import Description
    from ._errors import MigError
    from ._files import HomeAccess
    from ._plan import Plan
    from ._queue import QueueAccess
    from ._site import Site
    from ._status import JobState, JobStatus
    from ._submit_journal import Unconfirmed
    from ._tasks import SessionTasks

Action = Literal["cancel", "freeze", "thaw"]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What an action did to one job.

    Attributes:
        job_id: the job.
        before: its state when the action came, or ``None`` where no such job is known.
        after: its state now, or ``None`` where it was not changed.
        message: why it was not changed, in the grid's words; empty where it was.
    """

    job_id: str
    before: JobState | None
    after: JobState | None
    message: str = ""

    @property
    def changed(self) -> bool:
        """Whether the action did something."""
        return self.after is not None


class Backend(Protocol):
    """One open mode. Methods may be called by many tasks at once."""

    mode: Literal["grid", "local"]
    home: HomeAccess
    queues: QueueAccess
    board: Board
    tasks: SessionTasks
    look_again: float
    """Seconds between two looks at the growing output of a job."""

    async def open(self) -> None:
        """Does what can fail early."""

    async def close(self, error: BaseException | None) -> None:
        """Ends, in the task that opened; ``error`` comes out of the session's block."""

    async def review(self, description: Description) -> CheckReport:
        """What would be said of a description if it were submitted; changes nothing."""

    async def feasibility(self, job_id: str) -> CheckReport:
        """Whether something could run a job that is there and waits. Raises JobNotFound."""

    async def site(self) -> Site:
        """What the mode says of itself."""

    async def submit(self, plan: Plan) -> str:
        """Makes a job of a plan whose uploads are in the home; its id. Never repeated on its own."""

    async def submit_many(self, plans: Sequence[Plan]) -> Sequence[str | MigError]:
        """Makes jobs of plans in as few requests as can be: of each its id, or why there is none, in order."""

    def abandon(self, job_ids: Sequence[str]) -> None:
        """Cancels jobs soon, without waiting and without a word; for use where nothing can be awaited."""

    async def submitted_as(self, marker: str, project: str | None = None) -> Sequence[str]:
        """The ids of the jobs that bear the mark of a submit that was not answered.

        Args:
            marker: the mark.
            project: the PROJECT that the user gave the job, ``""`` for none, ``None`` where that is not known.
        """

    async def unconfirmed(self) -> Sequence[Unconfirmed]:
        """What was submitted, here or in an earlier session, and is not known to have made a job or not."""

    def confirm(self, markers: Iterable[str]) -> None:
        """Takes the submits of these marks for settled."""

    async def statuses(self, job_ids: Sequence[str]) -> Mapping[str, JobStatus]:
        """What is known of these jobs now; those that are not known are left out."""

    async def present(self, job_ids: Sequence[str]) -> Mapping[str, JobStatus]:
        """What is known of watched jobs at once; the board is told of the others as soon as they are known."""

    async def act(self, action: Action, job_ids: Sequence[str]) -> Mapping[str, Outcome]:
        """Cancels, freezes or thaws jobs; one outcome for each id."""

    async def find(self, pattern: str, newest: int | None) -> Sequence[JobStatus]:
        """The jobs whose ids match a pattern of ``*`` and ``?``, newest first, at most so many."""

    async def plan_of(self, job_id: str) -> Plan:
        """What a job was submitted with, as far as it is recorded. Raises JobNotFound."""

    async def results(self, status: JobStatus) -> Mapping[str, bytes]:
        """The result files that are there of a job that has ended, by suffix: see `_results.KINDS`."""

    async def read_stream(self, job_id: str, name: str, start: int) -> bytes:
        """What a job has written to ``stdout`` or ``stderr`` from an offset on, running or ended."""

    def own_jobs(self) -> Iterable[str]:
        """The ids of the unfinished jobs that this session submitted."""
