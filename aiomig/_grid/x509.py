"""What a certificate says of itself: whose it is and when it is valid (X.509, RFC 5280).

The standard library keeps this to itself, and OpenSSL reports an expired client certificate only as an alert
in the middle of the first answer.
"""

from __future__ import annotations

import re
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

_PEM = re.compile(rb"-----BEGIN (?:TRUSTED )?CERTIFICATE-----[^-]+-----END (?:TRUSTED )?CERTIFICATE-----")
_LONGEST_NUMBER = 64
"""Bytes. A serial number has at most 20 (RFC 5280 4.1.2.2); numbers without bound take time without bound."""

_DAMAGED = "holds a damaged certificate"
_INTEGER, _OID, _UTC_TIME, _GENERALIZED_TIME = 0x02, 0x06, 0x17, 0x18
_SEQUENCE, _SET, _VERSION, _EXTENSIONS = 0x30, 0x31, 0xA0, 0xA3
_PROXY_EXTENSIONS = frozenset({"1.3.6.1.5.5.7.1.14", "1.3.6.1.4.1.3536.1.222"})
"""That of RFC 3820, and that of its drafts."""

_PROXY_NAMES = ("/CN=proxy", "/CN=limited proxy")
"""How the subject ends in proxies that are older than the extensions."""

_ENCODINGS = {0x0C: "utf-8", 0x12: "ascii", 0x13: "ascii", 0x14: "latin-1", 0x16: "ascii"}
_WIDE_ENCODINGS = {0x1C: "utf-32-be", 0x1E: "utf-16-be"}
_ATTRIBUTES = {
    "2.5.4.3": "CN",
    "2.5.4.4": "SN",
    "2.5.4.5": "serialNumber",
    "2.5.4.6": "C",
    "2.5.4.7": "L",
    "2.5.4.8": "ST",
    "2.5.4.10": "O",
    "2.5.4.11": "OU",
    "2.5.4.12": "title",
    "2.5.4.42": "GN",
    "0.9.2342.19200300.100.1.1": "UID",
    "0.9.2342.19200300.100.1.25": "DC",
    "1.2.840.113549.1.9.1": "emailAddress",
}


@dataclass(frozen=True, slots=True)
class Certificate:
    """What a certificate says.

    Attributes:
        subject: whose it is, in the form in which MiG names its users: ``/C=DK/O=…/CN=…/emailAddress=…``.
        issuer: who signed it, in the same form.
        serial: its number at the issuer.
        not_before: from when it is valid (aware, UTC).
        not_after: until when it is.
        is_proxy: whether a user signed it, to act in that user's name (RFC 3820).
    """

    subject: str
    issuer: str
    serial: int
    not_before: datetime
    not_after: datetime
    is_proxy: bool = False


def from_pem(data: bytes) -> Certificate:
    """Read the first certificate of a PEM file.

    Raises:
        ValueError: there is none, or it is damaged.
    """
    found = _PEM.search(data)
    if found is None:
        raise ValueError("holds no certificate in PEM format")
    return _from_text(found[0])


def chain_from_pem(data: bytes) -> list[Certificate]:
    """Read the certificates of a PEM file: the first, and of the others those that can be read.

    Raises:
        ValueError: there is none, or the first is damaged.
    """
    chain = [from_pem(data)]
    for text in _PEM.findall(data)[1:]:
        with suppress(ValueError):
            chain.append(_from_text(text))
    return chain


def _from_text(text: bytes) -> Certificate:
    import ssl  # only who uses a certificate pays for it

    try:
        return from_der(ssl.PEM_cert_to_DER_cert(text.replace(b"TRUSTED ", b"").decode("ascii")))
    except ValueError as error:
        raise ValueError(_DAMAGED) from error


def from_der(data: bytes) -> Certificate:
    """Read a certificate in binary form.

    Raises:
        ValueError: it is damaged.
    """
    try:
        return _certificate(data)
    except (ValueError, IndexError, StopIteration) as error:
        raise ValueError(_DAMAGED) from error


