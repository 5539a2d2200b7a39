"""What is found out of a job before it is submitted. Pure values, no I/O."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ._errors import Fault

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ._description import Description


@dataclass(frozen=True, slots=True)
class CheckReport:
    """What `Session.check` found.

    Attributes:
        faults: why the job would be refused, or could not run, as a tuple of `Fault`.
        warnings: what it would be taken with, but may come to grief by, as a tuple of `Fault`.
        unknown: what could not be found out before the job is there, a line each.
        offers: the values that the site takes, by mRSL keyword, as far as it says so: such as those of ARCHITECTURE.
    """

    faults: tuple[Fault, ...] = ()
    warnings: tuple[Fault, ...] = ()
    unknown: tuple[str, ...] = ()
    offers: Mapping[str, tuple[str, ...]] = field(default_factory=dict, hash=False)

    @property
    def ok(self) -> bool:
        """Whether nothing speaks against the job."""
        return not self.faults

    def __str__(self) -> str:
        lines = [f"fault: {each}" for each in self.faults]
        lines += [f"warning: {each}" for each in self.warnings]
        lines += [f"unknown: {each}" for each in self.unknown]
        return "\n".join(lines or ["nothing speaks against it"])


def not_offered(description: Description, offers: Mapping[str, Sequence[str]]) -> list[Fault]:
    """What a description asks for and a site does not have.

    Args:
        description: the job.
        offers: the values that the site takes, by keyword; what it says nothing of is not looked at.
    """
    faults: list[Fault] = []
    for keyword, values in offers.items():
        known = {value.upper() for value in values}  # a server takes RUNTIMEENVIRONMENT in any case
        have = f"it has {', '.join(values)}" if values else "it has none"
        faults += [
            Fault(keyword, value, "is not what this site offers", f"{have}: use one of its own, or leave it out")
            for value in description.lines(keyword)
            if value not in values and not (keyword == "RUNTIMEENVIRONMENT" and value.upper() in known)
        ]
    return faults
