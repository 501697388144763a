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
from gameball_async.cli._csv import read_csv
from gameball_async.cli._lines import Draft, InputRow, MappingError, ReadError, read_lines

from .test_lines import Bytes

if TYPE_CHECKING:
    from collections.abc import Sequence

NOTED = Columns(player="id", event="buy", metadata=(MetadataColumn("note", "note"),))

cells = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\r\0"), min_size=1)


def read(
    text: str | bytes, columns: Columns = NOTED, *, delimiter: str | None = ",", encoding: str = "utf-8"
) -> list[InputRow]:
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
        (b"x", "1 cell where the header has 2"),
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
        == "a quote is opened and not closed in its record: close it, or double it if it is part of the text."
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
        (Columns(event="e"), 'there is no column "player_unique_id" or "player": use --player-column'),
        (Columns(player="id"), 'there is no column "event" or "name": use --event'),
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


# ------------------------------------------------------------------ delimiters

named = st.sampled_from(["id", "note", "ID", "Note ", " id", "a,b", "x;y", "t\tt", "p|q", ""])


@given(st.lists(st.tuples(cells, cells), max_size=3), st.sampled_from(",;\t|"), st.sampled_from(["id", " ID ", '"Id"']))
def test_the_delimiter_is_recognized_by_the_header(table: list[tuple[str, str]], delimiter: str, name: str) -> None:
    header = f"{name}{delimiter}extra{delimiter}Note\n"
    body = written([(player, "", note) for player, note in table], delimiter)
    assert read(header + body, delimiter=None) == read(header + body, delimiter=delimiter)


@given(st.lists(named, max_size=4), st.lists(st.lists(st.text(",;\t|ab", min_size=1), max_size=4), max_size=3))
def test_a_file_that_fits_with_commas_is_read_with_commas(names: list[str], table: list[list[str]]) -> None:
    text = written([["id", *names, "note"], *table], ",")
    try:
        expected = read(text, delimiter=",")
    except MappingError:
        return
    assert read(text, delimiter=None) == expected


@pytest.mark.parametrize("line", ["sep=;", "SEP=;", '"sep=;"', "sep=; "])
@pytest.mark.parametrize("delimiter", [None, ";"])
def test_the_line_that_names_the_delimiter_for_excel_is_skipped(line: str, delimiter: str | None) -> None:
    (row,) = read(f"{line}\r\nid;note\r\na;1,5\r\n", delimiter=delimiter)
    assert (row.line, row.previous, row.content) == (3, 2, Draft("a", "buy", {"note": "1,5"}))


def test_the_line_that_names_the_delimiter_may_name_any() -> None:
    assert [row.content for row in read("sep=^\nid^note\na^1\n", delimiter=None)] == [Draft("a", "buy", {"note": "1"})]
    assert [row.content for row in read("sep=\t\nid\tnote\na\t1\n", delimiter=None)] == [
        Draft("a", "buy", {"note": "1"})
    ]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("id;note\na;1\n", r'there is no column "id": the header has "id;note"\. .*Give --delimiter ";"\.'),
        ("id\tnote\na\t1\n", r"Give --delimiter tab\."),
        ("id\x01note\na\x011\n", r"If another character separates its cells, name it with --delimiter\."),
        ("Orders\n\nid,note\na,1\n", r"Line 3 is the header: delete what is above it\."),
    ],
)
def test_a_header_that_does_not_fit_names_what_helps(text: str, reason: str) -> None:
    with pytest.raises(MappingError, match=reason):
        read(text, delimiter=",")


def test_a_header_that_fits_nowhere_is_shown_with_the_delimiter_that_gives_most_columns() -> None:
    with pytest.raises(MappingError, match='the header has "a", "b,c", "d"'):
        read("a;b,c;d\n", delimiter=None)


# ------------------------------------------------------------------ headers


