"""`Config`, the `miguser.conf` of users, and the checks of certificates and keys."""

from __future__ import annotations

import contextlib
import copy
import datetime
import logging
import os
import pickle
import ssl
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import trustme
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import NameOID
from hypothesis import given
from hypothesis import strategies as st

import aiomig
from aiomig._core.errors import AuthenticationFailed, ConfigError
from aiomig._grid.config import Config
from aiomig._grid.credential import _Certificate, _read_certificate, _read_chain
from aiomig._grid.miguser import _KEYS, _values

if TYPE_CHECKING:
    from collections.abc import Callable

NOW = datetime.datetime.now(datetime.UTC).replace(microsecond=0)
DAY = datetime.timedelta(days=1)
SECRET = "correct horse battery staple"
DN = (
    (NameOID.COUNTRY_NAME, "DK"),
    (NameOID.ORGANIZATION_NAME, "Test Org"),
    (NameOID.COMMON_NAME, "Jens Ærøskøbing"),
    (NameOID.EMAIL_ADDRESS, "jens@example.org"),
)


def certificate(begin: datetime.datetime = NOW - DAY, end: datetime.datetime = NOW + DAY) -> tuple[bytes, bytes]:
    """A certificate in PEM and the key to it, unencrypted."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(oid, value) for oid, value in DN])
    builder = x509.CertificateBuilder(name, name, key.public_key(), 2**70 + 5, begin, end)
    made = builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
    return made, key_text(key, serialization.NoEncryption())


def key_text(key: ec.EllipticCurvePrivateKey, encryption: serialization.KeySerializationEncryption) -> bytes:
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption)


def encrypted(key: bytes, password: str = SECRET) -> bytes:
    loaded = serialization.load_pem_private_key(key, None)
    assert isinstance(loaded, ec.EllipticCurvePrivateKey)
    return key_text(loaded, serialization.BestAvailableEncryption(password.encode()))


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home with certificate and key in ``~/.mig``."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("AIOMIG_CONFIG", raising=False)
    home = tmp_path / ".mig"
    home.mkdir()
    made, key = certificate()
    (home / "cert.pem").write_bytes(made)
    (home / "key.pem").write_bytes(key)
    (home / "key.pem").chmod(0o600)
    return home


USUAL = "migserver https://grid.example.org:446\ncertfile ~/.mig/cert.pem\nkeyfile ~/.mig/key.pem\n"


@pytest.fixture
def load(folder: Path) -> Callable[[str | bytes], Config]:
    def write(text: str | bytes) -> Config:
        path = folder / "miguser.conf"
        path.write_bytes(text.encode() if isinstance(text, str) else text)
        path.chmod(0o600)
        return Config.load()

    return write


def config(folder: Path, **fields: Any) -> Config:
    return Config("https://grid.example.org", folder / "cert.pem", folder / "key.pem", **fields)


def test_usual_file(load: Callable[[str], Config], folder: Path) -> None:
    loaded = load(USUAL + "cacertfile AUTO\nconnect_timeout 20\nmax_time 3600\n")
    assert loaded == Config(
        "https://grid.example.org:446",
        folder / "cert.pem",
        folder / "key.pem",
        connect_timeout=20,
        timeout=3600,
    )
    assert loaded.ca is None


@pytest.mark.parametrize(
    "text",
    [
        USUAL.replace(" ", "\t"),
        USUAL.replace(" ", "   \t "),
        USUAL.replace("\n", "\r\n"),
        "\ufeff" + USUAL,
        "# a comment\n\n  # another\n" + USUAL,
        USUAL.replace(":446", ":446/"),
        USUAL.replace(":446", ":446   # the certificate host"),
        USUAL + "migserver https://other.example.org\nkeyfile /nowhere\n",
        USUAL + "colour blue\nusername jens\n",
        USUAL.replace("~", "$HOME"),
        USUAL.replace("~", "${HOME}"),
        USUAL + "auth_redir cert_redirect\n",
        USUAL + "authcookiefile ~/.mig/cookie\n",
        USUAL + "password\n",
    ],
)
def test_all_forms_of_the_usual_file(load: Callable[[str], Config], folder: Path, text: str) -> None:
    loaded = load(text)
    assert loaded.url == "https://grid.example.org:446"
    assert (loaded.certificate, loaded.key) == (folder / "cert.pem", folder / "key.pem")
    assert (loaded.ca, loaded.password) == (None, None)


def test_values_keep_what_they_may_hold(load: Callable[[str], Config], folder: Path) -> None:
    (folder / "my # ca.pem").write_text("")
    (folder / "key.pem").write_bytes(encrypted((folder / "key.pem").read_bytes(), "a # b  $HOME"))
    loaded = load(USUAL + "password  a # b  $HOME \ncacertfile ~/.mig/my # ca.pem\n")
    assert loaded.password == "a # b  $HOME"
    assert loaded.ca == folder / "my # ca.pem"


@pytest.mark.parametrize(
    ("line", "field"),
    [
        ("password PASSWORD # password of the private key", "password"),
        ("password PASSWORD\t# password", "password"),
        ("cacertfile # path to the CA certificate - leave this unset", "cacertfile"),
        ("cacertfile ~/.mig/cert.pem # the authority", "cacertfile"),
    ],
)
def test_a_comment_behind_a_value(load: Callable[[str], Config], folder: Path, line: str, field: str) -> None:
    """An example from the documentation of grid.dk, whose shell scripts read only the first word."""
    (folder / "key.pem").write_bytes(encrypted((folder / "key.pem").read_bytes(), "PASSWORD"))
    with pytest.raises(ConfigError, match="a comment needs a line of its own") as caught:
        load(f"{USUAL}{line}\n")
    assert (caught.value.line, caught.value.field) == (4, field)
    assert "PASSWORD" not in str(caught.value)


@pytest.mark.parametrize("key", ["certfile", "keyfile", "cacertfile"])
def test_a_path_that_is_too_long(load: Callable[[str], Config], key: str) -> None:
    with pytest.raises(ConfigError, match=f"{key}: '/x+' cannot be read: File name too long; correct the path"):
        load(f"{key} /{'x' * 300}\n{USUAL}")


def test_a_home_that_cannot_be_searched(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AIOMIG_CONFIG", raising=False)
    monkeypatch.setenv("HOME", "/" + "x" * 300)  # root may search every directory
    for call in (Config.find, Config.load, aiomig.grid, aiomig.connect):
        with pytest.raises(ConfigError, match="config: .*miguser.conf cannot be read: File name too long"):
            call()


@pytest.fixture
def homeless(monkeypatch: pytest.MonkeyPatch) -> None:
    """A container may run as a user without an entry in passwd."""

    def missing(uid: int) -> None:
        raise KeyError(uid)

    for name in ("HOME", "XDG_STATE_HOME", "USER", "LOGNAME", "AIOMIG_CONFIG", "AIOMIG_HOME", "AIOMIG_MODE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("pwd.getpwuid", missing)


@pytest.mark.usefixtures("homeless")
def test_no_home_directory() -> None:
    assert Config.find() is None
    loads: list[Any] = [Config.load, aiomig.grid]
    for load in loads:
        with pytest.raises(ConfigError, match="no configuration: there is no ~/.mig/miguser.conf"):
            load()
    loads = [aiomig.local, aiomig.connect, lambda: aiomig.grid(url="https://h", certificate="c", key="k")]
    for make in loads:
        with pytest.raises(
            ConfigError, match="there is no home directory for aiomig's files; set HOME .*, or choose a folder"
        ):
            make()
    with pytest.raises(ConfigError, match="there is no home directory; set HOME"):
        aiomig.grid("~/miguser.conf")


@pytest.mark.usefixtures("homeless")
async def test_local_mode_without_a_home_directory(tmp_path: Path) -> None:
    async with aiomig.local(tmp_path / "home") as mig:
        assert (await (await mig.submit("echo $HOME"))).stdout == f"{tmp_path / 'home'}\n"


@pytest.mark.parametrize("name", ["cert.pem", "key.pem", "ca.pem", "miguser.conf"])
def test_files_that_are_not_regular_are_refused_at_once(load: Callable[[str], Config], folder: Path, name: str) -> None:
    load(USUAL)
    (folder / "ca.pem").write_bytes((folder / "cert.pem").read_bytes())
    (folder / name).unlink()
    os.mkfifo(folder / name)
    with pytest.raises(ConfigError, match="cannot be read: Is neither a file nor a directory|there is no file"):
        Config.load(folder / "miguser.conf").replace(ca=folder / "ca.pem").ssl_context()
    with pytest.raises(ConfigError, match="cannot be read: Is neither a file nor a directory"):
        if name == "miguser.conf":
            Config.load(folder / name)
        else:
            config(folder, ca=folder / "ca.pem").ssl_context()


def test_no_shell_is_asked(load: Callable[[str], Config], folder: Path) -> None:
    with pytest.raises(ConfigError, match="there is no file"):
        load(USUAL.replace("~/.mig/key.pem", "$(touch ~/.mig/owned)`touch ~/.mig/owned`"))
    assert not (folder / "owned").exists()


@pytest.mark.parametrize(
    ("text", "line", "field", "words"),
    [
        ("certfile ~/.mig/cert.pem\n", None, "migserver", "missing; add a line: migserver https://host:port"),
        (
            USUAL.replace("keyfile", "#keyfile"),
            None,
            "keyfile",
            "missing; add a line: keyfile ~/.mig/key.pem",
        ),
        ("migserver\n" + USUAL, 1, "migserver", "missing"),
        (USUAL.replace("https", "http"), 1, "migserver", "is not https://"),
        (USUAL.replace("446", "446/cgi-bin"), 1, "migserver", "has a path"),
        (USUAL.replace("446", "446?x"), 1, "migserver", "has a path"),
        (USUAL.replace("grid.", f"jens:{SECRET}@grid."), 1, "migserver", "user name or password"),
        (USUAL.replace("grid.example.org:446", ""), 1, "migserver", "names no host"),
        (USUAL.replace("446", "port"), 1, "migserver", "Port could not be cast"),
        (
            USUAL.replace("cert.pem", "no.pem"),
            2,
            "certfile",
            "there is no file '.*/.mig/no.pem'; correct the path",
        ),
        (USUAL.replace("key.pem", "key.pem # mine"), 3, "keyfile", "a comment needs a line of its own"),
        (USUAL + "cacertfile ~/no.pem", 4, "cacertfile", "there is no file"),
        (USUAL + "connect_timeout soon", 4, "connect_timeout", "'soon' is not a number; give seconds"),
        (USUAL + "max_time -1", 4, "max_time", "more than 0"),
        (USUAL + "max_time nan", 4, "max_time", "more than 0"),
        (USUAL + "auth_redir share_redirect/abc", 4, "auth_redir", "not access by certificate"),
        ("migserver https://x\nauthcookiefile ~/c\n", 2, "authcookiefile", "OpenID .* is not supported"),
    ],
)
def test_faults_name_line_and_key(
    load: Callable[[str], Config], folder: Path, text: str, line: int | None, field: str, words: str
) -> None:
    with pytest.raises(ConfigError, match=words) as caught:
        load(text)
    assert (caught.value.path, caught.value.line, caught.value.field) == (
        str(folder / "miguser.conf"),
        line,
        field,
    )
    assert SECRET not in str(caught.value)
    assert str(caught.value).count("miguser.conf") == 1


def test_not_utf_8(load: Callable[[bytes], Config]) -> None:
    with pytest.raises(ConfigError, match=r"miguser.conf:2: is not UTF-8"):
        load(b"# caf\xc3\xa9\n# caf\xe9\n")


def test_search(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert Config.find() is None
    with pytest.raises(ConfigError, match="no configuration"):
        Config.load()
    (folder / "miguser.conf").write_text(USUAL)
    assert Config.find() == folder / "miguser.conf"
    monkeypatch.setenv("AIOMIG_CONFIG", "~/elsewhere.conf")
    assert Config.find() == folder.parent / "elsewhere.conf"
    with pytest.raises(ConfigError, match=r"elsewhere.conf: there is no such file"):
        Config.load()
    assert Config.load(folder / "miguser.conf").url == "https://grid.example.org:446"


def test_a_folder_is_no_configuration(folder: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        Config.load(folder)


def test_password_in_a_readable_file_is_warned_of(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = folder / "miguser.conf"
    path.write_text(f"{USUAL}password {SECRET}\n")
    path.chmod(0o644)
    with caplog.at_level(logging.DEBUG, "aiomig"):
        loaded = Config.load()
    assert "chmod 600" in caplog.text
    assert SECRET not in caplog.text
    assert SECRET not in repr(loaded)
    assert loaded.password == SECRET


def test_unknown_keys_are_logged_without_values(
    load: Callable[[str], Config], caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG, "aiomig"):
        load(f"{USUAL}passwort {SECRET}\nkeyfile {SECRET}")
    assert "miguser.conf:4: unknown key ignored" in caplog.text
    assert "miguser.conf:5: a second keyfile ignored" in caplog.text
    assert SECRET not in caplog.text


def test_fields_are_checked() -> None:
    made = Config(" https://[::1]:8443/ ", Path("~/c.pem"), Path("k.pem"), timeout=5)
    assert made.url == "https://[::1]:8443"
    assert made.certificate == Path("~/c.pem").expanduser()
    for fields in (
        {"url": 7},
        {"certificate": None},
        {"certificate": ""},
        {"ca": 3},
        {"timeout": True},
        {"timeout": "5"},
        {"connect_timeout": 0},
        {"password": b"x"},
    ):
        with pytest.raises(ConfigError) as caught:
            made.replace(**fields)
        assert caught.value.field == next(iter(fields))


def test_replace() -> None:
    made = Config("https://a", Path("c"), Path("k"), password=SECRET)
    assert made.replace(timeout=5) == Config("https://a", Path("c"), Path("k"), password=SECRET, timeout=5)
    assert made.replace(url="https://b").password == SECRET
    with pytest.raises(ConfigError, match="colour: not a field of Config; the fields are url, certificate"):
        made.replace(colour="blue")


def test_copies() -> None:
    made = Config("https://a", Path("c"), Path("k"), password=SECRET)
    assert copy.copy(made) == made
    assert pickle.loads(pickle.dumps(made)) == made


def test_context(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    context = config(folder).ssl_context()
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert context.check_hostname
    assert context.minimum_version is ssl.TLSVersion.TLSv1_2
    assert not caplog.records


def test_a_key_log_that_cannot_be_written_is_named(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = tmp_path / "nowhere" / "keys"
    monkeypatch.setenv("SSLKEYLOGFILE", str(log))
    trustme.CA().cert_pem.write_to_path(str(folder / "ca.pem"))
    for settings in ({}, {"ca": folder / "ca.pem"}, {"ca": folder}):
        with pytest.raises(ConfigError, match="SSLKEYLOGFILE: .*/nowhere/keys cannot be written"):
            config(folder, **settings).ssl_context()
    with pytest.raises(ConfigError, match="ca: .*/missing cannot be read"):
        config(folder, ca=folder / "missing").ssl_context()


def test_context_with_own_authority(folder: Path) -> None:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(folder / "ca.pem"))
    context = config(folder, ca=folder / "ca.pem").ssl_context()
    assert len(context.get_ca_certs()) == 1
    config(folder, ca=folder).ssl_context()


def test_key_and_certificate_in_one_file(folder: Path) -> None:
    both = folder / "both.pem"
    both.write_bytes((folder / "key.pem").read_bytes() + (folder / "cert.pem").read_bytes())
    both.chmod(0o600)
    config(folder).replace(certificate=both, key=both).ssl_context()


def test_encrypted_key(folder: Path) -> None:
    key = folder / "key.pem"
    key.write_bytes(encrypted(key.read_bytes()))
    config(folder, password=SECRET).ssl_context()
    config(folder, password=lambda: SECRET).ssl_context()
    for missing in (None, "", lambda: ""):
        with pytest.raises(AuthenticationFailed, match="is encrypted and no password was given"):
            config(folder, password=missing).ssl_context()
    with pytest.raises(AuthenticationFailed, match="the password does not open") as caught:
        config(folder, password="wrong secret").ssl_context()
    assert "wrong secret" not in str(caught.value)
    with pytest.raises(AuthenticationFailed, match="at most 1023 bytes"):
        config(folder, password="x" * 1024).ssl_context()
    with pytest.raises(AuthenticationFailed, match="must be text"):
        config(folder, password=lambda: 5).ssl_context()


def test_errors_of_the_callable_come_out(folder: Path) -> None:
    key = folder / "key.pem"
    key.write_bytes(encrypted(key.read_bytes()))

    def locked() -> str:
        raise KeyError("keyring is locked")

    with pytest.raises(KeyError, match="keyring is locked"):
        config(folder, password=locked).ssl_context()


def test_readable_key_is_warned_of(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    (folder / "key.pem").chmod(0o644)
    config(folder).ssl_context()
    assert "others can read" in caplog.text


@pytest.mark.parametrize(
    ("name", "content", "field", "words"),
    [
        ("cert.pem", b"hello", "certificate", "holds no certificate in PEM format; give the cert.pem"),
        ("cert.pem", None, "certificate", "cannot be read: No such file"),
        (
            "cert.pem",
            b"-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----",
            "certificate",
            "damaged",
        ),
        ("cert.pem", b"-----BEGIN CERTIFICATE-----\nM\n-----END CERTIFICATE-----", "certificate", "damaged"),
        ("key.pem", b"hello", "key", "holds no private key in PEM format; give the key.pem"),
        ("key.pem", None, "key", "key.pem cannot be read: No such file"),
        ("key.pem", certificate()[1], "key", "is not the key of .*cert.pem"),
        ("ca.pem", b"hello", "ca", "holds no certificate in PEM format; give the cacert.pem"),
        ("ca.pem", None, "ca", "cannot be read: No such file"),
    ],
)
def test_wrong_files(folder: Path, name: str, content: bytes | None, field: str, words: str) -> None:
    path = folder / name
    if content is None:
        path.unlink(missing_ok=True)
    else:
        path.write_bytes(content)
    made = config(folder, ca=folder / "ca.pem" if field == "ca" else None)
    with pytest.raises(ConfigError, match=words) as caught:
        made.ssl_context()
    assert caught.value.field == field


def weak_certificate(*, bits: int, sha1: bool) -> tuple[bytes, bytes]:
    """A certificate in the style of old authorities; its signature is not valid."""
    key = rsa.generate_private_key(65537, bits)
    name, issuer = (x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)]) for text in ("Jens", "Authority"))
    builder = x509.CertificateBuilder(issuer, name, key.public_key(), 7, NOW - DAY, NOW + DAY)
    der = builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.DER)
    if sha1:
        der = der.replace(bytes.fromhex("2a864886f70d01010b"), bytes.fromhex("2a864886f70d010105"))
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return ssl.DER_cert_to_PEM_cert(der).encode(), pem


@pytest.mark.parametrize(
    ("bits", "sha1", "words"), [(2048, True, "is signed with SHA-1"), (1024, False, "has a key of 1024 bit")]
)
def test_certificates_that_openssl_thinks_too_weak(folder: Path, bits: int, sha1: bool, words: str) -> None:
    made, key = weak_certificate(bits=bits, sha1=sha1)
    (folder / "cert.pem").write_bytes(made)
    (folder / "key.pem").write_bytes(key)
    rest = "which this machine's OpenSSL refuses as too weak; get a new one from the site"
    with pytest.raises(ConfigError, match=f"certificate: .*cert.pem {words}, {rest}") as caught:
        config(folder).ssl_context()
    assert caught.value.field == "certificate"


# -- written


def test_what_is_written_is_read(folder: Path) -> None:
    config = Config(
        "https://grid.example.org:446",
        certificate=folder / "cert.pem",
        key=folder / "key.pem",
        ca=folder / "ca #1.pem",
        connect_timeout=2.5,
        timeout=1_234_567,
    )
    for path in (config.certificate, config.key, config.ca):
        assert path is not None
        path.touch()
    written = config.write(folder / "new" / "miguser.conf")
    assert written.stat().st_mode & 0o777 == 0o600
    assert written.parent.stat().st_mode & 0o077 == 0
    assert Config.load(written) == config
    assert Config.load(config.replace(ca=None).write(written, overwrite=True)).ca is None
    assert os.listdir(written.parent) == ["miguser.conf"]


def test_a_file_is_not_replaced_unless_asked(folder: Path) -> None:
    config = Config("https://grid.example.org", certificate=folder / "c.pem", key=folder / "c.pem", password=SECRET)
    (folder / "miguser.conf").write_text("mine")
    with pytest.raises(aiomig.FileExists, match="overwrite=True"):
        config.write(folder / "miguser.conf")
    assert (folder / "miguser.conf").read_text() == "mine"
    (folder / "miguser.conf").chmod(0o644)
    config.write(folder / "miguser.conf", overwrite=True)
    os.mkfifo(folder / "pipe")
    with pytest.raises(aiomig.PathRefused, match="a device, a pipe or a socket"):
        config.write(folder / "pipe", overwrite=True)
    assert f"password {SECRET}\n" in (folder / "miguser.conf").read_text()
    assert (folder / "miguser.conf").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    ("name", "value"),
    [("password", "two\nlines"), ("password", " secret"), ("key", "a\nb"), ("certificate", "$HOME/c"), ("ca", "a ")],
)
def test_what_a_file_cannot_hold_is_not_written(folder: Path, name: str, value: str) -> None:
    fields: dict[str, Any] = {"certificate": folder / "c.pem", "key": folder / "c.pem", name: value}
    config = Config("https://grid.example.org", **fields)
    with pytest.raises(ConfigError, match=f"^{name}: holds") as caught:
        config.write(folder / "miguser.conf")
    assert name != "password" or value not in str(caught.value)
    assert not (folder / "miguser.conf").exists()


def test_a_callable_password_is_not_written(folder: Path) -> None:
    config = Config("https://grid.example.org", certificate=folder, key=folder, password=lambda: SECRET)
    with pytest.raises(ConfigError, match="callable"):
        config.write(folder / "miguser.conf")


def test_the_sample_has_all_keys(folder: Path) -> None:
    sample = (Path(__file__).parents[3] / "docs" / "miguser.conf").read_text("utf-8")
    whole = sample.replace("\n#", "\n")
    assert _values(Path(), whole).keys() == _KEYS
    for name in ("cert.pem", "key.pem"):
        (folder / name).touch()
    (folder / "miguser.conf").write_text(sample.replace("~/.mig", str(folder)))
    assert Config.load(folder / "miguser.conf").url == "https://migrid.example.org:446"


def test_a_key_of_another_kind(folder: Path) -> None:
    _, key = weak_certificate(bits=2048, sha1=False)
    (folder / "key.pem").write_bytes(key)
    with pytest.raises(ConfigError, match="key: .*key.pem is not the key of .*cert.pem") as caught:
        config(folder).ssl_context()
    assert caught.value.field == "key"


OLD_KEYS = {
    "RC2 (PKCS#8)": """-----BEGIN ENCRYPTED PRIVATE KEY-----
