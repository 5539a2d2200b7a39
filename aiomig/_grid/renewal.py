"""The certificate of a session, and its successor, which users put in its place while the session is open."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import anyio

from .._core.errors import MigError

if TYPE_CHECKING:
    import ssl
    from pathlib import Path

    from .config import Config
    from .credential import Credential

logger = logging.getLogger("aiomig.grid")

LOOK_SECONDS = 5.0
"""The shortest time between two looks at the files."""


class Renewal:
    """Reads the certificate, and reads it again when its files have changed.

    What cannot be used is left alone, with one warning: a file that is half-written, a key without its certificate,
    the certificate of another user. Opening a session with that would be an error, but an open one has the old one.

    Args:
        config: names the files.

    Attributes:
        credential: what is used now.
    """

    def __init__(self, config: Config) -> None:
        self._config = config
        self._warned_of: Credential | None = None
        self.credential: Credential
        self._files: tuple[object, ...]
        self._next_look: float

    def load(self) -> ssl.SSLContext:
        """Reads the files for the first time.

        Raises:
            ConfigError: a file is wrong.
            AuthenticationFailed: the certificate cannot be used now, or its key not be opened.
        """
        self._files = self._look()  # before they are read: a change in between is seen at the next look
        self.credential = self._config.credential()
        context = self._config.ssl_context()
        self._warn_before_expiry()
        return context

    def renewed(self) -> ssl.SSLContext | None:
        """What new connections are to use, where the files were replaced; ``None`` where they were not.

        Looks at them every few seconds at most, but for a certificate that has expired. No I/O besides.

        Raises:
            AuthenticationFailed: the certificate has expired, and no other is in its place.
        """
        is_over = self.credential.days_left < 0
        if anyio.current_time() < self._next_look and not is_over:
            return None
        context = None
        if (files := self._look()) != self._files:
            self._files = files
            context = self._reread()
        self.credential.check()
        self._warn_before_expiry()
        return context

    def _look(self) -> tuple[object, ...]:
        self._next_look = anyio.current_time() + LOOK_SECONDS
        return tuple(_identity(path) for path in (self._config.certificate, self._config.key, self._config.ca))

    def _reread(self) -> ssl.SSLContext | None:
        try:
            credential = self._config.credential()
            context = self._config.ssl_context()
            if credential.user != self.credential.user:
                raise MigError(f"certificate: {credential.path} is another user's now; open another session for that")
        except Exception as error:  # noqa: BLE001 - also what a callable password raises; the old one goes on
            reason = str(error) if isinstance(error, MigError) else type(error).__name__
            logger.warning(
                "the certificate was replaced, but not by one that can be used, so that the old one is kept: %s",
                reason,
                extra={"event_name": "certificate_kept", "path": str(self._config.certificate)},
            )
            return None
        self.credential = credential
        logger.info(
            "the certificate was replaced; new connections use the new one, which is valid until %s",
            credential.not_after,
            extra={"event_name": "certificate_renewed", "path": str(credential.path)},
        )
        return context

    def _warn_before_expiry(self) -> None:
        credential = self.credential
        if self._warned_of is credential or not credential.expires_soon(self._config.expiry_warning_days):
            return
        self._warned_of = credential
        logger.warning(
            "certificate: %s expires at %s, in %.1f days; renew it on the pages of the site",
            credential.path,
            credential.not_after,
            credential.days_left,
            extra={
                "event_name": "certificate_expires",
                "path": str(credential.path),
                "days_left": credential.days_left,
            },
        )


def _identity(path: Path | None) -> tuple[int, ...] | None:
    """What differs when a file is replaced or written again; ``None`` where there is no file."""
    try:
        found = path.stat() if path is not None else None
    except OSError:
        return None
    return (found.st_mtime_ns, found.st_size, found.st_ino) if found is not None else None
