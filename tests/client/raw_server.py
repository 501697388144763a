"""A server that answers with the bytes a test gives it, on real sockets; the sandbox only sends correct HTTP."""

from __future__ import annotations

import contextlib
import json
import socket
import ssl
import threading
from collections.abc import Callable
from typing import Any, Self


def response(body: bytes = b"", status: str = "200 OK", **headers: object) -> bytes:
    """One complete response; underscores in a header's name stand for hyphens."""
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode() + body


class Peer:
    """The server's end of one connection.

    Attributes:
        number: 1 for the first connection.
        served: requests answered on it so far.
        head: of the latest request: its first line and headers.
    """

    def __init__(self, number: int, connection: socket.socket) -> None:
        self.number = number
        self.served = 0
        self.head = b""
        self._connection = connection
        self._received = b""

    def send(self, data: bytes) -> None:
        self._connection.sendall(data)

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._connection.shutdown(socket.SHUT_RDWR)
        self._connection.close()

    def receive_request(self) -> bytes | None:
        """The next request's body; None if the client has closed the connection."""
        while b"\r\n\r\n" not in self._received:
            if not self._receive():
                return None
        self.head, _, self._received = self._received.partition(b"\r\n\r\n")
        lines = self.head.decode().lower().split("\r\n")
        length = next((int(line.partition(":")[2]) for line in lines if line.startswith("content-length:")), 0)
        while len(self._received) < length:
            if not self._receive():
                return None
        body, self._received = self._received[:length], self._received[length:]
        return body

    def _receive(self) -> bool:
        try:
            data = self._connection.recv(65_536)
        except OSError:
            return False
        self._received += data
        return bool(data)


class RawServer:
    """Listens at a free port and serves each connection in a thread.

    Args:
        answer: called with the connection and the body of each request; returns what to send, or None to send nothing.
        context: for TLS.
        greet: called with each new connection before anything is read from it.

    Attributes:
        answer: the function; it may be replaced.
        bodies: the requests' bodies in the order of their arrival, with the connections' numbers.
        connections: connections accepted so far.
    """

    def __init__(
        self,
        answer: Callable[[Peer, bytes], bytes | None],
        *,
        context: ssl.SSLContext | None = None,
        greet: Callable[[Peer], object] = lambda _: None,
    ) -> None:
        self.bodies: list[tuple[int, bytes]] = []
        self.connections = 0
        self.answer = answer
        self._greet = greet
        self._context = context
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._threads: list[threading.Thread] = []
        self._peers: list[Peer] = []

    @property
    def port(self) -> int:
        port: int = self._listener.getsockname()[1]
        return port

    @property
    def url(self) -> str:
        return f"{'http' if self._context is None else 'https'}://127.0.0.1:{self.port}"

    @property
    def events(self) -> list[str]:
        """The names of all events that arrived, in order."""
        return [name for _, body in self.bodies for name in json.loads(body).get("events", {})]

    def __enter__(self) -> Self:
        self._start(self._accept)
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for peer in self._peers:
            peer.close()
        for thread in self._threads:
            thread.join(10)

    def _start(self, target: Callable[..., None], *args: Any) -> None:
        thread = threading.Thread(target=target, args=args, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # what is sent has arrived
            self.connections += 1
            self._start(self._serve, connection, self.connections)

    def _serve(self, connection: socket.socket, number: int) -> None:
        with contextlib.suppress(OSError), connection:
            if self._context is not None:
                connection = self._context.wrap_socket(connection, server_side=True)
            with connection:
                peer = Peer(number, connection)
                self._peers.append(peer)
                self._greet(peer)
                while (body := peer.receive_request()) is not None:
                    self.bodies.append((number, body))
                    answer = self.answer(peer, body)
                    peer.served += 1
                    if answer is not None:
                        peer.send(answer)
