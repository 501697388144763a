"""How to fix a value that an event cannot hold: each suggestion works when it is typed as it stands.

In a suggestion, `value` is what the key holds, and `value[1]` the second item of an array.
"""

from __future__ import annotations

import dataclasses
import inspect
import re
from collections.abc import Awaitable, Iterable, Mapping, Sequence, Sized
from collections.abc import Set as AbstractSet
from datetime import time, timedelta
from decimal import InvalidOperation
from enum import Enum
from numbers import Integral
from typing import Any, cast

import attrs

_LONGEST_QUOTE = 60  # characters of a name or key in a message
_LONGEST_PREFIX = 40
_BYTES_OF_DOUBLE = 8
_LONGEST_DECIMAL_INT = 10_000  # bits; `str` refuses an int of more than 4,300 digits
FIELD_NAME = re.compile("[A-Za-z_]{1,30}")  # a nested key that is data, such as an id or an address, is never shown
_TYPES_OF_MISSING = frozenset({"NAType", "MaskedConstant"})  # pandas.NA and numpy.ma.masked cannot be compared


def kind(value: object) -> str:
    """The type of a value, with its article."""
    if value is None:
        return "None"
    name = type(value).__name__
    return f"an {name}" if name[:1] in tuple("aeioAEIO") else f"a {name}"


def quoted(value: str) -> str:
    """A name or key for a message: shortened, and without characters that could forge a line."""
    shortened = value if len(value) <= _LONGEST_QUOTE else value[: _LONGEST_QUOTE - 1] + "…"
    return ascii(shortened) if not shortened.isprintable() else repr(shortened)


def leave_out(array: object | None) -> str:
    """What to do about a missing value; `array` is what it is an item of."""
    return "leave the key out." if array is None else "leave the key out, or the item."


def is_missing(value: object) -> bool:
    """Whether it marks a missing value, as NaN and NaT do: it differs from itself."""
    if value is None or type(value).__name__ in _TYPES_OF_MISSING:
        return True
    try:
        return bool(value != value)  # noqa: PLR0124 the definition of NaN
    except InvalidOperation:  # of a signalling NaN
        return True
    except Exception:  # noqa: BLE001 a type of the user's, or an array: its comparison may raise anything
        return False


# ---------------------------------------------------------------- ids, names, contacts, keys


def for_text(value: object, subject: str) -> str:
    """How to make a non-empty string of a value that is none; nothing that merges several players into one."""
    expression = None if is_missing(value) else _as_text(value, subject)
    return "give a non-empty string." if expression is None else f"give a non-empty string, for example {expression}."


def _as_text(value: object, subject: str) -> str | None:
    while isinstance(value, Enum):
        value, subject = value.value, f"{subject}.value"
    if isinstance(value, str):  # of a member of an Enum
        return subject
    if isinstance(value, (bytes, bytearray)):
        return f"{subject}.decode()" if _is_utf8(value) else f"{subject}.hex()"
    if isinstance(value, float):
        return f"str(int({subject}))" if value.is_integer() else None
    if isinstance(value, Integral) or (type(value).__str__ is not object.__str__ and as_dict(value, subject) is None):
        return None if is_bool(value) else f"str({subject})"
    return None if inspect.getattr_static(value, "id", None) is None else f"str({subject}.id)"


# ---------------------------------------------------------------- metadata


def for_metadata(value: object) -> str:
    """How to make metadata of an object that is no mapping."""
    expression = as_dict(value, "metadata")
    example = "" if expression is None else f", for example {expression}"
    return f"give a dict of keys and values{example}."


def as_dict(value: object, subject: str) -> str | None:  # noqa: PLR0911 one table of types
    """The expression that makes a dict of a record of any common kind; None if it is none."""
    record = type(value)
    if _has(record, "model_dump"):  # pydantic
        return f"{subject}.model_dump(exclude_none=True)"
    if _has(record, "dict") and hasattr(record, "__fields__"):  # pydantic 1
        return f"{subject}.dict(exclude_none=True)"
    if dataclasses.is_dataclass(record):
        return f"dataclasses.asdict({subject})"
    if attrs.has(record):
        return f"attrs.asdict({subject})"
    if hasattr(record, "__struct_fields__"):  # msgspec
        return f"msgspec.structs.asdict({subject})"
    if _has(record, "_asdict"):  # a named tuple, or a row of SQLAlchemy
        return f"{subject}._asdict()"
    if _has(record, "to_dict"):  # pandas
        return f"{subject}.iloc[0].to_dict()" if _has(record, "iterrows") else f"{subject}.to_dict()"
    if _has(record, "keys") and _has(record, "__getitem__"):  # a row of sqlite3 or asyncpg
        return f"dict({subject})"
    return None


def for_value(key: str, value: object, subject: str, array: Sequence[object] | None) -> str:
    """How to send a value of a type that metadata cannot hold.

    Args:
        key: the key of the metadata.
        value: the value, or the item of an array.
        subject: the expression for it.
        array: the array, if it is an item.
    """
    if value is None:
        return _without_none(subject, array)
    if (not isinstance(value, Sized) or _is_scalar_of_numpy(value)) and is_missing(value):
        return leave_out(array)
    if isinstance(value, Mapping):
        return _flattened(key, cast("Mapping[object, object]", value), subject, array)
    if isinstance(value, (list, tuple)):
        return f"flatten it into one array, for example {_flat(subject, array)}."
    for remedy in (_for_scalar, _for_array, _for_record, _for_iterable):
        if (found := remedy(key, value, subject)) is not None:
            return found
    return f"convert it to a string or a number, for example str({subject})."


