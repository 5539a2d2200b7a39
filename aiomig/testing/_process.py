"""A `FakeGrid` over TLS in another process, for measurements that must not share an interpreter with it."""

from __future__ import annotations

import json
import os
import sys
from collections import Counter
from pathlib import Path
from subprocess import PIPE
from typing import TYPE_CHECKING, Any

import anyio
from anyio.streams.buffered import BufferedByteReceiveStream

if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self

    from anyio.abc import Process

    from ._faults import FaultKind

_LONGEST_LINE = 1 << 22


class ServerProcess:
    """Runs ``python -m aiomig.testing`` while the context is open.

    Args:
        home: the folder of the user's home; the default is a temporary folder.
        slots: how many jobs run at once.
        finish_after: finish jobs after so many seconds without running them; the default is to run them.
    """

    def __init__(self, home: Path | None = None, *, slots: int = 2, finish_after: float | None = None) -> None:
        self._command = [sys.executable, "-m", "aiomig.testing", "--slots", str(slots)]
        if home is not None:
            self._command += ["--home", str(home)]
        if finish_after is not None:
            self._command += ["--finish-after", str(finish_after)]
        self._process: Process | None = None
        self._output: BufferedByteReceiveStream | None = None
        self._lock = anyio.Lock()
        self.url: str = ""
        """The address, as ``https://host:port``."""
        self.ca: Path = Path()
        self.certificate: Path = Path()
        self.key: Path = Path()

    async def __aenter__(self) -> Self:
        root = str(Path(__file__).parents[2])  # the same aiomig, installed or not
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH")]))}
        self._process = await anyio.open_process(self._command, stdin=PIPE, stdout=PIPE, stderr=None, env=environment)
        try:
            assert self._process.stdout is not None
            self._output = BufferedByteReceiveStream(self._process.stdout)
            address = await self._read()
        except BaseException:
            await self._stop()
            raise
        self.url = address["url"]
        self.ca = Path(address["ca"])
        self.certificate = Path(address["certificate"])
        self.key = Path(address["key"])
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self._stop()

    async def _stop(self) -> None:
        process = self._process
        if process is None:
            return
        with anyio.CancelScope(shield=True):
            if process.stdin is not None:
                await process.stdin.aclose()  # the end of standard input ends the program
            with anyio.move_on_after(10):
                await process.wait()
            if process.returncode is None:
                process.kill()
                await process.wait()
            await process.aclose()

    async def _send_command(self, **command: object) -> dict[str, Any]:
        if self._process is None or self._process.stdin is None:
            raise RuntimeError("the server is not running: use it as async with ServerProcess() as server")
        async with self._lock:
            await self._process.stdin.send(json.dumps(command).encode() + b"\n")
            return await self._read()

    async def _read(self) -> dict[str, Any]:
        assert self._output is not None
        line = await self._output.receive_until(b"\n", _LONGEST_LINE)
        response: dict[str, Any] = json.loads(line)
        if "error" in response:
            raise RuntimeError(response["error"])
        return response

    async def counts(self) -> Counter[str]:
        """Return the number of requests by operation."""
        return Counter((await self._send_command(do="counts"))["counts"])

    async def connections(self) -> int:
        """Return the number of TLS connections so far."""
        return int((await self._send_command(do="counts"))["connections"])

    async def cpu_seconds(self) -> float:
        """Return the CPU time of the server, without its jobs."""
        return float((await self._send_command(do="counts"))["cpu_seconds"])

    async def add_fault(self, operation: str, kind: FaultKind, **details: object) -> None:
        """Add a fault; see `Faults.add`."""
        await self._send_command(do="fault", operation=operation, kind=kind, details=details)
