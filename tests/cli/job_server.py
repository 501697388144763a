"""A web server that answers bulk requests, and questions for the status of their jobs, as a test wants."""

from __future__ import annotations

import json
import socket
import struct
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any, Literal

import attrs

if TYPE_CHECKING:
    from collections.abc import Generator, Mapping

JOB = 7


@attrs.frozen(kw_only=True)
class Reply:
    """What becomes of a request.

    Attributes:
        status: the HTTP status.
        body: the body.
        headers: further headers.
        ending: `"reset"` and `"hang"` answer nothing; `"cut"` announces more than the body.
    """

    status: int = 200
    body: bytes = b""
    headers: Mapping[str, str] = {}
    ending: Literal["whole", "cut", "reset", "hang"] = "whole"


def answer(status: int = 200, /, *, headers: Mapping[str, str] = {}, **content: Any) -> Reply:
    """An answer with a JSON object."""
    return Reply(status=status, body=json.dumps(content).encode(), headers=headers)


REFUSED = answer(400, code=4, message="The PlayerUniqueId field is required.")
ACCEPTED = answer(jobId=JOB)
NOT_FOUND = Reply(status=404)
RESET = Reply(ending="reset")
HANG = Reply(ending="hang")


@attrs.define(kw_only=True)
class JobServer:
    """What is answered to each request; the last of several answers is repeated.

    Attributes:
        probe: the answer to an empty request for an event.
        submit: the answer to a bulk request.
        statuses: the answers of `GET batches/{job}/status`, in order.
        others: the answers of `GET batch/{job}`, in order.
        url: where it listens.
        asked: method and last part of the path of each request, in order.
    """

    probe: Reply = REFUSED
    submit: Reply = ACCEPTED
    statuses: list[Reply] = attrs.field(factory=lambda: [NOT_FOUND])
    others: list[Reply] = attrs.field(factory=lambda: [NOT_FOUND])
    url: str = ""
    asked: list[str] = attrs.field(factory=list[str])

    def reply_to(self, method: str, path: str) -> Reply:
        """The answer to the next request."""
        route = path.partition("/integrations/")[2]
        self.asked.append(f"{method} {route}")
        if method == "POST":
            return self.submit if route == "batch/events" else self.probe
        replies = self.statuses if route.startswith("batches/") else self.others
        return replies.pop(0) if len(replies) > 1 else replies[0]


@contextmanager
def serving_jobs(server: JobServer) -> Generator[JobServer]:
    """Serve until the block ends."""
    is_over = threading.Event()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length", "0")))
            reply = server.reply_to(self.command, self.path)
            if reply.ending == "hang":
                is_over.wait(60)
                return
            if reply.ending == "reset":
                self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                self.connection.close()
                return
            self.send_response_only(reply.status)
            for name, value in reply.headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(reply.body) + (10 if reply.ending == "cut" else 0)))
            self.end_headers()
            self.wfile.write(reply.body)

        do_GET = do_POST  # noqa: N815 the server looks for this name

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 the base class calls it so
            """Keep the tests' output clean."""

    class Server(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, request: object, client_address: object) -> None:
            """A connection that was reset here cannot be finished."""

    with Server(("127.0.0.1", 0), Handler) as listening:
        server.url = f"http://127.0.0.1:{listening.server_address[1]}"
        thread = threading.Thread(target=listening.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server
        finally:
            is_over.set()
            listening.shutdown()
            thread.join()
