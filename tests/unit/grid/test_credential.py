"""The user's certificate: its fields, the warnings about it, and its renewal."""

from __future__ import annotations

import base64
import copy
import logging
import os
import pickle
import re
import ssl
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import anyio
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

import aiomig
from aiomig import AuthenticationFailed, Config, ConfigError, Credential
from aiomig._grid.credential import warn_of_long_jobs
from aiomig._grid.renewal import CertificateReloader
from aiomig.testing import FakeGrid
from tests.clocks import anyio_backend

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

__all__ = ["anyio_backend"]

LOOK_SECONDS = 5.0

NOW = datetime.now(UTC).replace(microsecond=0)
DAY = timedelta(days=1)
HOUR = timedelta(hours=1)
PASSWORD = "open sesame"
PLAIN = serialization.NoEncryption()
LOCKED = serialization.BestAvailableEncryption(PASSWORD.encode())
PEM, PKCS8, OLD = (
    serialization.Encoding.PEM,
    serialization.PrivateFormat.PKCS8,
    serialization.PrivateFormat.TraditionalOpenSSL,
)
PROXY = x509.UnrecognizedExtension(
    x509.ObjectIdentifier("1.3.6.1.5.5.7.1.14"), bytes.fromhex("300c300a06082b06010505071501")
)


class Made:
    """A certificate and its key.

    Args:
        names: of the subject, the common names from the top down.
        signer: who signs it; default is itself.
        extensions: of it.
    """

    def __init__(
        self,
        *names: str,
        begin: timedelta = -DAY,
        end: timedelta = 100 * DAY,
        signer: Made | None = None,
        extensions: Iterable[x509.ExtensionType] = (),
        serial: int = 7,
    ) -> None:
        self.key = ec.generate_private_key(ec.SECP256R1())
        country = x509.NameAttribute(NameOID.COUNTRY_NAME, "DK")
        self.name = x509.Name([country, *(x509.NameAttribute(NameOID.COMMON_NAME, name) for name in names)])
        by = signer or self
        builder = x509.CertificateBuilder(by.name, self.name, self.key.public_key(), serial, NOW + begin, NOW + end)
        for each in extensions:
            builder = builder.add_extension(each, critical=True)
        self.pem = builder.sign(by.key, hashes.SHA256()).public_bytes(PEM)

    def key_pem(self, kind: Any = PKCS8, encryption: Any = PLAIN) -> bytes:
        return self.key.private_bytes(PEM, kind, encryption)


def write(folder: Path, made: Made, *others: Made, key: bytes | None = None) -> Config:
    """Replace files atomically, as a careful user does."""
    contents = {"cert.pem": b"".join(each.pem for each in (made, *others)), "key.pem": key or made.key_pem()}
    for name, content in contents.items():
        new = folder / f"{name}.new"
        new.touch(mode=0o600)
        new.write_bytes(content)
        new.replace(folder / name)
    return Config("https://grid.example.org", folder / "cert.pem", folder / "key.pem")


def warnings_in(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.__dict__["event_name"] for record in caplog.records if record.levelno == logging.WARNING]


# -- what is told


def test_facts(tmp_path: Path) -> None:
    found = write(tmp_path, Made("Alice", serial=2**70)).credential()
    assert found == Credential(
        path=tmp_path / "cert.pem",
        subject="/C=DK/CN=Alice",
        issuer="/C=DK/CN=Alice",
        serial=2**70,
        not_before=NOW - DAY,
        not_after=NOW + 100 * DAY,
        key_encrypted=False,
        is_proxy=False,
        user="/C=DK/CN=Alice",
    )
    assert 99 < found.days_left <= 100
    assert pickle.loads(pickle.dumps(found)) == found


@pytest.mark.parametrize(
    ("kind", "encryption", "expected"),
    [(PKCS8, PLAIN, False), (PKCS8, LOCKED, True), (OLD, PLAIN, False), (OLD, LOCKED, True)],
)
def test_whether_the_key_is_encrypted(tmp_path: Path, kind: Any, encryption: Any, expected: bool) -> None:
    made = Made("Alice")
    config = write(tmp_path, made, key=made.key_pem(kind, encryption))
    found = config.credential()  # does not ask for the password
    assert found.key_encrypted is expected
    body = made.key_pem(kind, encryption).splitlines()[-2].decode()
    assert body not in repr(found)
    config.replace(password=PASSWORD).ssl_context()


