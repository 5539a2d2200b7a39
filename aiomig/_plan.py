"""How a `JobSpec` is carried out on a MiG server: the description that is sent and the files around it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from ._description import Description


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
        lines_before: how many EXECUTE lines of ours come before the user's.
        lines_after: how many come after.
    """

    description: Description
    uploads: tuple[Upload, ...] = ()
    outputs: tuple[PlannedOutput, ...] = ()
    folder: str | None = None
    lines_before: int = 0
    lines_after: int = 0
