"""Results of jobs from the content of their files."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import anyio

from aiomig._core.status_file import StatusFileParser, lines_of
from aiomig._jobs import results
from aiomig._jobs.results import job_result
from aiomig._spec.mrsl import Description
from aiomig._spec.plan import Plan

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from aiomig import CommandResult, JobResult, JobStatus


class Report(NamedTuple):
    commands: tuple[CommandResult, ...]
    notes: tuple[str, ...]
    reported: bool


def parse_status(data: bytes, commands: Sequence[str], *, before: int = 0, after: int = 0) -> Report:
    parser = StatusFileParser(commands)
    parser.feed(lines_of(data))
    found = parser.finish(before, after)
    return Report(found, tuple(parser.notes), parser.count > 0)


def result(
    status: JobStatus,
    files: Mapping[str, bytes],
    commands: Sequence[str] = (),
    before: int = 0,
    after: int = 0,
    description: Description | None = None,
) -> JobResult:
    keywords = {"EXECUTE": tuple(commands), **(description.keywords if description else {})}
    plan = Plan(Description(keywords), prologue_lines=before, epilogue_lines=after)
    return anyio.run(job_result, status, files, plan)


def raise_for(job_id: str, made: JobResult, description: Description | None = None) -> None:
    results.raise_for(job_id, made, Plan(description or Description({})))
