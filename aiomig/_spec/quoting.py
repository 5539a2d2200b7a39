"""Text as one word of bash, for the values of ENVIRONMENT: a server exports them unquoted."""

from __future__ import annotations

import re

_PLAIN = re.compile(r"[A-Za-z0-9_./:=@%,-]*")
# Not literal: what ends or escapes in $'…' (' and \), what mRSL takes as a comment (#), what a server refuses in
# values (< and >), and what it expands (+JOBID+).
_LITERAL = frozenset(byte for byte in range(0x20, 0x7F) if chr(byte) not in "'\\#<>+")
_QUOTED = re.compile(r"\$'((?:[ -&(-\[\]-~]|\\x[0-9a-f]{2})*+)'")  # one way to match any text: linear
_ESCAPE = re.compile(r"\\x([0-9a-f]{2})")


def quote(value: str) -> str:
    r"""Return one bash word in printable ASCII that bash reads as `value`, whatever it holds.

    Plain words stay as they are. All others become ``$'…'`` with ``\xHH`` (always two digits) for every byte
    that bash, mRSL or the server could take for something else.

    Args:
        value: any text without NUL; undecodable bytes as ``surrogateescape`` has them.

    Raises:
        UnicodeEncodeError: the text holds half a character.
    """
    if _PLAIN.fullmatch(value):
        return value
    content = value.encode("utf-8", "surrogateescape")
    return "$'" + "".join(chr(byte) if byte in _LITERAL else f"\\x{byte:02x}" for byte in content) + "'"


def unquote(word: str) -> str | None:
    """Return the text of a word made by `quote`; ``None`` for any other word."""
    if _PLAIN.fullmatch(word):
        return word
    quoted = _QUOTED.fullmatch(word)
    if quoted is None:
        return None
    content = _ESCAPE.sub(lambda escape: chr(int(escape[1], 16)), quoted[1])
    value = content.encode("latin-1").decode("utf-8", "surrogateescape")
    return value if "\0" not in value and quote(value) == word else None
