"""What an event may hold, what becomes of it in JSON, and what is refused in which words."""

from __future__ import annotations

import json
from collections import OrderedDict, UserDict
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from enum import Enum, StrEnum
from fractions import Fraction
from types import MappingProxyType
from typing import Any, cast
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gameball_async import Event, InvalidEvent, validate_event
from gameball_async._core.events import encode_event
from gameball_async._core.texts import contact, text

from .strategies import Colour, Level, Number, Ratio, Size, Text, examples, metadata, names

SECRET = "tops3cret"


def decoded(encoded: bytes) -> dict[str, dict[str, Any]]:
    """Read by the standard library, every number as the exact decimal that was written."""
    return cast("dict[str, dict[str, Any]]", json.loads(b"{%b}" % encoded, parse_float=Decimal, parse_int=Decimal))


def refusal(call: Callable[[], object]) -> str:
    with pytest.raises(InvalidEvent) as caught:
        call()
    assert SECRET not in str(caught.value)
    return str(caught.value)


# ---------------------------------------------------------------- what is taken


def in_json(value: object) -> object:
    """What the documentation says becomes of a value, told once more and independently."""
    match value:
        case Enum():
            return in_json(value.value)
        case list() | tuple():
            return [in_json(item) for item in cast("list[object]", value)]
        case str() | UUID():
            return str.__str__(value) if isinstance(value, str) else str(value)
        case date():
            return value.isoformat()
        case float():
            return Decimal(float.__repr__(value))
        case Decimal() | int():
            return Decimal(value)
        case _:
            raise TypeError


@examples(300)
@given(names, metadata)
def test_whatever_is_accepted_reads_back_the_same_without_any_loss(name: str, given_metadata: dict[str, Any]) -> None:
    encoded = encode_event(name, given_metadata)

    assert decoded(encoded) == {name: {key: in_json(value) for key, value in given_metadata.items()}}


CONVERSIONS = [
    pytest.param("text", b'"text"', id="str"),
    pytest.param("", b'""', id="empty str"),
    pytest.param('"\\\n\x00é€🎁', b'"\\"\\\\\\n\\u0000\xc3\xa9\xe2\x82\xac\xf0\x9f\x8e\x81"', id="any UTF-8"),
    pytest.param(0, b"0", id="int"),
    pytest.param(2**63 - 1, b"9223372036854775807", id="greatest int"),
    pytest.param(-(2**63), b"-9223372036854775808", id="least int"),
    pytest.param(1.5, b"1.5", id="float"),
    pytest.param(-0.0, b"-0.0", id="negative zero"),
    pytest.param(5e-324, b"5e-324", id="least float"),
    pytest.param(1.7976931348623157e308, b"1.7976931348623157e308", id="greatest float"),
    pytest.param(Decimal("1350.00"), b"1350.00", id="Decimal with its zeros"),
    pytest.param(Decimal("0.1"), b"0.1", id="Decimal"),
    pytest.param(Decimal("-0.0"), b"-0.0", id="negative zero Decimal"),
    pytest.param(Decimal("1E+5"), b"100000", id="Decimal with an exponent"),
    pytest.param(Decimal("0E+5"), b"0", id="Decimal zero with an exponent"),
    pytest.param(Decimal("1E-28"), b"0." + b"0" * 27 + b"1", id="least Decimal"),
    pytest.param(Decimal("9" * 28), b"9" * 28, id="longest Decimal"),
    pytest.param(date(2026, 1, 31), b'"2026-01-31"', id="date"),
    pytest.param(datetime(2026, 1, 31, 12, 5), b'"2026-01-31T12:05:00"', id="datetime without a zone"),  # noqa: DTZ001
    pytest.param(datetime(2026, 1, 31, tzinfo=UTC), b'"2026-01-31T00:00:00+00:00"', id="datetime in UTC"),
    pytest.param(
        datetime(2026, 1, 31, 1, 2, 3, 4, timezone(timedelta(hours=-3, minutes=-30))),
        b'"2026-01-31T01:02:03.000004-03:30"',
        id="datetime with a zone",
    ),
    pytest.param(UUID("12345678-1234-5678-1234-567812345678"), b'"12345678-1234-5678-1234-567812345678"', id="UUID"),
    pytest.param(Colour.RED, b'"red"', id="Enum of a str"),
    pytest.param(Colour.SEVEN, b"7", id="Enum of an int"),
    pytest.param(Colour.HALF, b"0.5", id="Enum of a float"),
    pytest.param(Colour.TENTH, b"0.10", id="Enum of a Decimal"),
    pytest.param(Size.LARGE, b'"large"', id="StrEnum"),
    pytest.param(Level.GOLD, b"3", id="IntEnum"),
    pytest.param(Text("text"), b'"text"', id="a subclass of str"),
    pytest.param(Number(7), b"7", id="a subclass of int"),
    pytest.param(Ratio(0.5), b"0.5", id="a subclass of float"),
]


