"""What the API needs of a backend, which is a grid or this machine: jobs, files and message queues."""

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
    from ._core.models import CheckReport, FileInfo, JobStatus, Unconfirmed
    from ._core.site import Site
    from ._core.subscriptions import Subscriptions
    from ._core.tasks import SessionTasks
    from ._spec.mrsl import Description
    from ._spec.plan import Plan
    from ._spec.submit_key import SubmitKey

logger = logging.getLogger("aiomig")

Action = Literal["cancel", "freeze", "thaw"]

KINDS: tuple[str, ...] = ("stdout", "stderr", "io-status", "status")
"""The suffixes of the four files in ``job_output/ID/``, in the order of their arrival; docs/protocol.md#results."""


class KeyTaken(MigError):
    """A job exists under the key of a submit, with the same description. The caller of aiomig gets its handle.

    Attributes:
        job_id: the job.
    """

    def __init__(self, job_id: str) -> None:
        super().__init__(f"job {job_id} has this key")
        self.job_id = job_id


class KeyPending(SubmitUnknown):
    """An earlier submit under a key got no response, and may still make its job. This one was not sent."""


class Backend(Protocol):
    """A grid or this machine, as one session uses it. Many tasks may call its methods at once."""

    mode: Literal["grid", "local"]
    home: HomeBackend
    queues: QueueBackend
    subscriptions: Subscriptions
    tasks: SessionTasks
    look_again: float
    """Seconds between two reads of the growing output of a job."""

    async def open(self) -> None:
        """Open it, and do everything that can fail early."""

    async def close(self, error: BaseException | None) -> None:
        """Close it, in the task that opened it; ``error`` is what leaves the session's block."""

    async def review(self, description: Description) -> CheckReport:
        """Return what would be reported if a description were submitted; change nothing."""

    async def feasibility(self, job_id: str, *, schedule: bool = False) -> CheckReport:
        """Return whether there is something that could run a job that waits. Raises JobNotFound.

        Args:
            job_id: the job.
            schedule: also have the server set the job's ``schedule_hint``.
        """

    async def site(self) -> Site:
        """Return what the backend says about itself."""

    async def submit(self, plan: Plan) -> str:
        """Make a job of a plan whose uploads are in the home; return its id. Never retried.

        Raises:
            KeyTaken: the plan has a key, and a job has it.
        """

    async def submit_many(self, plans: Sequence[Plan], report: Callable[[int], object]) -> Sequence[str | MigError]:
        """Make jobs of plans in as few requests as possible; return for each in order its id or the error.

        ``report`` is called with the number of jobs of each request.
        """

    async def find_keys(self, keys: Sequence[SubmitKey]) -> Mapping[str, str | MigError]:
        """Return by key what is recorded here of jobs under keys: the id, or what is wrong with using the key."""

    def disown(self, job_ids: Sequence[str]) -> None:
        """Record that nobody will use these jobs: until they are canceled, `unconfirmed` lists them."""

    def abandon(self, job_ids: Sequence[str]) -> None:
        """Cancel jobs soon, without waiting and without reporting; for use where nothing can be awaited."""

    async def find_by_marker(self, marker: str, project: str | None = None) -> Sequence[str]:
        """Return the ids of the jobs that were submitted with a marker.

        Args:
            marker: the marker.
            project: the PROJECT that the user gave the job, ``""`` for none, ``None`` if that is not known.
        """

    async def unconfirmed(self) -> Sequence[Unconfirmed]:
        """Return the submits of this session and of earlier ones whose jobs the user may not know."""

    def confirm(self, markers: Iterable[str]) -> None:
        """Take submits for settled: the user knows what became of them, or has the handles of their jobs."""

    async def statuses(self, job_ids: Sequence[str]) -> Mapping[str, JobStatus]:
        """Return the present statuses of jobs; leave out unknown ones."""

    async def present(self, job_ids: Sequence[str]) -> Mapping[str, JobStatus]:
        """Return what is known of watched jobs at once; the other statuses are published when they are known."""

    async def follow_all(self) -> None:
        """Publish the changes of all jobs, others' too, from now on, as long as `Subscriptions.readers`."""

    async def act(self, action: Action, job_ids: Sequence[str]) -> Mapping[str, Outcome]:
        """Cancel, freeze or thaw jobs; return one outcome for each id."""

    async def find(self, wanted: JobFilter) -> Sequence[JobStatus]:
        """Return the jobs that a filter describes, newest first."""

    async def plan_of(self, job_id: str) -> Plan:
        """Return what a job was submitted with, as far as it is recorded. Raises JobNotFound."""

    async def results(self, status: JobStatus) -> Mapping[str, bytes]:
        """Return the result files that a job that has ended has left, by suffix: see `KINDS`."""

    def note_exit_code(self, job_id: str, exit_code: int) -> None:
        """Take note of the exit code that the result files of a job hold."""

    async def read_stream(self, job_id: str, name: str, start: int) -> bytes:
        """Return what a job has written to ``stdout`` or ``stderr`` from an offset on, running or ended."""

    async def prune(self, before: datetime, *, records: bool) -> int:
        """Remove what aiomig keeps for jobs that ended before a time; see `Session.prune`."""

    def own_jobs(self) -> Iterable[str]:
        """Return the ids of the unfinished jobs that this session submitted."""

    async def live(
        self, job_id: str, action: Literal["send", "get"], sources: Sequence[str], destination: str | None
    ) -> None:
        """Pass files between a running job and the home; see `Job.send_live` and `Job.get_live`.

        Args:
            job_id: the job.
            action: ``"send"`` from the job to the home, or ``"get"`` from the home to the job.
            sources: the files; for ``"send"`` none means what it has written so far.
            destination: the directory; ``None`` only if there are no sources.

        Raises:
            JobNotFound, ActionRefused: there is no such job, or it does not run.
        """

    async def call(self, operation: str, fields: Sequence[tuple[str, str]]) -> list[dict[str, object]]:
        """Run any operation of the server; return the objects of its response. Raises LocalError in local mode."""


