"""JSON that is not one event per line is read value by value, in bounded memory, with exact lines."""

from __future__ import annotations

import itertools
import json
import tracemalloc
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gameball_async.cli._files import Findings, ReadOptions, open_rows
from gameball_async.cli._lines import LONGEST_LINE, Draft, InputRow, MappingError, ReadError, WrongFormat

from .test_lines import Bytes

if TYPE_CHECKING:
    from collections.abc import Callable

READING = ReadOptions()


def read(data: str | bytes, piece: int = 1 << 16, reading: ReadOptions = READING) -> list[InputRow]:
    return list(open_rows(Bytes(data if isinstance(data, bytes) else data.encode(), piece), 0, reading, Findings()))


EVENTS: list[dict[str, Any]] = [
    {"player": "p", "event": "a", "metadata": {"text": ']}\\"{[,\u00e9', "list": [1, "x"]}},
    {"player": "p", "event": "b"},
    {"player_unique_id": "q", "name": "c", "metadata": {}},
]
DRAFTS = [
    Draft("p", "a", {"text": ']}\\"{[,\u00e9', "list": [1, "x"]}),
    Draft("p", "b", None),
    Draft("q", "c", {}),
]
SHAPES: dict[str, Callable[[list[Any]], str]] = {
    "array": json.dumps,
    "pretty array": lambda events: json.dumps(events, indent=2),
    "compact array": lambda events: json.dumps(events, separators=(",", ":"), ensure_ascii=False),
    "array of lines": lambda events: "[\n" + ",\n".join(map(json.dumps, events)) + "\n]\n",
    "comma first": lambda events: "[ " + "\n, ".join(map(json.dumps, events)) + "\n]",
    "trailing comma": lambda events: "[" + ",".join(map(json.dumps, events)) + ",\n]",
    "pretty objects": lambda events: "\n\n".join(json.dumps(event, indent=4) for event in events),
    "joined objects": lambda events: "".join(map(json.dumps, events)),
    "objects on a line": lambda events: " ".join(map(json.dumps, events)) + "\n",
    "several arrays": lambda events: "".join(json.dumps([event]) + "\n" for event in events),
    "lines": lambda events: "\n".join(map(json.dumps, events)),
    "lines and commas": lambda events: "".join(json.dumps(event) + ",\r\n" for event in events),
    "blank lines first": lambda events: "\n \n" + json.dumps(events, indent=1),
}


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("piece", [1, 7, 1 << 16])
@pytest.mark.parametrize("line_end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("format_", ["auto", "ndjson"])
def test_every_shape_gives_the_same_events(shape: str, piece: int, line_end: str, format_: Any) -> None:
    text = SHAPES[shape](EVENTS).replace("\r\n", "\n").replace("\n", line_end)
    assert [row.content for row in read(text, piece, ReadOptions(format=format_))] == DRAFTS


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "latin-1"])
def test_every_shape_may_have_another_encoding(shape: str, encoding: str) -> None:
    rows = read(SHAPES[shape](EVENTS).encode(encoding), reading=ReadOptions(encoding="latin-1"))
    assert [row.content for row in rows] == DRAFTS


