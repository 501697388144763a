"""A disk that is soon full: a file system in memory, made for one test."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import pytest

MIB = 1024 * 1024


class SmallDisk:
    """A file system with little room.

    Args:
        path: where it is mounted.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._other = path / "other"

    def fill(self) -> None:
        """Let another file take all that is left."""
        try:
            with self._other.open("ab", buffering=0) as file:
                while True:
                    file.write(b"x" * 4096)
        except OSError:
            assert self.free == 0

    def empty(self) -> None:
        """Remove that file."""
        self._other.unlink()

    @property
    def free(self) -> int:
        """Bytes that nothing takes."""
        return shutil.disk_usage(self.path).free


@contextmanager
def small_disk(path: Path, size: int) -> Generator[SmallDisk]:
    """Mount a file system of so many bytes, where this is permitted; else the test is skipped."""
    path.mkdir()
    try:
        mounted = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", f"size={size}", "small", str(path)],
            capture_output=True,
            text=True,
            check=False,
        )
    except FileNotFoundError:
        pytest.skip("there is no mount here: a full disk is tested where there is")
    if mounted.returncode:
        pytest.skip(f"no file system may be mounted here, that is for root alone: {mounted.stderr.strip()}")
    try:
        yield SmallDisk(path)
    finally:
        subprocess.run(["umount", str(path)], check=True)
