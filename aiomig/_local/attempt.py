"""One attempt to run one job: fetch the inputs, run the script, wait, store the results in the home.

A crash of this program between any two steps loses nothing: see `aiomig._local.takeover.resume`.
"""

from __future__ import annotations

import errno
import logging
import os
import resource
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import anyio

from .._core.display import explain_signal
from .._home.disk import atomic_write
from .._shell.check import read_only
from .._shell.proc import end_escaped
from .._shell.process import spawn
from .._shell.script import script
from .._spec.mrsl import DEFAULTS
from .control_file import Control
from .faults import FULL, HomeBroken, is_shortage
from .inputs import Inputs
from .job_folder import JobFolder
from .results import Results, SendFailed
from .settings import filled

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from .._shell.process import Process
    from .._spec.plan import Plan
    from .settings import LocalSettings

logger = logging.getLogger("aiomig.local")

_NOT_BEGUN = 125
"""The exit code of a script that could not make its control file."""

_SPARE_DESCRIPTORS = 8
"""The number of descriptors that starting a job leaves for the rest of the program."""

_READ_SECONDS = 10.0
"""The longest time that bash may take to read a script."""

_ROOM_SECONDS = 0.2
"""Seconds between two tries after a shortage of the system."""


@dataclass(frozen=True, slots=True)
class End:
    """How an attempt ended.

    Attributes:
        verified: the outcome of VERIFYFILES if it ended well; else ``None``.
        reason: a grid's reason for the failure.
        detail: more about it from local mode.
        begun: False if the attempt never began, and does not count.
        at: when it ended, in seconds since 1970, if no session was open then; else ``None``, for now.
        exit_code: the first nonzero exit code of a command, or 0; ``None`` if none was reported.
    """

    verified: str | None = None
    reason: str = ""
    detail: str = ""
    begun: bool = True
    at: float | None = None
    exit_code: int | None = None


@dataclass(frozen=True, slots=True)
class Machine:
    """Values that all attempts of a session share."""

    settings: LocalSettings
    base: Mapping[str, str]
    null: int
    pidfd: bool


