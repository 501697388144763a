"""Bare sockets that leave a request open, and the routes: what httpx is too polite for."""

from __future__ import annotations

import json
import socket
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

if TYPE_CHECKING:
    import contextlib

    import httpx

    from gameball_async.sandbox import Sandbox

V3 = "/api/v3.0/integrations/event"
V4 = "/api/v4.0/integrations/events"
V41 = "/api/v4.1/integrations/events"


def track(http: httpx.Client, player: str = "p", *names: str, path: str = V3) -> httpx.Response:
    """Send events without metadata, `review` if none is named, as a well-behaved client does."""
    headers = {"Content-Type": "application/json"}
    return http.post(path, content=body(player, *names, path=path), headers=headers)


def body(player: str = "p", *names: str, path: str = V3) -> bytes:
    id_field = "playerUniqueId" if path == V3 else "customerId"
    return json.dumps({id_field: player, "events": {name: {} for name in names or ("review",)}}).encode()


class Calls:
    """Requests whose answers are not waited for; every socket is closed at the end of the test."""

    def __init__(self, sandbox: Sandbox, stack: contextlib.ExitStack) -> None:
        self._sandbox = sandbox
        self._stack = stack

    def open(self, player: str = "p", *names: str, content: bytes | None = None) -> socket.socket:
        """Send a request, and return its connection when the sandbox has it."""
        arrived = self._sandbox.stats().arrived
        address = urlsplit(self._sandbox.url)
        connection = socket.create_connection((address.hostname, address.port), timeout=10)
        self._stack.enter_context(connection)
        content = body(player, *names) if content is None else content
        head = f"POST {V3} HTTP/1.1\r\nHost: sandbox\r\nAPIKey: key\r\nContent-Type: application/json\r\n"
        connection.sendall(f"{head}Content-Length: {len(content)}\r\n\r\n".encode() + content)
        self._sandbox.wait_for(lambda tally: tally.arrived > arrived)
        return connection


def received(connection: socket.socket) -> bytes:
    """All that comes until the other side closes."""
    parts: list[bytes] = []
    while part := connection.recv(65536):
        parts.append(part)
    return b"".join(parts)


SECRET = {"SecretKey": "secret"}


def item(player: str = "p", *names: str) -> dict[str, object]:
    """One item of a bulk request, with `review` if no event is named."""
    return {"customerId": player, "events": {name: {} for name in names or ("review",)}}


def send_bulk(http: httpx.Client, *items: object, version: str = "v4.0") -> httpx.Response:
    return http.post(f"/api/{version}/integrations/batch/events", json={"body": items}, headers=SECRET)


def job_of(http: httpx.Client, *items: object) -> int:
    """Send a bulk request, and return the id of its job."""
    answer = send_bulk(http, *items)
    assert answer.status_code == 200, answer.text
    job: int = answer.json()["jobId"]
    return job


def status(
    http: httpx.Client, job: object, path: str = "batches/{}/status", *, version: str = "v4.0"
) -> httpx.Response:
    return http.get(f"/api/{version}/integrations/{path.format(job)}", headers=SECRET)


def stop(http: httpx.Client, job: object, *, version: str = "v4.0") -> httpx.Response:
    return http.post(f"/api/{version}/integrations/batches/{job}/stop", headers=SECRET)


def finish_jobs(sandbox: Sandbox) -> None:
    """Wait until all jobs have finished."""
    sandbox.wait_for(lambda tally: tally.unfinished_jobs == 0, timeout=60)
