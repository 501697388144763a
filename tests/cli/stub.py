"""A web server that answers whatever a test wants, on a real socket, with TLS if wanted; the sandbox is too honest."""

from __future__ import annotations

import ssl
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING

import attrs

if TYPE_CHECKING:
    from collections.abc import Generator


@attrs.define(kw_only=True)
class Stub:
    """What is answered, and what was asked.

    Attributes:
        status: the HTTP status of every answer.
        body: its body.
        headers: further headers.
        date: its `Date`; None for none.
        port: where it listens.
        asked: the first lines of the requests, in order.
    """

    status: int = 400
    body: bytes = b'{"code":4,"message":"The PlayerUniqueId field is required."}'
    headers: dict[str, str] = attrs.field(factory=dict[str, str])
    date: str | None = None
    port: int = 0
    asked: list[str] = attrs.field(factory=list[str])


@contextmanager
def serving(stub: Stub, context: ssl.SSLContext | None = None) -> Generator[Stub]:
    """Serve until the block ends.

    Args:
        stub: what is answered; may be changed meanwhile.
        context: a server's, with its certificate; None for http.
    """

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            stub.asked.append(self.requestline)
            self.rfile.read(int(self.headers.get("Content-Length", "0")))
            self.send_response_only(stub.status)
            for name, value in stub.headers.items():
                self.send_header(name, value)
            if stub.date is not None:
                self.send_header("Date", stub.date)
            self.send_header("Content-Length", str(len(stub.body)))
            self.end_headers()
            self.wfile.write(stub.body)

        do_CONNECT = do_GET = do_POST  # noqa: N815 the server looks for these names

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 the base class calls it so
            """Keep the tests' output clean."""

    class Server(ThreadingHTTPServer):
        def handle_error(self, request: object, client_address: object) -> None:
            """A client that does not trust the certificate leaves in the midst; that is what is tested."""

    with Server(("127.0.0.1", 0), Handler) as server:
        if context is not None:
            server.socket = context.wrap_socket(server.socket, server_side=True)
        stub.port = server.server_address[1]
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield stub
        finally:
            server.shutdown()
            thread.join()
