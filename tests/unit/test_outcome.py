"""What each answer means: section 8 of the API's fact sheet row by row, ugly bodies, ugly headers, clean words."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gameball_async._core.outcome import (
    _BY_CODE,
    HEALTH,
    Answer,
    Decision,
    ServerHealth,
    parse_retry_after,
    read_answer,
)
from gameball_async._core.redaction import LONGEST_WORDS, redact_message

from .strategies import examples

DELIVERED, REFUSED, BUSY, FAILED = Decision.DELIVERED, Decision.REFUSED, Decision.BUSY, Decision.FAILED
AMBIGUOUS, RATE_LIMITED, HALT = Decision.AMBIGUOUS, Decision.RATE_LIMITED, Decision.HALT

NOW = datetime(2026, 1, 31, 12, tzinfo=UTC).timestamp()


def read(status: int, body: bytes = b"", *, complete: bool = True, **headers: str) -> Answer:
    names = {name.replace("_", "-"): value for name, value in headers.items()}
    return read_answer(status, names, body, complete=complete, wall_now=NOW)


# ---------------------------------------------------------------- the table


def v1(code: int) -> bytes:
    return json.dumps({"response": {}, "success": False, "errorMsg": "words", "errorCode": code}).encode()


def v1_capitalised(code: int) -> bytes:
    return json.dumps({"response": {}, "Success": False, "ErrorMsg": "words", "ErrorCode": code}).encode()


def v3(code: int) -> bytes:
    return json.dumps({"code": code, "message": "words"}).encode()


def v4(code: int) -> bytes:
    fields = {"type": "PAYLOAD_ERROR", "documentationUrl": "https://docs", "requestId": "12345abcde"}
    return json.dumps({"code": code, "message": "words"} | fields).encode()


CODES = [
    # status, code, meaning, verdict
    (422, 2001, "another request for the same customer", BUSY),
    (400, 2001, "the same, on one page", BUSY),
    (409, 2001, "the code decides, not the status", BUSY),
    (500, 5000, "server error", FAILED),
    (503, 5003, "maintenance", FAILED),
    (401, 1000, "bad key", HALT),
    (401, 1001, "secret key required", HALT),
    (401, 1006, "secret key required, on one page", HALT),
    (403, 1002, "forbidden", HALT),
    (403, 8000, "feature not in plan", HALT),
    (422, 6000, "Gameball disabled", HALT),
    (422, 50, "Gameball disabled, v3", HALT),
    (403, 10, "forbidden, v3", HALT),
    (412, 2000, "precondition failed", REFUSED),
    (400, 3000, "missing argument", REFUSED),
    (400, 4, "missing argument, v3", REFUSED),
    (400, 3016, "invalid payload", REFUSED),
    (422, 3001, "null", REFUSED),
    (422, 5, "null, v3", REFUSED),
    (422, 3003, "invalid value", REFUSED),
    (422, 7, "invalid value, v3", REFUSED),
    (422, 3006, "name length", REFUSED),
    (422, 12, "name length, v3", REFUSED),
    (422, 3008, "e-mail exists", REFUSED),
    (422, 15, "e-mail exists, v3", REFUSED),
    (422, 3009, "inactive", REFUSED),
    (422, 16, "inactive, v3", REFUSED),
    (415, 3002, "unsupported type", REFUSED),
    (415, 3013, "unsupported type", REFUSED),
    (423, 3014, "read only", REFUSED),
    (423, 3015, "edit required", REFUSED),
    (404, 3017, "event not found", REFUSED),
    (404, 4004, "resource not found", REFUSED),
    (404, 3, "resource not found, v3", REFUSED),
    (404, 7000, "customer not found", REFUSED),
    (404, 101, "customer not found, v3", REFUSED),
    (400, 4000, "generic failure", REFUSED),
    (400, 4500, "generic failure", REFUSED),
    (400, 13, "generic failure, v3", REFUSED),
    (418, 9999, "an unknown code of an undocumented status", REFUSED),
    (429, 4290, "rate limited, with a code of its own", RATE_LIMITED),
    (408, 4080, "request timeout, with a code of its own", FAILED),
    (500, 4000, "an unknown code of a 500", FAILED),
    (502, 9999, "an unknown code of a 502", FAILED),
    (401, 9999, "an unknown code of a 401", HALT),
    (403, 9999, "an unknown code of a 403", HALT),
]


@pytest.mark.parametrize(
    ("status", "code", "expected"),
    [pytest.param(status, code, verdict, id=f"{status}-{code}-{meaning}") for status, code, meaning, verdict in CODES],
)
@pytest.mark.parametrize("body", [v1, v1_capitalised, v3, v4])
def test_a_code_means_the_same_in_each_version(status: int, code: int, expected: Decision, body: Any) -> None:
    assert read(status, body(code)) == Answer(verdict=expected, status=status, code=code, words="words")


def test_every_code_with_a_meaning_of_its_own_is_among_them() -> None:
    assert _BY_CODE.keys() <= {code for _, code, _, _ in CODES}


STATUSES = [
    (400, REFUSED),
    (401, HALT),
    (402, REFUSED),
    (403, HALT),
    (404, HALT),
    (405, HALT),
    (406, REFUSED),
    (407, HALT),
    (408, FAILED),
    (409, REFUSED),
    (410, REFUSED),
    (412, REFUSED),
    (413, REFUSED),
    (414, REFUSED),
    (415, REFUSED),
    (422, REFUSED),
    (423, REFUSED),
    (425, FAILED),
    (429, RATE_LIMITED),
    (451, REFUSED),
    (499, REFUSED),
    (500, AMBIGUOUS),
    (501, FAILED),
    (502, FAILED),
    (503, FAILED),
    (504, FAILED),
    (507, FAILED),
    (520, FAILED),
    (599, FAILED),
    (101, HALT),
    (300, HALT),
    (301, HALT),
    (302, HALT),
    (303, HALT),
    (304, HALT),
    (307, HALT),
    (308, HALT),
    (600, HALT),
    (999, HALT),
]

NO_CODE = {
    "empty": b"",
    "blank": b" \r\n",
    "empty object": b"{}",
    "a gateway's HTML": b"<html><head><title>502 Bad Gateway</title></head><body>nginx</body></html>",
    "text": b"Bad Gateway",
    "truncated JSON": b'{"code":2001,"message":"Another requ',
    "not UTF-8": b'{"code":2001,"message":"\xff\xfe"}',
    "array": b'[{"code":2001}]',
    "string": b'"2001"',
    "number": b"2001",
    "null": b"null",
    "NaN": b"NaN",
    "two documents": b"{}{}",
    "deeply nested arrays": b"[" * 60_000,
    "deeply nested objects": b'{"a":' * 10_000 + b"1" + b"}" * 10_000,
    "a code of null": b'{"code":null}',
    "a code of zero": b'{"code":0}',
    "a code of zero in words": b'{"code":"0"}',
    "a fractional code": b'{"code":2001.5}',
    "a code that is true": b'{"code":true}',
    "a code in an array": b'{"code":[2001]}',
    "a code in an object": b'{"code":{"code":2001}}',
    "a code in letters": b'{"code":"PAYLOAD_ERROR"}',
    "an empty code": b'{"code":""}',
    "a code of spaces and digits": b'{"code":" 2001 "}',
    "a code of exotic digits": '{"code":"٢٠٠١"}'.encode(),
    "an endless code in words": b'{"code":"' + b"9" * 10_000 + b'"}',
    "keys in other letters": b'{"CODE":2001}',
}


@pytest.mark.parametrize("body", NO_CODE.values(), ids=NO_CODE)
def test_without_a_code_the_status_decides(body: bytes) -> None:
    assert [read(status, body) for status, _ in STATUSES] == [
        Answer(verdict=expected, status=status) for status, expected in STATUSES
    ]


SUCCESSES = [
    b"",
    b"{}",
    b" \n",
    b"null",
    b"true",
    b"[]",
    b'{"success":true,"message":"Events processed"}',
    b'{"response":{},"Success":true,"ErrorMsg":"string","ErrorCode":0}',
    b'{"success":true,"gameballStatus":"disabled","message":"Gameball is disabled","learnMore":"https://docs"}',
    b'{"success":null}',
    b'{"success":"true"}',
    b'{"success":1}',
    b'{"success":true,"error":{"code":2001}}',
    b'{"error":null}',
    b'{"error":{}}',
    b'{"errors":[]}',
    b'{"error":{"code":0}}',
    b'{"code":1,"message":"done"}',
    b"Event tracked successfully",
    b'{"success":fal',
    b'{"success":true',
    b"\xff\xfe",
    b"[" * 60_000,
]


@pytest.mark.parametrize("body", SUCCESSES, ids=lambda body: body[:20])
@pytest.mark.parametrize("complete", [True, False])
def test_any_2xx_is_success_whatever_its_body_is(body: bytes, complete: bool) -> None:  # noqa: FBT001
    assert {read(status, body, complete=complete).verdict for status in range(200, 300)} == {DELIVERED}


PAGES = {
    "declared": ("text/html; charset=utf-8", b"<!DOCTYPE html><title>Login</title>", "text/html"),
    "declared in capitals": ("TEXT/HTML", b"Please log in", "text/html"),
    "XHTML": ("application/xhtml+xml", b"<html/>", "application/xhtml+xml"),
    "not declared": ("", b"<html>OK</html>", "text/html"),
    "declared as something else": ("text/plain", b" \r\n<html>OK</html>", "text/plain"),
    "declared as JSON": ("application/json", b"<html>OK</html>", "application/json"),
    "with a byte order mark": ("", b"\xef\xbb\xbf<html>", "text/html"),
    "in UTF-16": ("", "\ufeff<html>".encode("utf-16-le"), "text/html"),
    "XML": ("text/xml", b"<?xml version='1.0'?><ok/>", "text/xml"),
}


@pytest.mark.parametrize("page", PAGES)
@pytest.mark.parametrize("complete", [True, False])
def test_a_successful_page_is_not_gameballs_and_halts(page: str, complete: bool) -> None:  # noqa: FBT001
    """A login page, a captive portal, another server: the event was certainly not applied."""
    declared, body, told = PAGES[page]
    answer = read(200, body, complete=complete, content_type=declared)

    assert (answer.verdict, answer.foreign) == (HALT, told)


@pytest.mark.parametrize(
    ("declared", "body", "told"),
    [
        ("text/plain", b"Event tracked successfully", "text/plain"),
        ("image/png; x=1", b"\x89PNG", "image/png"),
        ("", b"It works!", "an unnamed type"),
        ("text/x\x1b[31m", b"It works!", "text/x[31m"),
        ("application/json", b"oops", "application/json"),
        # Gameball's own
        ("application/json", b"{}", ""),
        ("text/html", b"{}", ""),
        ("text/html", b" ", ""),
        ("text/html", b"", ""),
        ("", b"null", ""),
        ("", b"", ""),
    ],
)
def test_a_success_that_is_not_json_is_noted(declared: str, body: bytes, told: str) -> None:
    answer = read(200, body, content_type=declared)

    assert (answer.verdict, answer.foreign) == (DELIVERED, told)


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b'{"success":false}', REFUSED),
        (b'{"Success":false,"ErrorMsg":"words","ErrorCode":4}', REFUSED),
        (b'{"success":false,"errorCode":2001}', BUSY),
        (b'{"success":false,"code":6000}', HALT),
        (b'{"Success":false,"ErrorCode":1000}', HALT),
        (b'{"success":false,"code":5000}', FAILED),
        (b'{"success":"false"}', REFUSED),
        (b'{"success":" False "}', REFUSED),
        (b'{"Success":"FALSE","errorCode":"2001"}', BUSY),
        (b'{"success":0}', REFUSED),
        (b'{"success":0.0}', REFUSED),
        (b'{"success":"0"}', REFUSED),
        (b'{"success":false,"error":{"code":2001}}', BUSY),
        (b'{"error":{"code":2001}}', BUSY),
        (b'{"error":{"code":"3003","message":"bad"}}', REFUSED),
        (b'{"Error":{"Code":1,"ErrorCode":1000}}', HALT),
        (b'{"errors":[{"code":6000}]}', HALT),
    ],
)
@pytest.mark.parametrize("status", [200, 202])
def test_a_2xx_whose_body_says_success_is_false_is_a_failure(status: int, body: bytes, expected: Decision) -> None:
    assert read(status, body).verdict is expected


@pytest.mark.parametrize(
    ("body", "code", "words"),
    [
        (b'{"code":"2001","message":"busy"}', 2001, "busy"),
        (b'{"code":2001,"message":null}', 2001, ""),
        (b'{"code":2001,"message":["busy"]}', 2001, ""),
        (b'{"code":2001,"message":{"text":"busy"}}', 2001, ""),
        (b'{"code":2001,"message":7}', 2001, ""),
        (b'{"code":2001,"errorMsg":"busy"}', 2001, "busy"),
        (b'{"errorCode":2001,"ErrorMsg":"busy"}', 2001, "busy"),
        (b'{"code":2001,"type":7,"documentationUrl":null,"requestId":{}}', 2001, ""),
        (b'{"code":2001,"more":' + b"[" * 500 + b"]" * 500 + b"}", 2001, ""),
        (b'{"message":"busy"}', None, "busy"),
        (b'{"error":{"code":2001,"message":"busy"}}', 2001, "busy"),
        (b'{"Error":{"errorCode":"2001","errorMsg":"busy"}}', 2001, "busy"),
        (b'{"errors":[{"code":2001,"message":"busy"},{"code":3003}]}', 2001, "busy"),
        (b'{"code":2001,"message":"busy","error":{"code":3003,"message":"bad"}}', 2001, "busy"),
        (b'{"error":"busy"}', None, ""),
        (b'{"error":[]}', None, ""),
        (b'{"errors":["busy"]}', None, ""),
        (b'{"error":{"code":{"code":2001}}}', None, ""),
    ],
)
def test_every_field_of_an_error_is_optional_and_of_any_type(body: bytes, code: int | None, words: str) -> None:
    answer = read(422, body)

    assert (answer.code, answer.words) == (code, words)
    assert answer.verdict is (BUSY if code else REFUSED)


@pytest.mark.parametrize("code", [-1, 2**63, 2**64, 10**30, -(2**70), 10**400])
def test_a_huge_or_negative_code_is_an_unknown_one(code: int) -> None:
    assert read(422, b'{"code":%d}' % code).verdict is REFUSED


@pytest.mark.parametrize(
    ("status", "body", "expected"),
    [
        (422, b'{"code":20', FAILED),  # it may have been a 2001, and it was not applied: asking again is safe
        (400, b"", FAILED),
        (413, b"<html>", FAILED),
        (422, b'{"code":2001}', BUSY),
        (422, b'{"code":3003}', FAILED),
        (401, b'{"co', HALT),
        (429, b'{"co', RATE_LIMITED),
        (500, b'{"co', AMBIGUOUS),
        (503, b'{"co', FAILED),
    ],
)
def test_a_refusal_that_was_cut_off_is_asked_again(status: int, body: bytes, expected: Decision) -> None:
    assert read(status, body, complete=False).verdict is expected


@pytest.mark.parametrize("body", [b'{"code":3017,"mess', b'{"co', b"{"])
def test_gameballs_own_404_that_was_cut_off_does_not_halt(body: bytes) -> None:
    """A wrong address answers an empty 404 or a page; this one had begun to say what it does not find."""
    assert read(404, body, complete=False).verdict is FAILED


@pytest.mark.parametrize("body", [b"\xef\xbb\xbf" + v3(2001), b'{"code":2001,"message":"\\ud800"}'])
def test_a_code_is_found_in_json_that_only_strict_readers_refuse(body: bytes) -> None:
    """A byte order mark, or half of a character that was cut: neither makes a 2001 a refusal."""
    assert read(422, body).verdict is BUSY


@examples(300)
@given(st.integers(100, 999), st.binary(max_size=50) | st.text(max_size=50).map(str.encode), st.booleans())
def test_whatever_comes_is_read_without_an_error(status: int, body: bytes, complete: bool) -> None:  # noqa: FBT001
    assert read(status, body, complete=complete).status == status


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=10,
)
fields = ["code", "errorCode", "ErrorCode", "message", "errorMsg", "ErrorMsg", "success", "Success", "type"]


@examples(300)
@given(st.integers(200, 599), st.dictionaries(st.sampled_from(fields), json_values))
def test_any_types_in_any_fields_are_read_without_an_error(status: int, body: dict[str, Any]) -> None:
    answer = read(status, json.dumps(body).encode())

    assert isinstance(answer.words, str)
    assert answer.code is None or type(answer.code) is int


# ---------------------------------------------------------------- Retry-After

RETRY_AFTER: list[tuple[str | None, float | None]] = [
    # seconds
    (None, None),
    ("0", 0.0),
    ("1", 1.0),
    ("120", 120.0),
    ("007", 7.0),
    (" 2 ", 2.0),
    ("\t2", 2.0),
    ("+3", 3.0),
    # decimals: not in the standard, but seen
    ("0.5", 0.5),
    ("2.", 2.0),
    ("1.75", 1.75),
    # negative
    ("-1", 0.0),
    ("-0", 0.0),
    ("-0.5", 0.0),
    # absurdly large: infinite for all purposes, and the circuit breaker caps it
    ("99999999999", 99999999999.0),
    ("9" * 400, float("inf")),
    ("-" + "9" * 400, 0.0),
    # HTTP dates
    ("Sat, 31 Jan 2026 12:00:30 GMT", 30.0),
    ("Sat, 31 Jan 2026 12:00:00 GMT", 0.0),
    ("Sat, 31 Jan 2026 11:59:00 GMT", 0.0),
    ("Thu, 01 Jan 1970 00:00:00 GMT", 0.0),
    ("Saturday, 31-Jan-26 12:00:30 GMT", 30.0),
    ("Sat Jan 31 12:00:30 2026", 30.0),
    ("Sat, 31 Jan 2026 12:00:30", 30.0),
    ("Sat, 31 Jan 2026 12:00:30 -0000", 30.0),
    ("Sat, 31 Jan 2026 14:00:30 +0200", 30.0),
    ("Sat, 31 Jan 2026 07:00:30 EST", 30.0),
    ("31 Jan 2026 12:00:30 GMT", 30.0),
    # dates that do not exist
    ("Sat, 32 Jan 2026 12:00:30 GMT", None),
    ("Sat, 31 Foo 2026 12:00:30 GMT", None),
    ("Sat, 31 Jan 2026 25:00:30 GMT", None),
    ("Sat, 31 Jan 99999 12:00:30 GMT", None),
    ("Sat, 31 Jan 2026 12:00:30 +999999", None),
    # garbage
    ("", None),
    (" ", None),
    ("soon", None),
    ("1e3", None),
    (".5", None),
    (".", None),
    ("--1", None),
    ("+-1", None),
    ("1,5", None),
    ("1 2", None),
    ("120 seconds", None),
    ("0x10", None),
    ("1_000", None),
    ("NaN", None),
    ("inf", None),
    ("Infinity", None),
    ("null", None),
    ("2026-01-31T12:00:30Z", None),
    ("\x00", None),
    ("Sat,", None),
    (",", None),
    # exotic digits
    ("٣", None),
    ("\uff13", None),  # a full-width 3
    ("²", None),
    ("১২", None),
]


@pytest.mark.parametrize(("value", "expected"), RETRY_AFTER, ids=lambda value: f"{value!r:.40}")
def test_retry_after_is_read_by_this_table(value: str | None, expected: float | None) -> None:
    assert parse_retry_after(value, NOW) == expected


@examples(500)
@given(st.text(max_size=40) | st.text("0123456789 :,+-.JanSatGMT", max_size=40))
def test_a_retry_after_of_any_letters_is_seconds_or_nothing(value: str) -> None:
    seconds = parse_retry_after(value, NOW)

    assert seconds is None or seconds >= 0


@pytest.mark.parametrize("status", [429, 503, 500, 422, 400])
def test_the_retry_after_of_any_failure_is_in_its_answer(status: int) -> None:
    assert read(status, retry_after="7").retry_after == 7.0


def test_a_retry_after_that_is_garbage_is_no_retry_after() -> None:
    assert read(429, retry_after="soon") == Answer(verdict=RATE_LIMITED, status=429)


# ---------------------------------------------------------------- words


@pytest.mark.parametrize(
    ("words", "clean"),
    [
        ("The PlayerUniqueId field is required.", "The PlayerUniqueId field is required."),
        ("", ""),
        ("two\nlines\r\n\tand  spaces ", "two lines and spaces"),
        ("\x1b[31mred\x1b[0m", "[31mred [0m"),
        ("nul\x00 bell\x07 del\x7f", "nul bell del"),
        ("\u202ebackwards\u2028next", "backwards next"),
        ("lone \ud800 surrogate", "lone surrogate"),
        ("Ungültige Größe €", "Ungültige Größe €"),
        ("email jon.snow@example.com exists", "email *** exists"),
        ("email 'jon@example.com' exists", "email '***' exists"),
        ("<jon@example.com>, (arya@example.co.uk);", "<***>, (***);"),
        ("jön+tag@exämple.com", "***"),
        ("mobile +1234567 exists", "mobile *** exists"),
        ("mobile +1 (234) 567-89.01 exists", "mobile *** exists"),
        ("mobile 0123456789 exists", "mobile *** exists"),
        ("code 3008, 15 of 100 in 2026", "code 3008, 15 of 100 in 2026"),
        ("my-key and my-secret", "*** and ***"),
        ("xmy-keyx", "x***x"),
    ],
)
def test_words_are_cleaned_by_this_table(words: str, clean: str) -> None:
    assert redact_message(words, ["my-key", "my-secret"]) == clean


def test_secrets_are_hidden_in_any_letters_but_not_those_too_short_to_be_told_apart() -> None:
    """A player's id may be "1" or "al": hiding it would hide what the server says."""
    assert redact_message("Player John-17 of 1 plan, alas", ["JOHN-17", "1", "al"]) == "Player *** of 1 plan, alas"


