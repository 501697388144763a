"""Where the keys come from: the environment or a file, never the command line; they go to the client only."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

import attrs

if TYPE_CHECKING:
    from pathlib import Path

API_KEY = "GAMEBALL_API_KEY"
SECRET_KEY = "GAMEBALL_SECRET_KEY"  # noqa: S105 the name of a variable

_LONGEST_FILE = 64 * 1024  # bytes: more is not a file of keys but a mistake


@attrs.frozen
class KeyOptions:
    """The account's keys.

    Attributes:
        api_key: the API key, if there is one.
        secret_key: the secret key, if there is one.
    """

    api_key: str | None = attrs.field(default=None, repr=False)
    secret_key: str | None = attrs.field(default=None, repr=False)

    def secrets(self) -> list[str]:
        """Return what must not appear in any output."""
        return [key for key in (self.api_key, self.secret_key) if key]


def read_keys(path: Path | None) -> KeyOptions:
    """Take the keys from the file, and from the environment what the file does not have.

    Args:
        path: a file of `NAME=value` lines, or None.

    Raises:
        OSError: if it cannot be read.
        ValueError: if a line is something else; the message names the line and not what it holds.
    """
    given = {} if path is None else _parse(path)
    api_key, secret_key = (given.get(name) or os.environ.get(name) or None for name in (API_KEY, SECRET_KEY))
    return KeyOptions(api_key, secret_key)


def readable_by_others(path: Path) -> bool:
    """Whether others than its owner may read the file."""
    return sys.platform != "win32" and bool(path.stat().st_mode & 0o077)


def _parse(path: Path) -> dict[str, str]:
    with path.open("rb") as file:
        data = file.read(_LONGEST_FILE + 1)
    if len(data) > _LONGEST_FILE:
        raise ValueError(f"it is longer than {_LONGEST_FILE:,} bytes, so it is no file of keys")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise ValueError("it is not UTF-8") from None
    return dict(_entry(number, line) for number, line in enumerate(text.splitlines(), 1) if _holds_entry(line))


def _holds_entry(line: str) -> bool:
    return bool(line.strip()) and not line.lstrip().startswith("#")


def _entry(number: int, line: str) -> tuple[str, str]:
    name, equals, value = line.strip().removeprefix("export ").partition("=")
    if not equals:
        raise ValueError(f"line {number} is not NAME=value")
    value = value.strip()
    if len(value) > 1 and value[0] == value[-1] and value[0] in "\"'":
        value = value[1:-1]
    return name.strip(), value
