"""The journal of a sweep: which jobs were submitted, and how they ended. An entry is known by what was submitted."""

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
"""First lines. Version 1 knew an entry by its position among the parameters, and did not tell how a job ended."""

_DIGESTS_KEPT = 1000

State = Literal["submitted", "canceled", "done", "failed", "ended"]


@dataclass(slots=True)
class Entry:
    """What the journal knows of a job.

    Attributes:
        marker: the marker that the job was, or was to be, submitted with.
        digest: see `SweepJournal.digest_of`.
        job_id: its id, or ``None`` if the program ended before it was known.
        state: ``canceled`` if the job was to be canceled with the sweep: it may have ended before, or be alive.
            ``done`` or ``failed`` if the user has got it; ``ended`` likewise, in a journal of version 1.
    """

    marker: str
    digest: str
    job_id: str | None = None
    state: State = "submitted"

    @property
    def has_ended(self) -> bool:
        """Whether the user has got the job after its end."""
        return self.state in ("done", "failed", "ended")


class SweepJournal:
    """The journal of one sweep, which nobody else can use meanwhile.

    Args:
        path: the file; made if it is missing. With ``None`` nothing is recorded, and nothing is known.

    Attributes:
        is_kept: whether there is a file.

    Raises:
        LocalError: it cannot be read or written, or another sweep is using it.
        SpecError: it is not the journal of a sweep.
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
                f"the journal {self._path} is in use by another sweep, of this program or of another",
                path=str(self._path),
                remedy="let that end first, or give another file",
            )
        return log

    def _unusable(self, error: OSError) -> LocalError:
        return LocalError(f"the journal {self._path} cannot be used: {error}", path=str(self._path))

    def _read(self, log: JsonLinesLog) -> None:
        try:
            content = log.read()
            if any(title.startswith(content) for title in _TITLES):  # new, or the program died while it wrote this line
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
        """Return a checksum of all that a job consists of: its description and the contents of its local inputs."""
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
            except OSError:  # the submit raises it
                digest.update(b"unreadable")
        return digest.hexdigest()[:32]

    def claim(self, spec: JobSpec, digest: str) -> Entry | None:
        """Return what an earlier run recorded of such a job; each entry once."""
        entries = self._earlier.get(digest)
        if not entries and self._is_old:
            entries = self._earlier.get(_digest_of_version_1(spec))
        return entries.pop() if entries else None

    def left(self) -> list[Entry]:
        """Return the unfinished jobs of earlier runs that nobody has claimed."""
        return [entry for entries in self._earlier.values() for entry in entries if entry.state == "submitted"]

    def intend(self, jobs: Iterable[tuple[str, str, str]]) -> None:
        """Record before a submit: markers, digests, and the markers of the entries that these replace."""
        rows = ({"marker": marker, "job": digest, "replaces": old} for marker, digest, old in jobs)
        self._append(rows, sync=True)  # by the markers the jobs are found after a loss of power

    def made(self, jobs: Iterable[tuple[str, str]]) -> None:
        """Record after a submit: markers and job ids."""
        self._append({"marker": marker, "id": job_id} for marker, job_id in jobs)

    def note(self, markers: Iterable[str], state: State) -> None:
        """Record what became of jobs."""
        self._append({"marker": marker, "state": state} for marker in markers)

    def forget(self, markers: Iterable[str]) -> None:
        """Remove entries: these jobs were refused, or their failure was raised."""
        self._append({"replaces": marker} for marker in markers)

    def _append(self, rows: Iterable[Mapping[str, object]], *, sync: bool = False) -> None:
        if self._log is None:
            return
        try:
            self._log.append(rows, sync=sync)
        except OSError as error:
            raise self._unusable(error) from error

    def close(self) -> None:
        """Close the file, so that others can use it."""
        if self._log is not None:
            self._log.close()


_CLAIMED_FIRST: tuple[State, ...] = ("done", "ended", "submitted", "canceled", "failed")


def _digest_of_version_1(spec: JobSpec) -> str:
    return hashlib.sha256(spec.mrsl_text().encode("utf-8", "surrogatepass")).hexdigest()[:16]


def _entries(rows: Iterable[dict[str, Any]]) -> list[Entry]:
    """Return the entries that the rows of a journal leave; rows that say nothing are skipped."""
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
    """Translate a row of version 1, which names the position of a parameter."""
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
