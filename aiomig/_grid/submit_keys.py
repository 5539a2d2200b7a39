"""Records of submits under keys, in a locked file for each key, so that each key has one job.

The record of a key is written before the submit is sent, and completed afterwards. If a later submit finds an
incomplete record, it looks for the job by its marker, which is derived from the key, before it sends anything.
"""

from __future__ import annotations

import logging
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Protocol

import anyio

from .._core.errors import LocalError, MigError, SpecError
from .._core.journal import JsonLinesLog, rows_of
from .._home.folders import make_private
from .._spec.submit_key import MARKER

if TYPE_CHECKING:
    from collections.abc import Container, Iterable, Iterator, Mapping
    from pathlib import Path

    from .._spec.submit_key import SubmitKey

    Row = Mapping[str, Any]

logger = logging.getLogger("aiomig.grid")

_LOCK_PAUSE = 0.05
"""Seconds between two attempts to lock a record that another submit holds."""


class _Log(Protocol):
    def rows(self) -> Iterator[dict[str, Any]]: ...

    def append(self, rows: Iterable[Row], *, sync: bool = False) -> None: ...

    def close(self) -> None: ...


class _MemoryLog:
    """The record of a key in a session without a folder."""

    def __init__(self) -> None:
        self._rows: list[dict[str, Any]] = []
        self.is_locked = False

    def rows(self) -> Iterator[dict[str, Any]]:
        return iter(self._rows)

    def append(self, rows: Iterable[Row], *, sync: bool = False) -> None:
        self._rows += map(dict, rows)

    def close(self) -> None:
        self.is_locked = False


class KeyRecord:
    """The record of a key.

    Attributes:
        digests: the digests of the last job that was submitted under the key; see `SubmitKey`.
        job_id: the job, or ``None``.
        sent_at: when a submit without a response was sent, in seconds since 1970; ``None`` if there is none.
        generation: the number of jobs of the key that were canceled with their submit.
    """

    def __init__(self, rows: Iterable[Row]) -> None:
        self.digests: dict[str, str] = {}
        self.job_id: str | None = None
        self.sent_at: float | None = None
        self.generation = 0
        for row in rows:
            with suppress(KeyError, TypeError, ValueError, AttributeError):
                self._add(row)

    def _add(self, row: Row) -> None:
        if "key" in row:
            self.digests = {str(part): str(digest) for part, digest in row["digests"].items()}
            self.job_id, self.sent_at = None, float(row["at"])
        elif "job" in row:
            self.job_id, self.sent_at = str(row["job"]), None
        elif "free" in row:
            self.job_id = self.sent_at = None
            self.generation += bool(row["free"] == "canceled")


class LockedRecord(KeyRecord):
    """The record of a key, locked against other submits.

    Args:
        key: the key.
        log: stores the rows of the record.
    """

    def __init__(self, key: SubmitKey, log: _Log) -> None:
        super().__init__(log.rows())
        self.key = key
        self._log = log

    @property
    def marker(self) -> str:
        """The marker of the next submit, or of the one that got no response."""
        return self.key.marker + (f"x{self.generation}" if self.generation else "")

    def begin(self) -> None:
        """Record that a submit is about to be sent.

        Raises:
            LocalError: it cannot be recorded, and so must not be sent.
        """
        row = {"key": self.key.text, "digests": dict(self.key.digests), "at": time.time()}
        try:
            self._write(row, sync=True)
        except OSError as error:
            reason = error.strerror or str(error)
            raise LocalError(f"the key {self.key.text!r} cannot be recorded: {reason}", remedy="make room") from error

    def made(self, job_id: str) -> None:
        """Record the job of the key."""
        self._write_later({"job": job_id})

    def free(self, *, canceled: bool = False) -> None:
        """Record that the submit created no job, or that its job was canceled with it."""
        self._write_later({"free": "canceled" if canceled else "unmade"})

    def _write_later(self, row: Row) -> None:
        try:
            self._write(row, sync=True)
        except OSError as error:
            # The next submit under the key looks for the job.
            logger.warning("the record of key %r cannot be completed: %s", self.key.text, error)

    def _write(self, row: Row, *, sync: bool) -> None:
        self._log.append([row], sync=sync)
        self._add(row)

    def close(self) -> None:
        """Release the lock."""
        self._log.close()


class SubmitKeys:
    """The records of one grid and user on this machine. Without a folder, they last as long as the session."""

    def __init__(self) -> None:
        self._folder: Path | None = None
        self._memory: dict[str, _MemoryLog] = {}

    def open(self, folder: Path | None) -> None:
        """Use a private folder. The first record creates it."""
        self._folder = folder / "keys" if folder is not None else None

    def known(self, keys: Iterable[SubmitKey]) -> dict[str, str | MigError]:
        """Return the job of each key that has one, or the error if the description differs from that of the job."""
        results: dict[str, str | MigError] = {}
        for key in keys:
            record = self._record(key)
            if record.job_id is not None:
                try:
                    key.ensure_same(record.digests, record.job_id)
                    results[key.text] = record.job_id
                except SpecError as error:
                    results[key.text] = error
        return results

    def _record(self, key: SubmitKey) -> KeyRecord:
        """Read the record of a key without locking it."""
        if self._folder is None:
            log = self._memory.get(key.marker)
            return KeyRecord(log.rows() if log is not None else ())
        try:
            return KeyRecord(rows_of((self._folder / f"{key.marker}.jsonl").read_bytes()))
        except OSError:
            return KeyRecord(())

    async def lock(self, key: SubmitKey) -> LockedRecord:
        """Lock the record of a key. Wait while another submit holds it.

        Raises:
            LocalError: the record cannot be used.
        """
        while (log := self._open(key.marker)) is None:  # noqa: ASYNC110 - another process has the lock
            await anyio.sleep(_LOCK_PAUSE)
        return LockedRecord(key, log)

    def free(self, markers: Iterable[str], *, canceled: bool) -> None:
        """Free the keys of submits whose jobs are abandoned or were not created."""
        for marker in markers:
            if not marker.startswith(MARKER):
                continue
            base = marker.partition("x")[0]
            if self._folder is not None and not (self._folder / f"{base}.jsonl").exists():
                continue
            try:
                log = self._open(base)
            except LocalError as error:
                logger.warning("a key cannot be freed: %s", error)
                continue
            if log is None:
                continue  # the submit that holds the lock records its outcome
            try:
                if canceled or KeyRecord(log.rows()).sent_at is not None:
                    log.append([{"free": "canceled" if canceled else "unmade"}], sync=True)
            except OSError as error:
                logger.warning("a key cannot be freed: %s", error)
            finally:
                log.close()

    def forget(self, job_ids: Container[str]) -> None:
        """Remove the records of the keys of these jobs. The server still has the jobs."""
        for marker in [path.stem for path in self._folder.glob(f"{MARKER}*.jsonl")] if self._folder is not None else []:
            log = self._open(marker)
            if log is not None:
                record = KeyRecord(log.rows())
                if record.job_id in job_ids and isinstance(log, JsonLinesLog):
                    log.remove()
                log.close()

    def _open(self, marker: str) -> _Log | None:
        """Return the log of a key, locked; ``None`` if another submit holds it."""
        if self._folder is None:
            log = self._memory.setdefault(marker, _MemoryLog())
            if log.is_locked:
                return None
            log.is_locked = True
            return log
        try:
            make_private(self._folder)
            return JsonLinesLog.open(self._folder / f"{marker}.jsonl")
        except OSError as error:
            reason = error.strerror or str(error)
            raise LocalError(f"the records of keys in {self._folder} cannot be used: {reason}") from error
