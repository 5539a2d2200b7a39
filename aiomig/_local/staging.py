"""What happens to the files of a local job before and after its commands run.

The rules are a grid's (docs/protocol.md#how-a-job-runs), including the odd ones: a missing input does not stop a job;
an output that is a folder, or has a folder as its destination, is lost silently; an unreadable one fails the attempt.
"""

from __future__ import annotations

import os
import re
import shutil
import stat
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from .._core.errors import LocalError, MigError
from .._home.disk import copy_file
from .urls import download, upload

if TYPE_CHECKING:
    from .._spec.mrsl import Description, Transfer

_FETCH_TRIES = 5
"""A grid tries five times, and each try leaves its lines in .io-status; here once is enough, and says the same."""

_CURL_FAILED = 22


class SendFailed(Exception):
    """The results of an attempt cannot be sent: on a grid it then runs into its time limit."""


def inside(root: Path, path: str) -> Path | None:
    """A path below a folder, links resolved; ``None`` where it leads out of it."""
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
        is_moved: the job directory has become the folder of the results.
    """

    def __init__(self, home: Path, folder: str, job_id: str, description: Description) -> None:
        self._home = home
        self._place = folder
        self._job_id = job_id
        self._description = description
        self._codes = [0, 0]
        self._recalled = False
        self.is_moved = False

    @property
    def _folder(self) -> Path:
        return Path(self._place)

    @property
    def remark(self) -> str:
        """How the fetching went, as a text for `recall`."""
        return f"fetched {self._codes[0]} {self._codes[1]}"

    def recall(self, script: Path) -> None:
        """Takes up an attempt that another session began, from the head of its script."""
        self._recalled = True
        with suppress(OSError, ValueError, IndexError):
            words = script.read_text("utf-8").splitlines()[1].split()
            self._codes = [int(words[-2]), int(words[-1])]

    # -- before

    async def fetch(self) -> list[str]:
        """Copies the inputs and executables; what to complain of in ``.status``."""
        for place, keyword in enumerate(("INPUTFILES", "EXECUTABLES")):
            for transfer in self._description.transfers(keyword):
                if not await self._fetch_one(transfer, executable=keyword == "EXECUTABLES"):
                    self._codes[place] = _CURL_FAILED
        for line in self._description.lines("MOUNT"):
            self._mount(line)
        return ["system: chmod 1"] if self._lacks_executable() else []

    async def _fetch_one(self, transfer: Transfer, *, executable: bool) -> bool:
        # A destination outside is accepted by a grid, and not seen by the job.
        target = inside(self._folder, transfer.destination)
        if target is None:
            return True
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            if "://" in transfer.source:
                await download(transfer.source, target)
            else:
                source = inside(self._home, transfer.source)
                if source is None or not source.is_file():
                    return False
                await copy_file(source, target)
            target.chmod(0o755 if executable and not self._implied_url(transfer) else 0o644)
        except LocalError:
            raise  # a full disk is no missing input
        except (OSError, MigError):
            return False
        return True

    def _implied_url(self, transfer: Transfer) -> bool:
        """Return whether an executable from a URL gets its mode under a wrong name (docs/protocol.md#staging-lines)."""
        return "://" in transfer.source and transfer.source in self._description.lines("EXECUTABLES")

    def _lacks_executable(self) -> bool:
        return any(
            self._implied_url(transfer) or not (self._folder / transfer.destination).is_file()
            for transfer in self._description.transfers("EXECUTABLES")
        )

    def _mount(self, line: str) -> None:
        path, _, point = line.partition(" ")
        source, target = inside(self._home, path.lstrip("/")), inside(self._folder, point.lstrip("/"))
        if source is not None and target is not None and source.is_dir():
            with suppress(OSError):
                target.parent.mkdir(parents=True, exist_ok=True)
                target.symlink_to(source)

    # -- after

    async def send(self, results: str, *, alone: bool) -> None:
        """Takes the outputs to their places in the home, then the four result files.

        May be repeated after a crash: what has arrived is left as it is.

        Args:
            results: the folder of the result files, which is made.
            alone: nobody works in the job directory any more; then it becomes that folder, in one step.

        Raises:
            SendFailed: a grid would not get these results off the node.
        """
        report = f"{self._job_id}.io-status"
        # An empty report is that of a full disk.
        if not (self._recalled and _has_content(f"{self._place}/{report}")):
            missing = 0
            if "OUTPUTFILES" in self._description.keywords:
                for transfer in self._description.transfers("OUTPUTFILES"):
                    missing += not await self._send_one(transfer)
            there = self._listing()
            self._require_streams(results, there)
            self._report(missing, alone=alone)
        else:
            there = self._listing()
        if alone and not os.path.exists(results):
            self._turn_into(results, there)
            return
        _make_folder(results)
        for suffix in ("stdout", "stderr", "io-status", "status"):  # .status last: it tells that all is there
            with suppress(FileNotFoundError):
                name = f"{self._job_id}.{suffix}"
                os.rename(f"{self._place}/{name}", f"{results}/{name}")

    def _listing(self) -> list[str]:
        try:
            return os.listdir(self._place)
        except FileNotFoundError:
            return []  # the job removed all of it, or a session that died has moved it

    def _require_streams(self, results: str, there: list[str]) -> None:
        for suffix in ("stdout", "stderr", "status"):
            name = f"{self._job_id}.{suffix}"
            if name not in there and not os.path.exists(f"{results}/{name}"):
                raise SendFailed(f"the job removed {name}")

    def _turn_into(self, results: str, there: list[str]) -> None:
        """Makes the job directory the folder of the results: all else in it goes, and then it is renamed."""
        keep = {f"{self._job_id}.{suffix}" for suffix in ("stdout", "stderr", "io-status", "status")}
        for name in there:
            if name not in keep:
                try:
                    os.unlink(f"{self._place}/{name}")
                except FileNotFoundError:
                    pass  # it is the report by now
                except IsADirectoryError:
                    remove_tree(f"{self._place}/{name}")
        try:
            os.rename(self._place, results)
        except FileNotFoundError:
            _make_folder(os.path.dirname(results))
            os.rename(self._place, results)
        self.is_moved = True

    def _report(self, missing: int, *, alone: bool) -> None:
        inputs, executables = self._codes
        tries = _FETCH_TRIES if inputs or executables else 1
        text = (
            f"get_special_input_files 0\nget_input_files {inputs}\nget_executables {executables}\n" * tries
            + f"output_files_missing {missing}\nsend_output_files 0\nsend_io_files 0\n"
        )
        path = f"{self._place}/{self._job_id}.io-status"
        if alone:
            _reuse(f"{self._place}/{self._job_id}.log", path)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644)
        try:
            os.write(descriptor, text.encode("ascii"))
        finally:
            os.close(descriptor)

    async def _send_one(self, transfer: Transfer) -> bool:
        """Sends one output. False where it is missing."""
        source = self._source(transfer.source)
        if source is None:
            return False
        if source.is_dir():
            return True  # lost without a word
        if not source.stat().st_mode & stat.S_IRUSR:
            raise SendFailed(f"output {transfer.source} cannot be read")
        if "://" in transfer.destination:
            try:
                await upload(source, transfer.destination)
            except MigError as error:
                raise SendFailed(f"output {transfer.source} cannot be sent: {error}") from error
            return True
        target = inside(self._home, transfer.destination)
        if target is None or target == inside(self._home, ".") or target.name == ".htaccess":
            raise SendFailed(f"output {transfer.source} may not go to {transfer.destination}")
        # A file may stand where a folder must, or the other way round: lost without a word.
        with suppress(NotADirectoryError, IsADirectoryError, FileExistsError):
            await self._deliver(source, target)
        return True

    def _source(self, name: str) -> Path | None:
        path = self._folder / name
        try:
            if path.is_symlink() and not os.path.isabs(os.readlink(path)):
                return None  # only the link is taken off the node, and it points nowhere there
            return path if path.exists() else None
        except OSError:
            return None

    async def _deliver(self, source: Path, target: Path) -> None:
        if target.is_dir():
            return
        target.parent.mkdir(parents=True, exist_ok=True)
        information = source.stat(follow_symlinks=False)
        if stat.S_ISREG(information.st_mode) and information.st_nlink == 1:
            # A second name for the same file costs nothing, and the first stays for a repetition after a crash.
            temporary = target.with_name(f".{target.name[:200]}.{self._folder.name}")
            with suppress(OSError):
                source.chmod(0o644)
                os.link(source, temporary)
                os.rename(temporary, target)
                return
            temporary.unlink(missing_ok=True)
        await copy_file(source, target)
        target.chmod(0o644)

    def keep(self, stdout: Path, stderr: Path) -> None:
        """Keeps what a failed attempt wrote, which a grid throws away. It stays in the job directory, too.

        For until the failure is recorded, the attempt may be taken up again.
        """
        for suffix, path in (("stdout", stdout), ("stderr", stderr)):
            with suppress(OSError):
                path.parent.mkdir(mode=0o700, exist_ok=True)
                path.unlink(missing_ok=True)
                _give_second_name(f"{self._place}/{self._job_id}.{suffix}", path)


