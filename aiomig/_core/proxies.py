"""Proxies from the environment: ``HTTPS_PROXY``, ``HTTP_PROXY``, ``ALL_PROXY`` and ``NO_PROXY``."""

from __future__ import annotations

import re
from contextlib import suppress
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from urllib.parse import unquote, urlsplit

from .errors import ConfigError

_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True)
class Proxy:
    """An HTTP proxy.

    Attributes:
        scheme: ``http``, or ``https`` if the connection to the proxy uses TLS.
        host: its host name or address.
        port: its port.
        login: the user name and password, or ``None``; never shown.
    """

    scheme: str
    host: str
    port: int
    login: tuple[bytes, bytes] | None = field(default=None, repr=False)

    @property
    def address(self) -> str:
        """The host and the port, as in a URL."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def proxy_for(url: str) -> Proxy | None:
    """Return the proxy for a URL, or ``None`` for a direct connection.

    ``NO_PROXY`` may list hosts, domains (``example.org``, ``.example.org``, ``*.example.org``), addresses and networks
    (``10.0.0.0/8``, ``fd00::/8``), each with an optional port, and ``*`` for all hosts.

    Raises:
        ConfigError: the variable is invalid, or names a proxy that is not an HTTP proxy.
    """
    from urllib.request import getproxies, proxy_bypass  # slow to import

    target = urlsplit(url)
    host = target.hostname or ""
    settings = getproxies()
    kind = next((kind for kind in (target.scheme, "all") if settings.get(kind, "").strip()), None)
    if kind is None or proxy_bypass(host) or _is_listed(host, target.port, settings.get("no", "")):
        return None
    try:
        return _parse(settings[kind].strip())
    except ValueError:
        # The value and the error are not shown, because they may contain a password.
        variable = f"{kind}_proxy".upper()
        raise ConfigError(
            f"{variable}: not the URL of an HTTP proxy; set it to http://host:port, or add {host} to NO_PROXY",
            field="url",
        ) from None


def _parse(text: str) -> Proxy:
    parts = urlsplit(text if "://" in text else f"http://{text}")
    if not parts.hostname or parts.scheme not in _PORTS:
        raise ValueError("not the URL of an HTTP proxy")
    login = None
    if parts.username is not None:
        login = unquote(parts.username).encode(), unquote(parts.password or "").encode()
    return Proxy(parts.scheme, parts.hostname.encode("idna").decode(), parts.port or _PORTS[parts.scheme], login)


def _is_listed(host: str, port: int | None, no_proxy: str) -> bool:
    """Return whether ``NO_PROXY`` lists a host."""
    address = _address(host)
    for entry in no_proxy.lower().replace(",", " ").split():
        match = re.fullmatch(r"(\[[^\]]*\]|[^:\[\]]*):([0-9]+)", entry)
        name = match[1] if match else entry
        if match and port is not None and int(match[2]) != port:
            continue
        if address is not None:
            with suppress(ValueError):
                if address in ip_network(re.sub(r"[\[\]]", "", name), strict=False):
                    return True
        elif name == "*" or ((domain := name.lstrip("*.")) and f".{host}".endswith(f".{domain}")):
            return True
    return False


def _address(host: str) -> IPv4Address | IPv6Address | None:
    try:
        return ip_address(host)
    except ValueError:
        return None
