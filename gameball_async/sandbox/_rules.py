"""The API's rules, as strict as its documentation: what a body must hold, and how many requests may come. Pure."""

from __future__ import annotations

import json
import math
import unicodedata
from collections import Counter, deque
from collections.abc import Collection, Iterator, Mapping
from itertools import takewhile
from types import NoneType
from typing import NoReturn, TypeGuard, cast

import attrs

from ._responses import Dialect, Refusal

Scalar = int | float | str
Value = Scalar | list[Scalar]
Metadata = dict[str, Value]

_NAMES: Mapping[type, str] = {
    bool: "a boolean",
    int: "a number",
    float: "a number",
    str: "a string",
    list: "an array",
    NoneType: "null",
}

_UNSEEN_CATEGORIES = frozenset({"Cc", "Cf", "Zl", "Zp", "Zs"})
_FILLERS = (0x034F, 0x115F, 0x1160, 0x17B4, 0x17B5, 0x2800, 0x3164, 0xFFA0)
_UNSEEN_CHARACTERS = frozenset(map(chr, [*_FILLERS, *range(0xFE00, 0xFE10), *range(0xE0100, 0xE01F0)]))
"""Fillers and variation selectors, whose categories are those of letters, marks and symbols."""

# the range of whole numbers in a server with typed numbers
_SMALLEST_INT = -(2**63)
_LARGEST_INT = 2**63 - 1


@attrs.frozen
class ParsedRequest:
    """The content of a body.

    Args:
        player: the player's id, even of a refused body if it can be read.
        events: metadata by name, in the order of the text; empty in a refused body.
        names: the event names, even of a refused body if they can be read.
        mobile: the phone number, or None.
        email: the e-mail address, or None.
        refusal: the first rule broken, or None.
        items: the items of a bulk request, each with its own refusal; empty in a refused body.
        invalid: why events of a preview cannot be evaluated, by name.
    """

    player: str | None = None
    events: Mapping[str, Metadata] = attrs.field(factory=dict[str, "Metadata"], repr=False)
    names: tuple[str, ...] = ()
    mobile: str | None = attrs.field(default=None, repr=False)
    email: str | None = attrs.field(default=None, repr=False)
    refusal: Refusal | None = None
    items: tuple[ParsedRequest, ...] = attrs.field(default=(), repr=False)
    invalid: Mapping[str, str] = attrs.field(factory=dict[str, str], repr=False)

    @property
    def players(self) -> Collection[str]:
        """The ids of all players that can be read."""
        if self.items:
            return {item.player for item in self.items if item.player is not None}
        return () if self.player is None else (self.player,)


class _Object(dict[str, object]):
    """A JSON object, and the first name that its text repeats."""

    repeated: str | None = None


def read(dialect: Dialect, content_type: str, body: bytes) -> ParsedRequest:
    """Parse and validate a request's body; return its events, or the first refusal with what could be read."""
    payload = _payload(content_type, body)
    if isinstance(payload, Refusal):
        return ParsedRequest(refusal=payload)
    return _parsed(dialect, payload, _FIELDS)


def read_bulk(dialect: Dialect, content_type: str, body: bytes) -> ParsedRequest:
    """Parse a bulk request's body; only its envelope can be refused as a whole, each item is refused by itself."""
    payload = _payload(content_type, body)
    refusal = payload if isinstance(payload, Refusal) else next(_rules_of_envelope(payload), None)
    if isinstance(payload, Refusal) or refusal is not None:
        return ParsedRequest(refusal=refusal)
    items = tuple(_parsed(dialect, item, _ITEM_FIELDS) for item in cast("list[_Object]", payload["body"]))
    return ParsedRequest(items=items, names=tuple(dict.fromkeys(name for item in items for name in item.names)))


def read_preview(dialect: Dialect, content_type: str, body: bytes) -> ParsedRequest:
    """Parse a preview's body; an event with invalid metadata does not refuse the others."""
    payload = _payload(content_type, body)
    refusal = payload if isinstance(payload, Refusal) else next(_rules_of_preview(dialect, payload), None)
    if isinstance(payload, Refusal) or refusal is not None:
        return ParsedRequest(refusal=refusal)
    events = cast("Mapping[str, object]", payload["events"])
    invalid: dict[str, str] = {}
    for name, metadata in events.items():
        if (broken := next(_rules_of_previewed(name, metadata), None)) is not None:
            invalid[name] = broken.detail
    return ParsedRequest(player=cast("str", payload[dialect.id_field]), names=tuple(events), invalid=invalid)


_FIELDS = ("events", "mobile", "email")