@pytest.mark.parametrize("name", ["CustomerID", "customerid", " CustomerID ", "CUSTOMERID\u00a0", "\ufeffCustomerId"])
def test_case_and_spaces_in_a_header_do_not_matter(name: str) -> None:
    (row,) = read(f"{name},NOTE\na,1\n", Columns(player="CustomerID", event="e_{note}", metadata=NOTED.metadata))
    assert row.content == Draft("a", "e_1", {"note": "1"})


@pytest.mark.parametrize("name", ["Player Unique ID", "player-unique-id", " PLAYER_UNIQUE_ID", "Player"])
def test_usual_names_are_recognized_in_other_spellings(name: str) -> None:
    (row,) = read(f"{name},Event\na,visit\n", Columns())
    assert row.content == Draft("a", "visit", {})


def test_the_exact_name_goes_before_a_similar_one_and_two_similar_ones_are_refused() -> None:
    (row,) = read("ID,id,note\nwrong,right,1\n")
    assert row.content == Draft("right", "buy", {"note": "1"})
    with pytest.raises(MappingError, match='column "id" may be each of "ID" and "Id": write it exactly'):
        read("ID,Id,note\na,b,1\n")


def test_a_misspelt_column_is_answered_with_the_one_that_is_meant() -> None:
    with pytest.raises(MappingError, match=r'Do you mean "CustomerID"\?'):
        read("CustomerID,note\n", Columns(player="CostumerID", event="e"))


@pytest.mark.parametrize("type_", ["boolean", "str", "Int", "time", "number", ""])
def test_an_unknown_type_lists_the_valid_ones(type_: str) -> None:
    columns = Columns(player="id", event="e", metadata=(MetadataColumn.parse(f"amount:{type_}=total"),))
    with pytest.raises(
        MappingError, match=f'unknown type "{type_}" of column "amount": the types are string, int, decimal'
    ):
        read("id,Amount\na,1\n", columns)


def test_an_unknown_type_of_an_unknown_column_names_both() -> None:
    columns = Columns(player="id", event="e", metadata=(MetadataColumn.parse("amuont:money"),))
    with pytest.raises(
        MappingError, match='no column "amuont:money", and "money" is not a type: the types are string, int'
    ):
        read("id,amount\na,1\n", columns)


def test_a_column_may_have_a_colon_in_its_name() -> None:
    columns = Columns(player="id", event="e", metadata=(MetadataColumn.parse("amount:money"),))
    (row,) = read("id,amount:money\na,1\n", columns)
    assert row.content == Draft("a", "e", {"amount:money": "1"})


def test_comments_above_the_header_are_skipped_unless_the_header_begins_with_their_sign() -> None:
    (row,) = read("# made by the shop\n#\n\nid,note\na,1\n")
    assert (row.line, row.content) == (5, Draft("a", "buy", {"note": "1"}))
    (row,) = read("#id,note\na,1\n", Columns(player="#id", event="e"))
    assert row.content == Draft("a", "e", {})


@pytest.mark.parametrize("text", ["id,note,\na,1,\n", "id,note\na,1,\n", "id,note,,\na,1\n", "id,note\na,1,,,\n"])
def test_delimiters_at_the_end_of_a_line_do_not_matter(text: str) -> None:
    assert [row.content for row in read(text)] == [Draft("a", "buy", {"note": "1"})]


# ------------------------------------------------------------------ joined files


def joined(text: str, columns: Columns = NOTED) -> tuple[list[InputRow], list[int]]:
    headers: list[int] = []
    lines = read_lines(Bytes(text.encode()))
    rows = read_csv(
        lines, file=0, encoding="utf-8", delimiter=None, bind=columns.bind, on_repeated_header=headers.append
    )
    return list(rows), headers


