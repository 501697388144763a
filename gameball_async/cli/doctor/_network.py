"""What the way of one request means: is Gameball found, reached and trusted, and what does its answer tell."""

from __future__ import annotations

import socket
import ssl
from datetime import UTC
from email.utils import parsedate_to_datetime
from ipaddress import ip_address
from typing import TYPE_CHECKING, TypeVar

import httpx

from .._keys import SECRET_KEY
from .._words import duration, printable
from ._findings import Finding, Verdict, fail, ok, skip, warn
from ._way import PATIENCE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ._way import Answer, Way

_Error = TypeVar("_Error", bound=Exception)

CLOCKS_MAY_DIFFER = 10.0
"""Seconds. A clock that is kept in step is off by milliseconds, the header tells whole seconds, the way takes some.

Beyond that, a `Retry-After` that is a date is misread by as much, and so is the age of what a journal holds.
"""

_REDIRECT, _REFUSAL, _FAILURE = range(300, 400), range(400, 500), range(500, 600)
_NOT_LET_IN = (401, 403)
_NOT_FOUND, _NO_METHOD, _TOO_MANY = 404, 405, 429

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
    if way.error is not None and not isinstance(way.error, httpx.HTTPError):
        yield fail(
            "address",
            f"no request can be made with the settings of the environment ({_reason(way)})",
            "Correct what HTTPS_PROXY, HTTP_PROXY, ALL_PROXY, SSL_CERT_FILE and SSL_CERT_DIR hold.",
        )
        return
    yield address(way)
    yield dns(way)
    yield tcp(way)
    yield tls(way)
    yield answer(way)
    yield access(way)
    yield clock(way)


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


# ---------------------------------------------------------------- as far as an answer


def dns(way: Way) -> Finding:
    """Whether the host's name is known."""
    check = "dns"
    if way.proxy is not None:
        return skip(check, "the proxy looks the name up")
    if _is_ip(way.host):
        return ok(check, f"{way.host} needs no looking up")
    if (error := _cause(way, socket.gaierror)) is not None:
        return fail(
            check,
            f"the name {way.host} cannot be looked up ({error.strerror})",
            "Check the spelling of --base-url, and this machine's or container's DNS.",
        )
    return ok(check, f"the name {way.host} is known")


def tcp(way: Way) -> Finding:
    """Whether a connection comes about."""
    check, goal = "tcp", way.proxy or f"{way.host} port {way.port}"
    if way.peer is not None:
        return ok(check, f"connected to {way.peer}")
    if way.error is None or _ended_before_connecting(way):
        return skip(check, "it did not come so far")
    remedy = f"Allow outgoing connections to port {way.port}, or name your proxy in {way.scheme.upper()}_PROXY."
    if _cause(way, ConnectionRefusedError):
        remedy = "Nothing listens there: start it, or correct --base-url."
    if way.proxy is not None:
        remedy = f"Check the proxy that {way.scheme.upper()}_PROXY names, or name the host in NO_PROXY."
    return fail(check, f"no connection to {goal} ({_reason(way)})", remedy)


def _ended_before_connecting(way: Way) -> bool:
    return way.proxy is None and _cause(way, socket.gaierror) is not None


def tls(way: Way) -> Finding:
    """Whether the server is trusted."""
    check = "tls"
    if way.scheme == "http":
        return skip(check, "the address is http")
    if way.tls is not None:
        return ok(check, f"{way.tls}, with a certificate that is trusted")
    if way.peer is None:
        return skip(check, "it did not come so far")
    if isinstance(way.error, httpx.ProxyError):
        return fail(
            check,
            f"the proxy {way.proxy} refuses ({_reason(way)})",
            f"Let it connect to {way.host}, or give {way.scheme.upper()}_PROXY its user and password.",
        )
    if (error := _cause(way, ssl.SSLCertVerificationError)) is not None:
        remedy = _REMEDIES_OF_TRUST.get(error.verify_code, _UNKNOWN_AUTHORITY)
        return fail(check, f"the certificate is not trusted: {error.verify_message}", remedy)
    return fail(
        check,
        f"no encrypted connection comes about ({_reason(way)})",
        "Check scheme and port of --base-url: does the server speak TLS there?",
    )


def answer(way: Way) -> Finding:
    """Whether what answers is Gameball's API, in the version that was chosen."""
    check = "answer"
    if way.answer is None:
        if way.peer is None or (way.scheme == "https" and way.tls is None):
            return skip(check, "it did not come so far")
        return fail(
            check,
            f"connected, and no answer ({_reason(way)})",
            "Try again in a minute. Events are kept meanwhile and sent later.",
        )
    came = way.answer
    said = f"HTTP {came.status}" + (f" with code {came.code}" if came.code is not None else "")
    verdict, words, remedy = next(meaning[1:] for meaning in _ANSWERS if meaning[0](came))
    return Finding(check, verdict, said + words, remedy)


