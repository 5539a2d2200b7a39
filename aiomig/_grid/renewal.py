"""Reloads a certificate that is replaced while a session is open."""

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


class CertificateReloader:
    """Loads the certificate of a session, and reloads it when its files change.

    Users replace certificates while sessions are open. If the new files are not usable (partly written, a key that
    does not match, another user's certificate), the session logs one warning and continues with the old ones.

    Args:
        config: the files.
        seconds: the shortest time between two checks of the files.

    Attributes:
        credential: the certificate in use.
    """

    def __init__(self, config: Config, seconds: float = 5.0) -> None:
        self._config = config
        self._seconds = seconds
        self._warned_about: Credential | None = None
        self.credential: Credential
        self._files: tuple[object, ...]
        self._next_check: float

    def load(self) -> ssl.SSLContext:
        """Read the files for the first time.

        Raises:
            ConfigError: a file is wrong.
            AuthenticationFailed: the certificate cannot be used now, or its key cannot be opened.
        """
        self._files = self._stat_files()  # first, so that the next check notices a change during the reading
        self.credential = self._config.credential()
        context = self._config.ssl_context()
        self._warn_before_expiry()
        return context

    def reload_if_changed(self) -> ssl.SSLContext | None:
        """Return a TLS context for new connections if the files were replaced, otherwise ``None``.

        Checks the files at most every few seconds, or at every call once the certificate has expired.

        Raises:
            AuthenticationFailed: the certificate has expired, and has not been replaced.
        """
        if anyio.current_time() < self._next_check and self.credential.days_left >= 0:
            return None
        context = None
        if (files := self._stat_files()) != self._files:
            self._files = files
            context = self._reload()
        self.credential.check()
        self._warn_before_expiry()
        return context

    def _stat_files(self) -> tuple[object, ...]:
        self._next_check = anyio.current_time() + self._seconds
        return tuple(_identity(path) for path in (self._config.certificate, self._config.key, self._config.ca))

    def _reload(self) -> ssl.SSLContext | None:
        try:
            credential = self._config.credential()
            context = self._config.ssl_context()
            if credential.user != self.credential.user:
                raise MigError(f"certificate: {credential.path} is now another user's; open a new session for it")
        except Exception as error:  # noqa: BLE001 - a callable password may raise anything; keep the old certificate
            reason = str(error) if isinstance(error, MigError) else type(error).__name__
            logger.warning(
                "the certificate was replaced by one that cannot be used; the old one stays in use: %s",
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
        if self._warned_about is credential or not credential.expires_soon(self._config.expiry_warning_days):
            return
        self._warned_about = credential
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
    """Return values that change when a file is replaced or rewritten; ``None`` if there is no file."""
    try:
        status = path.stat() if path is not None else None
    except OSError:
        return None
    return (status.st_mtime_ns, status.st_size, status.st_ino) if status is not None else None