@pytest.mark.parametrize(("value", "expected"), CONVERSIONS)
def test_a_value_is_converted_to_exactly_this_json(value: Any, expected: bytes) -> None:
    assert encode_event("e", {"k": value}) == b'"e":{"k":%b}' % expected


@pytest.mark.parametrize(("value", "expected"), CONVERSIONS)
@pytest.mark.parametrize("array", [list, tuple, type("Basket", (list,), {})])
def test_a_value_in_an_array_is_converted_just_so(array: type, value: Any, expected: bytes) -> None:
    assert encode_event("e", {"k": array([value, "x"])}) == b'"e":{"k":[%b,"x"]}' % expected


@pytest.mark.parametrize("none", [None, {}, OrderedDict[str, str](), UserDict[str, str]()])
def test_an_event_without_metadata_is_an_empty_object(none: Any) -> None:
    assert encode_event("review", none) == b'"review":{}'


@pytest.mark.parametrize("empty", [[], ()])
def test_an_empty_array_stays_one(empty: Any) -> None:
    assert encode_event("e", {"k": empty}) == b'"e":{"k":[]}'


class Row(Mapping[str, object]):
    """A mapping as a database library may hand it out."""

    def __getitem__(self, key: str) -> object:
        return {"rooms": 2, "tags": ("a", "b")}[key]

    def __iter__(self) -> Iterator[str]:
        return iter(("rooms", "tags"))

    def __len__(self) -> int:
        return 2


@pytest.mark.parametrize(
    "mapping",
    [
        Row(),
        MappingProxyType({"rooms": 2, "tags": ["a", "b"]}),
        UserDict({"rooms": 2, "tags": ["a", "b"]}),
        OrderedDict([("rooms", 2), ("tags", ["a", "b"])]),
    ],
    ids=lambda mapping: type(mapping).__name__,
)
def test_any_mapping_will_do(mapping: Any) -> None:
    assert encode_event("reserve", mapping) == b'"reserve":{"rooms":2,"tags":["a","b"]}'


class Name(StrEnum):
    """Names as an application may keep them."""

    REVIEW = "review"


@pytest.mark.parametrize("name", [Text("review"), Name.REVIEW])
def test_names_and_keys_may_be_strings_of_a_type_of_their_own(name: str) -> None:
    assert encode_event(name, {name: 1}) == b'"review":{"review":1}'


def test_an_event_is_encoded_at_the_call_so_that_later_changes_change_nothing() -> None:
    tags = ["a"]
    live = {"tags": tags, "rooms": 2}

    encoded = encode_event("e", live)
    tags.append("b")
    live.clear()

    assert decoded(encoded) == {"e": {"tags": ["a"], "rooms": 2}}


# ---------------------------------------------------------------- values that are refused


class Silent(Enum):
    """Members whose values no event may hold."""

    YES = True
    NOTHING = None
    PAIR = (SECRET, SECRET)


SURROGATE = f"{SECRET}\ud800"

