"""What every test relies on."""

from __future__ import annotations

import signal

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # so it is for what a script starts in the background, and the processes that tests interrupt would inherit it
    signal.signal(signal.SIGINT, signal.default_int_handler)
