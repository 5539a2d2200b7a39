"""The record of a sweep on disk: what was submitted as what, and what was delivered. Appended to, never rewritten."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from .._core.errors import LocalError, SpecError
from .._core.journal import AppendFile
from .._core.models import Fault

if TYPE_CHECKING:
    import os
    from collections.abc import Iterable

_FIRST_LINE = '{"aiomig sweep":1}\n'


class Entry(NamedTuple):
    """What is recorded of one job of a sweep.

    Attributes:
        marker: the marker that it was, or was to be, submitted with.
        digest: of its description.
        job_id: its id, or ``None`` where the program ended before it was known.
        was_canceled: whether it was to be canceled with the sweep; it may have ended before, or be alive still.
    """

    marker: str
    digest: str
    job_id: str | None
    was_canceled: bool = False


def digest_of(text: str) -> str:
    """A short checksum of a description."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:16]


class Journal:
    """The journal of one sweep, which nobody else can use meanwhile.

    Args:
        path: the file; made where it is missing.

    Raises:
        LocalError: it cannot be read or written, or another sweep is using it.
        SpecError: it is no journal of a sweep.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._path = Path(path)
        self._known: dict[int, Entry] = {}
        self._delivered: set[int] = set()
        self._below = 0  # all before this one are delivered
        self._file = self._opened()
        try:
            self._begin()
        except BaseException:
            self._file.close()
            raise

    def _opened(self) -> AppendFile:
        try:
            file = AppendFile.open(self._path)
        except OSError as error:
            raise self._unusable(error) from error
        if file is None:
            raise LocalError(
                f"the journal {self._path} is in use by another sweep, of this program or of another",
                path=str(self._path),
                remedy="let that end first, or give another file",
            )
        return file

    def _unusable(self, error: Exception) -> LocalError:
        return LocalError(f"the journal {self._path} cannot be used: {error}", path=str(self._path))

    def _begin(self) -> None:
        try:
            text = self._file.read().decode("utf-8")
            is_new = _FIRST_LINE.startswith(text)
            if is_new:
                self._file.clear()
            else:
                self._read(text)
        except (OSError, UnicodeDecodeError) as error:
            raise self._unusable(error) from error
        # The last line may have been cut off, and then says nothing, or lack its end only, and then it counts.
        self._append(_FIRST_LINE if is_new else "" if text.endswith("\n") else "\n")

    def _read(self, text: str) -> None:
        lines = text.split("\n")
        if lines[0] + "\n" != _FIRST_LINE:
            raise SpecError([Fault("journal", str(self._path), "no journal of a sweep", "give another file")])
        for line in lines[1:]:
            try:
                row = json.loads(line)
            except ValueError:
                continue
            if isinstance(row, dict) and isinstance(row.get("i"), int):
                self._take(row["i"], row)

    def _take(self, place: int, row: dict[str, Any]) -> None:
        if "m" in row:
            self._known[place] = Entry(str(row["m"]), str(row.get("h", "")), None)
        elif "id" in row and place in self._known:
            self._known[place] = self._known[place]._replace(job_id=str(row["id"]))
        elif "c" in row and place in self._known:
            self._known[place] = self._known[place]._replace(was_canceled=True)
        elif "x" in row:
            self._known.pop(place, None)
        elif "d" in row:
            self._deliver(place)

    def _deliver(self, place: int) -> None:
        self._known.pop(place, None)
        self._delivered.add(place)
        while self._below in self._delivered:
            self._delivered.discard(self._below)
            self._below += 1

    def _write(self, rows: Iterable[dict[str, Any]], *, sync: bool = False) -> None:
        rows = list(rows)
        for row in rows:
            self._take(row["i"], row)
        self._append("".join(json.dumps(row, separators=(",", ":")) + "\n" for row in rows), sync=sync)

    def _append(self, text: str, *, sync: bool = False) -> None:
        try:
            self._file.append(text.encode("ascii"), sync=sync)
        except OSError as error:
            raise LocalError(f"the journal {self._path} cannot be written: {error}", path=str(self._path)) from error

    def is_delivered(self, place: int) -> bool:
        """Whether the job at a place of the parameters was handed out, and its successor asked for."""
        return place < self._below or place in self._delivered

    def entry(self, place: int) -> Entry | None:
        """What is recorded of a job that was not handed out."""
        return self._known.get(place)

    def intend(self, entries: Iterable[tuple[int, str, str]]) -> None:
        """Before a submit: places, markers and digests. They survive a loss of power: by them the jobs are found."""
        self._write(({"i": place, "m": marker, "h": digest} for place, marker, digest in entries), sync=True)

    def made(self, jobs: Iterable[tuple[int, str]]) -> None:
        """After a submit: places and job ids."""
        self._write({"i": place, "id": job_id} for place, job_id in jobs)

    def forget(self, places: Iterable[int]) -> None:
        """These are to be submitted anew another time: they were refused, or their failure was raised."""
        self._write({"i": place, "x": 1} for place in places)

    def canceled(self, places: Iterable[int]) -> None:
        """These are being canceled with the sweep; what becomes of that is not known yet."""
        self._write({"i": place, "c": 1} for place in places)

    def delivered(self, place: int) -> None:
        """A job was handed out, and its successor was asked for."""
        self._write([{"i": place, "d": 1}])

    def close(self) -> None:
        """Closes the file, and lets others use it."""
        self._file.close()
