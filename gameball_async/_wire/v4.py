"""Versions 4.0 and 4.1: `customerId` (Gameball's OpenAPI file, "Send Events"; "Secure Integrations v4.1")."""

from __future__ import annotations

from ._single import ApiVersion

V4_0 = ApiVersion(version="v4.0", resource="events", id_field="customerId")
V4_1 = ApiVersion(version="v4.1", resource="events", id_field="customerId", needs_secret=True)