BAD_VALUES = [
    pytest.param(True, "is a bool", "send 0 or 1", id="True"),
    pytest.param(False, "is a bool", "send 0 or 1", id="False"),
    pytest.param(None, "is None", "leave the key out", id="None"),
    pytest.param({SECRET: SECRET}, "is a dict", "a key of its own", id="dict"),
    pytest.param({}, "is a dict", "a key of its own", id="empty dict"),
    pytest.param(MappingProxyType({SECRET: 1}), "is a mappingproxy", "a key of its own", id="mapping"),
    pytest.param(SECRET.encode(), "is a bytes", "decode it", id="bytes"),
    pytest.param(bytearray(b"1"), "is a bytearray", "decode it", id="bytearray"),
    pytest.param(memoryview(b"1"), "is a memoryview", "decode it", id="memoryview"),
    pytest.param({SECRET}, "is a set", "sort it into a list", id="set"),
    pytest.param(frozenset({SECRET}), "is a frozenset", "sort it into a list", id="frozenset"),
    pytest.param(float("nan"), "NaN or infinite", "leave the key out", id="nan"),
    pytest.param(float("inf"), "NaN or infinite", "leave the key out", id="inf"),
    pytest.param(float("-inf"), "NaN or infinite", "leave the key out", id="-inf"),
    pytest.param(Ratio("nan"), "NaN or infinite", "leave the key out", id="a nan of a type of its own"),
    pytest.param(Decimal("nan"), "NaN or infinite", "leave the key out", id="Decimal nan"),
    pytest.param(Decimal("snan"), "NaN or infinite", "leave the key out", id="Decimal snan"),
    pytest.param(Decimal("-inf"), "NaN or infinite", "leave the key out", id="Decimal inf"),
    pytest.param(2**63, "an int beyond 64 bits", "send it as a string", id="int above"),
    pytest.param(-(2**63) - 1, "an int beyond 64 bits", "send it as a string", id="int below"),
    pytest.param(10**5000, "an int beyond 64 bits", "send it as a string", id="int far above"),
    pytest.param(Number(2**63), "an int beyond 64 bits", "send it as a string", id="int of a type of its own"),
    pytest.param(Decimal("1" * 29), "more than 28 digits", "quantize it", id="Decimal of 29 digits"),
    pytest.param(Decimal("1E+29"), "more than 28 digits", "quantize it", id="huge Decimal"),
    pytest.param(Decimal("1E-29"), "more than 28 digits", "quantize it", id="tiny Decimal"),
    pytest.param(Decimal("1E+999999"), "more than 28 digits", "quantize it", id="endless Decimal"),
    pytest.param(SURROGATE, "lone surrogate", "replace it", id="lone surrogate"),
    pytest.param(Text(SURROGATE), "lone surrogate", "replace it", id="lone surrogate of a type of its own"),
    pytest.param(Silent.YES, "is a bool", "send 0 or 1", id="Enum of a bool"),
    pytest.param(Silent.NOTHING, "is None", "leave the key out", id="Enum of None"),
    pytest.param(time(12), "is a time", "convert it", id="time"),
    pytest.param(timedelta(1), "is a timedelta", "convert it", id="timedelta"),
    pytest.param(Fraction(1, 3), "is a Fraction", "convert it", id="Fraction"),
    pytest.param(1j, "is a complex", "convert it", id="complex"),
    pytest.param(object(), "is an object", "convert it", id="object"),
    pytest.param(iter([SECRET]), "is a list_iterator", "convert it", id="iterator"),
    pytest.param(int, "is a type", "convert it", id="class"),
]


@pytest.mark.parametrize(("value", "problem", "remedy"), BAD_VALUES)
@pytest.mark.parametrize("beside", [{}, {"price": Decimal("1.00")}], ids=["alone", "beside a converted value"])
def test_a_bad_value_is_refused_by_event_key_problem_and_remedy(
    value: Any, problem: str, remedy: str, beside: dict[str, Any]
) -> None:
    message = refusal(lambda: encode_event("place_order", {"fine": 1, **beside, "total": value}))

    assert message.startswith("event 'place_order', key 'total': the value ")
    assert problem in message
    assert remedy in message


@pytest.mark.parametrize(("value", "problem", "remedy"), BAD_VALUES)
@pytest.mark.parametrize("array", [list, tuple])
def test_a_bad_item_of_an_array_is_refused_likewise(
    array: Callable[[Any], Any], value: Any, problem: str, remedy: str
) -> None:
    message = refusal(lambda: encode_event("place_order", {"fine": 1, "total": array(["fine", value])}))

    assert message.startswith("event 'place_order', key 'total': ")
    assert problem in message
    assert remedy in message


@pytest.mark.parametrize("nested", [[SECRET], (SECRET,), [], Silent.PAIR])
@pytest.mark.parametrize("array", [list, tuple])
def test_an_array_in_an_array_is_refused_as_one_to_be_flattened(array: type, nested: Any) -> None:
    message = refusal(lambda: encode_event("e", {"k": array([nested])}))

    assert message.startswith("event 'e', key 'k': an item of the array is a ")
    assert "flatten it into one array" in message


def test_an_enum_of_a_tuple_is_no_array() -> None:
    assert "the value is a tuple" in refusal(lambda: encode_event("e", {"k": Silent.PAIR}))


# ---------------------------------------------------------------- keys that are refused

