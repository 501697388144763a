"""Every suggestion of an `InvalidEvent` works when it is typed as it stands."""

from __future__ import annotations

import array
import dataclasses
import re
from collections import deque
from collections.abc import Mapping
from datetime import UTC, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from fractions import Fraction
from ipaddress import ip_address, ip_network
from pathlib import PurePosixPath
from types import MappingProxyType
from typing import Any, NamedTuple
from uuid import UUID

import attrs
import msgspec
import pydantic
import pytest

from gameball_async import InvalidEvent, validate_event
from gameball_async._core.events import encode_event

KEY = "address"
MOST_STEPS = 8
"""Suggestions that may be needed for one value, such as one for each level of an object."""

SUGGESTION = re.compile(r"for example (?:with )?(?P<expression>.+?)(?:, or a word such as 'yes')?\.$")


@dataclasses.dataclass
class City:
    name: str
    population: int | None = None


@dataclasses.dataclass
class Address:
    city: City
    lines: list[str]
    is_private: bool = False


@attrs.frozen
class Parcel:
    weight: Decimal
    owner: City | None = None


class Coordinates(msgspec.Struct):
    north: float
    east: float


class Model(pydantic.BaseModel):
    city: str
    note: str | None = None
    gift: bool = False
    at: datetime = datetime(2026, 1, 31, tzinfo=UTC)


class Nested(pydantic.BaseModel):
    home: Model
    others: list[Model]
    tags: set[str] = {"a", "b"}


class Root(pydantic.RootModel[list[int]]):
    pass


class Pair(NamedTuple):
    first: int
    second: str


class Row:
    """A row as a database library may hand it out: no mapping, but one can be made of it."""

    def keys(self) -> list[str]:
        return ["city"]

    def __getitem__(self, key: str) -> str:
        return key


class Odd(Enum):
    """Members whose values no event may hold."""

    YES = True
    NOTHING = None
    PAIR = (1, 2)
    SPAN = timedelta(1)
    OBJECT = {"a": 1}  # noqa: RUF012 that is the oddity
    HUGE = 2**70
    BROKEN = "\ud800"


class Missing(datetime):
    """As `pandas.NaT` is: a datetime that is not equal to itself."""

    def __eq__(self, other: object) -> bool:
        return False

    def __ne__(self, other: object) -> bool:
        return True

    __hash__ = datetime.__hash__

    def isoformat(self, *_: object, **__: object) -> str:
        return "NaT"


class NAType:
    """As `pandas.NA` is: what it is compared with, it has no truth value."""

    def __ne__(self, other: object) -> Any:
        return self

    __hash__ = object.__hash__

    def __bool__(self) -> bool:
        raise TypeError("boolean value of NA is ambiguous")


class NanText(str):
    """A text that is not equal to itself."""

    __slots__ = ()

    def __ne__(self, other: object) -> bool:
        return True

    __hash__ = str.__hash__


MISSING = Missing(2026, 1, 31)

BAD_VALUES: dict[str, Any] = {
    "True": True,
    "None": None,
    "nan": float("nan"),
    "inf": float("inf"),
    "signalling nan": Decimal("sNaN"),
    "a datetime that is missing": MISSING,
    "an object that is missing": NAType(),
    "a text that is not equal to itself": NanText("text"),
    "dict": {"city": "Cairo", "zip": 1},
    "dict of a nested dict": {"city": {"name": "Cairo", "district": {"name": "Maadi"}}, "zip": True},
    "dict whose keys are no strings": {1: "x", 2: None},
    "empty dict": {},
    "mapping": MappingProxyType({"city": "Cairo"}),
    "dicts": [{"price": 1.5, "name": "a"}, {"price": 2, "size": True}],
    "dicts beside others": ["a", {"price": 1.5}],
    "tuple of dicts": ({"price": 1.5},),
    "dict of dicts in an array": [{"product": {"name": "a"}}],
    "arrays": [["a"], ["b", "c"]],
    "arrays beside others": ["abc", ["b", ["c"]], 1],
    "bytes": b"text",
    "bytes that are no UTF-8": b"\xff\xfe",
    "bytearray": bytearray(b"text"),
    "memoryview": memoryview(b"text"),
    "set": {1, "b"},
    "frozenset": frozenset({"a", "b"}),
    "keys": {"a": 1}.keys(),
    "values": {"a": 1}.values(),
    "items": {"a": 1}.items(),
    "range": range(3),
    "deque": deque(["a"]),
    "array": array.array("i", [1, 2]),
    "int above": 2**63,
    "int far above": 10**5000,
    "Decimal of 29 digits": Decimal("1" * 29),
    "Decimal that is huge": Decimal("1E+999999"),
    "lone surrogate": "a\ud800",
    "time": time(12),
    "timedelta": timedelta(1),
    "Fraction": Fraction(1, 3),
    "complex": 1j,
    "path": PurePosixPath("/etc"),
    "path that is no UTF-8": PurePosixPath("/\udcff"),
    "IP address": ip_address("127.0.0.1"),
    "IP network": ip_network("10.0.0.0/8"),
    "object": object(),
    "class": Model,
    "dataclass": Address(City("Cairo"), ["1", "2"]),
    "attrs": Parcel(Decimal("1.5"), City("Cairo")),
    "msgspec": Coordinates(1.5, 2.5),
    "pydantic": Model(city="Cairo"),
    "pydantic of models": Nested(home=Model(city="Cairo"), others=[Model(city="Giza", note="x")]),
    "pydantic models": [Model(city="Cairo"), Model(city="Giza")],
    "pydantic root": Root([1, 2]),
    "row": Row(),
    "Enum of a bool": Odd.YES,
    "Enum of None": Odd.NOTHING,
    "Enum of a tuple": Odd.PAIR,
    "Enum of a timedelta": Odd.SPAN,
    "Enum of a dict": Odd.OBJECT,
    "Enum of an int beyond 64 bits": Odd.HUGE,
    "Enum of a lone surrogate": Odd.BROKEN,
}