def not_running(status: JobStatus) -> Outcome:
    """Return why files cannot pass between a job and the home."""
    return Outcome(status.job_id, status.state, None, f"it is not currently being executed; it is {status.native}")


async def cancel_shielded(backend: Backend, job_ids: Sequence[str], seconds: float) -> None:
    """Cancel jobs that nobody waits for any more, even if the caller is cancelled. Log a failure.

    Until the jobs are known to be canceled, `Backend.unconfirmed` lists them.

    Args:
        backend: of the jobs.
        job_ids: the jobs; those that have ended stay as they are.
        seconds: the longest time that it may take.
    """
    if not job_ids:
        return
    backend.disown(job_ids)
    reason = f"no answer within {seconds:g} s"

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
    """A file that goes into the home.

    Attributes:
        source: the file of this machine, or the content itself.
        path: where it goes in the home.
        size: its bytes; 0 also if that is not known before it is read.
    """

    source: Path | bytes
    path: str
    size: int


@dataclass(frozen=True, slots=True)
class GetFile:
    """A file of the home that goes to this machine.

    Attributes:
        info: the file in the home.
        destination: the file of this machine, in an existing directory.
    """

    info: FileInfo
    destination: Path


class HomeBackend(Protocol):
    """The MiG home of the user.

    All paths are normalised by `aiomig._core.paths.home_path` and hold no pattern; paths that `listing` returned may
    hold any character. New names were checked by `check_characters`, and their parent directories exist. Methods may
    be called at the same time, for other paths and for the same one.
    """

    async def stat(self, path: str) -> FileInfo | None:
        """Return what is there; ``None`` if nothing is, or if a part of the path is a file."""

    async def stat_many(self, paths: Sequence[str]) -> dict[str, FileInfo]:
        """Return what is there by path, without the paths where nothing is; in few requests."""

    async def listing(self, path: str, *, recursive: bool = False) -> list[FileInfo]:
        """Return the entries of a directory in any order, with dot names and without what MiG hides.

        For a file: itself alone. ``recursive`` adds everything below.

        Raises:
            FileNotFound: nothing is there.
        """

    async def make_directories(self, paths: Sequence[str]) -> None:
        """Make directories in the order given, parents first; those that exist are fine.

        Raises:
            FileExists: a file is in the way; its ``path`` says which.
        """

    def read(self, path: str, start: int = 0, end: int | None = None) -> AsyncGenerator[bytes, None]:
        """Yield the bytes of a file from ``start`` up to but not including ``end``, as far as there are any.

        The caller closes the generator, finished or not.

        Raises:
            FileNotFound: nothing is there.
            PathRefused: it is a directory.
        """

    async def write(self, path: str, content: AsyncIterable[bytes], size: int | None) -> None:
        """Make or replace a file, atomically: with all bytes of ``content``, or not at all.

        ``size`` is their number, or ``None`` if that is not known before they have come.

        Raises:
            PathRefused: a directory is there.
        """

    async def put_file(self, source: Path, path: str, size: int, report: Callable[[int], object]) -> None:
        """Make or replace a file, atomically, with the bytes of a file of this machine.

        Args:
            source: the local file.
            path: the file of the home.
            size: how many bytes the source has; 0 if that is not known before it is read.
            report: called with the bytes of each piece.

        Raises:
            LocalError: the source has become shorter.
        """

    async def get_file(self, info: FileInfo, destination: Path, report: Callable[[int], object]) -> None:
        """Make or replace a file of this machine, atomically, with the bytes of a file of the home."""

    async def put_files(
        self, folders: Sequence[str], files: Sequence[PutFile], report: Callable[[int], object]
    ) -> None:
        """Make directories, and make or replace files, each atomically; in few requests.

        Args:
            folders: parents first, with all that the files need; those that exist are fine.
            files: the files.
            report: called with the bytes of each piece; with a negative number if they have to go once more.

        Raises:
            FileExists: a file is in the place of a directory.
            PathRefused: a directory is in the place of a file.
            LocalError: a source has become shorter.
        """

    async def get_files(self, files: Sequence[GetFile], folder: str | None, report: Callable[[int], object]) -> None:
        """Make or replace files of this machine, each atomically, with those of the home; in few requests.

        Args:
            files: the files.
            folder: a directory of the home that holds these files and nothing else, if there is one.
            report: as for `put_files`.
        """

    async def write_range(self, path: str, start: int, data: bytes) -> None:
        """Write into an existing file at a position; a gap behind its present end becomes zero bytes.

        Raises:
            FileNotFound: nothing is there.
            PathRefused: it is a directory.
        """

    async def touch(self, path: str) -> None:
        """Set the time to now, or make an empty file."""

    async def truncate(self, path: str, size: int) -> None:
        """Cut an existing file, or lengthen it with zero bytes. Raises as `write_range`."""

    async def copy(self, source: str, destination: str) -> None:
        """Copy a file onto a new name or another file, or a directory with all it holds onto a new name."""

    async def move(self, source: str, destination: str) -> None:
        """Rename a file onto a new name or another file, or a directory onto a new name."""

    async def remove(self, path: str, *, recursive: bool) -> None:
        """Remove for good, without the trash.

        Raises:
            FileNotFound: nothing is there.
            PathRefused: it is a directory and ``recursive`` is false.
        """

    async def remove_directory(self, path: str) -> None:
        """Remove an empty directory.

        Raises:
            FileNotFound: nothing is there.
            FileExists: it is not empty.
            PathRefused: it is a file.
        """

    async def checksum(self, path: str, algorithm: str) -> str:
        """Return the checksum of the whole file in lower-case hexadecimal. Raises as `read`."""

    async def pack(self, source: str, archive: str) -> None:
        """Make an archive of one file or directory; the names in it begin with the name of the source."""

    async def unpack(self, archive: str, destination: str) -> None:
        """Unpack an archive into an existing directory, replacing files of the same names."""


class QueueBackend(Protocol):
    """The message queues of the user. Names, ids and messages were checked."""

    async def names(self) -> list[str]:
        """Return the names of all queues, sorted."""

    async def create(self, name: str, *, exist_ok: bool) -> None:
        """Make a queue. Raises FileExists."""

    async def remove(self, name: str, *, missing_ok: bool) -> None:
        """Remove a queue with its messages. Raises FileNotFound."""

    async def ids(self, name: str) -> list[str]:
        """Return the ids of the messages, the next one first. Raises FileNotFound."""

    async def send(self, name: str, message_id: str, message: str) -> None:
        """Add a message. Raises FileNotFound."""

    async def next(self, name: str, *, take: bool) -> str | None:
        """Return the next message; remove it only with ``take``. Raises FileNotFound."""
