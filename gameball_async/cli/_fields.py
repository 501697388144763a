"""Map the fields of JSON objects to events: paths from options or a preset, one event per object or several."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from decimal import Decimal
from typing import Any, cast

import attrs

from ._columns import MetadataColumn, template
from ._lines import Draft, MetadataValue, RowError, SkippedRow, Value
from ._terminal import quoted
from ._value_types import TYPES

PLAYER_KEYS = ("player_unique_id", "player")
EVENT_KEYS = ("event", "name")
_BODY_PLAYERS = ("playerUniqueId", "customerId")

Json = Mapping[str, object]


@attrs.frozen
class FoundEvent:
    """One event of an object, and the object that has only this event, if it has several."""

    draft: Draft
    text: str | None = None


@attrs.frozen(kw_only=True)
class Fields:
    """The mapping of JSON fields to events; a path such as `user.id` leads into inner objects."""

    player: str | None = None  # the player's id; None means `player_unique_id` or `player`
    name: str | None = None  # the event's name; without it and `event` it is `event` or `name`
    event: str | None = None  # the event's name for all; `{PATH}` is replaced by that field
    metadata: str | None = None  # an object whose entries become metadata
    picked: tuple[MetadataColumn, ...] = ()  # single fields that become metadata
    mobile: str | None = None
    email: str | None = None
    flatten: bool = False  # whether null, true, false and inner objects in the metadata are converted
    only: tuple[str, str] | None = None  # a path and its value; other objects have no event and are skipped
    bodies: bool = False  # whether the objects are Gameball's own request bodies, with several events each

    @property
    def is_set(self) -> bool:
        """Whether there is a mapping; `event` and `picked` alone are for CSV as well."""
        return attrs.evolve(self, event=None, picked=()) != Fields()

    @property
    def known(self) -> frozenset[str]:
        """Keys at the top of an object that identify it as an event."""
        if self.bodies:
            return frozenset({*_BODY_PLAYERS, "events"})
        paths = (self.player, self.name, self.metadata, self.mobile, self.email, self.only and self.only[0])
        keys = {part for path in paths if path for part in (path, path.partition(".")[0])}
        return frozenset(keys | {*PLAYER_KEYS, *EVENT_KEYS})

    def events(self, fields: Json) -> Iterator[FoundEvent]:
        """Yield the events of an object.

        Raises:
            RowError: if it has none, with the reason.
            SkippedRow: if it is of another kind.
        """
        if self.only is not None and _find(fields, self.only[0]) != self.only[1]:
            raise SkippedRow
        if self.bodies:
            yield from _body_events(fields)
            return
        yield FoundEvent(
            Draft(
                player=_required(fields, self.player, PLAYER_KEYS, "an event needs a player"),
                name=self._name(fields),
                metadata=self._metadata(fields),
                mobile=_text(fields, self.mobile),
                email=_text(fields, self.email),
            )
        )

    def _name(self, fields: Json) -> str:
        if self.event is None:
            return _required(fields, self.name, EVENT_KEYS, "give --event or --name-field")
        parts = template(self.event)
        return "".join(text + ("" if path is None else _required(fields, path, (), "")) for text, path in parts)

    def _metadata(self, fields: Json) -> Mapping[str, MetadataValue]:
        metadata: dict[str, object] = {}
        whole = _find(fields, self.metadata) if self.metadata else None
        if whole is not None:
            if not isinstance(whole, dict):
                raise RowError(f"{quoted(self.metadata or '')} is {kind(whole)}: it must be an object.")
            metadata |= flattened(cast("Json", whole)) if self.flatten else cast("dict[str, object]", whole)
        for column in self.picked:
            value = _find(fields, column.column)
            if value is not None:
                metadata |= _picked(column, value, flatten=self.flatten)
        return cast("Mapping[str, MetadataValue]", metadata)


def kind(value: object) -> str:
    """Name the kind of a JSON value."""
    names: dict[type, str] = {
        type(None): "null",
        bool: "true or false",
        str: "a string",
        list: "an array",
        dict: "an object",
    }
    return names.get(type(value), "a number")


# ---------------------------------------------------------------- fields


def _find(fields: Json, path: str) -> object:
    """Return the value at a path, or None; a key that contains the dots comes first."""
    if path in fields:
        return fields[path]
    value: object = fields
    for key in path.split("."):
        if not isinstance(value, dict):
            return None
        value = cast("Json", value).get(key)
    return value


def _text(fields: Json, path: str | None) -> str | None:
    value = None if path is None else _find(fields, path)
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)  # exports have ids that are numbers
    if value is None or isinstance(value, str):
        return value or None
    raise RowError(f"{quoted(path or '')} is {kind(value)}: it must be a string.")


def _required(fields: Json, path: str | None, usual: tuple[str, ...], remedy: str) -> str:
    for each in (path,) if path else usual:
        if (text := _text(fields, each)) is not None:
            return text
    names = " or ".join(map(quoted, (path,) if path else usual))
    raise RowError(f"{names} is missing or empty{remedy and ': '}{remedy}.")


def _picked(column: MetadataColumn, value: object, *, flatten: bool) -> dict[str, object]:
    if column.is_typed:
        return {column.key: _typed(column, value)}
    return flattened({column.key: value}) if flatten else {column.key: value}


def _typed(column: MetadataColumn, value: object) -> Value | list[Value]:
    if isinstance(value, list):
        return [cast("Value", _typed(column, item)) for item in cast("list[object]", value)]
    if isinstance(value, dict):
        raise RowError(f"{quoted(column.column)} is an object: it has no type.")
    text = str(value).lower() if isinstance(value, bool) else str(value)
    try:
        return TYPES[column.type](text)
    except RowError as error:
        raise RowError(f"{quoted(column.column)}: {error}") from None


# ---------------------------------------------------------------- what metadata cannot hold


def flattened(metadata: Json) -> dict[str, object]:
    """Convert what metadata cannot hold.

    null is left out; true and false become 1 and 0; an inner object's entries, and those of the objects of an array,
    become entries `outer_inner`.
    """
    flat: dict[str, object] = {}
    for key, value in metadata.items():
        for name, converted in _flat(key, value):
            if name in flat:
                raise RowError(f"key {quoted(name)} occurs twice after inner objects were flattened: rename one.")
            flat[name] = converted
    return flat


def _flat(key: str, value: object) -> Iterator[tuple[str, object]]:
    match value:
        case None:
            return
        case bool():
            yield key, int(value)
        case dict():
            for inner, each in cast("dict[str, object]", value).items():
                yield from _flat(f"{key}_{inner}", each)
        case list():
            yield from _flat_array(key, cast("list[object]", value))
        case _:
            yield key, value


def _flat_array(key: str, items: list[object]) -> Iterator[tuple[str, object]]:
    present = [item for item in items if item is not None]
    if present and all(isinstance(item, dict) for item in present):
        columns: dict[str, list[object]] = {}
        for item in present:
            for name, value in flattened(cast("Json", item)).items():
                columns.setdefault(f"{key}_{name}", []).append(value)
        yield from columns.items()
    else:
        yield key, [int(item) if isinstance(item, bool) else item for item in present]


# ---------------------------------------------------------------- Gameball's request bodies


def _body_events(body: Json) -> Iterator[FoundEvent]:
    player = _required(body, None, _BODY_PLAYERS, "a request body of Gameball names the player")
    events = body.get("events")
    what = "empty" if events == {} else kind(events)
    if what != "an object":
        raise RowError(f'"events" is {what}: it must have an event by its name.')
    found = cast("dict[str, object]", events)
    for name, metadata in found.items():
        if (what := kind(metadata)) not in {"an object", "null"}:
            raise RowError(f"the metadata of event {quoted(name)} is {what}: it must be an object or null.")
        entries = cast("dict[str, Any] | None", metadata)
        draft = Draft(player, name, entries, _text(body, "mobile"), _text(body, "email"))
        alone = None if len(found) == 1 else _as_json({**body, "events": {name: entries}})
        yield FoundEvent(draft, alone)


def _as_json(value: object) -> str:
    """Encode JSON with exact numbers, which the standard library does not."""
    match value:
        case dict():
            entries = cast("dict[str, object]", value).items()
            return "{" + ", ".join(f"{json.dumps(key)}: {_as_json(each)}" for key, each in entries) + "}"
        case list():
            return "[" + ", ".join(map(_as_json, cast("list[object]", value))) + "]"
        case Decimal():
            return format(value, "f")
        case _:
            return json.dumps(value)
