"""What one attempt showed, in the terms of this library: about its batch, and about the server."""

from __future__ import annotations

import json
import re
from codecs import BOM_UTF8
from collections.abc import Iterable, Mapping
from datetime import UTC
from enum import Enum, auto
from typing import cast

import msgspec

from .redaction import redact_message
from .wire import LONGEST_ANSWER, decode_body


class Decision(Enum):
    """What becomes of the batch."""

    DELIVERED = auto()
    REFUSED = auto()
    """Gameball will not take it as it is: split it, or reject its last event."""
    BUSY = auto()
    """Another request for the same player is under way: a short wait, and it goes again."""
    FAILED = auto()
    """It was not applied: it goes again, and again."""
    AMBIGUOUS = auto()
    """It is unknown whether it was applied."""
    RATE_LIMITED = auto()
    """It was not applied, and nothing may be sent for a while."""
    HALT = auto()
    """Not this batch but this client is refused."""
    INTERRUPTED = auto()
    """It was cancelled here on its way; like AMBIGUOUS, and it says nothing about the server."""
    NOT_SENT = auto()
    """It was cancelled here before its first byte."""

    @property
    def label(self) -> str:
        """Its name in words, as people read it."""
        return self.name.lower().replace("_", " ")


FAILURES = frozenset({Decision.FAILED, Decision.AMBIGUOUS})
"""What a server brings about that is in trouble or cannot be reached."""


class ServerHealth(Enum):
    """What an attempt says about the server, apart from its own batch."""

    WORKING = auto()
    """It answered as a server does that works; a refusal is such an answer."""
    TROUBLED = auto()
    """It failed, or could not be reached."""
    PAUSE = auto()
    """It asked for a pause: a 429, or any Retry-After."""
    HALT = auto()
    """It refuses this client: key, plan, version or account."""
    NONE = auto()
    """The attempt was interrupted here and says nothing."""


HEALTH = {
    Decision.DELIVERED: ServerHealth.WORKING,
    Decision.REFUSED: ServerHealth.WORKING,
    Decision.BUSY: ServerHealth.WORKING,
    Decision.FAILED: ServerHealth.TROUBLED,
    Decision.AMBIGUOUS: ServerHealth.TROUBLED,
    Decision.RATE_LIMITED: ServerHealth.PAUSE,
    Decision.HALT: ServerHealth.HALT,
    Decision.INTERRUPTED: ServerHealth.NONE,
    Decision.NOT_SENT: ServerHealth.NONE,
}
"""What each verdict says about the server."""


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """One attempt's result, in the terms of this library.

    Attributes:
        verdict: what becomes of the batch.
        status: the HTTP status; None if there was no answer.
        code: Gameball's error code, if the body had one.
        words: the server's or the transport's own words, cleaned.
        retry_after: seconds that the server asked to wait, if it did.
        foreign: the type of a successful answer's body that is not JSON, as Gameball's are; empty if it is.
        content: the JSON object of the body, if it was asked for; else empty.
    """

    verdict: Decision
    status: int | None = None
    code: int | None = None
    words: str = ""
    retry_after: float | None = None
    foreign: str = ""
    content: dict[str, object] = {}

    @property
    def health(self) -> ServerHealth:
        """What it says about the server."""
        if self.retry_after is not None and self.verdict is not Decision.HALT:
            return ServerHealth.PAUSE
        return HEALTH[self.verdict]

    @property
    def summary(self) -> str:
        """Status, code and words in one phrase."""
        parts = [f"HTTP {self.status}" if self.status else "no answer"]
        if self.code is not None:
            parts.append(f"code {self.code}")
        return ", ".join(parts) + (f": {self.words}" if self.words else "")


class AccessProblem(Enum):
    """Why Gameball denies access, and the remedy."""

    KEY = "Gameball does not accept the API key. Copy it again from Gameball's dashboard"
    SECRET_KEY = "Gameball wants the secret key, or another one. Set secret_key"  # noqa: S105 no password
    FORBIDDEN = "Gameball forbids it. Check the API key, secret_key, and the versions that the account allows"
    DISABLED = "Gameball is disabled for this account. Enable it in Gameball's dashboard"
    PLAN = "The account's plan does not contain this. Choose another api_version or another plan"


_ACCESS_BY_CODE = {
    50: AccessProblem.DISABLED,  # v3
    1000: AccessProblem.KEY,
    1001: AccessProblem.SECRET_KEY,
    1002: AccessProblem.FORBIDDEN,
    1006: AccessProblem.SECRET_KEY,  # on one page
    6000: AccessProblem.DISABLED,
    8000: AccessProblem.PLAN,
}
_ACCESS_BY_STATUS = {401: AccessProblem.KEY, 403: AccessProblem.FORBIDDEN}

