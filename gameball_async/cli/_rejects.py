"""The rejects file: every row that will not arrive, with its line number and the reason; for its owner's eyes only."""

from __future__ import annotations

import json
import os
import stat
from typing import TYPE_CHECKING

import attrs

from .._platform import O_BINARY

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

_MOST_REASONS = 3  # different ones, to be printed at the end
_SHORTEST_SECRET = 8  # characters; replacing anything shorter would spoil rows instead of hiding a key


@attrs.define
class FirstReason:
    """Where a reason was met.

    Attributes:
        file: the file of the first row that has it.
        line: the line of that row.
        further: how many rows have it beside that one.
    """

    file: str
    line: int
    further: int = 0


class Rejects:
    """One JSON object per line: `file`, `line`, `reason` and `row`, the row as it stands in the file.

    The file appears with the first row, readable by its owner only, as rows may be personal data.

    Args:
        path: where it is. One of an earlier run is kept beside it, as `<name>.old`.
        secrets: the keys, which must not appear in it.
        keep_bytes: the length to keep of an earlier run's file that is to be continued, if it had one.

    Attributes:
        path: where it is.
        size: bytes written, the kept ones included.
        first: the first few reasons of this run.
    """

    def __init__(self, path: Path, *, secrets: Sequence[str] = (), keep_bytes: int = 0) -> None:
        self.path = path
        self.size = 0
        self.first: dict[str, FirstReason] = {}
        self._secrets = [secret for secret in secrets if len(secret) >= _SHORTEST_SECRET]
        self._descriptor: int | None = None
        if keep_bytes:
            self._continue(keep_bytes)
        else:
            self._put_aside()

    def add(self, *, file: str, line: int, reason: str, row: bytes) -> None:
        """Write one row; on return the operating system has it.

        Raises:
            OSError: if there is no room or no permission.
        """
        text = row.decode("utf-8", "backslashreplace").rstrip("\r\n")
        reason = self._clean(reason)
        fields = {"file": file, "line": line, "reason": reason, "row": self._clean(text)}
        data = json.dumps(fields, ensure_ascii=False).encode("utf-8", "backslashreplace") + b"\n"
        if self._descriptor is None:
            self._descriptor = _open(self.path)
        try:
            _write_all(self._descriptor, data)
        except OSError as error:
            self._take_back()
            raise OSError(error.errno, error.strerror, str(self.path)) from None
        self.size += len(data)
        if reason in self.first:
            self.first[reason].further += 1
        elif len(self.first) < _MOST_REASONS:
            self.first[reason] = FirstReason(file, line)

    def close(self) -> None:
        """Close the file."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def _put_aside(self) -> None:
        # a device or a pipe is written to as it is
        if self.path.is_file():
            self.path.replace(self.path.with_name(self.path.name + ".old"))

    def _continue(self, keep_bytes: int) -> None:
        self._descriptor = _open(self.path)
        self.size = min(keep_bytes, os.fstat(self._descriptor).st_size)  # it may have been taken away meanwhile
        self._take_back()

    def _take_back(self) -> None:
        """Cut off what follows the last whole row."""
        if self._descriptor is not None and stat.S_ISREG(os.fstat(self._descriptor).st_mode):
            os.ftruncate(self._descriptor, self.size)

    def _clean(self, text: str) -> str:
        for secret in self._secrets:
            text = text.replace(secret, "[key]")
        return text


def _open(path: Path) -> int:
    return os.open(path, os.O_CREAT | os.O_WRONLY | os.O_APPEND | O_BINARY, 0o600)


def _write_all(descriptor: int, data: bytes) -> None:
    while data:
        data = data[os.write(descriptor, data) :]
