"""The interface between the API and its backends, a grid or this machine: jobs, files and message queues."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol

from ._core.errors import MigError, SubmitUnknown
from ._core.models import Outcome
from ._core.tasks import run_shielded

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterable, Callable, Iterable, Mapping, Sequence
    from datetime import datetime
    from pathlib import Path

    from ._core.job_filter import JobFilter
    from ._core.models import CheckReport, JobStatus, Unconfirmed
    from ._core.paths import FileInfo
    from ._core.site import Site
    from ._core.subscriptions import Subscriptions
    from ._core.tasks import SessionTasks
    from ._spec.mrsl import Description
    from ._spec.plan import Plan
    from ._spec.submit_key import SubmitKey

logger = logging.getLogger("aiomig")

Action = Literal["cancel", "freeze", "thaw"]

KINDS: tuple[str, ...] = ("stdout", "stderr", "io-status", "status")
"""The suffixes of the four files in ``job_output/ID/``, in the order of their arrival. See docs/protocol.md#results."""


class KeyTaken(MigError):
    """A job with the key of a submit and the same description already exists. The user gets the handle of that job."""

    def __init__(self, job_id: str) -> None:
        super().__init__(f"job {job_id} has this key")
        self.job_id = job_id


class KeyPending(SubmitUnknown):
    """An earlier submit with the same key got no response and may still create its job. This one was not sent."""


class Backend(Protocol):
    """A grid or this machine, for one session. Many tasks may call the methods at the same time."""

    mode: Literal["grid", "local"]
    home: HomeBackend
    queues: QueueBackend
    subscriptions: Subscriptions
    tasks: SessionTasks
    look_again: float
    """Seconds between two reads of the output of a running job."""

    async def open(self) -> None:
        """Open the backend, and check everything that can be checked early."""

    async def close(self, error: BaseException | None) -> None:
        """Close the backend, in the task that opened it. ``error`` is the exception that leaves the session's block."""

    async def review(self, description: Description) -> CheckReport:
        """Return the faults and warnings that submitting a description would report, without changing anything."""

    async def feasibility(self, job_id: str, *, schedule: bool = False) -> CheckReport:
        """Return whether any resource could run a queued job.

        Args:
            job_id: the job.
            schedule: also have the server set the job's ``schedule_hint``.

        Raises:
            JobNotFound: the job does not exist.
        """

    async def site(self) -> Site:
        """Return the keywords, architectures and runtime environments of the backend."""

    async def submit(self, plan: Plan) -> str:
        """Create the job of a plan whose inputs are already uploaded, and return its id. Never retried.

        Raises:
            KeyTaken: a job with the key of the plan already exists.
        """

    async def submit_many(self, plans: Sequence[Plan], report: Callable[[int], object]) -> Sequence[str | MigError]:
        """Create the jobs of plans in as few requests as possible, and return the id or the error of each, in order.

        ``report`` is called after each request with its number of jobs.
        """

    async def find_keys(self, keys: Sequence[SubmitKey]) -> Mapping[str, str | MigError]:
        """Return the recorded job id of each key, or why the key cannot be used. Unused keys are left out."""

    def disown(self, job_ids: Sequence[str]) -> None:
        """Record that these jobs are not wanted any more. `unconfirmed` lists them until they are canceled."""

    def abandon(self, job_ids: Sequence[str]) -> None:
        """Cancel jobs in the background, without reporting; for use where nothing can be awaited."""

    async def find_by_marker(self, marker: str, project: str | None = None) -> Sequence[str]:
        """Return the ids of the jobs that were submitted with a marker.

        Args:
            marker: the marker.
            project: the PROJECT that the user gave the job, ``""`` for none, ``None`` if it is unknown.
        """

    async def unconfirmed(self) -> Sequence[Unconfirmed]:
        """Return the submits of this session and of earlier ones whose outcome is unknown."""

    def confirm(self, markers: Iterable[str]) -> None:
        """Settle submits: the user knows their outcome, or has the handles of their jobs."""

    async def statuses(self, job_ids: Sequence[str]) -> Mapping[str, JobStatus]:
        """Return the current statuses of jobs, without unknown jobs."""

    async def present(self, job_ids: Sequence[str]) -> Mapping[str, JobStatus]:
        """Return the statuses of watched jobs that are available at once. The others are published later."""

    async def follow_all(self) -> None:
        """Publish the changes of all jobs of the user from now on, while there are `Subscriptions.readers`."""

    async def act(self, action: Action, job_ids: Sequence[str]) -> Mapping[str, Outcome]:
        """Cancel, freeze or thaw jobs, and return one outcome for each id."""

    async def find(self, wanted: JobFilter) -> Sequence[JobStatus]:
        """Return the jobs that match a filter, newest first."""

    async def plan_of(self, job_id: str) -> Plan:
        """Return the plan of a job, from the available records. Raises JobNotFound."""

    async def results(self, status: JobStatus) -> Mapping[str, bytes]:
        """Return the result files of a job that has ended, by suffix: see `KINDS`."""

    def note_exit_code(self, job_id: str, exit_code: int) -> None:
        """Record the exit code that was found in the result files of a job."""

    async def read_stream(self, job_id: str, name: str, start: int) -> bytes:
        """Return what a running or ended job has written to ``stdout`` or ``stderr``, starting at an offset."""

    async def prune(self, before: datetime, *, records: bool) -> int:
        """Remove the files that aiomig keeps for jobs that ended before a time; see `Session.prune`."""

    def own_jobs(self) -> Iterable[str]:
        """Return the ids of the unfinished jobs that this session submitted."""

    async def live(
        self, job_id: str, action: Literal["send", "get"], sources: Sequence[str], destination: str | None
    ) -> None:
        """Copy files between a running job and the home; see `Job.send_live` and `Job.get_live`.

        Args:
            job_id: the job.
            action: ``"send"`` from the job to the home, or ``"get"`` from the home to the job.
            sources: the files; for ``"send"``, an empty sequence means standard output and error.
            destination: the directory; ``None`` only if there are no sources.

        Raises:
            JobNotFound: the job does not exist.
            ActionRefused: the job is not running.
        """

    async def call(self, operation: str, fields: Sequence[tuple[str, str]]) -> list[dict[str, object]]:
        """Call any operation of the server, and return the objects of its response. Raises LocalError in local mode."""


