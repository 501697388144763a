"""A disk that is soon full: a file system made for one test."""

from __future__ import annotations

import os
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
        with pytest.raises(OSError, match=r"No space left|quota exceeded"):
            self._write_on()

    def leave(self, size: int) -> None:
        """Let another file take all but so many bytes."""
        self._other.write_bytes(b"x" * (self.free - size))

    def _write_on(self) -> None:
        with self._other.open("ab", buffering=0) as file:
            while True:
                file.write(b"x" * 4096)

    def empty(self) -> None:
        """Remove that file."""
        self._other.unlink()

    @property
    def free(self) -> int:
        """Bytes that nothing takes."""
        return shutil.disk_usage(self.path).free


@contextmanager
def small_disk(path: Path, size: int) -> Generator[SmallDisk]:
    """Mount a file system in memory of so many bytes, where this is permitted; else the test is skipped."""
    path.mkdir()
    _run_or_skip("mount", "-t", "tmpfs", "-o", f"size={size}", "small", str(path))
    try:
        yield SmallDisk(path)
    finally:
        _unmount(path)


@contextmanager
def small_quota(path: Path, size: int) -> Generator[SmallDisk]:
    """Mount a file system with room enough, of which a quota allows so many bytes; else the test is skipped.

    It is btrfs, since its quotas hold for root too.
    """
    path.mkdir()
    image = path.with_suffix(".img")
    image.touch()
    os.truncate(image, 128 * MIB)  # about the least that it can be made in
    _run_or_skip("mkfs.btrfs", "--quiet", str(image))
    _run_or_skip("mount", "-o", "loop", str(image), str(path))
    try:
        _run_or_skip("btrfs", "quota", "enable", str(path))
        _run_or_skip("btrfs", "qgroup", "limit", str(size), str(path))
        yield SmallDisk(path)
    finally:
        _unmount(path)


def _unmount(path: Path) -> None:
    subprocess.run(["umount", "--lazy", str(path)], check=True)  # a test that failed may still use it


def _run_or_skip(*command: str) -> None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        pytest.skip(f"there is no {command[0]} here: what it makes is tested where there is")
    if done.returncode:
        pytest.skip(f"{command[0]} does not work here, it may be for root alone: {done.stderr.strip()}")
