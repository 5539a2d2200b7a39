"""`Job`: a handle on one job, wherever and whenever it runs.

Downloading the outputs of a job.
"""

from __future__ import annotations

from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, ClassVar, NamedTuple

from .._core.display import html_rows
from .._core.errors import ActionRefused, FileNotFound, JobNotFound, MigError, PathRefused, ResultsMissing
from .._core.models import JobState
from .._home.transfer import Meter
from .._spec.values import Remote
from .results import raise_for, result, staging_faults
from .tail import Tail
from .watch import Watch, final_status

if TYPE_CHECKING:
    import os
    from collections.abc import Awaitable, Callable, Generator, Iterable
    from typing import Any

    from .._backend import Action, Backend
    from .._core.models import JobResult, JobStatus, Outcome
    from .._home.files import FileInfo, Files
    from .._home.transfer import Progress
    from .._spec.jobspec import JobSpec
    from .._spec.plan import Plan, PlannedOutput
    from .tail import Stream


class Work:
    """What a `Job` needs of its session: the mode, the files, and a way to submit again."""

    __slots__ = ("backend", "files", "resubmit")

    def __init__(
        self, backend: Backend, files: Files, resubmit: Callable[[Plan, JobSpec | None], Awaitable[Job]]
    ) -> None:
        self.backend: Backend = backend
        self.files: Files = files
        self.resubmit: Callable[[Plan, JobSpec | None], Awaitable[Job]] = resubmit