def _reuse(old: str, new: str) -> None:
    """Makes an empty file of one that would be removed: some file systems are slow to make a file anew."""
    with suppress(OSError):
        information = os.lstat(old)
        # Not where the job put something else in its place, or gave it a second name, as an output has.
        if information.st_mode == stat.S_IFREG | 0o644 and information.st_nlink == 1:
            os.truncate(old, 0)
            os.rename(old, new)


def _has_content(path: str) -> bool:
    try:
        return os.stat(path).st_size > 0
    except FileNotFoundError:
        return False


def _give_second_name(source: str, path: Path) -> None:
    try:
        os.link(source, path)
    except FileNotFoundError:
        raise
    except OSError:  # a file system without hard links
        os.rename(source, path)


def _make_folder(folder: str) -> None:
    try:
        os.mkdir(folder)
    except FileExistsError:
        pass
    except FileNotFoundError:
        os.makedirs(folder, exist_ok=True)


def verify(description: Description, home: Path, results: str, job_id: str) -> str:
    """Compares results with the user's VERIFYFILES; the text of ``verified`` (docs/protocol.md#keywords)."""
    names = description.lines("VERIFYFILES")
    if not names:
        return "NO"
    verdicts = [_verify_one(name, home, results, job_id) for name in names]
    good = all(good for good, _ in verdicts)
    return f"{'SUCCESS' if good else 'FAILURE'} - {' '.join(text for _, text in verdicts)}"


