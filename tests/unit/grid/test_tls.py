"""Real TLS on real sockets: the refusals of both sides, and the remedies in their errors."""

from __future__ import annotations

import socket
import ssl
import struct
import sys
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import anyio
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

import aiomig
from aiomig import AuthenticationFailed, Config, ConfigError, ConnectionFailed, ProtocolError, Session
from aiomig._core.tls_errors import explain_tls
from aiomig._grid.credential import Credential
from aiomig.testing import USER, Authority, FakeGrid

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from pathlib import Path

    from anyio.abc import ByteStream, SocketStream

    from aiomig.testing import ClientFiles, Request, Response

NOW = datetime.now(UTC)
QUICK = aiomig.Retry(first=0.001)
DAY = timedelta(days=1)


class Other(Authority):
    """An authority whose servers have another name or TLS version."""

    def __init__(self, folder: Path, name: str = "localhost", version: ssl.TLSVersion | None = None) -> None:
        super().__init__(folder)
        self._name = name
        self._version = version

    def server_context(self, host: str) -> ssl.SSLContext:
        context = super().server_context(host)
        if self._name != host:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self._authority.issue_cert(self._name).configure_cert(context)
        if self._version is not None:
            context.maximum_version = self._version
        return context


@pytest.fixture(autouse=True)
def no_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", None)


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path / "authority")


@pytest.fixture
def stranger(tmp_path: Path) -> Authority:
    return Authority(tmp_path / "stranger")


@pytest.fixture
def client(authority: Authority) -> ClientFiles:
    return authority.client(USER, "mine")


@asynccontextmanager
async def served(tmp_path: Path, authority: Authority) -> AsyncIterator[tuple[FakeGrid, str]]:
    async with FakeGrid(tmp_path / "home") as grid, grid.serve(authority=authority) as address:
        yield grid, address.url


def session(url: str, files: ClientFiles, ca: Path, **fields: Any) -> Session:
    return aiomig.grid(url=url, certificate=files.certificate, key=files.key, ca=ca, retry=QUICK, **fields)


async def refusal(mig: Session) -> aiomig.MigError:
    with pytest.raises(aiomig.MigError) as caught:
        async with mig:
            pass
    assert not mig.is_open
    return caught.value


# -- what works


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
async def test_a_job_over_tls(tmp_path: Path, version: ssl.TLSVersion) -> None:
    authority = Other(tmp_path / "ca", version=version)
    async with (
        served(tmp_path, authority) as (grid, url),
        session(url, authority.client(USER, "mine"), authority.file) as mig,
    ):
        grid.script(lambda job: job.finish("hello\n"))
        job = await mig.submit("echo hello", inputs=[(b"data", "in.txt")])
        assert (await job).stdout == "hello\n"
        assert grid.connections == 1
        assert {request.client for request in grid.requests} == {USER}


async def test_a_folder_of_authorities(tmp_path: Path, authority: Authority, client: ClientFiles) -> None:
    folder = tmp_path / "authorities"
    folder.mkdir()
    async with served(tmp_path, authority) as (_, url):
        error = await refusal(session(url, client, folder))
    assert isinstance(error, ConnectionFailed)
    assert "is not trusted" in str(error)


async def test_certificate_and_key_in_one_file(tmp_path: Path, authority: Authority, client: ClientFiles) -> None:
    both = tmp_path / "both.pem"
    both.touch(mode=0o600)
    both.write_bytes(client.key.read_bytes() + client.certificate.read_bytes())
    async with (
        served(tmp_path, authority) as (_, url),
        aiomig.grid(url=url, certificate=both, key=both, ca=authority.file) as mig,
    ):
        assert await mig.files.ls() == []


# -- the client's certificate


@pytest.mark.parametrize(
    ("first", "last", "words"),
    [(-9 * DAY, -DAY, "expired at .*renew it"), (DAY, 9 * DAY, "is not valid before .*check the clock")],
    ids=["expired", "not yet valid"],
)
async def test_dates_are_checked_here(
    tmp_path: Path, authority: Authority, first: timedelta, last: timedelta, words: str
) -> None:
    files = authority.client(USER, "mine", not_before=NOW + first, not_after=NOW + last)
    async with served(tmp_path, authority) as (grid, url):
        with pytest.raises(AuthenticationFailed, match=words) as caught:
            await refuse(session(url, files, authority.file))
        assert str(files.certificate) in str(caught.value)
        assert USER in str(caught.value)
        assert grid.connections == 0


