"""The settings of the site, which a test can choose."""

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
        csrf: which operations require a token (docs/protocol.md#csrf-tokens).
        server_id: the end of the job ids.
        parse_time: seconds that a new job stays in the state PARSE.
        retries: extra attempts of a job without RETRIES.
        architectures: the values of ARCHITECTURE.
        job_types: the values of JOBTYPE.
        vgrids: the values of VGRID, in addition to ANY.
        runtime_environments: the values of RUNTIMEENVIRONMENT, with the variables that each sets.
        nodes: the nodes of the one resource; a job with a higher NODECOUNT stays in the queue
            (docs/protocol.md#matching).
        expire_after: seconds that a job may wait in the queue; 0 for no limit.
        jobs_enabled: whether the site runs jobs; otherwise ``jobman`` and job operations report an error.
        resubmit_works: whether ``resubmit`` works, as on a fixed server, or crashes, as on Python 3.
        empty_results: whether the result files arrive empty although the job is FINISHED, as on a Python 3 server
            without fixes (docs/protocol.md#python-3-servers).
        wsgi: whether ``wsgi-bin`` works; otherwise it responds with HTTP 500 (docs/protocol.md#endpoints).
        cgi: whether ``cgi-bin`` exists.
        liveio_interval: the minimum of seconds between two ``liveio`` requests for one job.
        liveio_time: seconds until ``liveio`` has copied the files.
        transfer_time: seconds that a data transfer takes.
        largest_chunk: the most bytes that ``uploadchunked`` accepts at once.
        keep_alive: seconds after which the server closes an idle connection.
        requests_per_connection: the number of requests after which the server closes a connection.
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
