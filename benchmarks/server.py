"""A server in a process of its own that answers 200 to everything, as fast as a plain asyncio protocol can.

It counts requests and bytes, and says so at ``GET /count``. A bulk request gets a job, and every job is completed;
nothing else is looked at.
"""

from __future__ import annotations

import asyncio
import ssl
import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from .harness import ROOT

_LENGTH = b"content-length:"
_ANSWER = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b"
_SUCCESS = b'{"success":true}'
_COMPLETED = b'{"status":"completed","failedItems":0,"errors":[]}'


class _Counts:
    requests = 0
    size = 0


class _Connection(asyncio.Protocol):
    def __init__(self) -> None:
        self._received = b""
        self._transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport), "TCP has one"  # noqa: S101 an invariant
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._received += data
        while (request := self._next_request()) is not None:
            self._answer(request)

    def _next_request(self) -> bytes | None:
        head, blank, rest = self._received.partition(b"\r\n\r\n")
        length = _content_length(head)
        if not blank or len(rest) < length:
            return None
        self._received = rest[length:]
        _Counts.size += length
        return head

    def _answer(self, head: bytes) -> None:
        if head.startswith(b"GET /count"):
            body = b'{"requests":%d,"bytes":%d}' % (_Counts.requests, _Counts.size)
        else:
            _Counts.requests += 1
            path = head.split(b" ", 2)[1]
            if path.endswith(b"/batch/events"):
                body = b'{"jobId":%d}' % _Counts.requests
            else:
                body = _COMPLETED if path.endswith(b"/status") else _SUCCESS
        self._transport.write(_ANSWER % (len(body), body))


def _content_length(head: bytes) -> int:
    lower = head.lower()
    at = lower.find(_LENGTH)
    return int(lower[at + len(_LENGTH) :].split(b"\r\n", 1)[0]) if at >= 0 else 0


async def _serve() -> None:
    loop = asyncio.get_running_loop()
    context = _tls(sys.argv[1]) if len(sys.argv) > 1 else None
    server = await loop.create_server(_Connection, "127.0.0.1", 0, ssl=context)
    port = server.sockets[0].getsockname()[1]
    sys.stdout.write(f"{'http' if context is None else 'https'}://127.0.0.1:{port}\n")
    sys.stdout.flush()
    await loop.run_in_executor(None, sys.stdin.read)  # until whoever started it is gone
    server.close()


def _tls(certificate: str) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate)
    return context


@contextmanager
def local_server(certificate: Path | None = None) -> Generator[str]:
    """Run the server, with TLS if it is given a certificate with its key; yields its URL."""
    command = [sys.executable, "-m", "benchmarks.server", *([] if certificate is None else [str(certificate)])]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:  # noqa: S603 our own module
        assert process.stdin is not None, "it is a pipe"  # noqa: S101 an invariant
        assert process.stdout is not None, "it is a pipe"  # noqa: S101 an invariant
        try:
            yield process.stdout.readline().strip()
        finally:
            process.stdin.close()


if __name__ == "__main__":
    asyncio.run(_serve())