def _verify_one(name: str, home: Path, results: str, job_id: str) -> tuple[bool, str]:
    suffix = name.rpartition(".")[2]
    wanted = inside(home, name.lstrip("/"))
    if wanted is None or not wanted.is_file():
        return False, f"{suffix}: {name} does not exist!"
    expected = wanted.read_text("utf-8", "replace").splitlines()
    got = Path(results, f"{job_id}.{suffix}").read_text("utf-8", "replace").splitlines()
    mismatch = _mismatch(expected, got)
    return (True, f"{suffix}: OK") if mismatch is None else (False, f"{suffix}: FAILED ({mismatch})")


def _mismatch(expected: list[str], got: list[str]) -> str | None:
    if len(expected) != len(got):
        return f"expected {len(expected)} lines, got {len(got)}"
    for wanted, line in zip(expected, got, strict=True):
        try:
            same = re.match(wanted, line) is not None
        except re.error:
            same = wanted == line
        if not same:
            return f"found mismatch: '{line}' vs '{wanted}' (False)"
    return None


def remove_tree(folder: str) -> None:
    """Removes a job directory; quick for the few flat files that most have."""
    try:
        for name in os.listdir(folder):
            os.unlink(f"{folder}/{name}")
        os.rmdir(folder)
    except FileNotFoundError:
        return
    except OSError:
        shutil.rmtree(folder, ignore_errors=True)
