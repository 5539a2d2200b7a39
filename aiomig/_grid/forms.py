"""The bodies of requests: form fields, and forms with files."""

from __future__ import annotations

import re
import secrets
from itertools import chain, groupby
from typing import TYPE_CHECKING
from urllib.parse import urlencode

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .._core.http import Content

_PLAIN = re.compile(r"[A-Za-z0-9._=&-]+", re.ASCII).fullmatch

_LARGE = 1 << 16
"""Bytes from which on a piece of a body is not joined with its neighbours."""


def form(fields: Sequence[tuple[str, str]]) -> tuple[bytes, str]:
    """Return the parameters of an operation as a request body, and its media type."""
    # Mostly thousands of job ids, which need no quoting. Checking that is far faster than quoting them.
    text = "&".join([f"{name}={value}" for name, value in fields])
    if not _PLAIN(text) or text.count("=") != len(fields) or text.count("&") != len(fields) - 1:
        text = urlencode(fields, errors="surrogateescape")
    return f"output_format=json{text and '&'}{text}".encode("ascii"), "application/x-www-form-urlencoded"


def multipart(
    fields: Sequence[tuple[str, str]], files: Sequence[tuple[str, str, Content]]
) -> tuple[tuple[bytes, ...], str]:
    """Return a ``multipart/form-data`` body in pieces, and its media type.

    Args:
        fields: names and values.
        files: field name, file name and content of each file. aiomig generates the names, so they need no quoting.
    """
    boundary = f"aiomig{secrets.token_hex(16)}"
    parts: list[bytes] = []
    for name, value in fields:
        parts.append(f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'.encode())
    for name, file_name, content in files:
        head = f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"; filename="{file_name}"\r\n'
        pieces = (content,) if isinstance(content, bytes) else content
        parts += [f"{head}Content-Type: application/octet-stream\r\n\r\n".encode(), *pieces, b"\r\n"]
    parts.append(f"--{boundary}--\r\n".encode())
    # Joined, because each small piece would be sent as a packet of its own.
    groups = groupby(parts, key=lambda part: len(part) >= _LARGE)
    body = chain.from_iterable(group if is_large else (b"".join(group),) for is_large, group in groups)
    return tuple(body), f"multipart/form-data; boundary={boundary}"
