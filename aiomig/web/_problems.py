"""Errors as problem documents (RFC 9457). They contain no paths of this machine."""

from __future__ import annotations

import json
import logging
import re
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from starlette.exceptions import HTTPException
from starlette.responses import Response

from .. import (
    ActionRefused,
    AuthenticationFailed,
    ConfigError,
    ConnectionFailed,
    FileExists,
    FileNotFound,
    GridError,
    JobError,
    JobNotFound,
    LocalError,
    MigError,
    NoSession,
    PathRefused,
    ResultsMissing,
    SpecError,
    SubmitRejected,
)
from .._core.models import json_value

if TYPE_CHECKING:
    from collections.abc import Mapping

logger = logging.getLogger("aiomig.web")

_STATUSES: tuple[tuple[type[Exception], int], ...] = (
    (SpecError, 422),
    (SubmitRejected, 422),
    (JobNotFound, 404),
    (FileNotFound, 404),
    (ResultsMissing, 404),
    (FileExists, 409),
    (ActionRefused, 409),
    (PathRefused, 403),
    (JobError, 409),
    (AuthenticationFailed, 502),
    (ConnectionFailed, 503),
    (GridError, 502),
    (NoSession, 503),
    (LocalError, 503),
    (ConfigError, 500),
    (MigError, 500),
    (ValueError, 422),
)
"""The HTTP status of each exception; the first matching class counts."""

_LOCAL_PATH = re.compile(r"""(?<![\w.~:/…-])/(?:[^\s/'"]+/)+[^\s'";:,)\]]*""")
"""A path of this machine in a message. Paths in the home are relative, so they do not match."""

_HIDDEN: dict[type[Exception], str] = {
    LocalError: "local mode cannot do this now; see the log of the service",
    ConfigError: "the configuration of the service is invalid; see the log of the service",
}
"""Replacements for messages that only the operator may see."""


class Problem(Exception):
    """An error of the web layer.

    Attributes:
        status: the HTTP status.
        detail: what happened, and what to do.
        headers: additional headers of the response.
    """

    def __init__(self, status: int, detail: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.headers = dict(headers or {})


def problem_response(error: Exception) -> Response:
    """Return the problem document for an error. Unexpected errors are logged, and their messages are not shown."""
    if isinstance(error, Problem):
        return document(error.status, error.detail, headers=error.headers)
    if isinstance(error, HTTPException):
        return document(error.status_code, str(error.detail), headers=error.headers)
    status = next((status for kind, status in _STATUSES if isinstance(error, kind)), 500)
    if not isinstance(error, MigError | ValueError):
        logger.error("a request failed", exc_info=error)
        return document(status, "the service failed; see the log of the service")
    detail = str(error)
    for kind, replacement in _HIDDEN.items():
        if isinstance(error, kind):
            logger.error("%s", error)
            detail = replacement
    if isinstance(error, JobNotFound):
        detail = f"no such job: {error.job_id}"
    more: dict[str, Any] = {}
    if faults := getattr(error, "faults", ()):
        more["faults"] = [
            {"field": fault.field, "problem": without_paths(fault.problem), "remedy": without_paths(fault.remedy)}
            for fault in faults
        ]
        detail = "; ".join(f"{fault['field']}: {fault['problem']}; {fault['remedy']}" for fault in more["faults"])
    return document(status, without_paths(detail), kind=type(error).__name__, more=more)


def document(
    status: int,
    detail: str,
    *,
    kind: str = "",
    more: Mapping[str, Any] | None = None,
    headers: Mapping[str, str] | None = None,
) -> Response:
    """Return a problem document.

    Args:
        status: the HTTP status.
        detail: what happened.
        kind: the class name of an aiomig exception.
        more: additional members of the document.
        headers: additional headers of the response.
    """
    body = {
        "type": f"urn:aiomig:{kind}" if kind else "about:blank",
        "title": HTTPStatus(status).phrase,
        "status": status,
        "detail": detail,
        **json_value(more or {}),
    }
    return Response(json.dumps(body), status, dict(headers or {}), "application/problem+json")


def without_paths(text: str) -> str:
    """Replace paths of this machine in a message with ``…``."""
    return _LOCAL_PATH.sub("…", text)
