"""`GridJob`: a job for a test, with its description and the methods that change its state."""

from __future__ import annotations

import posixpath
from typing import TYPE_CHECKING

from .._spec.quoting import unquote
from ._jobs import FINAL

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence
    from pathlib import Path

    from .._spec.mrsl import Description
    from ._jobs import Job, Jobs

_IO_STATUS = (
    "get_special_input_files 0\nget_input_files 0\nget_executables 0\n"
    "output_files_missing {missing}\nsend_output_files 0\nsend_io_files 0\n"
)


class GridJob:
    """A job of a `FakeGrid`. Made by the grid; see `FakeGrid.job` and `FakeGrid.jobs`.

    All times are seconds of the server's clock, counted from the call; with a virtual clock they pass at once. If the
    job has ended meanwhile, for example because it was canceled, a later step has no effect, as on a server.
    """

    def __init__(
        self,
        job: Job,
        jobs: Jobs,
        home: Path,
        update_clock: Callable[[], object],
        wait_for_change: Callable[[], Awaitable[object]],
    ) -> None:
        self._job = job
        self._jobs = jobs
        self._home = home
        self._update_clock = update_clock
        self._wait_for_change = wait_for_change

    def __repr__(self) -> str:
        return f"<GridJob {self.id} {self._job.state}>"

    @property
    def id(self) -> str:
        """The job id."""
        return self._job.id

    @property
    def description(self) -> Description:
        """The description: keywords and lines, as the server read them."""
        return self._job.description

    @property
    def commands(self) -> tuple[str, ...]:
        """The EXECUTE lines."""
        return self._job.description.lines("EXECUTE")

    @property
    def name(self) -> str | None:
        """The JOBNAME, or ``None``."""
        return self._job.description.text("JOBNAME") or None

    @property
    def environment(self) -> dict[str, str]:
        """The ENVIRONMENT: names and values. A value that only a shell can interpret stays as it is written."""
        pairs = (line.partition("=") for line in self._job.description.lines("ENVIRONMENT"))
        return {name: value if (plain := unquote(value)) is None else plain for name, _, value in pairs}

    @property
    def inputs(self) -> dict[str, bytes]:
        """The content of its INPUTFILES and EXECUTABLES in the home now, by the name in the job.

        Missing files and URLs are left out.
        """
        lines = [*self._job.description.transfers("INPUTFILES"), *self._job.description.transfers("EXECUTABLES")]
        places = {line.destination: self._home / line.source for line in lines if "://" not in line.source}
        return {name: place.read_bytes() for name, place in places.items() if place.is_file()}

    @property
    def outputs(self) -> tuple[str, ...]:
        """The names of its OUTPUTFILES in the job."""
        return tuple(line.source for line in self._job.description.transfers("OUTPUTFILES"))

    @property
    def state(self) -> str:
        """The present state, as MiG writes it."""
        self._update_clock()
        return self._job.state

    @property
    def is_final(self) -> bool:
        """Whether it has ended."""
        return self.state in FINAL

    async def reach(self, *states: str) -> str:
        """Wait until it reaches one of these states; return that state.

        Raises:
            RuntimeError: it ended in another state.
        """
        while (state := self.state) not in states:
            if state in FINAL:
                raise RuntimeError(f"job {self.id} is {state}, and cannot become {' or '.join(states)} any more")
            await self._wait_for_change()
        return state

    def queued(self, *, after: float = 0) -> GridJob:
        """Put it into the queue. The server does so after `Site.parse_time` in any case."""
        return self._later(after, lambda: self._jobs.queue(self._job))

    def executing(self, *, after: float = 0) -> GridJob:
        """Hand it to a resource."""
        return self._later(after, lambda: self._jobs.execute(self._job))

    def writes(self, stdout: bytes | str = b"", stderr: bytes | str = b"", *, after: float = 0) -> GridJob:
        """Write output, which ``liveio`` shows while the job executes."""

        def write() -> None:
            for name, text in (("stdout", stdout), ("stderr", stderr)):
                self._job.live[name] = self._job.live.get(name, b"") + _bytes(text)

        return self._later(after, write)

    def finish(
        self,
        stdout: bytes | str = b"",
        stderr: bytes | str = b"",
        *,
        status: Sequence[int] | bytes | str = (),
        io_status: bytes | str | None = None,
        outputs: Mapping[str, bytes | str] | None = None,
        after: float = 0,
    ) -> GridJob:
        """End it as FINISHED, with results in the home.

        Args:
            stdout: standard output of the commands, added to that of `writes`.
            stderr: standard error, likewise.
            status: the exit codes of the commands; those left out are 0. Or the content of the ``.status`` file, such
                as ``b""`` for results that never arrived.
            io_status: the content of the ``.io-status`` file.
            outputs: the content of output files, by their names in the job. Other outputs are missing.
            after: seconds from now.
        """

        def end() -> None:
            if self._job.state in FINAL:
                return
            if self._job.state != "EXECUTING":
                live = dict(self._job.live)
                self._jobs.execute(self._job)
                self._job.live.update(live)
            self._store(stdout, stderr, status, io_status, outputs or {})
            self._jobs.set(self._job, "FINISHED")

        return self._later(after, end)

    def fail(self, reason: str = "JOB TIMEOUT", *, after: float = 0) -> GridJob:
        """End it as FAILED, without another attempt."""
        return self._later(after, lambda: self._jobs.fail(self._job, reason, again=False))

    def requeue(self, reason: str = "JOB TIMEOUT", *, after: float = 0) -> GridJob:
        """Make its attempt fail, and put it back into the queue."""
        return self._later(after, lambda: self._jobs.fail(self._job, reason, again=True))

    def expire(self, *, after: float = 0) -> GridJob:
        """End it as EXPIRED, as if it had waited for too long."""
        return self._later(after, lambda: self._jobs.set(self._job, "EXPIRED"))

    def says(self, word: str | None, *, after: float = 0) -> GridJob:
        """Make the server report another state, such as one that no client knows; ``None`` undoes that."""

        def change() -> None:
            self._job.reported_state = word

        return self._later(after, change)

    def forget(self) -> None:
        """Remove it from the server, which then reports that there is no such job; `remember` brings it back."""
        self._jobs.records.pop(self.id, None)

    def remember(self) -> None:
        """Undo `forget`."""
        self._jobs.records[self.id] = self._job

    def _later(self, after: float, act: Callable[[], object]) -> GridJob:
        if after < 0:
            raise ValueError(f"after={after!r}: time does not go back; give seconds from now")
        if not self._job.scripted:
            raise RuntimeError(f"job {self.id} really runs; call grid.hold() or grid.script(…) before it is submitted")
        self._update_clock()
        self._jobs.later(after, act)
        self._update_clock()
        return self

    def _store(
        self,
        stdout: bytes | str,
        stderr: bytes | str,
        status: Sequence[int] | bytes | str,
        io_status: bytes | str | None,
        outputs: Mapping[str, bytes | str],
    ) -> None:
        missing = 0
        for transfer in self._job.description.transfers("OUTPUTFILES"):
            content = outputs.get(transfer.source)
            if content is None:
                missing += 1
            elif "://" not in transfer.destination:
                _write(self._home, transfer.destination, content)
        if not isinstance(status, bytes | str):
            codes = [*status, *([0] * len(self.commands))]
            lines = zip(self.commands, codes, strict=False)
            status = "".join(f"{command.replace(chr(39), '`')} {code}\n" for command, code in lines)
        contents = {
            "stdout": self._job.live.get("stdout", b"") + _bytes(stdout),
            "stderr": self._job.live.get("stderr", b"") + _bytes(stderr),
            "io-status": _IO_STATUS.format(missing=missing) if io_status is None else io_status,
            "status": status,
        }
        for suffix, content in contents.items():
            text = b"" if self._jobs.site.empty_results else content
            _write(self._home, f"job_output/{self.id}/{self.id}.{suffix}", text)


def _write(home: Path, path: str, content: bytes | str) -> None:
    clean = posixpath.normpath(path.lstrip("/"))
    if clean.split("/")[0] == "..":
        raise ValueError(f"{path!r}: leads out of the home")
    place = home / clean
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_bytes(_bytes(content))


def _bytes(text: bytes | str) -> bytes:
    return text.encode() if isinstance(text, str) else text