@pytest.mark.parametrize("line_end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("piece", [1, 5, 1 << 16])
def test_lines_are_those_of_the_file_and_entries_are_counted(line_end: str, piece: int) -> None:
    text = '[\n{"player": "p",\n "event": "a"}, {"player": "p", "event": "b"},\n\n{"player": 1}\n]'
    rows = read(text.replace("\n", line_end), piece)
    assert [(row.line, row.last_line, row.position) for row in rows] == [(2, 3, (1, 1)), (3, 3, (2, 2)), (5, 5, (3, 3))]
    assert rows[2].raw == b'{"player": 1}'
    assert str(rows[2].content).startswith("player is a number: put it in quotes")


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ("1", "the entry is a number: give one JSON object per entry"),
        ('["p", "e"]', "the entry is an array"),
        ('{"player": "p", "event": "e", "tags": ["x"]}', 'unknown key "tags"'),
        ('{"player": "p", "event": "e", "player": "q"}', 'key "player" occurs twice'),
        ('{"player": "p", "event": "e", "metadata": {"k": NaN}}', "NaN is not a JSON number"),
        ('{"player": "p", "event": "e", "metadata": {"k": ' + "9" * 5000 + "}}", "too many digits"),
        (b'{"player": "\xe9", "event": "e"}', "a byte of it is not UTF-8: save the file as UTF-8"),
    ],
)
def test_an_entry_that_is_no_event_costs_only_itself(value: str | bytes, reason: str) -> None:
    value = value.encode() if isinstance(value, str) else value
    event = b'{"player": "p", "event": "e"}'
    rows = read(b"[" + event + b"," + value + b"," + event + b"]")
    assert rows[0].content == rows[2].content == Draft("p", "e", None)
    assert reason in str(rows[1].content)
    assert rows[1].raw == value


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ('[{"player": "p", "event": "e"}', "its array is not closed: the file is truncated, fetch it again"),
        (
            '[{"player": "p", "event": "e"}, {"play',
            r"the value that begins in line 1 is not JSON; in line 1: not JSON at",
        ),
        (
            '[{"player": "p", "event": "e"},\n{"player":\n oops}]',
            r"begins in line 2 is not JSON; in line 3: not JSON at",
        ),
        ('[{"player": "p", "event": "e"}, {\'player\': 1}]', "JSON needs double quotes"),
        ('[{"player": "p", "event": "e"}, ' + "[" * 100_000, "nested too deeply"),
        (
            '[{"player": "p", "event": "e"}, "' + "x" * 2_000_000 + '"]',
            "is not JSON, or longer than 1,048,576 characters",
        ),
    ],
)
def test_what_is_not_json_stops_the_file_behind_what_is(text: str, reason: str) -> None:
    rows = open_rows(Bytes(text.encode()), 0, READING, Findings())
    assert next(rows).content == Draft("p", "e", None)
    with pytest.raises(ReadError, match=reason):
        next(rows)


@pytest.mark.parametrize("format_", ["auto", "ndjson"])
def test_events_under_keys_of_keys_are_answered_with_how_to_get_them_out(format_: Any) -> None:
    for indent in (None, 1):
        with pytest.raises(WrongFormat, match=r'under the key "data.items": .* jq -c "\.data\.items\[\]" FILE'):
            read(json.dumps({"id": 1, "data": {"items": EVENTS}}, indent=indent), reading=ReadOptions(format=format_))


@pytest.mark.parametrize(
    ("before", "count", "indent"),
    [
        ({}, 1, None),
        ({}, 1, 2),
        ({"count": 2, "next": None, "page": {"n": 1}}, 1, 2),
        ({}, 8_000, None),
        ({}, 8_000, 2),
    ],
    ids=["one line", "pretty", "not first", "long", "long and pretty"],
)
@pytest.mark.parametrize("format_", ["auto", "ndjson"])
def test_events_under_a_key_are_answered_with_how_to_get_them_out(
    before: dict[str, Any], count: int, indent: int | None, format_: Any
) -> None:
    text = json.dumps({**before, "events": EVENTS * count}, indent=indent)
    assert (len(text) > LONGEST_LINE) is (count > 1)
    with pytest.raises(WrongFormat, match=r'under the key "events": .* jq -c "\.events\[\]" FILE > events.ndjson'):
        read(text, reading=ReadOptions(format=format_))


def test_a_line_with_a_mistake_does_not_make_a_document_of_ndjson() -> None:
    rows = read('{"player": "p", "event":\n{"player": "p", "event": "e"}\n')
    assert [row.line for row in rows] == [1, 2]
    assert "not JSON at column" in str(rows[0].content)
    assert rows[1].content == Draft("p", "e", None)


