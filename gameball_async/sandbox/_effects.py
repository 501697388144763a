"""The table of effects: what each kind of fault makes of an answer, and whether the events are applied; pure."""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING

import attrs

from ._refusals import ERRORS, compact, error_body

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from ._dialects import Dialect
    from ._faults import Fault, Kind
    from ._refusals import Refusal

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
