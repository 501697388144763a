"""Send one harmless request to Gameball, and report each step: address, DNS, TCP, TLS, response, access, clock.

The request is an empty object, `{}`: it names neither a player nor an event, so nothing in it could be applied, and
Gameball documents how it is refused ("The PlayerUniqueId field is required."). It goes exactly where events go.
"""

from __future__ import annotations

import socket
import ssl
import time
from collections.abc import Iterator, Mapping
from datetime import UTC
from email.utils import parsedate_to_datetime
from ipaddress import ip_address
from typing import Any, TypeVar
from urllib.parse import urlsplit

import attrs
import httpx

from ... import __version__
from ..._core.outcome import AccessProblem, Answer, access_problem, read_answer
from ..._core.redaction import redact_message
from ..._core.wire import LONGEST_ANSWER, dialect
from ..._endpoint import Proxy, is_local, proxy_for
from .._options import SECRET_KEY, KeyOptions
from .._terminal import duration, printable
from ._findings import Finding, fail, ok, skip, warn

_Error = TypeVar("_Error", bound=Exception)

PATIENCE = 10.0
"""Seconds without progress after which a step is given up; shorter than the client's timeout, as a person waits."""

CLOCKS_MAY_DIFFER = 10.0
"""Seconds. A synchronized clock is off by milliseconds, the header has whole seconds, the network takes some.

Beyond that, a `Retry-After` with a date is misread by as much, and so is the age of events in a journal.
"""

_EARLIER_FAILED = "an earlier step failed"


@attrs.frozen(kw_only=True)
class ProbeResponse:
    """Gameball's response."""

    status: int
    meaning: Answer
    date: str | None
    sent_at: float  # seconds since the Unix epoch
    came_at: float


@attrs.frozen(kw_only=True)
class ProbeResult:
    """The steps of the request."""

    scheme: str
    host: str
    port: int
    path: str
    proxy: str | None = None
    proxy_variable: str | None = None
    with_key: bool
    secrets: tuple[str, ...] = attrs.field(default=(), repr=False)
    peer: str | None = None
    tls: str | None = None
    answer: ProbeResponse | None = None
    error: Exception | None = None

    def cause(self, kind: type[_Error]) -> _Error | None:
        """Return the error of this type in the chain of causes."""
        error: BaseException | None = self.error
        while error is not None:
            if isinstance(error, kind):
                return error
            error = error.__cause__ or error.__context__
        return None

    @property
    def reason(self) -> str:
        """The error in a few words of the system."""
        if isinstance(self.error, httpx.TimeoutException):
            return f"no response within {PATIENCE:g} s"
        if isinstance(self.error, (httpx.ProxyError, httpx.RemoteProtocolError, ImportError)):
            return redact_message(str(self.error), self.secrets)  # a server's or a proxy's words are in it
        error = self.cause(OSError)
        # other errors may quote a setting, and so a password
        return printable(error.strerror if error is not None and error.strerror else type(self.error).__name__)


def probe(base_url: str, api_version: str, keys: KeyOptions) -> ProbeResult:
    """Send the request; errors are part of the result."""
    parts, path = urlsplit(base_url), dialect(api_version).path
    result = ProbeResult(
        scheme=parts.scheme,
        host=parts.hostname or "",
        port=parts.port or (443 if parts.scheme == "https" else 80),
        path=parts.path.rstrip("/") + path,
        with_key=keys.api_key is not None,
        secrets=tuple(keys.secrets()),
    )
    headers = dialect(api_version).headers(keys.api_key or "", keys.secret_key)
    headers |= {"Accept-Encoding": "identity", "User-Agent": f"gameball-async/{__version__} doctor"}
    if keys.api_key is None:
        del headers["APIKey"]
    steps = _Steps()
    try:
        if (proxy := proxy_for(base_url)) is not None:
            result = attrs.evolve(result, proxy_variable=proxy.variable)
            result = attrs.evolve(result, proxy=proxy.address)  # its address only, as the URL may contain a password
        answer = _send(base_url.rstrip("/") + path, headers, steps, proxy, result.secrets)
    except (httpx.HTTPError, httpx.InvalidURL, OSError, ValueError, ImportError) as error:
        return attrs.evolve(result, peer=steps.peer, tls=steps.tls, error=error)
    return attrs.evolve(result, peer=steps.peer, tls=steps.tls, answer=answer)


def _send(
    url: str, keys: Mapping[str, str], steps: _Steps, proxy: Proxy | None, secrets: tuple[str, ...]
) -> ProbeResponse:
    trust = httpx.create_ssl_context() if urlsplit(url).scheme == "https" else ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    address = None if proxy is None else proxy.url
    with httpx.Client(timeout=PATIENCE, verify=trust, trust_env=False, proxy=address) as client:
        sent_at = time.time()
        with client.stream("POST", url, content=b"{}", headers=keys, extensions={"trace": steps}) as response:
            came_at = time.time()
            body, complete = read_body(response, LONGEST_ANSWER)
            status, headers = response.status_code, response.headers
            meaning = read_answer(status, headers, body, complete=complete, wall_now=came_at, secrets=secrets)
            date = headers.get("date")
            return ProbeResponse(status=status, meaning=meaning, date=date, sent_at=sent_at, came_at=came_at)