# https://developer.gameball.co, "Batch events": an item has no contact
_ITEM_FIELDS = ("events",)

_MOST_ITEMS = 1000

_LONGEST_PREVIEWED_PLAYER = 100  # characters


def _payload(content_type: str, body: bytes) -> _Object | Refusal:
    if content_type.partition(";")[0].strip().lower() != "application/json":
        return Refusal("content_type", "The Content-Type must be application/json.")
    try:
        payload = _DECODER.decode(body.decode())
    except (ValueError, RecursionError) as error:
        return Refusal("not_json", f"The body is not JSON: {_reason(error)}.")
    return payload if isinstance(payload, _Object) else Refusal("not_an_object", "The body must be a JSON object.")


def _parsed(dialect: Dialect, payload: _Object, fields: Collection[str]) -> ParsedRequest:
    if _is_clearly_valid(dialect, payload):
        plain = cast("Mapping[str, Metadata]", payload["events"])
        sound = {name: dict(metadata) for name, metadata in plain.items()}
        return ParsedRequest(cast("str", payload[dialect.id_field]), sound, tuple(plain))
    refusal = next(_broken_rules(dialect, payload, fields), None)
    player, events = payload.get(dialect.id_field), payload.get("events")
    sound = cast("dict[str, Metadata]", events) if refusal is None else {}
    return ParsedRequest(
        player=player if _is_text(player) and not _is_blank(player) else None,
        events={name: dict(metadata) for name, metadata in sound.items()},
        names=tuple(events) if isinstance(events, _Object) else (),
        mobile=cast("str | None", payload.get("mobile")) if refusal is None else None,
        email=cast("str | None", payload.get("email")) if refusal is None else None,
        refusal=refusal,
    )


def _is_clearly_valid(dialect: Dialect, payload: _Object) -> bool:
    """Whether a body or an item keeps all rules, in a quarter of the time; False if that takes a closer look."""
    events = payload.get("events")
    return (
        len(payload) == 2  # noqa: PLR2004 the player and the events
        and payload.repeated is None
        and _is_plain(payload.get(dialect.id_field))
        and type(events) is _Object
        and bool(events)
        and events.repeated is None
        and all(_is_plain(name) and _has_plain_metadata(metadata) for name, metadata in events.items())
    )


def _has_plain_metadata(metadata: object) -> bool:
    if type(metadata) is not _Object or metadata.repeated is not None:
        return False
    for key, value in metadata.items():
        if not _is_plain(key):
            return False
        values = cast("list[object]", value) if type(value) is list else (value,)
        for scalar in values:
            kind = type(scalar)
            if not (
                (kind is str and cast("str", scalar).isascii())
                or (kind in _NUMBERS and _is_number(cast("float", scalar)))
            ):
                return False
    return True


def _is_plain(text: object) -> bool:
    """Whether it is a string of ASCII without control characters that is not blank."""
    return type(text) is str and text.isascii() and text.isprintable() and bool(text) and not text.isspace()


_NUMBERS = frozenset({int, float})


def _broken_rules(dialect: Dialect, payload: _Object, fields: Collection[str]) -> Iterator[Refusal]:
    yield from _rules_of_player(dialect, payload)
    yield from _rules_of_fields(dialect, payload, (dialect.id_field, *fields))
    yield from _rules_of_contact(payload, "mobile")
    yield from _rules_of_contact(payload, "email")
    yield from _rules_of_events(payload)


def _rules_of_envelope(payload: _Object) -> Iterator[Refusal]:
    if payload.repeated is not None:
        yield Refusal("duplicate_field", f"The field {payload.repeated!r} occurs twice in the body.")
    items = payload.get("body", [])
    if items == []:
        yield Refusal("missing_items", "The field 'body' is required: an array of 1 to 1000 objects.")
    elif not isinstance(items, list):
        yield _not_a("an array", items, "The field 'body'")
    else:
        yield from _rules_of_items(cast("list[object]", items))
    for field in payload:
        if field != "body":
            yield Refusal("unknown_field", f"The field {field!r} is not known: a bulk request has only 'body'.")


def _rules_of_items(items: list[object]) -> Iterator[Refusal]:
    if len(items) > _MOST_ITEMS:
        yield Refusal("too_many_items", f"The body has {len(items)} items, more than {_MOST_ITEMS}.")
    for position, item in enumerate(items):
        if not isinstance(item, _Object):
            yield _not_a("an object", item, f"Item {position}")


