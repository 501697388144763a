"""Mutants of the journal's worker and segments: each breaks one promise, and the oracle has to catch it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from unittest import mock

import attrs

from gameball_async._journal.commands import Append, Command, CommandQueue
from gameball_async._journal.dead_letters import DeadLetters
from gameball_async._journal.disk_reserve import DiskReserve
from gameball_async._journal.folder import Folder
from gameball_async._journal.orphan import Orphan
from gameball_async._journal.records import SegmentInfo
from gameball_async._journal.segment import RETRY_AFTER, Segment
from gameball_async._journal.segment_file import ReadResult, SegmentFile
from gameball_async._journal.segment_set import SegmentSet
from gameball_async._journal.state import CommitMark
from gameball_async._journal.worker import JournalWorker

from ..mutants import Mutant, Mutate, _mutant


def _complete_what_failed(commit: Mutate, segment: Segment, commands: Sequence[Any], now: float) -> Any:
    completions = commit(segment, commands, now)
    refused = segment.file is None
    return [command for command in commands if isinstance(command, Append)] if refused else completions


def _lose_what_failed(_: Mutate, segment: Segment, commands: Sequence[Command]) -> Any:
    error = segment._disk_reserve.shortage or segment.failure
    return [(command.complete, (error,)) for command in commands if isinstance(command, Append)]


def _keep_refused_appends(reopen: Mutate, segment: Segment) -> SegmentFile:
    segment._uncertain = []
    file: SegmentFile = reopen(segment)
    return file


def _trust_the_file(_: Mutate, segment: Segment, __: Exception, now: float) -> None:
    """Goes on with the connection, in whose transaction half of the commands were run."""
    segment.retry_at = now
    segment.failure = None
    segment._pending = []


def _never_retry(_: Mutate, worker: JournalWorker, now: float, **__: float) -> list[Any]:
    for segment in worker._segments.by_number.values():
        segment.retry_at = now + RETRY_AFTER
    return []


def _close_without_a_retry(close: Mutate, worker: JournalWorker, now: float) -> Any:
    with mock.patch.object(JournalWorker, "_retry", return_value=[]):
        return close(worker, now)


def _commit_before_the_dead_letters(apply: Mutate, segment: Segment, file: SegmentFile, command: Any) -> Any:
    if type(command).__name__ != "AddDeadLetters":
        return apply(segment, file, command)
    file.ack([entry.seq for entry in command.entries])
    file.commit()
    segment._dead_letters.add(file.file_id, command.entries, now=segment._clock())
    file.begin()
    return ()


def _add_one_dead_letter(
    add: Mutate, letters: DeadLetters, file_id: str, entries: Sequence[Any], **options: Any
) -> None:
    add(letters, file_id, entries[:1], **options)


def _commit_late(commit: Mutate, file: SegmentFile) -> None:
    """Ends every other transaction with the next one."""
    is_held = vars(file).setdefault("is_held", False)
    vars(file)["is_held"] = not is_held
    if is_held:
        commit(file)


def _begin_once(begin: Mutate, file: SegmentFile) -> None:
    if not file._db.in_transaction:
        begin(file)


def _cut_requests(read: Mutate, file: SegmentFile, after: int, most_events: int, most_bytes: int) -> ReadResult:
    result: ReadResult = read(file, after, most_events, most_bytes)
    if len(result.rows) > most_events:
        return ReadResult(result.rows[:most_events], result.damaged, is_last=False)
    return result


def _delete_the_event_alone(_: Mutate, file: SegmentFile, members: Sequence[int]) -> None:
    file.delete(members)


def _unseal_nothing(_: Mutate, __: SegmentFile, ___: int) -> None:
    """Leaves the seal of a batch that was split."""


def _remove_all_at_the_close(close: Mutate, segments: SegmentSet) -> None:
    with mock.patch("gameball_async._journal.segment_set._is_known_to_be_empty", return_value=True):
        close(segments)


def _recover_the_first_alone(recover: Mutate, segments: SegmentSet, stems: list[str], recovered: list[Any]) -> None:
    recover(segments, stems[:1], recovered)


def _tell_too_few(info: Mutate, segment: Segment, file: SegmentFile) -> SegmentInfo:
    told: SegmentInfo = info(segment, file)
    return SegmentInfo(told.segment, max(0, told.events - 1), told.next_seq, told.sealed)


def _mark_too_early(begin: Mutate, file: SegmentFile) -> None:
    """Says that the commit to come has happened."""
    begin(file)
    if file._mark is not None:
        state = file.state._replace(commits=file.state.commits + 1, is_open=True)
        file._mark.write(state.text, state.checksum)


def _suspect_every_tail(examine: Mutate, segment: Segment, marks: Any) -> Orphan:
    orphan: Orphan = examine(segment, marks)
    return attrs.evolve(orphan, reason="its -wal is cut") if orphan.wal.frames else orphan


def _never_recover(_: Mutate, reserve: DiskReserve, now: float) -> None:
    reserve.check_at = now + 1


def _leave_the_mark(remove: Mutate, folder: Folder, stem: str) -> None:
    with mock.patch("gameball_async._journal.folder.kind_of", return_value="wal"):
        remove(folder, stem)


def _leak_the_mark(close: Mutate, mark: CommitMark, *, sync: bool) -> None:
    """Leaves the commit mark open."""


def _forget_the_later_commands(take: Mutate, queue: CommandQueue) -> list[Command]:
    commands: list[Command] = take(queue)
    return commands[:3]


SEGMENT_MUTANTS: tuple[Mutant, ...] = (
    _mutant("completes what failed", "is called durable", (Segment, "commit", _complete_what_failed)),
    _mutant(
        "loses commands while a file fails",
        "wait for a disk|in the folder|holds",
        (Segment, "_postpone", _lose_what_failed),
    ),
    _mutant("keeps events of a commit that failed", "in the folder", (Segment, "_reopen", _keep_refused_appends)),
    _mutant(
        "trusts a connection after an error",
        "wait for a disk|refuses events|is called durable",
        (Segment, "_fail", _trust_the_file),
    ),
    _mutant("never opens a failed file again", "refuses events", (JournalWorker, "_retry", _never_retry)),
    _mutant(
        "loses at the close what is postponed",
        "in the folder|holds",
        (JournalWorker, "_close", _close_without_a_retry),
    ),
    _mutant(
        "removes an event before its dead letter is written",
        "is no dead letter yet",
        (Segment, "_apply", _commit_before_the_dead_letters),
    ),
    _mutant(
        "writes the dead letter of the first event alone",
        "is no dead letter yet",
        (DeadLetters, "add", _add_one_dead_letter),
    ),
    _mutant(
        "completes before the commit",
        "is called durable|before its seal",
        (SegmentFile, "commit", _commit_late),
        (SegmentFile, "begin", _begin_once),
    ),
    _mutant("cuts a request when it reads", "is cut", (SegmentFile, "read", _cut_requests)),
    _mutant(
        "leaves the seal of what has its outcome",
        "the log says",
        (SegmentFile, "ack", _delete_the_event_alone),
    ),
    _mutant(
        "leaves the seal of a split batch",
        "was sealed|without an outcome|the log says|carries",
        (SegmentFile, "unseal", _unseal_nothing),
    ),
    _mutant(
        "removes its segments at the close",
        "is removed with the events",
        (SegmentSet, "close", _remove_all_at_the_close),
    ),
    _mutant(
        "recovers one segment alone", "are left in the folder", (SegmentSet, "_recover_all", _recover_the_first_alone)
    ),
    _mutant("finds too few events", "the journal found", (Segment, "info", _tell_too_few)),
    _mutant(
        "writes the commit mark before the commit",
        "the log says|the inspection says",
        (SegmentFile, "begin", _mark_too_early),
    ),
    _mutant("takes the end of a -wal for damage", "the log says", (Segment, "examine", _suspect_every_tail)),
    _mutant("never sees that the disk has room again", "refuses events", (DiskReserve, "recover", _never_recover)),
    _mutant("leaves commit marks behind", "the folder holds", (Folder, "remove", _leave_the_mark)),
    _mutant("leaves files open", "are open", (CommitMark, "close", _leak_the_mark)),
    _mutant(
        "loses commands of a long queue",
        "waits|wait for a disk|deadlock|in the folder",
        (CommandQueue, "take", _forget_the_later_commands),
    ),
)
"""Every one; the tests catch each of them."""
