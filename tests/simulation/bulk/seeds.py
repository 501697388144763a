"""Seeds of clients with bulk requests that failed once, and what they found."""

from __future__ import annotations

FAILED: dict[int, str] = {}
"""What was wrong, by seed."""
