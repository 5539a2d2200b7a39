"""The site that local mode emulates, and the mRSL keywords that it supports."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .._core.models import Fault
from .._core.site import Keyword, Site
from .._spec.keywords import KEYWORDS
from .._spec.mrsl import DEFAULTS
from .urls import URL_SCHEMES

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .._spec.mrsl import Description
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
    "VERIFYFILES": ("Files of the home with the expected status or output of the job.", "right.stdout"),
    "MOUNT": ("A folder of the home, and where the job sees it.", "data mnt"),
    "ENVIRONMENT": ("Variables of the environment; the values are words for a shell.", "SEED=7"),
    "RUNTIMEENVIRONMENT": (
        "Software that the job needs; local mode has what aiomig.local declares.",
        "GCC-13",
    ),
    "CPUTIME": ("Wall time in seconds. A job that takes longer is killed.", "3600"),
    "NODECOUNT": ("Machines; there is one, and local mode uses cores for them.", "1"),
    "CPUCOUNT": ("Cores of each machine, which other jobs do not get.", "4"),
    "MEMORY": ("Megabytes of memory; a limit under aiomig.local(limits=True).", "2048"),
    "DISK": ("Gigabytes of disk; a limit under aiomig.local(limits=True).", "10"),
    "RETRIES": ("Extra attempts of a failed job: see aiomig.local(default_retries=…).", "2"),
    "ARCHITECTURE": (f"The kind of processor. {_IGNORED}", "AMD64"),
    "PLATFORM": (f"The kind of platform. {_IGNORED}", "GRID"),
    "JOBTYPE": ("The kind of job.", "batch"),
    "RESOURCE": (f"The resources that may run it. {_IGNORED}", "host.0_node"),
    "VGRID": ("The virtual grids whose resources may run it.", "Generic"),
    "MAXFILL": ("The resources that the job gets in full.", "CPUCOUNT"),
    "SANDBOX": (f"Whether sandboxes may run it. {_IGNORED}", "false"),
    "NOTIFY": (f"Who is notified of the end. {_IGNORED}", "email: me@example.org"),
    "JOBNAME": ("A name for people.", "fit-7"),
    "PROJECT": ("A word that several jobs share.", "fits"),
    "MAXPRICE": (f"The highest price. {_IGNORED}", "0"),
}
"""The meaning of each keyword, and an example."""


def offers(settings: LocalSettings) -> dict[str, tuple[str, ...]]:
    """Return the values that local mode accepts, by keyword, for keywords that do not accept any value."""
    return {
        "JOBTYPE": ("batch", "all"),
        "RUNTIMEENVIRONMENT": tuple(settings.runtime_environments),
        "VGRID": ("Generic", "ANY", *settings.vgrids),
    }


def describe(settings: LocalSettings) -> Site:
    """Return the result of `aiomig.Session.site`. No I/O."""
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


def refusals(settings: LocalSettings, description: Description) -> list[Fault]:
    """Return faults of jobs that a grid would refuse because of what the site offers."""
    vgrids = {"Generic", "ANY", *settings.vgrids}
    faults = [
        Fault(
            "VGRID",
            name,
            f"You must be an owner or member of the {name!r} vgrid to submit a job to it",
            f"leave it out, or declare it: aiomig.local(vgrids=[{name!r}])",
        )
        for name in description.lines("VGRID")
        if name not in vgrids
    ]
    faults += [
        Fault(
            "RUNTIMEENVIRONMENT",
            name,
            "no resource of local mode has this runtime environment",
            f"leave it out, or declare it: aiomig.local(runtime_environments={{{name!r}: {{…variables}}}})",
        )
        for name in description.lines("RUNTIMEENVIRONMENT")
        if name.upper() not in settings.runtime_environments
    ]
    if description.text("JOBTYPE", "batch") not in {"batch", "all"}:
        faults.append(
            Fault(
                "JOBTYPE",
                description.text("JOBTYPE"),
                "specified jobtype not valid in local mode",
                "use 'batch' or 'all', or leave it out",
            )
        )
    return faults


def unreadable_urls(description: Description) -> list[Fault]:
    """Return the URLs of inputs that local mode cannot read."""
    return [
        Fault(keyword, transfer.source, f"{scheme} is not supported in local mode", "give an http, https or file URL")
        for keyword in ("INPUTFILES", "EXECUTABLES")
        for transfer in description.transfers(keyword)
        if "://" in transfer.source and (scheme := transfer.source.partition("://")[0]) not in URL_SCHEMES
    ]
