"""From a description to the fields of a `JobSpec`: the way back of `_lowering`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ._keywords import TRUE_WORDS
from ._names import is_url
from ._shellword import unquote
from ._values import Remote, Resources

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from ._description import Description, Transfer


def fields_of(description: Description) -> dict[str, Any]:
    """The arguments of the `JobSpec` that says the same; an absent keyword stays absent.

    Of two inputs with one name in the job, or two outputs with one destination, the last is kept: it is the
    one that wins on the grid (golden 4.3). ENVIRONMENT stays raw, all of it, where a line is more than a
    literal value.
    """
    taken: set[str] = set()
    # The front end fetches EXECUTABLES after INPUTFILES, so they win (mig-protocol 5.5).
    executables = _last_of_each(description.transfers("EXECUTABLES"), taken)
    inputs = _last_of_each(description.transfers("INPUTFILES"), taken)
    variables = description.lines("ENVIRONMENT")
    environment = _environment(variables)
    return {
        "commands": description.lines("EXECUTE"),
        "inputs": input_items(inputs),
        "executables": input_items(executables),
        "outputs": output_items(_last_of_each(description.transfers("OUTPUTFILES"), set())),
        "resources": _resources(description),
        "environment": environment or {},
        "name": description.text("JOBNAME") or None,
        "runtime_environments": description.lines("RUNTIMEENVIRONMENT"),
        "vgrids": description.lines("VGRID"),
        "retries": _number(description, "RETRIES"),
        "notify": description.lines("NOTIFY"),
        "verify": description.lines("VERIFYFILES"),
        "mount": description.lines("MOUNT"),
        "project": description.text("PROJECT") or None,
        "kind": description.text("JOBTYPE") or None,
        "mrsl": {"ENVIRONMENT": variables} if environment is None else {},
    }


def input_items(transfers: Iterable[Transfer]) -> tuple[tuple[str | Remote, str], ...]:
    """Lines of INPUTFILES or EXECUTABLES as `JobSpec` takes them."""
    return tuple((_place(transfer.source), transfer.destination) for transfer in transfers)


def output_items(transfers: Iterable[Transfer]) -> tuple[tuple[str, str | Remote], ...]:
    """Lines of OUTPUTFILES as `JobSpec` takes them."""
    return tuple((transfer.source, _place(transfer.destination)) for transfer in transfers)


def _place(path: str) -> str | Remote:
    return path if is_url(path) else Remote(path)


def _last_of_each(transfers: Sequence[Transfer], taken: set[str]) -> list[Transfer]:
    kept = []
    for transfer in reversed(transfers):
        if transfer.destination not in taken:
            taken.add(transfer.destination)
            kept.append(transfer)
    return kept[::-1]


def _environment(lines: Sequence[str]) -> dict[str, str] | None:
    variables: dict[str, str] = {}
    for line in lines:
        name, _, word = line.partition("=")
        value = unquote(word)
        if value is None or name in variables:
            return None
        variables[name] = value
    return variables


def _number(description: Description, keyword: str) -> int | None:
    text = description.text(keyword)
    return int(text) if text else None


def _resources(description: Description) -> Resources:
    sandbox = description.text("SANDBOX")
    return Resources(
        wall_time=_number(description, "CPUTIME"),
        memory_mb=_number(description, "MEMORY"),
        disk_gb=_number(description, "DISK"),
        cores=_number(description, "CPUCOUNT"),
        nodes=_number(description, "NODECOUNT"),
        architecture=description.text("ARCHITECTURE") or None,
        platform=description.text("PLATFORM") or None,
        fill=description.lines("MAXFILL"),
        hosts=description.lines("RESOURCE"),
        sandbox=sandbox.lower() in TRUE_WORDS if sandbox else None,
        max_price=description.text("MAXPRICE") or None,
    )
