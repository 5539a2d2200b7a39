"""`Config`, the server and the user's certificate, with `Retry` and `RequestLimits`, the settings of requests."""

from __future__ import annotations

import dataclasses
import logging
import os
import random
import stat
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path  # noqa: TC003 - typing.get_type_hints needs it
from typing import TYPE_CHECKING, Any, TypeAlias
from urllib.parse import urlsplit

from .._core.display import short_repr
from .._core.errors import ConfigError, FileExists, SpecError
from .._core.models import Fault
from .._core.validation import expanded, is_count
from .._home.disk import ON_THIS_MACHINE, atomic_write, ensure_replaceable, translate_os_errors
from .credential import Credential
from .miguser import UserFile, file_text, has_comment, unreadable

if TYPE_CHECKING:
    import ssl

logger = logging.getLogger("aiomig")

Password: TypeAlias = str | Callable[[], str]
"""The passphrase of a key, or a callable that returns it."""

_MOST_DAYS = 36_500

ENVIRONMENT_VARIABLE = "AIOMIG_CONFIG"
"""The environment variable with the path of the configuration file."""


@dataclass(frozen=True, slots=True)
class Config:
    """The server of a grid, and the certificate of its user.

    Creating a `Config` does no I/O. A leading ``~`` in a path is expanded.

    Example::

        config = Config.load("~/.mig/miguser.conf").replace(password=lambda: keyring.get_password("mig", "me"))
        async with aiomig.grid(config) as mig: ...

    Attributes:
        url: the site's host for certificates, as ``https://host[:port]`` without a path.
        certificate: the user's certificate, a PEM file.
        key: the private key of the certificate, a PEM file; may be the same file.
        ca: the certificate authorities to trust for the server: a PEM file, or a folder prepared by
            ``openssl rehash``; ``None`` for the system's store. The server is always verified.
        password: the passphrase of the key, or a callable that returns it; never shown.
        connect_timeout: the longest time to connect, in seconds.
        timeout: the longest wait for the next bytes from the server, in seconds. A response that takes longer in
            total must arrive at 1 KiB per second or faster.
        expiry_warning_days: how many days before the certificate expires a session logs a warning; 0 for never.

    Raises:
        ConfigError: a field is wrong. The error names the field.
    """

    url: str
    certificate: Path
    key: Path
    ca: Path | None = None
    password: Password | None = field(default=None, repr=False)
    connect_timeout: float = 20.0
    timeout: float = 300.0
    expiry_warning_days: float = 14.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "url", _url(self.url))
        for name in ("certificate", "key", "ca"):
            value = getattr(self, name)
            if value is not None or name != "ca":
                object.__setattr__(self, name, _path(name, value))
        for name in ("connect_timeout", "timeout"):
            object.__setattr__(self, name, _seconds(name, getattr(self, name)))
        object.__setattr__(self, "expiry_warning_days", _days("expiry_warning_days", self.expiry_warning_days))
        if not (self.password is None or isinstance(self.password, str) or callable(self.password)):
            raise ConfigError(
                f"password: is a {type(self.password).__name__}; give text, or a callable that returns it",
                field="password",
            )

    @staticmethod
    def find() -> Path | None:
        """Return the path of this user's configuration file, or ``None``.

        Returns:
            The path in ``$AIOMIG_CONFIG``, even if the file does not exist; otherwise ``~/.mig/miguser.conf`` if that
            exists; otherwise ``None``.

        Raises:
            ConfigError: ``~/.mig`` cannot be searched.
        """
        if text := os.environ.get(ENVIRONMENT_VARIABLE):
            return _path(ENVIRONMENT_VARIABLE, text, "a miguser.conf")
        try:
            path = expanded("~/.mig/miguser.conf")
        except ValueError:
            return None  # there is no home directory
        try:
            return path if path.is_file() else None
        except OSError as error:
            raise unreadable("config", path, error) from error

    @classmethod
    def load(cls, path: str | os.PathLike[str] | None = None) -> Config:
        """Read a ``miguser.conf`` (docs/protocol.md#miguserconf).

        Each line consists of a key, white space, and a value. The value is the rest of the line and may contain
        blanks. If a key appears twice, the first line counts. Unknown keys are ignored. A line that starts with
        ``#`` is a comment. In ``migserver``, ``connect_timeout``, ``max_time`` and ``auth_redir``, a ``#`` after a
        blank also starts a comment. Paths and the password may contain ``#``, so a comment after them is an error.
        In paths, ``~`` and ``$VAR`` are expanded, without a shell. Relative paths are relative to the working
        directory.

        ``cacertfile AUTO``, or no ``cacertfile``, means the system's store. Without a ``cacertfile``, the old client
        did not verify the server; aiomig always does. ``max_time`` becomes ``timeout``.

        Args:
            path: the file; by default the one that `find` returns.

        Raises:
            ConfigError: the file is missing, unreadable or wrong. The error names the file, the line and the key.
        """
        file_path = cls.find() if path is None else _path("config", path, "a miguser.conf")
        if file_path is None:
            raise ConfigError(
                "no configuration: there is no ~/.mig/miguser.conf, and AIOMIG_CONFIG is not set; write one, "
                "give Config(url=…, certificate=…, key=…), or use local mode"
            )
        file = UserFile.read(file_path)
        if file.password:
            _warn_if_readable("password", file_path)
        fields = file.fields()
        try:
            config = cls(**fields)
        except ConfigError as error:
            raise file.blame(error) from None
        if has_comment(file.password):
            from .tls import opens

            if not opens(config.key, file.password):
                problem = "the text with the # in it does not open the key; a comment needs a line of its own"
                raise file.blame(ConfigError(f"password: {problem}", field="password"))
        return config

    def write(self, path: str | os.PathLike[str], *, overwrite: bool = False) -> Path:
        """Write a ``miguser.conf`` for `load`, atomically and with mode 0600. Create missing folders as private ones.

        The file contains all fields except ``expiry_warning_days``, which has no key in this format. Paths become
        absolute.

        Args:
            path: the new file.
            overwrite: replace an existing file.

        Returns:
            The path.

        Raises:
            FileExists: the path exists, and ``overwrite`` is false.
            ConfigError: the file cannot hold the value of a field, for example a ``password`` that is a callable.
            LocalError: the file cannot be written.
        """
        file_path = _path("path", path, "a miguser.conf")
        if callable(self.password):
            raise ConfigError("password: a file cannot hold a callable; write replace(password=None)", field="password")
        text = file_text(
            {
                "migserver": self.url,
                "certfile": str(self.certificate.absolute()),
                "keyfile": str(self.key.absolute()),
                "cacertfile": str(self.ca.absolute()) if self.ca is not None else "AUTO",
                "password": self.password or "",
                "connect_timeout": f"{self.connect_timeout:.15g}",
                "max_time": f"{self.timeout:.15g}",
            }
        )
        with translate_os_errors(str(file_path), ON_THIS_MACHINE):
            file_path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            if not overwrite and os.path.lexists(file_path):
                raise FileExists(str(file_path), "already exists; overwrite=True replaces it")
            ensure_replaceable(file_path)
            with atomic_write(file_path, mode=0o600) as file:
                file.write(text.encode())
        return file_path

    def replace(self, **fields: Any) -> Config:
        """Return a copy with some fields changed.

        Raises:
            ConfigError: there is no such field, or a value is wrong.
        """
        names = [field.name for field in dataclasses.fields(self)]
        for name in fields:
            if name not in names:
                raise ConfigError(f"{name}: not a field of Config; the fields are {', '.join(names)}", field=name)
        return dataclasses.replace(self, **fields)

    def credential(self) -> Credential:
        """Read the files, and return the details of the user's certificate.

        Raises:
            ConfigError: a file cannot be read, or contains no certificate.
        """
        try:
            return Credential.read(self.certificate, self.key)
        except OSError as error:
            name = "key" if error.filename == str(self.key) != str(self.certificate) else "certificate"
            raise unreadable(name, getattr(self, name), error) from error
        except ValueError as error:
            raise ConfigError(
                f"certificate: {self.certificate} {error}; give the cert.pem of the site, or make one of its "
                "PKCS#12 file: openssl pkcs12 -in FILE.p12 -clcerts -nokeys -out cert.pem",
                field="certificate",
            ) from error

    def ssl_context(self) -> ssl.SSLContext:
        """Read the files, and return a TLS context with the user's certificate and key and the trusted authorities.

        The server is always verified, and must use TLS 1.2 or later. OpenSSL never prompts for a passphrase.

        Raises:
            AuthenticationFailed: the certificate has expired or is not yet valid, or the key cannot be decrypted.
            ConfigError: a file cannot be read or has the wrong format, or the key does not belong to the certificate.
            Exception: whatever a callable ``password`` raises.
        """
        from .tls import make_context  # takes 20 ms to import, which local mode does not need

        self.credential().check()
        context = make_context(self.certificate, self.key, self.ca, self.password)
        _warn_if_readable("key", self.key)
        return context


