"""Each record of the log has attributes for structured logs: complete, documented, without personal data."""

from __future__ import annotations

import ast
import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from docs.pages import DOCS, code_in
from pythonjsonlogger.json import JsonFormatter

import gameball_async
from gameball_async import ClientHalted, Event, Retry
from gameball_async._engine.incidents import LINE_KINDS
from gameball_async.errors import DeliveryError
from gameball_async.sandbox import Fault, Sandbox

from .support import client, until

PACKAGE = Path(gameball_async.__file__).parent
LEVELS = frozenset({"debug", "info", "warning", "error", "exception", "critical", "log"})
TABLES = DOCS["observability"].tables()
PERSONAL = ("player-4711", "+20100200300", "someone@example.com", "secret value")


def calls() -> Iterator[tuple[str, ast.Call]]:
    """All calls of the package, with where they are."""
    for path in sorted(PACKAGE.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Call):
                yield f"{path.relative_to(PACKAGE)}:{node.lineno}", node


def log_calls() -> dict[str, ast.Call]:
    return {
        place: call
        for place, call in calls()
        if isinstance(call.func, ast.Attribute)
        and call.func.attr in LEVELS
        and isinstance(call.func.value, ast.Name)
        and call.func.value.id.endswith("_log")
    }


def field_calls() -> list[ast.Call]:
    return [call for _, call in calls() if isinstance(call.func, ast.Name) and call.func.id == "fields"]


def test_every_call_of_a_logger_gives_attributes() -> None:
    found = log_calls()
    assert len(found) > 25
    assert [place for place, call in found.items() if "extra" not in {word.arg for word in call.keywords}] == []


def test_every_kind_and_every_attribute_is_on_the_page() -> None:
    kinds = {str(call.args[0].value) for call in field_calls() if isinstance(call.args[0], ast.Constant)}
    documented = [kind for row in TABLES["Structured logs/`gameball_kind`"] for kind in code_in(row["`gameball_kind`"])]
    assert sorted(documented) == sorted({*kinds, *LINE_KINDS.values(), "sandbox"})
    names = {word.arg for call in field_calls() for word in call.keywords if word.arg} | {"kind"}
    attributes = [name for row in TABLES["Structured logs/Attribute"] for name in code_in(row["Attribute"])]
    assert sorted(name for name in attributes if name.startswith("gameball_")) == sorted(f"gameball_{n}" for n in names)


class ParsedLog(logging.Handler):
    """Formats each record as JSON, and parses that."""

    def __init__(self) -> None:
        super().__init__()
        self.setFormatter(JsonFormatter(["levelname", "message"]))
        self.records: list[dict[str, Any]] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(json.loads(self.format(record)))


@pytest.fixture
def records() -> Iterator[list[dict[str, Any]]]:
    log, handler = logging.getLogger("gameball_async"), ParsedLog()
    level = log.level
    log.addHandler(handler)
    log.setLevel(logging.DEBUG)
    yield handler.records
    log.removeHandler(handler)
    log.setLevel(level)


def of(records: list[dict[str, Any]], kind: str) -> list[dict[str, Any]]:
    return [
        {name.removeprefix("gameball_"): value for name, value in record.items() if name.startswith("gameball_")}
        for record in records
        if record["gameball_kind"] == kind
    ]


@pytest.mark.anyio
async def test_a_json_formatter_prints_what_happens_to_a_client_in_trouble(
    sandbox: Sandbox, records: list[dict[str, Any]]
) -> None:
    def fail(_event: Event, _error: DeliveryError) -> None:
        raise RuntimeError(PERSONAL[3])

    player, mobile, email, value = PERSONAL
    sandbox.script(Fault.status(503, times=8), Fault.status(422, code=3003, events={"bad"}))
    async with client(sandbox, on_failure=fail, retry=Retry(initial=0.0001, maximum=0.0001)) as gameball:
        await gameball.track(player, "good", {"text": value}, mobile=mobile, email=email)
        await gameball.track(player, "bad", {"text": value}, mobile=mobile, email=email)
        for number in range(5):
            await gameball.track(f"player{number}", "good")
        await gameball.flush()
        await until(lambda: of(records, "on_failure"))
        sandbox.script(Fault.status(401, code=1000))
        await gameball.track(player, "good", {"text": value})
        with pytest.raises(ClientHalted):
            await gameball.flush()
        await gameball.aclose(timeout=0)
    (outage,), (recovered,), (halt,) = of(records, "outage"), of(records, "recovered"), of(records, "halt")
    assert outage.pop("pending") > 0
    assert outage == {"kind": "outage", "status": 503, "cause": "HTTP 503"}
    assert recovered["requests"] >= 5
    assert {"status", "code", "cause", "pending"} <= halt.keys()
    assert (halt["status"], halt["code"], halt["pending"]) == (401, 1000, 1)
    rejected, dropped = of(records, "undelivered")
    assert (rejected["status"], rejected["code"], rejected["event"], rejected["outcome"]) == (
        422,
        3003,
        "bad",
        "Rejected",
    )
    assert (dropped["events"], dropped["event"], dropped["outcome"]) == (1, "good", "Dropped")
    assert of(records, "on_failure")[0] == {
        "kind": "on_failure",
        "cause": "RuntimeError",
        "event": "bad",
        "events": 1,
    }
    assert {"delivered", "failed"} <= {request["verdict"] for request in of(records, "request")}
    for record in records:
        assert "gameball_kind" in record
        assert not [text for text in PERSONAL if text in json.dumps(record)]
