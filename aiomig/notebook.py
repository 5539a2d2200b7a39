"""For Jupyter: ``%load_ext aiomig.notebook`` shows lists, tuples and dicts of jobs and statuses as tables.

Jobs, statuses, results, and what aiomig gives several of them in, are shown as tables without it. This is for lists
that a notebook makes itself, such as ``[await job.status() for job in jobs]``.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from ._core import display as _html
from ._core.models import JobStatus
from ._jobs.job import Job

_KINDS = (list, tuple, dict)


def load_ipython_extension(ipython: Any) -> None:
    """Called by ``%load_ext`` with the running shell."""
    for kind in _KINDS:
        ipython.display_formatter.formatters["text/html"].for_type(kind, _shown)


def unload_ipython_extension(ipython: Any) -> None:
    """Called by ``%unload_ext``."""
    for kind in _KINDS:
        ipython.display_formatter.formatters["text/html"].pop(kind, None)


def _shown(given: Collection[Any]) -> str | None:
    """A table, where all are jobs or all are statuses; else what the value says of itself, or ``None``."""
    items = list(given.values() if isinstance(given, Mapping) else given)
    if items and any(all(isinstance(item, kind) for item in items) for kind in (Job, JobStatus)):
        return _html.of(items)
    own = getattr(given, "_repr_html_", None)
    return own() if own is not None else None
