"""Explanations of TLS errors, and what to do about them."""

from __future__ import annotations

import os
import ssl
from contextlib import contextmanager
from typing import TYPE_CHECKING

from .errors import AuthenticationFailed, ConfigError, ConnectionFailed, GridError

if TYPE_CHECKING:
    from collections.abc import Iterator

_REFUSALS = {
    "CERTIFICATE_REQUIRED": "the server requires a client certificate and got none",
    "HANDSHAKE_FAILURE": "the server refused the handshake, perhaps because the client certificate is missing",
    "CERTIFICATE_EXPIRED": "the client certificate has expired; get a new one from the site",
    "CERTIFICATE_REVOKED": "the client certificate was revoked; get a new one from the site",
    "UNKNOWN_CA": "the server does not trust the issuer of the client certificate; use a certificate from the site",
    "BAD_CERTIFICATE": "the server does not accept the client certificate",
    "ACCESS_DENIED": "the server denies access to this client certificate",
}

_REMEDIES = {
    "ostname": "check the host name in the URL",
    "IP address": "check the host name in the URL",
    "too weak": "this machine's OpenSSL requires a stronger one; ask the site to renew it",
    "expired": "ask the site to renew it, and check this machine's clock",
    "not yet valid": "check this machine's clock",
    "revoked": "ask the site",
}
"""The remedies for a server's certificate, by a part of OpenSSL's message."""

_NO_REASON = (ssl.SSLEOFError, ssl.SSLZeroReturnError, ssl.SSLWantReadError, ssl.SSLWantWriteError)


def tls_error(error: BaseException | None) -> ssl.SSLError | None:
    """Return the TLS error that caused an error, or ``None``. The end of a connection does not count as one."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        if isinstance(error, ssl.SSLError) and not isinstance(error, _NO_REASON):
            return error
        error = error.__cause__ or error.__context__
    return None


def is_lasting(error: ConnectionFailed) -> bool:
    """Return whether another try would fail in the same way: the two sides do not agree on TLS."""
    return not error.sent and tls_error(error.__cause__) is not None


def explain_tls(url: str, error: ssl.SSLError, *, sent: bool, is_site: bool) -> GridError:
    """Return the error of aiomig for a TLS error.

    Args:
        url: the URL of the server.
        error: the error from OpenSSL.
        sent: whether the request may have reached the server.
        is_site: whether the server is a MiG site, whose CA can be set in the configuration.
    """
    if isinstance(error, ssl.SSLCertVerificationError):
        reason = error.verify_message or str(error)
        remedy = next(
            (text for word, text in _REMEDIES.items() if word in reason),
            "give its CA as ca" if is_site else "name its CA in SSL_CERT_FILE",
        )
        return ConnectionFailed(f"the certificate of {url} is not trusted: {reason}; {remedy}", sent=False)
    reason = error.reason or str(error)
    for word, text in _REFUSALS.items():
        if word in reason:
            return AuthenticationFailed(f"{url}: {text} ({reason})")
    remedy = "is it the https port of a MiG server?" if is_site else "is it an https URL?"
    if reason.endswith(
        ("TOO_SMALL", "TOO_WEAK", "UNSUPPORTED_PROTOCOL", "PROTOCOL_VERSION", "LEGACY_RENEGOTIATION_DISABLED")
    ):
        remedy = "the server's TLS is too old or too weak for this machine's OpenSSL; ask the site to renew it"
    return ConnectionFailed(f"TLS with {url} failed: {reason}; {remedy}", sent=sent)


@contextmanager
def translate_key_log_errors() -> Iterator[None]:
    """Translate the error that creating a TLS context raises if ``$SSLKEYLOGFILE`` cannot be written.

    Raises:
        ConfigError: the file cannot be written.
    """
    try:
        yield
    except OSError as error:
        if error.filename is None or error.filename != os.environ.get("SSLKEYLOGFILE"):
            raise
        problem = (
            f"{error.filename} cannot be written: {error.strerror}; unset it, or set it to a file in an existing folder"
        )
        raise ConfigError(f"SSLKEYLOGFILE: {problem}") from error
