"""Whether Gameball is found, reached and trusted: what the way of the request means, as far as an answer."""

from __future__ import annotations

import socket
import ssl
import time
from datetime import UTC
from email.utils import parsedate_to_datetime
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlsplit

import attrs
import httpx

from ... import __version__
from ..._core.outcome import read_answer
from ..._proxies import Proxy, is_local, proxy_for
from .._options import SECRET_KEY
from .._terminal import duration, printable
from ._findings import CheckStatus, Finding, fail, ok, skip, warn

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from .._options import KeyOptions


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


CLOCKS_MAY_DIFFER = 10.0
"""Seconds. A clock that is kept in step is off by milliseconds, the header tells whole seconds, the way takes some.

Beyond that, a `Retry-After` that is a date is misread by as much, and so is the age of what a journal holds.
"""

_REDIRECT, _REFUSAL, _FAILURE = range(300, 400), range(400, 500), range(500, 600)
_NOT_LET_IN = (401, 403)
_NOT_FOUND, _NO_METHOD, _PROXY_KEYS, _TOO_MANY = 404, 405, 407, 429


def answer_findings(result: ProbeResult) -> Iterator[Finding]:
    """Say what the answer means, or that there is none."""
    yield answer(result)
    yield access(result)
    yield clock(result)


def answer(result: ProbeResult) -> Finding:
    """Whether what answers is Gameball's API, in the version that was chosen."""
    check = "answer"
    if result.answer is None:
        if result.peer is None or (result.scheme == "https" and result.tls is None):
            return skip(check, "it did not come so far")
        return fail(
            check,
            f"connected, and no answer ({result.reason})",
            "Try again in a minute. Events are kept meanwhile and sent later.",
        )
    came = result.answer
    said = f"HTTP {came.status}" + (f" with code {came.code}" if came.code is not None else "")
    said += f" with {came.foreign}" if came.foreign else ""
    verdict, words, remedy = next(meaning[1:] for meaning in _ANSWERS if meaning[0](came))
    return Finding(check, verdict, said + words, remedy)


