"""What the tests of the journal share."""

from __future__ import annotations

import pytest


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A journal that fails tries again at once."""
    monkeypatch.setattr("gameball_async._journal.segment.RETRY_AFTER", 0.01)
    monkeypatch.setattr("gameball_async._journal.disk_reserve.CHECK_AFTER", 0.01)
