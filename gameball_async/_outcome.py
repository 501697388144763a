"""What Gameball's answer means: status, headers and body become one verdict, by one table.

The table is `gameball-api.md`'s section 8: the code decides where the body has one, else the status.
Every field of a body is optional, and a body may be anything: empty, HTML, cut short.
"""

from __future__ import annotations

import json
import re
from codecs import BOM_UTF8
from collections.abc import Iterable, Mapping
from datetime import UTC
from email.utils import parsedate_to_datetime
from typing import cast

from ._verdict import Answer, Verdict

LONGEST_WORDS = 200
"""Characters of the server's own words that are kept for a message."""


_BY_CODE = {
    50: Verdict.HALT,  # v3: Gameball is disabled
    1000: Verdict.HALT,  # bad or missing API key
    1001: Verdict.HALT,  # secret key required
    1002: Verdict.HALT,  # forbidden
    1006: Verdict.HALT,  # secret key required, on one page
    2001: Verdict.BUSY,
    5000: Verdict.FAILED,  # Gameball's own word for a failure; only a bare 500 is ambiguous
    5003: Verdict.FAILED,
    6000: Verdict.HALT,  # Gameball is disabled
    8000: Verdict.HALT,  # the feature is not in the plan
}

_BY_STATUS = {
    401: Verdict.HALT,
    403: Verdict.HALT,
    404: Verdict.HALT,  # a wrong route answers an empty 404; Gameball's own 404 has a code
    405: Verdict.HALT,  # likewise: this is not Gameball's address
    408: Verdict.FAILED,
    425: Verdict.FAILED,
    429: Verdict.RATE_LIMITED,
    500: Verdict.AMBIGUOUS,
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
) -> Answer:
    """Read one answer.

    Args:
        status: the HTTP status.
        headers: the HTTP headers, with case-insensitive or lower-case names.
        body: the body, or as much of it as was read.
        complete: whether the connection delivered the body to its end.
        wall_now: seconds since the Unix epoch, for a `Retry-After` that is a date.
        secrets: what must not appear in the words, such as the keys.
    """
    content = _content(body)
    code = _integer(_first(content, "code", "errorCode", "ErrorCode"))
    if code == status:
        code = None  # a gateway's JSON; Gameball's codes are never statuses
    words = _first(content, "message", "errorMsg", "ErrorMsg")
    return Answer(
        verdict=_verdict(status, code, content, body, complete=complete),
        status=status,
        code=code,
        words=clean_words(words, secrets) if isinstance(words, str) else "",
        retry_after=parse_retry_after(headers.get("retry-after"), wall_now),
    )


def _verdict(status: int, code: int | None, content: dict[str, object], body: bytes, *, complete: bool) -> Verdict:
    if status in _SUCCESS and _first(content, "success", "Success") is not False:
        return Verdict.DELIVERED
    if code in _BY_CODE:
        return _BY_CODE[code]
    by_status = _BY_STATUS_WITH_CODE if code is not None else _BY_STATUS
    if status in by_status and (complete or not _code_may_be_cut_off(status, body)):
        return by_status[status]
    if status in _REFUSAL or status in _SUCCESS:
        # a refusal whose code was cut off may have been a 2001; it was not applied, so asking again is safe
        return Verdict.REFUSED if complete else Verdict.FAILED
    return Verdict.FAILED if status in _FAILURE else Verdict.HALT


def _code_may_be_cut_off(status: int, body: bytes) -> bool:
    """Whether a 404 began to say something: with a code it would be about the event, not about the address."""
    return status == 404 and bool(body)  # noqa: PLR2004


def _content(body: bytes) -> dict[str, object]:
    try:
        # not msgspec: a code must be found in nearly-JSON too, with a byte order mark or a lone surrogate
        content: object = json.loads(body.removeprefix(BOM_UTF8))
    except (ValueError, RecursionError):
        return {}
    return cast("dict[str, object]", content) if isinstance(content, dict) else {}


def _first(content: dict[str, object], *keys: str) -> object:
    return next((content[key] for key in keys if content.get(key) is not None), None)


def _integer(value: object) -> int | None:
    if isinstance(value, str) and re.fullmatch(r"[0-9]{1,9}", value):
        return int(value) or None
    return value if isinstance(value, int) and not isinstance(value, bool) and value else None


def parse_retry_after(value: str | None, wall_now: float) -> float | None:
    """Seconds to wait by a `Retry-After` header, at least 0; None if there is none that can be read.

    Args:
        value: whole seconds, decimal seconds (not in the standard, but seen), or an HTTP date.
        wall_now: seconds since the Unix epoch.
    """
    if value is None:
        return None
    value = value.strip()
    if re.fullmatch(r"[+-]?[0-9]+(\.[0-9]*)?", value):
        return max(0.0, float(value))  # digits without end become inf, which the gate caps
    try:
        date = parsedate_to_datetime(value)
        date = date if date.tzinfo else date.replace(tzinfo=UTC)
        return max(0.0, date.timestamp() - wall_now)
    except (ValueError, TypeError, IndexError, OverflowError):
        return None


_PERSONAL = re.compile(r"[^\s\"'<>(),;:]+@[^\s\"'<>(),;:]+|\+?\d(?:[\s().-]{0,2}\d){6,}")
"""What looks like an e-mail address or a phone number: a server may echo them in its words."""


_SHORTEST_SECRET = 3  # a player's id may be "1", and masking every 1 would help nobody


def clean_words(words: str, secrets: Iterable[str] = ()) -> str:
    """Make foreign words fit for a log: short, on one line, without keys and personal data."""
    for secret in secrets:
        words = (
            re.sub(re.escape(secret), "***", words, flags=re.IGNORECASE) if len(secret) >= _SHORTEST_SECRET else words
        )
    words = _PERSONAL.sub("***", words[: 10 * LONGEST_WORDS])
    words = " ".join("".join(char if char.isprintable() else " " for char in words).split())
    return words if len(words) <= LONGEST_WORDS else words[: LONGEST_WORDS - 1] + "…"