def _url(value: object) -> str:
    if not isinstance(value, str):
        raise ConfigError(f"url: {short_repr(value)} is not text; give https://host[:port]", field="url")
    text = value.strip()
    if "@" in text:
        # Checked first, and without showing the URL, because it contains the password.
        raise ConfigError("url: holds a user name or password; give https://host[:port] only", field="url")
    try:
        parts = urlsplit(text)
        host, port = parts.hostname, parts.port
    except ValueError as error:
        raise _url_error(text, str(error)) from error
    if parts.scheme != "https":
        raise _url_error(text, "is not https://, which certificates need")
    if not host or any(character.isspace() for character in text):
        raise _url_error(text, "names no host")
    try:
        host.encode("idna")
    except UnicodeError as error:
        raise _url_error(text, f"names a host that cannot exist ({error.__cause__ or error})") from None
    if parts.path.strip("/") or parts.query or parts.fragment:
        raise _url_error(text, "has a path, and aiomig knows the paths of MiG")
    name = f"[{host}]" if ":" in host else host
    return f"https://{name}" if port is None else f"https://{name}:{port}"


def _url_error(text: str, problem: str) -> ConfigError:
    return ConfigError(f"url: {text[:200]!r} {problem}; give https://host[:port]", field="url")


def _path(name: str, value: object, kind: str = "a PEM file") -> Path:
    problem = "is not a path"
    if isinstance(value, str | os.PathLike) and isinstance(text := os.fspath(value), str) and text:
        try:
            return expanded(text)
        except ValueError as error:
            problem = str(error)
    raise ConfigError(f"{name}: {short_repr(value)} {problem}; give the path of {kind}", field=name)


