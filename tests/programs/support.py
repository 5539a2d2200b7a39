"""Named pipes, child programs and the ends of processes. Every wait is for an event, never for time."""

from __future__ import annotations

import json
import os
import select
import shlex
import signal
import subprocess
import sys
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import anyio

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, Mapping, Sequence

PROGRAMS = Path(__file__).parent
ROOT = PROGRAMS.parent.parent
PATIENCE = 60.0
"""Seconds after which a missing event is a failure. A test that passes does not depend on it."""


def environment(**more: str) -> dict[str, str]:
    """Return an environment in which a child finds aiomig from any working directory."""
    return {**os.environ, "PYTHONPATH": str(ROOT), **more}


def command(program: str, *arguments: object) -> list[str]:
    """Return the command line of one of the programs here."""
    return [sys.executable, "-W", "error", str(PROGRAMS / f"{program}.py"), *map(str, arguments)]


class _Lines:
    """Reads whole lines from a non-blocking descriptor."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._rest = b""

    async def next(self) -> str:
        """Return the next line without its end.

        Raises:
            EOFError: there are no more lines.
        """
        with anyio.fail_after(PATIENCE):
            while b"\n" not in self._rest:
                await anyio.wait_readable(self._descriptor)
                piece = os.read(self._descriptor, 65536)
                if not piece:
                    raise EOFError(self._rest.decode())
                self._rest += piece
        line, _, self._rest = self._rest.partition(b"\n")
        return line.decode()


def lines(descriptor: int) -> _Lines:
    """Return a reader of whole lines from a pipe."""
    os.set_blocking(descriptor, False)
    return _Lines(descriptor)


class Pipe:
    """A named pipe between a test and its jobs. The test keeps both ends open, so that opening it never blocks.

    Use it in one direction: jobs `write` lines that the test reads, or jobs `wait` for lines that the test sends.
    """

    def __init__(self, path: Path) -> None:
        os.mkfifo(path)
        self._descriptor = os.open(path, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
        self._lines = _Lines(self._descriptor)
        self._quoted = shlex.quote(str(path))

    async def line(self) -> str:
        """Return the next line that a job wrote."""
        return await self._lines.next()

    def send(self, lines: int = 1) -> None:
        """Let so many waiting jobs continue."""
        os.write(self._descriptor, b"\n" * lines)

    def write(self, text: str) -> str:
        """Return the shell command that writes a line. The shell expands ``text``."""
        return f'echo "{text}" > {self._quoted}'

    @property
    def wait(self) -> str:
        """Return the shell command that waits for a line."""
        return f"read -r _ < {self._quoted}"

    def close(self) -> None:
        """Close the pipe."""
        os.close(self._descriptor)


@contextmanager
def pipes(folder: Path, *names: str) -> Iterator[list[Pipe]]:
    """Provide several pipes for one test."""
    made = [Pipe(folder / name) for name in names]
    try:
        yield made
    finally:
        for pipe in made:
            pipe.close()


class Child:
    """A running program that reads and writes lines."""

    def __init__(self, arguments: Sequence[str], variables: Mapping[str, str] | None = None) -> None:
        self.process = subprocess.Popen(
            arguments,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=environment(**(variables or {})),
            bufsize=0,
        )
        assert self.process.stdout is not None
        self._lines = _Lines(self.process.stdout.fileno())

    async def line(self) -> str:
        """Return the next line that the program printed."""
        return await self._lines.next()

    def tell(self, *order: object) -> None:
        """Send an order to a worker."""
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(order).encode() + b"\n")

    async def ask(self, *order: object) -> str:
        """Send an order to a worker. Return its reply."""
        self.tell(*order)
        return await self.line()

    def kill(self) -> None:
        """Kill the program, and wait for its end."""
        self.process.kill()
        self.process.wait(PATIENCE)

    async def ended(self) -> int:
        """Wait for the end of the program. Return its exit code."""
        with suppress(EOFError):
            while True:
                await self.line()
        return self.process.wait(PATIENCE)


@contextmanager
def child(program: str, *arguments: object, **variables: str) -> Iterator[Child]:
    """Run one of the programs here, and kill it at the end of the block."""
    running = Child(command(program, *arguments), variables)
    try:
        yield running
    finally:
        running.kill()
        for stream in (running.process.stdin, running.process.stdout):
            if stream is not None:
                stream.close()


@asynccontextmanager
async def worker(home: Path, backend: str, *, moment: str = "", **settings: object) -> AsyncIterator[Child]:
    """Run another process with an open session on a home. It takes orders."""
    with child("worker", backend, home, json.dumps(settings), MOMENT=moment) as running:
        assert await running.line() == "open"
        yield running


def run(program: str, *arguments: object, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run one of the programs here to its end."""
    return subprocess.run(
        command(program, *arguments),
        env=environment(**variables),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )


class Processes:
    """Processes that a test waits for. It holds process descriptors, because the system may reuse a number."""

    def __init__(self, *numbers: int | str) -> None:
        self.numbers = [int(number) for number in numbers]
        self._descriptors = [os.pidfd_open(number) for number in self.numbers]

    def running(self) -> list[int]:
        """Return the numbers of the processes that have not ended."""
        pairs = zip(self.numbers, self._descriptors, strict=True)
        return [number for number, descriptor in pairs if not _has_ended(descriptor)]

    async def ends(self, count: int) -> None:
        """Wait until so many of the processes have ended."""
        with anyio.fail_after(PATIENCE):
            while len(self.running()) > len(self.numbers) - count:
                await self._next_end()

    async def _next_end(self) -> None:
        waiting = [each for each in self._descriptors if not _has_ended(each)]
        async with anyio.create_task_group() as tasks:

            async def one(descriptor: int) -> None:
                await anyio.wait_readable(descriptor)
                tasks.cancel_scope.cancel()

            for descriptor in waiting:
                tasks.start_soon(one, descriptor)

    def kill(self) -> None:
        """Kill the processes and their process groups."""
        for number, descriptor in zip(self.numbers, self._descriptors, strict=True):
            with suppress(ProcessLookupError):
                os.killpg(number, signal.SIGKILL)
            with suppress(ProcessLookupError):
                signal.pidfd_send_signal(descriptor, signal.SIGKILL)

    async def gone(self) -> None:
        """Wait until all processes have ended."""
        with anyio.fail_after(PATIENCE):
            for descriptor in self._descriptors:
                await anyio.wait_readable(descriptor)

    def close(self) -> None:
        """Kill the processes that are left."""
        for descriptor in self._descriptors:
            with suppress(ProcessLookupError):
                signal.pidfd_send_signal(descriptor, signal.SIGKILL)
            os.close(descriptor)


def _has_ended(descriptor: int) -> bool:
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    return bool(poll.poll(0))


@contextmanager
def processes(*numbers: int | str) -> Iterator[Processes]:
    """Hold processes, and kill them at the end of the block."""
    held = Processes(*numbers)
    try:
        yield held
    finally:
        held.close()
