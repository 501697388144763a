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
    from ._way import ProbeResult

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


def findings(result: ProbeResult) -> Iterator[Finding]:
    """Say what each step of the way means, in its order."""
    if result.is_impossible:
        yield fail(
            "address",
            f"no request can be made with the settings of the environment ({result.reason})",
            _correction(result),
        )
        return
    yield address(result)
    yield dns(result)
    yield tcp(result)
    yield tls(result)


def _correction(result: ProbeResult) -> str:
    """Name the variable that is wrong; its value may hold a password."""
    if isinstance(result.error, ImportError):
        return f'{result.proxy_variable} names a SOCKS proxy: pip install "httpx[socks]".'
    if result.proxy_variable is None or isinstance(result.error, OSError):
        return "Correct SSL_CERT_FILE or SSL_CERT_DIR, or unset it."
    return f"Correct {result.proxy_variable}: it must hold an address such as http://proxy.example:3128."


def address(result: ProbeResult) -> Finding:
    """Where events go."""
    port = "" if result.port in (80, 443) else f":{result.port}"
    host = f"[{result.host}]" if ":" in result.host else result.host
    words = f"{result.scheme}://{host}{port}{result.path}"
    if result.proxy is not None:
        words += f", through the proxy {result.proxy}"
    if result.scheme == "http" and not result.is_loopback:
        return warn("address", f"{words}: not encrypted, so the key can be read on the way", "Use https.")
    return ok("address", words)


def dns(result: ProbeResult) -> Finding:
    """Whether the host's name is known."""
    check = "dns"
    if result.proxy is not None:
        return skip(check, "the proxy looks the name up")
    if _is_ip(result.host):
        return ok(check, f"{result.host} needs no looking up")
    if (error := result.cause(socket.gaierror)) is not None:
        return fail(
            check,
            f"the name {result.host} cannot be looked up ({error.strerror})",
            "Check this machine's network and DNS, and the spelling of --base-url if you gave one.",
        )
    return ok(check, f"the name {result.host} is known")


def tcp(result: ProbeResult) -> Finding:
    """Whether a connection comes about."""
    check, goal = "tcp", result.proxy or f"{result.host} port {result.port}"
    if result.peer is not None:
        return ok(check, f"connected to {result.peer}")
    if result.proxy is None and result.cause(socket.gaierror) is not None:
        return skip(check, "it did not come so far")
    remedy = f"Allow outgoing connections to port {result.port}, or name your proxy in {result.scheme.upper()}_PROXY."
    if result.cause(ConnectionRefusedError):
        remedy = "Nothing listens there: start it, or correct --base-url."
    if result.proxy is not None:
        remedy = f"Check the proxy that {result.proxy_variable} names, or name the host in NO_PROXY."
    return fail(check, f"no connection to {goal} ({result.reason})", remedy)


def tls(result: ProbeResult) -> Finding:
    """Whether the server is trusted."""
    check = "tls"
    if result.scheme == "http":
        return skip(check, "the address is http")
    if result.tls is not None:
        return ok(check, f"{result.tls}, with a certificate that is trusted")
    if result.peer is None:
        return skip(check, "it did not come so far")
    if result.is_refused_by_proxy:
        return fail(
            check,
            f"the proxy {result.proxy} refuses ({result.reason})",
            f"Let it connect to {result.host}, or give {result.proxy_variable} its user and password.",
        )
    if (error := result.cause(ssl.SSLCertVerificationError)) is not None:
        remedy = _REMEDIES_OF_TRUST.get(error.verify_code, _UNKNOWN_AUTHORITY)
        return fail(check, f"the certificate is not trusted: {error.verify_message}", remedy)
    return fail(
        check,
        f"no encrypted connection comes about ({result.reason})",
        "Check scheme and port of --base-url: does the server speak TLS there?",
    )


def _is_ip(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True