def _rules_of_preview(dialect: Dialect, payload: _Object) -> Iterator[Refusal]:
    yield from _rules_of_player(dialect, payload)
    if len(cast("str", payload[dialect.id_field])) > _LONGEST_PREVIEWED_PLAYER:
        yield Refusal("long_player", f"{dialect.id_field} is longer than {_LONGEST_PREVIEWED_PLAYER} characters.")
    yield from _rules_of_fields(dialect, payload, (dialect.id_field, *_FIELDS))
    yield from _rules_of_contact(payload, "mobile")
    yield from _rules_of_contact(payload, "email")
    yield from _rules_of_names(payload)


def _rules_of_previewed(name: str, metadata: object) -> Iterator[Refusal]:
    yield from _rules_of_name(name, "The name of an event")
    if metadata is not None:  # which means that it has none
        yield from _rules_of_event(name, metadata)


def _rules_of_fields(dialect: Dialect, payload: _Object, fields: Collection[str]) -> Iterator[Refusal]:
    if payload.repeated is not None:
        yield Refusal("duplicate_field", f"The field {payload.repeated!r} occurs twice in the body.")
    for field in payload:
        if field not in fields:
            yield Refusal("unknown_field", f"The field {field!r} is not known to {dialect.version}.")


def _rules_of_player(dialect: Dialect, payload: _Object) -> Iterator[Refusal]:
    player = payload.get(dialect.id_field, "")
    if isinstance(player, str) and _is_blank(player):
        yield Refusal("missing_player", dialect.id_missing)
    yield from _rules_of_text(player, f"The field {dialect.id_field!r}")


def _rules_of_contact(payload: _Object, field: str) -> Iterator[Refusal]:
    if field not in payload:
        return
    value = payload[field]
    if isinstance(value, str) and _is_blank(value):
        yield Refusal("bad_text", f"The field {field!r} is {'blank' if value else 'empty'}: leave it out.")
    yield from _rules_of_text(value, f"The field {field!r}")


def _rules_of_text(value: object, what: str) -> Iterator[Refusal]:
    if value is None:
        yield Refusal("null_value", f"{what} is null.")
    elif not isinstance(value, str):
        yield Refusal("bad_type", f"{what} is {_named(value)}, not a string.")
    elif not _is_text(value):
        yield Refusal("bad_text", f"{what} holds half of a surrogate pair.")


def _rules_of_events(payload: _Object) -> Iterator[Refusal]:
    yield from _rules_of_names(payload)
    for name, metadata in cast("_Object", payload["events"]).items():
        yield from _rules_of_name(name, "The name of an event")
        yield from _rules_of_event(name, metadata)


def _rules_of_names(payload: _Object) -> Iterator[Refusal]:
    events = payload.get("events", {})
    if events == {}:
        yield Refusal("missing_events", "The Events field is required.")
    elif not isinstance(events, _Object):
        yield _not_a("an object", events, "The field 'events'")
    elif events.repeated is not None:
        yield Refusal("duplicate_event", f"The event {events.repeated!r} occurs twice in the request.")


def _rules_of_event(name: str, metadata: object) -> Iterator[Refusal]:
    what = f"The event {name!r}"
    if not isinstance(metadata, _Object):
        yield _not_a("an object", metadata, what)
        return
    if metadata.repeated is not None:
        yield Refusal("duplicate_key", f"{what} has the key {metadata.repeated!r} twice.")
    for key, value in metadata.items():
        yield from _rules_of_name(key, f"{what} has a key that")
        yield from _rules_of_value(value, f"{what}, key {key!r},")


def _rules_of_name(name: str, what: str) -> Iterator[Refusal]:
    if _is_blank(name):
        yield Refusal("empty_name", f"{what} is {'blank' if name else 'empty'}.")
    yield from _rules_of_text(name, what)


def _rules_of_value(value: object, what: str) -> Iterator[Refusal]:
    if not isinstance(value, list):
        yield from _rules_of_scalar(value, what)
        return
    for element in cast("list[object]", value):
        yield from _rules_of_scalar(element, f"{what} in its array")


def _rules_of_scalar(value: object, what: str) -> Iterator[Refusal]:
    if isinstance(value, str):
        yield from _rules_of_text(value, what)
    elif value is None:
        yield Refusal("null_value", f"{what} is null.")
    elif isinstance(value, bool) or not isinstance(value, (int, float)):
        yield Refusal("bad_type", f"{what} is {_named(value)}: only numbers, strings and arrays of them are known.")
    elif not _is_number(value):
        yield Refusal("bad_number", f"{what} is a number beyond 64 bits.")


