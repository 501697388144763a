"""Where the API is and how it is reached: address, version, keys, which are shown nowhere, and the proxy."""

from __future__ import annotations

import os
import re
import socket
import unicodedata
from collections.abc import Iterator
from fnmatch import fnmatchcase
from hashlib import sha256
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from urllib.parse import urlsplit

import attrs

from ._core.wire import ApiVersion, dialect
from ._version import __version__
from .errors import ConfigurationError

DEFAULT_BASE_URL = "https://api.gameball.co"
DEFAULT_API_VERSION = "v3.0"

_SWITCH = "GAMEBALL_ENABLED"
_SWITCH_WORDS = {
    **dict.fromkeys(("1", "true", "yes", "on"), True),
    **dict.fromkeys(("0", "false", "no", "off"), False),
}


@attrs.frozen
class Endpoint:
    """Address, dialect and keys of one account, and whether anything is sent there.

    Attributes:
        base_url: without a slash at its end.
        dialect: how this version of the API looks on the wire.
        switched_off_by: the setting that switches the client off, such as `enabled=False`; None if it is on.
    """

    base_url: str
    dialect: ApiVersion
    _api_key: str = attrs.field(repr=False)
    _secret_key: str = attrs.field(repr=False)
    switched_off_by: str | None = None

    @classmethod
    def checked(
        cls,
        api_key: str | None,
        secret_key: str | None,
        api_version: str | None,
        base_url: str | None,
        *,
        enabled: bool | None = None,
    ) -> Endpoint:
        """Take from the environment what is None, and refuse what cannot work.

        Raises:
            ConfigurationError: naming the argument or the variable and the remedy, never the key.
        """
        url, url_is_from = _given("base_url", base_url, "GAMEBALL_BASE_URL", DEFAULT_BASE_URL)
        version, version_is_from = _given("api_version", api_version, "GAMEBALL_API_VERSION", DEFAULT_API_VERSION)
        endpoint = cls(
            _checked_base_url(url, url_is_from),
            dialect(version, version_is_from),
            _checked_key("api_key", api_key, "GAMEBALL_API_KEY"),
            _checked_key("secret_key", secret_key, "GAMEBALL_SECRET_KEY"),
            switched_off_by(enabled=enabled),
        )
        if endpoint.switched_off_by is not None:
            return endpoint
        if not endpoint._api_key:
            raise ConfigurationError("api_key is missing: pass it, or set GAMEBALL_API_KEY in the environment.")
        if endpoint.dialect.needs_secret and not endpoint._secret_key:
            raise ConfigurationError(
                f"{version} needs a secret_key: pass it, or set GAMEBALL_SECRET_KEY in the environment."
            )
        return endpoint

    @property
    def account(self) -> bytes:
        """A digest of the address and the API key: it identifies an account and shows no key."""
        parts = urlsplit(self.base_url)
        port = parts.port or {"http": 80, "https": 443}[parts.scheme]
        place = f"{parts.scheme}://{parts.hostname}:{port}{parts.path.rstrip('/')}"
        return sha256(f"{place} {self._api_key}".encode()).digest()

    @property
    def url(self) -> str:
        """Where requests go."""
        return self.base_url + self.dialect.path

    def url_of(self, resource: str) -> str:
        """Where requests for another resource go."""
        return self.base_url + self.dialect.path_of(resource)

    @property
    def can_follow_jobs(self) -> bool:
        """Whether the status of a job can be asked for."""
        return self.dialect.takes_bulk and bool(self._secret_key)

    def check_bulk(self, setting: str) -> None:
        """Refuse a setting or call that needs v4 and both keys.

        Raises:
            ConfigurationError: naming what is missing.
        """
        if self.switched_off_by is not None:
            return
        if not self.dialect.takes_bulk:
            raise ConfigurationError(
                f"{setting} needs api_version 'v4.0' or 'v4.1', and this client has {self.dialect.version!r}: pass "
                "another one, or set GAMEBALL_API_VERSION in the environment."
            )
        if not self._secret_key:
            raise ConfigurationError(
                f"{setting} needs a secret_key: pass it, or set GAMEBALL_SECRET_KEY in the environment."
            )

    def check_stop(self) -> None:
        """Refuse to stop a job without v4 and both keys, or of a client that is switched off.

        Raises:
            ConfigurationError: naming what is missing.
        """
        check_switched_on(self.switched_off_by, "stop_job()")
        self.check_bulk("stop_job()")

    def check_previews(self) -> None:
        """Refuse a preview without v4, or of a client that is switched off.

        Raises:
            ConfigurationError: naming the setting and the remedy.
        """
        check_switched_on(self.switched_off_by, "a preview")
        if not self.dialect.takes_bulk:
            raise ConfigurationError(
                f"preview needs api_version 'v4.0' or 'v4.1', and this client has {self.dialect.version!r}: pass "
                "another one, or set GAMEBALL_API_VERSION in the environment."
            )

    @property
    def headers(self) -> dict[str, str]:
        """What every request carries."""
        user_agent = {"User-Agent": f"gameball-async/{__version__}"}
        return self.dialect.headers(self._api_key, self._secret_key or None) | user_agent

    @property
    def secrets(self) -> tuple[str, ...]:
        """What must not appear in any message."""
        return tuple(filter(None, (self._api_key, self._secret_key)))

    def warnings(self) -> Iterator[str]:
        """Say what works and is probably a mistake: an address without encryption, a key that is none, a switch."""
        if self.switched_off_by is not None:
            yield f"the client is switched off by {self.switched_off_by}: events are checked, and not sent."
            return
        if urlsplit(self.base_url).scheme == "http" and not is_local(self.base_url):
            yield (
                "base_url is an http address of another machine: the API key and your customers' data can be read on "
                "the way, use https."
            )
        for argument, variable, key in (
            ("api_key", "GAMEBALL_API_KEY", self._api_key),
            ("secret_key", "GAMEBALL_SECRET_KEY", self._secret_key),
        ):
            if key and (key[0] in _QUOTES or key[-1] in _QUOTES):
                yield f"{argument} is in quotation marks, which are sent with it: remove them, perhaps from {variable}."
            elif _PLACEHOLDER.fullmatch(key):
                yield (
                    f"{argument} is the placeholder of an example: pass the key from Gameball's dashboard, or set "
                    f"{variable}."
                )


