"""Seeds of relays that failed once, and what they found; kept like those of clients.

What a seed means is drawn by `plan.py`: after a change there, a seed of this list is merely one more seed.
"""

from __future__ import annotations

FAILED = {
    0: "a callback of the loop could not stop a relay",
    10: "a page held an event whose predecessor had committed behind the page before",
    50: "relays whose share of the rate limit was less than one request sent nothing",
    377: "a statement that arrived late removed the seal of a batch that was about to be sent",
}
"""What was wrong, by seed."""