class Job:
    """One job. Made by `Session.submit`, or by `Session.job` for any id; making one does no I/O.

    ``await job`` waits for the end and gives a `JobResult`, or raises what went wrong. ``async for status in job``
    gives the present status and then each change. Cancelling whatever waits here never cancels the job.

    Example::

        job = session.job("7_11_23_2026__14_20_11_grid.example.org.0")      # from last week
        try:
            result = await job
        except aiomig.CommandFailed as error:
            print(error.command, error.exit_code)

    Attributes:
        id: the job's id, as the grid gave it.
        spec: what was submitted, where this program knows it; else ``None``.
        parameter: what a sweep made it for; else ``None``.
    """

    __slots__ = ("_plan", "_work", "id", "parameter", "spec")

    def __init__(self, work: Work, job_id: str, *, spec: JobSpec | None = None, plan: Plan | None = None) -> None:
        self._work = work
        self._plan = plan
        self.id: str = job_id
        self.spec: JobSpec | None = spec
        self.parameter: Any = None

    @property
    def backend(self) -> Backend:
        """The mode that it runs in; for aiomig's own use."""
        return self._work.backend

    def __repr__(self) -> str:
        return f"<Job {self.id} ({self._work.backend.mode})>"

    _HTML_HEAD: ClassVar[tuple[str, ...]] = ("job", "name", "commands", "parameter", "mode")

    def _html_row(self) -> tuple[object, ...]:
        name, commands = (self.spec.name, "\n".join(self.spec.commands)) if self.spec is not None else (None, None)
        return self.id, name, commands, self.parameter, self._work.backend.mode

    def _repr_html_(self) -> str:
        return html_rows([self])

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Job):
            return NotImplemented
        return self.id == other.id and self._work.backend is other._work.backend

    def __hash__(self) -> int:
        return hash(self.id)

    def __await__(self) -> Generator[Any, Any, JobResult]:
        return self.result().__await__()

    def __aiter__(self) -> Watch:
        return Watch(self._work.backend, [self.id])

    # -- its state

    async def status(self) -> JobStatus:
        """Asks now.

        Raises:
            JobNotFound: no job of this user has this id.
            GridError: the grid could not be asked.
        """
        status = (await self._work.backend.statuses([self.id])).get(self.id)
        if status is None:
            raise JobNotFound(self.id)
        return status

    async def wait(self) -> JobStatus:
        """Waits for the end, whatever it is; does not raise when the job failed.

        Returns:
            The final status.

        Raises:
            JobNotFound: no job of this user has this id.
            GridError: the grid could not be asked for too long.
        """
        return await final_status(self._work.backend, self.id)

    async def result(self, *, check: bool = True) -> JobResult:
        """Waits for the end.

        Args:
            check: raise where the job did not end well; with False give what there is, whatever happened.

        Returns:
            States, exit codes and output of the job.

        Raises:
            CommandFailed: a command exited with something other than 0.
            JobFailed: the grid gave up: ``status.attempts`` has the reasons.
            JobCanceled: the job was canceled.
            JobExpired: it waited for too long.
            ResultsMissing: it is FINISHED, but no exit codes arrived.
            JobNotFound: no job of this user has this id.
            GridError: the grid could not be asked for too long.
        """
        status = await self.wait()
        files = await self._work.backend.results(status)
        plan = await self.plan()
        found = result(
            status, files, plan.description.lines("EXECUTE"), before=plan.prologue_lines, after=plan.epilogue_lines
        )
        if check:
            raise_for(self.id, found, plan.description)
        return found

    # -- acting on it

    async def _act(self, action: Action) -> Outcome:
        outcome = (await self._work.backend.act(action, [self.id]))[self.id]
        if outcome.before is None:
            raise JobNotFound(self.id, outcome.message or "no such job")
        return outcome

    async def cancel(self) -> Outcome:
        """Cancels the job. One that has ended stays as it is, and that is no error: see `Outcome.changed`.

        Raises:
            JobNotFound: no job of this user has this id.
        """
        return await self._act("cancel")

    async def freeze(self) -> Outcome:
        """Holds the job back while it waits in the queue.

        Raises:
            ActionRefused: it is not QUEUED.
            JobNotFound: no job of this user has this id.
        """
        return self._required(await self._act("freeze"))

    async def thaw(self) -> Outcome:
        """Puts a frozen job back into the queue.

        Raises:
            ActionRefused: it is not FROZEN.
            JobNotFound: no job of this user has this id.
        """
        return self._required(await self._act("thaw"))

    @staticmethod
    def _required(outcome: Outcome) -> Outcome:
        if not outcome.changed:
            raise ActionRefused(outcome)
        return outcome

    async def resubmit(self) -> Job:
        """Submits the same again, as a new job with outputs of its own.

        Cancelled before the new job is made, it makes none.

        Returns:
            The new job.

        Raises:
            JobNotFound: no job of this user has this id.
            SubmitRejected: the grid refuses it now.
            GridError: the grid could not be reached.
        """
        return await self._work.resubmit(await self.plan(), self.spec)

    # -- its output

    async def stdout(self, *, wait: bool = True) -> str:
        """What the commands wrote to standard output, as text; bytes that are not UTF-8 are replaced.

        Args:
            wait: wait for the end of the job; with False give what there is by now.

        Raises:
            JobNotFound: no job of this user has this id.
            GridError: the grid could not be asked.
        """
        return (await self.stdout_bytes(wait=wait)).decode("utf-8", "replace")

    async def stderr(self, *, wait: bool = True) -> str:
        """The same for standard error. After a FAILED attempt local mode has it too; a grid throws it away."""
        return (await self.stderr_bytes(wait=wait)).decode("utf-8", "replace")

    async def stdout_bytes(self, *, wait: bool = True) -> bytes:
        """As `stdout`, byte for byte."""
        return await self._stream("stdout", wait=wait)

    async def stderr_bytes(self, *, wait: bool = True) -> bytes:
        """As `stderr`, byte for byte."""
        return await self._stream("stderr", wait=wait)

    async def _stream(self, name: Stream, *, wait: bool) -> bytes:
        if wait:
            await self.wait()
        return await self._work.backend.read_stream(self.id, name, 0)

    def tail(self, stream: Stream = "stdout") -> Tail:
        """Follows what the job writes. Leaving the loop, or cancelling it, does nothing to the job.

        Example::

            async for line in job.tail("stderr"):
                print(line)

        Args:
            stream: ``"stdout"`` or ``"stderr"``.

        Returns:
            An iterator of lines without their ends, which ends with the job.
        """
        if stream not in ("stdout", "stderr"):
            raise ValueError(f"stream={stream!r}: no such stream; use 'stdout' or 'stderr'")
        return Tail(self._work.backend, self.id, stream)

    async def plan(self) -> Plan:
        """What the grid was told, and where the outputs are. Asked for once, where this program does not know it.

        Raises:
            JobNotFound: no job of this user has this id.
        """
        if self._plan is None:
            self._plan = await self._work.backend.plan_of(self.id)
        return self._plan

    def output(self, name: str) -> Remote:
        """An output of this job as an input of another, without downloading it. No I/O.

        Example::

            first = await session.submit("./simulate > trace", outputs=["trace"])
            await first
            second = await session.submit("./analyse trace", inputs=[first.output("trace")])

        Args:
            name: the name of the output in the job.

        Raises:
            MigError: there is no such output, or this handle was made from an id and knows nothing yet:
                ``await job.plan()`` asks.
        """
        if self._plan is None:
            raise MigError(f"job {self.id}: its outputs are not known here yet; await job.plan() first")
        for each in self._plan.outputs:
            if each.name == name:
                return Remote(each.path, PurePosixPath(name).name)
        names = ", ".join(repr(each.name) for each in self._plan.outputs) or "none"
        raise MigError(f"job {self.id} has no output {name!r}; it has {names}")

    async def fetch(
        self, folder: str | os.PathLike[str] = ".", *, check: bool = True, progress: Progress | None = None
    ) -> list[Path]:
        """Waits for the end, then downloads the outputs.

        Each output goes to its destination below the folder, whole or not at all; what is there is replaced.
        Outputs whose destination is in the MiG home, or a URL, stay there. Cancelled, it leaves those that have
        arrived.

        Example::

            job = await session.submit("./fit data.csv > out.txt", outputs=["out.txt", ("fit.png", "plots/7.png")])
            out, plot = await job.fetch("results/")     # results/out.txt and results/plots/7.png

        Args:
            folder: where to put them on this machine; made where it is missing.
            check: raise where the job did not end well, after what there is was downloaded.
            progress: called with the bytes done and the bytes in all.

        Returns:
            The local paths, in the order of ``outputs``.

        Raises:
            ResultsMissing: outputs did not arrive; the others were downloaded.
            JobError: see `result`.
        """
        found = await self.result(check=False)
        plan = await self.plan()
        outputs = plan.outputs if found.status.state is JobState.FINISHED else ()
        arrived, missing, paths = await fetch_outputs(self._work.files, outputs, Path(folder), progress)
        if check:
            raise_for(self.id, found, plan.description)
            if missing:
                staging = staging_faults(found, plan.description)
                raise ResultsMissing(
                    self.id, missing, arrived=arrived, staging=staging, status=found.status, result=found
                )
        return paths

    async def clean(self, *, results: bool = False) -> None:
        """Removes what aiomig put into the MiG home for this job: its private folder of inputs and outputs.

        Args:
            results: remove the grid's own folder with its output and exit codes, too.
        """
        plan = await self.plan()
        if plan.folder is not None:
            await self._work.files.remove(plan.folder, recursive=True, missing_ok=True)
        if results:
            await self._work.files.remove(f"job_output/{self.id}", recursive=True, missing_ok=True)


