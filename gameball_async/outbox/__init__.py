"""The outbox: events in the application's own PostgreSQL transaction, and the relay that delivers them."""

from __future__ import annotations

from ._append import OutboxEvent
from ._relay import Relay
from ._tables import drop_schema, grants, schema

__all__ = ["OutboxEvent", "Relay", "drop_schema", "grants", "schema"]