def not_running(status: JobStatus) -> Outcome:
    """Return the outcome of copying files to or from a job that is not running."""
    return Outcome(status.job_id, status.state, None, f"it is not currently being executed; it is {status.native}")


async def cancel_shielded(backend: Backend, job_ids: Sequence[str], seconds: float) -> None:
    """Cancel jobs that are not wanted any more, even if the caller is cancelled. Log a failure.

    `Backend.unconfirmed` lists the jobs until they are known to be canceled.

    Args:
        backend: the backend of the jobs.
        job_ids: the jobs. Jobs that have already ended stay unchanged.
        seconds: the maximum duration.
    """
    if not job_ids:
        return
    backend.disown(job_ids)
    reason = f"no response within {seconds:g} s"

    async def cancel() -> None:
        nonlocal reason
        try:
            await backend.act("cancel", job_ids)
        except MigError as error:
            reason = str(error)
        else:
            reason = ""

    try:
        await run_shielded(cancel, seconds=seconds)
    finally:
        if reason:
            logger.error("%d jobs could not be canceled: %s; cancel them: %s", len(job_ids), reason, " ".join(job_ids))


@dataclass(frozen=True, slots=True)
class PutFile:
    """A file to upload into the home.

    Attributes:
        source: the local file, or the content itself.
        path: the destination in the home.
        size: the size in bytes; 0 if it is unknown before the file is read.
    """

    source: Path | bytes
    path: str
    size: int


@dataclass(frozen=True, slots=True)
class GetFile:
    """A file of the home to download.

    Attributes:
        info: the file in the home.
        destination: the local file, in an existing directory.
    """

    info: FileInfo
    destination: Path


