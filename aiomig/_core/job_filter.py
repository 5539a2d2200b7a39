"""Which jobs a listing is about; see `Session.jobs`."""

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
    """The jobs that a listing gives, newest first.

    Attributes:
        pattern: of their ids.
        name: a pattern of their names, or ``None`` for all jobs.
        labels: the labels that they have, at least.
        states: their states; empty for all.
        since: when they were received at the earliest.
        newest: how many, at most.

    Raises:
        SpecError: a value makes no sense.
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
        """Whether names or labels decide."""
        return self.name is not None or bool(self.labels)

    def matches_status(self, status: JobStatus) -> bool:
        """Return whether a job is one of these, as far as its state and times tell."""
        if self.states and status.state not in self.states:
            return False
        return self.since is None or (status.received_at is not None and status.received_at >= self.since)

    def matches_description(self, status: JobStatus) -> bool:
        """Return whether a job is one of these, as far as its name and labels tell."""
        if self.name is not None and not (status.name is not None and matcher(self.name)(status.name)):
            return False
        return self.labels.items() <= status.labels.items()


def _pattern_faults(pattern: object) -> list[Fault]:
    if isinstance(pattern, str):
        return []
    return [Fault("pattern", pattern, "not a pattern of job ids", "give text; * and ? match any")]


def _name_faults(name: object) -> list[Fault]:
    if name is None or is_text(name):
        return []
    return [Fault("name", name, "not a pattern of names", "give text; * and ? match any")]


def _label_faults(labels: object) -> list[Fault]:
    if isinstance(labels, Mapping) and all(isinstance(part, str) for pair in labels.items() for part in pair):
        return []
    return [Fault("labels", labels, "not a mapping of texts", "give a dict: labels={'owner': 'ada'}")]


def _time_faults(since: object) -> list[Fault]:
    if since is None or (isinstance(since, datetime) and since.tzinfo is not None):
        return []
    problem = "has no time zone" if isinstance(since, datetime) else "not a datetime"
    return [Fault("since", since, problem, "give an aware one: datetime.now(UTC) - timedelta(days=1)")]


def states_of(state: JobState | str | Iterable[JobState | str] | None) -> frozenset[JobState]:
    """Return the states that were given: one, several, or ``None`` for all.

    Raises:
        SpecError: a word is not a state.
    """
    if state is None:
        return frozenset()
    words = [state] if isinstance(state, str) or not isinstance(state, Iterable) else list(state)
    faults = [
        Fault("state", word, "not the state of a job", f"give one or several of {', '.join(JobState)}")
        for word in words
        if word not in JobState.__members__
    ]
    if faults or not words:
        raise SpecError(faults or [Fault("state", state, "names no state", "give at least one, or None")])
    return frozenset(JobState(word) for word in words)


def time_before(older_than: object) -> datetime:
    """Return the time that is so long ago.

    Raises:
        SpecError: it is not a timedelta, or too long, or negative.
    """
    problem = "not a timedelta of 0 or more"
    if isinstance(older_than, timedelta) and older_than >= timedelta(0):
        try:
            return datetime.now(UTC) - older_than
        except OverflowError:
            problem = "longer than time is counted"
    raise SpecError([Fault("older_than", older_than, problem, "give datetime.timedelta(days=30)")])


def matcher(pattern: str) -> Callable[[str], object]:
    """Return a function that tells whether a text matches a pattern, in which only ``*`` and ``?`` mean something."""
    return re.compile(fnmatch.translate(pattern.replace("[", "[[]"))).match
