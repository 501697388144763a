"""Seeds that failed once, and what they found: kept as tests, although a change of the plans gives them other lives.

What a seed means is drawn by `plan.py`: after a change there, a seed of this list is merely one more seed.
"""

from __future__ import annotations

FAILED = {
    8: "a batch that followed another lingered longer than its own linger",
    64: "a close at its deadline told on_failure of the first event only, if that was a coroutine",
    89: "the last events expired, and the close waited on until its deadline",
    118: "the close reported events that expired behind one in flight before it",
    213: "the close of a client that was never started told a slow on_failure of one event only",
    289: "a probe's success ended a pause that a later answer had asked for",
    298: "everything expired, and the flush waited on",
    306: "a client that was never started called its events too old",
    410: "a close that was cancelled told on_failure of nothing",
    487: "events expired, and the producers that waited for room were not woken",
    674: "what was dropped before the close was told to nobody, because on_failure was slow",
    993: "a later close with a shorter timeout waited for a slow on_failure until the deadline of the first",
    3884: "drop_oldest gave up half of a batch whose answer was lost, and did not say that it may have arrived",
    9619: "a close skipped a pause that was asked for before an outage began",
    10425: "a refusal of the client shortened a pause that another answer had asked for",
    19900: "the oracle took a halt for over, because its probe was never answered",
    779680: "a logging handler tracked while losses were reported, and the flusher died",
    780305: "the oracle gave an event that a callback tracked late no time of its own",
}
"""What was wrong, by seed."""
