"""The settings of the site that a test can choose."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Mapping

USER = "/C=DK/ST=NA/L=NA/O=Test Org/OU=NA/CN=Test User/emailAddress=test@example.org"
"""The user of a `FakeGrid`."""


@dataclass(frozen=True, slots=True)
class Site:
    """How a `FakeGrid` is set up. The defaults are those of the recorded server (docs/protocol.md#recorded-runs).

    Attributes:
        csrf: how strictly state changers want a token (docs/protocol.md#csrf-tokens).
        server_id: the end of the job ids.
        parse_time: seconds that a job is in the state PARSE after it was submitted.
        retries: extra attempts of a job that does not say.
        architectures: what ARCHITECTURE may say.
        job_types: what JOBTYPE may say.
        vgrids: what VGRID may say, beside ANY.
        runtime_environments: what RUNTIMEENVIRONMENT may say, with the variables that each sets.
        nodes: what the one resource has; a job with more in NODECOUNT stays in the queue (docs/protocol.md#matching).
        expire_after: seconds that a job may wait; 0 for ever.
        jobs_enabled: whether the site runs jobs at all; else job operations say so and ``jobman`` too.
        resubmit_works: whether ``resubmit`` answers, as on a patched server, or crashes, as on Python 3.
        empty_results: whether the result files arrive empty while the job is FINISHED, as on an unpatched
            Python 3 server (docs/protocol.md#python-3-servers).
        wsgi: whether ``wsgi-bin`` works; else it answers HTTP 500 (docs/protocol.md#endpoints).
        cgi: whether ``cgi-bin`` is there.
        liveio_interval: the least seconds between two ``liveio`` requests for one job.
        liveio_time: seconds until what was asked for by ``liveio`` has arrived.
        transfer_time: seconds until a data transfer has ended.
        largest_chunk: bytes that ``uploadchunked`` takes at once.
        keep_alive: seconds after which an idle connection is closed.
        requests_per_connection: after so many the server closes the connection.
    """

    csrf: Literal["MINIMAL", "WARN", "MEDIUM", "FULL"] = "MEDIUM"
    server_id: str = "localhost.0"
    parse_time: float = 0.2
    retries: int = 2
    architectures: tuple[str, ...] = (
        "X86", "AMD64", "IA64", "SPARC", "SPARC64", "ITANIUM", "SUN4U", "SPARC-T1", "SPARC-T2", "PS3", "CELL",
    )  # fmt: skip
    job_types: tuple[str, ...] = ("batch", "interactive", "all")
    vgrids: tuple[str, ...] = ("Generic",)
    runtime_environments: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    nodes: int = 1000
    expire_after: float = 31_536_000.0
    jobs_enabled: bool = True
    resubmit_works: bool = False
    empty_results: bool = False
    wsgi: bool = True
    cgi: bool = True
    liveio_interval: float = 60.0
    liveio_time: float = 19.0
    transfer_time: float = 1.0
    largest_chunk: int = 67_108_864
    keep_alive: float = 15.0
    requests_per_connection: int = 101
