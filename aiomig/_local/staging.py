"""The files of a local job before and after its commands run.

The rules are a grid's (docs/protocol.md#how-a-job-runs), including the odd ones: a missing input does not stop a job;
an output that is a directory, or has one as its destination, does not arrive; an unreadable one fails the attempt.
"""

from __future__ import annotations

import errno
import os
import re
import stat
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from .._core.errors import MigError
from .._home.disk import atomic_write, copy_content, open_regular, read_small
from .._home.folders import open_below, open_directory
from .job_folder import JobFolder, hand_over
from .urls import download, upload

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import BinaryIO

    from .._spec.mrsl import Description, Transfer

_FETCH_TRIES = 5
"""A grid tries five times, and each try leaves its lines in ``.io-status``; local mode tries once and says the same."""

FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
"""What the system says if there is no room on the disk."""

_CURL_FAILED = 22
_LEADS_OUT = "a symbolic link leads out of the MiG home"
_NOT_THE_FOLDER = {errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ESTALE}
_FAULTS_OF_A_FILE = {
    *(errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.ELOOP, errno.ENAMETOOLONG),
    *(errno.EINVAL, errno.EACCES, errno.EPERM),
}
"""What the system says of a file that cannot be copied. Anything else is the fault of the machine, as a full disk."""


class SendFailed(Exception):
    """The results of an attempt cannot be sent: on a grid it then runs into its time limit."""


def inside(root: Path, path: str) -> Path | None:
    """Return a path below a folder, links resolved; ``None`` if it leads out of it."""
    real = os.path.realpath(root / path)
    base = os.path.realpath(root)
    return Path(real) if real == base or real.startswith(base + os.sep) else None


class Staging:
    """The files of one attempt.

    Args:
        home: the MiG home.
        folder: the job directory.
        job_id: the job.
        description: what is to be staged.

    Attributes:
        folder: the job directory.
        remarks: which inputs and outputs did not arrive, and why, a line each.
    """

    def __init__(self, home: Path, folder: JobFolder, job_id: str, description: Description) -> None:
        self._home = home
        self.folder = folder
        self._job_id = job_id
        self._description = description
        self._codes = [0, 0]
        self.remarks: list[str] = []
        self._is_resumed = False

    @property
    def remark(self) -> str:
        """How the fetching went, as a text for `recall`."""
        return f"fetched {self._codes[0]} {self._codes[1]}"

    def recall(self, script: str) -> None:
        """Take up an attempt that another session began.

        Args:
            script: the name of its script in the job directory; its head has the `remark`.
        """
        self._is_resumed = True
        with suppress(ValueError, IndexError):
            words = (self.folder.read(script) or b"").decode("utf-8", "replace").splitlines()[1].split()
            self._codes = [int(words[-2]), int(words[-1])]

    # -- before

    async def fetch(self) -> list[str]:
        """Copy the inputs and executables; return complaints for ``.status``.

        Raises:
            OSError, LocalError: they cannot be written, which is not the fault of the job.
        """
        with self.folder.open() as folder:
            for place, keyword in enumerate(("INPUTFILES", "EXECUTABLES")):
                for transfer in self._description.transfers(keyword):
                    mode = 0o755 if keyword == "EXECUTABLES" and not self._implied_url(transfer) else 0o644
                    if fault := await self._fetch_one(transfer, folder, mode):
                        self._codes[place] = _CURL_FAILED
                        self.remarks.append(f"input {transfer.destination} did not arrive: {fault}")
            for line in self._description.lines("MOUNT"):
                with suppress(OSError):
                    self._mount(line, folder)
            return ["system: chmod 1"] if self._lacks_executable(folder) else []

    async def _fetch_one(self, transfer: Transfer, folder: int, mode: int) -> str:
        """Fetch one input; return why it did not arrive, or nothing."""
        path = _below(transfer.destination)
        if path is None:  # a grid accepts a destination outside, where the job does not see it
            return ""
        above, name = os.path.split(path)
        try:
            with (
                open_below(folder, above, make=True) as parent,
                self._input(transfer.source) as source,
                atomic_write(name, parent) as target,
            ):
                os.fchmod(target.fileno(), mode)
                if source is None:
                    await download(transfer.source, target)
                else:
                    await copy_content(source, target)
        except OSError as error:
            if error.errno not in _FAULTS_OF_A_FILE:
                raise OSError(error.errno, error.strerror, f"{self.folder.path}/{path}") from error
            return f"{transfer.source}: {error.strerror}"
        except MigError as error:
            return str(error)
        return ""

    @contextmanager
    def _input(self, source: str) -> Iterator[BinaryIO | None]:
        """Open a file of the home, or a local one with a URL; ``None`` for other URLs."""
        if source.startswith("file:"):
            real: Path | None = Path(unquote(urlsplit(source).path))
        elif "://" in source:
            yield None
            return
        else:
            real = inside(self._home, source)
        if real is None:
            raise OSError(errno.EPERM, _LEADS_OUT)
        with open_regular(real) as file:
            yield file

    def _implied_url(self, transfer: Transfer) -> bool:
        """Return whether an executable comes from a URL without a destination.

        It is made executable under a wrong name (docs/protocol.md#staging-lines).
        """
        return "://" in transfer.source and transfer.source in self._description.lines("EXECUTABLES")

    def _lacks_executable(self, folder: int) -> bool:
        return any(
            self._implied_url(transfer) or not _is_file(transfer.destination, folder)
            for transfer in self._description.transfers("EXECUTABLES")
        )

    def _mount(self, line: str, folder: int) -> None:
        path, _, point = line.partition(" ")
        source, target = inside(self._home, path.lstrip("/")), _below(point.lstrip("/"))
        if source is not None and target is not None and source.is_dir():
            above, name = os.path.split(target)
            with open_below(folder, above, make=True) as parent:
                os.symlink(source, name, dir_fd=parent)

    # -- after

    async def send(self, results: str) -> None:
        """Take the outputs to their places in the home, then the four result files to their folder.

        May be repeated after a crash: what has arrived is left as it is.

        Args:
            results: the folder of the result files, which is made.

        Raises:
            SendFailed: a grid would not get these results off the node.
            OSError: they cannot be stored, which is not the fault of the job.
        """
        with self._opened() as folder:
            report = None
            if not os.path.exists(f"{results}/{self._job_id}.io-status"):
                report = self._report(await self._send_outputs(folder))
            self._require_streams(folder, results)
            with self._open_results(results) as target:
                if report is not None:
                    with atomic_write(f"{self._job_id}.io-status", target) as file:
                        os.fchmod(file.fileno(), 0o644)
                        file.write(report)
                for suffix in ("stdout", "stderr", "status"):  # .status last: it says that all are there
                    with suppress(FileNotFoundError):
                        name = f"{self._job_id}.{suffix}"
                        await hand_over(name, folder, name, target)

    @contextmanager
    def _opened(self) -> Iterator[int]:
        with ExitStack() as stack:
            try:
                folder = stack.enter_context(self.folder.open())
            except OSError as error:
                if error.errno not in _NOT_THE_FOLDER:
                    raise
                raise SendFailed(f"the job removed or replaced its directory: {error.strerror}") from error
            yield folder

    @contextmanager
    def _open_results(self, results: str) -> Iterator[int]:
        above, name = os.path.split(results)
        root, path = self._home, f"{os.path.basename(above)}/{name}"
        if os.path.islink(above):
            real = inside(self._home, path)
            if real is None:
                raise OSError(errno.EPERM, _LEADS_OUT, above)
            root, path = real.parent, real.name
        with open_below(root, path, make=True) as folder:
            yield folder

    def _require_streams(self, folder: int, results: str) -> None:
        for suffix in ("stdout", "stderr", "status"):
            name = f"{self._job_id}.{suffix}"
            if not _is_file(name, folder) and not os.path.exists(f"{results}/{name}"):
                raise SendFailed(f"the job removed {name}, or put something else in its place")

    def _report(self, missing: int) -> bytes:
        inputs, executables = self._codes
        tries = _FETCH_TRIES if inputs or executables else 1
        text = (
            f"get_special_input_files 0\nget_input_files {inputs}\nget_executables {executables}\n" * tries
            + f"output_files_missing {missing}\nsend_output_files 0\nsend_io_files 0\n"
        )
        return text.encode("ascii")

    async def _send_outputs(self, folder: int) -> int:
        """Send the outputs; return how many are missing."""
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
        """Send one output that is there; return why it is lost, or nothing."""
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

    async def keep(self, stdout: Path, stderr: Path) -> None:
        """Keep what a failed attempt wrote, which a grid throws away.

        It stays in the job directory, too: until the failure is recorded, the attempt may be taken up again.
        """
        with suppress(OSError), self.folder.open() as folder, open_directory(stdout.parent) as kept:
            for suffix, path in (("stdout", stdout), ("stderr", stderr)):
                with suppress(OSError):
                    await hand_over(f"{self._job_id}.{suffix}", folder, path.name, kept, keep=True)


