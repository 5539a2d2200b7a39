"""Runs any operation of the server by its name, and says by name which are broken or switched off."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from .._core.errors import ServerError
from .._core.operations import BROKEN, instead_of, only_reads
from .protocol.answer import raise_for_errors

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .operations import OperationClient

_MISSING = re.compile("Could not load backend")
_SWITCHED_OFF = re.compile(r"disabled|not enabled|not (?:supported|available) (?:on|by|at) this", re.IGNORECASE)


async def call(
    operations: OperationClient, operation: str, fields: Sequence[tuple[str, str]]
) -> list[dict[str, object]]:
    """Run an operation: once, with a token, unless it only reads.

    Raises:
        GridError: the server could not be asked, or the operation failed; `ServerError.remedy` says if it is
            known not to work.
        FileNotFound: a path does not exist; and the other errors of `raise_for_errors`.
    """
    try:
        if only_reads(operation, fields):
            answer = await operations.query(operation, fields)
        else:
            answer = await operations.execute(operation, fields)
        raise_for_errors(operation, answer)
    except ServerError as error:
        raise explained(error) from error
    return [dict(each) for each in answer]


def explained(error: ServerError) -> ServerError:
    """Return an error that also says if the operation is known to be broken, or is not offered by the site."""
    return ServerError(error.operation, error.messages, remedy=_remedy(error.operation, error))


def _remedy(operation: str, error: ServerError) -> str:
    said = "; ".join(error.messages)
    if operation in BROKEN:
        instead = instead_of(operation)
        return f"{operation} is known to fail: {BROKEN[operation]}{instead and '; '}{instead}"
    if _MISSING.search(said) or said == "HTTP 404":
        return f"this server has no operation {operation}: look for a misspelt name"
    return f"this site does not offer {operation}" if _SWITCHED_OFF.search(said) else ""
