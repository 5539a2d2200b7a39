"""Certificates for a `FakeGrid` over TLS: those of an authority, the server and its clients."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datetime import datetime
    from pathlib import Path

    import trustme
    from cryptography import x509

_SHORT = {
    "countryName": "C",
    "stateOrProvinceName": "ST",
    "localityName": "L",
    "organizationName": "O",
    "organizationalUnitName": "OU",
    "commonName": "CN",
    "emailAddress": "emailAddress",
}


@dataclass(frozen=True, slots=True)
class ClientFiles:
    """A client's certificate and key in PEM files."""

    certificate: Path
    key: Path


class Authority:
    """Issues certificates, with trustme.

    Args:
        folder: the folder for the files, created if it does not exist.

    Raises:
        ImportError: trustme is not installed.
    """

    def __init__(self, folder: Path) -> None:
        import trustme

        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._authority = trustme.CA(key_type=trustme.KeyType.ECDSA)
        self.file: Path = folder / "ca.pem"
        """The authority's own certificate, with which clients verify the server."""
        self._authority.cert_pem.write_to_path(str(self.file))

    def server_context(self, host: str) -> ssl.SSLContext:
        """Return a TLS context for a server that requires a certificate of this authority from every client."""
        context = self.public_context(host)
        self._authority.configure_trust(context)
        context.verify_mode = ssl.CERT_REQUIRED
        return context

    def public_context(self, host: str) -> ssl.SSLContext:
        """Return a TLS context for a server that requires no certificate from its clients."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        self._authority.issue_cert(host, "localhost", "127.0.0.1", "::1").configure_cert(context)
        return context

    def client(
        self,
        user: str,
        name: str = "client",
        *,
        not_before: datetime | None = None,
        not_after: datetime | None = None,
        intermediate: bool = False,
    ) -> ClientFiles:
        """Issue a certificate for a user.

        Args:
            user: the distinguished name in the slash form.
            name: the base name of the files.
            not_before: the beginning of its validity; the default is long ago.
            not_after: the end of its validity; the default is far in the future.
            intermediate: whether an intermediate authority signs it; its certificate then follows in the file.
        """
        from cryptography import x509
        from cryptography.hazmat.primitives import hashes, serialization

        signer = self._authority.create_child_ca() if intermediate else self._authority
        leaf: trustme.LeafCert = signer.issue_cert("client@example.org", not_before=not_before, not_after=not_after)
        template = x509.load_pem_x509_certificate(leaf.cert_chain_pems[0].bytes())
        key = serialization.load_pem_private_key(signer.private_key_pem.bytes(), None)
        builder = (
            x509.CertificateBuilder()
            .subject_name(_name(user))
            .issuer_name(template.issuer)
            .public_key(template.public_key())
            .serial_number(template.serial_number)
            .not_valid_before(template.not_valid_before_utc)
            .not_valid_after(template.not_valid_after_utc)
        )
        for extension in template.extensions:
            builder = builder.add_extension(extension.value, extension.critical)
        signed = builder.sign(key, hashes.SHA256())  # type: ignore[arg-type]
        files = ClientFiles(self._folder / f"{name}.pem", self._folder / f"{name}.key")
        chain = (signed.public_bytes(serialization.Encoding.PEM), *(pem.bytes() for pem in leaf.cert_chain_pems[1:]))
        files.certificate.write_bytes(b"".join(chain))
        files.key.write_bytes(leaf.private_key_pem.bytes())
        files.key.chmod(0o600)
        return files


def _name(user: str) -> x509.Name:
    from cryptography import x509
    from cryptography.x509.oid import NameOID

    kinds = {
        "C": NameOID.COUNTRY_NAME,
        "ST": NameOID.STATE_OR_PROVINCE_NAME,
        "L": NameOID.LOCALITY_NAME,
        "O": NameOID.ORGANIZATION_NAME,
        "OU": NameOID.ORGANIZATIONAL_UNIT_NAME,
        "CN": NameOID.COMMON_NAME,
        "emailAddress": NameOID.EMAIL_ADDRESS,
    }
    pairs = (part.partition("=") for part in user.strip("/").split("/"))
    return x509.Name([x509.NameAttribute(kinds[kind], value) for kind, _, value in pairs])


def slash_form(certificate: object) -> str:
    """Return the distinguished name of a result of `ssl.SSLObject.getpeercert`, as Apache writes it."""
    subject = certificate.get("subject", ()) if isinstance(certificate, dict) else ()
    return "".join(f"/{_SHORT.get(kind, kind)}={_escaped(value)}" for part in subject for kind, value in part)


def _escaped(value: str) -> str:
    # Apache's old form writes each byte beyond ASCII as \xNN, so no account is found
    # (docs/protocol.md#certificates).
    return "".join(chr(byte) if byte < 128 else f"\\x{byte:02X}" for byte in value.encode())
