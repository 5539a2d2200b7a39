"""The filter for listings of jobs; see `Session.jobs`."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from .errors import SpecError
from .models import Fault, JobState
from .validation import is_count, is_text

if TYPE_CHECKING:
    from collections.abc import Callable

    from .models import JobStatus


@dataclass(frozen=True)
class JobFilter:
    """The conditions for jobs in a listing.

    Attributes:
        pattern: a pattern for their ids.
        name: a pattern for their names, or ``None`` for all jobs.
        labels: labels that the jobs must have.
        states: the accepted states; empty for all.
        since: the earliest time at which the jobs were received.
        newest: the largest number of jobs, or ``None`` for all.

    Raises:
        SpecError: a value is invalid.
    """

    pattern: str = "*"
    name: str | None = None
    labels: Mapping[str, str] = field(default_factory=dict)
    states: frozenset[JobState] = frozenset()
    since: datetime | None = None
    newest: int | None = None

    def __post_init__(self) -> None:
        faults = [
            *_pattern_faults(self.pattern),
            *_name_faults(self.name),
            *_label_faults(self.labels),
            *_time_faults(self.since),
        ]
        if self.newest is not None and not is_count(self.newest):
            faults.append(Fault("newest", self.newest, "not a positive whole number", "give a count, or None"))
        if faults:
            raise SpecError(faults)

    @property
    def needs_descriptions(self) -> bool:
        """Whether the filter depends on names or labels, which are part of descriptions."""
        return self.name is not None or bool(self.labels)

    def matches_status(self, status: JobStatus) -> bool:
        """Return whether the state and the times of a job match."""
        if self.states and status.state not in self.states:
            return False
        return self.since is None or (status.received_at is not None and status.received_at >= self.since)

    def matches_description(self, status: JobStatus) -> bool:
        """Return whether the name and the labels of a job match."""
        if self.name is not None and not (status.name is not None and matcher(self.name)(status.name)):
            return False
        return self.labels.items() <= status.labels.items()


def _pattern_faults(pattern: object) -> list[Fault]:
    if isinstance(pattern, str):
        return []
    return [Fault("pattern", pattern, "not a pattern for job ids", "give a string; * and ? are wildcards")]


def _name_faults(name: object) -> list[Fault]:
    if name is None or is_text(name):
        return []
    return [Fault("name", name, "not a pattern for names", "give a string; * and ? are wildcards")]


def _label_faults(labels: object) -> list[Fault]:
    if isinstance(labels, Mapping) and all(isinstance(part, str) for pair in labels.items() for part in pair):
        return []
    return [Fault("labels", labels, "not a mapping of strings", "give a dict: labels={'owner': 'ada'}")]


def _time_faults(since: object) -> list[Fault]:
    if since is None or (isinstance(since, datetime) and since.tzinfo is not None):
        return []
    problem = "has no time zone" if isinstance(since, datetime) else "not a datetime"
    return [Fault("since", since, problem, "give an aware datetime: datetime.now(UTC) - timedelta(days=1)")]


def states_of(state: JobState | str | Iterable[JobState | str] | None) -> frozenset[JobState]:
    """Return the set of states for the argument ``state``: one state, several, or ``None`` for all.

    Raises:
        SpecError: a value is not a state.
    """
    if state is None:
        return frozenset()
    names = [state] if isinstance(state, str) or not isinstance(state, Iterable) else list(state)
    faults = [
        Fault("state", name, "not the state of a job", f"give one or several of {', '.join(JobState)}")
        for name in names
        if name not in JobState.__members__
    ]
    if faults or not names:
        raise SpecError(faults or [Fault("state", state, "contains no state", "give at least one, or None")])
    return frozenset(JobState(name) for name in names)


def time_before(older_than: object) -> datetime:
    """Return the current time minus a timedelta.

    Raises:
        SpecError: the argument is not a timedelta, or is negative or too long.
    """
    problem = "not a timedelta of 0 or more"
    if isinstance(older_than, timedelta) and older_than >= timedelta(0):
        try:
            return datetime.now(UTC) - older_than
        except OverflowError:
            problem = "too long"
    raise SpecError([Fault("older_than", older_than, problem, "give datetime.timedelta(days=30)")])


def matcher(pattern: str) -> Callable[[str], object]:
    """Return a function that tells whether a string matches a pattern with the wildcards ``*`` and ``?``."""
    return re.compile(fnmatch.translate(pattern.replace("[", "[[]"))).match