async def refuse(mig: Session) -> None:
    async with mig:
        pass


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
@pytest.mark.parametrize("which", ["none", "expired", "not yet valid", "other authority"])
async def test_what_the_server_refuses(
    tmp_path: Path, stranger: Authority, monkeypatch: pytest.MonkeyPatch, which: str, version: ssl.TLSVersion
) -> None:
    """With TLS 1.3, a client learns of a refusal at the first response; and clocks may differ."""
    authority = Other(tmp_path / "ca", version=version)
    monkeypatch.setattr(Credential, "check", lambda self: None)
    files = {
        "none": lambda: authority.client(USER, "mine"),
        "expired": lambda: authority.client(USER, "mine", not_before=NOW - 9 * DAY, not_after=NOW - DAY),
        "not yet valid": lambda: authority.client(USER, "mine", not_before=NOW + DAY, not_after=NOW + 9 * DAY),
        "other authority": lambda: stranger.client(USER),
    }[which]()
    if which == "none":
        monkeypatch.setattr(Config, "ssl_context", lambda config: ssl.create_default_context(cafile=config.ca))
    words = {
        "none": "certificate",
        "expired": "expired; get a new one from the site",
        "not yet valid": "client certificate",
        "other authority": "does not trust the issuer of the client certificate; use a certificate from the site",
    }[which]
    async with served(tmp_path, authority) as (grid, url):
        error = await refusal(session(url, files, authority.file))
        assert grid.requests == []
    assert isinstance(error, AuthenticationFailed)
    assert str(error).startswith(f"{url}: ")
    assert words in str(error)


async def test_a_user_without_an_account(tmp_path: Path, authority: Authority) -> None:
    files = authority.client("/C=DK/CN=Somebody Else", "mine")
    async with served(tmp_path, authority) as (_, url):
        error = await refusal(session(url, files, authority.file))
    assert isinstance(error, AuthenticationFailed)
    assert "No such user (/C=DK/CN=Somebody Else)" in str(error)
    assert "sign up at the site" in str(error)


@pytest.mark.parametrize("field", ["certificate", "key", "ca"])
@pytest.mark.parametrize("what", ["missing", "directory", "other kind", "empty"])
async def test_files_that_are_no_use(
    tmp_path: Path, authority: Authority, client: ClientFiles, field: str, what: str
) -> None:
    paths = {"certificate": client.certificate, "key": client.key, "ca": authority.file}
    bad = tmp_path / "bad.pem"
    if what == "directory":
        bad.mkdir()
    elif what != "missing":
        bad.touch(mode=0o600)
        kind = {"certificate": client.key, "key": client.certificate, "ca": client.key}[field]
        bad.write_bytes(kind.read_bytes() if what == "other kind" else b"")
    if (field, what) == ("ca", "directory"):
        return  # a folder of authorities: another test
    error = await refusal(aiomig.grid(url="https://localhost:1", **{**paths, field: bad}))  # type: ignore[arg-type]
    assert isinstance(error, ConfigError)
    assert error.field == field
    assert str(error).startswith(f"{field}: {bad} ")
    assert ";" in str(error)


async def test_the_key_of_another_certificate(authority: Authority, client: ClientFiles) -> None:
    other = authority.client(USER, "other")
    config = Config("https://localhost:1", client.certificate, other.key, authority.file)
    error = await refusal(aiomig.grid(config))
    assert isinstance(error, ConfigError)
    words = f"key: {other.key} is not the key of {client.certificate}; give a matching pair"
    assert str(error) == f"{words}; in a file with several certificates, the user's must be the first"


class Lenient(Authority):
    """Accepts proxy certificates, as Apache does with OPENSSL_ALLOW_PROXY_CERTS."""

    def server_context(self, host: str) -> ssl.SSLContext:
        context = super().server_context(host)
        context.verify_flags |= ssl.VERIFY_ALLOW_PROXY_CERTS
        return context


