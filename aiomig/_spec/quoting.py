"""Quoting of strings as bash words, for the values of ENVIRONMENT, which a server exports unquoted."""

from __future__ import annotations

import re

_PLAIN = re.compile(r"[A-Za-z0-9_./:=@%,-]*")
# Excluded: ' and \, which are special in $'…', # (a comment in mRSL), < and > (refused by a server), and + (a server
# expands +JOBID+).
_LITERAL = frozenset(byte for byte in range(0x20, 0x7F) if chr(byte) not in "'\\#<>+")
_QUOTED = re.compile(r"\$'((?:[ -&(-\[\]-~]|\\x[0-9a-f]{2})*+)'")  # without backtracking, so in linear time
_ESCAPE = re.compile(r"\\x([0-9a-f]{2})")


def quote(value: str) -> str:
    r"""Quote a string as a bash word in printable ASCII.

    Plain words are returned unchanged. All others become ``$'…'`` with ``\xHH`` (always two digits) for each byte that
    is special to bash, mRSL or the server.

    Args:
        value: any string without NUL; undecodable bytes as with ``surrogateescape``.

    Raises:
        UnicodeEncodeError: the string contains a lone surrogate.
    """
    if _PLAIN.fullmatch(value):
        return value
    content = value.encode("utf-8", "surrogateescape")
    return "$'" + "".join(chr(byte) if byte in _LITERAL else f"\\x{byte:02x}" for byte in content) + "'"


def unquote(word: str) -> str | None:
    """Return the string that `quote` has quoted, or ``None`` if `quote` does not produce this word."""
    if _PLAIN.fullmatch(word):
        return word
    quoted = _QUOTED.fullmatch(word)
    if quoted is None:
        return None
    content = _ESCAPE.sub(lambda escape: chr(int(escape[1], 16)), quoted[1])
    value = content.encode("latin-1").decode("utf-8", "surrogateescape")
    return value if "\0" not in value and quote(value) == word else None
