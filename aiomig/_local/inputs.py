"""Copies the inputs of a local job into the job directory before its commands run.

The rules are a grid's (docs/protocol.md#how-a-job-runs): a missing input does not stop a job.
"""

from __future__ import annotations

import errno
import os
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from .._core.errors import MigError
from .._home.disk import atomic_write, copy_content, open_regular
from .._home.folders import inside, open_below
from .job_folder import below, is_file
from .urls import download

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import BinaryIO

    from .._spec.mrsl import Description, Transfer
    from .job_folder import JobFolder

_CURL_FAILED = 22
_FAULTS_OF_A_FILE = {
    *(errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.ELOOP, errno.ENAMETOOLONG),
    *(errno.EINVAL, errno.EACCES, errno.EPERM),
}
"""Errors that are due to the file to copy. All others are due to the machine, such as a full disk."""


class Inputs:
    """The inputs and executables of one attempt.

    Args:
        home: the MiG home.
        folder: the job directory.
        description: lists the inputs and executables.

    Attributes:
        codes: the exit codes of fetching the inputs and the executables, as a grid reports them.
        remarks: one line for each that did not arrive, with the reason.
    """

    def __init__(self, home: Path, folder: JobFolder, description: Description) -> None:
        self._home = home
        self._folder = folder
        self._description = description
        self.codes = [0, 0]
        self.remarks: list[str] = []

    @property
    def remark(self) -> str:
        """The result of fetching, as text for `recall`."""
        return f"fetched {self.codes[0]} {self.codes[1]}"

    def recall(self, script: str) -> None:
        """Restore the result of fetching in another session.

        Args:
            script: the name of the job's script in the job directory; its head has the `remark`.
        """
        with suppress(ValueError, IndexError):
            words = (self._folder.read(script) or b"").decode("utf-8", "replace").splitlines()[1].split()
            self.codes = [int(words[-2]), int(words[-1])]

    async def fetch(self) -> list[str]:
        """Copy the inputs and executables; return complaints for ``.status``.

        Raises:
            OSError, LocalError: they cannot be written, through no fault of the job.
        """
        with self._folder.open() as folder:
            for place, keyword in enumerate(("INPUTFILES", "EXECUTABLES")):
                for transfer in self._description.transfers(keyword):
                    mode = 0o755 if keyword == "EXECUTABLES" and not self._implied_url(transfer) else 0o644
                    if fault := await self._fetch_one(transfer, folder, mode):
                        self.codes[place] = _CURL_FAILED
                        self.remarks.append(f"input {transfer.destination} did not arrive: {fault}")
            for line in self._description.lines("MOUNT"):
                with suppress(OSError):
                    self._mount(line, folder)
            return ["system: chmod 1"] if self._lacks_executable(folder) else []

    async def _fetch_one(self, transfer: Transfer, folder: int, mode: int) -> str:
        """Fetch one input; return why it did not arrive, or an empty string."""
        path = below(transfer.destination)
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
                raise OSError(error.errno, error.strerror, f"{self._folder.path}/{path}") from error
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
            raise OSError(errno.EPERM, "a symbolic link leads out of the MiG home")
        with open_regular(real) as file:
            yield file

    def _implied_url(self, transfer: Transfer) -> bool:
        """Return whether an executable comes from a URL without a destination.

        It is made executable under a wrong name (docs/protocol.md#staging-lines).
        """
        return "://" in transfer.source and transfer.source in self._description.lines("EXECUTABLES")

    def _lacks_executable(self, folder: int) -> bool:
        return any(
            self._implied_url(transfer) or not is_file(transfer.destination, folder)
            for transfer in self._description.transfers("EXECUTABLES")
        )

    def _mount(self, line: str, folder: int) -> None:
        path, _, point = line.partition(" ")
        source, target = inside(self._home, path.lstrip("/")), below(point.lstrip("/"))
        if source is not None and target is not None and source.is_dir():
            above, name = os.path.split(target)
            with open_below(folder, above, make=True) as parent:
                os.symlink(source, name, dir_fd=parent)