def proxy_of(files: ClientFiles, folder: Path) -> ClientFiles:
    """What ``grid-proxy-init`` makes: a certificate that the user signed, its key, and the user's certificate."""
    user = x509.load_pem_x509_certificate(files.certificate.read_bytes())
    key = serialization.load_pem_private_key(files.key.read_bytes(), None)
    new = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([*user.subject, x509.NameAttribute(NameOID.COMMON_NAME, "17")])
    builder = x509.CertificateBuilder(user.subject, name, new.public_key(), 17, NOW - DAY, NOW + DAY)
    kind = x509.ObjectIdentifier("1.3.6.1.5.5.7.1.14")
    rights = bytes.fromhex("300c300a06082b06010505071501")  # all are those of the user
    builder = builder.add_extension(x509.UnrecognizedExtension(kind, rights), critical=True)
    signed = builder.sign(key, hashes.SHA256())  # type: ignore[arg-type]
    encoding, form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    path = folder / "proxy.pem"
    path.touch(mode=0o600)
    secret = new.private_bytes(encoding, form, serialization.NoEncryption())
    path.write_bytes(signed.public_bytes(encoding) + secret + files.certificate.read_bytes())
    return type(files)(path, path)


@pytest.mark.parametrize("kind", ["intermediate", "proxy"])
async def test_a_chain_in_the_file(tmp_path: Path, kind: str) -> None:
    authority = Lenient(tmp_path / "authority")
    files = authority.client(USER, "mine", intermediate=kind == "intermediate")
    files = proxy_of(files, tmp_path) if kind == "proxy" else files
    async with served(tmp_path, authority) as (grid, url):
        grid.add_user(f"{USER}/CN=17", tmp_path / "of the proxy")
        async with session(url, files, authority.file) as mig:
            await mig.files.mkdir("mine")
            assert mig.credential is not None
            assert (mig.credential.user, mig.credential.is_proxy) == (USER, kind == "proxy")
        assert {request.client for request in grid.requests} == {f"{USER}/CN=17" if kind == "proxy" else USER}


async def test_sessions_of_two_users_do_not_mix(tmp_path: Path, authority: Authority, client: ClientFiles) -> None:
    other = "/C=DK/CN=Somebody Else"
    async with served(tmp_path, authority) as (grid, url):
        grid.add_user(other, tmp_path / "other")
        async with (
            session(url, client, authority.file) as mine,
            session(url, authority.client(other, "other"), authority.file) as theirs,
            anyio.create_task_group() as group,
        ):
            for number in range(4):
                group.start_soon(mine.files.mkdir, f"mine-{number}")
                group.start_soon(theirs.files.mkdir, f"theirs-{number}")
        assert sorted(path.name for path in grid.home.iterdir()) == [f"mine-{number}" for number in range(4)]
        assert sorted(path.name for path in (tmp_path / "other").iterdir()) == [
            f"theirs-{number}" for number in range(4)
        ]
        assert (mine.credential, theirs.credential) == (None, None)  # closed


async def test_a_renewed_certificate_drops_no_running_request(
    tmp_path: Path, authority: Authority, client: ClientFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with served(tmp_path, authority) as (grid, url), session(url, client, authority.file) as mig:
        mig._backend._client._reloader._seconds = 0.0  # type: ignore[attr-defined]
        mig._backend._client._reloader._next_check = 0.0  # type: ignore[attr-defined]
        handle, running, renewed = grid.handle, anyio.Event(), anyio.Event()

        async def wait(request: Request) -> Response:
            if b"slow" in request.body:
                running.set()
                await renewed.wait()
            return await handle(request)

        async def read_slowly() -> None:
            assert not await mig.files.exists("slow")

        grid.handle = wait  # type: ignore[method-assign]
        before, old = mig.credential, grid.connections
        async with anyio.create_task_group() as group:
            group.start_soon(read_slowly)
            await running.wait()
            new = authority.client(USER, "new")
            new.key.replace(client.key)
            new.certificate.replace(client.certificate)
            assert not await mig.files.exists("quick")
            assert mig.credential not in (None, before)
            assert grid.connections == old + 1
            renewed.set()
        assert not await mig.files.exists("quick")
        assert grid.connections == old + 1
        assert grid.count("statpath") == 3  # nothing was sent twice


async def test_a_certificate_that_ends_soon(
    tmp_path: Path, authority: Authority, caplog: pytest.LogCaptureFixture
) -> None:
    files = authority.client(USER, "mine", not_before=NOW - DAY, not_after=NOW + timedelta(hours=1))
    async with served(tmp_path, authority) as (grid, url), session(url, files, authority.file) as mig:
        grid.hold()
        await mig.submit("true", resources=aiomig.Resources(wall_time=600))
        await mig.submit("true", resources=aiomig.Resources(wall_time=7200))
        await mig.submit_many(["true"])
    told = [record.__dict__.get("event_name") for record in caplog.records if record.levelname == "WARNING"]
    assert told == ["certificate_expires", "certificate_outlived"]


# -- the password of the key


@pytest.fixture
def locked(client: ClientFiles) -> ClientFiles:
    key = serialization.load_pem_private_key(client.key.read_bytes(), None)
    secret = serialization.BestAvailableEncryption(b"the right one")
    client.key.write_bytes(key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, secret))
    return client


