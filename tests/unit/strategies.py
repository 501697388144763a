"""What the property tests draw from: events as users may write them."""

from __future__ import annotations

from datetime import timezone
from decimal import Decimal
from enum import Enum, IntEnum, StrEnum

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st


def examples(count: int, *, steps: int = 50) -> settings:
    """So many examples (of so many steps), however slow the machine is that tries them."""
    return settings(
        deadline=None, max_examples=count, stateful_step_count=steps, suppress_health_check=[HealthCheck.too_slow]
    )


class Colour(Enum):
    RED = "red"
    SEVEN = 7
    HALF = 0.5
    TENTH = Decimal("0.10")


class Size(StrEnum):
    LARGE = "large"


class Level(IntEnum):
    GOLD = 3


class Text(str):
    """A string of a type of its own."""

    __slots__ = ()


class Number(int):
    """A whole number of a type of its own."""


class Ratio(float):
    """A number of a type of its own."""


texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
visible = st.characters(categories=["L", "N", "P", "S"], exclude_characters="\u115f\u1160\u2800\u3164\uffa0")
names = st.tuples(texts, visible, texts).map("".join)
whole_numbers = st.integers(-(2**63), 2**63 - 1) | st.sampled_from([-(2**63), 2**63 - 1])
floats = st.floats(allow_nan=False, allow_infinity=False)


def _fits(value: Decimal) -> bool:
    """Whether a .NET decimal could hold it, roughly; what does not fit is refused."""
    _, digits, exponent = value.as_tuple()
    return max(len(digits), abs(int(exponent)), abs(value.adjusted())) <= 28


decimals = st.decimals(allow_nan=False, allow_infinity=False, places=2, min_value=-(10**9), max_value=10**9) | (
    st.decimals(allow_nan=False, allow_infinity=False).filter(_fits)
)
dates = st.dates() | st.datetimes() | st.datetimes(timezones=st.timezones() | st.just(timezone.utc))  # noqa: UP017
enums = st.sampled_from([*Colour, *Size, *Level])
subclasses = texts.map(Text) | whole_numbers.map(Number) | floats.map(Ratio)
scalars = texts | whole_numbers | floats | decimals | dates | st.uuids() | enums | subclasses
values = scalars | st.lists(scalars, max_size=4) | st.lists(scalars, max_size=4).map(tuple)
metadata = st.dictionaries(names, values, max_size=5)