def _for_scalar(key: str, value: object, subject: str) -> str | None:  # noqa: ARG001, PLR0911 one table of types
    if is_bool(value):
        return f"send 0 or 1, for example int({subject}), or a word such as 'yes'."
    if isinstance(value, (bytes, bytearray, memoryview)):
        raw = f"{subject}.tobytes()" if isinstance(value, memoryview) else subject
        if _is_utf8(cast("bytes", value)):
            return f"decode it to a string, for example {raw}.decode()."
        return f"decode it to a string; it is not UTF-8, so for example {raw}.hex()."
    if _is_scalar_of_numpy(value):
        return _for_numpy(value, subject)
    if _has(type(value), "get_secret_value"):  # pydantic; its str() is asterisks
        return f"send its value if Gameball may show it, for example {subject}.get_secret_value()."
    if _has(type(value), "as_py"):  # Arrow
        return f"convert it, for example {subject}.as_py()."
    if isinstance(value, timedelta):
        return f"convert it to a number of seconds, for example {subject}.total_seconds()."
    if isinstance(value, time):
        return f"convert it to a string, for example {subject}.isoformat()."
    if isinstance(value, Awaitable):
        return f"wait for its result, for example await {subject}."
    return None


def _for_numpy(value: Any, subject: str) -> str:  # noqa: ANN401 numpy is no dependency
    """A scalar of numpy, or an array without dimensions."""
    letter = value.dtype.kind
    if letter in "Mc":  # `item()` makes an int of nanoseconds, or a complex
        return f"convert it to a string, for example str({subject})."
    if letter == "m" and value.dtype.str.endswith(("s]", "m]", "h]", "D]", "W]")):
        return f"convert it to a number of seconds, for example {subject} / numpy.timedelta64(1, 's')."
    if letter == "f" and value.dtype.itemsize > _BYTES_OF_DOUBLE:  # `item()` leaves it as it is
        return f"convert it to a number, for example float({subject})."
    return f"convert it to a Python object, for example {subject}.item()."


def _for_array(key: str, value: object, subject: str) -> str | None:  # noqa: ARG001 as the others
    for method in ("tolist", "to_list"):  # numpy, pandas, array; polars
        if _has(type(value), method):
            return f"convert it to a list, for example {subject}.{method}()."
    return None


def _for_record(key: str, value: object, subject: str) -> str | None:
    if getattr(type(value), "__pydantic_root_model__", False):
        return f"send what it wraps, for example {subject}.root."
    if (record := as_dict(value, subject)) is None:
        return None
    prefix = quoted(_prefix(key))
    entries = f"{{{prefix} + str(k): v for k, v in {record}.items()}}"
    return f"give each of its fields a key of its own that starts with {prefix}, for example with {entries}."


def _for_iterable(key: str, value: object, subject: str) -> str | None:  # noqa: ARG001 as the others
    if isinstance(value, AbstractSet):
        return f"sort it into a list, for example sorted({subject}, key=str)."
    if isinstance(value, Iterable) and type(cast("object", value)).__str__ is object.__str__:
        return f"convert it to a list, for example list({subject})."
    return None


def _without_none(subject: str, array: Sequence[object] | None) -> str:
    if subject.endswith(".value"):  # a member of an Enum
        return leave_out(array)
    if array is not None:
        return "leave the key out, or the item, for example [item for item in value if item is not None]."
    return "leave the key out, for example {k: v for k, v in metadata.items() if v is not None}."


def _flattened(key: str, value: Mapping[object, object], subject: str, array: Sequence[object] | None) -> str:
    """One key for each entry of an object, or one array for each key of an array of objects."""
    prefix = quoted(_prefix(key))
    if array is not None and all(isinstance(item, Mapping) for item in array):
        entries = f"{{{prefix} + str(k): [item[k] for item in value if k in item] for item in value for k in item}}"
    else:
        entries = f"{{{prefix} + str(k): v for k, v in {subject}.items()}}"
    field = next((each for each in value if isinstance(each, str) and FIELD_NAME.fullmatch(each)), None)
    example = f" that starts with {prefix}" if field is None else f", such as {quoted(_prefix(key) + field)}"
    return f"give each of its entries a key of its own{example}, for example with {entries}."


def _flat(subject: str, array: Sequence[object] | None) -> str:
    """What flattens one level of an array."""
    if array is None or subject.endswith(".value"):  # a member of an Enum
        return f"list({subject})"
    if all(isinstance(item, (list, tuple)) for item in array):
        return "[item for items in value for item in items]"
    return "[item for items in value for item in (items if isinstance(items, (list, tuple)) else [items])]"


def for_int(value: int, subject: str) -> str:
    """How to send an int that JSON readers do not hold."""
    convert = "str" if value.bit_length() <= _LONGEST_DECIMAL_INT else "hex"
    return f"send it as a string, for example {convert}({subject})."


def for_surrogates(value: str, subject: str) -> str | None:
    """How to send a text with lone surrogates; None if it has none."""
    try:
        value.encode()
    except UnicodeEncodeError:
        return f"UTF-8 cannot carry: replace it, for example {subject}.encode('utf-8', 'replace').decode()."
    return None


# ---------------------------------------------------------------- parts


def _prefix(key: str) -> str:
    return key[:_LONGEST_PREFIX] + "_"


def _has(record: type, method: str) -> bool:
    return callable(getattr(record, method, None))


def is_bool(value: object) -> bool:
    if isinstance(value, bool):
        return True
    return _is_scalar_of_numpy(value) and cast("Any", value).dtype.kind == "b"


def _is_scalar_of_numpy(value: object) -> bool:
    """Whether it is one, or an array without dimensions."""
    return hasattr(value, "dtype") and getattr(value, "shape", None) == ()


def _is_utf8(value: bytes | bytearray) -> bool:
    try:
        bytes(value).decode()
    except UnicodeDecodeError:
        return False
    return True
