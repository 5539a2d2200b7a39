"""Reads a ``miguser.conf``, in every form that older clients accept (docs/protocol.md#miguserconf)."""

from __future__ import annotations

import errno
import logging
import os
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .._core.errors import ConfigError
from .._core.validation import expanded
from .._home.disk import open_regular

if TYPE_CHECKING:
    from collections.abc import Mapping

logger = logging.getLogger("aiomig")

_LARGEST = 1 << 20
_KEYS_WITH_COMMENTS = frozenset({"migserver", "connect_timeout", "max_time", "auth_redir"})
_KEYS = _KEYS_WITH_COMMENTS | {"certfile", "keyfile", "cacertfile", "password", "username", "authcookiefile"}
_FIELDS = {
    "url": "migserver",
    "certificate": "certfile",
    "key": "keyfile",
    "ca": "cacertfile",
    "timeout": "max_time",
}


@dataclass(frozen=True, slots=True)
class UserFile:
    """A ``miguser.conf``.

    Attributes:
        path: the path of the file.
        values: line number and value of each key.
    """

    path: Path
    values: Mapping[str, tuple[int, str]] = field(repr=False)

    @classmethod
    def read(cls, path: Path) -> UserFile:
        """Read a file, as `Config.load` describes.

        Raises:
            ConfigError: it is missing, unreadable or not UTF-8.
        """
        try:
            data = content(path)
        except FileNotFoundError as error:
            problem = "there is no such file; write it, or set AIOMIG_CONFIG to another"
            raise ConfigError(problem, path=str(path)) from error
        except OSError as error:
            reason = error.strerror or type(error).__name__
            denied = isinstance(error, PermissionError)
            remedy = "correct its permissions" if denied else "give the path of a miguser.conf"
            raise ConfigError(f"cannot be read: {reason}; {remedy}", path=str(path)) from error
        try:
            return cls(path, _values(path, data.decode("utf-8-sig")))
        except UnicodeDecodeError as error:
            line = data[: error.start].count(b"\n") + 1
        # Not chained: the UnicodeDecodeError contains the whole file, with the password.
        raise ConfigError("is not UTF-8; save it as UTF-8", path=str(path), line=line)

    @property
    def password(self) -> str:
        """The passphrase of the key; empty if the file has none."""
        return self._text("password")

    def fields(self) -> dict[str, Any]:
        """Return the fields of `Config` that the file sets.

        Raises:
            ConfigError: a key is missing or wrong, or names a file that does not exist or cannot be read.
        """
        self._refuse_other_access()
        fields: dict[str, Any] = {"url": self._required("migserver")}
        for key, name in (("certfile", "certificate"), ("keyfile", "key")):
            fields[name] = self._existing(key, self._required(key))
        authorities = self._text("cacertfile")
        if authorities and authorities != "AUTO":
            fields["ca"] = self._existing("cacertfile", authorities)
        if self.password:
            fields["password"] = self.password
        for key, name in (("connect_timeout", "connect_timeout"), ("max_time", "timeout")):
            if text := self._text(key):
                fields[name] = self._number(key, text)
        return fields

    def blame(self, error: ConfigError) -> ConfigError:
        """Turn an error about a field of `Config` into an error about the line that sets the field."""
        name = error.field or ""
        return self._error(_FIELDS.get(name, name), str(error).removeprefix(f"{name}: "))

    def _refuse_other_access(self) -> None:
        redirect = self._text("auth_redir")
        if redirect and redirect.strip("/") != "cert_redirect":
            raise self._error("auth_redir", f"{redirect!r} is not access by certificate; remove the line")
        if "authcookiefile" in self.values and not (self._text("certfile") and self._text("keyfile")):
            raise self._error(
                "authcookiefile",
                "access by OpenID (a cookie file) is not supported; give certfile and keyfile of an X.509 "
                "certificate, and the certificate host as migserver",
            )

    def _text(self, key: str) -> str:
        return self.values.get(key, (0, ""))[1]

    def _required(self, key: str) -> str:
        if text := self._text(key):
            return text
        example = {"migserver": "https://host:port"}.get(key, f"~/.mig/{key.removesuffix('file')}.pem")
        raise self._error(key, f"is missing; add a line: {key} {example}")

    def _existing(self, key: str, text: str) -> Path:
        try:
            path = expanded(os.path.expandvars(text))
        except ValueError as error:
            raise self._error(key, f"{text!r} {error}") from error
        try:
            if path.is_file() or (key == "cacertfile" and path.is_dir()):
                return path
        except OSError as error:
            raise self._error(key, f"{str(path)!r} cannot be read: {error.strerror}; {_remedy(text)}") from error
        raise self._error(key, f"there is no file {str(path)!r}; {_remedy(text)}")

    def _number(self, key: str, text: str) -> float:
        try:
            return float(text)
        except ValueError:
            raise self._error(key, f"{text!r} is not a number; give seconds, such as 20") from None

    def _error(self, key: str, problem: str) -> ConfigError:
        line = self.values[key][0] if key in self.values else None
        return ConfigError(f"{key}: {problem}", path=str(self.path), line=line, field=key)