BAD_KEYS = [
    pytest.param(1, "is an int", id="int"),
    pytest.param(True, "is a bool", id="bool"),
    pytest.param(None, "is None", id="None"),
    pytest.param(b"key", "is a bytes", id="bytes"),
    pytest.param(("key",), "is a tuple", id="tuple"),
    pytest.param("", "is an empty string", id="empty"),
    pytest.param(Text(""), "is an empty string", id="empty of a type of its own"),
    pytest.param(" ", "is blank", id="space"),
    pytest.param("\t", "is blank", id="tab"),
    pytest.param("\N{NO-BREAK SPACE}", "is blank", id="no-break space"),
    pytest.param("\N{ZERO WIDTH SPACE}\N{HANGUL FILLER}", "is blank", id="zero width"),
    pytest.param(Colour.RED, "is a Colour", id="Enum"),
]


@pytest.mark.parametrize(("key", "problem"), BAD_KEYS)
def test_a_bad_key_is_refused_with_its_type_and_the_remedy(key: Any, problem: str) -> None:
    message = refusal(lambda: encode_event("place_order", {"fine": 1, key: SECRET}))

    assert message.startswith("event 'place_order': a metadata key is")
    assert problem in message
    assert "give a non-empty string" in message


def test_a_key_with_a_lone_surrogate_is_refused() -> None:
    message = refusal(lambda: encode_event("place_order", {"\ud800": SECRET}))

    assert message.startswith("event 'place_order': a metadata key holds a lone surrogate")
    assert "replace it" in message


def test_a_key_whose_number_is_too_long_to_be_shown_is_refused_like_any_other() -> None:
    assert "is an int" in refusal(lambda: encode_event("e", {10**5000: 1}))


class Quiet:
    """A key that cannot be shown."""

    def __str__(self) -> str:
        raise RuntimeError("no")


def test_a_key_that_cannot_be_shown_is_refused_like_any_other() -> None:
    assert "is a Quiet" in refusal(lambda: encode_event("e", {Quiet(): 1}))


class Caseless(str):
    """A string that is equal to nothing but itself, so that a dict may hold it twice."""

    __slots__ = ()

    def __eq__(self, other: object) -> bool:
        return self is other

    def __hash__(self) -> int:
        return id(self)


def test_two_keys_that_are_one_in_json_are_refused_and_not_sent_twice() -> None:
    message = refusal(lambda: encode_event("e", {Caseless("tag"): SECRET, Caseless("tag"): SECRET}))

    assert "key 'tag' occurs twice: use a list of values" in message


# ---------------------------------------------------------------- metadata that is no dict


@pytest.mark.parametrize(
    ("bad", "described"),
    [
        ([("k", SECRET)], "a list"),
        (SECRET, "a str"),
        (SECRET.encode(), "a bytes"),
        (7, "an int"),
        (True, "a bool"),
        ({SECRET}, "a set"),
        (Text, "a type"),
        (object(), "an object"),
    ],
)
def test_metadata_that_is_no_mapping_is_refused(bad: Any, described: str) -> None:
    message = refusal(lambda: encode_event("e", bad))

    assert message == f"event 'e': metadata is {described}: give a dict of keys and values."


# ---------------------------------------------------------------- names, ids, contacts

BAD_TEXTS = [
    pytest.param("", "is an empty string", "give a non-empty one", id="empty"),
    pytest.param(None, "is None", "give a non-empty string", id="None"),
    pytest.param(1, "is an int", "str(value)", id="int"),
    pytest.param(True, "is a bool", "give a non-empty string.", id="bool"),
    pytest.param(SECRET.encode(), "is a bytes", "value.decode()", id="bytes"),
    pytest.param([SECRET], "is a list", "give a non-empty string.", id="list"),
    pytest.param(UUID(int=1), "is a UUID", "str(value)", id="UUID"),
    pytest.param(SURROGATE, "lone surrogate", "replace it", id="lone surrogate"),
    pytest.param(Text(SURROGATE), "lone surrogate", "replace it", id="lone surrogate of a type of its own"),
    pytest.param(Text(""), "is an empty string", "give a non-empty one", id="empty of a type of its own"),
    pytest.param(" \t\n", "is blank", "give one that can be seen", id="white space"),
    pytest.param("\N{NO-BREAK SPACE}", "is blank", "give one that can be seen", id="no-break space"),
    pytest.param("\N{ZERO WIDTH SPACE}", "is blank", "give one that can be seen", id="zero width"),
    pytest.param("\N{ZERO WIDTH NO-BREAK SPACE} ", "is blank", "give one that can be seen", id="byte order mark"),
    pytest.param("\N{HANGUL FILLER}", "is blank", "give one that can be seen", id="filler"),
    pytest.param("\x00\x1b", "is blank", "give one that can be seen", id="control characters"),
    pytest.param(Text("\N{IDEOGRAPHIC SPACE}"), "is blank", "give one that can be seen", id="space of its own type"),
]


