"""The command ``timeline``: draws a chart of when jobs waited and ran."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import click

from .. import JobState
from ._choosing import jobs_argument, jobs_named
from ._command import command
from ._exit_codes import ExitCode
from ._output import ended_at, say, write, write_json
from ._settings import current

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.figure import Figure

    from .. import JobStatus, Session

_COLORS = {"waited": "#c9d3df", "ran": "#2b6cb0", "failed": "#c53030", "canceled": "#b7791f"}
_INCHES_PER_JOB = 0.22
_MAX_LABELS = 60


class Span(NamedTuple):
    """A period of a job.

    Attributes:
        kind: ``"waited"``, ``"ran"``, ``"failed"`` (an attempt, or a command in it) or ``"canceled"``.
        start: an aware time in UTC.
        end: an aware time in UTC.
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
    help="The file to write: .svg, .png or .pdf.",
)
@click.option(
    "--newest",
    "-n",
    type=click.IntRange(1),
    metavar="N",
    default=50,
    show_default=True,
    help="The number of jobs if no JOB is given.",
)
async def timeline(mig: Session, /, *, names: tuple[str, ...], file: Path, newest: int) -> int:
    """Draw a chart of when jobs waited and ran to an SVG, PNG or PDF file. Needs pip install 'aiomig[plot]'.

    JOB is an id, a pattern, or "last"; the default is the newest jobs.
    """
    if file.suffix.lower() not in (".svg", ".png", ".pdf"):
        raise click.BadParameter(f"{file}: give a name that ends in .svg, .png or .pdf", param_hint="--output")
    jobs = await (jobs_named(mig, names) if names else mig.jobs(newest=newest))
    statuses = list((await mig.statuses(jobs)).values()) if jobs else []
    if not statuses:
        say("there are no jobs to draw")
        return ExitCode.FAILURE
    figure = draw(statuses, datetime.now(UTC))
    figure.savefig(file, format=file.suffix.lower().lstrip("."))
    if current().json:
        write_json({"path": str(file)})
    elif not current().quiet:
        write(str(file))
    return ExitCode.SUCCESS


def spans(status: JobStatus, now: datetime) -> list[Span]:
    """Return the periods of a job, attempt by attempt. Periods whose times the status lacks are omitted."""
    parts: list[Span] = []
    for attempt in status.attempts:
        parts += _span("waited", attempt.queued_at, attempt.executing_at)
        parts += _span("failed", attempt.executing_at, attempt.failed_at)
    if status.state is JobState.FAILED and status.attempts:
        return parts  # these include the last attempt
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
    """Draw a row for each job, the oldest on top. The axis shows seconds since the first event.

    Raises:
        ModuleNotFoundError: matplotlib is not installed.
    """
    from matplotlib.figure import Figure
    from matplotlib.patches import Patch

    ordered = sorted(statuses, key=lambda status: (status.received_at or now, status.job_id))
    rows = [spans(status, now) for status in ordered]
    origin = min((span.start for row in rows for span in row), default=now)
    figure = Figure(figsize=(10, 1.6 + _INCHES_PER_JOB * len(rows)), layout="constrained")
    axes = figure.subplots()
    for number, row in enumerate(rows):
        for kind, start, end in row:
            left, width = (start - origin).total_seconds(), (end - start).total_seconds()
            axes.barh(number, width, left=left, height=0.8, color=_COLORS[kind], edgecolor=_COLORS[kind])
    axes.set_xlim(left=0)
    axes.set_ylim(len(rows) - 0.4, -0.6)
    labelled = range(len(rows)) if len(rows) <= _MAX_LABELS else range(0)
    axes.set_yticks(list(labelled), [_title(ordered[number]) for number in labelled], fontsize=7)
    axes.set_xlabel(f"seconds since {origin:%Y-%m-%d %H:%M:%S} UTC")
    used = {span.kind for row in rows for span in row}
    figure.legend(
        loc="outside upper right",
        ncols=len(_COLORS),
        handles=[Patch(color=color, label=kind) for kind, color in _COLORS.items() if kind in used],
    )
    return figure
