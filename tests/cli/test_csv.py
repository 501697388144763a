"""A CSV file becomes records; what is wrong with one line costs that line and no other."""

from __future__ import annotations

import csv
import io
from decimal import Decimal
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gameball_async.cli._columns import Columns, MetadataColumn
from gameball_async.cli._csv_records import read_csv
from gameball_async.cli._lines import read_lines
from gameball_async.cli._rows import Draft, MappingError, ReadError, Row

from .test_lines import Bytes

if TYPE_CHECKING:
    from collections.abc import Sequence

NOTED = Columns(player="id", event="buy", metadata=(MetadataColumn("note", "note"),))

cells = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\r"), min_size=1)


def read(text: str | bytes, columns: Columns = NOTED, *, delimiter: str = ",", encoding: str = "utf-8") -> list[Row]:
    data = text.encode(encoding) if isinstance(text, str) else text
    lines = read_lines(Bytes(data))
    return list(read_csv(lines, file=0, encoding=encoding, delimiter=delimiter, bind=columns.bind))


def written(rows: Sequence[Sequence[str]], delimiter: str) -> str:
    text = io.StringIO(newline="")
    csv.writer(text, delimiter=delimiter, quoting=csv.QUOTE_ALL).writerows(rows)
    return text.getvalue()


@given(st.lists(st.tuples(cells, cells)), st.sampled_from(",;\t|"))
def test_every_cell_arrives_as_it_was_written(table: list[tuple[str, str]], delimiter: str) -> None:
    rows = read(written([("id", "note"), *table], delimiter), delimiter=delimiter)
    assert [row.content for row in rows] == [Draft(player, "buy", {"note": note}) for player, note in table]


@given(st.lists(st.tuples(cells, cells)))
def test_rows_cover_the_file_line_by_line_and_keep_their_bytes(table: list[tuple[str, str]]) -> None:
    text = written([("id", "note"), *table], ",")
    rows = read(text)
    assert "".join(row.raw.decode() for row in rows) == text.removeprefix('"id","note"\r\n')
    assert [row.previous for row in rows] == [1, *(row.last_line for row in rows)][: len(rows)]
    assert all(row.line == row.previous + 1 <= row.last_line for row in rows)


@given(st.binary(max_size=300))
def test_any_bytes_below_a_header_are_events_or_reasons_and_no_line_is_lost(data: bytes) -> None:
    rows = read(b"id,note\n" + data)
    kept = "".join(row.raw.decode("latin-1") for row in rows).replace("\n", "").replace("\r", "")
    assert kept == data.decode("latin-1").replace("\n", "").replace("\r", "")


@pytest.mark.parametrize(
    "bad",
    [
        'x,"no end',
        'x,"early" end',
        '"x,y',
        "x",
        "x,y,z",
        ",nobody",
        b"x,\xe9",
        b'x,"\xe9',
    ],
)
@pytest.mark.parametrize("after", ["b,2", '"b","2"', 'b,"2"'])
def test_a_bad_line_costs_only_itself(bad: str | bytes, after: str) -> None:
    bad = bad.encode() if isinstance(bad, str) else bad
    rows = read(b"id,note\na,1\n" + bad + b"\n" + after.encode() + b"\nc,3\n")
    assert [row.line for row in rows] == [2, 3, 4, 5]
    assert [row.content for row in rows if isinstance(row.content, Draft)] == [
        Draft("a", "buy", {"note": "1"}),
        Draft("b", "buy", {"note": "2"}),
        Draft("c", "buy", {"note": "3"}),
    ]
    assert rows[1].raw == bad + b"\n"


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b'x,"no end', "a quote is opened and not closed in its record"),
        (b'x,"early" end', "not CSV: ',' expected after '\"'"),
        (b"x", "1 cells where the header has 2"),
        (b"x,y,z", "3 cells where the header has 2"),
        (b",nobody", 'column "id" is empty'),
        (b"x,\xe9", "byte 3 of the line (0xe9) is not UTF-8"),
        (b"x," + b"y" * 2_000_000, "the line is longer than 1,048,576 bytes"),
    ],
)
def test_a_bad_line_says_why(line: bytes, reason: str) -> None:
    (row, *_) = read(b"id,note\n" + line + b"\na,1\n")
    assert isinstance(row.content, str)
    assert reason in row.content


def test_an_unclosed_quote_does_not_make_one_cell_of_the_file() -> None:
    rows = read('id,note\nx,"no end\n' + "a,1\n" * 50_000)
    assert (
        rows[0].content
        == "a quote is opened and not closed in its record: close it, or double it if it belongs to the text."
    )
    assert [row.line for row in rows] == list(range(2, 50_003))
    assert all(row.content == Draft("a", "buy", {"note": "1"}) for row in rows[1:])


def test_a_cell_may_hold_line_ends() -> None:
    (row, after) = read('id,note\r\na,"one\r\ntwo"\r\nb,2\r\n')
    assert row.content == Draft("a", "buy", {"note": "one\r\ntwo"})
    assert (row.line, row.last_line, after.line, after.previous) == (2, 3, 4, 3)


