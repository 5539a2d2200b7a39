"""`Credential`: the details of a user's certificate."""

from __future__ import annotations

import hashlib
import logging
import re
import warnings
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path  # noqa: TC003 - typing.get_type_hints needs it
from typing import TYPE_CHECKING

from .._core.errors import AuthenticationFailed
from .miguser import content

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cryptography import x509


logger = logging.getLogger("aiomig.grid")

_CERTIFICATE = re.compile(rb"-----BEGIN (?:TRUSTED )?CERTIFICATE-----[^-]+-----END (?:TRUSTED )?CERTIFICATE-----")
_ENCRYPTED_KEY = re.compile(rb"^(?:-----BEGIN ENCRYPTED PRIVATE KEY-----|Proc-Type: *4, *ENCRYPTED)", re.MULTILINE)

_PROXY_EXTENSIONS = frozenset({"1.3.6.1.5.5.7.1.14", "1.3.6.1.4.1.3536.1.222"})
"""The extension of RFC 3820, and that of its drafts."""

_PROXY_NAMES = ("/CN=proxy", "/CN=limited proxy")
"""Ends of the subject of a proxy without an extension, from before RFC 3820."""

_ATTRIBUTES = {
    "2.5.4.4": "SN",
    "2.5.4.5": "serialNumber",
    "2.5.4.12": "title",
    "2.5.4.42": "GN",
    "1.2.840.113549.1.9.1": "emailAddress",
}
"""OpenSSL's names of attributes that RFC 4514 does not name."""

_PROXY_SHARE = 4
"""A proxy is valid for hours only, so it "expires soon" in the last quarter of its validity."""


@dataclass(frozen=True, slots=True)
class Credential:
    """The certificate of a session's user: `Session.credential`. It contains no secrets.

    Names are in MiG's form: ``/C=DK/O=…/CN=…/emailAddress=…``. Some old certificates work, but aiomig cannot parse
    them. Their names are ``/SHA256=…``, and their dates are the earliest and the latest possible.

    Attributes:
        path: the file of the certificate.
        subject: the name of its owner.
        issuer: the name of the authority or user that signed it.
        serial: its serial number.
        not_before: the start of its validity (aware, UTC).
        not_after: the end of its validity (aware, UTC).
        key_encrypted: whether the private key has a passphrase.
        is_proxy: whether this is a proxy certificate, which a user signed to delegate rights (RFC 3820).
        user: the name of the user; differs from ``subject`` only for proxies.
    """

    path: Path
    subject: str
    issuer: str
    serial: int
    not_before: datetime
    not_after: datetime
    key_encrypted: bool
    is_proxy: bool
    user: str

    @classmethod
    def read(cls, certificate: Path, key: Path) -> Credential:
        """Read the files; the passphrase of the key is not needed.

        Args:
            certificate: the user's certificate in PEM format; certificates of authorities may follow.
            key: its private key.

        Raises:
            OSError: a file cannot be read.
            ValueError: the certificate is missing or damaged.
        """
        chain = _read_chain(content(certificate))
        first = chain[0]
        return cls(
            path=certificate,
            subject=first.subject,
            issuer=first.issuer,
            serial=first.serial,
            not_before=first.not_before,
            not_after=first.not_after,
            key_encrypted=is_encrypted(content(key)),
            is_proxy=first.is_proxy,
            user=next((certificate.subject for certificate in chain if not certificate.is_proxy), chain[-1].issuer),
        )

    @property
    def days_left(self) -> float:
        """The days until the certificate expires; negative if it has expired."""
        return (self.not_after - datetime.now(UTC)) / timedelta(days=1)

    def check(self) -> None:
        """Check that the certificate is valid now, by this machine's clock.

        Raises:
            AuthenticationFailed: it has expired, or is not valid yet.
        """
        now = datetime.now(UTC)
        if now > self.not_after:
            problem = f"expired at {self.not_after}; renew it on the pages of the site"
        elif now < self.not_before:
            problem = f"is not valid before {self.not_before}; check the clock, which says {now}"
        else:
            return
        raise AuthenticationFailed(f"certificate: {self.path} of {self.subject} {problem}")

    def expires_soon(self, days: float) -> bool:
        """Return whether less than ``days`` are left; for a proxy, less than ``days`` and a quarter of its validity."""
        period = timedelta(days=days)
        if self.is_proxy:
            period = min(period, (self.not_after - self.not_before) / _PROXY_SHARE)
        return self.not_after - datetime.now(UTC) < period

    def expires_within(self, seconds: float) -> bool:
        """Return whether the certificate expires in less than ``seconds``."""
        return (self.not_after - datetime.now(UTC)).total_seconds() < seconds


# -- reading


@dataclass(frozen=True, slots=True)
class _Certificate:
    subject: str
    issuer: str
    serial: int
    not_before: datetime
    not_after: datetime
    is_proxy: bool = False


