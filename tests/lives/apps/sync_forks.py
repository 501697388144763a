"""A parent whose threads track while it forks children of three kinds, which track as well; nothing is closed."""

from __future__ import annotations

import multiprocessing
import os
import sys
import threading

from gameball_async import Batching, WrongLoop
from gameball_async.sync import Gameball

from . import book

gameball = Gameball(base_url=os.environ["GAMEBALL_BASE_URL"], batching=Batching(linger=0.05), rate=None)
unused = Gameball(base_url=os.environ["GAMEBALL_BASE_URL"], batching=Batching(linger=0.05))
ends = threading.Event()
counts: dict[str, int] = {}


def track(player: str) -> None:
    counts[player] = 0
    while not ends.is_set():
        receipt = gameball.track(player, f"event{counts[player] % 10}", {"number": counts[player]})
        counts[player] += 1
        if not counts[player] % 10:
            receipt.result()


def child(player: str) -> None:
    assert gameball.stats().accepted == 0
    try:
        before.result()
    except WrongLoop as error:
        assert "before the fork" in str(error)  # noqa: PT017 a program
    gameball.track(player, "first").result()
    gameball.track(player, "second")
    unused.track(player, "third")


before = gameball.track("before", "event")
threads = [threading.Thread(target=track, args=(f"thread{number}",)) for number in range(2)]
for thread in threads:
    thread.start()
if not (pid := os.fork()):
    child("forked")
    sys.exit()  # as a worker of gunicorn ends
process = multiprocessing.get_context("fork").Process(target=child, args=("multiprocessing",))
process.start()
process.join()
assert os.waitpid(pid, 0)[1] == process.exitcode == 0
ends.set()
for thread in threads:
    thread.join()
book.say(f"counts {counts['thread0']} {counts['thread1']}")
