"""The rules of a request, one row each: what is refused, as what, and in which words of each version."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from gameball_async.sandbox._responses import DIALECTS, ERRORS

from .support import V3, V4, V41, body

if TYPE_CHECKING:
    import httpx

    from gameball_async.sandbox import Sandbox

# a body with ID for the id field and KEY for a sound event, the rule it breaks, status, v3 code, v4 code
BODIES = [
    # not JSON
    ("", "not_json", 400, 13, 3016),
    ("{", "not_json", 400, 13, 3016),
    ('{ID,"events":{"e":{"k":NaN}}}', "not_json", 400, 13, 3016),
    ('{ID,"events":{"e":{"k":Infinity}}}', "not_json", 400, 13, 3016),
    ('{ID,"events":{"e":{"k":-Infinity}}}', "not_json", 400, 13, 3016),
    ('{ID,"events":{"e":{"k":1,}}}', "not_json", 400, 13, 3016),
    ('\ufeff{ID,"events":{"e":{}}}', "not_json", 400, 13, 3016),
    ("[" * 100_000, "not_json", 400, 13, 3016),
    ('{ID,"events":{"e":{"k":' + "9" * 5000 + "}}}", "not_json", 400, 13, 3016),
    # not an object
    ("[]", "not_an_object", 400, 13, 3016),
    ("null", "not_an_object", 400, 13, 3016),
    ('"text"', "not_an_object", 400, 13, 3016),
    # the player
    ('{"events":{"e":{}}}', "missing_player", 400, 4, 3000),
    ('{"IDNAME":"","events":{"e":{}}}', "missing_player", 400, 4, 3000),
    ('{"IDNAME":" \\t","events":{"e":{}}}', "missing_player", 400, 4, 3000),
    ('{"IDNAME":"\\u00a0\\u200b\\ufeff","events":{"e":{}}}', "missing_player", 400, 4, 3000),
    ('{"IDNAME":null,"events":{"e":{}}}', "null_value", 422, 5, 3001),
    ('{"IDNAME":123,"events":{"e":{}}}', "bad_type", 422, 7, 3003),
    ('{"IDNAME":["p"],"events":{"e":{}}}', "bad_type", 422, 7, 3003),
    ('{"IDNAME":"\\ud800","events":{"e":{}}}', "bad_text", 422, 7, 3003),
    # the fields
    ('{ID,"events":{"e":{}},"ID2":1,"sessionInfo":{}}', "unknown_field", 400, 13, 3016),
    ('{ID,ID,"events":{"e":{}}}', "duplicate_field", 400, 13, 3016),
    ('{ID,"events":{"e":{}},"events":{"f":{}}}', "duplicate_field", 400, 13, 3016),
    ('{ID,"events":{"e":{}},"mobile":null}', "null_value", 422, 5, 3001),
    ('{ID,"events":{"e":{}},"mobile":1234567}', "bad_type", 422, 7, 3003),
    ('{ID,"events":{"e":{}},"email":""}', "bad_text", 422, 7, 3003),
    ('{ID,"events":{"e":{}},"email":"\\udfff"}', "bad_text", 422, 7, 3003),
    ('{ID,"events":{"e":{}},"email":" "}', "bad_text", 422, 7, 3003),
    ('{ID,"events":{"e":{}},"mobile":"\\u200b"}', "bad_text", 422, 7, 3003),
    # the events
    ("{ID}", "missing_events", 400, 4, 3000),
    ('{ID,"events":{}}', "missing_events", 400, 4, 3000),
    ('{ID,"events":null}', "null_value", 422, 5, 3001),
    ('{ID,"events":["e"]}', "bad_type", 422, 7, 3003),
    ('{ID,"events":{"e":{},"f":{},"e":{}}}', "duplicate_event", 400, 13, 3016),
    ('{ID,"events":{"":{}}}', "empty_name", 422, 12, 3006),
    ('{ID,"events":{"  ":{}}}', "empty_name", 422, 12, 3006),
    ('{ID,"events":{"\\ufeff":{}}}', "empty_name", 422, 12, 3006),
    ('{ID,"events":{"\\udc00":{}}}', "bad_text", 422, 7, 3003),
    ('{ID,"events":{"e":null}}', "null_value", 422, 5, 3001),
    ('{ID,"events":{"e":[]}}', "bad_type", 422, 7, 3003),
    ('{ID,"events":{"e":"text"}}', "bad_type", 422, 7, 3003),
    # the metadata
    ('{ID,"events":{"e":{"k":1,"l":2,"k":1}}}', "duplicate_key", 400, 13, 3016),
    ('{ID,"events":{"e":{"":1}}}', "empty_name", 422, 12, 3006),
    ('{ID,"events":{"e":{"\\u3000":1}}}', "empty_name", 422, 12, 3006),
    ('{ID,"events":{"e":{"\\ud800":1}}}', "bad_text", 422, 7, 3003),
    ('{ID,"events":{"e":{"k":true}}}', "bad_type", 422, 7, 3003),
    ('{ID,"events":{"e":{"k":{"l":1}}}}', "bad_type", 422, 7, 3003),
    ('{ID,"events":{"e":{"k":null}}}', "null_value", 422, 5, 3001),
    ('{ID,"events":{"e":{"k":[1,true]}}}', "bad_type", 422, 7, 3003),
    ('{ID,"events":{"e":{"k":[[1]]}}}', "bad_type", 422, 7, 3003),
    ('{ID,"events":{"e":{"k":[{}]}}}', "bad_type", 422, 7, 3003),
    ('{ID,"events":{"e":{"k":["v",null]}}}', "null_value", 422, 5, 3001),
    ('{ID,"events":{"e":{"k":9223372036854775808}}}', "bad_number", 422, 7, 3003),
    ('{ID,"events":{"e":{"k":-9223372036854775809}}}', "bad_number", 422, 7, 3003),
    ('{ID,"events":{"e":{"k":[1e999]}}}', "bad_number", 422, 7, 3003),
    ('{ID,"events":{"e":{"k":"\\ud83d"}}}', "bad_text", 422, 7, 3003),
    ('{ID,"events":{"e":{"k":["\\udc4d\\ud83d"]}}}', "bad_text", 422, 7, 3003),
]


def _body(template: str, path: str) -> bytes:
    id_field, other = ("playerUniqueId", "customerId") if path == V3 else ("customerId", "playerUniqueId")
    filled = template.replace("IDNAME", id_field).replace('"ID2"', f'"{other}"').replace("ID,", f'"{id_field}":"p",')
    return filled.replace("{ID}", f'{{"{id_field}":"p"}}').encode()


@pytest.mark.parametrize("path", [V3, V4])
@pytest.mark.parametrize(("template", "kind", "status", "v3_code", "v4_code"), BODIES)
def test_a_body_that_breaks_a_rule_is_refused_in_the_shape_of_its_version_and_noted(
    *,
    module_sandbox: Sandbox,
    module_http: httpx.Client,
    path: str,
    template: str,
    kind: str,
    status: int,
    v3_code: int,
    v4_code: int,
) -> None:
    module_sandbox.reset()

    answer = module_http.post(path, content=_body(template, path), headers={"Content-Type": "application/json"})

    said = answer.json()
    assert [violation.kind for violation in module_sandbox.violations] == [kind]
    assert answer.status_code == status
    assert said["code"] == (v3_code if path == V3 else v4_code)
    assert said.keys() == ({"code", "message"} if path == V3 else {"code", "type", "message", "requestId"})
    assert module_sandbox.holdings() == {}


@pytest.mark.parametrize(
    ("path", "words"),
    [(V3, "The PlayerUniqueId field is required."), (V4, "customer id is missing"), (V41, "customer id is missing")],
)
def test_the_id_field_of_the_other_version_is_a_missing_id(module_http: httpx.Client, path: str, words: str) -> None:
    other = V4 if path == V3 else V3

    answer = module_http.post(
        path, content=body(path=other), headers={"Content-Type": "application/json", "SecretKey": "secret"}
    )

    assert (answer.status_code, answer.json()["message"]) == (400, words)


def test_a_v4_error_names_its_type(module_http: httpx.Client) -> None:
    answer = module_http.post(V4, json={"events": {"e": {}}})

    assert answer.json()["type"] == "PAYLOAD_ERROR"


@pytest.mark.parametrize("content_type", ["", "text/plain", "application/x-www-form-urlencoded", "application/jsonp"])
def test_another_content_type_is_refused(module_http: httpx.Client, content_type: str) -> None:
    answers = [
        module_http.post(path, content=body(path=path), headers={"Content-Type": content_type}) for path in (V3, V4)
    ]

    assert [(answer.status_code, answer.json()["code"]) for answer in answers] == [(415, 13), (415, 3002)]


def test_a_charset_beside_the_content_type_is_fine(module_http: httpx.Client) -> None:
    answer = module_http.post(V3, content=body(), headers={"Content-Type": "Application/JSON; charset=utf-8"})

    assert answer.status_code == 200


def test_a_body_that_is_not_utf_8_is_refused_without_quoting_it(module_http: httpx.Client) -> None:
    sent = '{"playerUniqueId":"p","email":"jon@example.com","events":{"é":{}}}'.encode("latin-1")

    answer = module_http.post(V3, content=sent, headers={"Content-Type": "application/json"})

    assert answer.status_code == 400
    assert answer.json()["message"] == "The body is not JSON: it is not UTF-8."


def test_no_violation_quotes_a_player_an_address_or_a_number(
    module_sandbox: Sandbox, module_http: httpx.Client
) -> None:
    module_sandbox.reset()
    contact = {"mobile": "+1234567", "email": "jon.snow@example.com"}
    for bad in (None, True, [["nested"]]):
        module_http.post(V3, json={"playerUniqueId": "player123", "events": {"e": {"k": bad}}, **contact})

    told = " ".join(violation.detail for violation in module_sandbox.violations)

    assert len(module_sandbox.violations) == 3
    assert not any(secret in told for secret in ("player123", "1234567", "jon.snow"))


# every value the documentation allows, at its edges
@pytest.mark.parametrize(
    "value",
    [
        "0",
        "-0.0",
        "9223372036854775807",
        "-9223372036854775808",
        "1350.00",
        "1e308",
        '""',
        '"text"',
        '"\\ud83d\\udc4d"',
        '"\U0001f44d"',
        '"NaN"',
        "[]",
        '["men","new_collection"]',
        '[1,2.5,"three"]',
    ],
)
def test_a_number_a_string_and_an_array_of_them_are_accepted_as_they_are(
    module_sandbox: Sandbox, module_http: httpx.Client, value: str
) -> None:
    module_sandbox.reset()
    sent = f'{{"playerUniqueId":"p","events":{{"e":{{"k":{value}}}}}}}'

    answer = module_http.post(V3, content=sent.encode(), headers={"Content-Type": "application/json"})

    assert answer.status_code == 200
    assert [event.metadata for event in module_sandbox.holdings()["p"]] == [{"k": json.loads(value)}]


@pytest.mark.parametrize(
    "sent",
    [
        (
            '{"events":{"buy":{"product_id":"a123456","price":30,"product_category":"fashion",'
            '"product_tags":["men","new_collection"]}},"playerUniqueId":"p"}'
        ),
        (
            '{"events":{"buy":{"category":"Electronics","amount":300},"travel":{"destinations":["Paris","Cairo"],'
            '"tickets":4,"season":"Winter"},"visit_branch":{}},"playerUniqueId":"p"}'
        ),
        (
            '{"events":{"place_order":{"total_amount":"100","category":["electronics","cosmetics"]},"review":{}},'
            '"playerUniqueId":"player123"}'
        ),
        '{"events":{"reserve":{"rooms":2}},"playerUniqueId":"player123"}',
        (
            '{"events":{"reserve":{"rooms":2}},"playerUniqueId":"player123","mobile":"+1234567",'
            '"email":"jon.snow@example.com"}'
        ),
    ],
)
def test_the_documented_examples_of_v3_are_accepted(module_http: httpx.Client, sent: str) -> None:
    answer = module_http.post(V3, content=sent.encode(), headers={"Content-Type": "application/json"})

    assert (answer.status_code, answer.json()) == (200, {})


@pytest.mark.parametrize(
    "sent",
    [
        '{"customerId":"c","eventName":"store_visit","metadata":{"store_location":"Mall Branch A"}}',
        '{"customerId":"c","events":{"purchase":{"products":[{"productId":"PROD-001"}]}}}',
    ],
)
def test_the_documented_examples_that_contradict_the_schema_are_refused(module_http: httpx.Client, sent: str) -> None:
    answer = module_http.post(V4, content=sent.encode(), headers={"Content-Type": "application/json"})

    assert 400 <= answer.status_code < 500


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/"),
        ("POST", V3 + "/"),
        ("POST", "/api/v3.0/integrations/events"),
        ("POST", "/api/v4.0/integrations/event"),
        ("POST", "/v3.0/integrations/event"),
        ("POST", "/api/v2.0/integrations/event"),
        ("GET", V3),
        ("PUT", V4),
    ],
)
def test_any_other_route_is_404_with_an_empty_body(
    module_sandbox: Sandbox, module_http: httpx.Client, method: str, path: str
) -> None:
    module_sandbox.reset()

    answer = module_http.request(method, path, content=body())

    assert (answer.status_code, answer.content) == (404, b"")
    assert [violation.kind for violation in module_sandbox.violations] == ["route"]
    assert [(record.path, record.status) for record in module_sandbox.requests] == [(path, 404)]


def test_every_error_of_the_table_is_a_client_error_and_every_v4_type_is_known() -> None:
    for error in ERRORS.values():
        for dialect in DIALECTS:
            status, code = error.in_dialect(dialect)
            assert 400 <= status < 500
            assert code is None or dialect.is_v3 or code // 1000 in {1, 2, 3, 4, 7}
