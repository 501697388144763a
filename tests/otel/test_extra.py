"""What is said when OpenTelemetry is not installed."""

from __future__ import annotations

import importlib
import sys

import pytest


def test_a_missing_api_names_the_extra_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in [name for name in sys.modules if name.partition(".")[0] == "opentelemetry"]:
        monkeypatch.setitem(sys.modules, module, None)
    monkeypatch.delitem(sys.modules, "gameball_async.integrations.otel", raising=False)
    with pytest.raises(ImportError, match=r'needs opentelemetry: pip install "gameball-async\[otel\]"'):
        importlib.import_module("gameball_async.integrations.otel")
