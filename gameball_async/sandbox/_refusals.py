"""The table of errors: which rule was broken, and how each version of the API says so."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import attrs

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ._dialects import Dialect


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