def _certificate(data: bytes) -> Certificate:
    signed = next(_elements(_inner(next(_elements(data)), _SEQUENCE)))
    fields = _elements(_inner(signed, _SEQUENCE))
    first = next(fields)
    serial = next(fields) if first[0] == _VERSION else first
    next(fields)  # the algorithm of the signature
    issuer, validity, subject = next(fields), next(fields), next(fields)
    dates = _elements(_inner(validity, _SEQUENCE))
    owner = _name(subject)
    return Certificate(
        subject=owner,
        issuer=_name(issuer),
        serial=_number(serial),
        not_before=_time(*next(dates)),
        not_after=_time(*next(dates)),
        is_proxy=owner.endswith(_PROXY_NAMES) or not _PROXY_EXTENSIONS.isdisjoint(_extensions(fields)),
    )


def _extensions(fields: Iterator[tuple[int, bytes]]) -> set[str]:
    """The object identifiers of the extensions, which are among the last fields."""
    return {
        _oid(_inner(next(_elements(_inner(extension, _SEQUENCE))), _OID))
        for tag, content in fields
        if tag == _EXTENSIONS
        for extension in _elements(_inner(next(_elements(content)), _SEQUENCE))
    }


def _elements(data: bytes) -> Iterator[tuple[int, bytes]]:
    """The tag and the content of each DER element."""
    at = 0
    while at < len(data):
        tag, length = data[at], data[at + 1]
        at += 2
        if length >= 0x80:
            size = length & 0x7F
            if not 1 <= size <= 4:
                raise ValueError("the length of an element")
            length = int.from_bytes(data[at : at + size], "big")
            at += size
        if at + length > len(data):
            raise ValueError("cut off")
        yield tag, data[at : at + length]
        at += length


def _inner(element: tuple[int, bytes], tag: int) -> bytes:
    if element[0] != tag:
        raise ValueError(f"tag {element[0]}, not {tag}")
    return element[1]


def _number(element: tuple[int, bytes]) -> int:
    data = _inner(element, _INTEGER)
    if len(data) > _LONGEST_NUMBER:
        raise ValueError("the length of a number")
    return int.from_bytes(data, "big", signed=True)


def _name(element: tuple[int, bytes]) -> str:
    parts = []
    for relative in _elements(_inner(element, _SEQUENCE)):
        for attribute in _elements(_inner(relative, _SET)):
            kind, value = _elements(_inner(attribute, _SEQUENCE))
            oid = _oid(_inner(kind, _OID))
            parts.append(f"/{_ATTRIBUTES.get(oid, oid)}={_text(*value)}")
    return "".join(parts)


def _oid(data: bytes) -> str:
    if len(data) > _LONGEST_NUMBER:
        raise ValueError("the length of an object identifier")
    numbers = [data[0] // 40, data[0] % 40]
    number = 0
    for byte in data[1:]:
        number = number << 7 | byte & 0x7F
        if byte < 0x80:
            numbers.append(number)
            number = 0
    return ".".join(str(number) for number in numbers)


def _text(tag: int, data: bytes) -> str:
    encoding = _ENCODINGS.get(tag) or _WIDE_ENCODINGS.get(tag)
    return data.decode(encoding, "replace") if encoding else data.hex()


def _time(tag: int, data: bytes) -> datetime:
    text = data.decode("ascii")
    if tag == _UTC_TIME:
        # Two digits of the year: RFC 5280 sets the turn at 1950.
        text = ("19" if text[:2] >= "50" else "20") + text
    elif tag != _GENERALIZED_TIME:
        raise ValueError("no date")
    if not re.fullmatch(r"[0-9]{14}Z", text):
        raise ValueError("an odd date")
    numbers = (text[:4], *(text[at : at + 2] for at in range(4, 14, 2)))
    year, month, day, hour, minute, second = (int(number) for number in numbers)
    return datetime(year, month, day, hour, minute, second, tzinfo=UTC)
