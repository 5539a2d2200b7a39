"""Pictures that change on a terminal while a command waits: one line, or a table. Drawn without threads."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import anyio
from rich.console import Group
from rich.live import Live
from rich.text import Text

from .. import JobState, JobStatus
from ._output import duration, ended_at, rich_table, state_cells

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from rich.console import Console, RenderableType

    from .. import Job, Session

_INTERVAL = 0.5
"""Seconds between two pictures: ages change even if nothing else does."""

_SPINNER = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏"
_ORDER = (JobState.EXECUTING, JobState.RETRY, JobState.QUEUED, JobState.PARSE, JobState.FROZEN, JobState.UNKNOWN)
_ROOM = 6
"""The number of lines of the terminal that the table leaves free."""

COLUMNS = {
    "JOB": "left",
    "NAME": "left",
    "STATE": "left",
    "EXIT": "right",
    "AGE": "right",
    "WAITED": "right",
    "RAN": "right",
    "RESOURCE": "left",
}


async def show_one(console: Console, mig: Session, job: Job) -> JobStatus:
    """Show the state of one job until it ends, in a line that then disappears.

    Returns:
        The final status.
    """
    statuses: list[JobStatus] = []
    ticks = iter(range(1_000_000_000))

    def picture() -> RenderableType:
        if not statuses:
            return Text("")
        age = _seconds(statuses[-1].received_at, datetime.now(UTC))
        return Text(f"{_SPINNER[next(ticks) % len(_SPINNER)]} {job.id} {statuses[-1].state} {age}", overflow="ellipsis")

    await _drawn(console, mig, [job], picture, statuses.append, transient=True)
    return statuses[-1]


async def show_many(console: Console, mig: Session, jobs: Sequence[Job]) -> dict[str, JobStatus]:
    """Show a table of many jobs until all have ended; the last picture stays.

    Returns:
        The final statuses by job id.
    """
    by_id: dict[str, JobStatus] = {}

    def picture() -> RenderableType:
        room = max(console.size.height - _ROOM, 3)
        rows = [row(status, datetime.now(UTC)) for status in sorted(by_id.values(), key=_rank)]
        parts: list[RenderableType] = [rich_table(COLUMNS, rows[:room])]
        if len(rows) > room:
            parts.append(Text(f"… and {len(rows) - room} more", style="dim"))
        return Group(*parts, _summary(list(by_id.values()), len(jobs)))

    def add(status: JobStatus) -> None:
        by_id[status.job_id] = status

    await _drawn(console, mig, jobs, picture, add, transient=False)
    return by_id


async def _drawn(
    console: Console,
    mig: Session,
    jobs: Sequence[Job],
    picture: Callable[[], RenderableType],
    add: Callable[[JobStatus], None],
    *,
    transient: bool,
) -> None:
    # Live shows the cursor again even after an interrupt.
    with Live(picture(), console=console, auto_refresh=False, transient=transient) as live:
        watch = mig.watch(jobs)
        while True:
            with anyio.move_on_after(_INTERVAL):
                try:
                    add(await anext(watch))
                except StopAsyncIteration:
                    break
                for status in watch.ready():
                    add(status)
            live.update(picture(), refresh=True)
        live.update(picture(), refresh=True)


def row(status: JobStatus, now: datetime) -> list[str]:
    """Return the cells of one job."""
    end = ended_at(status) or (None if status.state.is_final else now)
    began = status.executing_at if status.state not in (JobState.QUEUED, JobState.FROZEN, JobState.RETRY) else None
    waited = _seconds(status.queued_at, began or end)
    return [
        status.job_id,
        status.name or "-",
        *state_cells(status),
        _seconds(status.received_at, now),
        waited,
        _seconds(began, end),
        status.resource or "-",
    ]


def _seconds(start: datetime | None, end: datetime | None) -> str:
    return duration((end - start).total_seconds()) if start is not None and end is not None else "-"


def _rank(status: JobStatus) -> tuple[int, float]:
    """Return the place of a job: running jobs first, then waiting ones, then those that ended last."""
    if status.state.is_final:
        end = ended_at(status)
        return len(_ORDER), -end.timestamp() if end is not None else 0.0
    return _ORDER.index(status.state), status.received_at.timestamp() if status.received_at is not None else 0.0


def _summary(statuses: Sequence[JobStatus], total: int) -> Text:
    counts = Counter(status.state for status in statuses)
    ended = sum(count for state, count in counts.items() if state.is_final)
    width = 30
    bar = "━" * (width * ended // max(total, 1))
    words = ", ".join(f"{count} {state}" for state, count in counts.most_common())
    if failed := sum(bool(status.exit_code) for status in statuses):
        words += f", {failed} with a command that failed"
    return Text.assemble((bar, "green"), ("─" * (width - len(bar)), "dim"), f" {ended}/{total} ended: {words}")
