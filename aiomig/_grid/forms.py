"""The bodies of requests: form fields, and forms with files."""

from __future__ import annotations

import re
import secrets
from typing import TYPE_CHECKING
from urllib.parse import urlencode

if TYPE_CHECKING:
    from collections.abc import Sequence

_PLAIN = re.compile(r"[A-Za-z0-9._=&-]+", re.ASCII).fullmatch


def form(fields: Sequence[tuple[str, str]]) -> tuple[bytes, str]:
    """Return the parameters of an operation as a body, and its media type."""
    # Most are job ids, thousands of them, which need no quoting: finding that out is far faster than quoting.
    text = "&".join([f"{name}={value}" for name, value in fields])
    if not _PLAIN(text) or text.count("=") != len(fields) or text.count("&") != len(fields) - 1:
        text = urlencode(fields, errors="surrogateescape")
    return f"output_format=json{text and '&'}{text}".encode("ascii"), "application/x-www-form-urlencoded"


def multipart(fields: Sequence[tuple[str, str]], files: Sequence[tuple[str, str, bytes]]) -> tuple[bytes, str]:
    """Return a ``multipart/form-data`` body, and its media type.

    It is whole, for MiG servers refuse a body without a length: docs/protocol.md#connections.

    Args:
        fields: names and values.
        files: field name, file name and content of each file. aiomig makes the names, so they need no quoting.
    """
    boundary = f"aiomig{secrets.token_hex(16)}"
    parts: list[bytes] = []
    for name, value in fields:
        parts.append(f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'.encode())
    for name, file_name, content in files:
        head = f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"; filename="{file_name}"\r\n'
        parts += [f"{head}Content-Type: application/octet-stream\r\n\r\n".encode(), content, b"\r\n"]
    parts.append(f"--{boundary}--\r\n".encode())
    return b"".join(parts), f"multipart/form-data; boundary={boundary}"
