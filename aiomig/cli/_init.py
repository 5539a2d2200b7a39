"""The command ``init``: creates a ``miguser.conf`` for a certificate."""

from __future__ import annotations

import getpass
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from .. import Config, ConfigError
from ._command import command
from ._output import local_time, say, write, write_json
from ._settings import current

if TYPE_CHECKING:
    from collections.abc import Mapping

_PEM_FILE = click.Path(path_type=Path, exists=True, dir_okay=False)
_CERTIFICATE, _KEY, _CA, _CONFIG = "cert.pem", "key.pem", "cacert.pem", "miguser.conf"


@command("init")
@click.option("--url", required=True, help="The certificate host of the site: https://HOST[:PORT].")
@click.option("--p12", type=_PEM_FILE, help="The certificate and key as a PKCS#12 file, as browsers save it.")
@click.option("--certificate", type=_PEM_FILE, help="The certificate as a PEM file; with --key.")
@click.option("--key", type=_PEM_FILE, help="The private key as a PEM file.")
@click.option("--ca", type=_PEM_FILE, help="The CA certificate of the site as a PEM file. Default: the system's.")
@click.option(
    "--password-file",
    type=click.Path(allow_dash=True),
    help="A file whose first line is the password of the PKCS#12 file (- is standard input).",
)
@click.option("--encrypt-key", is_flag=True, help="Encrypt the key with the password; aiomig then asks for it.")
@click.option(
    "--folder",
    type=click.Path(path_type=Path, file_okay=False),
    default="~/.mig",
    show_default=True,
    help="The directory for the files.",
)
@click.option("--force", is_flag=True, help="Replace existing files.")
def init(
    url: str,
    p12: Path | None,
    certificate: Path | None,
    key: Path | None,
    ca: Path | None,
    password_file: str | None,
    encrypt_key: bool,
    folder: Path,
    force: bool,
) -> None:
    """Create a miguser.conf, and next to it the certificate and key. Only you can read these files.

    \b
      aiomig init --url https://cert.example.org --p12 me.p12
      aiomig init --url https://cert.example.org --certificate cert.pem --key key.pem --ca cacert.pem

    Without --force no file is replaced. Passwords are never given on the command line.
    """
    if p12 is not None and (certificate or key):
        raise click.UsageError("--p12 contains the certificate and the key; leave out --certificate and --key")
    folder = _expanded(folder)
    if p12 is not None:
        files = _from_pkcs12(p12, _password(password_file), encrypted=encrypt_key)
    elif certificate is not None and key is not None:
        if encrypt_key:
            raise click.UsageError("--encrypt-key is for --p12; a PEM key is kept as it is")
        if password_file is not None:
            raise click.UsageError("--password-file is for --p12; a PEM key is kept as it is")
        files = {_CERTIFICATE: certificate.read_bytes(), _KEY: key.read_bytes()}
    else:
        raise click.UsageError("the certificate is missing; give --p12, or --certificate and --key")
    if ca is not None:
        files[_CA] = ca.read_bytes()
    # Config validates the URL before anything is written.
    ca_file = folder / _CA if ca is not None else None
    config = Config(url=url, certificate=folder / _CERTIFICATE, key=folder / _KEY, ca=ca_file)
    _write(folder, files, force=force)
    config.write(folder / _CONFIG, overwrite=True)
    _check(folder / _CONFIG)


def _password(password_file: str | None) -> bytes | None:
    """Return the password of a PKCS#12 file, or ``None``."""
    if password_file == "-":
        text = sys.stdin.readline()
    elif password_file is not None:
        text = Path(password_file).read_text("utf-8").split("\n")[0]
    elif sys.stdin.isatty():
        text = getpass.getpass("Password of the PKCS#12 file: ")
    else:
        text = ""
    return text.rstrip("\r\n").encode() or None


def _from_pkcs12(path: Path, password: bytes | None, *, encrypted: bool) -> dict[str, bytes]:
    """Return the certificate and the key in PEM format, by file name."""
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.serialization import pkcs12

    try:
        key, certificate, others = pkcs12.load_key_and_certificates(path.read_bytes(), password)
    except ValueError as error:
        remedy = "give its password by --password-file or at a terminal"
        raise ConfigError(f"{path} is not a PKCS#12 file, or the password does not open it; {remedy}") from error
    if key is None or certificate is None:
        raise ConfigError(f"{path} has no {'key' if key is None else 'certificate'}; export it again from the browser")
    if encrypted and password is None:
        raise ConfigError(f"{path} has no password to encrypt the key with; leave out --encrypt-key")
    encoding = serialization.Encoding.PEM
    encryption: serialization.KeySerializationEncryption = serialization.NoEncryption()
    if encrypted and password is not None:
        encryption = serialization.BestAvailableEncryption(password)
    return {
        _CERTIFICATE: b"".join(item.public_bytes(encoding) for item in (certificate, *others)),
        _KEY: key.private_bytes(encoding, serialization.PrivateFormat.PKCS8, encryption),
    }


def _expanded(path: Path) -> Path:
    try:
        return path.expanduser()
    except RuntimeError as error:
        raise ConfigError(f"{path}: there is no home directory; set HOME, or give --folder") from error


def _write(folder: Path, files: Mapping[str, bytes], *, force: bool) -> None:
    """Write each file atomically, readable only by the user.

    Raises:
        FileExistsError: a file exists, and ``force`` is false.
    """
    existing = [folder / name for name in (*files, _CONFIG) if (folder / name).exists()]
    if existing and not force:
        names = ", ".join(map(str, existing))
        raise FileExistsError(
            f"{names}: already exists; nothing was changed; use --force to replace, or another --folder"
        )
    if not folder.is_dir():
        folder.mkdir(mode=0o700, parents=True)
    elif folder.stat().st_mode & 0o022:
        say(f"other users can write to {folder} and replace files in it; run: chmod go-w {folder}")
    for name, content in files.items():
        new = folder / f".{name}.new"
        new.unlink(missing_ok=True)
        with open(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as stream:  # noqa: PTH123
            stream.write(content)
        new.replace(folder / name)


def _check(path: Path) -> None:
    """Load the new files as all commands do, and report the owner of the certificate."""
    credential = Config.load(path).credential()
    if current().json:
        write_json({"config": path, "subject": credential.subject, "not_after": credential.not_after})
        return
    write(f"{path}: {credential.subject}, valid until {local_time(credential.not_after)}")
    default = Path(os.path.expanduser("~/.mig/miguser.conf"))  # noqa: PTH111 - there may be no home directory
    option = "" if path == default else f" --config {path}"
    if not current().quiet:
        say(f"next: aiomig doctor{option}")
