"""Where the API is and how it is entered: address, version and keys; the keys are shown nowhere."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from hashlib import sha256
from urllib.parse import urlsplit

import attrs

from ._core.wire import ApiVersion, dialect
from ._proxies import is_local
from ._version import __version__
from .errors import ConfigurationError


@attrs.frozen
class Endpoint:
    """Address, dialect and keys of one account.

    Attributes:
        base_url: without a slash at its end.
        dialect: how this version of the API looks on the wire.
    """

    base_url: str
    dialect: ApiVersion
    _api_key: str = attrs.field(repr=False)
    _secret_key: str = attrs.field(repr=False)

    @classmethod
    def checked(cls, api_key: str | None, secret_key: str | None, api_version: str, base_url: str) -> Endpoint:
        """Take missing keys from the environment, and refuse what cannot work.

        Raises:
            ConfigurationError: naming the argument and the remedy, never the key.
        """
        endpoint = cls(
            _checked_base_url(base_url),
            dialect(api_version),
            _checked_key("api_key", api_key, "GAMEBALL_API_KEY"),
            _checked_key("secret_key", secret_key, "GAMEBALL_SECRET_KEY"),
        )
        if not endpoint._api_key:
            raise ConfigurationError("api_key is missing: pass it, or set GAMEBALL_API_KEY in the environment.")
        if endpoint.dialect.needs_secret and not endpoint._secret_key:
            raise ConfigurationError(
                f"{api_version} needs a secret_key: pass it, or set GAMEBALL_SECRET_KEY in the environment."
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
        """Say what works and is probably a mistake: an address without encryption, a key that is none."""
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


def _checked_base_url(base_url: str) -> str:
    example = "give one such as 'https://api.gameball.co'."
    try:
        parts = urlsplit(base_url)
        is_usable = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
        is_usable &= base_url.isprintable() and " " not in base_url and "\\" not in base_url
    except (ValueError, AttributeError, TypeError):
        raise ConfigurationError(f"base_url is no http or https address: {example}") from None
    if not is_usable:
        raise ConfigurationError(f"base_url is no http or https address: {example}")
    if any(character in base_url for character in "@?#"):
        raise ConfigurationError(f"base_url holds a user, a password, a query or a fragment: {example}")
    path = parts.path.rstrip("/")
    if path.endswith("/api") or "/api/v" in path:
        raise ConfigurationError(f"base_url ends in {path!r}, which the client appends itself: {example}")
    return base_url.rstrip("/")
