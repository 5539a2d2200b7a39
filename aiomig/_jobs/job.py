"""`Job`: the handle on one job."""

from __future__ import annotations

from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, ClassVar, NoReturn, Protocol

from .._core.display import html_rows
from .._core.errors import ActionRefused, JobNotFound, MigError, PathRefused, ResultsMissing, SpecError
from .._core.models import Fault, JobState
from .._core.paths import check_characters, home_path, job_path, name_of
from .._core.validation import is_count
from .._spec.values import Remote
from .handle import JobHandle
from .outputs import arrived_outputs, fetch_outputs
from .results import raise_for
from .tail import Tail
from .watch import Watch

if TYPE_CHECKING:
    import os
    from collections.abc import Generator, Iterable
    from typing import Any, Self

    from .._backend import Action, Backend
    from .._core.models import JobResult, Outcome
    from .._core.paths import FileInfo, HomePath
    from .._home.files import Files
    from .._home.transfer import Progress
    from .._spec.jobspec import JobSpec
    from .._spec.plan import Plan
    from .tail import Stream


class JobOwner(Protocol):
    """The parts of a session that a `Job` uses."""

    backend: Backend
    files: Files

    async def resubmit(self, plan: Plan, spec: JobSpec | None) -> Job:
        """Submit a job again."""
        ...


