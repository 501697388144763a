"""The table of errors: which rule was broken, and how each version of the API says so."""

from __future__ import annotations

import json
from enum import Enum
from typing import TYPE_CHECKING

import attrs

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ._api_versions import Dialect


@attrs.frozen
class Refusal:
    """A rule that a request breaks.

    Args:
        kind: the rule, a key of `ERRORS`.
        detail: what is wrong, in words that hold no key, e-mail address, phone number or player's id.
    """

    kind: str
    detail: str


@attrs.frozen
class Error:
    """One row of the table: HTTP status and Gameball's code in v3, then in v4.

    A code of None is an answer without one: the documentation names none for it.
    """

    v3_status: int
    v3_code: int | None
    v4_status: int
    v4_code: int | None

    def face(self, dialect: Dialect) -> tuple[int, int | None]:
        """The status and the code in a dialect."""
        return (self.v3_status, self.v3_code) if dialect.is_v3 else (self.v4_status, self.v4_code)


# v3 has no code for a good part of what can be wrong; its 13, "something wrong", stands in where
# the catalogue has no closer one, as 4500 does in v4.
ERRORS: Mapping[str, Error] = {
    # rule                       v3         v4
    "route":              Error(404, None, 404, None),
    "api_key_missing":    Error(403, None, 401, 1000),
    "api_key_wrong":      Error(401, None, 401, 1000),
    "secret_key_missing": Error(401, None, 401, 1001),
    "secret_key_wrong":   Error(401, None, 401, 1001),
    "rate":               Error(429, None, 429, None),
    "concurrent":         Error(422, 2001, 422, 2001),
    "content_type":       Error(415, 13,   415, 3002),
    "not_json":           Error(400, 13,   400, 3016),
    "not_an_object":      Error(400, 13,   400, 3016),
    "missing_player":     Error(400, 4,    400, 3000),
    "missing_events":     Error(400, 4,    400, 3000),
    "unknown_field":      Error(400, 13,   400, 3016),
    "duplicate_field":    Error(400, 13,   400, 3016),
    "duplicate_event":    Error(400, 13,   400, 3016),
    "duplicate_key":      Error(400, 13,   400, 3016),
    "null_value":         Error(422, 5,    422, 3001),
    "bad_type":           Error(422, 7,    422, 3003),
    "bad_number":         Error(422, 7,    422, 3003),
    "bad_text":           Error(422, 7,    422, 3003),
    "empty_name":         Error(422, 12,   422, 3006),
}  # fmt: skip

# the category of a v4 code is its thousand; the spelling is that of live answers
_TYPES: Mapping[int, str] = {
    1: "AUTHENTICATION_ERROR",
    2: "REQUEST_ERROR",
    3: "PAYLOAD_ERROR",
    4: "GENERAL_ERROR",
    5: "SERVER_ERROR",
    6: "CONFIGURATION_ERROR",
    7: "CUSTOMER_ERROR",
    8: "SUBSCRIPTION_ERROR",
    9: "TRANSACTION_ERROR",
}


