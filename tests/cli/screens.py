"""A terminal for tests: runs a program, and shows its screen as text."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import select
import struct
import subprocess
import sys
import termios
import time
from typing import TYPE_CHECKING

import pyte

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from types import TracebackType
    from typing import Self

LONGEST = 60.0

LAUNCHER = "import fcntl, os, sys, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0); os.execv(sys.argv[1], sys.argv[1:])"
"""Makes standard input the controlling terminal. Code between fork and exec would be unsafe if there are threads."""


class Screen:
    """A process whose controlling terminal is a pseudo-terminal.

    Args:
        command: the program and its arguments.
        environment: all of its variables.
        cwd: where it runs.
        columns: the width.
        lines: the height.
    """

    def __init__(
        self, command: Sequence[str], environment: Mapping[str, str], cwd: str, *, columns: int = 100, lines: int = 24
    ) -> None:
        self._screen = pyte.Screen(columns, lines)
        self._stream = pyte.ByteStream(self._screen)
        self.written = b""
        self._master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))
        self._process = subprocess.Popen(
            [sys.executable, "-S", "-c", LAUNCHER, *command],
            stdin=slave,
            stdout=slave,
            stderr=slave,
            env={**environment, "TERM": "xterm-256color"},
            cwd=cwd,
            start_new_session=True,
        )
        os.close(slave)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()
        os.close(self._master)

    @property
    def text(self) -> str:
        """The text on the screen, without trailing blanks and blank lines."""
        return "\n".join(line.rstrip() for line in self._screen.display).rstrip()

    def colors(self, word: str) -> set[str]:
        """Return the colours of a word on the screen."""
        found: set[str] = set()
        for number, line in enumerate(self._screen.display):
            at = line.find(word)
            if at >= 0:
                found |= {self._screen.buffer[number][at + place].fg for place in range(len(word))}
        return found

    def type(self, text: str) -> None:
        """Type text."""
        os.write(self._master, text.encode())

    def until(self, condition: Callable[[str], object]) -> str:
        """Read until the screen fulfils a condition; return its text."""
        deadline = time.monotonic() + LONGEST
        while not condition(self.text):
            if not self._read(deadline):
                raise AssertionError(f"the program ended, or said nothing, with this screen:\n{self.text}")
        return self.text

    def end(self) -> int:
        """Read to the end; return the exit code."""
        deadline = time.monotonic() + LONGEST
        while self._read(deadline):
            pass
        return self._process.wait(LONGEST)

    def _read(self, deadline: float) -> bool:
        ready, _, _ = select.select([self._master], [], [], max(deadline - time.monotonic(), 0))
        data = b""
        with contextlib.suppress(OSError):  # EIO: no process has the terminal open any more
            data = os.read(self._master, 1 << 16) if ready else b""
        self.written += data
        self._stream.feed(data)
        return bool(data)