@pytest.mark.parametrize("password", ["the right one", lambda: "the right one"])
async def test_the_right_password(tmp_path: Path, authority: Authority, locked: ClientFiles, password: Any) -> None:
    async with (
        served(tmp_path, authority) as (_, url),
        session(url, locked, authority.file, password=password) as mig,
    ):
        assert await mig.files.ls() == []


@pytest.mark.parametrize(
    ("password", "words"),
    [
        (None, "is encrypted and no password was given; set password"),
        ("", "is encrypted and no password was given; set password"),
        ("wrong-secret", "the password does not open"),
        (lambda: "wrong-secret", "the password does not open"),
    ],
)
async def test_another_password_or_none(authority: Authority, locked: ClientFiles, password: Any, words: str) -> None:
    error = await refusal(session("https://localhost:1", locked, authority.file, password=password))
    assert isinstance(error, AuthenticationFailed)
    assert words in str(error)
    assert str(locked.key) in str(error)
    assert "wrong-secret" not in str(error)
    assert "wrong-secret" not in repr(error)


# -- the server


async def test_a_server_that_is_not_trusted(tmp_path: Path, authority: Authority, stranger: Authority) -> None:
    async with served(tmp_path, authority) as (grid, url):
        error = await refusal(session(url, authority.client(USER, "mine"), stranger.file))
        assert grid.requests == []
    assert isinstance(error, ConnectionFailed)
    assert error.sent is False
    assert str(error).startswith(f"the certificate of {url} is not trusted: ")
    assert str(error).endswith("; give its CA as ca")


async def test_the_system_does_not_trust_it_either(tmp_path: Path, authority: Authority, client: ClientFiles) -> None:
    async with served(tmp_path, authority) as (_, url):
        error = await refusal(aiomig.grid(url=url, certificate=client.certificate, key=client.key, retry=QUICK))
    assert isinstance(error, ConnectionFailed)
    assert "is not trusted" in str(error)


