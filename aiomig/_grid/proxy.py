"""The proxy by which this machine reaches a server, where its environment names one: ``HTTPS_PROXY`` and the like."""

from __future__ import annotations

import base64
from dataclasses import dataclass, field
from urllib.parse import unquote, urlsplit

from .._core.errors import ConfigError


@dataclass(frozen=True, slots=True)
class Proxy:
    """A proxy that makes tunnels (``CONNECT``).

    Attributes:
        host: its name or address.
        port: its port.
        is_secure: whether it is spoken to by TLS.
        authorization: the value of ``Proxy-Authorization``, where it wants one; never shown.
    """

    host: str
    port: int
    is_secure: bool = False
    authorization: bytes | None = field(default=None, repr=False)


def proxy_for(host: str) -> Proxy | None:
    """The proxy for a server, by the variables that curl and most programs know.

    Raises:
        ConfigError: the variable makes no sense, or names a proxy that is none of HTTP.
    """
    from urllib.request import getproxies, proxy_bypass  # slow to import

    named = getproxies()
    kind = next((kind for kind in ("https", "all") if named.get(kind)), None)
    if kind is None or proxy_bypass(host):
        return None
    text = named[kind]
    try:
        parts = urlsplit(text if "://" in text else f"http://{text}")
        name, port = parts.hostname, parts.port
    except ValueError:
        name, port, parts = None, None, urlsplit("")
    if not name or parts.scheme not in ("http", "https"):
        # Not shown: it may hold a password.
        variable = f"{kind}_proxy".upper()
        raise ConfigError(
            f"{variable}: the environment names a proxy that cannot be used; set it to http://host:port, or add {host} "
            "to NO_PROXY",
            field="url",
        )
    secret = None
    if parts.username is not None:
        user = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
        secret = b"Basic " + base64.b64encode(user.encode())
    is_secure = parts.scheme == "https"
    return Proxy(name, port or (443 if is_secure else 80), is_secure, secret)
