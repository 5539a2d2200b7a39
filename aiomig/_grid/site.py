"""Reads a grid's documentation, and checks whether the grid would accept a job without submitting it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .._core.errors import JobNotFound, ProtocolError, ServerError
from .._core.models import CheckReport, Fault
from .._core.site import Site
from .protocol import jobs, site
from .protocol.answer import raise_for_errors

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from .._spec.mrsl import Description
    from .operations import OperationClient


async def describe(operations: OperationClient) -> Site:
    """Read ``docs`` and ``redb`` (docs/protocol.md#discovery), by three read-only requests.

    Raises:
        GridError: a request failed, or the server has no documentation.
    """
    keywords = site.keywords(await operations.query("docs", [("show", "mrsl")]))
    runtime_environments = site.runtime_environments(await operations.query("redb", [("operation", "list")]))
    topics = site.topics(await operations.query("docs"))
    return Site(keywords, runtime_environments, topics)


_OF_ALL = frozenset({"Generic", "ANY"})
_LISTED = ("ARCHITECTURE", "JOBTYPE")
"""Keywords whose documentation on the server lists the possible values (docs/protocol.md#discovery)."""


async def review(operations: OperationClient, description: Description) -> CheckReport:
    """Compare a description with the values that a server offers, by at most two read-only requests.

    Resources and VGrids are not checked, because the operations that list them were not recorded
    (docs/protocol.md#discovery). `feasibility` tells whether a resource fits a queued job.

    Raises:
        ConnectionFailed: a request failed.
        AuthenticationFailed: the server refuses the user.
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
    unknown.append("whether some resource fits: a server says so for a queued job only, session.check(job)")
    return CheckReport(tuple(not_offered(description, offers)), unknown=tuple(unknown), offers=offers)


async def feasibility(operations: OperationClient, job_id: str, *, schedule: bool) -> CheckReport:
    """Check by ``jobfeasible`` whether a resource could run a queued job, and plan the job by ``jobschedule``.

    Args:
        operations: the operations of the server.
        job_id: the job.
        schedule: whether to plan the job if the check succeeds.

    Raises:
        JobNotFound: no job of this user has this id.
        GridError: a request failed.
    """
    answer = await operations.execute("jobfeasible", [("job_id", job_id)], repeatable=True)
    result = jobs.feasible(answer).get(job_id)
    if result is None:
        raise JobNotFound(job_id)
    if result.message:
        return CheckReport(unknown=(f"whether some resource could take it: {result.message}",))
    if schedule:
        planned = await operations.execute("jobschedule", [("job_id", job_id)], repeatable=True)
        raise_for_errors("jobschedule", planned, "saveschedulejobs")
    remedy = "ask for less, or wait until a resource has it; the job stays in the queue until then"
    reasons = result.reasons or ((("job", result.verdict),) if result.color.upper() == "RED" else ())
    return CheckReport(tuple(Fault(keyword, job_id, reason, remedy) for keyword, reason in reasons))


def not_offered(description: Description, offers: Mapping[str, Sequence[str]]) -> list[Fault]:
    """Return the values of a description that a site does not offer.

    Args:
        description: the job.
        offers: the values that the site accepts, by keyword; other keywords are not checked.
    """
    faults: list[Fault] = []
    for keyword, values in offers.items():
        upper = {value.upper() for value in values}  # servers ignore the case of RUNTIMEENVIRONMENT
        offer = f"it has {', '.join(values)}" if values else "it has none"
        faults += [
            Fault(keyword, value, "is not what this site offers", f"{offer}: use one of these, or leave it out")
            for value in description.lines(keyword)
            if value not in values and not (keyword == "RUNTIMEENVIRONMENT" and value.upper() in upper)
        ]
    return faults