ALICE = Made("Alice")
AUTHORITY = Made("Authority")
PROXIES = {
    "none": ([ALICE], False, "/C=DK/CN=Alice"),
    "chain": ([Made("Alice", signer=AUTHORITY), AUTHORITY], False, "/C=DK/CN=Alice"),
    "authority whose name begins the user's": (
        [Made("CA", "Alice", signer=Made("CA")), Made("CA")],
        False,
        "/C=DK/CN=CA/CN=Alice",
    ),
    "RFC 3820": ([Made("Alice", "17", signer=ALICE, extensions=[PROXY]), ALICE], True, "/C=DK/CN=Alice"),
    "of a proxy": (
        [
            Made("Alice", "17", "4", signer=Made("Alice", "17"), extensions=[PROXY]),
            Made("Alice", "17", signer=ALICE, extensions=[PROXY]),
            ALICE,
        ],
        True,
        "/C=DK/CN=Alice",
    ),
    "alone": ([Made("Alice", "17", signer=ALICE, extensions=[PROXY])], True, "/C=DK/CN=Alice"),
    "older than the extension": ([Made("Alice", "limited proxy", signer=ALICE), ALICE], True, "/C=DK/CN=Alice"),
}


@pytest.mark.parametrize(("chain", "is_proxy", "user"), PROXIES.values(), ids=PROXIES)
def test_whose_it_is(tmp_path: Path, chain: list[Made], is_proxy: bool, user: str) -> None:
    config = write(tmp_path, *chain)
    found = config.credential()
    assert (found.is_proxy, found.user) == (is_proxy, user)
    config.ssl_context()


def altered(made: Made, *replacements: tuple[bytes, bytes]) -> Made:
    """A certificate with some bytes replaced and a new signature, in the style of old authorities."""
    der = x509.load_pem_x509_certificate(made.pem).public_bytes(serialization.Encoding.DER)
    signed = x509.load_pem_x509_certificate(made.pem).tbs_certificate_bytes
    rest = der[der.index(signed) + len(signed) :]
    algorithm = rest[: 2 + rest[1]]
    for old, new in replacements:
        assert signed.count(old) > 0
        assert len(old) == len(new)
        signed = signed.replace(old, new)
    signature = b"\0" + made.key.sign(signed, ec.ECDSA(hashes.SHA256()))
    content = signed + algorithm + bytes([3, len(signature)]) + signature
    other = copy.copy(made)
    other.pem = ssl.DER_cert_to_PEM_cert(b"\x30\x82" + len(content).to_bytes(2, "big") + content).encode()
    return other


SERIAL = bytes.fromhex("0202 1234")
OLD_CERTIFICATES = {
    "negative serial": (Made("Jens", serial=0x1234), [(SERIAL, bytes.fromhex("0202 f234"))], "/C=DK/CN=Jens"),
    "serial 0": (Made("Jens", serial=0x12), [(b"\x02\x01\x12", b"\x02\x01\x00")], "/C=DK/CN=Jens"),
    "TeletexString": (Made("Jens"), [(b"\x0c\x04Jens", b"\x14\x04Jens")], "/C=DK/CN=Jens"),
    "BMPString": (Made("J.e."), [(b"\x0c\x04J.e.", b"\x1e\x04\0J\0e")], "/C=DK/CN=Je"),
    "country of lower case": (Made("Jens"), [(b"\x13\x02DK", b"\x13\x02dk")], "/C=dk/CN=Jens"),
    "no name at all": (Made("Jens"), [(b"\x0c\x04Jens", b"\x0c\x04    ")], "/C=DK/CN=    "),
    "TeletexString in Latin-1": (Made("Jæ.s"), [(b"\x0c\x05J\xc3\xa6.s", b"\x14\x05J\xe6rns")], None),
    "PrintableString with an @": (Made("a@b"), [(b"\x0c\x03a@b", b"\x13\x03a@b")], None),
}


@pytest.mark.parametrize(("made", "replacements", "subject"), OLD_CERTIFICATES.values(), ids=OLD_CERTIFICATES)
async def test_what_old_authorities_signed_is_used(
    tmp_path: Path, made: Made, replacements: list[tuple[bytes, bytes]], subject: str | None
) -> None:
    config = write(tmp_path, altered(made, *replacements))
    reloader = CertificateReloader(config)
    context = reloader.load()
    assert context.cert_store_stats()["x509"] > 0
    credential = reloader.credential
    if subject is not None:
        assert (credential.subject, credential.user, credential.issuer) == (subject, subject, subject)
    else:  # cryptography cannot read it, but OpenSSL can
        assert credential.user.startswith("/SHA256=")
        assert config.credential() == credential
    assert credential.days_left > 90
    assert reloader.reload_if_changed() is None


def test_a_certificate_in_the_form_of_openssl_for_trusted_ones(tmp_path: Path) -> None:
    made = copy.copy(ALICE)
    usage = bytes.fromhex("300c300a06082b06010505070302")  # the purpose: for clients
    body = base64.encodebytes(ssl.PEM_cert_to_DER_cert(made.pem.decode()) + usage)
    made.pem = b"-----BEGIN TRUSTED CERTIFICATE-----\n" + body + b"-----END TRUSTED CERTIFICATE-----\n"
    config = write(tmp_path, made)
    assert config.credential().user.startswith("/SHA256=")
    config.ssl_context()