class _Steps:
    """Record the steps of a request; httpx calls it with the name of each step and its result."""

    def __init__(self) -> None:
        self.peer: str | None = None
        self.tls: str | None = None

    def __call__(self, step: str, info: Mapping[str, Any]) -> None:
        if step.endswith("connect_tcp.complete"):
            address = info["return_value"].get_extra_info("server_addr")
            self.peer = f"{address[0]} port {address[1]}"
        elif step.endswith("start_tls.complete"):
            tls = info["return_value"].get_extra_info("ssl_object")
            self.tls = tls.version() or "TLS"


def read_body(response: httpx.Response, longest: int) -> tuple[bytes, bool]:
    """Return the body as it was received, and whether it is complete; a status is an answer even without a body.

    Args:
        response: a response whose body was not read.
        longest: bytes after which the rest is not read, and does not count.
    """
    content, until = bytearray(), time.monotonic() + PATIENCE
    try:
        for chunk in response.iter_raw():
            content += chunk
            if len(content) > longest:
                break
            if time.monotonic() > until:
                return bytes(content), False
    except httpx.TransportError:
        return bytes(content), False
    return bytes(content[:longest]), True


_WRONG_DATE = "Check the date of this machine; if it is right, the server's certificate has to be renewed."
_OTHER_HOST = "Check the host in --base-url."
_TRUST_REMEDIES = {  # by OpenSSL's X509_V_ERR_…
    9: _WRONG_DATE,  # not yet valid
    10: _WRONG_DATE,  # expired
    62: _OTHER_HOST,  # by its name
    64: _OTHER_HOST,  # by its address
}
_UNKNOWN_AUTHORITY = (
    "If a proxy of your company signs it, let SSL_CERT_FILE name a file with its authority's certificate."
)


def findings(result: ProbeResult) -> Iterator[Finding]:
    """Report each step in order."""
    if result.error is not None and not isinstance(result.error, httpx.HTTPError):
        yield fail(
            "address",
            f"no request can be made with the settings of the environment ({result.reason})",
            _correction(result),
        )
        return
    for check in (_address, _dns, _tcp, _tls, _answer, _access, _clock):
        yield check(result)


def _correction(result: ProbeResult) -> str:
    """Name the wrong variable, without its value, which may contain a password."""
    if isinstance(result.error, ImportError):
        return f'{result.proxy_variable} names a SOCKS proxy: pip install "httpx[socks]".'
    if result.proxy_variable is None or isinstance(result.error, OSError):
        return "Correct SSL_CERT_FILE or SSL_CERT_DIR, or unset it."
    return f"Correct {result.proxy_variable}: it must be an address such as http://proxy.example:3128."


def _address(result: ProbeResult) -> Finding:
    port = "" if result.port in (80, 443) else f":{result.port}"
    host = f"[{result.host}]" if ":" in result.host else result.host
    words = f"{result.scheme}://{host}{port}{result.path}"
    if result.proxy is not None:
        words += f", through the proxy {result.proxy}"
    if result.scheme == "http" and not is_local(f"//{host}"):
        return warn("address", f"{words}: not encrypted, so the key can be read on the way", "Use https.")
    return ok("address", words)


def _dns(result: ProbeResult) -> Finding:
    check = "dns"
    if result.proxy is not None:
        return skip(check, "the proxy looks the name up")
    if _is_ip(result.host):
        return ok(check, f"{result.host} needs no lookup")
    if (error := result.cause(socket.gaierror)) is not None:
        return fail(
            check,
            f"the name {result.host} cannot be looked up ({error.strerror})",
            "Check this machine's network and DNS, and the spelling of --base-url if you gave one.",
        )
    return ok(check, f"the name {result.host} is known")


def _tcp(result: ProbeResult) -> Finding:
    check, target = "tcp", result.proxy or f"{result.host} port {result.port}"
    if result.peer is not None:
        return ok(check, f"connected to {result.peer}")
    if result.proxy is None and result.cause(socket.gaierror) is not None:
        return skip(check, _EARLIER_FAILED)
    remedy = f"Allow outgoing connections to port {result.port}, or name your proxy in {result.scheme.upper()}_PROXY."
    if result.cause(ConnectionRefusedError):
        remedy = "Nothing listens there: start it, or correct --base-url."
    if result.proxy is not None:
        remedy = f"Check the proxy that {result.proxy_variable} names, or name the host in NO_PROXY."
    return fail(check, f"no connection to {target} ({result.reason})", remedy)


def _tls(result: ProbeResult) -> Finding:
    check = "tls"
    if result.scheme == "http":
        return skip(check, "the address is http")
    if result.tls is not None:
        return ok(check, f"{result.tls}, with a trusted certificate")
    if result.peer is None:
        return skip(check, _EARLIER_FAILED)
    if isinstance(result.error, httpx.ProxyError):
        return fail(
            check,
            f"the proxy {result.proxy} refuses ({result.reason})",
            f"Let it connect to {result.host}, or give {result.proxy_variable} its user and password.",
        )
    if (error := result.cause(ssl.SSLCertVerificationError)) is not None:
        remedy = _TRUST_REMEDIES.get(error.verify_code, _UNKNOWN_AUTHORITY)
        return fail(check, f"the certificate is not trusted: {error.verify_message}", remedy)
    return fail(
        check,
        f"TLS handshake failed ({result.reason})",
        "Check scheme and port of --base-url: does the server speak TLS there?",
    )


