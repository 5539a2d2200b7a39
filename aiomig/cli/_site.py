"""Commands that show what the grid offers: ``site``, ``docs``."""

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
    """Show what the grid offers to jobs: architectures, job types, runtime environments and more."""
    site = await mig.site()
    if current().json:
        write_json(site)
        return
    facts = {
        "architectures": site.architectures,
        "job types": site.job_types,
        "runtime environments": site.runtime_environments,
        "keywords": tuple(site.keywords),
        "topics": site.topics,
    }
    for name, values in facts.items():
        write(f"{name:<20}  {', '.join(values) or '-'}")


@command("docs")
@click.argument("names", nargs=-1, metavar="[KEYWORD]...")
async def docs(mig: Session, /, *, names: tuple[str, ...]) -> None:
    """Show the grid's documentation of keywords of job descriptions (mRSL), such as CPUTIME; default: all keywords."""
    site = await mig.site()
    keywords = [_keyword(site, name) for name in names] or list(site.keywords.values())
    if current().json:
        write_json(keywords)
        return
    for number, keyword in enumerate(keywords):
        write("\n" * bool(number) + str(keyword))


def _keyword(site: Site, name: str) -> Keyword:
    if (keyword := site.keywords.get(name.upper())) is not None:
        return keyword
    similar = difflib.get_close_matches(name.upper(), site.keywords)
    hint = f"did you mean {' or '.join(similar)}?" if similar else f"it has {', '.join(site.keywords)}"
    raise click.BadParameter(f"the grid has no keyword {name!r}; {hint}")
