"""A script that closes nothing; its last events are tracked when the main thread has ended."""

from __future__ import annotations

import itertools
import os
import signal
import sys
import threading

from gameball_async import Batching
from gameball_async.sync import Gameball

from . import book

url = os.environ["GAMEBALL_BASE_URL"].replace("127.0.0.1", "localhost")  # a name, which has to be looked up
gameball = Gameball(base_url=url, batching=Batching(linger=0.01), rate=None)


def track_in_the_handler(_: int, __: object) -> None:
    gameball.track("handler", "event").result()


def track_after_the_main_thread() -> None:
    threading.main_thread().join()
    gameball.track("late", "first").result()
    gameball.track("late", "second")


def end(_: int, __: object) -> None:
    sys.exit()


signal.signal(signal.SIGUSR1, track_in_the_handler)
signal.signal(signal.SIGTERM, end)
threading.Thread(target=track_after_the_main_thread).start()
for number in itertools.count():
    receipt = gameball.track("main", f"event{number % 10}", {"number": number})
    book.say(f"accepted {number}")
    if number % 10 == 9:
        receipt.result()