def test_blank_lines_are_skipped_and_counted() -> None:
    (row, after) = read("id,note\n\na,1\n\n\nb,2\n")
    assert [(row.line, row.previous), (after.line, after.previous)] == [(3, 1), (6, 3)]


def test_an_empty_file_has_no_rows() -> None:
    assert read("") == read("id,note\n") == []


def test_another_encoding_can_be_named() -> None:
    (row,) = read("id,note\na,Crème brûlée €\n", encoding="cp1252")
    assert row.content == Draft("a", "buy", {"note": "Crème brûlée €"})


def test_a_header_that_cannot_be_read_stops_the_file() -> None:
    with pytest.raises(ReadError, match="the header cannot be read: byte 3"):
        read(b"id\xe9,note\na,1\n")


def test_columns_become_an_event() -> None:
    columns = Columns(
        player="CustomerID",
        event="bought_{StockCode}",
        metadata=(
            MetadataColumn.parse("Quantity:int=quantity"),
            MetadataColumn.parse("UnitPrice:decimal=price"),
            MetadataColumn.parse("Weight:float"),
            MetadataColumn.parse("Description"),
        ),
        mobile="Phone",
        email="Mail",
    )
    text = "CustomerID,StockCode,Quantity,UnitPrice,Weight,Description,Phone,Mail\n"
    (full, sparse) = read(text + "17850,85123A, -6 ,2.550,.5,LANTERN,+1234567,jon@example.com\n1,2,,,,,,\n", columns)
    assert full.content == Draft(
        "17850",
        "bought_85123A",
        {"quantity": -6, "price": Decimal("2.550"), "Weight": 0.5, "Description": "LANTERN"},
        "+1234567",
        "jon@example.com",
    )
    assert sparse.content == Draft("1", "bought_2", {}, None, None)


def test_usual_names_of_columns_need_no_options() -> None:
    (row,) = read("player,event\np,visit\n", Columns())
    assert row.content == Draft("p", "visit", {})


@pytest.mark.parametrize(
    ("columns", "reason"),
    [
        (Columns(player="who", event="e"), 'there is no column "who": the header has "id", "note", "id2", "id2"'),
        (Columns(player="id2", event="e"), 'column "id2" occurs 2 times'),
        (Columns(event="e"), 'none of the columns is called "player_unique_id" or "player": use --player-column'),
        (Columns(player="id"), 'none of the columns is called "event" or "name": use --event'),
        (Columns(player="id", event="{what}"), 'there is no column "what"'),
        (Columns(player="id", event="e", mobile="phone"), 'there is no column "phone"'),
        (Columns(player="id", event="e", metadata=(MetadataColumn("no", "no"),)), 'there is no column "no"'),
    ],
)
def test_a_mapping_that_does_not_fit_the_header_is_told(columns: Columns, reason: str) -> None:
    with pytest.raises(MappingError, match=reason):
        read("id,note,id2,id2\na,1,2,3\n", columns)


@pytest.mark.parametrize(
    ("type_", "cell", "reason"),
    [
        ("int", "1.5", '"1.5" is not a whole number'),
        ("int", "1_000", '"1_000" is not a whole number'),
        ("int", "٣", "is not a whole number"),
        ("int", "9" * 401, "too many digits"),
        ("decimal", '"2,55"', '"2,55" is not a number: write it with a point'),
        ("decimal", "nan", '"nan" is not a number'),
        ("decimal", "£2.55", '"£2.55" is not a number'),
        ("decimal", "1e-9999999999999999999", "has too many digits: use the type string"),
        ("float", "1e999", "too large for a float"),
        ("float", "1e9999999999999999999", "has too many digits: use the type string"),
        ("float", "Infinity", '"Infinity" is not a number'),
    ],
)
def test_a_cell_that_is_not_the_number_it_should_be_is_told(type_: str, cell: str, reason: str) -> None:
    columns = Columns(player="id", event="e", metadata=(MetadataColumn("n", "n", type_),))
    (row,) = read(f"id,n\na,{cell}\n", columns)
    assert isinstance(row.content, str)
    assert row.content.startswith('column "n": ')
    assert reason in row.content


@pytest.mark.parametrize(
    ("text", "parsed"),
    [
        ("Quantity", MetadataColumn("Quantity", "Quantity", "string")),
        ("Quantity:int", MetadataColumn("Quantity", "Quantity", "int")),
        ("Quantity=q", MetadataColumn("Quantity", "q", "string")),
        ("Unit Price:decimal=price", MetadataColumn("Unit Price", "price", "decimal")),
        ("a:b", MetadataColumn("a:b", "a:b", "string")),
        ("a=b=a=b", MetadataColumn("a=b=a", "b", "string")),
        ("a:b:float", MetadataColumn("a:b", "a:b", "float")),
    ],
)
def test_a_metadata_option_names_column_type_and_key(text: str, parsed: MetadataColumn) -> None:
    assert MetadataColumn.parse(text) == parsed


@pytest.mark.parametrize("text", ["", "=key", "Quantity=", ":int", ":int=q"])
def test_a_metadata_option_without_a_column_or_key_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="write COLUMN"):
        MetadataColumn.parse(text)