MODULES: dict[str, Any] = {"dataclasses": dataclasses, "attrs": attrs, "msgspec": msgspec}


def fix(metadata: dict[str, Any], error: InvalidEvent) -> dict[str, Any]:
    """Do what the message says."""
    message = str(error)
    key = re.search(r"key '([^']*)'", message)
    assert key is not None
    value = metadata[key[1]]
    others = {name: value for name, value in metadata.items() if name != key[1]}
    if re.search(r"leave the key out(, or the item)?\.$", message):
        return others
    suggestion = SUGGESTION.search(message)
    assert suggestion is not None, message
    expression = suggestion["expression"]
    fixed = eval(expression, {**MODULES, "value": value, "metadata": metadata})  # the message is ours
    item = re.search(r"value\[(\d+)\]", expression)
    if "metadata." in expression:
        return dict[str, Any](fixed)
    if "key of its own" in message:
        others |= fixed
        return others if item is None else others | {key[1]: without(value, int(item[1]))}
    if item is not None:
        fixed = [*value[: int(item[1])], fixed, *value[int(item[1]) + 1 :]]
    return others | {key[1]: fixed}


def without(items: list[Any], at: int) -> list[Any]:
    return [*items[:at], *items[at + 1 :]]


def followed(metadata: Any) -> Mapping[str, Any]:
    """The metadata after every suggestion was followed; it is accepted."""
    for _ in range(MOST_STEPS):
        try:
            validate_event("player123", "place_order", metadata)
        except InvalidEvent as error:
            metadata = fix(metadata, error)
        else:
            return metadata  # type: ignore[no-any-return]
    pytest.fail(f"{MOST_STEPS} suggestions were not enough: {metadata!r}")


@pytest.mark.parametrize("bad", BAD_VALUES)
def test_a_suggestion_for_a_value_works(bad: str) -> None:
    metadata = {"fine": 1, KEY: BAD_VALUES[bad]}

    with pytest.raises(InvalidEvent):
        validate_event("player123", "place_order", metadata)

    assert followed(metadata)["fine"] == 1


@pytest.mark.parametrize("bad", BAD_VALUES)
@pytest.mark.parametrize("make", [list, tuple])
def test_a_suggestion_for_an_item_of_an_array_works(make: type, bad: str) -> None:
    metadata = {"fine": 1, KEY: make(["fine", BAD_VALUES[bad], 2])}

    with pytest.raises(InvalidEvent):
        validate_event("player123", "place_order", metadata)

    assert followed(metadata)["fine"] == 1


def test_an_iterator_is_to_be_made_a_list() -> None:
    with pytest.raises(InvalidEvent, match=r"for example list\(value\)\.$"):
        validate_event("player123", "e", {"k": iter("ab")})  # type: ignore[dict-item] # pyright: ignore[reportArgumentType]


async def later() -> int:
    return 1


def test_a_coroutine_is_to_be_awaited() -> None:
    coroutine = later()
    with pytest.raises(InvalidEvent, match=r"for example await value\.$"):
        validate_event("player123", "e", {"k": coroutine})  # type: ignore[dict-item] # pyright: ignore[reportArgumentType]
    coroutine.close()