def test_a_secret_is_hidden_as_it_is_written_not_as_a_pattern() -> None:
    assert redact_message("a.c abc (x", ["a.c", "(x*["]) == "*** abc (x"


def test_long_words_are_shortened() -> None:
    assert redact_message("word " * 1000) == ("word " * 40)[: LONGEST_WORDS - 1] + "…"
    assert redact_message("x" * LONGEST_WORDS) == "x" * LONGEST_WORDS
    assert redact_message("x" * (LONGEST_WORDS + 1)) == "x" * (LONGEST_WORDS - 1) + "…"


def test_a_key_is_hidden_before_words_are_cut_through_it() -> None:
    key = "k" * 50 + "unlikely"

    assert "kkk" not in redact_message("x" * (10 * LONGEST_WORDS - 25) + key, [key])
    assert "kkk" not in redact_message("x" * (LONGEST_WORDS - 25) + key, [key])


@examples(300)
@given(st.text(max_size=400))
def test_clean_words_are_short_printable_and_on_one_line(words: str) -> None:
    clean = redact_message(words)

    assert len(clean) <= LONGEST_WORDS
    assert clean.isprintable()
    assert clean == clean.strip()


def test_the_words_of_an_answer_are_cleaned() -> None:
    body = b'{"code":3008,"message":"email jon@example.com exists,\\nkey sesame"}'

    answer = read_answer(422, {}, body, complete=True, wall_now=NOW, secrets=["sesame"])

    assert answer.words == "email *** exists, key ***"


