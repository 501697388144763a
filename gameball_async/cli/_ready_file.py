"""The file that says to scripts and orchestrators that a command is at work; it appears complete."""

from __future__ import annotations

import os
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path

from ._options import reported_errors


@contextmanager
def ready_file(path: Path, text: str) -> Generator[None]:
    """Keep a file with this text within the block."""
    incomplete = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    with reported_errors():
        incomplete.write_text(text, encoding="utf-8")
        incomplete.replace(path)
    try:
        yield
    finally:
        with suppress(OSError):
            if path.read_text(encoding="utf-8") == text:  # another process may have replaced it
                path.unlink()
