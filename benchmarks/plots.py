"""The plots for the docs."""

from __future__ import annotations


def draw() -> None:
    """Draw every plot whose results are kept."""
