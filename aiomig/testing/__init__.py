"""A MiG server for tests: `FakeGrid`, in memory or over TLS.

Needs nothing but aiomig in memory. Over TLS it needs trustme, which ``pip install aiomig[test]`` brings.
"""

from __future__ import annotations

from ._certificates import Authority, ClientFiles
from ._faults import Dropped, Faults
from ._process import ServerProcess
from ._scripted import GridJob
from ._server import FakeGrid, RecordedRequest
from ._site import USER, Site
from ._wire import Request, Response

__all__ = [
    "USER",
    "Authority",
    "ClientFiles",
    "Dropped",
    "FakeGrid",
    "Faults",
    "GridJob",
    "RecordedRequest",
    "Request",
    "Response",
    "ServerProcess",
    "Site",
]
