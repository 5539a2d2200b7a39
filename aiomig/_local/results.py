"""Moves the outputs and the four result files of a local job from the job directory to the home.

The rules are a grid's (docs/protocol.md#how-a-job-runs), including the odd ones: an output is lost if it is a
directory, or its destination is one; an unreadable output fails the attempt.
"""

from __future__ import annotations

import errno
import os
import re
import stat
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from .._core.errors import MigError
from .._core.models import first_failure
from .._core.status_file import LONGEST_STATUS, parse_status_file
from .._home.disk import atomic_write, open_regular, read_small
from .._home.folders import inside, open_below, open_directory
from .faults import FULL, HomeBroken, is_shortage
from .job_folder import JobFolder, below, hand_over, is_file
from .urls import upload

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .._spec.mrsl import Transfer
    from .._spec.plan import Plan
    from .inputs import Inputs
    from .settings import LocalSettings

_FETCH_TRIES = 5
"""A grid tries five times, and each try leaves its lines in ``.io-status``; local mode tries once and says the same."""

_NOT_THE_FOLDER = {errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ESTALE}


class SendFailed(Exception):
    """The results of an attempt cannot be sent. On a grid, it then runs into its time limit."""


class Results:
    """The results of one attempt.

    Args:
        settings: of the session.
        folder: the job directory.
        job_id: the job.
        plan: the plan of the job.
        inputs: the inputs that were fetched.

    Attributes:
        path: the folder of the four result files.
        remarks: one line for each input or output that did not arrive, with the reason.
    """

    def __init__(self, settings: LocalSettings, folder: JobFolder, job_id: str, plan: Plan, inputs: Inputs) -> None:
        self._settings = settings
        self._home = settings.home
        self._folder = folder
        self._job_id = job_id
        self._plan = plan
        self._description = plan.description
        self._inputs = inputs
        self._status: bytes | None = None
        self.path = settings.results(job_id)
        self.remarks = inputs.remarks

    # -- to the home

    async def store(self) -> None:
        """Send the results to the home. If they cannot be stored there, keep all files of the job.

        Raises:
            SendFailed: a grid could not send these results from the node.
            HomeBroken: the disk is full, or nothing can be kept. The next session on the home tries again.
            OSError: the system is short of something.
        """
        try:
            await self.send()
        except OSError as error:
            if is_shortage(error):
                raise
            self._keep_all(error)
        if self.remarks:
            text = "\n".join(self.remarks)
            with suppress(OSError), atomic_write(self._settings.kept / f"{self._job_id}.remarks") as file:
                file.write(text.encode("utf-8", "surrogateescape"))

    async def send(self) -> None:
        """Move the outputs to their destinations in the home, then the four result files to their new directory.

        May be repeated after a crash: files that have arrived are not touched.

        Raises:
            SendFailed: a grid could not send these results from the node.
            OSError: they cannot be stored, through no fault of the job.
        """
        with self._opened() as folder:
            report = None
            if not os.path.exists(f"{self.path}/{self._job_id}.io-status"):
                report = self._report(await self._send_outputs(folder))
            self._require_streams(folder)
            with self._open_results() as target:
                if report is not None:
                    with atomic_write(f"{self._job_id}.io-status", target) as file:
                        os.fchmod(file.fileno(), 0o644)
                        file.write(report)
                await self._hand_in("stdout", folder, target)
                await self._hand_in("stderr", folder, target)
                # Last, because its presence means that all are there.
                self._status = await self._hand_in("status", folder, target, most=LONGEST_STATUS + 1)

    async def _hand_in(self, suffix: str, folder: int, target: int, *, most: int = 0) -> bytes | None:
        name = f"{self._job_id}.{suffix}"
        with suppress(FileNotFoundError):  # it has arrived already
            return await hand_over(name, folder, name, target, most=most)
        return None

    @contextmanager
    def _opened(self) -> Iterator[int]:
        with ExitStack() as stack:
            try:
                folder = stack.enter_context(self._folder.open())
            except OSError as error:
                if error.errno not in _NOT_THE_FOLDER:
                    raise
                raise SendFailed(f"the job removed or replaced its directory: {error.strerror}") from error
            yield folder

    @contextmanager
    def _open_results(self) -> Iterator[int]:
        above, name = os.path.split(self.path)
        root, path = self._home, f"{os.path.basename(above)}/{name}"
        if os.path.islink(above):
            real = inside(self._home, path)
            if real is None:
                raise OSError(errno.EPERM, "a symbolic link leads out of the MiG home", above)
            root, path = real.parent, real.name
        with open_below(root, path, make=True) as folder:
            yield folder

    def _require_streams(self, folder: int) -> None:
        for suffix in ("stdout", "stderr", "status"):
            name = f"{self._job_id}.{suffix}"
            if not is_file(name, folder) and not os.path.exists(f"{self.path}/{name}"):
                raise SendFailed(f"the job removed {name}, or put something else in its place")

    def _report(self, missing: int) -> bytes:
        inputs, executables = self._inputs.codes
        tries = _FETCH_TRIES if inputs or executables else 1
        text = (
            f"get_special_input_files 0\nget_input_files {inputs}\nget_executables {executables}\n" * tries
            + f"output_files_missing {missing}\nsend_output_files 0\nsend_io_files 0\n"
        )
        return text.encode("ascii")

    def _keep_all(self, error: OSError) -> None:
        """Keep all files of a job whose results cannot be stored.

        Raises:
            HomeBroken: that fails too, or the disk is full.
        """
        if error.errno in FULL:
            raise HomeBroken(self.path, error) from error
        kept = self._settings.kept_results(self._job_id)
        try:
            os.rename(self._folder.path, kept)
        except OSError as second:
            raise HomeBroken(self.path, error) from second
        reason = f"{error.filename or self.path}: {error.strerror}"
        self.remarks.append(f"the results could not be stored ({reason}); all files of the job are in {kept}")

    # -- outputs

    async def _send_outputs(self, folder: int) -> int:
        """Send the outputs; return the number of missing ones."""
        missing = 0
        if "OUTPUTFILES" not in self._description.keywords:
            return missing
        for transfer in self._description.transfers("OUTPUTFILES"):
            fault = _missing(transfer.source, folder)
            missing += bool(fault)
            if fault := fault or await self._send_one(transfer, folder):
                self.remarks.append(f"output {transfer.source} did not arrive: {fault}")
        return missing

    async def _send_one(self, transfer: Transfer, folder: int) -> str:
        """Send one existing output; return why it is lost, or an empty string."""
        path = transfer.source.lstrip("/")
        status = os.stat(path, dir_fd=folder)
        if stat.S_ISDIR(status.st_mode):
            return "it is a directory; pack it with tar"
        if not status.st_mode & stat.S_IRUSR:
            raise SendFailed(f"output {transfer.source} cannot be read")
        if "://" in transfer.destination:
            try:
                with open_regular(path, folder) as file:
                    await upload(file, transfer.destination)
            except (OSError, MigError) as error:
                raise SendFailed(f"output {transfer.source} cannot be sent: {error}") from error
            return ""
        target = inside(self._home, transfer.destination)
        if target is None or target == inside(self._home, ".") or target.name == ".htaccess":
            raise SendFailed(f"output {transfer.source} may not go to {transfer.destination}")
        if target.is_dir():
            return f"{transfer.destination} is a directory"
        root = os.path.realpath(self._home)
        try:
            with open_below(Path(root), os.path.relpath(target.parent, root), make=True) as parent:
                await hand_over(path, folder, target.name, parent, keep=True, follow=True)
        except (NotADirectoryError, IsADirectoryError, FileExistsError):
            return f"a file is in the way of {transfer.destination}"
        return ""

    # -- of a failed attempt

    async def keep_output(self, stdout: Path, stderr: Path) -> None:
        """Keep the output of a failed attempt, which a grid discards.

        It stays in the job directory, too: until the failure is recorded, the attempt may be taken up again.
        """
        with suppress(OSError), self._folder.open() as folder, open_directory(stdout.parent) as kept:
            for suffix, path in (("stdout", stdout), ("stderr", stderr)):
                with suppress(OSError):
                    await hand_over(f"{self._job_id}.{suffix}", folder, path.name, kept, keep=True)

    async def discard(self) -> None:
        """Remove the results of an attempt that was canceled after they were stored."""
        await JobFolder(self.path).remove()

    # -- reading them

    async def exit_code(self) -> int | None:
        """Return the first nonzero exit code, or 0; ``None`` if the job's ``.status`` file reports none."""
        data = self._status
        if data is None:
            try:
                data = read_small(f"{self._stored}/{self._job_id}.status", most=LONGEST_STATUS)
            except OSError:
                return None
        if len(data) > LONGEST_STATUS:
            return None
        parser = await parse_status_file(data, self._description.lines("EXECUTE"))
        commands = parser.finish(self._plan.prologue_lines, self._plan.epilogue_lines)
        return first_failure(commands, reported=parser.count > 0)

    def verify(self) -> str:
        """Compare the results with the user's VERIFYFILES; return the text of ``verified``.

        See docs/protocol.md#keywords.
        """
        names = self._description.lines("VERIFYFILES")
        if not names:
            return "NO"
        verdicts = [self._verify_one(name) for name in names]
        is_good = all(good for good, _ in verdicts)
        return f"{'SUCCESS' if is_good else 'FAILURE'} - {' '.join(text for _, text in verdicts)}"

    def _verify_one(self, name: str) -> tuple[bool, str]:
        suffix = name.rpartition(".")[2]
        expected_path = inside(self._home, name.lstrip("/"))
        if expected_path is None or not expected_path.is_file():
            return False, f"{suffix}: {name} does not exist!"
        try:
            expected = read_small(expected_path).decode("utf-8", "replace").splitlines()
            lines = read_small(f"{self._stored}/{self._job_id}.{suffix}").decode("utf-8", "replace").splitlines()
        except OSError as error:
            return False, f"{suffix}: FAILED ({error.strerror})"
        mismatch = _mismatch(expected, lines)
        return (True, f"{suffix}: OK") if mismatch is None else (False, f"{suffix}: FAILED ({mismatch})")

    @property
    def _stored(self) -> str:
        return self._settings.stored_results(self._job_id)


def _missing(source: str, folder: int) -> str:
    """Return why an output is missing in the job directory, or an empty string if it exists."""
    path = source.lstrip("/")
    if below(path) is None:
        return "its path leads out of the job directory"
    try:
        status = os.stat(path, dir_fd=folder, follow_symlinks=False)
        if stat.S_ISLNK(status.st_mode):
            target = os.readlink(path, dir_fd=folder)
            if not os.path.isabs(target):
                return f"it is a symbolic link to {target!r}, and a grid takes only the link: use cp -L, or ln"
            status = os.stat(path, dir_fd=folder)
    except OSError as error:
        return f"it was not there when the commands had ended: {error.strerror}"
    if not stat.S_ISREG(status.st_mode) and not stat.S_ISDIR(status.st_mode):
        return "it is neither a file nor a directory"
    return ""


def _mismatch(expected: list[str], lines: list[str]) -> str | None:
    if len(expected) != len(lines):
        return f"expected {len(expected)} lines, got {len(lines)}"
    for pattern, line in zip(expected, lines, strict=True):
        try:
            is_same = re.match(pattern, line) is not None
        except re.error:
            is_same = pattern == line
        if not is_same:
            return f"found mismatch: '{line}' vs '{pattern}' (False)"
    return None
