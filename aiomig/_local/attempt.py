"""One attempt to run one job: stage in, run the script, wait, take the results home.

The steps are such that a crash of this program between any two of them loses nothing: see `Attempt.recover`.
"""

from __future__ import annotations

import errno
import os
import time
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import anyio
import anyio.lowlevel

from .._core.errors import LocalError
from .._shell import process as _local_process
from .._shell.script import SYSTEM_FILES, script
from .control_file import Control, HomeBroken
from .settings import filled, job_environment
from .staging import SendFailed, Staging, remove_tree, verify

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from .._shell.process import Process
    from .._spec.mrsl import Description
    from .settings import LocalSettings
    from .store import Record

_NOT_BEGUN = 125
"""What a script exits with that could not make its control file."""


@dataclass(frozen=True, slots=True)
class End:
    """How an attempt ended.

    Attributes:
        verified: the outcome of VERIFYFILES, where it ended well; else ``None``.
        reason: a grid's words for the failure.
        detail: what we know beyond that.
        begun: False where the attempt never began, and does not count.
        at: when it ended, in seconds since 1970, where that was while nobody looked; else ``None``, for now.
    """

    verified: str | None = None
    reason: str = ""
    detail: str = ""
    begun: bool = True
    at: float | None = None


@dataclass(frozen=True, slots=True)
class Machine:
    """What all attempts of a session share."""

    settings: LocalSettings
    base: Mapping[str, str]
    null: int
    pidfd: bool