_BY_CODE = {
    **dict.fromkeys(_ACCESS_BY_CODE, Decision.HALT),
    2001: Decision.BUSY,
    5000: Decision.FAILED,  # Gameball's own word for a failure; only a bare 500 is ambiguous
    5003: Decision.FAILED,
}
"""What a code means. One that is not here, such as a new reason to reject an event, is decided by the status."""

_BY_STATUS = {
    **dict.fromkeys(_ACCESS_BY_STATUS, Decision.HALT),
    404: Decision.HALT,  # a wrong route answers an empty 404; Gameball's own 404 has a code
    405: Decision.HALT,  # likewise: this is not Gameball's address
    407: Decision.HALT,  # a proxy's answer: no event is to blame
    408: Decision.FAILED,
    425: Decision.FAILED,
    429: Decision.RATE_LIMITED,
    500: Decision.AMBIGUOUS,
}

_BY_STATUS_WITH_CODE = {status: verdict for status, verdict in _BY_STATUS.items() if status not in (404, 500)}
"""With a code, a 404 is about what was sent, and a 500 is Gameball's own word for a failure."""

_SUCCESS = range(200, 300)
_REFUSAL = range(400, 500)
_FAILURE = range(500, 600)
# any other status halts: a redirect is not followed, because the keys would go with it


def read_answer(
    status: int,
    headers: Mapping[str, str],
    body: bytes,
    *,
    complete: bool,
    wall_now: float,
    secrets: Iterable[str] = (),
    limit: int = LONGEST_ANSWER,
    keeps_content: bool = False,
) -> Answer:
    """Read one answer.

    Args:
        status: the HTTP status.
        headers: the HTTP headers, with case-insensitive or lower-case names.
        body: the body as it was received, perhaps compressed, or as much of it as was read.
        complete: whether the connection delivered the body to its end.
        wall_now: seconds since the Unix epoch, for a `Retry-After` that is a date.
        secrets: what must not appear in the words, such as the keys.
        limit: bytes of a decoded body that are looked at.
        keeps_content: whether the answer has the body's content.
    """
    if coding := headers.get("content-encoding"):
        body, is_decoded = decode_body(body, coding, limit)
        complete = complete and is_decoded
    try:
        # not msgspec: a code must be found in nearly-JSON too, with a byte order mark or a lone surrogate
        parsed = json.loads(body.removeprefix(BOM_UTF8))
    except (ValueError, RecursionError):
        parsed = _NOT_JSON
    content = cast("dict[str, object]", parsed) if isinstance(parsed, dict) else {}
    error = _error(content) if content else content
    code = (_integer(_first(content, *_CODE)) or _integer(_first(error, *_CODE))) if content else None
    if code == status:
        code = None  # a gateway's JSON; Gameball's codes are never statuses
    foreign = "" if parsed is not _NOT_JSON else _foreign(headers.get("content-type", ""), body, complete=complete)
    if status in _SUCCESS and not (content and _is_failure(content, error)):
        verdict = Decision.HALT if foreign and _is_page(foreign, body) else Decision.DELIVERED
    else:
        verdict = _verdict(status, code, body, complete=complete)
    words = None
    if verdict is not Decision.DELIVERED:  # a success needs no message, and redaction is slow
        words = _first(content, *_WORDS) or _first(error, *_WORDS)
    return Answer(
        verdict=verdict,
        status=status,
        code=code,
        words=redact_message(words, secrets) if isinstance(words, str) else "",
        retry_after=parse_retry_after(asked, wall_now) if (asked := headers.get("retry-after")) else None,
        foreign=redact_message(foreign, secrets) if foreign and status in _SUCCESS else "",
        content=content if keeps_content else {},
    )


_CODE = ("code", "errorCode", "ErrorCode")
_WORDS = ("message", "errorMsg", "ErrorMsg")


_NOT_HERE = "Nothing takes events at this address. Check base_url and api_version"
_REMEDY_BY_STATUS = {
    404: _NOT_HERE,
    405: _NOT_HERE,
    407: "A proxy wants a user and a password. Check HTTPS_PROXY and HTTP_PROXY, or list the host in NO_PROXY",
}
_REDIRECT = range(300, 400)


def access_problem(answer: Answer) -> AccessProblem | None:
    """Return why Gameball denies access, by the code or else the status of an answer."""
    if answer.code in _ACCESS_BY_CODE:
        return _ACCESS_BY_CODE[answer.code]
    return _ACCESS_BY_STATUS.get(answer.status) if answer.status is not None else None