@pytest.mark.parametrize(
    ("header", "line"),
    [
        ("id,note", "b,2"),
        ("ID, Note", "b,2"),
        ("\ufeffid,note", "b,2"),
        ("note,id", "2,b"),
        ("Note,extra,ID", "2,x,b"),
        ("extra,note,id", "x,2,b"),
        ("id,note,extra,", "b,2,x"),
    ],
)
def test_a_header_below_the_first_is_no_event_and_says_how_the_lines_below_it_are_read(header: str, line: str) -> None:
    rows, headers = joined(f"id,note\na,1\n{header}\n{line}\n")
    assert headers == [3]
    assert [(row.line, row.previous, row.content) for row in rows] == [
        (2, 1, Draft("a", "buy", {"note": "1"})),
        (4, 2, Draft("b", "buy", {"note": "2"})),
    ]


def test_below_a_header_that_lacks_a_column_nothing_is_sent_until_one_fits() -> None:
    rows, headers = joined("id,note,x\na,1,\nid,text,x\nb,2,\nid,note\nc,3\n")
    assert headers == [3, 5]
    assert rows[0].content == Draft("a", "buy", {"note": "1"})
    assert str(rows[1].content).startswith('the header above it, in line 3, does not fit: there is no column "note"')
    assert rows[2].content == Draft("c", "buy", {"note": "3"})


def test_a_player_called_as_the_column_is_rejected_and_not_taken_for_an_event() -> None:
    rows, headers = joined("id,note\nID,other\nb,2\n")
    assert not headers
    assert str(rows[0].content).startswith('the player\'s id is the name of its column, "ID": if the line is a header')
    assert rows[1].content == Draft("b", "buy", {"note": "2"})


def test_a_cell_that_is_called_as_a_column_makes_no_header() -> None:
    rows, headers = joined("id,note\na,id\nb,note\n")
    assert not headers
    assert [row.content for row in rows] == [Draft("a", "buy", {"note": "id"}), Draft("b", "buy", {"note": "note"})]


def test_json_below_csv_is_rejected() -> None:
    rows, _ = joined('id\na\n{"player": "p"}\n{a}\n', Columns(player="id", event="e"))
    assert [row.content for row in rows] == [
        Draft("a", "e", {}),
        "the line is a JSON object, and the file began as CSV: send both parts as separate files.",
        Draft("{a}", "e", {}),
    ]


# ------------------------------------------------------------------ bytes


@pytest.mark.parametrize("length", [131_072, 131_073, 1_000_000])
@pytest.mark.parametrize("quote", ["", '"'])
def test_a_long_cell_costs_nothing(length: int, quote: str) -> None:
    (row,) = read(f"id,unused,note\na,{quote}{'x' * length}{quote},1\n")
    assert row.content == Draft("a", "buy", {"note": "1"})


def test_a_nul_byte_is_named() -> None:
    rows = read("id,note\na\0,1\nb,2\n")
    assert "has a NUL byte" in str(rows[0].content)
    assert rows[1].content == Draft("b", "buy", {"note": "2"})


def test_a_carriage_return_inside_a_line_is_named_and_in_quotes_it_is_text() -> None:
    rows = read('id,note\na,1\rb,2\nc,"3\r4"\n')
    assert "a carriage return (CR) is in the middle of the line" in str(rows[0].content)
    assert rows[1].content == Draft("c", "buy", {"note": "3\r4"})


@pytest.mark.parametrize("text", ["| id | note |\n|----|------|\n| a | 1 |\n", " id | note\n----+------\n a  | 1\n"])
def test_a_table_for_people_is_refused_with_what_to_do(text: str) -> None:
    with pytest.raises(MappingError, match="the cells are padded with spaces, as in a table for people"):
        read(text, delimiter=None)


@pytest.mark.parametrize("text", ["#id,note\na,1\n", "#\n#id,note\na,1\n", "# made by the shop\nidd,note\na,1\n"])
def test_a_header_that_does_not_fit_is_shown_and_no_line_below_it(text: str) -> None:
    with pytest.raises(MappingError, match=r'the header has "(#id|idd)", "note"'):
        read(text)