def _below(path: str) -> str | None:
    """Return a path of the job directory normalised; ``None`` if it leads out of it."""
    normal = os.path.normpath(path)
    return None if normal.startswith(("/", "../")) or normal == ".." else normal


def _is_file(path: str, folder: int) -> bool:
    try:
        return stat.S_ISREG(os.stat(path, dir_fd=folder, follow_symlinks=False).st_mode)
    except OSError:
        return False


def _missing(source: str, folder: int) -> str:
    """Return why an output is missing in the job directory, or nothing if it is there."""
    path = source.lstrip("/")
    if _below(path) is None:
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


def verify(description: Description, home: Path, results: str, job_id: str) -> str:
    """Compare results with the user's VERIFYFILES; return the text of ``verified`` (docs/protocol.md#keywords)."""
    names = description.lines("VERIFYFILES")
    if not names:
        return "NO"
    verdicts = [_verify_one(name, home, results, job_id) for name in names]
    is_good = all(good for good, _ in verdicts)
    return f"{'SUCCESS' if is_good else 'FAILURE'} - {' '.join(text for _, text in verdicts)}"


def _verify_one(name: str, home: Path, results: str, job_id: str) -> tuple[bool, str]:
    suffix = name.rpartition(".")[2]
    expected_path = inside(home, name.lstrip("/"))
    if expected_path is None or not expected_path.is_file():
        return False, f"{suffix}: {name} does not exist!"
    try:
        expected = read_small(expected_path).decode("utf-8", "replace").splitlines()
        lines = read_small(f"{results}/{job_id}.{suffix}").decode("utf-8", "replace").splitlines()
    except OSError as error:
        return False, f"{suffix}: FAILED ({error.strerror})"
    mismatch = _mismatch(expected, lines)
    return (True, f"{suffix}: OK") if mismatch is None else (False, f"{suffix}: FAILED ({mismatch})")


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