def _is_ip(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True


_REDIRECT, _REFUSAL, _FAILURE = range(300, 400), range(400, 500), range(500, 600)
_TOO_MANY = 429


def _answer(result: ProbeResult) -> Finding:
    if result.answer is None:
        if result.peer is None or (result.scheme == "https" and result.tls is None):
            return skip("answer", _EARLIER_FAILED)
        return fail(
            "answer",
            f"connected, but no response ({result.reason})",
            "Try again in a minute. Events are kept until then.",
        )
    return _meaning(result.answer)


def _meaning(response: ProbeResponse) -> Finding:
    """Return what a response to the empty request means; `access` reports a denied one."""
    check = "answer"
    status, code, foreign = response.status, response.meaning.code, response.meaning.foreign
    summary = f"HTTP {status}" + (f" with code {code}" if code is not None else "")
    summary += f" with {foreign}" if foreign else ""
    match status:
        case 401 | 403:
            finding = ok(check, summary)
        case 429:
            remedy = "Give each process of the account its --share. The events wait, they are not lost."
            finding = warn(check, f"{summary}: the rate limit is used up", remedy)
        case 407:
            remedy = "Give them in HTTPS_PROXY or HTTP_PROXY, or list the host in NO_PROXY."
            finding = fail(check, f"{summary}: a proxy requires a user and a password", remedy)
        case 404 | 405 if code is None or status == 405:  # noqa: PLR2004 a 404 with a code is Gameball's
            finding = fail(check, f"{summary}: nothing takes events there", "Check --base-url and --api-version.")
        case _ if status in _REFUSAL:
            finding = ok(check, f"{summary}: an empty request is refused, as it should be")
        case _ if status in _FAILURE:
            finding = fail(check, f"{summary}: Gameball fails", "Try again later. Events are kept until then.")
        case _ if status in _REDIRECT:
            words = f"{summary}: a redirect, which the client does not follow, as it would send the key there"
            finding = fail(check, words, "Give the address it points to as --base-url, if it is Gameball's.")
        case _ if foreign:
            remedy = "Check --base-url, and whether a login page or a proxy is in between."
            finding = fail(check, f"{summary} instead of JSON: this is not Gameball's API", remedy)
        case _:
            words = f"{summary} to an empty request, which Gameball refuses"
            finding = warn(check, words, "Check --base-url: is that Gameball's API?")
    return finding


def _denied(problem: AccessProblem) -> Finding:
    match problem:
        case AccessProblem.KEY | AccessProblem.FORBIDDEN:
            words = "Gameball does not accept the key"
            remedy = (
                "Copy it again from Gameball's dashboard: renewed keys stop working at once. With two keys set, check "
                "that they are not swapped."
            )
        case AccessProblem.SECRET_KEY:
            words = "Gameball wants a secret key, or another one"
            remedy = f"Set {SECRET_KEY}: v4.1 needs it, and so does an account in High Security Mode."
        case AccessProblem.DISABLED:
            words = "Gameball is disabled for this account"
            remedy = "Enable it in Gameball's dashboard. Events are kept until then."
        case AccessProblem.PLAN:
            words, remedy = "the account's plan does not include this", "Ask Gameball, or choose another plan."
    return fail("access", words, remedy)


def _access(result: ProbeResult) -> Finding:
    response = result.answer
    if not result.with_key:
        return skip("access", "there is no key to try")
    if response is None:
        return skip("access", "there is no response")
    if (problem := access_problem(response.meaning)) is not None:
        return _denied(problem)
    if response.status in _REFUSAL and response.meaning.code is not None and response.status != _TOO_MANY:
        return ok("access", "the key is accepted for an empty request; the first event proves it")
    return skip("access", "the response says nothing about the key")


def _clock(result: ProbeResult) -> Finding:
    check, response = "clock", result.answer
    if response is None or response.date is None:
        return skip(check, "there is no response" if response is None else "the response has no date")
    try:
        date = parsedate_to_datetime(response.date)
        theirs = (date if date.tzinfo else date.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        return skip(check, "the response's date is malformed")
    # the header has whole seconds, of some moment between both of ours
    ahead, behind = response.sent_at - (theirs + 1), theirs - response.came_at
    if max(ahead, behind) <= CLOCKS_MAY_DIFFER:
        return ok(check, f"agrees with the server's, within {CLOCKS_MAY_DIFFER:g} s")
    words = f"{duration(ahead)} ahead of" if ahead > behind else f"{duration(behind)} behind"
    return warn(
        check,
        f"is {words} the server's",
        "Let NTP set it: a Retry-After with a date, and the age of events in a journal, are wrong by as much.",
    )
