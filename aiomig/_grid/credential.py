"""`Credential`: what is known of a user's certificate, without its secrets."""

from __future__ import annotations

import logging
import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from .._core.errors import AuthenticationFailed
from . import x509 as _x509
from .miguser import content

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

logger = logging.getLogger("aiomig.grid")

_ENCRYPTED_KEY = re.compile(rb"^(?:-----BEGIN ENCRYPTED PRIVATE KEY-----|Proc-Type: *4, *ENCRYPTED)", re.MULTILINE)
_SHARE_OF_A_PROXY = 4


@dataclass(frozen=True, slots=True)
class Credential:
    """The certificate by which a session is known to the grid; `Session.credential`. Holds no secret.

    Names have the form in which MiG names its users: ``/C=DK/O=…/CN=…/emailAddress=…``.

    Attributes:
        path: the file of the certificate.
        subject: whose it is.
        issuer: who signed it.
        serial: its number at the issuer.
        not_before: from when it is valid (aware, UTC).
        not_after: until when it is.
        key_encrypted: whether the private key has a passphrase.
        is_proxy: whether it is one that a user signed, to act in that user's name (RFC 3820).
        user: the user; differs from ``subject`` for proxies only.
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
        """Reads the files; the passphrase of the key is not needed.

        Args:
            certificate: the user's certificate in PEM format; those of authorities may follow.
            key: its private key.

        Raises:
            OSError: a file cannot be read.
            ValueError: the certificate is none, or damaged.
        """
        chain = _x509.chain_from_pem(content(certificate))
        first = chain[0]
        return cls(
            path=certificate,
            subject=first.subject,
            issuer=first.issuer,
            serial=first.serial,
            not_before=first.not_before,
            not_after=first.not_after,
            key_encrypted=_ENCRYPTED_KEY.search(content(key)) is not None,
            is_proxy=first.is_proxy,
            user=next((each.subject for each in chain if not each.is_proxy), chain[-1].issuer),
        )

    @property
    def days_left(self) -> float:
        """The days until it expires; negative when it has."""
        return (self.not_after - datetime.now(UTC)) / timedelta(days=1)

    def check(self) -> None:
        """Looks whether it is valid now, by the clock of this machine.

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
        """Whether less than so many days are left; of a proxy, which is meant to be short, at most a fourth of all."""
        period = timedelta(days=days)
        if self.is_proxy:
            period = min(period, (self.not_after - self.not_before) / _SHARE_OF_A_PROXY)
        return self.not_after - datetime.now(UTC) < period

    def outlived_by(self, seconds: float) -> bool:
        """Whether something that takes so long from now on outlives it."""
        return (self.not_after - datetime.now(UTC)).total_seconds() < seconds


def warn_of_long_jobs(credential: Credential | None, wall_times: Sequence[int]) -> None:
    """Logs that jobs about to be submitted may end after their user's certificate.

    Args:
        credential: the certificate, if there is one.
        wall_times: of the jobs, in seconds. How long they will wait is not known.
    """
    if credential is None or not credential.outlived_by(max(wall_times, default=0)):
        return
    late = sum(credential.outlived_by(seconds) for seconds in wall_times)
    logger.warning(
        "%d of %d jobs may run for %d s, beyond the end of the certificate at %s, even if they do not wait: it takes a "
        "new one to watch them and to fetch their results; renew it on the pages of the site",
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
