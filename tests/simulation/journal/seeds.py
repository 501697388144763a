"""Seeds of lives with a journal that failed once, and what they found; kept like those without one.

What a seed means is drawn by `plan.py`: after a change there, a seed of this list is merely one more seed.
"""

from __future__ import annotations

FAILED = {
    0: "a call that was cancelled before a close left its event on disk, and the next client sent it",
    5: "track returned before its event was counted, so that a flush did not wait for it",
    6: "a batch that waited for its seal was sent into a pause",
    10: "a flush returned before events outside of the buffer were settled",
    14: "an event without room in the buffer was read again and again",
    37: "nobody who waited for room was woken when acknowledgements had freed it",
    50: "a batch that waited for its seal was sent although the client was halted",
    69: "batches that waited for their seals became ten probes at once",
    119: "the disk refused the last events, and the close waited on",
    127: "half of a split batch lost its contact in a crash, and was not sent again as it was",
    136: "a read during the close was answered with nothing",
    143: "nobody interrupted what came into the buffer after the flusher's death",
    150: "a flush that ran out of time counted too few events",
    183: "a close sent an event when the journal was closed already, and could not acknowledge it",
    265: "batches expired, and nobody read on",
    342: "after two closes, the first one cancelled, a receipt was pending for ever",
    779: "a batch in flight hid an older one from the look for what has expired, and a worker never slept",
    2261: "a probe that waited for its seal was sent into a pause",
    2934: "a late answer of the disk marked a batch as sealed that was unsealed since",
    3277: "a flush looked again where its last event is, and raised TypeError",
    5256: "the disk refused an event during a close, and a call was told that the flusher died",
    5596: "a close ended before the events of calls that waited for the disk, and sent none of them",
    6131: "the oracle called a batch changed that was unsealed, and went with another contact in the next life",
    6971: "behind a file that held sealed batches alone nothing was read any more",
    10754: "behind a file that held sealed batches alone nothing was read before one of them was settled",
    10927: "the same behind a file whose only batch was given up as unclear",
    20150: "SQLite truncated a -wal in a commit that failed, and the journal took that for another program's work",
    23992: "a restored batch of unknown outcome lay behind two others of its player, and the journal stopped reading",
    24300: "the oracle did not know that a response ends with its connection, when a close cancels its reading",
}
"""What was wrong, by seed."""