MIGxMBwGCiqGSIb3DQEMAQYwDgQIj0OaKdRcI4kCAggABIGQbFcVckUwIGBXkj00
ptsiH0IqNIlfxYzqSE7mdLhUS8pWOOD2WDnvlY0dPRK70iWsHC0SZaapz2H7TZF/
CslR93+KWcYbOkaItMmfVZzHbGolvLSltLcALrPuQTM+47mxTHs7VRHssqoIC3CT
QO+Lk3bivVonkivkIPKu9/uHly73p5CpJ8KgUiokWyM7SQPa
-----END ENCRYPTED PRIVATE KEY-----
""",
    "DES (OpenSSL's old form)": """-----BEGIN EC PRIVATE KEY-----
Proc-Type: 4,ENCRYPTED
DEK-Info: DES-CBC,4279E1FF61A41A3C

JeuYHMOpS49URgpTZtAN+SPcUbDQStzDGNe8NPqYJH6EXnRdNc1ASgZNW8ir/KbR
s1EXvjdoLPbGn4TypDrrlHIfP10yYH511ZjpbAd7bWcM88n0eMxY4YEnf9TbNkw3
vBLfTyijGmLBcVgcFpYoOLfvu4cbpXdKijmZZVHYqUY=
-----END EC PRIVATE KEY-----
""",
    "a cipher that nobody knows": """-----BEGIN EC PRIVATE KEY-----