class HomeBackend(Protocol):
    """The MiG home of the user.

    `aiomig._core.paths.home_path` has normalised all paths, and they contain no patterns; paths that `listing` returned
    may contain any character. `check_characters` has checked new names, and their parent directories exist. Methods may
    be called at the same time, even for the same path.
    """

    async def stat(self, path: str) -> FileInfo | None:
        """Return the file or directory at a path; ``None`` if there is none, or if a parent of the path is a file."""

    async def stat_many(self, paths: Sequence[str]) -> dict[str, FileInfo]:
        """Return the existing files and directories by path, in few requests. Missing paths are left out."""

    async def listing(self, path: str, *, recursive: bool = False) -> list[FileInfo]:
        """Return the entries of a directory in any order, including dot files, without the files that MiG hides.

        For a file, return the file itself. ``recursive`` adds the entries of all subdirectories.

        Raises:
            FileNotFound: the path does not exist.
        """

    async def make_directories(self, paths: Sequence[str]) -> None:
        """Create directories in the given order, parents first. Existing directories are not an error.

        Raises:
            FileExists: there is a file at one of the paths; see its ``path``.
        """

    def read(self, path: str, start: int = 0, end: int | None = None) -> AsyncGenerator[bytes, None]:
        """Yield the bytes of a file from ``start`` up to but not including ``end``, or up to the end of the file.

        The caller must close the generator, even if it is exhausted.

        Raises:
            FileNotFound: the file does not exist.
            PathRefused: the path is a directory.
        """

    async def write(self, path: str, content: AsyncIterable[bytes], size: int | None) -> None:
        """Create or replace a file atomically, with all bytes of ``content``.

        ``size`` is the number of bytes, or ``None`` if it is not known in advance.

        Raises:
            PathRefused: the path is a directory.
        """

    async def put_file(self, source: Path, path: str, size: int, report: Callable[[int], object]) -> None:
        """Create or replace a file atomically, with the content of a local file.

        Args:
            source: the local file.
            path: the file in the home.
            size: the size of the source in bytes; 0 if it is unknown before the file is read.
            report: called with the number of bytes of each chunk.

        Raises:
            LocalError: the source has become shorter.
        """

    async def get_file(self, info: FileInfo, destination: Path, report: Callable[[int], object]) -> None:
        """Create or replace a local file atomically, with the content of a file of the home."""

    async def put_files(
        self, folders: Sequence[str], files: Sequence[PutFile], report: Callable[[int], object]
    ) -> None:
        """Create directories, and create or replace files, each atomically, in few requests.

        Args:
            folders: all parent directories of the files, parents first. Existing directories are not an error.
            files: the files.
            report: called with the number of bytes of each chunk, and with a negative number if bytes must be sent
                again.

        Raises:
            FileExists: there is a file at the path of a directory.
            PathRefused: there is a directory at the path of a file.
            LocalError: a source has become shorter.
        """

    async def get_files(self, files: Sequence[GetFile], folder: str | None, report: Callable[[int], object]) -> None:
        """Create or replace local files, each atomically, with the content of files of the home, in few requests.

        Args:
            files: the files.
            folder: a directory of the home that contains these files and nothing else, if there is one.
            report: as for `put_files`.
        """

    async def write_range(self, path: str, start: int, data: bytes) -> None:
        """Write into an existing file at an offset. A gap after its current end is filled with zero bytes.

        Raises:
            FileNotFound: the file does not exist.
            PathRefused: the path is a directory.
        """

    async def touch(self, path: str) -> None:
        """Set the modification time to now, or create an empty file."""

    async def truncate(self, path: str, size: int) -> None:
        """Truncate an existing file, or extend it with zero bytes. Raises the same errors as `write_range`."""

    async def copy(self, source: str, destination: str) -> None:
        """Copy a file to a new name or over another file, or a directory with its contents to a new name."""

    async def move(self, source: str, destination: str) -> None:
        """Rename a file to a new name or over another file, or a directory to a new name."""

    async def remove(self, path: str, *, recursive: bool) -> None:
        """Remove a file or directory permanently, without moving it to the trash.

        Raises:
            FileNotFound: the path does not exist.
            PathRefused: the path is a directory and ``recursive`` is false.
        """

    async def remove_directory(self, path: str) -> None:
        """Remove an empty directory.

        Raises:
            FileNotFound: the directory does not exist.
            FileExists: the directory is not empty.
            PathRefused: the path is a file.
        """

    async def checksum(self, path: str, algorithm: str) -> str:
        """Return the checksum of a whole file in lower-case hexadecimal. Raises the same errors as `read`."""

    async def pack(self, source: str, archive: str) -> None:
        """Create an archive of one file or directory. The names in it begin with the name of the source."""

    async def unpack(self, archive: str, destination: str) -> None:
        """Unpack an archive into an existing directory, replacing files with the same names."""


class QueueBackend(Protocol):
    """The message queues of the user. The caller has checked names, ids and messages."""

    async def names(self) -> list[str]:
        """Return the names of all queues, sorted."""

    async def create(self, name: str, *, exist_ok: bool) -> None:
        """Create a queue. Raises FileExists."""

    async def remove(self, name: str, *, missing_ok: bool) -> None:
        """Remove a queue with its messages. Raises FileNotFound."""

    async def ids(self, name: str) -> list[str]:
        """Return the ids of the messages, starting with the next one. Raises FileNotFound."""

    async def send(self, name: str, message_id: str, message: str) -> None:
        """Add a message. Raises FileNotFound."""

    async def next(self, name: str, *, take: bool) -> str | None:
        """Return the next message, and remove it if ``take`` is true. Raises FileNotFound."""
