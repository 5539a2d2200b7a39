"""Reads the results of jobs, and the output of running jobs."""

from __future__ import annotations

import logging
import math
import re
from contextlib import aclosing
from typing import TYPE_CHECKING

import anyio

from .._backend import KINDS
from .._core.errors import ProtocolError, ServerError
from .._core.models import JobState
from .protocol.jobs import raise_unless_live

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from .._backend import HomeBackend
    from .._core.models import JobStatus
    from .config import RequestLimits
    from .operations import OperationClient

_TOO_SOON = re.compile(r"must wait at least (\d{1,6}) seconds")
_LONGEST_PAUSE = 600.0

logger = logging.getLogger("aiomig.grid")


class ResultReader:
    """Reads the files in ``job_output``.

    Args:
        home: the home that contains the files.
        operations: the operations of the server.
        limits: the largest file to read into memory, and the interval of requests for live output.
    """

    def __init__(self, home: HomeBackend, operations: OperationClient, limits: RequestLimits) -> None:
        self._home = home
        self._operations = operations
        self._limits = limits
        self._live_requests: dict[str, float] = {}

    async def results(self, status: JobStatus) -> dict[str, bytes]:
        """Read the four result files by ``cert_redirect``. A grid has none for a job that is not FINISHED."""
        if status.state is not JobState.FINISHED:
            return {}
        contents = {kind: await self.read(status.job_id, kind) for kind in KINDS}
        return {kind: content for kind, content in contents.items() if content is not None}

    async def read(self, job_id: str, kind: str, start: int = 0) -> bytes | None:
        """Read a result file, starting at an offset; ``None`` if it does not exist.

        Raises:
            ProtocolError: it is too large.
        """
        path = f"job_output/{job_id}/{job_id}.{kind}"
        content = bytearray()
        try:
            async with aclosing(self._home.read(path, start)) as pieces:
                async for piece in pieces:
                    content += piece
                    if len(content) > self._limits.largest_result:
                        raise ProtocolError(
                            f"{path} has more than {self._limits.largest_result >> 20} MiB, which is too much for "
                            f"memory; download it: session.files.get({path!r}, …)"
                        )
        except FileNotFoundError:
            return None
        return bytes(content)

    async def request_live_output(self, job_id: str) -> None:
        """Request the output of a running job by ``liveio``, unless it was requested a short time ago."""
        now = anyio.current_time()
        if now - self._live_requests.get(job_id, -math.inf) < self._limits.live_output:
            return
        self._live_requests[job_id] = now
        try:
            raise_unless_live(await self._operations.execute("liveio", [("action", "send"), ("job_id", job_id)]))
        except ServerError as error:
            logger.debug("no live output of %s: %s", job_id, error)

    async def pass_files(self, job_id: str, action: str, sources: Sequence[str], destination: str | None) -> None:
        """Request files from a running job by ``liveio``, or send files to it. Wait until the server accepts that.

        The arguments are those of `Backend.live`.

        Raises:
            JobNotFound: there is no such job.
            ServerError: the server refuses the request.
        """
        fields = [("action", action), ("job_id", job_id), *(("src", source) for source in sources)]
        if destination is not None:
            fields.append(("dst", destination))
        while True:
            now = anyio.current_time()
            pause = self._live_requests.get(job_id, -math.inf) + self._limits.live_output - now
            if pause > 0:
                await anyio.sleep(pause)
                continue
            self._live_requests[job_id] = now
            try:
                raise_unless_live(await self._operations.execute("liveio", fields))
            except ServerError as error:
                too_soon = _TOO_SOON.search(" ".join(error.messages))
                if too_soon is None:
                    raise
                await anyio.sleep(min(float(too_soon[1]), _LONGEST_PAUSE))
            else:
                return

    def forget(self, job_ids: Iterable[str]) -> None:
        """Forget when the live output of these jobs was last requested."""
        for job_id in job_ids:
            self._live_requests.pop(job_id, None)