async def test_what_cannot_change_is_not_tried_again(
    tmp_path: Path, authority: Authority, stranger: Authority, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level("DEBUG", "aiomig.grid"):
        async with served(tmp_path, authority) as (_, url):
            await refusal(session(url, authority.client(USER, "mine"), stranger.file))
    (record,) = [record for record in caplog.records if record.name == "aiomig.grid"]
    assert "is not trusted" in record.getMessage()


async def test_a_server_of_another_name(tmp_path: Path) -> None:
    authority = Other(tmp_path / "ca", name="elsewhere.example.org")
    async with served(tmp_path, authority) as (_, url):
        error = await refusal(session(url, authority.client(USER, "mine"), authority.file))
    assert isinstance(error, ConnectionFailed)
    assert "Hostname mismatch, certificate is not valid for 'localhost'" in str(error)
    assert str(error).endswith("; check the host name in the URL")


class Expired(Authority):
    """An authority whose servers have an expired certificate."""

    def server_context(self, host: str) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._authority.issue_cert(host, not_before=NOW - 9 * DAY, not_after=NOW - DAY).configure_cert(context)
        return context


async def test_a_server_whose_certificate_has_expired(tmp_path: Path) -> None:
    authority = Expired(tmp_path / "ca")
    async with served(tmp_path, authority) as (_, url):
        error = await refusal(session(url, authority.client(USER, "mine"), authority.file))
    assert isinstance(error, ConnectionFailed)
    assert str(error).startswith(f"the certificate of {url} is not trusted: certificate has expired; ")
    assert str(error).endswith("; ask the site to renew it, and check this machine's clock")


@pytest.mark.parametrize(
    ("reason", "words"),
    [
        ("EE certificate key too weak", "this machine's OpenSSL requires a stronger one; ask the site to renew it"),
        ("CA signature digest algorithm too weak", "ask the site to renew it"),
        ("certificate is not yet valid", "check this machine's clock"),
        ("self-signed certificate in certificate chain", "give its CA as ca"),
        ("IP address mismatch, certificate is not valid for '127.0.0.1'", "check the host name in the URL"),
    ],
)
def test_what_to_do_about_a_server_certificate(reason: str, words: str) -> None:
    error = ssl.SSLCertVerificationError(1, reason)
    error.verify_message = reason
    explained = explain_tls("https://h", error, sent=False, is_site=True)
    assert str(explained).startswith(f"the certificate of https://h is not trusted: {reason}; ")
    assert str(explained).endswith(words)


async def test_a_server_that_is_not_mig(tmp_path: Path, authority: Authority, client: ClientFiles) -> None:
    async with served(tmp_path, authority) as (grid, url):
        grid.faults.add("*", "html", times=None)
        error = await refusal(session(url, client, authority.file))
    assert isinstance(error, ProtocolError)
    assert "the server answered text/html, not the JSON that was asked for" in str(error)
    assert "Welcome" in error.excerpt


@asynccontextmanager
async def answering(answer: Callable[[SocketStream], Awaitable[None]]) -> AsyncIterator[str]:
    async def serve(stream: ByteStream) -> None:
        async with stream:
            await answer(stream)  # type: ignore[arg-type]

    listener = await anyio.create_tcp_listener(local_host="127.0.0.1")
    port = listener.extra(anyio.abc.SocketAttribute.local_port)
    async with listener, anyio.create_task_group() as group:
        group.start_soon(listener.serve, serve)
        yield f"https://localhost:{port}"
        group.cancel_scope.cancel()


async def test_plain_http_behind_the_port(authority: Authority, client: ClientFiles) -> None:
    async def answer(stream: SocketStream) -> None:
        await stream.receive()
        await stream.send(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")

    async with answering(answer) as url:
        error = await refusal(session(url, client, authority.file))
    assert isinstance(error, ConnectionFailed)
    assert str(error).startswith(f"TLS with {url} failed: ")
    assert str(error).endswith("; is it the https port of a MiG server?")


async def test_a_connection_that_is_reset(authority: Authority, client: ClientFiles) -> None:
    async def answer(stream: SocketStream) -> None:
        await stream.receive()
        raw = stream.extra(anyio.abc.SocketAttribute.raw_socket)
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    async with answering(answer) as url:
        error = await refusal(session(url, client, authority.file))
    assert isinstance(error, ConnectionFailed)
    assert str(error).startswith(f"{url} cannot be reached: ")


async def test_a_port_where_nobody_listens(authority: Authority, client: ClientFiles) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        url = f"https://localhost:{taken.getsockname()[1]}"
        error = await refusal(session(url, client, authority.file))
    assert isinstance(error, ConnectionFailed)
    assert error.sent is False
    assert str(error).startswith(f"{url} cannot be reached: ")
    assert str(error).endswith("; check the URL and the network")


async def test_a_name_that_nobody_has(authority: Authority, client: ClientFiles) -> None:
    error = await refusal(session("https://nobody.invalid", client, authority.file))
    assert isinstance(error, ConnectionFailed)
    assert str(error).startswith("https://nobody.invalid cannot be reached: ")


@pytest.mark.parametrize("name", ["grid..example.org", "x" * 64 + ".org"])
def test_a_name_that_is_none(client: ClientFiles, name: str) -> None:
    with pytest.raises(ConfigError, match=f"url: 'https://{name}' names a host that cannot exist"):
        aiomig.grid(url=f"https://{name}", certificate=client.certificate, key=client.key)


async def test_a_server_that_says_nothing(authority: Authority, client: ClientFiles) -> None:
    async with answering(lambda stream: anyio.sleep_forever()) as url:
        error = await refusal(session(url, client, authority.file, connect_timeout=0.05))
    assert isinstance(error, ConnectionFailed)
    assert error.sent is False
    assert str(error).startswith(f"{url} cannot be reached: ")
    assert "imed out" in str(error) or "Timeout" in str(error)