def test_a_header_with_names_in_brackets_is_csv() -> None:
    assert [row.content for row in read("[id],player,event\nx,p,e\n")] == [Draft("p", "e", {})]


def test_an_array_on_one_line_does_not_fill_the_memory() -> None:
    class Endless:
        left = 32

        def read(self, _size: int = -1, /) -> bytes:
            self.left -= 1
            if self.left < 0:
                return b""
            begin, end = (b"[" if self.left == 31 else b",", b"]" if self.left == 0 else b"")
            return begin + b",".join([event] * 200) + end

    metadata = {"text": "x" * 280}
    event = json.dumps({"player": "p", "event": "e", "metadata": metadata}).encode()
    tracemalloc.start()
    try:
        rows = open_rows(Endless(), 0, READING, Findings())
        count = sum(1 for row in rows if row.content == Draft("p", "e", metadata))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert count == 6400
    assert peak < LONGEST_LINE < 6400 * len(event) / 2


names = st.sampled_from(["a", "b", "c"])
events = st.lists(
    st.fixed_dictionaries({"player": st.text(), "event": names, "metadata": st.dictionaries(names, st.text())})
)


@given(events, st.integers(0, 200), st.integers(1, 50), st.sampled_from(["array", "pretty array", "joined objects"]))
def test_a_file_that_was_cut_off_gives_only_events_that_it_has(
    table: list[dict[str, Any]], cut: int, piece: int, shape: str
) -> None:
    whole = SHAPES[shape](table)
    expected = [Draft(event["player"], event["event"], event["metadata"]) for event in table]
    found: list[object] = []
    try:
        data = whole[: max(0, len(whole) - cut)].encode()
        found.extend(row.content for row in open_rows(Bytes(data, piece), 0, READING, Findings()))
    except (ReadError, MappingError):
        pass
    drafts = [content for content in found if isinstance(content, Draft)]
    assert drafts == expected[: len(drafts)]


pieces = st.sampled_from(
    [
        *(bytes([byte]) for byte in b'{}[],\n\r ":;\0'),
        *(b"\xef\xbb\xbf", b"\xff\xfe", b"player", b"event", b"1", b"sep=;\n", b"player,event\n", b"p,e\n"),
        *(b'{"player":"p","event":"e"}', b'{"player":"p",\n"event":"e"}'),
    ]
)


@given(st.lists(pieces | st.binary(max_size=5), max_size=30).map(b"".join), st.integers(1, 40))
def test_any_bytes_are_rows_or_refused_however_they_arrive(data: bytes, piece: int) -> None:
    def outcome(piece: int) -> tuple[list[InputRow], str]:
        rows: list[InputRow] = []
        try:
            rows.extend(open_rows(Bytes(data, piece), 0, READING, Findings()))
        except (ReadError, MappingError) as error:
            return rows, str(error)
        return rows, ""

    rows, error = outcome(1 << 16)
    assert outcome(piece) == (rows, error)
    positions = [row.position for row in rows]
    assert all(before[1] < after[0] <= after[1] for before, after in itertools.pairwise(positions))


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("null", "the line is null"),
        ('"text"', "the line is a string"),
        ("[1]", "the entry is a number"),
        ('[["p", "e"]]', "the entry is an array"),
        ('{"player": "p", "event": "e",}', "Remove the comma before the closing bracket"),
    ],
)
def test_a_file_named_json_is_json_whatever_it_holds(text: str, reason: str) -> None:
    (row,) = read(text, reading=ReadOptions().for_path("events.json"))
    assert reason in str(row.content)


def test_objects_in_objects_cost_neither_time_nor_memory() -> None:
    text = '{"a":' * 200_000
    tracemalloc.start()
    try:
        (row,) = read(text)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert "nested too deeply" in str(row.content)
    assert peak < 16 * LONGEST_LINE
