"""Whatever is valid is read back as it was meant; whatever stands twice is seen, wherever it stands."""

from __future__ import annotations

import ast
import json
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

import gameball_async.sandbox
from gameball_async._core.texts import is_blank
from gameball_async.sandbox._responses import DIALECTS, Dialect
from gameball_async.sandbox._rules import _DECODER, ParsedRequest, _broken_rules, _is_blank, _is_clearly_valid, read

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
visible = st.characters(categories=["L", "N", "P", "S"], exclude_characters="\u115f\u1160\u2800\u3164\uffa0")
names = st.tuples(texts, visible, texts).map("".join)
numbers = st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False, allow_infinity=False)
values = texts | numbers | st.lists(texts | numbers, max_size=4)
metadata = st.dictionaries(names, values, max_size=4)
events = st.dictionaries(names, metadata, min_size=1, max_size=4)


# a busy machine is no finding
in_any_time = settings(deadline=None)


def _read(text: str, dialect: Dialect = DIALECTS[0]) -> ParsedRequest:
    return read(dialect, "application/json", text.encode())


@in_any_time
@given(
    dialect=st.sampled_from(DIALECTS),
    player=names,
    held=events,
    contact=st.fixed_dictionaries({}, optional={"mobile": names, "email": names}),
    is_ascii=st.booleans(),
)
def test_every_valid_body_is_read_as_it_was_meant(
    *, dialect: Dialect, player: str, held: dict[str, object], contact: dict[str, str], is_ascii: bool
) -> None:
    sent = json.dumps({dialect.id_field: player, "events": held, **contact}, ensure_ascii=is_ascii)

    reading = _read(sent, dialect)

    assert reading.refusal is None
    assert (reading.player, reading.events, reading.names) == (player, held, tuple(held))
    assert (reading.mobile, reading.email) == (contact.get("mobile"), contact.get("email"))


def _text(pairs: list[tuple[str, str]]) -> str:
    return "{" + ",".join(f"{json.dumps(name)}:{value}" for name, value in pairs) + "}"


@in_any_time
@given(held=events, data=st.data())
def test_an_event_name_that_stands_twice_is_seen(held: dict[str, object], data: st.DataObject) -> None:
    pairs = [(name, json.dumps(value)) for name, value in held.items()]
    twice = data.draw(st.sampled_from(pairs))
    pairs.insert(data.draw(st.integers(0, len(pairs))), twice)

    reading = _read(_text([("playerUniqueId", '"p"'), ("events", _text(pairs))]))

    assert reading.refusal is not None
    assert reading.refusal.kind == "duplicate_event"
    assert reading.events == {}


wrong = st.none() | st.booleans() | st.sampled_from(["", " ", "\u00a0", "\ud800", 2**63, float("inf")])
anything = st.recursive(
    wrong | values, lambda inner: st.lists(inner, max_size=2) | st.dictionaries(names | st.just(""), inner, max_size=2)
)
ascii_names = st.sampled_from(["e", "place_order", " e", "é", ""])


@in_any_time
@given(
    payload=st.fixed_dictionaries(
        {
            "customerId": names | wrong,
            "events": st.dictionaries(ascii_names, metadata | anything, max_size=2) | anything,
        }
    )
)
@example({"customerId": "p", "events": {"e": {"k": [1, 2.5, "three"]}}})
@example({"customerId": "p", "events": {"e": {"k": [1, True]}}})
@example({"customerId": "p", "events": {"e": {"k": 2**63}}})
def test_what_is_valid_at_first_sight_breaks_no_rule(payload: dict[str, object]) -> None:
    parsed = _DECODER.decode(json.dumps(payload).replace("Infinity", "1e999"))

    if _is_clearly_valid(DIALECTS[1], parsed):
        assert list(_broken_rules(DIALECTS[1], parsed, ("events",))) == []


@in_any_time
@given(raw=st.binary(max_size=200))
def test_no_bytes_break_the_judge(raw: bytes) -> None:
    assert read(DIALECTS[0], "application/json", raw).refusal is not None


@pytest.mark.parametrize("escape", ["e", "\\u0065"])
def test_a_name_escaped_differently_is_the_same_name(escape: str) -> None:
    reading = _read(f'{{"playerUniqueId":"p","events":{{"e":{{}},"{escape}":{{}}}}}}')

    assert reading.refusal is not None
    assert reading.refusal.kind == "duplicate_event"


def test_names_that_differ_in_case_are_two_names() -> None:
    assert _read('{"playerUniqueId":"p","events":{"e":{},"E":{}}}').refusal is None


def test_a_refused_body_still_tells_whose_it_is_and_what_it_holds() -> None:
    reading = _read('{"playerUniqueId":"p","events":{"e":{"k":null},"f":{}}}')

    assert (reading.player, reading.names, reading.events) == ("p", ("e", "f"), {})


def test_the_sandbox_and_the_client_agree_on_what_cannot_be_seen() -> None:
    differing = [
        f"U+{code:04X}"
        for code in (*range(0xD800), *range(0xE000, 0x20000), *range(0xE0000, 0xE0200))
        if is_blank(chr(code)) is not _is_blank(chr(code))
    ]

    assert differing == []


def test_the_sandbox_imports_nothing_of_the_client() -> None:
    files = sorted(Path(gameball_async.sandbox.__file__).parent.glob("*.py"))
    assert files
    for file in files:
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom):
                assert node.level <= 1, f"{file.name} imports from outside the sandbox"
                assert node.level == 1 or not (node.module or "").startswith("gameball_async"), file.name
            if isinstance(node, ast.Import):
                assert not any(alias.name.startswith("gameball_async") for alias in node.names), file.name