_ANSWERS: tuple[tuple[Callable[[Answer], bool], Verdict, str, str | None], ...] = (
    (
        lambda came: came.status in _NOT_LET_IN,  # what that means, `access` tells
        Verdict.OK,
        "",
        None,
    ),
    (
        lambda came: came.status == _TOO_MANY,
        Verdict.WARN,
        ": the rate limit is used up",
        "Give each process of the account its --share. The events wait, they are not lost.",
    ),
    (
        lambda came: (came.status == _NOT_FOUND and came.code is None) or came.status == _NO_METHOD,
        Verdict.FAIL,
        ": nothing takes events there",
        "Check --base-url and --api-version.",
    ),
    (
        lambda came: came.status in _REFUSAL,
        Verdict.OK,
        ": an empty request is refused, as it should be",
        None,
    ),
    (
        lambda came: came.status in _FAILURE,
        Verdict.FAIL,
        ": Gameball fails",
        "Try again later. Events are kept meanwhile and sent then.",
    ),
    (
        lambda came: came.status in _REDIRECT,
        Verdict.FAIL,
        ": it points elsewhere, where the client does not follow, as the key would go with it",
        "Give the address it points to as --base-url, if it is Gameball's.",
    ),
    (
        lambda _: True,
        Verdict.WARN,
        " to an empty request, which Gameball refuses",
        "Check --base-url: is that Gameball's API?",
    ),
)
"""What an answer to the empty request means; the first that fits counts."""


# ---------------------------------------------------------------- what the answer tells

_SECRET_WANTED = fail(
    "access",
    "Gameball wants a secret key, or another one",
    f"Set {SECRET_KEY}: v4.1 needs it, and so does an account in High Security Mode.",
)
_DISABLED = fail(
    "access", "Gameball is disabled for this account", "Enable it in Gameball's dashboard. Events are kept meanwhile."
)
_NOT_IN_PLAN = fail("access", "the account's plan does not contain this", "Ask Gameball, or choose another plan.")
_BY_CODE = {
    50: _DISABLED,
    1001: _SECRET_WANTED,
    1006: _SECRET_WANTED,
    6000: _DISABLED,
    8000: _NOT_IN_PLAN,
}
_KEY_REFUSED = fail(
    "access",
    "Gameball does not accept the key",
    "Copy it again from Gameball's dashboard: keys that were renewed end at once. With two keys set, check that they "
    "are not in each other's place.",
)


def access(way: Way) -> Finding:
    """Whether Gameball lets this account in, as far as an empty request can tell."""
    came = way.answer
    if not way.with_key:
        return skip("access", "there is no key to try")
    if came is None:
        return skip("access", "there is no answer")
    if came.code in _BY_CODE:
        return _BY_CODE[came.code]
    if came.status in _NOT_LET_IN or came.code in (1000, 1002):
        return _KEY_REFUSED
    if came.status in _REFUSAL and came.code is not None and came.status != _TOO_MANY:
        return ok("access", "the key was let in, as far as an empty request can tell; the first event proves it")
    return skip("access", "the answer tells nothing of the key")


def clock(way: Way) -> Finding:
    """Whether this machine and Gameball agree on the time."""
    check, came = "clock", way.answer
    if came is None or came.date is None:
        return skip(check, "there is no answer" if came is None else "the answer has no date")
    try:
        date = parsedate_to_datetime(came.date)
        theirs = (date if date.tzinfo else date.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        return skip(check, "the answer's date cannot be read")
    # the server wrote whole seconds, at some moment between both of ours
    ahead, behind = came.sent_at - (theirs + 1), theirs - came.came_at
    if max(ahead, behind) <= CLOCKS_MAY_DIFFER:
        return ok(check, f"agrees with the server's, within {CLOCKS_MAY_DIFFER:g} s")
    words = f"{duration(ahead)} ahead of" if ahead > behind else f"{duration(behind)} behind"
    return warn(
        check,
        f"is {words} the server's",
        "Let NTP set it: pauses that Gameball asks for as a date, and the age of events in a journal, are wrong by it.",
    )


# ---------------------------------------------------------------- errors


def _cause(way: Way, kind: type[_Error]) -> _Error | None:
    """The error of a kind behind what httpx raised."""
    error: BaseException | None = way.error
    while error is not None:
        if isinstance(error, kind):
            return error
        error = error.__cause__ or error.__context__
    return None


def _reason(way: Way) -> str:
    """What went wrong, in a few words of the system's."""
    if isinstance(way.error, httpx.TimeoutException):
        return f"nothing came within {PATIENCE:g} s"
    if isinstance(way.error, (httpx.ProxyError, httpx.RemoteProtocolError)):
        return printable(str(way.error))
    error = _cause(way, OSError)
    # other errors may quote a setting, and so a password
    return printable(error.strerror if error is not None and error.strerror else type(way.error).__name__)


def _is_ip(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True
