"""One request to Gameball that can change nothing, and what it met on its way; what that means is said elsewhere.

The request is an empty one, `{}`: it names neither a player nor an event, so nothing in it could be applied, and
Gameball's pages say how it is refused ("The PlayerUniqueId field is required."). It goes exactly where events go.
"""

from __future__ import annotations

import ssl
import time
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlsplit

import attrs
import httpx

from ... import __version__
from ..._core.outcome import read_answer
from ..._proxies import Proxy, is_local, proxy_for
from .._terminal import printable

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .._keys import KeyOptions


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