def has_comment(value: str) -> bool:
    """Return whether a value contains what looks like a comment."""
    return value.startswith("#") or " #" in value or "\t#" in value


def file_text(values: Mapping[str, str]) -> str:
    """Return the text of a ``miguser.conf``.

    Args:
        values: the value of each key; keys with empty values are left out.

    Raises:
        ConfigError: a value would not be read back unchanged. The error does not show the value, which may be the
            password.
    """
    names = {key: name for name, key in _FIELDS.items()}
    for key, value in values.items():
        read = _values(Path(), f"{key} {value}").get(key, (0, ""))[1]
        if read != value or (key.endswith("file") and os.path.expandvars(value) != value):
            name = names.get(key, key)
            problem = "holds a line break, a blank at an end, or a $VARIABLE, which a miguser.conf cannot hold"
            raise ConfigError(f"{name}: {problem}; use another value", field=name)
    return "".join(f"{key} {value}\n" for key, value in values.items() if value)


def _remedy(text: str) -> str:
    return "a comment needs a line of its own" if has_comment(text) else "correct the path"


def unreadable(field: str, path: Path, error: OSError) -> ConfigError:
    """Return the error for a file that cannot be read."""
    reason = error.strerror or type(error).__name__
    return ConfigError(f"{field}: {path} cannot be read: {reason}; correct the path or its permissions", field=field)


def content(path: Path) -> bytes:
    """Return the bytes of a small file.

    Raises:
        OSError: it cannot be read, is not a regular file, or is too large for a certificate or a configuration.
    """
    with open_regular(path) as stream:
        data = stream.read(_LARGEST + 1)
    if len(data) > _LARGEST:
        raise OSError(errno.EFBIG, f"Has more than {_LARGEST} bytes", str(path))
    return data


def _values(path: Path, text: str) -> dict[str, tuple[int, str]]:
    """Return the line number and the value of each known key."""
    values: dict[str, tuple[int, str]] = {}
    misspelt: dict[str, tuple[int, str]] = {}  # KEY VALUE, key=value: an error about a missing key names the line
    for number, line in enumerate(text.split("\n"), 1):
        words = line.split(None, 1)
        if not words or words[0].startswith("#"):
            continue
        key, value = words[0], words[1].strip() if len(words) > 1 else ""
        if key not in _KEYS:
            logger.debug("%s:%d: unknown key ignored", path, number)
            meant = re.split("[:=]", key)[0].lower()
            if meant in _KEYS:
                misspelt[meant] = (number, "")
        elif key in values:
            logger.debug("%s:%d: a second %s ignored", path, number, key)
        else:
            values[key] = (number, _without_comment(value) if key in _KEYS_WITH_COMMENTS else value)
    return misspelt | values


def _without_comment(value: str) -> str:
    words = value.split()
    end = next((index for index, word in enumerate(words) if word.startswith("#")), len(words))
    return " ".join(words[:end])
