"""The journal of a sweep: the submitted jobs, and how they ended. Entries are identified by what was submitted."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from .._core.errors import LocalError, SpecError
from .._core.journal import JsonLinesLog
from .._core.models import Fault
from .._spec.mrsl import render
from .._spec.values import InputStream
from .uploads import content_digest, identity_of

if TYPE_CHECKING:
    import os
    from collections.abc import Iterable, Mapping

    from .._spec.jobspec import JobSpec

_KEY = "aiomig sweep"
_VERSION = 2
_TITLES = tuple(f'{{"{_KEY}":{version}}}\n'.encode() for version in (1, _VERSION))
"""The first lines. Version 1 identified entries by the position of the parameter, and did not record failures."""

_DIGESTS_KEPT = 1000

State = Literal["submitted", "canceled", "done", "failed", "ended"]


@dataclass(slots=True)
class Entry:
    """The journal's entry for a job.

    Attributes:
        marker: the marker of the job's submit.
        digest: see `SweepJournal.digest_of`.
        job_id: the job id, or ``None`` if the program ended before it was recorded.
        state: ``canceled`` if the sweep tried to cancel the job, which may have ended before or may still exist.
            ``done`` or ``failed`` if the sweep has yielded the job; ``ended`` for both, in a journal of version 1.
    """

    marker: str
    digest: str
    job_id: str | None = None
    state: State = "submitted"

    @property
    def has_ended(self) -> bool:
        """Whether the sweep has yielded the job after its end."""
        return self.state in ("done", "failed", "ended")


class SweepJournal:
    """The journal of one sweep, locked against use by other sweeps.

    Args:
        path: the file, created if it is missing. With ``None``, nothing is recorded.

    Attributes:
        is_kept: whether there is a file.

    Raises:
        LocalError: the file cannot be read or written, or another sweep is using it.
        SpecError: the file is not the journal of a sweep.
    """

    def __init__(self, path: str | os.PathLike[str] | None) -> None:
        self.is_kept = path is not None
        self._path = Path(path or "")
        self._log: JsonLinesLog | None = None
        self._is_old = False
        self._earlier: dict[str, list[Entry]] = {}
        self._digests: dict[tuple[object, ...], str] = {}
        if self.is_kept:
            self._log = self._open()
            try:
                self._read(self._log)
            except BaseException:
                self.close()
                raise

    def _open(self) -> JsonLinesLog:
        try:
            log = JsonLinesLog.open(self._path)
        except OSError as error:
            raise self._unusable(error) from error
        if log is None:
            raise LocalError(
                f"the journal {self._path} is in use by another sweep, in this program or another one",
                path=str(self._path),
                remedy="wait until that sweep ends, or give another file",
            )
        return log

    def _unusable(self, error: OSError) -> LocalError:
        return LocalError(f"the journal {self._path} cannot be used: {error}", path=str(self._path))

    def _read(self, log: JsonLinesLog) -> None:
        try:
            content = log.read()
            if any(title.startswith(content) for title in _TITLES):  # new, or a program died while writing this line
                log.clear()
                log.append([{_KEY: _VERSION}])
            elif not content.startswith(_TITLES):
                raise SpecError([Fault("journal", str(self._path), "not the journal of a sweep", "give another file")])
        except OSError as error:
            raise self._unusable(error) from error
        self._is_old = content.startswith(_TITLES[0])
        for entry in _entries(log.rows()):
            self._earlier.setdefault(entry.digest, []).append(entry)
        for entries in self._earlier.values():
            entries.sort(key=lambda entry: _CLAIMED_FIRST.index(entry.state), reverse=True)

    async def digest_of(self, spec: JobSpec) -> str:
        """Return a checksum of a job's description and of the contents of its local inputs."""
        plan = spec.plan("example")
        digest = hashlib.sha256(render(plan.description).encode("utf-8", "surrogatepass"))
        for upload in plan.uploads:
            if isinstance(upload.source, InputStream):
                remedy = "give bytes or a file, or leave journal out"
                raise SpecError([Fault("inputs", upload.source, "cannot be compared with an earlier run", remedy)])
            try:
                identity = identity_of(upload.source)
                if identity not in self._digests:
                    if len(self._digests) >= _DIGESTS_KEPT:
                        self._digests.clear()
                    self._digests[identity] = await content_digest(upload.source)
                digest.update(self._digests[identity].encode())
            except OSError:  # the submit raises the error
                digest.update(b"unreadable")
        return digest.hexdigest()[:32]

    def claim(self, spec: JobSpec, digest: str) -> Entry | None:
        """Return the entry of an earlier run for such a job. Each entry is returned only once."""
        entries = self._earlier.get(digest)
        if not entries and self._is_old:
            entries = self._earlier.get(_digest_of_version_1(spec))
        return entries.pop() if entries else None

    def unclaimed(self) -> list[Entry]:
        """Return the unfinished jobs of earlier runs that have not been claimed."""
        return [entry for entries in self._earlier.values() for entry in entries if entry.state == "submitted"]

    def record_submits(self, jobs: Iterable[tuple[str, str, str]]) -> None:
        """Record jobs before their submit: markers, digests, and the markers of the entries that they replace."""
        rows = ({"marker": marker, "job": digest, "replaces": old} for marker, digest, old in jobs)
        self._append(rows, sync=True)  # after a power failure, the markers identify the jobs

    def record_ids(self, jobs: Iterable[tuple[str, str]]) -> None:
        """Record the ids of jobs after their submit, by marker."""
        self._append({"marker": marker, "id": job_id} for marker, job_id in jobs)

    def record_state(self, markers: Iterable[str], state: State) -> None:
        """Record the state of jobs."""
        self._append({"marker": marker, "state": state} for marker in markers)

    def forget(self, markers: Iterable[str]) -> None:
        """Remove the entries of jobs that were refused or whose error was raised."""
        self._append({"replaces": marker} for marker in markers)

    def _append(self, rows: Iterable[Mapping[str, object]], *, sync: bool = False) -> None:
        if self._log is None:
            return
        try:
            self._log.append(rows, sync=sync)
        except OSError as error:
            raise self._unusable(error) from error

    def close(self) -> None:
        """Close and unlock the file."""
        if self._log is not None:
            self._log.close()


