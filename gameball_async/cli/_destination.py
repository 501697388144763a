"""Where events go, in words: "Gameball" only if the host is Gameball's."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from gameball_async import AsyncGameball

from ._words import printable

if TYPE_CHECKING:
    from collections.abc import Mapping

_DOMAIN = "gameball.co"


def default_base_url() -> str:
    """Return the address that the client uses if none is given."""
    # asked, so that it stands in one place only
    default: str = inspect.signature(AsyncGameball).parameters["base_url"].default
    return default


def destination(client: Mapping[str, Any]) -> str:
    """Name the host that a client sends to, without a user or a password in its address.

    Args:
        client: the client's arguments.
    """
    parts = urlsplit(client.get("base_url") or default_base_url())
    host = (parts.hostname or "").rstrip(".")
    address = parts.netloc.rpartition("@")[2]
    if host == _DOMAIN or host.endswith("." + _DOMAIN):
        return f"Gameball ({printable(address)})"
    return printable(f"{parts.scheme}://{address}{parts.path.rstrip('/')}")
