"""What is new in the answers of ``jobstatus``, found with as little work as can be. Pure, no I/O.

The same thousands of jobs are asked for again and again, and of nearly all of them nothing has changed. A server
lists jobs in the order in which it was asked for them (mig-live 5), and always writes a row in the same way, so that a
comparison of bytes tells which rows are as they were. An answer that is not of that form is read as a whole.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

from .jobs import job_rows, status_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from ..._core.models import JobStatus
    from .answer import Answer, Object

# Inside a text of JSON each quotation mark has a backslash before it: these can only be the objects themselves.
_ROW = b'{"object_type": "job", '
_LAST = b'{"object_type": "timing_info", '
_MOST_KNOWN = 100
_COMPLAINT = re.compile(rb'\{"object_type": "(?:error_text|warning|file_not_found)"')


class News:
    """The rows of the jobs that are asked for, as they were last told."""

    def __init__(self) -> None:
        self._rows: dict[str, bytes] = {}
        # Of whole answers that held nothing new, the hash of the text and what was asked for; until a row changes.
        self._known: dict[int, Sequence[str]] = {}

    def is_none(self, job_ids: Sequence[str], body: bytes) -> bool:
        """Whether an answer says of every job that was asked for what the last one said of it, and nothing besides."""
        whole = hash(body[: body.rfind(_LAST)])
        if self._known.get(whole) == job_ids:
            return True
        texts = _texts(job_ids, body)
        if texts is None or list(map(self._rows.get, job_ids)) != texts:
            return False
        if len(self._known) >= _MOST_KNOWN:
            self._known.clear()
        self._known[whole] = job_ids
        return True

    def read(self, job_ids: Sequence[str], body: bytes, answer: Answer) -> Iterator[JobStatus]:
        """The statuses of the jobs whose rows are not as they were. They are read one by one, as they are taken.

        Args:
            job_ids: what was asked for.
            body: the answer.
            answer: its objects.

        Raises:
            MigError: as `_protocol_jobs.statuses` does.
        """
        rows = job_rows(answer)
        texts = _texts(job_ids, body)
        if texts is None or [row.get("job_id") for row in rows] != list(job_ids):
            texts = [_text(row) for row in rows]
        return self._changed(rows, texts)

    def _changed(self, rows: Sequence[Object], texts: Sequence[bytes]) -> Iterator[JobStatus]:
        for row, text in zip(rows, texts, strict=True):
            known = row.get("job_id")
            if isinstance(known, str) and self._rows.get(known) == text:
                continue
            status = status_of(row)
            self._known.clear()
            if not status.state.is_final:  # of one that has ended nothing will be asked
                self._rows[status.job_id] = text
            yield status

    def forget(self, job_ids: Iterable[str]) -> None:
        """Takes whatever comes of these jobs for new."""
        self._known.clear()
        for job_id in job_ids:
            self._rows.pop(job_id, None)


def _texts(job_ids: Sequence[str], body: bytes) -> list[bytes] | None:
    """The rows of an answer, one for each job that was asked for; ``None`` where that cannot be told."""
    end = body.rfind(_LAST)
    head, *texts = body[:end].split(_ROW)
    if end < 0 or len(texts) != len(job_ids) or not texts or _COMPLAINT.search(head) or _COMPLAINT.search(texts[-1]):
        return None
    # What stands between two rows, or behind the last one, is none of the row.
    texts[-1] = texts[-1].removesuffix(b"]}, ") + b", "
    return texts


def _text(row: Object) -> bytes:
    return json.dumps(row).encode("utf-8", "replace")