# ---------------------------------------------------------------- what an answer says about the server


@pytest.mark.parametrize("verdict", Decision)
def test_every_verdict_says_something_about_the_server(verdict: Decision) -> None:
    assert Answer(verdict=verdict).health is HEALTH[verdict]


@pytest.mark.parametrize(
    ("verdict", "health"),
    [
        (DELIVERED, ServerHealth.WORKING),
        (REFUSED, ServerHealth.WORKING),
        (BUSY, ServerHealth.WORKING),
        (FAILED, ServerHealth.TROUBLED),
        (AMBIGUOUS, ServerHealth.TROUBLED),
        (RATE_LIMITED, ServerHealth.PAUSE),
        (HALT, ServerHealth.HALT),
        (Decision.INTERRUPTED, ServerHealth.NONE),
    ],
)
def test_a_verdict_is_this_sign(verdict: Decision, health: ServerHealth) -> None:
    assert HEALTH[verdict] is health


@pytest.mark.parametrize("verdict", [REFUSED, BUSY, FAILED, AMBIGUOUS, RATE_LIMITED])
def test_any_retry_after_of_a_failure_asks_for_a_pause(verdict: Decision) -> None:
    assert Answer(verdict=verdict, retry_after=0.0).health is ServerHealth.PAUSE


def test_a_gateways_code_that_repeats_the_status_is_none() -> None:
    answer = read_answer(404, {}, b'{"code":404,"message":"no such page"}', complete=True, wall_now=0.0)

    assert (answer.verdict, answer.code) == (HALT, None)


def test_a_code_that_is_null_gives_way_to_another_field() -> None:
    answer = read_answer(422, {}, b'{"code":null,"errorCode":2001}', complete=True, wall_now=0.0)

    assert answer.code == 2001


def test_any_retry_after_asks_for_a_pause_but_softens_no_halt() -> None:
    assert Answer(verdict=HALT, retry_after=5.0).health is ServerHealth.HALT
    assert Answer(verdict=DELIVERED, retry_after=5.0).health is ServerHealth.PAUSE


@pytest.mark.parametrize(
    ("answer", "summary"),
    [
        (Answer(verdict=FAILED), "no answer"),
        (Answer(verdict=FAILED, words="ConnectError: refused"), "no answer: ConnectError: refused"),
        (Answer(verdict=FAILED, status=502), "HTTP 502"),
        (Answer(verdict=REFUSED, status=422, code=3003), "HTTP 422, code 3003"),
        (Answer(verdict=REFUSED, status=422, code=3003, words="bad"), "HTTP 422, code 3003: bad"),
        (Answer(verdict=REFUSED, status=422, words="bad"), "HTTP 422: bad"),
    ],
)
def test_an_answer_is_summed_up_in_one_phrase(answer: Answer, summary: str) -> None:
    assert answer.summary == summary
