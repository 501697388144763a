"""The requests of the client, and the sandbox's responses, follow Gameball's own description of its API.

That description, an excerpt of Gameball's OpenAPI file, is not part of the project. Set GAMEBALL_OPENAPI to its path;
by default it is looked for in `shared/data` beside the checkout. Without it these tests are skipped.
"""

from __future__ import annotations

import json
import os
import re
import threading
from collections.abc import Generator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Literal

import attrs
import httpx
import pytest
from jsonschema import Draft202012Validator

from gameball_async import AsyncGameball, Batching, JobOptions, Metadata
from gameball_async.sandbox import JobSettings, Reward, Sandbox

from .support import QUICK, until

pytestmark = pytest.mark.anyio

EXCERPT = Path(
    os.environ.get("GAMEBALL_OPENAPI")
    or Path(__file__).parents[3] / "shared" / "data" / "gameball-openapi-v4-events.json"
)
needs_excerpt = pytest.mark.skipif(
    not EXCERPT.is_file(), reason="Gameball's OpenAPI file is not part of the project: set GAMEBALL_OPENAPI to its path"
)
PASSED_ON = frozenset({"apikey", "secretkey", "content-type", "lang"})
VOCABULARIES: tuple[Literal["openapi", "tutorial"], ...] = ("openapi", "tutorial")


@attrs.frozen
class Exchange:
    """A request as it arrived at a socket, and its response."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes
    status: int
    answer: bytes


@contextmanager
def recording(upstream: str) -> Generator[tuple[str, list[Exchange]]]:
    """A server that keeps what it receives, and passes it on."""
    exchanges = list[Exchange]()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            headers = {name.lower(): value for name, value in self.headers.items()}
            passed = {name: value for name, value in headers.items() if name in PASSED_ON}
            with httpx.Client(trust_env=False, verify=False) as http:
                response = http.request(self.command, f"{upstream}{self.path}", content=body, headers=passed)
            exchanges.append(Exchange(self.command, self.path, headers, body, response.status_code, response.content))
            self.send_response(response.status_code)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(response.content)))
            self.end_headers()
            self.wfile.write(response.content)

        do_POST = do_DELETE = do_GET  # noqa: N815 the names that http.server looks for

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 as http.server names it
            """Write nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}", exchanges
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class Description:
    """Gameball's description of its API, and a validator that knows its schemas."""

    def __init__(self) -> None:
        self.document: dict[str, Any] = json.loads(EXCERPT.read_text("utf-8"))

    def operation(self, exchange: Exchange) -> dict[str, Any] | None:
        for path, operations in self.document["paths"].items():
            pattern = re.sub(r"\\{\w+\\}", "[^/]+", re.escape(path))
            if re.fullmatch(pattern, exchange.path) and exchange.method.lower() in operations:
                found: dict[str, Any] = operations[exchange.method.lower()]
                return found
        return None

    def check(self, content: dict[str, Any], body: bytes) -> None:
        schema = {**content["application/json"]["schema"], "components": self.document["components"]}
        validator: Any = Draft202012Validator(schema)
        validator.validate(json.loads(body))

    def check_request(self, exchange: Exchange, operation: dict[str, Any]) -> None:
        (security, *_) = operation["security"]
        assert {name.lower() for name in security} <= exchange.headers.keys()
        if "requestBody" in operation:
            assert exchange.headers["content-type"] == "application/json"
            self.check(operation["requestBody"]["content"], exchange.body)
        else:
            assert exchange.body == b""

    def check_response(self, exchange: Exchange, operation: dict[str, Any]) -> None:
        self.check(operation["responses"][str(exchange.status)]["content"], exchange.answer)


async def talk(url: str, sandbox: Sandbox) -> None:
    """Make the client send every kind of request."""
    options = JobOptions(poll_interval=0.02)
    settings: dict[str, Any] = {"secret_key": "secret", "api_version": "v4.0", "base_url": url, "retry": QUICK}
    async with AsyncGameball("key", batching=Batching(linger=0), **settings) as gameball:
        metadata: Metadata = {"total": 1.5, "count": 2, "tags": ["a", "b"], "text": "\u00e9\U0001f600"}
        await gameball.send(
            "player1", {"visit": None, "place_order": metadata}, mobile="+1234567", email="a@example.com"
        )
        await gameball.preview("player1", {"visit": None, "place_order": metadata}, lang="en")
    async with AsyncGameball("key", batching=Batching(mode="bulk", linger=0.01, jobs=options), **settings) as gameball:
        for number in range(20):
            await gameball.track(f"player{number}", "visit")
            await gameball.track(f"player{number}", "place_order", metadata)
        await gameball.flush()
        sandbox.set_jobs(JobSettings(latency=60.0, vocabulary=VOCABULARIES[0], paths="both"))
        await gameball.track("player1", "visit")
        await until(lambda: gameball.stats().jobs)
        await gameball.stop_job(sandbox.jobs[-1].id)
        await gameball.flush()


@needs_excerpt
@pytest.mark.parametrize("vocabulary", VOCABULARIES)
async def test_each_request_and_each_response_is_one_of_the_description(
    vocabulary: Literal["openapi", "tutorial"],
) -> None:
    description = Description()
    jobs = JobSettings(latency=0.05, failing_players={"player3"}, vocabulary=vocabulary, paths=vocabulary)
    with Sandbox(jobs=jobs, rewards={"visit": Reward(points=5)}) as sandbox, recording(sandbox.url) as (url, exchanges):
        await talk(url, sandbox)
        assert sandbox.violations == []
    checked = set[str]()
    for exchange in exchanges:
        operation = description.operation(exchange)
        if operation is None:  # the paths of the tutorial are not in it
            assert re.fullmatch(r"/api/v4.0/integrations/batch/\d+", exchange.path), exchange.path
            continue
        description.check_request(exchange, operation)
        if exchange.status == 200 and not (vocabulary == "tutorial" and exchange.path.endswith("/status")):
            if b'"stopped"' not in exchange.answer:  # it has no word for the state of a job that was stopped
                description.check_response(exchange, operation)
            checked.add(re.sub(r"/\d+", "", exchange.path.removeprefix("/api/v4.0/integrations/")) + exchange.method)
    expected = {"eventsPOST", "events/reward-previewPOST", "batch/eventsPOST", "batches/stopPOST"}
    assert expected <= checked
    assert ("batches/statusGET" in checked) == (vocabulary == "openapi")


@needs_excerpt
def test_the_validator_refuses_what_is_not_in_the_description() -> None:
    description = Description()
    item = b'{"body":[{"customerId":7,"events":{"visit":{}}}]}'
    exchange = Exchange("POST", "/api/v4.0/integrations/batch/events", {}, item, 200, b"{}")
    operation = description.operation(exchange)
    assert operation is not None
    with pytest.raises(Exception, match="7 is not of type"):
        description.check(operation["requestBody"]["content"], item)
    assert description.operation(attrs.evolve(exchange, path="/api/v4.0/integrations/nothing")) is None
