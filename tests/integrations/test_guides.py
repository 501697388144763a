"""What the guides' applications do when they are asked: the tests of the pages only define them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from aiohttp.test_utils import TestClient as AiohttpClient
from aiohttp.test_utils import TestServer
from docs.pages import DOCS
from starlette.testclient import TestClient

from gameball_async import AsyncGameball
from gameball_async.sandbox import Sandbox

from .support import names

Ask = Callable[[TestClient], object]


@pytest.fixture(autouse=True)
def _gameball_is_the_sandbox(
    sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[None]:
    """A key in the environment, and another default for `base_url`."""
    defaults = AsyncGameball.__init__.__kwdefaults__
    assert defaults is not None
    monkeypatch.setenv("GAMEBALL_API_KEY", "test-key")
    monkeypatch.setitem(defaults, "base_url", sandbox.url)
    monkeypatch.chdir(tmp_path_factory.mktemp("guides"))  # for a journal
    yield
    assert sandbox.violations == []


def app_of(page: str, words: str) -> Any:
    """The application in the one example of a page that holds these words."""
    (block,) = [block for block in DOCS[page].blocks() if block.info == "python" and words in block.text]
    defined: dict[str, Any] = {"__name__": "example"}
    code = compile(block.text, str(block), "exec", dont_inherit=True)  # this file's annotations are strings
    exec(code, defined)  # the page is ours
    return defined["app"]


def wave(http: TestClient) -> None:
    with http.websocket_connect("/chat") as chat:
        chat.send_text("wave")
        chat.receive()


ORDER = {"customer": "player123", "total": "25.50"}

ASKED: list[tuple[str, Ask, object, list[str]]] = [
    ("class Order", lambda http: http.post("/orders", json=ORDER).json(), None, ["place_order"]),
    ("import httpx", lambda http: http.post("/reviews").json(), True, ["review"]),
    ("get_gameball(app)", lambda http: http.get("/").status_code, 404, ["shop_closed", "shop_opened"]),
    ("your database\n\n", lambda http: http.post("/reviews").json(), None, ["review"]),
    ("track_threadsafe", lambda http: http.post("/visits").json(), None, ["visit"]),
    ("track_threadsafe", wave, None, ["wave"]),
    ("track_threadsafe", lambda http: http.get("/nowhere").json(), "Here is nothing.", ["lost_its_way"]),
    ("import logging", lambda http: http.post("/orders?total=25.5").json(), "order-1", ["place_order"]),
    ("gameball_named", lambda http: http.post("/bargains").json(), None, ["bargain", "visit_outlet"]),
    ("Starlette(", lambda http: http.post("/orders").status_code, 201, ["place_order"]),
]
"""Words of an example, a request, its answer, and the events that are then in the sandbox."""


@pytest.mark.parametrize(("words", "ask", "answer", "events"), ASKED)
def test_an_application_of_the_guide_to_fastapi_does_as_it_says(
    words: str, ask: Ask, answer: object, events: list[str], sandbox: Sandbox
) -> None:
    with TestClient(app_of("fastapi", words)) as http:
        assert ask(http) == answer
    assert sorted(names(sandbox)) == events


def test_the_two_clients_of_the_guide_have_a_key_each(sandbox: Sandbox) -> None:
    """So they are two: one client would have sent a single request."""
    with TestClient(app_of("fastapi", "gameball_named")) as http:
        http.post("/bargains")
    assert sorted(request.events for request in sandbox.requests) == [("bargain",), ("visit_outlet",)]


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("words", "path", "status", "events"),
    [
        ("request.json()", "/orders", 201, ["place_order"]),
        ("CARTS", "/", 404, ["leave_cart"]),
        ("OUTLET", "/bargains", 200, ["bargain", "visit_outlet"]),
    ],
)
async def test_an_application_of_the_guide_to_aiohttp_does_as_it_says(
    words: str, path: str, status: int, events: list[str], sandbox: Sandbox
) -> None:
    async with AiohttpClient(TestServer(app_of("aiohttp", words))) as http, http.post(path, json=ORDER) as response:
        assert response.status == status
    assert sorted(names(sandbox)) == events


@pytest.mark.parametrize("words", ["make_gameball", "import httpx", "class Order"])
def test_an_application_of_the_guide_starts_more_than_once(words: str) -> None:
    app = app_of("fastapi", words)
    for _ in range(2):
        with TestClient(app) as http:
            assert http.get("/openapi.json").status_code == 200
