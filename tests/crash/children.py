"""The processes that are killed: forked from a server that has imported everything, so that a life begins at once."""

from __future__ import annotations

import multiprocessing
import time
from typing import ClassVar

from .service import Life, live

_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(
    ["pytest", "gameball_async", "trio", "anyio._backends._asyncio", "anyio._backends._trio"]
)


class Child:
    """A life in a process of its own."""

    started: ClassVar[set[Child]] = set()

    def __init__(self, life: Life) -> None:
        self._log = life.book.with_suffix(".log")
        self._news, theirs = _CONTEXT.Pipe(duplex=False)
        self._process = _CONTEXT.Process(target=live, args=(life, theirs), daemon=True)
        self._process.start()
        theirs.close()
        self.started.add(self)

    def wait_for(self, word: bytes) -> None:
        """Block until it has come so far."""
        try:
            while self._news.poll(100):
                if self._news.recv_bytes() == word:
                    return
        except EOFError:
            pass
        raise AssertionError(f"the process never came to {word!r}:\n{self._text}")

    def kill(self, *, after: float = 0.0) -> float:
        """Kill it at once when some seconds have passed, whatever it does; returns when it was gone."""
        self._process.join(after)
        self._process.kill()
        return self._gone()

    def end(self) -> float:
        """Wait for its end, which must be a good one; returns when it was gone."""
        self._process.join(100)
        code = self._process.exitcode
        gone = self.kill() if code is None else self._gone()
        assert code == 0, f"the process ended with {code}:\n{self._text}"
        return gone

    def _gone(self) -> float:
        self._process.join()
        gone = time.monotonic()
        self.started.discard(self)
        self._process.close()
        self._news.close()
        assert "Traceback" not in self._text, self._text
        return gone

    @property
    def _text(self) -> str:
        return self._log.read_text(errors="replace") if self._log.exists() else ""
