"""The command ``timeline``: a picture of when jobs waited and ran."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import click

from .. import JobState
from ._choosing import jobs_argument, jobs_named
from ._command import command
from ._exit_codes import ExitCode
from ._output import ended_at, say, write
from ._settings import current

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.figure import Figure

    from .. import JobStatus, Session

_COLORS = {"waited": "#c9d3df", "ran": "#2b6cb0", "failed": "#c53030", "canceled": "#b7791f"}
_INCHES_A_JOB = 0.22
_MOST_LABELS = 60


class Span(NamedTuple):
    """A stretch of a job's life.

    Attributes:
        kind: ``"waited"``, ``"ran"``, ``"failed"`` (an attempt, or a command of it) or ``"canceled"``.
        start: aware, UTC.
        end: the same.
    """

    kind: str
    start: datetime
    end: datetime


@command("timeline")
@jobs_argument(required=False)
@click.option(
    "--output",
    "-o",
    "file",
    type=click.Path(path_type=Path, dir_okay=False),
    default="timeline.svg",
    show_default=True,
    help="The picture; .svg, .png or .pdf.",
)
@click.option(
    "--newest",
    "-n",
    type=click.IntRange(1),
    metavar="N",
    default=50,
    show_default=True,
    help="If none is named: how many.",
)
async def timeline(mig: Session, /, *, names: tuple[str, ...], file: Path, newest: int) -> int:
    """Draw when jobs waited and ran, a line for each, into an SVG, PNG or PDF file. Needs pip install 'aiomig[plot]'.

    JOB is an id, a pattern, or "last"; the default is the newest jobs.
    """
    if file.suffix.lower() not in (".svg", ".png", ".pdf"):
        raise click.BadParameter(f"{file}: give a name that ends in .svg, .png or .pdf", param_hint="--output")
    jobs = await (jobs_named(mig, names) if names else mig.jobs(newest=newest))
    statuses = list((await mig.statuses(jobs)).values()) if jobs else []
    if not statuses:
        say("there are no jobs to draw")
        return ExitCode.NOT_WELL
    figure = draw(statuses, datetime.now(UTC))
    figure.savefig(file, format=file.suffix.lower().lstrip("."))
    if not current().quiet:
        write(str(file))
    return ExitCode.WELL


def spans(status: JobStatus, now: datetime) -> list[Span]:
    """Return what a job did and when, attempt by attempt, as far as its status shows it."""
    parts: list[Span] = []
    for attempt in status.attempts:
        parts += _span("waited", attempt.queued_at, attempt.executing_at)
        parts += _span("failed", attempt.executing_at, attempt.failed_at)
    if status.state is JobState.FAILED and status.attempts:
        return parts  # the last attempt is one of those
    end = ended_at(status) or now
    began = status.executing_at if status.state not in (JobState.QUEUED, JobState.FROZEN, JobState.RETRY) else None
    parts += _span("waited", status.queued_at or status.received_at, began or end)
    kind = "canceled" if status.state is JobState.CANCELED else "failed" if status.is_failure else "ran"
    return parts + _span(kind, began, end)


def _span(kind: str, start: datetime | None, end: datetime | None) -> list[Span]:
    return [Span(kind, start, end)] if start is not None and end is not None and end >= start else []


def _title(status: JobStatus) -> str:
    return f"{status.name}  {status.job_id}" if status.name else status.job_id


def draw(statuses: Sequence[JobStatus], now: datetime) -> Figure:
    """Draw a line for each job, the oldest on top; time is in seconds since the first event.

    Raises:
        ModuleNotFoundError: matplotlib is not installed.
    """
    from matplotlib.figure import Figure
    from matplotlib.patches import Patch

    ordered = sorted(statuses, key=lambda status: (status.received_at or now, status.job_id))
    lines = [spans(status, now) for status in ordered]
    origin = min((span.start for line in lines for span in line), default=now)
    figure = Figure(figsize=(10, 1.6 + _INCHES_A_JOB * len(lines)), layout="constrained")
    axes = figure.subplots()
    for place, line in enumerate(lines):
        for kind, start, end in line:
            left, width = (start - origin).total_seconds(), (end - start).total_seconds()
            axes.barh(place, width, left=left, height=0.8, color=_COLORS[kind], edgecolor=_COLORS[kind])
    axes.set_xlim(left=0)
    axes.set_ylim(len(lines) - 0.4, -0.6)
    named = range(len(lines)) if len(lines) <= _MOST_LABELS else range(0)
    axes.set_yticks(list(named), [_title(ordered[place]) for place in named], fontsize=7)
    axes.set_xlabel(f"seconds since {origin:%Y-%m-%d %H:%M:%S} UTC")
    used = {span.kind for line in lines for span in line}
    figure.legend(
        loc="outside upper right",
        ncols=len(_COLORS),
        handles=[Patch(color=color, label=kind) for kind, color in _COLORS.items() if kind in used],
    )
    return figure
