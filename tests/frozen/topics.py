"""What is written down, by topic: each has a text of its own."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from . import api, command_line, files, messages

TOPICS: dict[str, Callable[[], str]] = {
    "api": api.describe,
    "command_line": command_line.describe,
    "files": files.describe,
    "messages": messages.describe,
}

FOLDER = Path(__file__).parent


def path_of(topic: str) -> Path:
    """Where the text of a topic is."""
    return FOLDER / f"{topic}.txt"


def recorded(topic: str) -> str:
    """What is written down."""
    return path_of(topic).read_text(encoding="utf-8")
