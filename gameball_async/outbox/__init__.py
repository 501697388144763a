"""The outbox: events in the application's own PostgreSQL transaction, and the relay that delivers them."""

from __future__ import annotations

from ._tables import drop_schema, grants, schema

__all__ = ["drop_schema", "grants", "schema"]
