"""The class that users hold: settings, lifecycle and views; all work is done behind it."""

from __future__ import annotations

import functools
import logging
import threading
import time
import warnings
import weakref
from typing import TYPE_CHECKING, Self

from ._app import create_app
from ._handler import AcceptedKeys, RequestHandler
from ._limits import Limits
from ._server import ServerThread, listen

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

    from ._faults import Fault
    from ._memory import HeldEvent, RequestRecord, Tally, Violation

_log = logging.getLogger(__name__)

_GAMEBALLS_LIMITS = Limits()


class Sandbox:
    """A strict stand-in for the Gameball API on a real socket, in a thread of its own.

    ::

        with Sandbox() as sandbox:
            ...  # send to sandbox.url
            assert sandbox.violations == []

    It keeps all it is sent until `reset`: its memory grows with every request.

    Args:
        host: the address to listen at.
        port: the port; 0 takes a free one, which a later `start` takes again.
        api_key: the only APIKey accepted; None accepts any that is not empty.
        secret_key: the only SecretKey accepted; None accepts any that is not empty.
        limits: the rate limit; None for none.
        seed: of the faults' random numbers.
        on_request: called with each request's record when it ends, in the sandbox's thread, just
            before the end of its answer; what it raises is logged.
    """

    def __init__(
        self,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        api_key: str | None = None,
        secret_key: str | None = None,
        limits: Limits | None = _GAMEBALLS_LIMITS,
        seed: int = 0,
        on_request: Callable[[RequestRecord], None] | None = None,
    ) -> None:
        self._host = host
        self._port = port
        self._handler = RequestHandler(
            keys=AcceptedKeys(api_key, secret_key), limits=limits, seed=seed, on_request=on_request, now=time.monotonic
        )
        self._thread: ServerThread | None = None
        # set by `stop` to end an absence; None while there is none
        self._absence: threading.Event | None = None
        self._lock = threading.Lock()

    def __repr__(self) -> str:
        if self._absence is not None:
            return f"<Sandbox refusing connections at {self.url}>"
        state = "stopped" if self._thread is None else f"listening at {self.url}"
        return f"<Sandbox {state}>"

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    def __del__(self) -> None:
        if getattr(self, "_thread", None) is not None:
            warnings.warn(f"{self!r} was not stopped: call stop(), or use it in a with block.", ResourceWarning, 2)

    def start(self) -> None:
        """Listen; when this returns, requests are served. After a `stop`, at the same port, holding what it held.

        Raises:
            OSError: if the address cannot be had.
            RuntimeError: if it is running already.
        """
        with self._lock:
            if self._thread is not None or self._absence is not None:
                raise RuntimeError("The sandbox is running already: stop it first, or make a second one.")
            self._listen()

    def _listen(self) -> None:
        listener = listen(self._host, self._port)
        self._port = listener.getsockname()[1]
        # held weakly by its server's thread: nobody would be warned of a forgotten sandbox otherwise
        weakly = weakref.WeakMethod(self._leave)

        def leave(seconds: float) -> None:
            if (method := weakly()) is not None:
                method(seconds)

        thread = ServerThread(functools.partial(create_app, self._handler, self._host, leave), listener)
        thread.start()
        self._thread = thread

    def stop(self) -> None:
        """Cut all connections and stop listening; requests being processed are given up. Twice is once."""
        with self._lock:
            if self._absence is not None:
                self._absence.set()
                self._absence = None
            self._close()

    def _close(self) -> None:
        if self._thread is not None:
            self._thread.stop()
            self._thread = None

    def _leave(self, seconds: float) -> None:
        """Refuse connections for some seconds. The server's own thread asks for it, which cannot wait for its end."""
        arguments = (self._thread, seconds)
        threading.Thread(target=self._be_absent, args=arguments, name="gameball-sandbox-absence", daemon=True).start()

    def _be_absent(self, thread: ServerThread | None, seconds: float) -> None:
        with self._lock:
            if self._thread is not thread:
                return  # it was stopped meanwhile
            self._close()
            absence = self._absence = threading.Event()
        absence.wait(seconds)
        with self._lock:
            if self._absence is absence:
                self._absence = None
                self._return()

    def _return(self) -> None:
        try:
            self._listen()
        except OSError:
            _log.exception("the sandbox cannot listen at %s again; start() tries once more", self.url)

    @property
    def url(self) -> str:
        """The base address for a client, without a path.

        Raises:
            RuntimeError: if it has no port yet.
        """
        if self._port == 0:
            raise RuntimeError("The sandbox has no port before it is started: call start() first, or give it a port.")
        host = f"[{self._host}]" if ":" in self._host else self._host
        return f"http://{host}:{self._port}"

    def holdings(self) -> dict[str, list[HeldEvent]]:
        """The events applied: by player, in order. A snapshot."""
        return self._handler.memory.holdings()

    @property
    def requests(self) -> list[RequestRecord]:
        """The requests that have ended, in the order they ended. A snapshot."""
        return self._handler.memory.requests()

    @property
    def violations(self) -> list[Violation]:
        """The rules that were broken, in order. A snapshot."""
        return self._handler.memory.violations()

    def stats(self) -> Tally:
        """Everything in numbers, whatever the amount held. A snapshot."""
        return self._handler.memory.tally()

    def wait_for(self, condition: Callable[[Tally], bool], timeout: float = 5.0) -> None:
        """Block this thread until the sandbox's numbers satisfy a condition, such as a request having arrived.

        Args:
            condition: asked whenever a request arrives or ends.
            timeout: seconds.

        Raises:
            TimeoutError: if they do not in time; the message holds the numbers.
        """
        if not self._handler.memory.wait_for(condition, timeout):
            raise TimeoutError(f"The sandbox has not come so far within {timeout:g} s: {self.stats()}.")

    @property
    def faults(self) -> tuple[Fault, ...]:
        """The faults of the present script."""
        return self._handler.faults

    def script(self, *faults: Fault) -> None:
        """Replace the script of faults; without any, nothing goes wrong from now on.

        Time spans count from this call, and the random numbers start anew from the seed.
        """
        self._handler.script(*faults)

    def reset(self) -> None:
        """Forget holdings, requests, violations and the rate windows; the script stays."""
        self._handler.reset()
