"""The outbox: events in the application's own PostgreSQL transaction, and the relay that delivers them."""

from __future__ import annotations

from ._append import OutboxEvent
from ._tables import drop_schema, grants, schema

__all__ = ["OutboxEvent", "drop_schema", "grants", "schema"]
