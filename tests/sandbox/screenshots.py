"""`make screenshots`: the pictures of the page in `docs/images`, from a real client's traffic."""

from __future__ import annotations

import asyncio
import random
import threading
from pathlib import Path
from typing import TYPE_CHECKING

from playwright.sync_api import ViewportSize, expect

from gameball_async import AsyncGameball, Batching, Retry
from gameball_async.sandbox import JobSettings, Sandbox

from .browser import PHONE, chromium, open_page

if TYPE_CHECKING:
    from typing import Literal

    from playwright.sync_api import Browser

IMAGES = Path(__file__).parents[2] / "docs" / "images"
DESK = (1280, 720)
_NAMES = ("place_order", "review", "add_to_cart", "view_product", "write_review", "refer_friend")


class Shop:
    """Customers who do something now and then, in a thread of its own, within a `with` block.

    Args:
        sandbox: where it is tracked.
        mode: how the requests are sent; bulk requests have many customers.
    """

    def __init__(self, sandbox: Sandbox, mode: Literal["single", "bulk"] = "single") -> None:
        self._sandbox = sandbox
        self._mode: Literal["single", "bulk"] = mode
        self._customers, self._at_once, self._skew = (60, 1, 0.7) if mode == "single" else (200_000, 60, 0.1)
        self._closing = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._track()))

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._closing.set()
        self._thread.join()

    async def _track(self) -> None:
        generator = random.Random(1)
        async with AsyncGameball(
            "any-key",
            secret_key="any-key",
            api_version="v4.0",
            base_url=self._sandbox.url,
            batching=Batching(mode=self._mode),
            retry=Retry(initial=0.3),
        ) as gameball:
            while not self._closing.is_set():
                for _ in range(self._at_once):
                    player = f"player{100 + int(generator.paretovariate(self._skew)) % self._customers}"
                    for name in generator.sample(_NAMES, generator.choice([1, 1, 1, 2, 3])):
                        await gameball.track(player, name, {"total_amount": generator.randrange(5, 400)})
                await asyncio.sleep(generator.expovariate(14))
            await gameball.aclose(timeout=1)


def take(
    browser: Browser,
    name: str,
    *,
    theme: Literal["light", "dark"],
    size: tuple[int, int],
    switches: tuple[str, ...] = (),
    mode: Literal["single", "bulk"] = "single",
) -> None:
    """Take one picture: some seconds of traffic, then some with faults."""
    viewport = ViewportSize(width=size[0], height=size[1])
    jobs = JobSettings(latency=(1, 4), failing_items=0.01)
    with (
        Sandbox(port=8765, jobs=jobs) as sandbox,
        browser.new_context(viewport=viewport, color_scheme=theme) as context,
    ):
        page = context.new_page()
        open_page(page, sandbox)
        with Shop(sandbox, mode):
            page.wait_for_timeout(9000)
            for switch in switches:
                page.get_by_role("switch", name=switch).click()
                page.wait_for_timeout(2500)
            page.mouse.move(0, 0)
            page.evaluate("scrollTo(0, 0)")
            expect(page.locator("#state-words")).to_have_text("Live")
            page.screenshot(path=IMAGES / f"sandbox-{name}.png")


def main() -> None:
    """Take them all."""
    with chromium() as browser:
        take(browser, "light", theme="light", size=DESK)
        take(browser, "jobs", theme="light", size=(DESK[0], 1080), mode="bulk")
        take(browser, "outage", theme="dark", size=DESK, switches=("Flaky", "Outage"))
        take(browser, "phone", theme="dark", size=PHONE, switches=("Slow",))


if __name__ == "__main__":
    main()
