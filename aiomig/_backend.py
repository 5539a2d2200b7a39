"""What a mode must be able to do: the one seam between the API and the grid or this machine.

What the two modes give `aiomig._home.files.Files` to work with: values and the contract, no I/O.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, Protocol

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterable, Callable, Iterable, Mapping, Sequence
    from pathlib import Path

    from ._core.errors import MigError
    from ._core.models import CheckReport, FileInfo, JobStatus, Outcome, Site, Unconfirmed
    from ._core.subscriptions import Subscriptions
    from ._core.tasks import SessionTasks
    from ._spec.mrsl import Description
    from ._spec.plan import Plan

Action = Literal["cancel", "freeze", "thaw"]


class Backend(Protocol):
    """One open mode. Methods may be called by many tasks at once."""

    mode: Literal["grid", "local"]
    home: HomeBackend
    queues: QueueBackend
    subscriptions: Subscriptions
    tasks: SessionTasks
    look_again: float
    """Seconds between two looks at the growing output of a job."""

    async def open(self) -> None:
        """Does what can fail early."""

    async def close(self, error: BaseException | None) -> None:
        """Ends, in the task that opened; ``error`` comes out of the session's block."""

    async def review(self, description: Description) -> CheckReport:
        """What would be said of a description if it were submitted; changes nothing."""

    async def feasibility(self, job_id: str) -> CheckReport:
        """Whether something could run a job that is there and waits. Raises JobNotFound."""

    async def site(self) -> Site:
        """What the mode says of itself."""

    async def submit(self, plan: Plan) -> str:
        """Makes a job of a plan whose uploads are in the home; its id. Never repeated on its own."""

    async def submit_many(self, plans: Sequence[Plan]) -> Sequence[str | MigError]:
        """Makes jobs of plans in as few requests as can be: of each its id, or why there is none, in order."""

    def abandon(self, job_ids: Sequence[str]) -> None:
        """Cancels jobs soon, without waiting and without a word; for use where nothing can be awaited."""

    async def find_by_marker(self, marker: str, project: str | None = None) -> Sequence[str]:
        """The ids of the jobs that bear the mark of a submit that was not answered.

        Args:
            marker: the mark.
            project: the PROJECT that the user gave the job, ``""`` for none, ``None`` where that is not known.
        """

    async def unconfirmed(self) -> Sequence[Unconfirmed]:
        """What was submitted, here or in an earlier session, and is not known to have made a job or not."""

    def confirm(self, markers: Iterable[str]) -> None:
        """Takes the submits of these marks for settled."""

    async def statuses(self, job_ids: Sequence[str]) -> Mapping[str, JobStatus]:
        """What is known of these jobs now; those that are not known are left out."""

    async def present(self, job_ids: Sequence[str]) -> Mapping[str, JobStatus]:
        """What is known of watched jobs at once; the others are published as soon as they are known."""

    async def act(self, action: Action, job_ids: Sequence[str]) -> Mapping[str, Outcome]:
        """Cancels, freezes or thaws jobs; one outcome for each id."""

    async def find(self, pattern: str, newest: int | None) -> Sequence[JobStatus]:
        """The jobs whose ids match a pattern of ``*`` and ``?``, newest first, at most so many."""

    async def plan_of(self, job_id: str) -> Plan:
        """What a job was submitted with, as far as it is recorded. Raises JobNotFound."""

    async def results(self, status: JobStatus) -> Mapping[str, bytes]:
        """The result files that are there of a job that has ended, by suffix: see `_results.KINDS`."""

    async def read_stream(self, job_id: str, name: str, start: int) -> bytes:
        """What a job has written to ``stdout`` or ``stderr`` from an offset on, running or ended."""

    def own_jobs(self) -> Iterable[str]:
        """The ids of the unfinished jobs that this session submitted."""


