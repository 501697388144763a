"""What the simulated Gameball can answer, as one table: what is sent, whether it was applied, what it must mean.

The meanings are an own reading of the API's facts, not the client's table.
"""

from __future__ import annotations

from enum import Enum, auto

import attrs
import httpx


class Meaning(Enum):
    """What a client has to conclude from a reply."""

    DELIVERED = auto()
    REFUSED = auto()
    """For good: split, or reject."""
    BUSY = auto()
    FAILED = auto()
    """Not applied."""
    AMBIGUOUS = auto()
    LIMITED = auto()
    HALT = auto()
    INTERRUPTED = auto()
    """The client hung up."""


RETRIABLE = frozenset(Meaning) - {Meaning.DELIVERED, Meaning.REFUSED}
UNSETTLED = frozenset({Meaning.AMBIGUOUS, Meaning.INTERRUPTED})
"""Nobody can tell whether the request was applied."""


@attrs.frozen(kw_only=True)
class Reply:
    """One way to answer.

    Attributes:
        meaning: what the client must conclude.
        applies: whether the events count although the answer may say or do otherwise.
        status: the HTTP status; None if there is none.
        body: the answer's body.
        cut: whether the connection breaks before the body's end.
        retry_after: the `Retry-After` header; "date" for one seven seconds from now.
        pause: the seconds that this header asks for.
        error: what the transport raises instead of answering.
        hangs: whether no answer ever comes.
    """

    meaning: Meaning
    applies: bool = False
    status: int | None = None
    body: bytes = b""
    cut: bool = False
    retry_after: str | None = None
    pause: float | None = None
    error: type[Exception] | None = None
    hangs: bool = False

    @property
    def solo_failures(self) -> bool:
        """Whether enough of these may be the batch's own fault."""
        return self.status is not None and self.meaning in (Meaning.FAILED, Meaning.AMBIGUOUS)


def _code(code: int | str, words: str = "no") -> bytes:
    return f'{{"code":{code},"message":"{words}"}}'.encode()


_HTML = b"<html><body>nginx</body></html>"

REPLIES = {
    # delivered
    "ok": Reply(meaning=Meaning.DELIVERED, applies=True, status=200, body=b'{"success":true}'),
    "created": Reply(meaning=Meaning.DELIVERED, applies=True, status=201),
    "ok_words": Reply(meaning=Meaning.DELIVERED, applies=True, status=200, body=b"OK"),
    "ok_cut": Reply(meaning=Meaning.DELIVERED, applies=True, status=200, body=b'{"success":true}', cut=True),
    "ok_later": Reply(meaning=Meaning.DELIVERED, applies=True, status=200, retry_after="5", pause=5),
    # refused
    "not_success": Reply(meaning=Meaning.REFUSED, status=200, body=b'{"success":false,"errorMsg":"no"}'),
    "bad": Reply(meaning=Meaning.REFUSED, status=400, body=_code(3000)),
    "name_too_long": Reply(meaning=Meaning.REFUSED, status=422, body=_code(3006)),
    "too_large": Reply(meaning=Meaning.REFUSED, status=413),
    "not_found": Reply(meaning=Meaning.REFUSED, status=404, body=_code(3017)),
    "bad_later": Reply(meaning=Meaning.REFUSED, status=400, body=_code(3000), retry_after="3", pause=3),
    # busy
    "busy": Reply(meaning=Meaning.BUSY, status=422, body=_code(2001)),
    "busy_400": Reply(meaning=Meaning.BUSY, status=400, body=_code('"2001"')),
    "busy_later": Reply(meaning=Meaning.BUSY, status=422, body=_code(2001), retry_after="2", pause=2),
    # failed, not applied
    "error_5000": Reply(meaning=Meaning.FAILED, status=500, body=_code(5000)),
    "gateway": Reply(meaning=Meaning.FAILED, status=502, body=_HTML),
    "unavailable": Reply(meaning=Meaning.FAILED, status=503, body=_code(5003)),
    "unavailable_later": Reply(meaning=Meaning.FAILED, status=503, body=_code(5003), retry_after="30", pause=30),
    "gateway_timeout": Reply(meaning=Meaning.FAILED, status=504),
    "request_timeout": Reply(meaning=Meaning.FAILED, status=408),
    "bad_cut": Reply(meaning=Meaning.FAILED, status=422, body=_code(2001), cut=True),
    "connect_error": Reply(meaning=Meaning.FAILED, error=httpx.ConnectError),
    "connect_timeout": Reply(meaning=Meaning.FAILED, error=httpx.ConnectTimeout),
    "pool_timeout": Reply(meaning=Meaning.FAILED, error=httpx.PoolTimeout),
    # ambiguous
    "bare_500": Reply(meaning=Meaning.AMBIGUOUS, status=500),
    "bare_500_applied": Reply(meaning=Meaning.AMBIGUOUS, applies=True, status=500, body=_HTML),
    "reset": Reply(meaning=Meaning.AMBIGUOUS, error=httpx.ReadError),
    "reset_applied": Reply(meaning=Meaning.AMBIGUOUS, applies=True, error=httpx.ReadError),
    "write_error": Reply(meaning=Meaning.AMBIGUOUS, error=httpx.WriteError),
    "closed_applied": Reply(meaning=Meaning.AMBIGUOUS, applies=True, error=httpx.RemoteProtocolError),
    "read_timeout": Reply(meaning=Meaning.AMBIGUOUS, error=httpx.ReadTimeout),
    "read_timeout_applied": Reply(meaning=Meaning.AMBIGUOUS, applies=True, error=httpx.ReadTimeout),
    "odd": Reply(meaning=Meaning.AMBIGUOUS, error=ValueError),
    "hang": Reply(meaning=Meaning.AMBIGUOUS, hangs=True),
    "hang_applied": Reply(meaning=Meaning.AMBIGUOUS, applies=True, hangs=True),
    # limited
    "limited": Reply(meaning=Meaning.LIMITED, status=429),
    "limited_2": Reply(meaning=Meaning.LIMITED, status=429, retry_after="2", pause=2),
    "limited_1_5": Reply(meaning=Meaning.LIMITED, status=429, body=_HTML, retry_after="1.5", pause=1.5),
    "limited_date": Reply(meaning=Meaning.LIMITED, status=429, retry_after="date", pause=7),
    "limited_past": Reply(meaning=Meaning.LIMITED, status=429, retry_after="-3"),
    "limited_words": Reply(meaning=Meaning.LIMITED, status=429, retry_after="soon"),
    "limited_endless": Reply(meaning=Meaning.LIMITED, status=429, retry_after="9" * 400, pause=300),
    # halt
    "unauthorized": Reply(meaning=Meaning.HALT, status=401, body=_code(1000)),
    "forbidden": Reply(meaning=Meaning.HALT, status=403),
    "wrong_route": Reply(meaning=Meaning.HALT, status=404),
    "disabled": Reply(meaning=Meaning.HALT, status=422, body=_code(6000)),
    "redirect": Reply(meaning=Meaning.HALT, status=302),
}
"""Every reply by its label, as it stands in a trace."""

GROUPS = {meaning: tuple(label for label, reply in REPLIES.items() if reply.meaning is meaning) for meaning in Meaning}
"""The labels of each meaning."""
