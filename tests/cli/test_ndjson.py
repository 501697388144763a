"""One line of NDJSON is one event: strict about names, exact about numbers."""

from __future__ import annotations

import io
import json
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gameball_async.cli._json import parse_event, read_ndjson
from gameball_async.cli._lines import Draft, InputLine, RowError, read_lines

scalars = st.text() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
metadata = st.dictionaries(st.text(), scalars | st.lists(scalars), max_size=4)


@given(st.text(), st.text(), st.none() | metadata, st.none() | st.text(), st.none() | st.text())
def test_what_json_says_is_what_is_sent(
    player: str, name: str, metadata: dict[str, Any] | None, mobile: str | None, email: str | None
) -> None:
    line = {"player": player, "event": name, "metadata": metadata, "mobile": mobile, "email": email}
    assert parse_event(json.dumps(line)) == Draft(player, name, metadata, mobile, email)


odd_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)
columns = st.sampled_from(["player", "event", "metadata", "mobile", "email"]) | st.text()
NO_EVENT = (b"", b",", b"[", b"]", b"],")
odd_lines = st.dictionaries(columns, odd_values).map(lambda line: json.dumps(line).encode() + b"\n")
files = st.binary(max_size=300) | st.lists(odd_lines).map(b"".join)


@given(files)
def test_any_bytes_are_events_or_reasons_and_none_is_lost(data: bytes) -> None:
    rows = read_ndjson(read_lines(io.BytesIO(data)), file=0, encoding="utf-8")
    kept = [row.raw.strip() for row in rows]
    assert kept == [line.data.strip() for line in read_lines(io.BytesIO(data)) if line.data.strip() not in NO_EVENT]


def test_both_spellings_of_player_and_event_are_known() -> None:
    expected = Draft("p", "e")
    assert parse_event('{"player_unique_id": "p", "event": "e"}') == expected
    assert parse_event('{"player": "p", "name": "e"}') == expected


@pytest.mark.parametrize("text", ["19.990", "0.1234567890123456789", "1e-300", "123456789.123456789", "-0.5", "2.5E3"])
def test_a_number_keeps_every_digit_it_has_in_the_file(text: str) -> None:
    draft = parse_event(f'{{"player": "p", "event": "e", "metadata": {{"n": {text}}}}}')
    assert draft.metadata is not None
    number = draft.metadata["n"]
    assert isinstance(number, float | Decimal)
    assert Decimal(repr(number) if isinstance(number, float) else number) == Decimal(text)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ('{"player": "p", "event": "e"', "not JSON at column 29"),
        ("player,event", "not JSON at column 1"),
        ('["p", "e"]', "the line is an array: give one JSON object per line"),
        ("null", "the line is null"),
        ('{"event": "e"}', 'no "player_unique_id" or "player": add it'),
        ('{"player": null, "event": "e"}', 'no "player_unique_id" or "player"'),
        ('{"player": "p"}', 'no "event" or "name": add it'),
        ('{"player": "p", "player_unique_id": "p", "event": "e"}', 'both "player_unique_id" and "player": keep one'),
        ('{"player": 17850, "event": "e"}', "player is a number: put it in quotes"),
        ('{"player": "p", "event": true}', "event is true or false: put it in quotes"),
        ('{"player": "p", "event": "e", "metdata": {}}', 'unknown key "metdata"'),
        ('{"player": "p", "event": "e", "a\\u001bb": 1}', r"unknown key 'a\\x1bb'"),
        ('{"player": "p", "event": "e", "event": "f"}', 'key "event" occurs twice'),
        ('{"player": "p", "event": "e", "metadata": {"k": 1, "k": 2}}', 'key "k" occurs twice'),
        ('{"player": "p", "event": "e", "metadata": ["k"]}', "metadata is an array"),
        ('{"player": "p", "event": "e", "metadata": {"k": NaN}}', "NaN is not a JSON number"),
        ('{"player": "p", "event": "e", "metadata": {"k": -Infinity}}', "-Infinity is not a JSON number"),
        ('{"player": "p", "event": "e", "mobile": 201234567}', "mobile is a number: put it in quotes"),
        ("[" * 100_000, "nested too deeply"),
        ('{"player": "p", "event": "e", "metadata": {"k": ' + "9" * 5000 + "}}", "too many digits"),
        ('{"player": "p", "event": "e", "metadata": {"k": 1e-9999999999999999999}}', "too many digits"),
        ('{"player": "p", "event": "e"} {}', "not JSON at column 31: Extra data"),
    ],
)
def test_a_line_that_is_no_event_says_why(text: str, reason: str) -> None:
    with pytest.raises(RowError, match=reason):
        parse_event(text)


def test_a_bad_line_costs_only_itself_and_blank_lines_nothing() -> None:
    texts = [b'{"player": "p", "event": "a"}\r\n', b"\n", b"  \r\n", b"\xff\xfe\n", b'{"player": "p", "event": "b"}']
    rows = list(read_ndjson((InputLine(n, text) for n, text in enumerate(texts, 1)), file=7, encoding="utf-8"))
    assert [(row.file, row.line, row.last_line, row.previous) for row in rows] == [
        (7, 1, 1, 0),
        (7, 4, 4, 1),
        (7, 5, 5, 4),
    ]
    assert [row.raw for row in rows] == [texts[0], texts[3], texts[4]]
    assert rows[0].content == Draft("p", "a")
    assert rows[1].content == (
        "byte 1 of the line (0xff) is not UTF-8: save the file as UTF-8, or name its encoding with --encoding."
    )
    assert rows[2].content == Draft("p", "b")


def test_a_line_that_was_cut_says_how_long_it_may_be() -> None:
    (row,) = read_ndjson(iter([InputLine(1, b"{", cut=True)]), file=0, encoding="utf-8")
    assert row.content == "the line is longer than 1,048,576 bytes: split it, or shorten its texts."


@given(st.text())
def test_any_text_is_an_event_or_a_reason(text: str) -> None:
    try:
        parse_event(text)
    except RowError as error:
        assert str(error)  # noqa: PT017 both ends are right, anything else is a crash


def test_brackets_and_commas_of_an_array_with_one_event_per_line_do_not_matter() -> None:
    text = (
        b'[\n{"player": "p", "event": "a"},\n'
        b'\xef\xbb\xbf{"player": "p", "event": "b"}\r\n,\n{"player": "p", "event": "c"}\n]\n'
    )
    rows = list(read_ndjson(read_lines(io.BytesIO(text)), file=0, encoding="utf-8"))
    assert [(row.line, row.previous, row.content) for row in rows] == [
        (2, 0, Draft("p", "a")),
        (3, 2, Draft("p", "b")),
        (5, 3, Draft("p", "c")),
    ]


@pytest.mark.parametrize(
    ("text", "remedy"),
    [
        ('{"player": "p", "event": "e"}{"player": "p", "event": "f"}', "Write one event per line"),
        ("{'player': 'p', 'event': 'e'}", "JSON needs double quotes: Python's json.dumps writes them"),
        ("[{'player': 'p'}]", "JSON needs double quotes"),
        ('{"player": "p", "event": "e", }', "Remove the comma before the closing bracket"),
        ('{"player": "p", "event": "e", "metadata": {"k": [1,]}}', "Remove the comma before the closing bracket"),
    ],
)
def test_a_common_mistake_is_answered_with_what_helps(text: str, remedy: str) -> None:
    with pytest.raises(RowError, match=remedy):
        parse_event(text)
