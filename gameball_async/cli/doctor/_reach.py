"""Whether Gameball is found, reached and trusted: what the way of the request means, as far as an answer."""

from __future__ import annotations

import socket
import ssl
from ipaddress import ip_address
from typing import TYPE_CHECKING

from ._findings import fail, ok, skip, warn

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ._findings import Finding
    from ._way import Way

_WRONG_DATE = "Check the date of this machine; if it is right, the server's certificate has to be renewed."
_OTHER_HOST = "Check the host in --base-url."
_REMEDIES_OF_TRUST = {  # by OpenSSL's X509_V_ERR_…
    9: _WRONG_DATE,  # not yet valid
    10: _WRONG_DATE,  # expired
    62: _OTHER_HOST,  # by its name
    64: _OTHER_HOST,  # by its address
}
_UNKNOWN_AUTHORITY = (
    "If a proxy of your company signs it, let SSL_CERT_FILE name a file with its authority's certificate."
)


def findings(way: Way) -> Iterator[Finding]:
    """Say what each step of the way means, in its order."""
    if way.is_impossible:
        yield fail(
            "address",
            f"no request can be made with the settings of the environment ({way.reason})",
            _correction(way),
        )
        return
    yield address(way)
    yield dns(way)
    yield tcp(way)
    yield tls(way)


def _correction(way: Way) -> str:
    """Name the variable that is wrong; its value may hold a password."""
    if isinstance(way.error, ImportError):
        return f'{way.proxy_variable} names a SOCKS proxy: pip install "httpx[socks]".'
    if way.proxy_variable is None or isinstance(way.error, OSError):
        return "Correct SSL_CERT_FILE or SSL_CERT_DIR, or unset it."
    return f"Correct {way.proxy_variable}: it must hold an address such as http://proxy.example:3128."


def address(way: Way) -> Finding:
    """Where events go."""
    port = "" if way.port in (80, 443) else f":{way.port}"
    host = f"[{way.host}]" if ":" in way.host else way.host
    words = f"{way.scheme}://{host}{port}{way.path}"
    if way.proxy is not None:
        words += f", through the proxy {way.proxy}"
    if way.scheme == "http" and not way.is_loopback:
        return warn("address", f"{words}: not encrypted, so the key can be read on the way", "Use https.")
    return ok("address", words)


def dns(way: Way) -> Finding:
    """Whether the host's name is known."""
    check = "dns"
    if way.proxy is not None:
        return skip(check, "the proxy looks the name up")
    if _is_ip(way.host):
        return ok(check, f"{way.host} needs no looking up")
    if (error := way.cause(socket.gaierror)) is not None:
        return fail(
            check,
            f"the name {way.host} cannot be looked up ({error.strerror})",
            "Check this machine's network and DNS, and the spelling of --base-url if you gave one.",
        )
    return ok(check, f"the name {way.host} is known")


def tcp(way: Way) -> Finding:
    """Whether a connection comes about."""
    check, goal = "tcp", way.proxy or f"{way.host} port {way.port}"
    if way.peer is not None:
        return ok(check, f"connected to {way.peer}")
    if way.proxy is None and way.cause(socket.gaierror) is not None:
        return skip(check, "it did not come so far")
    remedy = f"Allow outgoing connections to port {way.port}, or name your proxy in {way.scheme.upper()}_PROXY."
    if way.cause(ConnectionRefusedError):
        remedy = "Nothing listens there: start it, or correct --base-url."
    if way.proxy is not None:
        remedy = f"Check the proxy that {way.proxy_variable} names, or name the host in NO_PROXY."
    return fail(check, f"no connection to {goal} ({way.reason})", remedy)


def tls(way: Way) -> Finding:
    """Whether the server is trusted."""
    check = "tls"
    if way.scheme == "http":
        return skip(check, "the address is http")
    if way.tls is not None:
        return ok(check, f"{way.tls}, with a certificate that is trusted")
    if way.peer is None:
        return skip(check, "it did not come so far")
    if way.is_refused_by_proxy:
        return fail(
            check,
            f"the proxy {way.proxy} refuses ({way.reason})",
            f"Let it connect to {way.host}, or give {way.proxy_variable} its user and password.",
        )
    if (error := way.cause(ssl.SSLCertVerificationError)) is not None:
        remedy = _REMEDIES_OF_TRUST.get(error.verify_code, _UNKNOWN_AUTHORITY)
        return fail(check, f"the certificate is not trusted: {error.verify_message}", remedy)
    return fail(
        check,
        f"no encrypted connection comes about ({way.reason})",
        "Check scheme and port of --base-url: does the server speak TLS there?",
    )


def _is_ip(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True
