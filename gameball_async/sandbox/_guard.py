"""Who may see and steer the sandbox: its own page, and programs; no other web page in somebody's browser; pure."""

from __future__ import annotations

from contextlib import suppress
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from collections.abc import Mapping

_READING = frozenset({"GET", "HEAD"})
_OWN = frozenset({"same-origin", "none"})

HEADERS: Mapping[str, str] = {
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
    "require-trusted-types-for 'script'; trusted-types 'none'",
    "cross-origin-resource-policy": "same-origin",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    # the views hold personal data, and the page belongs to the version that serves it
    "cache-control": "no-store",
}
"""What every answer outside of the API says to a browser."""


def refusal(host: str, method: str, headers: Mapping[str, str]) -> str | None:
    """Why a request for the page or the control path is refused, or None if it is not.

    Args:
        host: the address at which the sandbox listens.
        method: of the request.
        headers: by lower-case name.
    """
    if not _is_own_name(host, headers.get("host", "")):
        return "The sandbox does not go by this name: ask it by its IP address."
    if not _comes_from_here(method, headers):
        return "Another web page has asked: open the sandbox's own page, or ask with a program."
    return None


def _is_own_name(host: str, asked: str) -> bool:
    """Whether a Host header can be meant for this sandbox.

    A web page can let a name of its own lead to any address (DNS rebinding), and may then read what
    listens there. It cannot do so with an address, nor with a name that its visitor's machine resolves.
    """
    name = _name(asked)
    if name in {"localhost", host.lower()} or name.endswith(".localhost") or _is_address(name):
        return True
    # a name without a dot is one of the own network, such as a container's; nobody else has them
    return bool(name) and "." not in name and not _is_loopback(host)


def _name(asked: str) -> str:
    with suppress(ValueError):
        return urlsplit(f"//{asked}").hostname or ""
    return ""


def _is_address(name: str) -> bool:
    with suppress(ValueError):
        ip_address(name)
        return True
    return False


def _is_loopback(host: str) -> bool:
    return ip_address(host).is_loopback if _is_address(host) else host == "localhost"


def _comes_from_here(method: str, headers: Mapping[str, str]) -> bool:
    """Whether no foreign page stands behind a request. Browsers say which one does; programs say nothing."""
    site = headers.get("sec-fetch-site")
    if site is None:
        # an older browser, or one that does not trust the network in between
        return headers.get("origin") in {None, f"http://{headers['host']}", f"https://{headers['host']}"}
    # following a link from elsewhere shows the page to its reader, and nothing to the elsewhere
    return site in _OWN or (method in _READING and headers.get("sec-fetch-mode") == "navigate")


def headers_of(scope: Mapping[str, Any]) -> dict[str, str]:
    """The headers of a request, by lower-case name."""
    return {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
