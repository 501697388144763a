"""Seeds that failed once, and what they found: kept as tests, although a change of the plans gives them other lives.

What a seed means is drawn by `plan.py`: after a change there, a seed of this list is merely one more seed.
"""

from __future__ import annotations

FAILED: dict[int, str] = {}
"""What was wrong, by seed."""
