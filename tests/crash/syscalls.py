"""What a process asked of the kernel, as strace saw it: in the order of the log, with all data."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import attrs
import pytest

_CALLS = (
    "openat,open,creat,write,writev,pwrite64,pwritev,pwritev2,ftruncate,truncate,fallocate,fsync,fdatasync,"
    "sync_file_range,unlink,unlinkat,rename,renameat,renameat2,link,mkdir,sendto,sendmsg,recvfrom,recvmsg"
)

_LINE = re.compile(r"^\d+ +(?:<\.\.\. \w+ resumed>)?(.*)$")
_CALL = re.compile(r"^(\w+)\((.*)\) += (-?\d+)")
_TEXT = re.compile(r'"((?:\\x[0-9a-f]{2})*)"')
_DESCRIPTOR = re.compile(r"^\d+<((?:\\x[0-9a-f]{2})*)>")
_NUMBER = re.compile(r"(?<![\w.])-?\d+(?![\w.])")
_UNFINISHED = " <unfinished ...>"


@attrs.frozen
class Call:
    """One system call.

    Attributes:
        name: which one.
        path: of the file, folder or socket that its descriptor stands for; or the path that it is called with.
        data: what it wrote or read, or its further paths.
        numbers: its numeric arguments, without the descriptor.
        flags: its arguments as text, without paths and data.
        result: what it returned, not negative.
        begin: the line of the log in which it began.
        end: the line in which it ended; with several threads, others lie between.
    """

    name: str
    path: str
    data: tuple[bytes, ...]
    numbers: tuple[int, ...]
    flags: str
    result: int
    begin: int
    end: int


def tracer() -> str:
    """The path of a strace that works; skips the test where there is none."""
    strace = shutil.which("strace")
    if strace is None:
        pytest.skip("strace is not installed")
    tried = subprocess.run([strace, "-o", "/dev/null", "true"], check=False, capture_output=True, text=True)
    if tried.returncode:
        pytest.skip(f"strace cannot trace here: {tried.stderr.strip()[:200]}")
    return strace


def trace(log: Path, module: str, *arguments: object) -> list[Call]:
    """Run a module of this package to its end; returns its successful calls in the order in which they ended."""
    command = [tracer(), "-f", "-y", "-xx", "-s", "100000000", "-e", f"trace={_CALLS}", "-e", "signal=none", "-o", log]
    program = [sys.executable, "-m", f"{__package__}.{module}", *arguments]
    folder = Path(__file__).parent.parent
    with subprocess.Popen([str(part) for part in command + program], cwd=folder, start_new_session=True) as process:
        try:
            assert process.wait(40) == 0
        finally:
            with suppress(ProcessLookupError):  # strace leaves alone what it traced, if it is killed
                os.killpg(process.pid, signal.SIGKILL)
    return list(_calls(log.read_text().splitlines()))


def _calls(lines: list[str]) -> Iterator[Call]:
    unfinished: dict[str, tuple[int, str]] = {}
    for end, line in enumerate(lines):
        found = _LINE.match(line)
        assert found, line
        thread, text = line.split(maxsplit=1)[0], found[1]
        begin, before = unfinished.pop(thread) if "resumed>" in line[:60] else (end, "")
        if text.endswith(_UNFINISHED):
            unfinished[thread] = begin, text.removesuffix(_UNFINISHED)
        elif (call := _CALL.match(before + text)) and int(call[3]) >= 0:
            yield _call(call[1], call[2], int(call[3]), begin, end)


def _call(name: str, arguments: str, result: int, begin: int, end: int) -> Call:
    data = [bytes.fromhex(text.replace(r"\x", "")) for text in _TEXT.findall(arguments)]
    descriptor = _DESCRIPTOR.match(arguments)
    path = bytes.fromhex(descriptor[1].replace(r"\x", "")) if descriptor else data.pop(0) if data else b""
    flags = _TEXT.sub("", _DESCRIPTOR.sub("", arguments))
    numbers = [int(number) for number in _NUMBER.findall(re.sub(r"<[^>]*>", "", flags))]
    return Call(name, path.decode(), tuple(data), tuple(numbers), flags, result, begin, end)