class Fetched(NamedTuple):
    """What became of the outputs: the names of those that arrived and of the others, and where the first are now."""

    arrived: list[str]
    missing: list[str]
    paths: list[Path]


async def fetch_outputs(
    files: Files, outputs: Iterable[PlannedOutput], folder: Path, progress: Progress | None
) -> Fetched:
    """Downloads those outputs that are to be, and are there.

    Args:
        files: the home.
        outputs: what the job was to leave there.
        folder: where they go; made where it is missing.
        progress: called with the bytes done and the bytes in all.

    Raises:
        PathRefused: a destination leads out of the folder; nothing was downloaded.
        GridError: the grid failed.
    """
    targets = {each: _below(folder, each.destination) for each in outputs if each.destination is not None}
    sizes = {each: await _size(files, each.path) for each in targets}
    meter = Meter(progress, sum(size for size in sizes.values() if size is not None))
    fetched = Fetched([], [], [])
    for each, target in targets.items():
        if sizes[each] is None:
            fetched.missing.append(each.name)
            continue
        target.parent.mkdir(parents=True, exist_ok=True)
        await files.get(each.path, target, progress=_part_of(meter))
        fetched.paths.append(target)
        fetched.arrived.append(each.name)
    return fetched


async def _size(files: Files, path: str) -> int | None:
    try:
        found: FileInfo = await files.stat(path)
    except FileNotFound:
        return None
    return found.size


def _part_of(meter: Meter) -> Progress:
    """Has one of several downloads count for all."""
    before = 0

    def report(done: int, _total: int) -> None:
        nonlocal before
        meter.add(done - before)
        before = done

    return report


def _below(folder: Path, name: str) -> Path:
    """A path below a folder; what is written in a description must not lead out of it."""
    if PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts:
        raise PathRefused(name, "an output's destination leads out of the folder; fetch it by its path in the home")
    return folder / name
