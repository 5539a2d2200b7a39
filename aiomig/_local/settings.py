"""The settings of local mode, and what the machine offers to jobs."""

from __future__ import annotations

import getpass
import os
import platform
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypedDict, get_args

from .._core.errors import LocalError, SpecError
from .._core.models import Fault
from .._core.validation import expanded, is_count, state_directory
from .._spec.mrsl import Description

if TYPE_CHECKING:
    from collections.abc import Iterator

PRIVATE = ".aiomig"
"""Local mode's own directory in a home. No path of a user leads into it."""

_SECONDS = 86_400
"""The longest wall time of the one emulated resource, as MAXFILL and MIG_MAXSECONDS show it."""

_PASSED_ON = ("HOME", "LOGNAME", "PATH", "SHELL", "TMPDIR", "USER")
"""The variables of this program that a job gets (docs/protocol.md#the-script)."""


def _find_bash() -> str:
    path = shutil.which("bash") or shutil.which("bash", path=os.defpath)
    if path is None:
        raise LocalError(
            "local mode runs jobs by bash, and there is no bash on this machine's PATH",
            remedy="install bash, or add its folder to PATH",
        )
    return path


def usable_cores(root: Path = Path("/")) -> int:
    """Return how many cores this process may use: by its affinity, and by the CPU quotas of its control groups.

    Args:
        root: where ``proc`` and the file systems of the control groups are.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, int(min([cores, *_cpu_quotas(root)])))


def _cpu_quotas(root: Path) -> Iterator[float]:
    """Yield the CPU quotas, in cores, of the control groups of this process, of versions 1 and 2."""
    for line in _lines_of(root / "proc/self/cgroup"):
        _, controllers, path = line.split(":", 2)
        if controllers == "" or "cpu" in controllers.split(","):
            for mount in _cgroup_mounts(root, controllers):
                # A container may see its own group as the root: then the rest of the path does not exist.
                for folder in (Path(mount + path), *Path(mount + path).parents):
                    if folder.is_relative_to(mount):
                        yield from _cpu_quota(folder)


def _cgroup_mounts(root: Path, controllers: str) -> Iterator[str]:
    for line in _lines_of(root / "proc/self/mountinfo"):
        fields, _, rest = line.partition(" - ")
        kind, _, options = rest.split(" ", 2)
        if kind == "cgroup" and "cpu" in options.split(",") if controllers else kind == "cgroup2":
            yield f"{root}{fields.split(' ')[4]}"


def _cpu_quota(folder: Path) -> Iterator[float]:
    words = [word for line in _lines_of(folder / "cpu.max") for word in line.split()]
    words = words or [*_lines_of(folder / "cpu.cfs_quota_us"), *_lines_of(folder / "cpu.cfs_period_us")]
    if len(words) == 2 and words[0].isdigit() and words[1].isdigit() and int(words[1]) > 0:
        yield int(words[0]) / int(words[1])


def _lines_of(path: Path) -> list[str]:
    try:
        return Path(path).read_text("utf-8", "surrogateescape").splitlines()
    except OSError:
        return []


def default_home() -> Path:
    """Return this user's default home: a private directory in the platform's state directory."""
    return state_directory() / "home"


OnExit = Literal["wait", "cancel", "leave"]


class LocalFields(TypedDict, total=False):
    """The arguments of `aiomig.local`. Its docstring describes them."""

    home: str | os.PathLike[str] | None
    slots: int | None
    shared_slots: bool
    on_exit: OnExit
    limits: bool
    default_retries: int
    wall_time_grace: float
    kill_grace: float
    lock_timeout: float
    expire_after: float
    vgrids: Iterable[str]
    runtime_environments: Mapping[str, Mapping[str, str]] | None
    pass_environment: Iterable[str]


@dataclass(frozen=True, kw_only=True)
class LocalSettings:
    """The settings of one local session; `aiomig.local` describes them.

    Built from the `LocalFields` that are not None. The types are those after `__post_init__`.

    Raises:
        SpecError: a setting is out of its range.
        LocalError: there is no bash.
    """

    home: Path = field(default_factory=default_home)
    slots: int = field(default_factory=usable_cores)
    shared_slots: bool = False
    on_exit: OnExit = "wait"
    limits: bool = False
    default_retries: int = 0
    wall_time_grace: float = 90.0
    kill_grace: float = 0.0
    lock_timeout: float = 60.0
    expire_after: float = 31_536_000.0
    vgrids: tuple[str, ...] = ()
    runtime_environments: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    pass_environment: tuple[str, ...] = ()
    bash: str = field(default="", init=False)

    def __post_init__(self) -> None:
        faults: list[Fault] = []
        if not is_count(self.slots):
            remedy = "give the number of jobs to run at once"
            faults.append(Fault("slots", self.slots, "not a positive whole number", remedy))
        if self.on_exit not in get_args(OnExit):
            remedy = "use 'wait', 'cancel' or 'leave'"
            faults.append(Fault("on_exit", self.on_exit, "not a way to leave", remedy))
        retries = self.default_retries
        if retries is False or not (retries == 0 or is_count(retries)):
            faults.append(Fault("default_retries", retries, "not a whole number of at least 0", "give a count"))
        for name in ("wall_time_grace", "expire_after", "kill_grace", "lock_timeout"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, (int, float)) or not value >= 0:
                faults.append(Fault(name, value, "not a number of at least 0", "give seconds"))
        lists = {name: _as_texts(getattr(self, name)) for name in ("vgrids", "pass_environment")}
        faults += [
            Fault(name, getattr(self, name), "not a list of texts", f"give a list: {name}=[…]")
            for name, texts in lists.items()
            if texts is None
        ]
        if not _are_variables(self.runtime_environments):
            problem, remedy = "not names with variables", "give a dict: {'GCC-13': {'CC': '/opt/gcc/bin/gcc'}}"
            faults.append(Fault("runtime_environments", self.runtime_environments, problem, remedy))
        home = Path()
        try:
            home = Path(os.path.abspath(expanded(self.home)))
        except (TypeError, ValueError) as error:
            faults.append(Fault("home", self.home, str(error), "give the path of a folder"))
        except FileNotFoundError:
            problem = "is relative, and the working directory does not exist any more"
            faults.append(Fault("home", self.home, problem, "give the whole path"))
        if faults:
            raise SpecError(faults)
        environments = {name.upper(): dict(values) for name, values in self.runtime_environments.items()}
        self.__dict__.update(  # the dataclass is frozen
            home=home,
            **lists,
            runtime_environments=environments,
            bash=_find_bash(),
        )

    @cached_property
    def folder(self) -> Path:
        """Local mode's own directory."""
        return self.home / PRIVATE

    @cached_property
    def runs(self) -> Path:
        """The directory of the job directories."""
        return self.folder / "run"

    @cached_property
    def kept(self) -> Path:
        """The directory for the output of failed attempts."""
        return self.folder / "kept"

    def results(self, job_id: str) -> str:
        """Return the directory for a job's results."""
        return f"{self.home}/job_output/{job_id}"

    def kept_results(self, job_id: str) -> str:
        """Return the directory for all files of a job whose results could not be stored."""
        return f"{self.kept}/{job_id}"

    def stored_results(self, job_id: str) -> str:
        """Return the directory that contains the results of a job."""
        kept = self.kept_results(job_id)
        return kept if os.path.isdir(kept) else self.results(job_id)


def _as_texts(values: object) -> tuple[str, ...] | None:
    """Return an iterable of strings as a tuple, or ``None`` for any other value."""
    if isinstance(values, str) or not isinstance(values, Iterable):
        return None
    texts = tuple(values)
    return texts if all(isinstance(text, str) for text in texts) else None


def _are_variables(environments: object) -> bool:
    return isinstance(environments, Mapping) and all(
        isinstance(values, Mapping) and all(isinstance(part, str) for pair in values.items() for part in pair)
        for values in environments.values()
    )


def filled(description: Description, settings: LocalSettings) -> Description:
    """Return the description with MAXFILL applied: everything that the machine has (docs/protocol.md#keywords)."""
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
    """Return the part of the environment that all jobs of a session share."""
    user = _user_name()
    environment = {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
    environment.setdefault("PATH", os.defpath)
    environment.setdefault("HOME", _user_home(settings))
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


def _user_home(settings: LocalSettings) -> str:
    try:
        return str(Path.home())
    except RuntimeError:  # a container that runs as an arbitrary user
        return str(settings.home)


def _user_name() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return str(os.getuid())
