"""IPython extension: ``%load_ext aiomig.notebook`` shows lists, tuples and dicts of jobs or statuses as HTML tables.

Single jobs, statuses and results are shown as tables even without the extension.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from ._core.display import html_rows
from ._core.models import JobStatus
from ._jobs.job import Job

_COLLECTIONS = (list, tuple, dict)


def load_ipython_extension(ipython: Any) -> None:
    """Register the HTML formatters. ``%load_ext`` calls this with the running shell."""
    for kind in _COLLECTIONS:
        ipython.display_formatter.formatters["text/html"].for_type(kind, _table)


def unload_ipython_extension(ipython: Any) -> None:
    """Remove the HTML formatters. ``%unload_ext`` calls this."""
    for kind in _COLLECTIONS:
        ipython.display_formatter.formatters["text/html"].pop(kind, None)


def _table(values: Collection[Any]) -> str | None:
    """Return a table if all values are jobs or all are statuses; otherwise the collection's own HTML, if it has any."""
    items = list(values.values() if isinstance(values, Mapping) else values)
    if items and any(all(isinstance(item, kind) for item in items) for kind in (Job, JobStatus)):
        return html_rows(items)
    own = getattr(values, "_repr_html_", None)
    return own() if own is not None else None