@pytest.mark.parametrize("encryption", [PLAIN, LOCKED], ids=["key without password", "key with password"])
def test_a_certificate_that_openssl_cannot_read(tmp_path: Path, encryption: Any) -> None:
    made = altered(Made("Jens"), (b"\x0c\x04Jens", b"\x1a\x04Jens"))  # VisibleString
    config = write(tmp_path, made, key=made.key_pem(PKCS8, encryption)).replace(password=PASSWORD)
    assert config.credential().user == "/C=DK/CN=Jens"
    with pytest.raises(ConfigError, match="certificate: .*cert.pem cannot be read by this machine's OpenSSL") as caught:
        config.ssl_context()
    assert caught.value.field == "certificate"


def test_a_damaged_certificate_behind_the_first_is_left_to_openssl(tmp_path: Path) -> None:
    config = write(tmp_path, ALICE)
    with config.certificate.open("ab") as stream:
        stream.write(b"-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n")
    assert config.credential().user == "/C=DK/CN=Alice"


def test_the_authority_before_the_user(tmp_path: Path) -> None:
    made = Made("Alice", signer=AUTHORITY)
    config = write(tmp_path, AUTHORITY, made, key=made.key_pem())
    with pytest.raises(ConfigError, match="several certificates, the user's must be the first") as caught:
        config.ssl_context()
    assert caught.value.field == "key"


@pytest.mark.parametrize("days", [-1, "14", True, float("nan"), float("inf"), None])
def test_days_that_are_none(days: Any) -> None:
    with pytest.raises(ConfigError, match="expiry_warning_days: .* give one from 0 to 36500") as caught:
        Config("https://a", "c", "k", expiry_warning_days=days)  # type: ignore[arg-type]
    assert caught.value.field == "expiry_warning_days"


async def test_none_without_a_certificate(tmp_path: Path) -> None:
    async with FakeGrid() as grid:
        fields: Any = {"certificate": "none.pem", "key": "none.pem", "transport": grid.transport()}
        async with aiomig.grid(url="https://grid.example.org", **fields) as mig:
            assert mig.credential is None
    assert aiomig.local(tmp_path).credential is None


# -- warnings


@pytest.mark.parametrize(
    ("left", "days", "extensions", "expected"),
    [
        (15 * DAY, 14, [], False),
        (13 * DAY, 14, [], True),
        (13 * DAY, 5, [], False),
        (HOUR, 0, [], False),
        (90 * DAY, 365, [], True),
        (12 * HOUR, 14, [PROXY], False),
        (HOUR, 14, [PROXY], True),
    ],
)
async def test_a_warning_before_the_end(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, left: timedelta, days: float, extensions: Any, expected: bool
) -> None:
    made = Made("Alice", begin=-12 * HOUR, end=left, extensions=extensions)
    reloader = CertificateReloader(write(tmp_path, made).replace(expiry_warning_days=days))
    reloader.load()
    await anyio.sleep(LOOK_SECONDS)
    assert reloader.reload_if_changed() is None
    assert warnings_in(caplog) == ["certificate_expires"] * expected  # logged once
    if expected:
        (record,) = caplog.records
        assert f"cert.pem expires at {NOW + left}, in " in record.getMessage()
        assert record.getMessage().endswith("; renew it on the pages of the site")
        assert record.__dict__["days_left"] == pytest.approx((NOW + left - datetime.now(UTC)) / DAY, abs=0.01)


@pytest.mark.parametrize(
    ("wall_times", "words"),
    [
        ([], None),
        ([600, 80_000], None),
        ([200_000], "1 of 1 jobs may run for 200000 s"),
        ([600, 180_000, 200_000], "2 of 3 jobs may run for 200000 s"),
    ],
)
def test_a_warning_of_jobs_that_outlive_it(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, wall_times: list[int], words: str | None
) -> None:
    warn_of_long_jobs(write(tmp_path, Made("Alice", end=2 * DAY)).credential(), wall_times)
    assert warnings_in(caplog) == ["certificate_outlived"] * (words is not None)
    assert (words or "") in caplog.text
    caplog.clear()
    warn_of_long_jobs(None, wall_times)
    assert caplog.records == []


# -- the successor