class Job(JobHandle):
    """A handle on one job. Made by `Session.submit`, or by `Session.job` for any job id, without I/O.

    ``await job`` waits until the job ends and returns a `JobResult`, or raises an error if the job failed.
    ``async for status in job`` yields the current status and then each change. Cancelling a wait never cancels the job.

    Example::

        job = session.job("7_11_23_2026__14_20_11_grid.example.org.0")      # from last week
        try:
            result = await job
        except aiomig.CommandFailed as error:
            print(error.command, error.exit_code)

    Attributes:
        id: the job id that the grid assigned.
        spec: the submitted description, or ``None`` if this program did not submit the job.
        parameter: the parameter of the sweep that submitted the job, or ``None``.
        attempts: with ``retries`` of a sweep, the ids of all jobs that this run submitted for the parameter: first
            those that failed, and last this job. Otherwise, the id of this job.
    """

    __slots__ = ("_owner", "attempts", "parameter", "spec")

    def __init__(self, owner: JobOwner, job_id: str, *, spec: JobSpec | None = None, plan: Plan | None = None) -> None:
        super().__init__(owner.backend, job_id, plan)
        self._owner = owner
        self.spec: JobSpec | None = spec
        self.parameter: Any = None
        self.attempts: tuple[str, ...] = (job_id,)

    def __repr__(self) -> str:
        return f"<Job {self.id} ({self.backend.mode})>"

    _HTML_HEAD: ClassVar[tuple[str, ...]] = ("job", "name", "commands", "parameter", "mode")

    def _html_row(self) -> tuple[object, ...]:
        name, commands = (self.spec.name, "\n".join(self.spec.commands)) if self.spec is not None else (None, None)
        return self.id, name, commands, self.parameter, self.backend.mode

    def _repr_html_(self) -> str:
        return html_rows([self])

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Job):
            return NotImplemented
        return self.id == other.id and self.backend is other.backend

    def __hash__(self) -> int:
        return hash(self.id)

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: object) -> Self:
        return self  # a copy of a container of jobs contains the same jobs

    def __reduce__(self) -> NoReturn:
        raise TypeError("a Job belongs to a session and cannot be pickled: pickle job.id, and use session.job(job_id)")

    def __await__(self) -> Generator[Any, Any, JobResult]:
        return self.result().__await__()

    def __aiter__(self) -> Watch:
        return Watch(self.backend, [self.id])

    # -- actions

    async def cancel(self) -> Outcome:
        """Cancel the job. A job that has already ended stays unchanged, without an error: see `Outcome.changed`.

        Raises:
            JobNotFound: no job of this user has this id.
        """
        return await self._act("cancel")

    async def freeze(self) -> Outcome:
        """Hold back the queued job until `thaw`.

        Raises:
            ActionRefused: the job is not QUEUED.
            JobNotFound: no job of this user has this id.
        """
        return self._ensure_changed(await self._act("freeze"))

    async def thaw(self) -> Outcome:
        """Put a frozen job back into the queue.

        Raises:
            ActionRefused: the job is not FROZEN.
            JobNotFound: no job of this user has this id.
        """
        return self._ensure_changed(await self._act("thaw"))

    async def _act(self, action: Action) -> Outcome:
        outcome = (await self._usable_backend.act(action, [self.id]))[self.id]
        if outcome.before is None:
            raise JobNotFound(self.id, outcome.message or "no such job")
        return outcome

    @staticmethod
    def _ensure_changed(outcome: Outcome) -> Outcome:
        if not outcome.changed:
            raise ActionRefused(outcome)
        return outcome

    async def resubmit(self) -> Job:
        """Submit the job again, as a new job with its own outputs.

        Cancelling this before the new job is created creates none.

        Returns:
            The new job.

        Raises:
            JobNotFound: no job of this user has this id.
            SubmitRejected: the grid refuses the new job.
            GridError: the grid could not be reached.
        """
        self.backend.tasks.ensure_own_loop()
        return await self._owner.resubmit(await self.plan(), self.spec)

    # -- output

    async def stdout(self, *, wait: bool = True) -> str:
        """Return the standard output of the commands as text. Invalid UTF-8 is replaced.

        Args:
            wait: wait until the job ends. With False, return what the job has written so far.

        Raises:
            JobNotFound: no job of this user has this id.
            GridError: the request to the grid failed.
        """
        return (await self.stdout_bytes(wait=wait)).decode("utf-8", "replace")

    async def stderr(self, *, wait: bool = True) -> str:
        """Return the standard error of the commands; see `stdout`.

        Local mode keeps the output of failed attempts; a grid discards it.
        """
        return (await self.stderr_bytes(wait=wait)).decode("utf-8", "replace")

    async def stdout_bytes(self, *, wait: bool = True) -> bytes:
        """Return the standard output as bytes; see `stdout`."""
        return await self._stream("stdout", wait=wait)

    async def stderr_bytes(self, *, wait: bool = True) -> bytes:
        """Return the standard error as bytes; see `stderr`."""
        return await self._stream("stderr", wait=wait)

    async def _stream(self, name: Stream, *, wait: bool) -> bytes:
        if self._result is not None and self._result.reported:
            return self._result.stdout_bytes if name == "stdout" else self._result.stderr_bytes
        if wait:
            await self.wait()
        return await self._usable_backend.read_stream(self.id, name, 0)

    def tail(self, stream: Stream = "stdout", *, skip: int = 0) -> Tail:
        """Follow the output of the job. Leaving or cancelling the loop does not affect the job.

        Example::

            async for line in job.tail("stderr"):
                print(line)

        Args:
            stream: ``"stdout"`` or ``"stderr"``.
            skip: the number of lines to leave out, for example lines that were read before.

        Returns:
            An async iterator of lines without line ends. It ends when the job has ended.
        """
        if stream not in ("stdout", "stderr"):
            raise ValueError(f"stream={stream!r}: no such stream; use 'stdout' or 'stderr'")
        if skip != 0 and not is_count(skip):
            raise ValueError(f"skip={skip!r}: not a number of lines; give 0 or more")
        return Tail(self.backend, self.id, stream, skip)

    async def send_live(
        self, sources: HomePath | Iterable[HomePath] = (), destination: HomePath | None = None
    ) -> tuple[str, ...]:
        """Have the running job copy files into the home before it ends.

        A grid copies them 20 to 100 seconds later, and does not report files that do not exist. It accepts one request
        per job and minute; this method waits until the next one is allowed. Local mode copies the files at once.

        Example::

            (path,) = await job.send_live("checkpoint.dat", "checkpoints")
            # … after a while on a grid:
            await session.files.get(path, ".")

        Args:
            sources: files of the job, as paths in its directory. The default is standard output and error.
            destination: a directory of the home, created if it is missing. The default is the directory of the job's
                results.

        Returns:
            The paths in the home at which the files appear, directly in the destination.

        Raises:
            ActionRefused: the job is not EXECUTING.
            JobNotFound: no job of this user has this id.
            FileNotFound: in local mode: the job has no such file.
            PathRefused: a path is outside the job's directory or the home.
            GridError: the request to the grid failed.
        """
        files = [job_path(source) for source in _as_list(sources)]
        folder = f"job_output/{self.id}"
        if destination is not None:
            folder = home_path(destination)
            check_characters(folder)
        names = [name_of(path) for path in files] or [f"{self.id}.stdout", f"{self.id}.stderr"]
        target = folder if files or destination is not None else None
        await self._usable_backend.live(self.id, "send", files, target)
        return tuple(home_path(f"{folder}/{name}") for name in names)

    async def get_live(self, sources: HomePath | Iterable[HomePath], destination: HomePath = ".") -> tuple[str, ...]:
        """Copy files of the home to the running job; the reverse of `send_live`.

        Args:
            sources: files of the home.
            destination: a directory below the job's directory, created if it is missing.

        Returns:
            The paths in the job's directory at which the files appear.

        Raises:
            FileNotFound: a source does not exist.
            ActionRefused, JobNotFound, PathRefused, GridError: as for `send_live`.
        """
        paths = [home_path(source) for source in _as_list(sources)]
        if not paths:
            raise SpecError([Fault("sources", sources, "nothing to send to the job", "give files of the home")])
        folder = job_path(destination)
        for path in paths:
            if (await self._owner.files.stat(path)).is_dir:
                raise PathRefused(path, "a directory; give files")
        await self._usable_backend.live(self.id, "get", paths, folder)
        return tuple(str(PurePosixPath(folder) / name_of(path)) for path in paths)

    def output(self, name: str) -> Remote:
        """Return an output of this job as an input of another one, without downloading it. No I/O.

        Example::

            first = await session.submit("./simulate > trace", outputs=["trace"])
            await first
            second = await session.submit("./analyse trace", inputs=[first.output("trace")])

        Args:
            name: the name of the output in the job.

        Raises:
            MigError: there is no such output, or this handle was made from an id and has not loaded its plan;
                ``await job.plan()`` loads it.
        """
        if self._plan is None:
            raise MigError(f"the outputs of job {self.id} are not loaded; await job.plan() first")
        for output in self._plan.outputs:
            if output.name == name:
                return Remote(output.path, PurePosixPath(name).name)
        names = ", ".join(repr(output.name) for output in self._plan.outputs) or "none"
        raise MigError(f"job {self.id} has no output {name!r}; it has {names}")

    async def outputs(self) -> list[FileInfo]:
        """Return the declared outputs that are in the MiG home, with their sizes, in the order of the description.

        Raises:
            JobNotFound: no job of this user has this id.
            GridError: the request to the grid failed.
        """
        return list((await arrived_outputs(self.backend.home, (await self.plan()).outputs)).values())

    async def fetch(
        self, folder: str | os.PathLike[str] = ".", *, check: bool = True, progress: Progress | None = None
    ) -> list[Path]:
        """Wait until the job ends, then download its outputs.

        Each output is written atomically to its destination below ``folder`` and replaces an existing file. Outputs
        with a destination in the MiG home or with a URL are not downloaded. Cancelling this keeps the outputs that
        have arrived.

        Example::

            job = await session.submit("./fit data.csv > out.txt", outputs=["out.txt", ("fit.png", "plots/7.png")])
            out, plot = await job.fetch("results/")     # results/out.txt and results/plots/7.png

        Args:
            folder: the local directory for the outputs, created if it is missing.
            check: after downloading the available outputs, raise if the job was not successful.
            progress: called with the number of bytes downloaded and the total number.

        Returns:
            The local paths, in the order of ``outputs``.

        Raises:
            ResultsMissing: some outputs did not arrive; the others were downloaded.
            JobError: see `result`.
        """
        outcome = await self.result(check=False)
        plan = await self.plan()
        outputs = plan.outputs if outcome.status.state is JobState.FINISHED else ()
        fetched = await fetch_outputs(self.backend.home, outputs, Path(folder), progress)
        if check:
            raise_for(self.id, outcome, plan)
            if fetched.missing:
                raise ResultsMissing(
                    self.id,
                    fetched.missing,
                    arrived=fetched.arrived,
                    staging=outcome.staging,
                    status=outcome.status,
                    result=outcome,
                )
        return fetched.paths

    async def clean(self, *, results: bool = False) -> None:
        """Remove the private directory of inputs and outputs that aiomig created in the MiG home for this job.

        Args:
            results: also remove the grid's own directory with the job's output and exit codes.
        """
        plan = await self.plan()
        if plan.folder is not None:
            await self._owner.files.remove(plan.folder, recursive=True, missing_ok=True)
        if results:
            await self._owner.files.remove(f"job_output/{self.id}", recursive=True, missing_ok=True)


def _as_list(paths: HomePath | Iterable[HomePath]) -> list[HomePath]:
    return [paths] if isinstance(paths, str | PurePosixPath) else list(paths)
