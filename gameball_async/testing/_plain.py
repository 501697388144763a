"""Values as Gameball would receive them: what `track` was given, after JSON. Pure functions."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import date
from decimal import Decimal
from enum import Enum
from typing import Any, cast
from uuid import UUID

from .. import Event


def plain(value: object) -> Any:  # noqa: ANN401, PLR0911 one table of types, to whatever JSON can hold
    """Convert one value as the client does; what no event can hold, such as a matcher, stays as it is."""
    match value:
        case Enum():
            return plain(value.value)
        case str():
            return str.__str__(value)
        case Decimal() if value.is_finite():
            return json.loads(format(value, "f"))
        case date() if value == value:  # noqa: PLR0124 pandas.NaT is a datetime, and not equal to itself
            return value.isoformat()
        case UUID():
            return str(value)
        case list() | tuple():
            return [plain(item) for item in cast("Sequence[object]", value)]
        case _:
            return value


def event_of(
    player_unique_id: str, name: str, metadata: Mapping[str, object] | None, mobile: str | None, email: str | None
) -> Event:
    """A valid event, as `on_failure` would get it; later changes of its metadata change nothing."""
    converted = {str.__str__(key): plain(value) for key, value in (metadata or {}).items()}
    encoded = json.dumps({name: converted}, ensure_ascii=False)[1:-1].encode()
    return Event(plain(player_unique_id), plain(name), plain(mobile), plain(email), encoded)
