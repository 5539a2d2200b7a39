"""Asks a grid what it says of itself.

Asks a grid whether it would take a job, without submitting one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .._core.errors import JobNotFound, ProtocolError, ServerError
from .._core.models import CheckReport, Fault
from .._core.site import Site
from .protocol import jobs, site

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from .._spec.mrsl import Description
    from .operations import OperationClient


async def describe(operations: OperationClient) -> Site:
    """What ``docs`` and ``redb`` say (docs/protocol.md#discovery): three requests, all of them read-only.

    Raises:
        GridError: the server could not be asked, or has no answer.
    """
    keywords = site.keywords(await operations.query("docs", [("show", "mrsl")]))
    runtime_environments = site.runtime_environments(await operations.query("redb", [("operation", "list")]))
    topics = site.topics(await operations.query("docs"))
    return Site(keywords, runtime_environments, topics)


_OF_ALL = frozenset({"Generic", "ANY"})
_LISTED = ("ARCHITECTURE", "JOBTYPE")
"""The keywords whose values a server lists in its documentation (docs/protocol.md#discovery)."""


async def review(operations: OperationClient, description: Description) -> CheckReport:
    """What a server says of a description before it is submitted: read-only, two requests at most.

    Which resources there are, and which vgrids are the user's, no operation tells (docs/protocol.md#discovery); of a
    job that is in the queue, `feasibility` does.

    Raises:
        ConnectionFailed: the server could not be asked.
        AuthenticationFailed: it does not let us in.
    """
    offers: dict[str, tuple[str, ...]] = {}
    unknown: list[str] = []
    try:
        documented = site.keywords(await operations.query("docs", [("show", "mrsl")]))
        offers |= {keyword: documented[keyword].values for keyword in _LISTED if keyword in documented}
        if description.lines("RUNTIMEENVIRONMENT"):
            answer = await operations.query("redb", [("operation", "list")])
            offers["RUNTIMEENVIRONMENT"] = site.runtime_environments(answer)
    except (ServerError, ProtocolError) as error:
        unknown.append(f"what the site offers: {error}")
    offers = {keyword: values for keyword, values in offers.items() if values or keyword not in _LISTED}
    unknown += [
        f"whether you are a member of the vgrid {name}: a server says so at submit"
        for name in description.lines("VGRID")
        if name not in _OF_ALL
    ]
    unknown.append("whether some resource has what it asks for: a server says so of a queued job, session.check(job)")
    return CheckReport(tuple(not_offered(description, offers)), unknown=tuple(unknown), offers=offers)


async def feasibility(operations: OperationClient, job_id: str) -> CheckReport:
    """Whether some resource could take a job that waits, by ``jobfeasible``.

    Raises:
        JobNotFound: no job of this user has this id.
        GridError: the server could not be asked.
    """
    answer = await operations.execute("jobfeasible", [("job_id", job_id)], repeatable=True)
    found = jobs.feasible(answer).get(job_id)
    if found is None:
        raise JobNotFound(job_id)
    if found.message:
        return CheckReport(unknown=(f"whether some resource could take it: {found.message}",))
    remedy = "ask for less, or wait until a resource has it; in the queue it stays until then"
    reasons = found.reasons or ((("job", found.verdict),) if found.color.upper() == "RED" else ())
    return CheckReport(tuple(Fault(keyword, job_id, reason, remedy) for keyword, reason in reasons))


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
