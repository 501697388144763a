"""The types of values: what each accepts, and how it refuses the rest."""

from __future__ import annotations

import pytest

from gameball_async.cli._lines import RowError
from gameball_async.cli._value_types import TYPES


@pytest.mark.parametrize(
    ("type_", "text", "value"),
    [
        ("decimal-comma", "12,50", "12.50"),
        ("decimal-comma", "1.234.567,5", "1234567.5"),
        ("decimal-comma", "-1'234", "-1234"),
        ("decimal-comma", "1\u202f234,50", "1234.50"),
        ("decimal-comma", "12", "12"),
        ("bool", "Yes", "1"),
        ("bool", " false ", "0"),
        ("date", "2026-01-31", "2026-01-31"),
        ("date", "2026-01-31 09:50:26 +0200", "2026-01-31T09:50:26+02:00"),
        ("date", "2026-01-31T09:50Z", "2026-01-31T09:50:00+00:00"),
        ("date", "2026-01-31 09:50:26 UTC", "2026-01-31T09:50:26+00:00"),
        ("date-dmy", "5.1.2026", "2026-01-05"),
        ("date-dmy", "05/01/2026 9:50", "2026-01-05T09:50:00"),
        ("date-dmy", "05/01/2026 09:50", "2026-01-05T09:50:00"),
        ("date-mdy", "1/5/2026", "2026-01-05"),
        ("date-mdy", "12-31-2026, 23:59:59", "2026-12-31T23:59:59"),
        ("date-mdy", "31/12/2026", None),
        ("date-dmy", "1/5-2026", None),
        ("date", "31.1.2026", None),
        ("date", "", None),
        ("bool", "2", None),
        ("bool", "ja", None),
        ("decimal-comma", "1.23,5", None),
        ("decimal-comma", "12.50", None),
        ("decimal-comma", "1,234,567", None),
        ("decimal", "12,50", None),
    ],
)
def test_a_text_is_converted_by_its_type_or_refused(type_: str, text: str, value: str | None) -> None:
    if value is None:
        with pytest.raises(RowError, match=r" is (not|neither) "):
            TYPES[type_](text)
    else:
        assert str(TYPES[type_](text)) == value


def test_a_decimal_comma_in_a_decimal_names_the_type_that_takes_it() -> None:
    with pytest.raises(RowError, match=r"write it with a point, such as 12\.50, or use the type decimal-comma"):
        TYPES["decimal"]("12,50")
