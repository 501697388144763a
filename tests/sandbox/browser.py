"""Debian's Chromium, driven by Playwright; Playwright's own browsers are not needed."""

from __future__ import annotations

import contextlib
import json
import shutil
import socket
from importlib import resources
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from playwright.sync_api import Browser, Page, expect, sync_playwright

from .support import V3

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable, Mapping

    from gameball_async.sandbox import Sandbox

CHROMIUM = shutil.which("chromium")

expect.set_options(timeout=30_000)  # milliseconds: a busy machine shows a change late

PHONE, DESK = (360, 780), (1440, 900)
"""Sizes of a window: width and height."""

_ARGUMENTS = (
    "--headless=new",
    "--no-sandbox",  # root has no other way
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--renderer-process-limit=1",
)


@contextlib.contextmanager
def chromium() -> Generator[Browser]:
    """Start the browser; a new profile, which is deleted at the end."""
    assert CHROMIUM is not None
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=list(_ARGUMENTS))
        yield browser
        browser.close()


def open_page(page: Page, sandbox: Sandbox) -> None:
    """Open the sandbox's page and wait until it is told what happens."""
    page.goto(sandbox.url)
    expect(page.locator("#state-words")).to_have_text("Live")


def barriers(page: Page) -> list[str]:
    """What axe-core finds that stands in somebody's way: the rule and the elements."""
    page.evaluate(resources.files("axe_playwright_python").joinpath("axe.min.js").read_text(encoding="utf-8"))
    found = page.evaluate("axe.run({resultTypes: ['violations']})")
    return [f"{rule['help']}: {[node['html'] for node in rule['nodes']]}" for rule in found["violations"]]


def send(sandbox: Sandbox, requests: Iterable[tuple[str, Mapping[str, object]]]) -> None:
    """Send many requests over one connection, each a player and the events, and read their answers' statuses."""
    address = urlsplit(sandbox.url)
    with socket.create_connection((address.hostname, address.port)) as connection, connection.makefile("rb") as answers:
        for player, events in requests:
            content = json.dumps({"playerUniqueId": player, "events": events}).encode()
            head = f"POST {V3} HTTP/1.1\r\nHost: sandbox\r\nAPIKey: key\r\nContent-Type: application/json\r\n"
            connection.sendall(f"{head}Content-Length: {len(content)}\r\n\r\n".encode() + content)
            length = 0
            while (line := answers.readline()) != b"\r\n":
                name, _, value = line.partition(b":")
                length = int(value) if name.lower() == b"content-length" else length
            answers.read(length)