_QUOTES = "\"'`"

_PLACEHOLDER = re.compile(
    r"(my|your)[-_]?((gameball|live|test)[-_]?)?((api|secret)[-_]?)?key([-_]?here)?|change[-_]?me|x{3,}|<.*>|\{.*\}",
    re.IGNORECASE,
)
"""What examples put in the place of a key."""


def _checked_key(argument: str, value: str | None, variable: str) -> str:
    """A key fit for a header, or an empty string; no message shows it."""
    key = os.environ.get(variable, "") if value is None else value
    if not isinstance(key, str) or not key.isascii() or not key.isprintable() or " " in key:
        raise ConfigurationError(f"{argument} holds spaces, line ends or other characters no key has: copy it again.")
    return key


def switched_off_by(*, enabled: bool | None) -> str | None:
    """What switches a client off: `enabled=False`, or the variable with its value; None if it is on.

    Raises:
        ConfigurationError: if the argument or the variable is neither yes nor no.
    """
    if enabled is not None:
        if not isinstance(enabled, bool):
            raise ConfigurationError(f"enabled is of type {type(enabled).__name__}: give True or False.")
        return None if enabled else "enabled=False"
    value = os.environ.get(_SWITCH, "").strip()
    if not value:
        return None
    if value.lower() not in _SWITCH_WORDS:
        raise ConfigurationError(
            f"{_SWITCH} is set to a word that is neither yes nor no: use 1, true, yes or on, or 0, false, no or off."
        )
    return None if _SWITCH_WORDS[value.lower()] else f"{_SWITCH}={value}"


def check_switched_on(switched_off_by: str | None, call: str) -> None:
    """Refuse a call that needs an answer, of a client that is switched off.

    Raises:
        ConfigurationError: naming the switch.
    """
    if switched_off_by is not None:
        raise ConfigurationError(f"the client is switched off by {switched_off_by}: switch it on for {call}.")


def _given(argument: str, value: str | None, variable: str, default: str) -> tuple[str, str]:
    """The argument, else the variable, else the default; and the name of what it comes from."""
    if value is None and (found := os.environ.get(variable)):
        return found, variable
    return default if value is None else value, argument


def _checked_base_url(base_url: str, base_url_is_from: str) -> str:
    example = "give one such as 'https://api.gameball.co'."
    try:
        parts = urlsplit(base_url)
        is_usable = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
        is_usable &= base_url.isprintable() and " " not in base_url and "\\" not in base_url
    except (ValueError, AttributeError, TypeError):
        raise ConfigurationError(f"{base_url_is_from} is no http or https address: {example}") from None
    if not is_usable:
        raise ConfigurationError(f"{base_url_is_from} is no http or https address: {example}")
    if any(character in base_url for character in "@?#"):
        raise ConfigurationError(f"{base_url_is_from} holds a user, a password, a query or a fragment: {example}")
    path = parts.path.rstrip("/")
    if path.endswith("/api") or "/api/v" in path:
        raise ConfigurationError(f"{base_url_is_from} ends in {path!r}, which the client appends itself: {example}")
    return base_url.rstrip("/")


# ---------------------------------------------------------------- proxies

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
    from urllib.request import getproxies  # noqa: PLC0415 it imports http.client and email, and httpx has imported it

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