def error_body(dialect: Dialect, status: int, code: int | None, words: str, number: int) -> bytes:
    """The body of an error as a dialect shapes it; without a code there is next to nothing to say.

    Args:
        dialect: whose shape.
        status: the HTTP status.
        code: Gameball's code, or None.
        words: the message.
        number: the request's number; v4's `requestId` is made of it.

    Returns:
        The body's bytes: JSON, or empty.
    """
    if code is None:
        # the documentation of v2 and v3 shows `{}` for 401 and 403; elsewhere it shows no body
        return b"{}" if dialect.is_v3 and status in {401, 403} else b""
    if dialect.is_v3:
        return compact({"code": code, "message": words})
    kind = _TYPES.get(code // 1000, "GENERAL_ERROR")
    return compact({"code": code, "type": kind, "message": words, "requestId": f"sandbox-{number}"})


def compact(value: dict[str, object]) -> bytes:
    """JSON without white space."""
    return json.dumps(value, separators=(",", ":")).encode()


if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from ._api_versions import Dialect
    from ._faults import Fault, Kind


JSON = "application/json; charset=utf-8"
HTML = "text/html"

_PAGE = b"<html><head><title>Bad Gateway</title></head><body><h1>The gateway has failed.</h1></body></html>"


class ResponseMode(Enum):
    """How an answer travels."""

    WHOLE = "at once"
    TRUNCATED = "half of it, then the connection is closed"
    DRIPPING = "byte by byte"
    RESET = "not at all: the connection is reset"
    NEVER = "not at all: the client waits until it leaves"


@attrs.frozen
class PlannedResponse:
    """What the client gets.

    Args:
        status: the HTTP status, or None if none is sent.
        body: the bytes.
        code: Gameball's code in the body, or None.
        reason: why it is no success, in words, or None if there are none.
        content_type: of the body.
        headers: further headers, by name.
        manner: how it travels.
        pause: seconds between two bytes of a dripping one.
    """

    status: int | None
    body: bytes = b""
    code: int | None = None
    reason: str | None = None
    content_type: str = JSON
    headers: Mapping[str, str] = attrs.field(factory=dict[str, str])
    manner: ResponseMode = ResponseMode.WHOLE
    pause: float = 0.0


@attrs.frozen
class Effect:
    """A row of the table.

    Args:
        applies: whether the request is processed before things go wrong.
        answer: makes the answer of the fault, the dialect, the request's number and the answer that
            would have been given.
    """

    applies: bool
    answer: Callable[[Fault, Dialect, int, PlannedResponse], PlannedResponse]


def success(dialect: Dialect) -> PlannedResponse:
    """The answer to a request that was applied."""
    return PlannedResponse(200, dialect.success)


def refused(refusal: Refusal, dialect: Dialect, number: int, retry_after: float | str | None = None) -> PlannedResponse:
    """The answer to a request that breaks a rule."""
    status, code = ERRORS[refusal.kind].face(dialect)
    body = error_body(dialect, status, code, refusal.detail, number)
    return PlannedResponse(status, body, code, refusal.detail, headers=_retry_after(retry_after))


def _retry_after(value: float | str | None) -> dict[str, str]:
    return {} if value is None else {"retry-after": str(value)}


def _status(fault: Fault, dialect: Dialect, number: int, _: PlannedResponse) -> PlannedResponse:
    body = error_body(dialect, fault.http_status, fault.code, fault.words, number)
    reason = None if fault.code is None else fault.words
    return PlannedResponse(fault.http_status, body, fault.code, reason, headers=_retry_after(fault.retry_after))


def _success_false(fault: Fault, dialect: Dialect, _: int, __: PlannedResponse) -> PlannedResponse:
    body: dict[str, object] = {"success": False, "message": fault.words}
    if dialect.is_v3:
        # the envelope of v1, the only one documented to fail under a 200 before v4
        body = {"response": {}, "Success": False, "ErrorMsg": fault.words, "ErrorCode": 13}
    return PlannedResponse(fault.http_status, compact(body), reason=fault.words)


def _html(fault: Fault, *_: object) -> PlannedResponse:
    return PlannedResponse(fault.http_status, _PAGE, content_type=HTML, headers=_retry_after(fault.retry_after))


def _redirect(fault: Fault, *_: object) -> PlannedResponse:
    return PlannedResponse(fault.http_status, headers={"location": fault.location})


def _reset(*_: object) -> PlannedResponse:
    return PlannedResponse(None, manner=ResponseMode.RESET)


def _hang(*_: object) -> PlannedResponse:
    return PlannedResponse(None, manner=ResponseMode.NEVER)


def _truncate(_: Fault, __: Dialect, ___: int, answer: PlannedResponse) -> PlannedResponse:
    return attrs.evolve(answer, manner=ResponseMode.TRUNCATED)


def _drip(fault: Fault, _: Dialect, __: int, answer: PlannedResponse) -> PlannedResponse:
    return attrs.evolve(answer, body=answer.body.ljust(fault.size), manner=ResponseMode.DRIPPING, pause=fault.seconds)


def _huge(fault: Fault, _: Dialect, __: int, answer: PlannedResponse) -> PlannedResponse:
    # JSON allows white space after its value
    return attrs.evolve(answer, body=answer.body.ljust(fault.size))


EFFECTS: Mapping[Kind, Effect] = {
    "status": Effect(applies=False, answer=_status),
    "busy": Effect(applies=False, answer=_status),
    "success_false": Effect(applies=False, answer=_success_false),
    "html": Effect(applies=False, answer=_html),
    "redirect": Effect(applies=False, answer=_redirect),
    "reset_before": Effect(applies=False, answer=_reset),
    "hang": Effect(applies=False, answer=_hang),
    "reset_after": Effect(applies=True, answer=_reset),
    "fail_after_applying": Effect(applies=True, answer=_status),
    "truncate": Effect(applies=True, answer=_truncate),
    "drip": Effect(applies=True, answer=_drip),
    "huge": Effect(applies=True, answer=_huge),
}
