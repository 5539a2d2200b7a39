"""What a grid or local mode offers to jobs, and its documentation of mRSL. Values, no I/O."""

from __future__ import annotations

import re
from collections.abc import Mapping  # noqa: TC003 - for typing.get_type_hints
from dataclasses import dataclass, field

_HEADING = re.compile(r"([A-Z][a-z]+): *(.*)")


@dataclass(frozen=True, slots=True)
class Keyword:
    """An mRSL keyword and its documentation by a site.

    Attributes:
        name: the keyword, such as ``"CPUTIME"``.
        text: the lines of the documentation: description, type, example.
        values: the values that the site accepts, if it lists them.
    """

    name: str
    text: tuple[str, ...]
    values: tuple[str, ...] = ()

    @property
    def description(self) -> str:
        """The text under "Description", else the first line without a heading, else empty."""
        return self._under("description") or next((line for line in self.text if not _HEADING.match(line)), "")

    @property
    def type(self) -> str:
        """The type of the value, such as ``"integer"``; empty if not documented."""
        return self._under("type")

    @property
    def example(self) -> str:
        """An example of a value; empty if not documented."""
        return self._under("example")

    @property
    def default(self) -> str:
        """The value of jobs that do not set the keyword; empty if not documented."""
        return self._under("default")

    def _under(self, heading: str) -> str:
        """Return the text under a heading."""
        lines: list[str] = []
        inside = False
        for line in self.text:
            match = _HEADING.match(line)
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
    """What a grid or local mode offers to jobs, and its documentation. Returned by `Session.site`.

    Example::

        site = await session.site()
        print(site.keywords["CPUTIME"])         # the documentation of a keyword; .description, .default and so on
        print(site.architectures)               # values for Resources.architecture

    Attributes:
        keywords: a mapping from mRSL keywords to their `Keyword`.
        runtime_environments: the names that can be used in `JobSpec.runtime_environments`.
        topics: other topics that the site documents on its web pages.
    """

    keywords: Mapping[str, Keyword] = field(hash=False)
    runtime_environments: tuple[str, ...] = ()
    topics: tuple[str, ...] = ()

    @property
    def architectures(self) -> tuple[str, ...]:
        """The accepted values of ARCHITECTURE; empty if the site does not list them."""
        return self._values("ARCHITECTURE")

    @property
    def job_types(self) -> tuple[str, ...]:
        """The accepted values of JOBTYPE; empty if the site does not list them."""
        return self._values("JOBTYPE")

    def _values(self, keyword: str) -> tuple[str, ...]:
        return self.keywords[keyword].values if keyword in self.keywords else ()
