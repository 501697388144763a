"""What the sandbox answers: the API's versions, the table of errors, and the effects of faults."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from enum import Enum
from typing import Literal

import attrs

from ._faults import Fault, RouteName

# ---------------------------------------------------------------- the API's versions


@attrs.frozen(kw_only=True)
class Dialect:
    """One version of the API: its route, its names, its answer to a success.

    Args:
        version: as in the path, such as `"v3.0"`.
        path: the route that takes events.
        id_field: the body's field for the player.
        id_missing: what the API says when that field is missing.
        needs_secret: whether the SecretKey header is required.
        success: the body of a success.
    """

    version: str
    path: str
    id_field: str
    id_missing: str
    needs_secret: bool = False
    success: bytes

    @property
    def is_v3(self) -> bool:
        """Whether errors have v3's two fields instead of v4's four."""
        return self.version.startswith("v3")


def _v4(version: str, *, needs_secret: bool) -> Dialect:
    return Dialect(
        version=version,
        path=f"/api/{version}/integrations/events",
        id_field="customerId",
        id_missing="customer id is missing",
        needs_secret=needs_secret,
        success=b'{"success":true,"message":"Events processed"}',
    )


DIALECTS = (
    Dialect(
        version="v3.0",
        path="/api/v3.0/integrations/event",
        id_field="playerUniqueId",
        id_missing="The PlayerUniqueId field is required.",
        success=b"{}",
    ),
    _v4("v4.0", needs_secret=False),
    _v4("v4.1", needs_secret=True),
)

# ---------------------------------------------------------------- routes

Pair = Literal["openapi", "tutorial"]
"""The two documented pairs of paths of a job: those of Gameball's OpenAPI file, and those of its tutorials."""


@attrs.frozen(kw_only=True)
class ApiRoute:
    """What requests with one method at one path ask for.

    Args:
        name: what they ask for.
        method: the HTTP method.
        path: the path; with `{job}` for a job's id.
        dialect: the API version.
        needs_secret: whether the SecretKey header is required.
        pair: the pair that it belongs to, if it is about a job.
    """

    name: RouteName
    method: str
    path: str
    dialect: Dialect
    needs_secret: bool
    pair: Pair | None = None


def _routes(dialect: Dialect) -> Iterator[ApiRoute]:
    """Return the routes of a version; bulk requests need both keys, and exist only in v4."""
    yield ApiRoute(name="events", method="POST", path=dialect.path, dialect=dialect, needs_secret=dialect.needs_secret)
    if dialect.is_v3:
        return
    bulk: list[tuple[RouteName, str, str, Pair | None]] = [
        ("batch", "POST", "batch/events", None),
        ("status", "GET", "batches/{job}/status", "openapi"),
        ("stop", "POST", "batches/{job}/stop", "openapi"),
        ("status", "GET", "batch/{job}", "tutorial"),
        ("stop", "DELETE", "batch/{job}", "tutorial"),
    ]
    base = f"/api/{dialect.version}/integrations"
    for name, method, path, pair in bulk:
        yield ApiRoute(name=name, method=method, path=f"{base}/{path}", dialect=dialect, needs_secret=True, pair=pair)
    yield ApiRoute(
        name="preview",
        method="POST",
        path=f"{base}/events/reward-preview",
        dialect=dialect,
        needs_secret=dialect.needs_secret,
    )


ROUTES = tuple(route for dialect in DIALECTS for route in _routes(dialect))

# ---------------------------------------------------------------- errors


@attrs.frozen
class Refusal:
    """A broken rule: a key of `ERRORS`, and a detail without keys, contacts or the player's id."""

    kind: str
    detail: str


@attrs.frozen
class Error:
    """HTTP status and Gameball's code in v3 and in v4; None where the documentation has no code."""

    v3_status: int
    v3_code: int | None
    v4_status: int
    v4_code: int | None

    def in_dialect(self, dialect: Dialect) -> tuple[int, int | None]:
        """Return the status and the code of a version."""
        return (self.v3_status, self.v3_code) if dialect.is_v3 else (self.v4_status, self.v4_code)


# v3 has no specific code for many mistakes: its 13, "something wrong", is used for those
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
    # of bulk requests and previews, which exist only in v4
    "missing_items":      Error(400, 4,    400, 3000),
    "too_many_items":     Error(400, 13,   400, 3016),
    "long_player":        Error(400, 13,   400, 3016),
    "no_job":             Error(404, 3,    404, 4004),
    "no_customer":        Error(404, 101,  404, 7000),
}  # fmt: skip