@pytest.mark.parametrize("key", ["address", "shipping", 'it\'s "a" {key}', "two\nlines", "k" * 100])
def test_the_example_for_an_object_is_made_of_the_users_own_key(key: str) -> None:
    metadata: dict[str, Any] = {key: {"city": "Cairo"}}

    with pytest.raises(InvalidEvent) as caught:
        validate_event("player123", "place_order", metadata)

    suggestion = SUGGESTION.search(str(caught.value))
    assert suggestion is not None
    assert str(caught.value).isprintable()
    assert eval(suggestion["expression"], {"value": metadata[key]}) == {key[:40] + "_city": "Cairo"}
    assert repr(key[:40] + "_city") in str(caught.value)


@pytest.mark.parametrize("key", ["jon@example.com", "+20123", "17850", "two words"])
def test_a_nested_key_that_is_data_is_not_shown(key: str) -> None:
    with pytest.raises(InvalidEvent) as caught:
        validate_event("player123", "place_order", {"points": {key: 1}})  # type: ignore[dict-item] # pyright: ignore[reportArgumentType]

    assert key not in str(caught.value)


# ---------------------------------------------------------------- metadata as a whole


def test_a_suggestion_for_metadata_that_is_no_dict_works() -> None:
    row: Any = Row()
    with pytest.raises(InvalidEvent) as caught:
        validate_event("player123", "e", row)

    suggestion = SUGGESTION.search(str(caught.value))
    assert suggestion is not None
    assert followed(eval(suggestion["expression"], {**MODULES, "metadata": row}))


RECORDS_WITH_NONE: dict[str, Any] = {"attrs": Parcel(Decimal("1.5")), "pydantic": Model(city="Cairo")}


@pytest.mark.parametrize("kind", RECORDS_WITH_NONE)
def test_a_suggestion_for_a_field_that_is_none_works(kind: str) -> None:
    with pytest.raises(InvalidEvent) as caught:
        validate_event("player123", "e", RECORDS_WITH_NONE[kind])

    suggestion = SUGGESTION.search(str(caught.value))
    assert suggestion is not None
    assert followed(eval(suggestion["expression"], {**MODULES, "metadata": RECORDS_WITH_NONE[kind]}))


# ---------------------------------------------------------------- ids


class User:
    def __init__(self) -> None:
        self.id = 17850


class Id(Enum):
    TEXT = "17850"
    NUMBER = 17850


class ObjectId:
    """An id of a type of its own, as databases have them."""

    def __str__(self) -> str:
        return "17850"


IDS: dict[str, Any] = {
    "int": 17850,
    "float": 17850.0,
    "Decimal": Decimal(17850),
    "bytes": b"17850",
    "Enum of a text": Id.TEXT,
    "Enum of an int": Id.NUMBER,
    "id of its own": ObjectId(),
    "user": User(),
}


@pytest.mark.parametrize("kind", IDS)
def test_a_suggestion_for_an_id_makes_the_id_of_it(kind: str) -> None:
    with pytest.raises(InvalidEvent) as caught:
        validate_event(IDS[kind], "e")

    suggestion = SUGGESTION.search(str(caught.value))
    assert suggestion is not None
    assert eval(suggestion["expression"], {"value": IDS[kind]}) == "17850"


def test_a_uuid_is_an_id_as_its_string() -> None:
    with pytest.raises(InvalidEvent, match=r"for example str\(value\)\.$"):
        validate_event(UUID(int=1), "e")  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize(
    "nobody",
    [
        pytest.param(None, id="None"),
        pytest.param("", id="empty"),
        pytest.param(" ", id="space"),
        pytest.param("\N{ZERO WIDTH SPACE}", id="zero width"),
        pytest.param(float("nan"), id="nan"),
        pytest.param(Decimal("sNaN"), id="signalling nan"),
        pytest.param(MISSING, id="a missing datetime"),
        pytest.param(NAType(), id="a missing object"),
    ],
)
def test_a_guest_is_not_to_be_tracked(nobody: Any) -> None:
    with pytest.raises(InvalidEvent) as caught:
        validate_event(nobody, "e")

    assert str(caught.value).endswith("A guest has no player id: do not track guests.")
    assert "str(" not in str(caught.value)


@pytest.mark.parametrize(
    "merging",
    [True, False, [1], {}, City("Cairo"), Model(city="Cairo"), object()],
    ids=lambda value: type(value).__name__,
)
def test_nothing_is_suggested_that_makes_one_player_of_several(merging: Any) -> None:
    with pytest.raises(InvalidEvent) as caught:
        validate_event(merging, "e")

    assert str(caught.value).endswith(": give a non-empty string.")


# ---------------------------------------------------------------- the real libraries