@pytest.mark.parametrize(("value", "problem", "remedy"), BAD_TEXTS)
@pytest.mark.parametrize("given_metadata", [None, {"k": 1}, {"k": Decimal(1)}])
def test_a_bad_name_is_refused(value: Any, problem: str, remedy: str, given_metadata: Any) -> None:
    message = refusal(lambda: validate_event("player123", value, given_metadata))

    assert message.startswith("the event's name ")
    assert problem in message
    assert remedy in message


@pytest.mark.parametrize(("value", "problem", "remedy"), BAD_TEXTS)
def test_a_bad_player_id_is_refused(value: Any, problem: str, remedy: str) -> None:
    message = refusal(lambda: validate_event(value, "e"))

    assert message.startswith("player_unique_id ")
    assert problem in message
    assert remedy in message


@pytest.mark.parametrize(("value", "problem", "remedy"), [row for row in BAD_TEXTS if row.id != "None"])
@pytest.mark.parametrize("which", ["mobile", "email"])
def test_a_bad_contact_is_refused(which: str, value: Any, problem: str, remedy: str) -> None:
    arguments: dict[str, Any] = {which: value}

    message = refusal(lambda: validate_event("player123", "e", **arguments))

    assert message.startswith(f"{which} (omit it if unknown) ")
    assert problem in message
    assert remedy in message


def test_an_absent_contact_is_none() -> None:
    assert contact("email", None) is None


@pytest.mark.parametrize("value", ["id", Text("id"), "ïd", Text("ïd")])
def test_a_text_becomes_a_plain_string(value: str) -> None:
    assert text("what", value) == value
    assert type(text("what", value)) is str


def test_a_sound_event_is_found_valid() -> None:
    validate_event("player123", "reserve", {"rooms": 2}, mobile="+1234567", email="jon.snow@example.com")


def test_a_long_name_is_shortened_in_messages() -> None:
    message = refusal(lambda: encode_event("n" * 1000, {"k" * 1000: None}))

    assert len(message) < 400
    assert "n…'" in message
    assert "k…'" in message


@pytest.mark.parametrize("name", ["two\nlines", "\x1b[31mred", "\u202ebackwards", "nul\x00"])
def test_a_name_cannot_forge_a_line_of_a_log(name: str) -> None:
    assert refusal(lambda: encode_event(name, {"k": None})).isprintable()


MARKED = st.builds("{}{}".format, st.just(SECRET), st.text(max_size=5))


@examples(100)
@given(
    st.recursive(MARKED, lambda inner: st.dictionaries(MARKED, inner, min_size=1) | st.lists(inner, min_size=1))
    | MARKED.map(str.encode).filter(bool)
    | st.frozensets(MARKED, min_size=1)
)
def test_no_message_ever_shows_a_value(value: Any) -> None:
    try:
        encode_event("e", {"k": [[value]]})
    except InvalidEvent as error:
        assert SECRET not in str(error)  # noqa: PT017 the value may also be a sound one
    else:
        pytest.fail("an array in an array was accepted")


# ---------------------------------------------------------------- Event


def event(**changes: Any) -> Event:
    fields: dict[str, Any] = {
        "player_unique_id": "player123",
        "name": "reserve",
        "mobile": "+1234567",
        "email": "jon.snow@example.com",
        "encoded": encode_event("reserve", {"rooms": 2, "price": Decimal("9.50"), "on": date(2026, 1, 31)}),
    }
    return Event(**fields | changes)


def test_the_repr_of_an_event_shows_its_name_alone() -> None:
    assert repr(event()) == "Event(name='reserve')"


def test_the_metadata_of_an_event_can_be_read_again() -> None:
    assert event().metadata == {"rooms": 2, "price": 9.5, "on": "2026-01-31"}


def test_events_are_values() -> None:
    assert event() == event()
    assert event() != event(mobile=None)
    assert hash(event()) == hash(event())
    with pytest.raises(AttributeError):
        event().name = "other"  # type: ignore[misc]