def halt_remedy(answer: Answer) -> str:
    """Say what is wrong with the client if an answer halts it, and how to fix it: key, address or account."""
    if (problem := access_problem(answer)) is not None:
        return problem.value
    if answer.status in _REMEDY_BY_STATUS:
        return _REMEDY_BY_STATUS[answer.status]
    if answer.foreign:
        return (
            f"The answer is a page ({answer.foreign}) and not Gameball's. Check base_url, and whether a login page or "
            "a proxy is in between"
        )
    if answer.status in _REDIRECT:
        return "The address redirects, which is not followed because the keys would go with it. Correct base_url"
    if answer.code is not None:
        return "Check the API key, secret_key and the account"
    return "The answer is not Gameball's. Check base_url"


def _verdict(status: int, code: int | None, body: bytes, *, complete: bool) -> Decision:
    """What a failure means for its batch; a success whose body says that it failed is a refusal."""
    if code in _BY_CODE:
        return _BY_CODE[code]
    by_status = _BY_STATUS_WITH_CODE if code is not None else _BY_STATUS
    is_cut_404 = status == 404 and body and not complete  # noqa: PLR2004 with a code it would be about the event
    if status in by_status and not is_cut_404:
        return by_status[status]
    if status in _REFUSAL or status in _SUCCESS:
        # a refusal whose code was cut off may have been a 2001; it was not applied, so asking again is safe
        return Decision.REFUSED if complete else Decision.FAILED
    return Decision.FAILED if status in _FAILURE else Decision.HALT


def _is_failure(content: dict[str, object], error: dict[str, object]) -> bool:
    """Whether the body of a 2xx says that the request failed."""
    success = _first(content, "success", "Success")
    if success is None:
        return _integer(_first(error, *_CODE)) is not None
    return success in (False, 0) or (isinstance(success, str) and success.strip().lower() in ("false", "0"))


def _error(content: dict[str, object]) -> dict[str, object]:
    """The object that describes the error, where the body has one: `{"error": {"code": 2001}}`."""
    error = _first(content, "error", "Error", "errors", "Errors")
    if isinstance(error, list):
        error = next(iter(cast("list[object]", error)), None)
    return cast("dict[str, object]", error) if isinstance(error, dict) else {}


# ---------------------------------------------------------------- bodies that are not Gameball's

_NOT_JSON = object()
_PAGES = ("text/html", "application/xhtml+xml")


def _foreign(content_type: str, body: bytes, *, complete: bool) -> str:
    """Return the type of a body that is not JSON; empty if it may be the beginning of JSON."""
    if not _text_of(body):
        return ""
    declared = re.sub(r"[^\x21-\x7e]", "", content_type.partition(";")[0]).lower()[:_LONGEST_TYPE]
    is_page = _is_page(declared, body)
    if not complete and not is_page:
        return ""
    return declared or ("text/html" if is_page else "an unnamed type")


def _is_page(content_type: str, body: bytes) -> bool:
    """Whether a body is a page for people: of a login, a captive portal, or another server's."""
    return content_type in _PAGES or _text_of(body).startswith(b"<")


def _text_of(body: bytes) -> bytes:
    return body[:100].lstrip(b"\xef\xbb\xbf\xff\xfe\x00 \t\r\n")


_LONGEST_TYPE = 60


# ---------------------------------------------------------------- fields


def _first(content: dict[str, object], *keys: str) -> object:
    for key in keys:
        if (value := content.get(key)) is not None:
            return value
    return None


def _integer(value: object) -> int | None:
    if isinstance(value, str) and re.fullmatch(r"[0-9]{1,9}", value):
        return int(value) or None
    return value if isinstance(value, int) and not isinstance(value, bool) and value else None


def parse_retry_after(value: str | None, wall_now: float) -> float | None:
    """Seconds to wait by a `Retry-After` header, at least 0; None without a readable one.

    Args:
        value: whole seconds, decimal seconds (not in the standard, but seen), or an HTTP date.
        wall_now: seconds since the Unix epoch.
    """
    if value is None:
        return None
    from email.utils import parsedate_to_datetime  # noqa: PLC0415 rarely needed, and httpx has imported it

    value = value.strip()
    if re.fullmatch(r"[+-]?[0-9]+(\.[0-9]*)?", value):
        return max(0.0, float(value))  # very long numbers become inf, which the breaker caps
    try:
        date = parsedate_to_datetime(value)
        date = date if date.tzinfo else date.replace(tzinfo=UTC)
        return max(0.0, date.timestamp() - wall_now)
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
