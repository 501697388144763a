"""Metadata as people have it: records, numbers of other libraries, and what `Conversion` converts."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from decimal import Decimal
from enum import Enum
from fractions import Fraction
from functools import partial
from typing import Any, ClassVar, NamedTuple

import attrs
import msgspec
import pydantic
import pytest

from gameball_async import AsyncGameball, ConfigurationError, Conversion, InvalidEvent, validate_event
from gameball_async._core.events import encode_event
from gameball_async.testing import Recorder

ALL = Conversion(booleans="0/1", none="omit", nested="flatten")


@dataclasses.dataclass
class City:
    name: object
    zone: int = 1
    known: ClassVar[int] = 0


@dataclasses.dataclass
class Address:
    city: object
    street: str = "a"


@attrs.frozen
class Parcel:
    weight: Decimal
    note: str = "b"


class Point(msgspec.Struct):
    north: float


class Pair(NamedTuple):
    first: int
    second: str


class Model(pydantic.BaseModel):
    city: str
    secret: str = pydantic.Field(default="s", exclude=True)


class Root(pydantic.RootModel[list[int]]):
    pass


def sent(metadata: Any, conversion: Conversion = Conversion()) -> Any:  # noqa: B008 frozen
    return json.loads(b"{" + encode_event("e", metadata, conversion) + b"}")["e"]


def refusal(metadata: Any, conversion: Conversion = Conversion()) -> str:  # noqa: B008 frozen
    with pytest.raises(InvalidEvent) as caught:
        validate_event("player123", "e", metadata, conversion=conversion)
    return str(caught.value)


# ---------------------------------------------------------------- records

RECORDS: dict[str, tuple[Any, dict[str, Any]]] = {
    "dataclass": (City("Cairo"), {"name": "Cairo", "zone": 1}),
    "attrs": (Parcel(Decimal("1.50")), {"weight": 1.5, "note": "b"}),
    "msgspec": (Point(1.5), {"north": 1.5}),
    "named tuple": (Pair(1, "b"), {"first": 1, "second": "b"}),
    "pydantic": (Model(city="Cairo"), {"city": "Cairo"}),
}


@pytest.mark.parametrize("kind", RECORDS)
def test_metadata_may_be_a_record(kind: str) -> None:
    record, fields = RECORDS[kind]
    assert sent(record) == fields


@pytest.mark.anyio
@pytest.mark.parametrize("kind", RECORDS)
async def test_every_call_takes_a_record_and_adds_the_defaults(kind: str) -> None:
    record, fields = RECORDS[kind]
    recorder = Recorder(started=True, defaults={"channel": "web"})
    await recorder.track("player123", "a", record)
    recorder.track_nowait("player123", "b", record)
    await recorder.send("player123", {"c": record})
    assert [event.metadata for event in recorder.events] == [{"channel": "web", **fields}] * 3


def test_the_hook_gets_a_record_as_a_dict() -> None:
    seen: list[dict[str, Any]] = []
    recorder = Recorder(started=True, before_send=lambda draft: seen.append(draft.metadata))
    recorder.track_nowait("player123", "a", City("Cairo"))
    assert seen == [{"name": "Cairo", "zone": 1}]


@pytest.mark.parametrize(
    "metadata", [Root([1]), City, Model, object(), [1], "text"], ids=lambda each: type(each).__name__
)
def test_other_objects_are_refused(metadata: Any) -> None:
    assert refusal(metadata).startswith("event 'e': metadata is a")


def test_a_record_as_a_value_is_refused_with_a_remedy() -> None:
    assert "{'city_' + str(k): v for k, v in dataclasses.asdict(value).items()}" in refusal(Address(City("Cairo")))


# ---------------------------------------------------------------- numbers


def numbers_of_numpy() -> list[tuple[Any, Any]]:
    numpy = pytest.importorskip("numpy")
    return [
        (numpy.int64(-5), -5),
        (numpy.uint64(2**63 - 1), 2**63 - 1),
        (numpy.int8(7), 7),
        (numpy.float64(0.1), 0.1),
        (numpy.float32(0.1), 0.10000000149011612),
        (numpy.float16(1.5), 1.5),
        (numpy.longdouble(1.5), 1.5),
    ]


def test_numbers_of_numpy_are_sent_if_a_number_is_equal_to_them() -> None:
    for value, number in numbers_of_numpy():
        assert sent({"k": value, "a": [value]}) == {"k": number, "a": [number]}


def test_a_fraction_is_sent_if_a_float_is_equal_to_it() -> None:
    assert sent({"k": Fraction(1, 2)}) == {"k": 0.5}
    assert "is a Fraction" in refusal({"k": Fraction(1, 3)})
    assert "is a Fraction" in refusal({"k": Fraction(10**400, 3)})


def test_what_numpy_calls_a_number_and_what_is_missing_is_refused() -> None:
    numpy = pytest.importorskip("numpy")
    for value, words in (
        (numpy.bool_(True), "send 0 or 1"),
        (numpy.timedelta64(5, "s"), "number of seconds"),
        (numpy.datetime64("2026-01-31"), "convert it to a string"),
        (numpy.float32("nan"), "NaN or infinite"),
        (numpy.longdouble(1) / 3, "float(value)"),
        (numpy.uint64(2**63), "beyond 64 bits"),
        (numpy.array([1, 2]), "value.tolist()"),
    ):
        assert words in refusal({"k": value}), value


# ---------------------------------------------------------------- the conversion


@pytest.mark.parametrize(
    ("conversion", "metadata", "expected"),
    [
        (Conversion(booleans="0/1"), {"a": True, "b": [False, "x"]}, {"a": 1, "b": [0, "x"]}),
        (Conversion(none="omit"), {"a": None, "b": [None, 1], "c": 2}, {"b": [1], "c": 2}),
        (Conversion(nested="flatten"), {"a": {"b": {"c": 1}, "d": [1]}, "e": {}}, {"a.b.c": 1, "a.d": [1]}),
        (Conversion(nested="flatten"), Address(City("Cairo")), {"city.name": "Cairo", "city.zone": 1, "street": "a"}),
        (ALL, {"a": {"b": None, "c": True}, "d": None}, {"a.c": 1}),
        (ALL, Address(Model(city="Cairo")), {"city.city": "Cairo", "street": "a"}),
    ],
)
def test_what_is_chosen_is_converted(conversion: Conversion, metadata: Any, expected: Any) -> None:
    assert sent(metadata, conversion) == expected


@pytest.mark.parametrize(
    ("conversion", "metadata", "words"),
    [
        (Conversion(none="omit", nested="flatten"), {"a": True}, "key 'a': the value is a bool"),
        (Conversion(booleans="0/1", nested="flatten"), {"a": None}, "key 'a': the value is None"),
        (Conversion(booleans="0/1", none="omit"), {"a": {"b": 1}}, "key 'a': the value is a dict"),
        (ALL, {"a": [{"b": 1}]}, "key 'a': an item of the array is a dict"),
        (ALL, {"a": float("nan")}, "key 'a': the value is NaN"),
        (ALL, {"a": {"b": 1}, "a.b": 2}, "key 'a.b' occurs twice"),
        (ALL, {"a.b": 2, "a": {"b": 1}}, "key 'a.b' occurs twice"),
        (ALL, {"a": {1: 2}}, "a metadata key is an int"),
        (Conversion(nested="flatten"), {"address": {"street": True}}, "key 'address.street': the value is a bool"),
        (Conversion(nested="flatten"), {"address": {"street": None}}, "key 'address.street': the value is None"),
        (Conversion(nested="flatten"), {"points": {"jon@example.com": True}}, "key 'points.…': the value is a bool"),
    ],
)
def test_everything_else_is_refused_with_the_path(conversion: Conversion, metadata: Any, words: str) -> None:
    message = refusal(metadata, conversion)
    assert words in message
    assert "example.com" not in message


def test_a_dict_in_itself_is_refused() -> None:
    endless: dict[str, Any] = {}
    endless["a"] = endless
    assert "nested deeper than 20 levels" in refusal(endless, ALL)


def test_a_nested_named_tuple_keeps_its_names() -> None:
    flat = sent({"pair": Pair(1, "b")}, ALL)
    assert flat == {f"pair.{name}": value for name, value in zip(Pair._fields, (1, "b"), strict=True)}


def test_a_member_of_an_enum_without_a_value_is_omitted_as_none_is() -> None:
    class Gift(Enum):
        NOTHING = None

    assert sent({"gift": Gift.NOTHING, "rating": 5}, ALL) == {"rating": 5}


def test_a_boolean_of_numpy_is_converted_too() -> None:
    numpy = pytest.importorskip("numpy")
    assert sent({"a": numpy.bool_(True)}, ALL) == {"a": 1}


@pytest.mark.parametrize("make", [partial(AsyncGameball, "key"), Recorder], ids=["client", "recorder"])
def test_a_setting_that_cannot_work_is_refused(make: Callable[..., Any]) -> None:
    with pytest.raises(ConfigurationError, match="booleans"):
        Conversion(booleans="yes")  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError, match="conversion is of type dict: give Conversion"):
        make(conversion={"booleans": "0/1"})


@pytest.mark.anyio
async def test_a_client_converts_events_defaults_and_what_its_hook_returns() -> None:
    recorder = Recorder(conversion=ALL, defaults={"gift": True}, before_send=lambda draft: draft, started=True)
    empty: dict[str, Any] = {"address": {"city": None}}
    nested: dict[str, Any] = {"a": {"b": False}}
    await recorder.track("player123", "a", empty)
    await recorder.send("player123", {"b": nested})
    assert [event.metadata for event in recorder.events] == [{"gift": 1}, {"gift": 1, "a.b": 0}]