class Attempt:
    """One attempt.

    Args:
        machine: what all attempts of the session share.
        job_id: the job.
        local_name: MiG's name of the attempt, which no other attempt has.
        plan: what is to be done.

    Attributes:
        process: the shell, once it was started.
    """

    def __init__(self, machine: Machine, job_id: str, local_name: str, plan: Plan) -> None:
        self.machine = machine
        self.job_id = job_id
        self.plan = plan
        description = plan.description
        self.description = filled(description, machine.settings) if "MAXFILL" in description.keywords else description
        self.local_name = local_name
        self.folder = f"{machine.settings.runs}/job-dir_{local_name}"
        self.directory = JobFolder(self.folder)
        self.process: Process | None = None
        self._failure: BaseException | None = None

    @cached_property
    def control(self) -> Control:
        """The control file."""
        return Control(self.machine.settings.runs, self.local_name, pidfd=self.machine.pidfd)

    @cached_property
    def inputs(self) -> Inputs:
        """The files that are fetched before the commands run."""
        return Inputs(self.machine.settings.home, self.directory, self.description)

    @cached_property
    def results(self) -> Results:
        """The files that go to the home afterwards."""
        return Results(self.machine.settings, self.directory, self.job_id, self.plan, self.inputs)

    @property
    def mark(self) -> str:
        """An entry that only the environments of this attempt's processes have."""
        return f"MIG_JOBDIR={self._jobdir}"

    @property
    def _jobdir(self) -> str:
        # The double slash is a grid's own: jobs must not compare this with $PWD.
        return f"{self.machine.settings.runs}//job-dir_{self.local_name}"

    @property
    def _stages(self) -> bool:
        return not self.description.keywords.keys().isdisjoint(("INPUTFILES", "EXECUTABLES", "MOUNT"))

    # -- from the beginning

    def start_now(self) -> None:
        """Start the shell if no input must be fetched first; else `run` does it.

        `run`, which must be called in any case, reports what goes wrong.
        """
        if self._stages:
            return
        try:
            self._start([], "fetched 0 0")
        except BaseException as error:
            self._failure = error
            if not isinstance(error, Exception):
                raise

    @property
    def has_started(self) -> bool:
        """Whether `start_now` did something that `run` must bring to an end."""
        return self.process is not None or self._failure is not None

    async def run(self, exited: Callable[[], None]) -> End:
        """Run the attempt. If cancelled, the process runs on: `kill` it, or `release` it.

        Args:
            exited: called when the shell has ended, before the results are stored.

        Raises:
            LocalError: it could not begin, and that is not the fault of the job.
        """
        try:
            process = self.process or await self._start_in_time()
        except OSError as error:
            return End(reason="RESOURCE DIED", detail=f"the job could not be started: {error}")
        return await self.supervise(process, exited)

    async def _start_in_time(self) -> Process:
        """Start the shell, and wait as long as the system is short of something for it."""
        failure, self._failure = self._failure, None
        if failure is not None and not is_shortage(failure):
            raise failure
        complaints = await self._fetch() if self._stages else []
        logged = False
        while True:
            try:
                return self._start(complaints, self.inputs.remark)
            except OSError as error:
                if not is_shortage(error):
                    raise
                if not logged:
                    logger.warning("job %s waits until the system has room for it: %s", self.job_id, error)
                    logged = True
            await anyio.sleep(_ROOM_SECONDS)

    async def _fetch(self) -> list[str]:
        try:
            self.directory.make()
        except OSError as error:
            raise HomeBroken(self.folder, error) from error
        try:
            return await self.inputs.fetch()
        except OSError as error:
            if error.errno in FULL:
                raise HomeBroken(error.filename or self.folder, error) from error
            raise

    def _start(self, complaints: list[str], remark: str) -> Process:
        machine, settings = self.machine, self.machine.settings
        environment = self._environment()
        try:
            text = script(
                self.description,
                job_id=self.job_id,
                local_name=self.local_name,
                control=f"{settings.runs}/{self.local_name}.control",
                inode=self.directory.make().inode,
                limits=settings.limits,
                complaints=complaints,
                remark=remark,
            )
            descriptor = self.directory.write(f"{self.local_name}.job", text.encode("utf-8", "surrogateescape"), 0o755)
        except OSError as error:
            if is_shortage(error):
                raise
            raise HomeBroken(error.filename or self.folder, error) from error
        # The lowest free number tells how many are in use.
        limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        if limit != resource.RLIM_INFINITY and descriptor > limit - _SPARE_DESCRIPTORS:
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
        command = [settings.bash, f"./{self.local_name}.job"]
        self.process = spawn(
            command, folder=self.folder, environment=environment, null=machine.null, pidfd=machine.pidfd
        )
        return self.process

    def _environment(self) -> dict[str, str]:
        """Return the whole environment of the job."""
        description = self.description
        names = {"MIG_JOBID": self.job_id, "MIG_JOBDIR": self._jobdir, "MIG_LOCALJOBNAME": self.local_name}
        environment = {**self.machine.base, **names}
        for name in DEFAULTS:
            environment[f"MIG_JOB{name}"] = str(description.number(name))
        environment["MIG_JOBSECONDS"] = environment["MIG_JOBCPUTIME"]
        environment["MIG_JOBNODES"] = environment["MIG_JOBNODECOUNT"]
        for name in description.keywords.get("RUNTIMEENVIRONMENT", ()):
            environment |= self.machine.settings.runtime_environments.get(name.upper(), {})
        return environment

    # -- to the end

    def recall(self) -> None:
        """Take up an attempt that another session began."""
        self.directory.recall(self.control.inode())
        self.inputs.recall(f"{self.local_name}.job")

    async def supervise(self, process: Process, exited: Callable[[], None], elapsed: float = 0.0) -> End:
        """Wait for the shell, at most until its wall time is over, and store the results.

        Args:
            process: the shell.
            exited: see `run`.
            elapsed: seconds that it has run already.
        """
        wall_time, grace = self.description.number("CPUTIME"), self.machine.settings.wall_time_grace
        code = None
        with anyio.move_on_after(wall_time + grace - elapsed) as scope:
            code = await process.wait()
        # What a job leaves in the background ends with it, so that its results do not change any more.
        await process.end_session(self.machine.settings.kill_grace)
        if scope.cancelled_caught:
            await self.kill()
            return End(
                reason="JOB TIMEOUT",
                detail=f"still running {wall_time + grace:g} s after its start (wall time {wall_time} s and {grace:g} s"
                " of grace)",
            )
        if code == _NOT_BEGUN and not self.control.has_begun() and not self.control.is_claim():
            raise HomeBroken(self.control.path, OSError(errno.EIO, "the script could not write it"))
        exited()
        return await self.conclude(code if code is not None else self.control.code())

    async def conclude(self, code: int | None) -> End:
        """Store the results of a shell that has ended.

        Args:
            code: its exit code; ``None`` if it is not known.
        """
        if code == 0:
            return await self._store_results()
        if code is None:
            detail = "the job's shell ended without a word while this program was away"
            return End(reason="RESOURCE DIED", detail=detail)
        how = f"was killed by signal {-code} ({explain_signal(-code)})" if code < 0 else f"exited with {code}"
        complaint = await self._syntax_error() if code > 0 else ""
        return End(reason="RESOURCE DIED", detail=f"the job's shell {how}{complaint and ': '}{complaint}")

    async def _store_results(self) -> End:
        while True:
            try:
                with anyio.CancelScope(shield=True):
                    await self.results.store()
                return await self.finished()
            except SendFailed as error:
                return End(reason="JOB TIMEOUT", detail=str(error))
            except OSError as error:
                if not is_shortage(error):
                    raise
            await anyio.sleep(_ROOM_SECONDS)

    async def finished(self) -> End:
        """Return the end according to the stored results."""
        return End(verified=self.results.verify(), exit_code=await self.results.exit_code())

    async def _syntax_error(self) -> str:
        """Return bash's syntax errors for the script, if any."""
        stdout, stderr = f"{self.job_id}.stdout", f"{self.job_id}.stderr"
        text = self.directory.read(f"{self.local_name}.job")
        if text is None or self.directory.read(stdout) is not None:
            return ""
        with anyio.CancelScope(shield=True):
            reading = await read_only(
                self.machine.settings.bash, text.decode("utf-8", "surrogateescape"), _READ_SECONDS
            )
        complaints = reading.complaints.strip() if reading is not None else ""
        if complaints:
            with suppress(OSError), self.directory.open() as folder, atomic_write(stderr, folder) as file:
                file.write(complaints.encode() + b"\n")
        return complaints

    # -- ending it early

    async def kill(self) -> None:
        """End all processes of the attempt, and wait for those in its session."""
        if self.process is not None:
            await self.process.end_session(self.machine.settings.kill_grace)
            end_escaped([self.mark])

    def kill_now(self) -> None:
        """Send SIGKILL at once, unless a grace period is set. `kill` must follow."""
        if self.process is not None and self.machine.settings.kill_grace <= 0:
            self.process.kill()

    async def find_and_kill(self) -> None:
        """End an attempt whose shell may or may not have started."""
        if self.process is None:
            claimed = self.control.claim()
            await self.control.settle()
            self.process = None if claimed else self.control.shell()
        await self.kill()

    def release(self) -> None:
        """Let the process run on without this program."""
        if self.process is not None:
            self.process.release()

    async def clean(self) -> None:
        """Remove the job directory and the control file. A claim stays while a script may still begin."""
        if await self.directory.remove():
            self.control.remove()

    def has_begun(self) -> bool:
        """Return whether the shell has begun to run the commands. From then on, it needs no session."""
        return self.control.has_begun()

    def stream(self, name: str) -> str:
        """Return the path of ``stdout`` or ``stderr`` while the attempt runs."""
        return f"{self.folder}/{self.job_id}.{name}"