async def test_a_renewed_certificate_is_taken_up(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    reloader = CertificateReloader(write(tmp_path, Made("Alice", serial=1)))
    first = reloader.load()
    write(tmp_path, Made("Alice", serial=2))
    assert reloader.reload_if_changed() is None  # the files are not checked again so soon
    await anyio.sleep(LOOK_SECONDS)
    second = reloader.reload_if_changed()
    assert second not in (None, first)
    assert reloader.credential.serial == 2
    await anyio.sleep(LOOK_SECONDS)
    assert reloader.reload_if_changed() is None
    assert [record.__dict__["event_name"] for record in caplog.records] == ["certificate_renewed"]


CERTIFICATE, KEY = "cert.pem", "key.pem"
BAD: dict[str, tuple[str, bytes | None, str]] = {
    "half written": (CERTIFICATE, ALICE.pem[:200], "cert.pem holds no certificate in PEM format"),
    "empty": (CERTIFICATE, b"", "cert.pem holds no certificate in PEM format"),
    "gone": (CERTIFICATE, None, "cert.pem cannot be read: No such file"),
    "key gone": (KEY, None, "key.pem cannot be read: No such file"),
    "without its key": (CERTIFICATE, Made("Alice").pem, "is not the key of"),
    "locked": (KEY, ALICE.key_pem(PKCS8, LOCKED), "is encrypted and no password was given"),
    "expired": (CERTIFICATE, Made("Alice", end=-HOUR).pem, "expired at"),
}


@pytest.mark.parametrize(("name", "content", "words"), BAD.values(), ids=BAD)
async def test_what_cannot_be_used_is_left_alone(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, name: str, content: bytes | None, words: str
) -> None:
    reloader = CertificateReloader(write(tmp_path, ALICE))
    reloader.load()
    (tmp_path / name).unlink()
    if content is not None:
        (tmp_path / name).touch(mode=0o600)
        (tmp_path / name).write_bytes(content)
    for _ in range(3):
        await anyio.sleep(LOOK_SECONDS)
        assert reloader.reload_if_changed() is None
    assert warnings_in(caplog) == ["certificate_kept"]
    assert re.search(f"the old one stays in use: .*{words}", caplog.text)
    assert reloader.credential.days_left > 0
    write(tmp_path, Made("Alice", serial=2))
    await anyio.sleep(LOOK_SECONDS)
    assert reloader.reload_if_changed() is not None
    assert reloader.credential.serial == 2


async def test_the_certificate_of_another_user_is_left_alone(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    reloader = CertificateReloader(write(tmp_path, ALICE))
    reloader.load()
    write(tmp_path, Made("Bob"))
    await anyio.sleep(LOOK_SECONDS)
    assert reloader.reload_if_changed() is None
    assert "is now another user's; open a new session for it" in caplog.text
    assert reloader.credential.user == "/C=DK/CN=Alice"


async def test_a_new_proxy_of_the_same_user_is_taken_up(tmp_path: Path) -> None:
    reloader = CertificateReloader(write(tmp_path, *PROXIES["RFC 3820"][0]))
    reloader.load()
    write(tmp_path, Made("Alice", "18", signer=ALICE, extensions=[PROXY]), ALICE)
    await anyio.sleep(LOOK_SECONDS)
    assert reloader.reload_if_changed() is not None


async def test_what_a_callable_raises_is_not_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    def password() -> str:
        if calls:
            raise KeyError("the secret of a key ring")
        calls.append(1)
        return PASSWORD

    calls: list[int] = []
    made = Made("Alice")
    config = write(tmp_path, made, key=made.key_pem(PKCS8, LOCKED)).replace(password=password)
    reloader = CertificateReloader(config)
    reloader.load()
    write(tmp_path, made, key=made.key_pem(PKCS8, LOCKED))
    await anyio.sleep(LOOK_SECONDS)
    assert reloader.reload_if_changed() is None
    assert "the old one stays in use: KeyError" in caplog.text
    assert "key ring" not in caplog.text


async def test_one_that_expires_in_an_open_session(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reloader = CertificateReloader(write(tmp_path, Made("Alice", end=HOUR)))
    reloader.load()

    class Later(datetime):
        @classmethod
        def now(cls, tz: Any = None) -> Any:
            return NOW + 2 * HOUR

    monkeypatch.setattr("aiomig._grid.credential.datetime", Later)
    with pytest.raises(AuthenticationFailed, match="expired at .*; renew it on the pages of the site"):
        reloader.reload_if_changed()
    write(tmp_path, Made("Alice", serial=2))
    assert reloader.reload_if_changed() is not None  # checked at once
    assert reloader.credential.serial == 2


async def test_files_are_looked_at_now_and_then(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = write(tmp_path, ALICE)
    reloader = CertificateReloader(config)
    reloader.load()
    await anyio.sleep(LOOK_SECONDS)
    looks: list[str] = []
    stat = os.stat

    def look(path: Any, **named: Any) -> os.stat_result:
        looks.append(str(path))
        return stat(path, **named)

    monkeypatch.setattr(os, "stat", look)
    for _ in range(100):
        reloader.reload_if_changed()
    monkeypatch.undo()
    assert looks == [str(config.certificate), str(config.key)]
