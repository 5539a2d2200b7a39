"""Live views on a terminal while a command waits: one line or a table. They use no threads."""

from __future__ import annotations

import itertools
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
"""Seconds between two redraws. Ages change even if no state does."""

_ORDER = (JobState.EXECUTING, JobState.RETRY, JobState.QUEUED, JobState.PARSE, JobState.FROZEN, JobState.UNKNOWN)
_FREE_LINES = 6
"""The number of terminal lines that the table leaves free."""

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
    """Show the state of a job in one line until the job ends. The line then disappears.

    Returns:
        The final status.
    """
    statuses: list[JobStatus] = []
    spinner = itertools.cycle("⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏")

    def render() -> RenderableType:
        if not statuses:
            return Text("")
        age = _seconds(statuses[-1].received_at, datetime.now(UTC))
        return Text(f"{next(spinner)} {job.id} {statuses[-1].state} {age}", overflow="ellipsis")

    await _redraw_until_final(console, mig, [job], render, statuses.append, transient=True)
    return statuses[-1]


async def show_many(console: Console, mig: Session, jobs: Sequence[Job]) -> dict[str, JobStatus]:
    """Show a table of jobs until all have ended. The final table stays on the screen.

    Returns:
        The final statuses by job id.
    """
    by_id: dict[str, JobStatus] = {}

    def render() -> RenderableType:
        height = max(console.size.height - _FREE_LINES, 3)
        rows = [row(status, datetime.now(UTC)) for status in sorted(by_id.values(), key=_sort_key)]
        parts: list[RenderableType] = [rich_table(COLUMNS, rows[:height])]
        if len(rows) > height:
            parts.append(Text(f"… and {len(rows) - height} more", style="dim"))
        return Group(*parts, _summary(list(by_id.values()), len(jobs)))

    def add(status: JobStatus) -> None:
        by_id[status.job_id] = status

    await _redraw_until_final(console, mig, jobs, render, add, transient=False)
    return by_id


async def _redraw_until_final(
    console: Console,
    mig: Session,
    jobs: Sequence[Job],
    render: Callable[[], RenderableType],
    add: Callable[[JobStatus], None],
    *,
    transient: bool,
) -> None:
    with Live(render(), console=console, auto_refresh=False, transient=transient) as live:
        watch = mig.watch(jobs)
        while True:
            with anyio.move_on_after(_INTERVAL):
                try:
                    add(await anext(watch))
                except StopAsyncIteration:
                    break
                for status in watch.ready():
                    add(status)
            live.update(render(), refresh=True)
        live.update(render(), refresh=True)


def row(status: JobStatus, now: datetime) -> list[str]:
    """Return the cells of a job."""
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


def _sort_key(status: JobStatus) -> tuple[int, float]:
    """Sort running jobs first, then waiting jobs, then ended jobs, the latest end first."""
    if status.state.is_final:
        end = ended_at(status)
        return len(_ORDER), -end.timestamp() if end is not None else 0.0
    return _ORDER.index(status.state), status.received_at.timestamp() if status.received_at is not None else 0.0


def _summary(statuses: Sequence[JobStatus], total: int) -> Text:
    counts = Counter(status.state for status in statuses)
    ended = sum(count for state, count in counts.items() if state.is_final)
    width = 30
    bar = "━" * (width * ended // max(total, 1))
    summary = ", ".join(f"{count} {state}" for state, count in counts.most_common())
    if failed := sum(bool(status.exit_code) for status in statuses):
        summary += f", {failed} with a failed command"
    return Text.assemble((bar, "green"), ("─" * (width - len(bar)), "dim"), f" {ended}/{total} ended: {summary}")