def _not_a(wanted: str, value: object, what: str) -> Refusal:
    if value is None:
        return Refusal("null_value", f"{what} is null.")
    return Refusal("bad_type", f"{what} is {_named(value)}, not {wanted}.")


def _is_text(value: object) -> TypeGuard[str]:
    """Whether it is a string without lone surrogates, which UTF-8 cannot encode."""
    if not isinstance(value, str):
        return False
    return value.isascii() or not any("\ud800" <= character <= "\udfff" for character in value)


def _is_blank(text: str) -> bool:
    """Whether a text has no visible character: .NET's `[Required]` refuses white space, and the rest looks like it."""
    return "\x7f" not in text and all(
        unicodedata.category(character) in _UNSEEN_CATEGORIES or character in _UNSEEN_CHARACTERS for character in text
    )


def _is_number(value: float) -> bool:
    return _SMALLEST_INT <= value <= _LARGEST_INT if isinstance(value, int) else math.isfinite(value)


def _named(value: object) -> str:
    return _NAMES.get(type(value), "an object")


def _object(pairs: list[tuple[str, object]]) -> _Object:
    made = _Object(pairs)
    if len(made) != len(pairs):
        counts = Counter(name for name, _ in pairs)
        made.repeated = next(name for name in counts if counts[name] > 1)
    return made


def _no_constant(literal: str) -> NoReturn:
    raise ValueError(f"{literal} is no JSON")


def _reason(error: Exception) -> str:
    # the message of a UnicodeDecodeError quotes the body, which may contain an e-mail address
    if isinstance(error, UnicodeDecodeError):
        return "it is not UTF-8"
    return "it is nested too deeply" if isinstance(error, RecursionError) else str(error)


_DECODER = json.JSONDecoder(object_pairs_hook=_object, parse_constant=_no_constant)


# ---------------------------------------------------------------- the rate limit


@attrs.frozen
class Limits:
    """The API's rate limits: two windows for events, and two for all other requests together; both of each apply.

    Args:
        per_second: requests with events in any one second, at most (100 in Gameball's "Rate Limiting" page).
        per_30_seconds: requests with events in any thirty seconds, at most (1200 in the same page).
        retry_after: the Retry-After header of a 429: seconds, or a text to send as it is. None, the
            default, sends none: the documentation names no such header.
        others_per_second: bulk requests, requests about jobs and previews in any one second, at most
            (30 for "Others" in the same page).
        others_per_30_seconds: the same in any thirty seconds (360 in the same page).

    Raises:
        ValueError: if a window would allow no request.
    """

    per_second: int = 100
    per_30_seconds: int = 1200
    retry_after: float | str | None = None
    others_per_second: int = 30
    others_per_30_seconds: int = 360

    def __attrs_post_init__(self) -> None:
        if min(self.per_second, self.per_30_seconds, self.others_per_second, self.others_per_30_seconds) < 1:
            raise ValueError(f"{self!r} allows no request: use counts of at least 1, or limits=None for no limits.")


class _LimitWindow:
    """The starts of the latest admitted requests."""

    def __init__(self, count: int, seconds: float) -> None:
        self.count = count
        self.seconds = seconds
        self._starts: deque[float] = deque(maxlen=count)

    def is_full(self, now: float) -> bool:
        return len(self._starts) == self.count and now - self._starts[0] < self.seconds

    def add(self, now: float) -> None:
        self._starts.append(now)

    def used(self, now: float) -> int:
        return sum(1 for _ in takewhile(lambda start: now - start < self.seconds, reversed(self._starts)))


@attrs.frozen
class Use:
    """How full a window is: `used` of `count` requests in the latest `seconds`."""

    used: int
    count: int
    seconds: float


class LimitWindows:
    """The two windows of one kind of requests. Refused requests do not count, so a client that waits is admitted again.

    Pass a `now` that never decreases.
    """

    def __init__(self, per_second: int, per_30_seconds: int) -> None:
        self._windows = [_LimitWindow(per_second, 1.0), _LimitWindow(per_30_seconds, 30.0)]

    def admit(self, now: float) -> str | None:
        """Count a request and return None, or return which window is full."""
        if (full := self.full(now)) is None:
            for window in self._windows:
                window.add(now)
        return full

    def full(self, now: float) -> str | None:
        """Return which window is full, or None if a request would be admitted."""
        full = next((window for window in self._windows if window.is_full(now)), None)
        if full is None:
            return None
        return f"More than {full.count} request{'' if full.count == 1 else 's'} in {full.seconds:g} s."

    def use(self, now: float) -> list[Use]:
        return [Use(window.used(now), window.count, window.seconds) for window in self._windows]