def numpy_values() -> dict[str, Any]:
    numpy = pytest.importorskip("numpy")
    return {
        "uint64 beyond 64 bits": numpy.uint64(2**64 - 1),
        "bool": numpy.bool_(True),
        "float32 nan": numpy.float32("nan"),
        "float64 nan": numpy.float64("nan"),
        "longdouble": numpy.longdouble(1) / 3,
        "complex128": numpy.complex128(1),
        "complex64": numpy.complex64(1),
        "bytes": numpy.bytes_(b"text"),
        "datetime64": numpy.datetime64("2026-01-31T12:00:00.000000001"),
        "datetime64 NaT": numpy.datetime64("NaT"),
        "timedelta64 of days": numpy.timedelta64(5, "D"),
        "timedelta64 of nanoseconds": numpy.timedelta64(5, "ns"),
        "timedelta64 of months": numpy.timedelta64(5, "M"),
        "timedelta64 NaT": numpy.timedelta64("NaT"),
        "masked": numpy.ma.masked,
        "array": numpy.array([1, 2]),
        "array of two dimensions": numpy.array([[1, 2], [3, 4]]),
        "array of bools": numpy.array([True]),
        "array without dimensions": numpy.array(5),
        "array with a nan": numpy.array([1.5, float("nan")]),
        "empty array": numpy.array([]),
    }


def pandas_values() -> dict[str, Any]:
    pandas = pytest.importorskip("pandas")
    return {
        "NaT": pandas.NaT,
        "NA": pandas.NA,
        "Timedelta": pandas.Timedelta(5, "s"),
        "Period": pandas.Period("2026-01"),
        "Interval": pandas.Interval(1, 2),
        "Series": pandas.Series([1, 2]),
        "Series with NA": pandas.Series([1, None], dtype="Int64"),
        "Index": pandas.Index(["a"]),
        "Categorical": pandas.Categorical(["a"]),
        "DataFrame": pandas.DataFrame({"a": [1, 2]}),
    }


@pytest.mark.parametrize("values", [numpy_values, pandas_values], ids=["numpy", "pandas"])
@pytest.mark.parametrize("is_item", [False, True], ids=["value", "item"])
@pytest.mark.filterwarnings("default:.*deprecated")
def test_a_suggestion_for_a_value_of_numpy_or_pandas_works(values: Any, *, is_item: bool) -> None:
    kept = values()
    MODULES["numpy"] = pytest.importorskip("numpy")
    for kind, value in kept.items():
        metadata = {"fine": 1, KEY: ["fine", value] if is_item else value}
        with pytest.raises(InvalidEvent):
            validate_event("player123", kind, metadata)
        assert followed(metadata)["fine"] == 1


def test_ids_of_numpy_and_pandas_are_suggested_as_their_strings() -> None:
    numpy, pandas = pytest.importorskip("numpy"), pytest.importorskip("pandas")
    for value in (numpy.int64(17850), numpy.uint8(7)):
        with pytest.raises(InvalidEvent, match=r"for example str\(value\)\.$"):
            validate_event(value, "e")
    with pytest.raises(InvalidEvent, match=r": give a non-empty string\.$"):
        validate_event(numpy.bool_(True), "e")
    for value in (pandas.NaT, pandas.NA, numpy.float64("nan")):
        with pytest.raises(InvalidEvent, match="do not track guests"):
            validate_event(value, "e")


def test_a_row_of_pandas_is_metadata_as_its_dict() -> None:
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame({"n": [1], "x": ["y"]})
    row = frame.iloc[0]
    with pytest.raises(InvalidEvent, match=r"for example metadata\.iloc\[0\]\.to_dict\(\)\.$"):
        validate_event("player123", "e", frame)

    with pytest.raises(InvalidEvent, match=r"for example metadata\.to_dict\(\)\.$"):
        validate_event("player123", "e", row)

    validate_event("player123", "e", row.to_dict())


def test_a_timestamp_of_pandas_is_sent_to_the_nanosecond() -> None:
    pandas = pytest.importorskip("pandas")
    encoded = encode_event("e", {"at": pandas.Timestamp("2026-01-31T12:00:00.000000001Z")})
    assert encoded == b'"e":{"at":"2026-01-31T12:00:00.000000001+00:00"}'


def test_a_secret_of_pydantic_is_not_suggested_as_its_asterisks() -> None:
    pydantic = pytest.importorskip("pydantic")
    value = pydantic.SecretStr("s3cret")
    with pytest.raises(InvalidEvent, match=r"for example value\.get_secret_value\(\)\.$") as refused:
        validate_event("player123", "e", {"token": value})
    assert "s3cret" not in str(refused.value)