def _seconds(name: str, value: object) -> float:
    if isinstance(value, int | float) and not isinstance(value, bool) and 0 < value <= sys.float_info.max:
        return float(value)
    raise ConfigError(f"{name}: {short_repr(value)} is not a time; give seconds, more than 0", field=name)


def _days(name: str, value: object) -> float:
    if isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= _MOST_DAYS:
        return float(value)
    raise ConfigError(
        f"{name}: {short_repr(value)} is not a number of days; give one from 0 to {_MOST_DAYS}", field=name
    )


def _warn_if_readable(what: str, path: Path) -> None:
    try:
        mode = path.stat().st_mode
    except OSError:
        return  # reading the file raises the error
    if os.name == "posix" and stat.S_IMODE(mode) & 0o077:
        logger.warning(
            "%s: others can read %s; run: chmod 600 %s",
            what,
            path,
            path,
            extra={"event_name": "secret_readable", "path": str(path)},
        )


@dataclass(frozen=True, slots=True)
class Retry:
    """How aiomig retries a read-only request that failed: with pauses that double, and jitter.

    Attributes:
        tries: how often the request is sent at most.
        first: the first pause in seconds; each further pause is twice as long.
        longest: the longest pause in seconds.

    Raises:
        SpecError: a field is not a valid number.
    """

    tries: int = 5
    first: float = 0.5
    longest: float = 20.0

    def __post_init__(self) -> None:
        faults = [
            Fault(name, value, "not a number of at least 0", "give seconds")
            for name in ("first", "longest")
            if not isinstance(value := getattr(self, name), int | float) or not value >= 0
        ]
        if not is_count(self.tries):
            faults.insert(0, Fault("tries", self.tries, "not a positive whole number", "give a count of at least 1"))
        if faults:
            raise SpecError(faults)

    def pauses(self) -> Iterator[float]:
        """Yield the pauses between the tries, each shortened at random by up to half."""
        for number in range(self.tries - 1):
            yield min(self.first * 2**number, self.longest) * random.uniform(0.5, 1.0)


@dataclass(frozen=True, slots=True)
class RequestLimits:
    """Limits for requests to a grid, and for cleaning up.

    Attributes:
        jobs_a_submit: job descriptions submitted in one request; 25 occupy a server for a quarter of a second
            (docs/protocol.md#submit-operations).
        descriptions_a_request: job descriptions read in one request.
        ids_a_request: job ids in one request; for watched jobs see `Polling.jobs_a_request`.
        upload_chunk: bytes in one request of an upload; a server accepts at most 64 MiB (docs/protocol.md#uploads).
        download_piece: bytes in one response of a download.
        archive_from: number of small files in a transfer from which on aiomig sends them as one archive, which the
            server packs or unpacks.
        archive_bytes: bytes of the files in one such archive. The server needs the same space again during the
            transfer.
        archived_file: size in bytes from which on a file is sent on its own instead of in an archive.
        largest_response: largest response in bytes; if a server sends more, aiomig closes the connection. A listing of
            100,000 files takes 25 MiB. The response of a download is limited by ``download_piece``.
        largest_result: largest standard output or error, in bytes, that aiomig reads into memory.
        lookups: pauses in seconds, one before each search for a job whose submit got no clear response.
        resubmit_after: seconds after which aiomig repeats a submit under a ``key`` that got no response, if the server
            shows no job for it. Until then, the submit raises `SubmitUnknown`.
        clean_up: longest time in seconds for each step of cleaning up after a failure or a cancellation.
        output_interval: seconds between two requests for the growing output of a job.
        live_output: seconds between two requests that make the server fetch this output from the resource; a server
            accepts one per minute (docs/protocol.md#live-output).
    """

    jobs_a_submit: int = 50
    descriptions_a_request: int = 50
    ids_a_request: int = 500
    upload_chunk: int = 8 << 20
    download_piece: int = 4 << 20
    archive_from: int = 16
    archive_bytes: int = 256 << 20
    archived_file: int = 8 << 20
    largest_response: int = 64 << 20
    largest_result: int = 256 << 20
    lookups: tuple[float, ...] = (0.2, 0.5, 1.0, 2.0, 4.0)
    resubmit_after: float = 300.0
    clean_up: float = 10.0
    output_interval: float = 5.0
    live_output: float = 60.0
