"""Version 3.0, the default: `playerUniqueId`, and the API key alone (Gameball's "Event" page, v3)."""

from __future__ import annotations

from ._single import ApiVersion

V3_0 = ApiVersion(version="v3.0", resource="event", id_field="playerUniqueId")
