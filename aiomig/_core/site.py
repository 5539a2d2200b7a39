"""What a grid, or local mode, documents and offers. Values, no I/O."""

from __future__ import annotations

import re
from collections.abc import Mapping  # noqa: TC003 - for those who ask for the types of the fields
from dataclasses import dataclass, field

_HEADED = re.compile(r"([A-Z][a-z]+): *(.*)")


@dataclass(frozen=True, slots=True)
class Keyword:
    """One keyword of mRSL, as a site documents it.

    Attributes:
        name: the keyword, such as ``"CPUTIME"``.
        text: what the site says about it, a line each: its meaning, its type, an example.
        values: the values that the site takes, if it lists them.
    """

    name: str
    text: tuple[str, ...]
    values: tuple[str, ...] = ()

    @property
    def description(self) -> str:
        """What it means: the line under this heading, or else the first line without a heading, or empty."""
        return self._under("description") or next((line for line in self.text if not _HEADED.match(line)), "")

    @property
    def type(self) -> str:
        """The type of its value, such as ``"integer"``; empty if the site does not say."""
        return self._under("type")

    @property
    def example(self) -> str:
        """A value as an example; empty if the site has none."""
        return self._under("example")

    @property
    def default(self) -> str:
        """The value for a job that does not give one; empty if the site does not say."""
        return self._under("default")

    def _under(self, heading: str) -> str:
        """Return all lines under a heading."""
        lines: list[str] = []
        inside = False
        for line in self.text:
            match = _HEADED.match(line)
            inside = match[1].lower() == heading if match else inside
            if inside:
                lines.append(match[2] if match else line)
        return "\n".join(filter(None, lines))

    def __str__(self) -> str:
        lines = [self.name, *(f"  {line}" for line in self.text)]
        listed = not self.values or any(self.values[0] in line and self.values[-1] in line for line in self.text)
        return "\n".join(lines if listed else [*lines, f"  Values: {', '.join(self.values)}"])


@dataclass(frozen=True, slots=True)
class Site:
    """What a grid, or local mode, offers to jobs, in its own words. From `Session.site`.

    Example::

        site = await session.site()
        print(site.keywords["CPUTIME"])         # the documentation of a keyword; .description, .default and so on
        print(site.architectures)               # values for Resources.architecture

    Attributes:
        keywords: the documentation of mRSL by keyword, as a mapping to `Keyword`.
        runtime_environments: the names that `JobSpec.runtime_environments` can ask for.
        topics: further topics that the site documents, for people with a web browser.
    """

    keywords: Mapping[str, Keyword] = field(hash=False)
    runtime_environments: tuple[str, ...] = ()
    topics: tuple[str, ...] = ()

    @property
    def architectures(self) -> tuple[str, ...]:
        """The values of ARCHITECTURE; empty if the site does not list them."""
        return self._values("ARCHITECTURE")

    @property
    def job_types(self) -> tuple[str, ...]:
        """The values of JOBTYPE; empty if the site does not list them."""
        return self._values("JOBTYPE")

    def _values(self, keyword: str) -> tuple[str, ...]:
        return self.keywords[keyword].values if keyword in self.keywords else ()