class HomeBackend(Protocol):
    """The home as one mode reaches it.

    All paths are normalised by `aiomig._core.paths.home_path` and hold no pattern, apart from what `listing`
    itself gave, which may hold any character. Whatever names something new was checked by
    `check_characters`, and its parent directory exists. Methods may be called at the same time, for other
    paths and for the same one.
    """

    async def stat(self, path: str) -> FileInfo | None:
        """What is there; ``None`` where nothing is, also where a part of the path is a file."""
        ...

    async def listing(self, path: str, *, recursive: bool = False) -> list[FileInfo]:
        """The entries of a directory in any order, dot names included, what MiG hides left out.

        For a file: itself alone. ``recursive`` adds everything below.

        Raises:
            FileNotFound: nothing is there.
        """
        ...

    async def make_directories(self, paths: Sequence[str]) -> None:
        """Make directories in the order given, parents first; those that exist are fine.

        Raises:
            FileExists: a file is in the way; its ``path`` says which.
        """
        ...

    def read(self, path: str, start: int = 0, end: int | None = None) -> AsyncGenerator[bytes, None]:
        """The bytes of a file from ``start`` up to but not including ``end``, as far as there are any.

        The caller closes the generator, finished or not.

        Raises:
            FileNotFound: nothing is there.
            PathRefused: it is a directory.
        """
        ...

    async def write(self, path: str, content: AsyncIterable[bytes], size: int) -> None:
        """Make or replace a file, atomically: with all ``size`` bytes of ``content``, or not at all.

        Raises:
            PathRefused: a directory is there.
        """
        ...

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
        ...

    async def get_file(self, info: FileInfo, destination: Path, report: Callable[[int], object]) -> None:
        """Make or replace a file of this machine, atomically, with the bytes of a file of the home."""
        ...

    async def write_range(self, path: str, start: int, data: bytes) -> None:
        """Write into an existing file at a position; a gap behind its present end becomes zero bytes.

        Raises:
            FileNotFound: nothing is there.
            PathRefused: it is a directory.
        """
        ...

    async def touch(self, path: str) -> None:
        """Set the time to now, or make an empty file."""
        ...

    async def truncate(self, path: str, size: int) -> None:
        """Cut an existing file, or lengthen it with zero bytes. Raises as `write_range`."""
        ...

    async def copy(self, source: str, destination: str) -> None:
        """Copy a file onto a new name or another file, or a directory with all it holds onto a new name."""
        ...

    async def move(self, source: str, destination: str) -> None:
        """Rename a file onto a new name or another file, or a directory onto a new name."""
        ...

    async def remove(self, path: str, *, recursive: bool) -> None:
        """Remove for good, without the trash.

        Raises:
            FileNotFound: nothing is there.
            PathRefused: it is a directory and ``recursive`` is false.
        """
        ...

    async def remove_directory(self, path: str) -> None:
        """Remove an empty directory.

        Raises:
            FileNotFound: nothing is there.
            FileExists: it is not empty.
            PathRefused: it is a file.
        """
        ...

    async def checksum(self, path: str, algorithm: str) -> str:
        """The checksum of the whole file in lower-case hexadecimal. Raises as `read`."""
        ...

    async def pack(self, source: str, archive: str) -> None:
        """Make an archive of one file or directory; the names in it begin with the name of the source."""
        ...

    async def unpack(self, archive: str, destination: str) -> None:
        """Unpack an archive into an existing directory, replacing files of the same names."""
        ...


KINDS: tuple[str, ...] = ("stdout", "stderr", "io-status", "status")
"""The suffixes of the four files in ``job_output/ID/``, in the order of their arrival (mig-protocol 5.4)."""


class QueueBackend(Protocol):
    """The queues as one mode reaches them. Names, ids and messages were checked."""

    async def names(self) -> list[str]:
        """All queues, sorted."""
        ...

    async def create(self, name: str, *, exist_ok: bool) -> None:
        """Makes a queue. Raises FileExists."""
        ...

    async def remove(self, name: str, *, missing_ok: bool) -> None:
        """Removes a queue with its messages. Raises FileNotFound."""
        ...

    async def ids(self, name: str) -> list[str]:
        """The ids of the messages, the next one first. Raises FileNotFound."""
        ...

    async def send(self, name: str, message_id: str, message: str) -> None:
        """Adds a message. Raises FileNotFound."""
        ...

    async def next(self, name: str, *, take: bool) -> str | None:
        """The next message, which stays where it is unless it is taken. Raises FileNotFound."""
        ...