_CLAIMED_FIRST: tuple[State, ...] = ("done", "ended", "submitted", "canceled", "failed")


def _digest_of_version_1(spec: JobSpec) -> str:
    return hashlib.sha256(spec.mrsl_text().encode("utf-8", "surrogatepass")).hexdigest()[:16]


def _entries(rows: Iterable[dict[str, Any]]) -> list[Entry]:
    """Return the entries that result from the rows of a journal. Rows without meaning are skipped."""
    entries: dict[str, Entry] = {}
    markers: dict[int, str] = {}
    for row in rows:
        row = _as_version_2(row, markers)
        marker = row.get("marker")
        if "replaces" in row:
            entries.pop(str(row["replaces"]), None)
        if not isinstance(marker, str):
            continue
        if "job" in row:
            entries[marker] = Entry(marker, str(row["job"]))
        elif marker in entries:
            if "id" in row:
                entries[marker].job_id = str(row["id"])
            if row.get("state") in _CLAIMED_FIRST:
                entries[marker].state = row["state"]
    return list(entries.values())


def _as_version_2(row: dict[str, Any], markers: dict[int, str]) -> dict[str, Any]:
    """Translate a row of version 1, which contains the position of the parameter."""
    position = row.get("i")
    if not isinstance(position, int):
        return row
    old = markers.get(position)
    if "m" in row:
        markers[position] = str(row["m"])
        return {"marker": str(row["m"]), "job": row.get("h", ""), "replaces": old}
    if "x" in row:
        return {"replaces": old}
    if "id" in row:
        return {"marker": old, "id": row["id"]}
    return {"marker": old, "state": "canceled" if "c" in row else "ended" if "d" in row else None}
