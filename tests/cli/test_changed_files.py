"""A file that is gone on with must be the file it was, up to the last row that has an outcome."""

from __future__ import annotations

import gzip
import json
import shutil
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gameball_async.cli import _checkpoint
from gameball_async.cli._checkpoint import ChangedError, Fingerprint, RowChecksum, decode_marks, encode_marks
from gameball_async.cli._lines import InputRow
from gameball_async.sandbox import Fault, Sandbox

from .conftest import FAST, Process, invoke, numbers

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

_ROWS = 1000  # of 150 bytes each: more than the 64 KiB by which a file is recognised


def ndjson(number: int) -> bytes:
    """Every tenth row is an event, the others have no player: they are settled without a request."""
    player = f"p{number}" if number % 10 == 0 else ""
    return json.dumps({"player": player, "event": "e", "metadata": {"n": number, "text": "x" * 100}}).encode() + b"\n"


def csv(number: int) -> bytes:
    player = f"p{number}" if number % 10 == 0 else ""
    return f'{player},e,{number},"{"x" * 60}\n{"y" * 40}"\n'.encode()


class Half:
    """A run of a file that was interrupted when all rows but the last five had an outcome."""

    def __init__(self, folder: Path, sandbox: Sandbox, suffix: str) -> None:
        self.sandbox = sandbox
        self.row = csv if suffix == ".csv" else ndjson
        self.head = b"player,event,n,text\n" if suffix == ".csv" else b""
        self.lines = [self.row(number) for number in range(_ROWS)]
        self.path = folder / f"events{suffix}"
        self.options = ("-m", "n:int", "-m", "text") if suffix == ".csv" else ()
        self.write(self.lines)
        left = [f"p{number}" for number in range(_ROWS - 10, _ROWS + 10, 10)]
        sandbox.script(Fault.hang(players=left))
        process = Process("send", self.path, *self.options, "--base-url", sandbox.url, *FAST, "--drain", "0")
        sandbox.wait_for(lambda tally: tally.applied == _ROWS // 10 - 1 and tally.in_flight == 1, timeout=50)
        process.interrupt()
        assert process.end() == 130
        sandbox.script()
        self.progress = self.path.with_name(self.path.name + ".progress")
        shutil.copy(self.progress, folder / "kept")

    def write(self, lines: Sequence[bytes]) -> None:
        data = self.head + b"".join(lines)
        self.path.write_bytes(gzip.compress(data) if self.path.suffix == ".gz" else data)

    def line_of(self, row: int) -> int:
        """Return the line on which a row starts, counted from 1."""
        return (self.head + b"".join(self.lines[:row])).count(b"\n") + 1

    def resume(self) -> tuple[int, str]:
        result = invoke("send", self.path, *self.options, "--base-url", self.sandbox.url, *FAST, "--resume")
        return result.exit_code, " ".join(result.output.split())


EDITS: list[tuple[str, Callable[[list[bytes], Callable[[int], bytes]], None]]] = [
    ("edited", lambda lines, _: lines.__setitem__(800, lines[800].replace(b"x", b"z", 1))),
    ("replaced", lambda lines, row: lines.__setitem__(800, row(80000))),
    ("inserted", lambda lines, row: lines.insert(800, row(80000))),
    ("removed", lambda lines, _: lines.__delitem__(800)),
    ("exchanged", lambda lines, _: lines.__setitem__(slice(800, 802), [lines[801], lines[800]])),
]


@pytest.mark.parametrize("suffix", [".ndjson", ".csv", ".ndjson.gz"])
def test_a_change_in_the_settled_part_is_refused_with_its_line_and_nothing_is_sent(
    sandbox: Sandbox, tmp_path: Path, suffix: str
) -> None:
    half = Half(tmp_path, sandbox, suffix)
    before = numbers(sandbox)
    for name, edit in EDITS:
        lines = list(half.lines)
        edit(lines, half.row)
        half.write(lines)
        code, output = half.resume()
        assert code == 2, name
        assert f"has changed since then at line {half.line_of(800)}" in output, (name, output)
        assert numbers(sandbox) == before
        assert half.progress.read_bytes() == (tmp_path / "kept").read_bytes()
    half.write(half.lines[:700])
    code, output = half.resume()
    assert code == 2
    assert "is shorter than then" in output
    assert numbers(sandbox) == before


def test_a_change_in_the_first_row_is_refused_with_its_line(sandbox: Sandbox, tmp_path: Path) -> None:
    half = Half(tmp_path, sandbox, ".csv")
    half.write([half.row(5000), *half.lines[1:]])
    code, output = half.resume()
    assert code == 2
    assert "has changed since then at line 2." in output


def test_rows_after_the_last_settled_one_may_be_corrected_and_added(sandbox: Sandbox, tmp_path: Path) -> None:
    half = Half(tmp_path, sandbox, ".ndjson")
    settled = json.loads(half.progress.read_bytes())["files"][0]["settled"][-1][1]
    changed = [*half.lines[:settled], half.row(5000), half.row(6000)]
    half.write(changed)
    code, output = half.resume()
    assert code == 1, output  # the rows without a player
    held = numbers(sandbox)
    assert held["p5000"] == [5000]
    assert held["p6000"] == [6000]


def test_an_unchanged_file_is_gone_on_with(sandbox: Sandbox, tmp_path: Path) -> None:
    half = Half(tmp_path, sandbox, ".csv")
    code, output = half.resume()
    assert code == 1, output
    held = {
        player: set(events) for player, events in numbers(sandbox).items()
    }  # one may have been cut off in its answer
    assert held == {f"p{number}": {number} for number in range(0, _ROWS, 10)}


def test_a_pipe_that_brings_something_else_is_refused(sandbox: Sandbox, tmp_path: Path) -> None:
    (tmp_path / "first").write_bytes(b"".join(map(ndjson, range(20))) + b"not json\n")
    (tmp_path / "second").write_bytes(b"".join(map(ndjson, [*range(11), 500, *range(12, 40)])))
    command = ("send", "/dev/stdin", "--format", "ndjson", "--progress", "noted", "--base-url", sandbox.url, *FAST)
    sandbox.script(Fault.hang(players=["p10"]))
    with (tmp_path / "first").open("rb") as file:
        process = Process(*command, "--drain", "0", stdin=file.fileno())
        sandbox.wait_for(lambda tally: tally.in_flight == 1 and tally.applied == 1, timeout=50)
        process.interrupt()
        assert process.end() == 130
    sandbox.script()
    with (tmp_path / "second").open("rb") as file:
        process = Process(*command, "--resume", stdin=file.fileno())
        assert process.end() == 2
    assert b"has changed since then at line 12" in process.err


# ------------------------------------------------------------------ marks


def row(position: int, raw: bytes) -> InputRow:
    return InputRow(file=0, line=position, last_line=position, previous=position - 1, raw=raw, content="")


def add(fingerprint: Fingerprint, rows: Sequence[bytes]) -> None:
    for number, raw in enumerate(rows, 1):
        fingerprint.add(row(number, raw))


@given(st.lists(st.binary(max_size=3).filter(lambda raw: not raw.endswith((b"\r", b"\n"))), min_size=1), st.data())
def test_any_change_is_found_and_no_change_is_none(rows: list[bytes], data: st.DataObject) -> None:
    first = Fingerprint()
    add(first, rows)
    marks = decode_marks(encode_marks(first.marks(len(rows))))
    again = Fingerprint(marks)
    add(again, [raw + b"\n" for raw in rows])
    again.finish()
    assert again.marks(len(rows)) == marks
    changed = data.draw(st.integers(1, len(rows)))
    other = Fingerprint(marks)
    with pytest.raises(ChangedError, match=f"at line {changed}$"):
        add(other, [raw + b"!" if number == changed else raw for number, raw in enumerate(rows, 1)])


def test_of_many_rows_a_change_is_found_between_two_marks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_checkpoint, "_MOST_MARKS", 16)
    first, marks = Fingerprint(), list[RowChecksum]()
    for number in range(1, 1001):
        first.add(row(number, b"%d" % number))
        marks = list(first.marks(number))
        assert len(marks) <= 16
        assert marks[-1].position == number
    other = Fingerprint(marks)
    with pytest.raises(ChangedError, match=r"between line (\d+) and (\d+)") as caught:
        add(other, [b"" if number == 321 else b"%d" % number for number in range(1, 1001)])
    first_line, last_line = (int(word) for word in str(caught.value).split() if word.isdecimal())
    assert first_line <= 321 <= last_line
    shorter = Fingerprint(marks)
    add(shorter, [b"%d" % number for number in range(1, 900)])
    with pytest.raises(ChangedError, match="is shorter"):
        shorter.finish()
