"""What every test relies on."""

from __future__ import annotations

import signal

import pytest

# The signals that tests send to the processes they start. Processes inherit what is ignored or blocked here, as it is
# under nohup or in the background of a script, so nothing is: they start as they would from a shell.
STOPPING = {getattr(signal, name) for name in ("SIGHUP", "SIGINT", "SIGTERM") if hasattr(signal, name)}


def _keep_running(*_: object) -> None:
    """Ignore a signal here, but not in the processes started from here."""


for _number in STOPPING:
    if signal.getsignal(_number) is signal.SIG_IGN:
        signal.signal(_number, signal.default_int_handler if _number == signal.SIGINT else _keep_running)
if hasattr(signal, "pthread_sigmask"):
    signal.pthread_sigmask(signal.SIG_UNBLOCK, STOPPING)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: item.get_closest_marker("long") is None)
