"""Find the proxy for an address in the environment; addresses of this machine have none."""

from __future__ import annotations

import os
import re
import socket
import unicodedata
from fnmatch import fnmatchcase
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from urllib.parse import urlsplit
from urllib.request import getproxies

import attrs

_LOCAL_NAMES = frozenset({"localhost", "localhost.localdomain", "localhost6", "ip6-localhost", "ip6-loopback"})
"""`localhost` (RFC 6761), and its aliases in the /etc/hosts of Linux distributions."""

_DEFAULT_PORTS = {"http": 80, "https": 443}


@attrs.frozen
class Proxy:
    """A proxy from the environment.

    Attributes:
        url: its address, which may contain a password.
        variable: the name of its environment variable, for messages.
    """

    url: str = attrs.field(repr=False)
    variable: str

    @property
    def address(self) -> str:
        """Host and port, without user and password.

        Raises:
            ValueError: if the address is invalid.
        """
        parts = urlsplit(self.url)
        return f"{parts.hostname}:{parts.port}" if parts.port else str(parts.hostname)


def proxy_for(url: str) -> Proxy | None:
    """Return the proxy for requests to an address, or None for a direct connection."""
    parts, proxies = urlsplit(url), getproxies()
    found = next((scheme for scheme in (parts.scheme, "all") if proxies.get(scheme)), None)
    if found is None or is_local(url):
        return None
    port = parts.port or _DEFAULT_PORTS.get(parts.scheme)
    if _is_excluded(_normal(parts.hostname or ""), port, proxies.get("no", "")):
        return None
    address = proxies[found]
    return Proxy(address if "://" in address else f"http://{address}", _variable(f"{found}_proxy"))


def is_local(url: str) -> bool:
    """Whether an address is of this machine, in any spelling of its host."""
    host = _normal(urlsplit(url).hostname or "")
    if host in _LOCAL_NAMES or host.endswith(".localhost"):
        return True
    address = _address(host)
    return address is not None and (address.is_loopback or address.is_unspecified)


def _normal(host: str) -> str:
    return unicodedata.normalize("NFKC", host).lower().removesuffix(".")


def _address(host: str) -> IPv4Address | IPv6Address | None:
    """Parse an IP address in any spelling that the system's resolver accepts, such as 127.1 or 0x7f000001."""
    host = host.removeprefix("[").removesuffix("]").partition("%")[0]
    try:
        address = ip_address(host)
    except ValueError:
        if not re.fullmatch(r"[0-9a-fx.]+", host):
            return None
        try:
            return IPv4Address(socket.inet_aton(host))
        except OSError:
            return None
    return address.ipv4_mapped or address if isinstance(address, IPv6Address) else address


def _is_excluded(host: str, port: int | None, no_proxy: str) -> bool:
    """Whether NO_PROXY excludes a host by name, suffix, pattern, address or network, each optionally with a port."""
    return any(_excludes(entry, host, port) for entry in re.split(r"[\s,]+", _normal(no_proxy)) if entry)


def _excludes(entry: str, host: str, port: int | None) -> bool:
    entry = entry.partition("://")[2] or entry
    address = _address(host)
    if address is not None and "/" in entry:
        return _is_in_network(address, entry)
    entry = entry.rstrip("/")
    if _address(entry) is None and (match := re.fullmatch(r"(.+):([0-9]+)", entry)):  # bare IPv6 has no port
        if int(match[2]) != port:
            return False
        entry = match[1]
    if address is not None and address == _address(entry):
        return True
    entry = entry.removesuffix(".")
    if "*" in entry:
        return fnmatchcase(host, entry) or fnmatchcase(host, entry.removeprefix("*."))
    return host == entry.lstrip(".") or host.endswith(f".{entry.lstrip('.')}")


def _is_in_network(address: IPv4Address | IPv6Address, entry: str) -> bool:
    base, _, prefix = entry.replace("[", "").replace("]", "").partition("/")
    try:
        network = ip_network(f"{base}/{prefix}", strict=False)
    except ValueError:
        return False
    return address in network


def _variable(name: str) -> str:
    """Return the variable as spelled in the environment; `urllib` prefers lower case."""
    for spelling in (name, name.upper()):
        if os.environ.get(spelling):
            return spelling
    return "the system's proxy settings"