class Attempt:
    """One attempt.

    Args:
        machine: what all attempts share.
        record: the job, claimed.
    """

    __slots__ = (
        "_control",
        "_failure",
        "_local_name",
        "_machine",
        "_process",
        "_results",
        "_staging",
        "description",
        "folder",
        "job_id",
        "plan",
        "record",
    )

    def __init__(self, machine: Machine, record: Record) -> None:
        self._machine = machine
        self.record = record
        self.job_id = record.job_id
        self.plan = record.plan
        self.description: Description = filled(self.plan.description, machine.settings)
        self._local_name = record.local_name or ""
        self.folder = f"{machine.settings.runs}/job-dir_{self._local_name}"
        self._control = Control(machine.settings.runs, self._local_name, pidfd=machine.pidfd)
        self._results = machine.settings.results(self.job_id)
        self._staging = Staging(machine.settings.home, self.folder, self.job_id, self.description)
        self._process: Process | None = None
        self._failure: BaseException | None = None

    @property
    def _script(self) -> str:
        return f"{self.folder}/{self._local_name}.job"

    def begin(self) -> None:
        """Starts the job's shell now, where that takes no waiting: nothing to stage. Else `run` will do it.

        What goes wrong is for `run` to tell, which is to be called in any case.
        """
        if self._stages or not self._machine.pidfd:
            return
        try:
            self._make_folder()
            self._write_script([])
            self._process = _local_process.spawn(
                self._command, folder=self.folder, environment=self._environment(), null=self._machine.null
            )
        except BaseException as error:
            self._failure = error
            if not isinstance(error, Exception):
                raise

    @property
    def is_begun(self) -> bool:
        """Whether `begin` did something, which `run` has to see to its end."""
        return self._process is not None or self._failure is not None

    async def run(self, exited: Callable[[], None]) -> End:
        """Runs from the beginning. Cancellation leaves the process running: `kill` it, or `release` it.

        Args:
            exited: called when the job's shell has ended, before its results are taken home.
        """
        try:
            if self._failure is not None:
                raise self._failure
            if self._process is None:
                self._make_folder()
                self._write_script(await self._staging.fetch() if self._stages else [])
                self._process = await _local_process.start(
                    self._command,
                    folder=self.folder,
                    environment=self._environment(),
                    null=self._machine.null,
                    pidfd=self._machine.pidfd,
                )
        except HomeBroken:
            raise
        except (OSError, LocalError) as error:
            return End(reason="RESOURCE DIED", detail=f"the job could not be started: {error}")
        return await self._wait(self._process, exited)

    @property
    def _command(self) -> list[str]:
        return [self._machine.settings.bash, f"./{self._local_name}.job"]

    def _environment(self) -> dict[str, str]:
        return job_environment(
            self._machine.base,
            self.description,
            self._machine.settings,
            job_id=self.job_id,
            local_name=self._local_name,
        )

    def _make_folder(self) -> None:
        try:
            os.mkdir(self.folder)
        except OSError as error:
            raise HomeBroken(self.folder, error) from error
        # Some file systems are slow to make a file anew after many were removed, but not to make a link. Where there
        # are no links the script makes them.
        with suppress(OSError):
            for suffix in SYSTEM_FILES:
                os.link(self._machine.settings.empty, f"{self.folder}/{self._local_name}.{suffix}")

    @property
    def _stages(self) -> bool:
        keywords = self.description.keywords
        return "INPUTFILES" in keywords or "EXECUTABLES" in keywords or "MOUNT" in keywords

    def _write_script(self, complaints: list[str]) -> None:
        text = script(
            self.description,
            job_id=self.job_id,
            local_name=self._local_name,
            control=self._control.path,
            job_name=self.description.text("JOBNAME"),
            limits=self._machine.settings.limits,
            complaints=complaints,
            remark=self._staging.remark,
        )
        try:
            descriptor = os.open(self._script, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o755)
            try:
                _write_all(descriptor, text.encode("utf-8", "surrogateescape"))
            finally:
                os.close(descriptor)
        except OSError as error:
            raise HomeBroken(self._script, error) from error

    async def _wait(self, process: Process, exited: Callable[[], None]) -> End:
        began = self.record.executing or time.time()
        limit = self.description.number("CPUTIME") + self._machine.settings.wall_time_grace
        code = None
        with anyio.move_on_after(began + limit - time.time()) as scope:
            code = await process.wait()
        if scope.cancelled_caught:
            await self.kill()
            return End(
                reason="JOB TIMEOUT",
                detail=f"still running {limit:g} s after its start (wall time"
                f" {self.description.number('CPUTIME')} s and {self._machine.settings.wall_time_grace:g} s of grace)",
            )
        if code == _NOT_BEGUN and not self._control.has_begun() and not self._control.is_claim():
            raise HomeBroken(self._control.path, OSError(errno.EIO, "the script could not write it"))
        exited()
        return await self._conclude(code if code is not None else self._control.code())

    async def _conclude(self, code: int | None) -> End:
        if code == 0:
            with anyio.CancelScope(shield=True):
                try:
                    await self._staging.send(self._results, alone=self._is_alone())
                except SendFailed as error:
                    return End(reason="JOB TIMEOUT", detail=str(error))
                except (OSError, LocalError) as error:
                    return End(reason="RESOURCE DIED", detail=f"the results could not be stored: {error}")
                return End(verified=verify(self.description, self._machine.settings.home, self._results, self.job_id))
        if code is None:
            return End(
                reason="RESOURCE DIED",
                detail="the job's shell ended without a word while this program was away",
            )
        how = f"was killed by signal {-code}" if code < 0 else f"exited with {code}"
        complaint = await self._syntax_error() if code > 0 else ""
        return End(reason="RESOURCE DIED", detail=f"the job's shell {how}{complaint and ': '}{complaint}")

    def _is_alone(self) -> bool:
        """Whether no process of the attempt is left: a job may leave some in the background."""
        return self._process is not None and _local_process.group_is_empty(self._process.pid)

    async def _syntax_error(self) -> str:
        """What bash says against the script, where it never came to run the commands."""
        if os.path.exists(self.stream("stdout")):
            return ""
        answer = Path(self.folder, "syntax")
        command = [
            "/bin/sh",
            "-c",
            'exec "$0" -n "$1" 2>"$2"',
            self._machine.settings.bash,
            f"./{self._local_name}.job",
        ]
        try:
            process = await _local_process.start(
                [*command, answer.name],
                folder=self.folder,
                environment=self._machine.base,
                null=self._machine.null,
                pidfd=self._machine.pidfd,
            )
            with anyio.CancelScope(shield=True):  # it reads one file, and nobody else would wait for it
                await process.wait()
            text = answer.read_text("utf-8", "replace").strip()
            if text:
                Path(self.stream("stderr")).write_text(text + "\n", "utf-8")
        except OSError:
            return ""
        return text

    # -- ends from outside

    async def kill(self) -> None:
        """Ends the whole process group, and waits for that."""
        process = self._process
        if process is None:
            return
        grace = self._machine.settings.kill_grace
        with anyio.CancelScope(shield=True):
            if grace > 0:
                process.terminate()
                with anyio.move_on_after(grace):
                    await process.wait()
            process.kill()
            await process.wait()

    def strike(self) -> None:
        """Kills at once, where no grace is asked for."""
        if self._process is not None and self._machine.settings.kill_grace <= 0:
            self._process.kill()

    def release(self) -> None:
        """Lets the process run on without us."""
        if self._process is not None:
            self._process.release()

    def keep(self) -> tuple[Path, Path]:
        """Keeps the output of a failed attempt for the user."""
        kept = self._machine.settings.kept
        stdout, stderr = kept / f"{self.record.number}.stdout", kept / f"{self.record.number}.stderr"
        self._staging.keep(stdout, stderr)
        return stdout, stderr

    def discard_results(self) -> None:
        """Takes back what was sent of an attempt that was canceled meanwhile."""
        remove_tree(self._results)

    def clean(self) -> None:
        """Removes the job directory and the control file. A claim stays while there is someone whom it holds back."""
        if not self._staging.is_moved:
            remove_tree(self.folder)
        self._control.remove()

    # -- after a crash

    async def recover(self, exited: Callable[[], None], *, same_boot: bool) -> End:
        """Takes the attempt up where a program that died left it.

        The control file tells how far it came: see `_local_control`.

        Args:
            exited: called when the job's shell has ended, if it still ran, before its results are taken home.
            same_boot: the machine has not restarted since.
        """
        claimed = self._control.claim()
        await self._control.settle()
        if claimed or self._control.is_claim():
            return End(begun=False)
        if same_boot and not self._control.has_begun() and self._control.is_deserted():
            return End(begun=False)  # the disk was full, or the script was killed, before its first command
        self._staging.recall(Path(self._script))
        at = self._control.written_at()
        if os.path.exists(f"{self._results}/{self.job_id}.status"):
            verified = verify(self.description, self._machine.settings.home, self._results, self.job_id)
            return End(verified=verified, at=at)
        if same_boot:
            # One that has written its exit code may be about to do so again, and would leave a file behind.
            self._process = self._control.shell()
            if self._process is not None:
                return await self._wait(self._process, exited)
        code = self._control.code()
        if code is None and not same_boot:
            return End(reason="RESOURCE DIED", detail="the machine restarted while the job ran")
        return replace(await self._conclude(code), at=at if code is not None else None)

    def strike_foreign(self) -> None:
        """Kills an attempt that another session runs; one that has not begun will not."""
        if self._control.claim():
            return
        shell = self._control.shell()
        if shell is not None:
            shell.kill()
            shell.release()

    async def hunt(self) -> None:
        """Ends an attempt of which we may not even know whether its shell was started."""
        if self._process is not None:
            await self.kill()
            return
        claimed = self._control.claim()
        await self._control.settle()
        shell = None if claimed else self._control.shell()
        if shell is not None:
            shell.kill()
            await shell.wait()

    def has_begun(self) -> bool:
        """Whether its shell has begun to run the commands; from then on it needs no session."""
        return self._control.has_begun()

    def stream(self, name: str) -> str:
        """Where ``stdout`` or ``stderr`` is while the attempt runs."""
        return f"{self.folder}/{self.job_id}.{name}"


def _write_all(descriptor: int, content: bytes) -> None:
    while content:
        content = content[os.write(descriptor, content) :]