def _read_chain(pem: bytes) -> list[_Certificate]:
    """Read the certificates of a PEM file. Skip those after the first that cannot be parsed.

    Raises:
        ValueError: there is no certificate, or the first is damaged.
    """
    blocks = _CERTIFICATE.findall(pem)
    if not blocks:
        raise ValueError("holds no certificate in PEM format")
    chain = [_read_certificate(blocks[0])]
    for block in blocks[1:]:
        with suppress(ValueError):
            chain.append(_read_certificate(block))
    return chain


def _read_certificate(pem: bytes) -> _Certificate:
    from cryptography import x509  # takes 70 ms to import

    pem = pem.replace(b"TRUSTED ", b"")  # OpenSSL's own format, which adds the purposes of trust
    fingerprint = f"/SHA256={hashlib.sha256(pem).hexdigest()}"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about serial numbers and lengths in certificates of old authorities
        try:
            certificate = x509.load_pem_x509_certificate(pem)
            serial, begin, end = (
                certificate.serial_number,
                certificate.not_valid_before_utc,
                certificate.not_valid_after_utc,
            )
        except (ValueError, x509.InvalidVersion) as error:
            if not _is_read_by_openssl(pem):
                raise ValueError("holds a damaged certificate") from error
            # OpenSSL accepts more certificates than cryptography does.
            first, last = datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)
            return _Certificate(fingerprint, fingerprint, 0, first, last)
        subject = _slash_name(certificate, "subject") or fingerprint
        issuer = _slash_name(certificate, "issuer") or fingerprint
    is_proxy = subject.endswith(_PROXY_NAMES) or not _PROXY_EXTENSIONS.isdisjoint(_extensions(certificate))
    return _Certificate(subject, issuer, serial, begin, end, is_proxy)


def openssl_reads(path: Path) -> bool:
    """Return whether OpenSSL can read the first certificate of a file."""
    return _is_read_by_openssl(_CERTIFICATE.findall(content(path))[0].replace(b"TRUSTED ", b""))


def _is_read_by_openssl(pem: bytes) -> bool:
    import ssl

    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cadata=pem.decode("ascii"))
    except (ssl.SSLError, ValueError):
        return False
    return True


def _slash_name(certificate: x509.Certificate, field: str) -> str | None:
    """Return the subject or the issuer in MiG's form; ``None`` if cryptography cannot decode it."""
    try:
        name: x509.Name = getattr(certificate, field)
        return "".join(
            f"/{_ATTRIBUTES.get(part.oid.dotted_string, part.rfc4514_attribute_name)}="
            + (part.value if isinstance(part.value, str) else part.value.hex())
            for relative_name in name.rdns
            for part in relative_name
        )
    except (ValueError, TypeError):
        return None


def _extensions(certificate: x509.Certificate) -> set[str]:
    """Return the object identifiers of the extensions; an empty set if cryptography cannot read them."""
    try:
        return {extension.oid.dotted_string for extension in certificate.extensions}
    except Exception:  # noqa: BLE001 - cryptography raises a different exception for each kind of damage
        return set()


def is_encrypted(key: bytes) -> bool:
    """Return whether a key in PEM format has a passphrase."""
    return _ENCRYPTED_KEY.search(key) is not None


def describe_weakness(path: Path, reason: str) -> str:
    """Return why OpenSSL refuses the certificates in a file as too weak.

    Args:
        path: the file.
        reason: OpenSSL's reason, such as ``CA_MD_TOO_WEAK`` or ``EE_KEY_TOO_SMALL``.
    """
    from cryptography import x509

    weaknesses: list[str] = []
    for pem in _CERTIFICATE.findall(content(path)):
        with suppress(Exception):
            certificate = x509.load_pem_x509_certificate(pem)
            algorithm, key = certificate.signature_hash_algorithm, certificate.public_key()
            if "MD" in reason and algorithm is not None and algorithm.name in ("md5", "sha1"):
                weaknesses.append(f"is signed with {algorithm.name.replace('sha1', 'SHA-1').replace('md5', 'MD5')}")
            if "KEY" in reason:
                weaknesses.append(f"has a key of {key.key_size} bit")  # type: ignore[union-attr]
    return weaknesses[0] if weaknesses else f"is not acceptable ({reason})"


# -- warnings


def warn_of_long_jobs(credential: Credential | None, wall_times: Sequence[int]) -> None:
    """Log a warning if jobs may still run when the user's certificate expires. Called before they are submitted.

    Args:
        credential: the certificate, if there is one.
        wall_times: the wall times of the jobs, in seconds. Their time in the queue is unknown.
    """
    if credential is None or not credential.expires_within(max(wall_times, default=0)):
        return
    late = sum(credential.expires_within(seconds) for seconds in wall_times)
    logger.warning(
        "%d of %d jobs may run for %d s, which is after the certificate expires at %s, even if they start at once: "
        "watching them and fetching their results will need a new one; renew it on the pages of the site",
        late,
        len(wall_times),
        max(wall_times),
        credential.not_after,
        extra={
            "event_name": "certificate_outlived",
            "path": str(credential.path),
            "wall_time": max(wall_times),
            "days_left": credential.days_left,
        },
    )