# by the thousands of a v4 code; spelled as in live answers
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
    """Return the body of an error in the format of a version; without a code it is nearly empty."""
    if code is None:
        # the documentation of v2 and v3 shows `{}` for 401 and 403; elsewhere it shows no body
        return b"{}" if dialect.is_v3 and status in {401, 403} else b""
    if dialect.is_v3:
        return compact({"code": code, "message": words})
    kind = _TYPES.get(code // 1000, "GENERAL_ERROR")
    return compact({"code": code, "type": kind, "message": words, "requestId": f"sandbox-{number}"})


def compact(value: dict[str, object]) -> bytes:
    """Encode JSON without white space."""
    return json.dumps(value, separators=(",", ":")).encode()


# ---------------------------------------------------------------- responses

JSON = "application/json; charset=utf-8"
HTML = "text/html"

_PAGE = b"<html><head><title>Bad Gateway</title></head><body><h1>The gateway has failed.</h1></body></html>"


class ResponseMode(Enum):
    """How a response is sent."""

    WHOLE = "at once"
    TRUNCATED = "half of it, then the connection is closed"
    DRIPPING = "byte by byte"
    RESET = "not at all: the connection is reset"
    NEVER = "not at all: the client waits until it leaves"


@attrs.frozen
class PlannedResponse:
    """A response before it is sent.

    Args:
        status: the HTTP status, or None to send nothing.
        body: the bytes.
        code: Gameball's code in the body, or None.
        reason: why it is not a success, or None.
        content_type: of the body.
        headers: further headers, by name.
        mode: how it is sent.
        pause: seconds between two bytes of a dripping one.
    """

    status: int | None
    body: bytes = b""
    code: int | None = None
    reason: str | None = None
    content_type: str = JSON
    headers: Mapping[str, str] = attrs.field(factory=dict[str, str])
    mode: ResponseMode = ResponseMode.WHOLE
    pause: float = 0.0


@attrs.frozen
class Effect:
    """What a kind of fault does.

    Args:
        applies: whether the request's events are applied first.
        respond: makes the response from the fault, the dialect, the request's number and the normal response.
        words: what the page shows for it, if the status alone does not say it.
        loses_answer: whether a client cannot know that its events were applied.
    """

    applies: bool
    respond: Callable[[Fault, Dialect, int, PlannedResponse], PlannedResponse]
    words: str = ""
    loses_answer: bool = False


def success(dialect: Dialect) -> PlannedResponse:
    """Return the response to a request that was applied."""
    return PlannedResponse(200, dialect.success)


def refused(refusal: Refusal, dialect: Dialect, number: int, retry_after: float | str | None = None) -> PlannedResponse:
    """Return the response to a request that breaks a rule."""
    status, code = ERRORS[refusal.kind].in_dialect(dialect)
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
    return PlannedResponse(None, mode=ResponseMode.RESET)


def _hang(*_: object) -> PlannedResponse:
    return PlannedResponse(None, mode=ResponseMode.NEVER)


def _truncate(_: Fault, __: Dialect, ___: int, response: PlannedResponse) -> PlannedResponse:
    return attrs.evolve(response, mode=ResponseMode.TRUNCATED)


def _drip(fault: Fault, _: Dialect, __: int, response: PlannedResponse) -> PlannedResponse:
    return attrs.evolve(response, body=response.body.ljust(fault.size), mode=ResponseMode.DRIPPING, pause=fault.seconds)


def _huge(fault: Fault, _: Dialect, __: int, response: PlannedResponse) -> PlannedResponse:
    # JSON allows white space after its value
    return attrs.evolve(response, body=response.body.ljust(fault.size))


EFFECTS: Mapping[str, Effect] = {
    "status": Effect(applies=False, respond=_status),
    "busy": Effect(applies=False, respond=_status),
    "success_false": Effect(applies=False, respond=_success_false, words="no success"),
    "html": Effect(applies=False, respond=_html, words="a gateway's page"),
    "redirect": Effect(applies=False, respond=_redirect, words="sent elsewhere"),
    "reset_before": Effect(applies=False, respond=_reset, words="reset"),
    "hang": Effect(applies=False, respond=_hang, words="never answered"),
    "reset_after": Effect(applies=True, respond=_reset, words="reset", loses_answer=True),
    "fail_after_applying": Effect(applies=True, respond=_status, loses_answer=True),
    "truncate": Effect(applies=True, respond=_truncate, words="cut short", loses_answer=True),
    "drip": Effect(applies=True, respond=_drip, words="byte by byte"),
    "huge": Effect(applies=True, respond=_huge, words="a huge answer"),
}
"""The effect of each kind of fault but `latency`, which only delays."""
