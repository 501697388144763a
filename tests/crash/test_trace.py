"""What strace sees: writing, syncing, saying so and sending, in this order."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from itertools import takewhile

import pytest

from gameball_async.sandbox import Fault, Sandbox

from .syscalls import Call, trace
from .traced import PLAYERS

pytestmark = pytest.mark.timeout(400)

EVENTS = 6  # of each player
_MARKER = re.compile(rb"marker-\d{6}\.")


@pytest.fixture(scope="module")
def calls(tmp_path_factory: pytest.TempPathFactory) -> list[Call]:
    """The calls of a service that tracked, sent and closed; the sandbox refused some of its events."""
    folder = tmp_path_factory.mktemp("trace")
    with Sandbox(limits=None) as sandbox:
        sandbox.script(Fault.status(400, code=3000, events={"guilty"}))
        return trace(folder / "log", "traced", sandbox.url, folder / "journal", folder / "book", 0, EVENTS, 0)


def _syncs(calls: list[Call], path: str) -> Iterator[Call]:
    return (call for call in calls if call.name in ("fsync", "fdatasync") and call.path == path)


def _writes(calls: list[Call], words: bytes) -> Iterator[Call]:
    """Where these words were written to a journal."""
    return (
        call
        for call in calls
        if call.name == "pwrite64" and call.path.endswith((".journal", ".journal-wal")) and words in call.data[0]
    )


def _is_synced_before(calls: list[Call], words: bytes, line: int) -> bool:
    """Whether these words were written, and then synced, before the call that begins in that line of the log."""
    return any(
        write.end < sync.begin and sync.end < line
        for write in takewhile(lambda write: write.end < line, _writes(calls, words))
        for sync in _syncs(calls, write.path)
    )


def _notes(calls: list[Call], kind: bytes) -> Iterator[tuple[bytes, Call]]:
    """What the service wrote down: the event, and the call that wrote it."""
    for call in calls:
        if call.name == "write" and call.path.endswith("/book") and call.data[0].startswith(kind):
            yield call.data[0].split()[1], call


def test_a_receipt_is_given_when_the_event_has_been_synced(calls: list[Call]) -> None:
    receipts = list(_notes(calls, b"receipt"))
    assert len(receipts) == 2 * PLAYERS * EVENTS
    for event, receipt in receipts:
        assert _is_synced_before(calls, event, receipt.begin), receipt


def test_a_file_and_its_folder_are_synced_before_the_first_receipt(calls: list[Call]) -> None:
    """Their names too must survive: each sync of a folder follows the making of what lies in it."""
    _, receipt = next(_notes(calls, b"receipt"))
    made = next(call for call in calls if call.name == "mkdir" and call.path.endswith("/journal"))
    file = next(call for call in calls if "O_CREAT" in call.flags and call.path.endswith(".journal"))
    for making in (made, file):
        folder = making.path.rpartition("/")[0]
        assert any(making.end < sync.begin and sync.end < receipt.begin for sync in _syncs(calls, folder)), making


def test_a_batch_is_sealed_on_disk_before_the_first_byte_of_its_request(calls: list[Call]) -> None:
    """What the seal says is found in the file as the list of the events' places."""
    # they are numbered in the order of their calls
    seq_of = {event: seq for seq, (event, _) in enumerate(_notes(calls, b"placed"), 1)}
    requests = [call for call in calls if "socket" in call.path and call.name != "recvfrom" and _events(call)]
    assert len(requests) > PLAYERS
    for request in requests:
        seal = json.dumps([seq_of[event] for event in _events(request)])
        assert _is_synced_before(calls, seal.encode(), request.begin), (seal, request)


def _events(call: Call) -> list[bytes]:
    """The events in what was written or sent."""
    return _MARKER.findall(b"".join(call.data))
