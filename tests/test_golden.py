"""Runs of a real grid, repeated in local mode: see tests/golden/README.md.

Each recorded description is submitted to a fresh session, what was done to the job on the grid is done to it here in
the same state, and how it ended there and here is compared. `DIFFERENT` is the list of all that differs on purpose.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import anyio
import anyio.lowlevel
import pytest

import aiomig
from aiomig import JobState
from tests.golden.runs import Ending, Run, local_ending, put_before, recorded, snapshot

HOST = "shows the host, its user, its paths or the time"
NO_RESOURCE = "waits on a grid without such a resource; this machine takes it"
LOSES = "taken and lost by a grid; refused here before anything is sent, as a spec with that fault is"
NOT_EMULATED = "live I/O and message queues from inside a job are not emulated"

DIFFERENT: Mapping[str, tuple[str, str]] = {
    # name: (what differs: a field of Ending, "refused FIELD", "taken" or "all", and why)
    "background": ("stdout", "shows a process id"),
    "env": ("stdout", HOST),
    "env-mig": ("stdout", HOST),
    "in-dotdot-dst": ("stdout", "`ls ..` shows what else is on the host"),
    "jobname": ("stdout", "MIG_JOBNAME is the name of the execution unit"),
    "ls-start": ("stdout", HOST),
    "maxfill": ("stdout", "MAXFILL gives the job all of this machine"),
    "out-5mb": ("stdout home", "random content"),
    "out-same-a": ("home", HOST),
    "ps": ("stdout", HOST),
    "pwd-id": ("stdout", HOST),
    "thirty": ("stdout", HOST),
    "ulimit-set": ("stdout", HOST),
    "exe-url": ("stdout", HOST),
    "jobdir-unset": ("stderr", "the lost accounting complains of another path: root could write to the grid's"),
    "arch-wrong": ("taken", NO_RESOURCE),
    "cpucount-2": ("taken", NO_RESOURCE),
    "memory-big": ("taken", NO_RESOURCE),
    "mount": ("taken", NO_RESOURCE),
    "nodecount-2": ("taken", NO_RESOURCE),
    "platform-other": ("taken", NO_RESOURCE),
    "sandbox-true": ("taken", NO_RESOURCE),
    "in-quote": ("refused inputs", LOSES),
    "out-dotdot": ("refused outputs", LOSES),
    "out-hidden": ("refused outputs", LOSES),
    "out-status-name": ("refused outputs", LOSES),
    "cancel-staging": ("taken", "a missing input is looked for once, not for a minute in which to cancel"),
    "liveio": ("all", NOT_EMULATED),
    "mqueue": ("all", NOT_EMULATED),
    "self-liveio": ("all", NOT_EMULATED),
}

_GATE = "/tmp/aiomig-golden-gate"
SUBSTITUTIONS: Mapping[str, Mapping[str, str]] = {
    # Times are shortened, and what was written to /tmp goes to the folder of the test.
    "background-late": {"seq 60": "seq 1", "/tmp/gold-bg.txt": "TMP/bg.txt"},
    "background-wait": {"sleep 2;": "sleep 0.2;"},
    "freeze-executing": {"sleep 12": "read x <TMP/gate"},
    "in-file-url": {"/tmp/gsrv/plainfile.txt": "TMP/plainfile.txt"},
    "out-abs": {"/tmp/gold-abs.txt": "TMP/gold-abs.txt"},
    "out-same-a": {"sleep 2": "sleep 0.2"},
    "overtime-ok": {"sleep 50": "sleep 2", "::CPUTIME::\\n10": "::CPUTIME::\\n1"},
    "retry-then-ok": {"/tmp/gold-retry-marker": "TMP/marker"},
    "sleep-only-two": {"sleep 2": "sleep 0.2", "sleep 1": "sleep 0.1"},
}
