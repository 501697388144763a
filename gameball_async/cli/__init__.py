"""The command line: its modules are private, and `main` runs the command `gameball-async`."""

from __future__ import annotations

from _gameball_async_cli import main

__all__ = ["main"]
