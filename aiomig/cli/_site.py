"""Commands about the grid as a whole: ``site``, ``docs``."""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING

import click

from ._command import command
from ._output import write, write_json
from ._settings import current

if TYPE_CHECKING:
    from .. import Keyword, Session, Site


@command("site")
async def site(mig: Session, /) -> None:
    """Show what the grid offers jobs: architectures, job types, runtime environments, and more that it lists."""
    found = await mig.site()
    if current().json:
        write_json(found)
        return
    facts = {
        "architectures": found.architectures,
        "job types": found.job_types,
        "runtime environments": found.runtime_environments,
        "keywords": tuple(found.keywords),
        "topics": found.topics,
    }
    for name, values in facts.items():
        write(f"{name:<20}  {', '.join(values) or '-'}")


@command("docs")
@click.argument("names", nargs=-1, metavar="[KEYWORD]...")
async def docs(mig: Session, /, *, names: tuple[str, ...]) -> None:
    """Show what the grid says of the keywords of job descriptions (mRSL), such as CPUTIME; default is all of them."""
    found = await mig.site()
    wanted = [_keyword(found, name) for name in names] or list(found.keywords.values())
    if current().json:
        write_json(wanted)
        return
    for number, each in enumerate(wanted):
        write("\n" * bool(number) + str(each))


def _keyword(site: Site, name: str) -> Keyword:
    if (found := site.keywords.get(name.upper())) is not None:
        return found
    near = difflib.get_close_matches(name.upper(), site.keywords)
    hint = f"did you mean {' or '.join(near)}?" if near else f"it documents {', '.join(site.keywords)}"
    raise click.BadParameter(f"the grid documents no keyword {name!r}; {hint}")