Proc-Type: 4,ENCRYPTED
DEK-Info: ROT13,4279E1FF61A41A3C

JeuYHMOpS49URgpTZtAN+SPcUbDQStzDGNe8NPqYJH6EXnRdNc1ASgZNW8ir/KbR
-----END EC PRIVATE KEY-----
""",
}


@pytest.mark.parametrize("key", OLD_KEYS.values(), ids=OLD_KEYS)
def test_a_key_with_an_old_cipher(folder: Path, key: str) -> None:
    (folder / "key.pem").write_text(key)
    with pytest.raises(ConfigError, match="is encrypted with an old cipher.*; encrypt it again .*: openssl pkcs8"):
        config(folder, password="xyz").ssl_context()


@pytest.mark.parametrize(
    ("begin", "end", "words"),
    [
        (NOW - 2 * DAY, NOW - DAY, "Jens Ærøskøbing.* expired at .*; renew it"),
        (NOW + DAY, NOW + 2 * DAY, "is not valid before .*; check the clock"),
    ],
)
def test_dates(folder: Path, begin: datetime.datetime, end: datetime.datetime, words: str) -> None:
    made, key = certificate(begin, end)
    (folder / "cert.pem").write_bytes(made)
    (folder / "key.pem").write_bytes(key)
    with pytest.raises(AuthenticationFailed, match=words):
        config(folder).ssl_context()


@pytest.mark.parametrize(
    "end", [datetime.datetime(year, 7, 1, 12, 30, 5, tzinfo=datetime.UTC) for year in (2049, 2050, 9999)]
)
def test_what_a_certificate_says(end: datetime.datetime) -> None:
    begin = datetime.datetime(1975, 2, 3, 4, 5, 6, tzinfo=datetime.UTC)
    name = "/C=DK/O=Test Org/CN=Jens Ærøskøbing/emailAddress=jens@example.org"
    (read,) = _read_chain(b"Bag Attributes: x\n" + certificate(begin, end)[0])
    assert read == _Certificate(name, name, 2**70 + 5, begin, end)


def test_certificates_of_an_authority() -> None:
    issued = trustme.CA(organization_name="Org", organization_unit_name="Unit").issue_cert("a.example.org")
    pem = issued.cert_chain_pems[0].bytes()
    expected = x509.load_pem_x509_certificate(pem)
    read = _read_certificate(pem)
    assert (read.serial, read.not_after) == (expected.serial_number, expected.not_valid_after_utc)
    assert read.issuer == "/O=Org/OU=Unit"


DER = ssl.PEM_cert_to_DER_cert(certificate()[0].decode())


@given(st.integers(0, len(DER) - 1), st.integers(0, 255), st.integers(0, len(DER)))
def test_damaged_certificates(at: int, byte: int, length: int) -> None:
    damaged = bytearray(DER)
    damaged[at] = byte
    for data in (bytes(damaged), bytes(damaged[:length])):
        with contextlib.suppress(ValueError):
            assert _read_certificate(ssl.DER_cert_to_PEM_cert(data).encode()).not_before.tzinfo is datetime.UTC


@given(st.binary(max_size=60))
def test_any_bytes_are_no_certificate(data: bytes) -> None:
    with pytest.raises(ValueError, match="holds"):
        _read_certificate(ssl.DER_cert_to_PEM_cert(data).encode())


@given(st.text(max_size=30))
def test_any_url(text: str) -> None:
    with contextlib.suppress(ConfigError):
        assert Config(text, Path("c"), Path("k")).url.startswith("https://")
