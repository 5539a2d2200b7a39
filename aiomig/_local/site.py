"""What local mode says of itself: the keywords of mRSL, and what it makes of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .._core.site import Keyword, Site
from .._spec.keywords import KEYWORDS
from .._spec.mrsl import DEFAULTS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .settings import LocalSettings

_IGNORED = "Local mode ignores it."
_DOCUMENTATION: Mapping[str, tuple[str, str]] = {
    "EXECUTE": ("The commands, a line each, run in order by one bash.", "sort -n numbers > sorted"),
    "INPUTFILES": (
        "Files of the home that the job gets before it runs: source, and name in the job.",
        "data.csv in.csv",
    ),
    "OUTPUTFILES": (
        "Files that go into the home when the job has ended: name in the job, and path.",
        "out.txt runs/7.txt",
    ),
    "EXECUTABLES": ("As INPUTFILES; the files are made executable.", "bin/fit fit"),
    "VERIFYFILES": ("Files of the home with the status or output that the job should have.", "right.stdout"),
    "MOUNT": ("A folder of the home, and where the job sees it.", "data mnt"),
    "ENVIRONMENT": ("Variables of the environment; the values are words for a shell.", "SEED=7"),
    "RUNTIMEENVIRONMENT": (
        "Software that has to be there; local mode has what aiomig.local was told of.",
        "GCC-13",
    ),
    "CPUTIME": ("Wall time in seconds, after which the job is ended.", "3600"),
    "NODECOUNT": ("Machines; local mode takes cores for them, and there is one.", "1"),
    "CPUCOUNT": ("Cores of each machine, which other jobs do not get.", "4"),
    "MEMORY": ("Megabytes of memory; a limit under aiomig.local(limits=True).", "2048"),
    "DISK": ("Gigabytes of disk; a limit under aiomig.local(limits=True).", "10"),
    "RETRIES": ("How often a failed job is tried again: see aiomig.local(default_retries=…).", "2"),
    "ARCHITECTURE": (f"The kind of processor. {_IGNORED}", "AMD64"),
    "PLATFORM": (f"The kind of platform. {_IGNORED}", "GRID"),
    "JOBTYPE": ("The kind of job.", "batch"),
    "RESOURCE": (f"The resources that may run it. {_IGNORED}", "host.0_node"),
    "VGRID": ("The virtual grids whose resources may run it.", "Generic"),
    "MAXFILL": ("What the job gets all of that the machine has.", "CPUCOUNT"),
    "SANDBOX": (f"Whether sandboxes may run it. {_IGNORED}", "false"),
    "NOTIFY": (f"Who is told of the end. {_IGNORED}", "email: me@example.org"),
    "JOBNAME": ("A name for people.", "fit-7"),
    "PROJECT": ("A word that belongs to several jobs.", "fits"),
    "MAXPRICE": (f"What it may cost. {_IGNORED}", "0"),
}
"""Of each keyword what it means, and an example."""


def offers(settings: LocalSettings) -> dict[str, tuple[str, ...]]:
    """The values that local mode takes, by keyword, where it does not take any."""
    return {
        "JOBTYPE": ("batch", "all"),
        "RUNTIMEENVIRONMENT": tuple(settings.runtime_environments),
        "VGRID": ("Generic", "ANY", *settings.vgrids),
    }


def describe(settings: LocalSettings) -> Site:
    """What `aiomig.Session.site` gives. No I/O."""
    values = offers(settings)
    defaults = {
        **{name: str(number) for name, number in DEFAULTS.items()},
        "RETRIES": str(settings.default_retries),
        "JOBTYPE": "batch",
        "VGRID": "Generic",
    }
    keywords = {
        name: Keyword(name, _text(name, meaning, example, defaults.get(name)), values.get(name, ()))
        for name, (meaning, example) in _DOCUMENTATION.items()
    }
    return Site(keywords, values["RUNTIMEENVIRONMENT"])


def _text(name: str, meaning: str, example: str, default: str | None) -> tuple[str, ...]:
    lines = (f"Description: {meaning}", f"Type: {KEYWORDS[name].type}", f"Example: {example}")
    return lines if default is None else (*lines, f"Default: {default}")