_ANSWERS: tuple[tuple[Callable[[ProbeResponse], bool], CheckStatus, str, str | None], ...] = (
    (
        lambda came: came.status in _NOT_LET_IN,  # what that means, `access` tells
        CheckStatus.OK,
        "",
        None,
    ),
    (
        lambda came: came.status == _TOO_MANY,
        CheckStatus.WARN,
        ": the rate limit is used up",
        "Give each process of the account its --share. The events wait, they are not lost.",
    ),
    (
        lambda came: came.status == _PROXY_KEYS,
        CheckStatus.FAIL,
        ": a proxy wants a user and a password",
        "Give them in HTTPS_PROXY or HTTP_PROXY, or list the host in NO_PROXY.",
    ),
    (
        lambda came: (came.status == _NOT_FOUND and came.code is None) or came.status == _NO_METHOD,
        CheckStatus.FAIL,
        ": nothing takes events there",
        "Check --base-url and --api-version.",
    ),
    (
        lambda came: came.status in _REFUSAL,
        CheckStatus.OK,
        ": an empty request is refused, as it should be",
        None,
    ),
    (
        lambda came: came.status in _FAILURE,
        CheckStatus.FAIL,
        ": Gameball fails",
        "Try again later. Events are kept meanwhile and sent then.",
    ),
    (
        lambda came: came.status in _REDIRECT,
        CheckStatus.FAIL,
        ": it points elsewhere, where the client does not follow, as the key would go with it",
        "Give the address it points to as --base-url, if it is Gameball's.",
    ),
    (
        lambda came: bool(came.foreign),
        CheckStatus.FAIL,
        " instead of JSON: this is not Gameball's API",
        "Check --base-url, and whether a login page or a proxy is in between.",
    ),
    (
        lambda _: True,
        CheckStatus.WARN,
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


def access(result: ProbeResult) -> Finding:
    """Whether Gameball lets this account in, as far as an empty request can tell."""
    came = result.answer
    if not result.with_key:
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


def clock(result: ProbeResult) -> Finding:
    """Whether this machine and Gameball agree on the time."""
    check, came = "clock", result.answer
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


_Error = TypeVar("_Error", bound=Exception)

PATHS: Mapping[str, str] = {
    "v3.0": "/api/v3.0/integrations/event",
    "v4.0": "/api/v4.0/integrations/events",
    "v4.1": "/api/v4.1/integrations/events",
}
"""Where each version takes events; the tests compare it with the client's own."""

PATIENCE = 10.0
"""Seconds without progress after which a step is given up. The client waits longer; who looks at it does not."""

_EMPTY = b"{}"
_LONGEST_ANSWER = 64 * 1024  # bytes of a body that are read; Gameball's are below 1 KiB


@attrs.frozen(kw_only=True)
class ProbeResponse:
    """What came back.

    Attributes:
        status: the HTTP status.
        code: Gameball's own code; None if the body has none.
        foreign: the type of a successful answer's body that is not JSON; empty if it is.
        date: the header `Date`; None if there is none.
        sent_at: this machine's clock when the request left, in seconds since the Unix epoch.
        came_at: the same when the answer began to come.
    """

    status: int
    code: int | None
    foreign: str
    date: str | None
    sent_at: float
    came_at: float


@attrs.frozen(kw_only=True)
class ProbeResult:
    """How far the request came.

    Attributes:
        scheme: `http` or `https`.
        host: whose name was looked up, if the request goes without a proxy.
        port: where it is to listen.
        path: where events go.
        proxy: host and port of the proxy between; None if there is none.
        proxy_variable: the name of the variable that names it; None if there is none.
        with_key: whether an API key went with it.
        peer: the address that was connected to; None if no connection came about.
        tls: the version that was agreed on; None if none was.
        answer: what came back; None if nothing did.
        error: what ended the way before an answer; None if nothing did.
    """

    scheme: str
    host: str
    port: int
    path: str
    proxy: str | None
    proxy_variable: str | None
    with_key: bool
    peer: str | None = None
    tls: str | None = None
    answer: ProbeResponse | None = None
    error: Exception | None = None

    @property
    def is_loopback(self) -> bool:
        """Whether it ends on this machine."""
        return is_local(f"//[{self.host}]" if ":" in self.host else f"//{self.host}")

    @property
    def is_impossible(self) -> bool:
        """Whether the request could not even be made: what the environment says of proxies or certificates is wrong."""
        return self.error is not None and not isinstance(self.error, httpx.HTTPError)

    @property
    def is_refused_by_proxy(self) -> bool:
        """Whether the proxy ended the way."""
        return isinstance(self.error, httpx.ProxyError)

    def cause(self, kind: type[_Error]) -> _Error | None:
        """The error of a kind behind what ended the way."""
        error: BaseException | None = self.error
        while error is not None:
            if isinstance(error, kind):
                return error
            error = error.__cause__ or error.__context__
        return None

    @property
    def reason(self) -> str:
        """What ended the way, in a few words of the system's."""
        if isinstance(self.error, httpx.TimeoutException):
            return f"nothing came within {PATIENCE:g} s"
        if isinstance(self.error, (httpx.ProxyError, httpx.RemoteProtocolError, ImportError)):
            return printable(str(self.error))
        error = self.cause(OSError)
        # other errors may quote a setting, and so a password
        return printable(error.strerror if error is not None and error.strerror else type(self.error).__name__)


def probe(base_url: str, api_version: str, keys: KeyOptions) -> ProbeResult:
    """Send the one request; whatever happens to it is told by what is returned.

    Args:
        base_url: one that the client accepts.
        api_version: a key of `PATHS`.
        keys: those that can be sent; without an API key the request goes without one.
    """
    parts, path = urlsplit(base_url), PATHS[api_version]
    result = ProbeResult(
        scheme=parts.scheme,
        host=parts.hostname or "",
        port=parts.port or (443 if parts.scheme == "https" else 80),
        path=parts.path.rstrip("/") + path,
        proxy=None,
        proxy_variable=None,
        with_key=keys.api_key is not None,
    )
    steps = _Steps()
    try:
        if (proxy := proxy_for(base_url)) is not None:
            result = attrs.evolve(result, proxy_variable=proxy.variable)
            result = attrs.evolve(result, proxy=proxy.address)  # never more of it, as it may hold a password
        answer = _answer(base_url.rstrip("/") + path, _headers(keys), steps, proxy)
    except (httpx.HTTPError, httpx.InvalidURL, OSError, ValueError, ImportError) as error:
        return attrs.evolve(result, peer=steps.peer, tls=steps.tls, error=error)
    return attrs.evolve(result, peer=steps.peer, tls=steps.tls, answer=answer)


def _headers(keys: KeyOptions) -> dict[str, str]:
    headers = {
        "Content-Type": "application/json",
        "Accept-Encoding": "identity",
        "User-Agent": f"gameball-async/{__version__} doctor",
    }
    named = {"APIKey": keys.api_key, "SecretKey": keys.secret_key}
    return headers | {name: key for name, key in named.items() if key is not None}


def _answer(url: str, headers: Mapping[str, str], steps: _Steps, proxy: Proxy | None) -> ProbeResponse:
    """Make the request.

    Raises:
        httpx.HTTPError: if no answer comes.
        OSError: if the certificates that the environment names cannot be read.
        ValueError: if the proxy that the environment names is no address.
        ImportError: if it is of a kind that needs a further package.
    """
    trust = httpx.create_ssl_context() if urlsplit(url).scheme == "https" else ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    address = None if proxy is None else proxy.url
    with httpx.Client(timeout=PATIENCE, verify=trust, trust_env=False, proxy=address) as client:
        sent_at = time.time()
        with client.stream("POST", url, content=_EMPTY, headers=headers, extensions={"trace": steps}) as response:
            came_at = time.time()
            body, complete = _beginning(response)
            answer = read_answer(response.status_code, response.headers, body, complete=complete, wall_now=came_at)
            return ProbeResponse(
                status=response.status_code,
                code=answer.code,
                foreign=answer.foreign,
                date=response.headers.get("date"),
                sent_at=sent_at,
                came_at=came_at,
            )


class _Steps:
    """Notes how far a request came; httpx calls it with the name of each step, and what the step brought."""

    def __init__(self) -> None:
        self.peer: str | None = None
        self.tls: str | None = None

    def __call__(self, step: str, brought: Mapping[str, Any]) -> None:
        if step.endswith("connect_tcp.complete"):
            address = brought["return_value"].get_extra_info("server_addr")
            self.peer = f"{address[0]} port {address[1]}"
        elif step.endswith("start_tls.complete"):
            tls = brought["return_value"].get_extra_info("ssl_object")
            self.tls = tls.version() or "TLS"


def _beginning(response: httpx.Response) -> tuple[bytes, bool]:
    """As much of the body as is needed, and whether that is all; a status is an answer even if its body never ends."""
    content, until = bytearray(), time.monotonic() + PATIENCE
    try:
        for chunk in response.iter_raw():
            content += chunk
            if len(content) > _LONGEST_ANSWER:
                break
            if time.monotonic() > until:
                return bytes(content), False
    except httpx.TransportError:
        return bytes(content), False
    return bytes(content[:_LONGEST_ANSWER]), True
