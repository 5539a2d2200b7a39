"""The TLS context of a session, and why OpenSSL refuses a certificate or a key."""

from __future__ import annotations

import re
import ssl
from typing import TYPE_CHECKING

from .._core.errors import AuthenticationFailed, ConfigError
from .._core.tls_errors import translate_key_log_errors
from .credential import describe_weakness, is_encrypted, openssl_reads
from .miguser import content, unreadable

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

_HALF_CHARACTER = re.compile("[\ud800-\udfff]")

_WRONG_PAIR = frozenset({"KEY_VALUES_MISMATCH", "KEY_TYPE_MISMATCH", "NO_CERTIFICATE_ASSIGNED"})
"""OpenSSL's reasons if the key does not belong to the certificate; the last one for keys of another type."""


def make_context(
    certificate: Path, key: Path, ca: Path | None, password: str | Callable[[], str] | None
) -> ssl.SSLContext:
    """Return the TLS context that `Config.ssl_context` describes.

    Raises:
        AuthenticationFailed: the key cannot be decrypted.
        ConfigError: OpenSSL refuses a file.
        Exception: whatever a callable ``password`` raises.
    """
    context = _trust(ca)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.post_handshake_auth = True  # for servers that request a certificate only in some directories
    passphrase = _Passphrase(key, password)
    try:
        context.load_cert_chain(certificate, key, passphrase)
    except ssl.SSLError as error:
        raise _explain(certificate, key, error, passphrase) from error
    except OSError as error:
        raise unreadable("key", key, error) from error
    return context


def _trust(ca: Path | None) -> ssl.SSLContext:
    if ca is None:
        with translate_key_log_errors():
            return ssl.create_default_context()
    try:
        with translate_key_log_errors():
            if ca.is_dir():
                return ssl.create_default_context(capath=ca)
            content(ca)
            return ssl.create_default_context(cafile=ca)
    except ssl.SSLError as error:
        raise ConfigError(
            f"ca: {ca} holds no certificate in PEM format; give the cacert.pem of the site, or "
            "leave it out for the system's store",
            field="ca",
        ) from error
    except OSError as error:
        raise unreadable("ca", ca, error) from error


class _Passphrase:
    """Passes the passphrase of a key to OpenSSL, so that OpenSSL never prompts for it.

    Attributes:
        text: the passphrase; ``None`` until OpenSSL asks for it.
    """

    def __init__(self, key: Path, password: object) -> None:
        self.text: str | None = None
        self._key = key
        self._password = password

    def __call__(self) -> str:
        password = self._password() if callable(self._password) else self._password
        if not password:
            raise AuthenticationFailed(
                f"key: {self._key} is encrypted and no password was given; set password, "
                "or remove the passphrase: openssl pkey -in KEY -out NEWKEY"
            )
        if (
            not isinstance(password, str)
            or len(password.encode("utf-8", "replace")) > 1023
            or _HALF_CHARACTER.search(password)
        ):
            raise AuthenticationFailed("password: must be text of at most 1023 bytes in UTF-8")
        self.text = password
        return password


def _explain(
    certificate: Path, key: Path, error: ssl.SSLError, passphrase: _Passphrase
) -> AuthenticationFailed | ConfigError:
    """Return an error that names the file that OpenSSL refuses, and the reason."""
    reason = error.reason or ""
    if reason.endswith(("MD_TOO_WEAK", "KEY_TOO_SMALL")):
        problem = f"{certificate} {describe_weakness(certificate, reason)}, which this machine's OpenSSL "
        return ConfigError(
            f"certificate: {problem}refuses as too weak; get a new one from the site", field="certificate"
        )
    if reason in _WRONG_PAIR:
        message = (
            f"key: {key} is not the key of {certificate}; give a matching pair; in a file with several certificates, "
            "the user's must be the first"
        )
        return ConfigError(message, field="key")
    if not openssl_reads(certificate):
        problem = f"{certificate} cannot be read by this machine's OpenSSL"
        return ConfigError(f"certificate: {problem}; get a new one from the site", field="certificate")
    match _key_problem(key, passphrase.text):
        case "cipher":
            problem = f"{key} is encrypted with an old cipher, which this machine's OpenSSL refuses"
            remedy = (
                "encrypt it again on a machine that can read it: openssl pkcs8 -topk8 -v2 aes256 -in KEY -out NEWKEY"
            )
            return ConfigError(f"key: {problem}; {remedy}", field="key")
        case "password":
            problem = f"the password does not open {key}"
            return AuthenticationFailed(f"key: {problem}; give the password that it was encrypted with")
    return ConfigError(
        f"key: {key} holds no private key in PEM format; give the key.pem of the site, or make one "
        "of its PKCS#12 file: openssl pkcs12 -in FILE.p12 -nocerts -out key.pem",
        field="key",
    )


def _key_problem(path: Path, passphrase: str | None) -> str:
    """Return why OpenSSL refuses a key: ``"cipher"``, ``"password"`` or ``"format"``.

    Args:
        path: the key.
        passphrase: its passphrase; ``None`` if OpenSSL did not ask for it.
    """
    pem = content(path)
    try:
        _load_key(pem, passphrase)
    except ValueError as error:
        if is_encrypted(pem) and "cipher" in str(error):
            return "cipher"
        return "password" if passphrase is not None else "format"
    except TypeError:  # the key has a password, and OpenSSL failed before it asked for it
        return "cipher"
    except Exception:  # noqa: BLE001 - cryptography raises a different exception for each kind of key
        return "format"
    return "cipher" if passphrase is not None else "format"  # cryptography reads ciphers that OpenSSL does not


def opens(key: Path, passphrase: str) -> bool:
    """Return whether a passphrase opens a key."""
    try:
        _load_key(content(key), passphrase)
    except Exception:  # noqa: BLE001 - cryptography raises a different exception for each kind of key
        return False
    return True


def _load_key(pem: bytes, passphrase: str | None) -> None:
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    load_pem_private_key(pem, None if passphrase is None else passphrase.encode())
