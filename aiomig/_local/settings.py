"""What a local session can be told, and what the machine it stands on offers."""

from __future__ import annotations

import getpass
import os
import platform
import shutil
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

from .._core.errors import LocalError
from .._spec.mrsl import Description

if TYPE_CHECKING:
    from collections.abc import Mapping

PRIVATE = ".aiomig"
"""Local mode's own folder in a home; no path of a user leads into it."""

_SECONDS = 86_400
"""The longest wall time of the one emulated resource, as MAXFILL and MIG_MAXSECONDS show it."""

_PASSED_ON = ("HOME", "LOGNAME", "PATH", "SHELL", "TMPDIR", "USER")
"""What a job sees of this program's environment; a grid has these and no others (golden case env)."""


def usable_cores() -> int:
    """The cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


@dataclass(frozen=True)
class LocalSettings:
    """The settings of one local session, checked by whoever makes them."""

    home: Path
    slots: int = 1
    limits: bool = False
    default_retries: int = 0
    wall_time_grace: float = 90.0
    expire_after: float = 31_536_000.0
    kill_grace: float = 0.0
    pass_environment: tuple[str, ...] = ()
    vgrids: tuple[str, ...] = ()
    runtime_environments: Mapping[str, Mapping[str, str]] = field(default_factory=lambda: MappingProxyType({}))
    bash: str = "/bin/bash"

    @cached_property
    def folder(self) -> Path:
        """Local mode's own folder."""
        return self.home / PRIVATE

    @cached_property
    def runs(self) -> Path:
        """Where the job directories are."""
        return self.folder / "run"

    @cached_property
    def kept(self) -> Path:
        """Where the output of failed attempts is kept."""
        return self.folder / "kept"

    @cached_property
    def empty(self) -> str:
        """A file without content, which job directories have links to."""
        return f"{self.folder}/empty"

    def results(self, job_id: str) -> str:
        """The folder of a job's results."""
        return f"{self.home}/job_output/{job_id}"


def find_bash() -> str:
    """The path of bash.

    Raises:
        LocalError: there is none.
    """
    found = shutil.which("bash") or shutil.which("bash", path=os.defpath)
    if found is None:
        raise LocalError(
            "local mode runs jobs by bash, and there is no bash on this machine's PATH",
            remedy="install bash, or add its folder to PATH",
        )
    return found


def filled(description: Description, settings: LocalSettings) -> Description:
    """The description with MAXFILL carried out: all of the resource where it says so (golden.md, 4.2)."""
    words = description.lines("MAXFILL")
    if not words:
        return description
    offer = {
        "CPUTIME": _SECONDS,
        "NODECOUNT": 1,
        "CPUCOUNT": settings.slots,
        "MEMORY": os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") >> 20,
        "DISK": shutil.disk_usage(settings.home).free >> 30,
    }
    keywords = dict(description.keywords)
    for keyword, amount in offer.items():
        if keyword in words or "ALL" in words:
            keywords[keyword] = (str(amount),)
    return Description(keywords)


def base_environment(settings: LocalSettings) -> dict[str, str]:
    """The part of a job's environment that is the same for all jobs of a session."""
    user = _user_name()
    environment = {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
    environment.setdefault("PATH", os.defpath)
    environment.setdefault("HOME", str(Path.home()))
    environment["SHELL"] = settings.bash
    environment["USER"] = environment["LOGNAME"] = user
    for name in settings.pass_environment:
        if name in os.environ:
            environment[name] = os.environ[name]
    environment |= {
        "MIG_ADMINEMAIL": "",
        "MIG_EXENODE": platform.node() or "localhost",
        "MIG_EXEUNIT": "exe",
        "MIG_JOBNAME": "MiG_exe",
        "MIG_LRMS_ERR": "MiG_exe.err",
        "MIG_LRMS_OUT": "MiG_exe.out",
        "MIG_MAXNODES": "1",
        "MIG_MAXSECONDS": str(_SECONDS),
        "MIG_SUBMITUSER": user,
        "MIG_USER": user,
    }
    return environment


def _user_name() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return str(os.getuid())


def job_environment(
    base: Mapping[str, str],
    description: Description,
    settings: LocalSettings,
    *,
    job_id: str,
    local_name: str,
) -> dict[str, str]:
    """The whole environment of one job."""
    number = description.number
    nodes = str(number("NODECOUNT"))
    environment = {
        **base,
        "MIG_JOBID": job_id,
        # The double slash is a grid's own: jobs must not compare this with $PWD.
        "MIG_JOBDIR": f"{settings.runs}//job-dir_{local_name}",
        "MIG_LOCALJOBNAME": local_name,
        "MIG_JOBNODES": nodes,
        "MIG_JOBNODECOUNT": nodes,
        "MIG_JOBCPUTIME": str(number("CPUTIME")),
        "MIG_JOBSECONDS": str(number("CPUTIME")),
        "MIG_JOBCPUCOUNT": str(number("CPUCOUNT")),
        "MIG_JOBMEMORY": str(number("MEMORY")),
        "MIG_JOBDISK": str(number("DISK")),
    }
    for name in description.lines("RUNTIMEENVIRONMENT"):
        environment |= settings.runtime_environments.get(name.upper(), {})
    return environment
