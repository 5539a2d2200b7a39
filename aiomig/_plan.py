"""How a `JobSpec` is carried out on a MiG server: the description that is sent and the files around it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from ._description import Description

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


@dataclass(frozen=True, slots=True)
class Upload:
    """A local file, or bytes, that must lie in the home before the job is submitted.

    Attributes:
        source: the local file, or the content itself.
        path: where it goes in the home.
    """

    source: Path | bytes
    path: str


@dataclass(frozen=True, slots=True)
class PlannedOutput:
    """One output of the job.

    Attributes:
        name: its name in the job.
        path: where it arrives in the home.
        destination: where `Job.fetch` puts it below its folder, or ``None`` where the user keeps it in the home only.
    """

    name: str
    path: str
    destination: str | None


@dataclass(frozen=True, slots=True)
class Plan:
    """Everything that submitting and fetching need to know.

    Attributes:
        description: what the server is told.
        uploads: what must be in the home first.
        outputs: in the order of the spec.
        folder: the private folder of this job in the home, or ``None`` where it needs none.
        marker: a text of letters and digits that no other submission has.
        lines_before: how many EXECUTE lines of ours come before the user's.
        lines_after: how many come after.
    """

    description: Description
    uploads: tuple[Upload, ...] = ()
    outputs: tuple[PlannedOutput, ...] = ()
    folder: str | None = None
    marker: str = ""
    lines_before: int = 0
    lines_after: int = 0


STAGED = ("INPUTFILES", "EXECUTABLES")
"""The keywords whose lines begin with a path in the home."""


def rerouted(plan: Plan, places: Mapping[str, str]) -> Plan:
    """The plan with some of its uploads at other places of the home, where they are not its own to carry any more.

    Args:
        plan: the plan.
        places: old path to new path.
    """
    keywords = {
        keyword: tuple(_from(line, places) for line in lines) if keyword in STAGED else lines
        for keyword, lines in plan.description.keywords.items()
    }
    uploads = tuple(upload for upload in plan.uploads if upload.path not in places)
    private = uploads or any(each.destination is not None for each in plan.outputs)
    return replace(plan, description=Description(keywords), uploads=uploads, folder=plan.folder if private else None)


def _from(line: str, places: Mapping[str, str]) -> str:
    source, blank, destination = line.partition(" ")
    return places.get(source, source) + blank + destination


def again(plan: Plan, folder: str, marker: str) -> Plan:
    """The plan for another submission of the same, with another private folder, to which its inputs were copied."""
    old = plan.folder
    if old is None:
        return replace(plan, marker=marker)
    keywords = {
        keyword: tuple(_moved(line, old, folder) for line in lines) if keyword in (*STAGED, "OUTPUTFILES") else lines
        for keyword, lines in plan.description.keywords.items()
    }
    outputs = tuple(replace(each, path=_moved(each.path, old, folder)) for each in plan.outputs)
    return replace(plan, description=Description(keywords), outputs=outputs, uploads=(), folder=folder, marker=marker)


def _moved(text: str, old: str, new: str) -> str:
    parts = text.split(" ")
    return " ".join(new + part[len(old) :] if part.startswith(old + "/") else part for part in parts)
