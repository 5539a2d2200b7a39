"""Runs any operation of the server by name, with error messages about operations that are broken or switched off."""

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
    """Run an operation. If it only reads, retry it; otherwise send it once, with a token.

    Raises:
        GridError: the request or the operation failed. `ServerError.remedy` explains operations that are known not to
            work.
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
    return [dict(item) for item in answer]


def explained(error: ServerError) -> ServerError:
    """Return the error with a remedy if the operation is known to be broken, or if the site does not offer it."""
    return ServerError(error.operation, error.messages, remedy=_remedy(error.operation, error))


def _remedy(operation: str, error: ServerError) -> str:
    message = "; ".join(error.messages)
    if operation in BROKEN:
        instead = instead_of(operation)
        return f"{operation} is known to fail: {BROKEN[operation]}{instead and '; '}{instead}"
    if _MISSING.search(message) or message == "HTTP 404":
        return f"this server has no operation {operation}: check the spelling"
    return f"this site does not offer {operation}" if _SWITCHED_OFF.search(message) else ""
