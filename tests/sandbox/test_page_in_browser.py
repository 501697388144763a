"""The page in a real browser: what it shows, what its buttons do, and that everybody can use it."""

from __future__ import annotations

import contextlib
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import TYPE_CHECKING

import httpx
import pytest
from playwright.sync_api import Browser, BrowserContext, Locator, Page, Request, expect

from gameball_async.sandbox import Fault, Limits, Sandbox

from .browser import CHROMIUM, DESK, PHONE, barriers, chromium, open_page, send
from .support import track

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator
    from typing import Any

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed: apt-get install chromium")

HOSTILE = "<img src=x onerror=\"document.title='taken'\"><script>document.title='taken'</script>"


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as running:
        yield running


@pytest.fixture
def sandbox(module_sandbox: Sandbox) -> Sandbox:
    """One without limits that has forgotten everything."""
    module_sandbox.reset()
    module_sandbox.script()
    return module_sandbox


@contextlib.contextmanager
def opened(context: BrowserContext, sandbox: Sandbox) -> Generator[Page]:
    """The page in a new window; it must complain about nothing until it is closed."""
    page = context.new_page()
    complaints: list[str] = []
    page.on("console", lambda message: complaints.append(message.text))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    open_page(page, sandbox)
    yield page
    page.close()
    assert complaints == []


@pytest.fixture(scope="module")
def context(browser: Browser) -> Iterator[BrowserContext]:
    """A profile for all tests that leave nothing in it."""
    with browser.new_context(viewport={"width": DESK[0], "height": DESK[1]}) as shared:
        yield shared


@pytest.fixture
def page(context: BrowserContext, sandbox: Sandbox) -> Iterator[Page]:
    with opened(context, sandbox) as page:
        yield page


def client(sandbox: Sandbox) -> httpx.Client:
    return httpx.Client(base_url=sandbox.url, headers={"APIKey": "key"}, trust_env=False, verify=False)


def figure(page: Page, name: str) -> Locator:
    """One of the numbers at the top."""
    return page.locator(f"[data-figure={name}]")


def rows(page: Page) -> Locator:
    """The requests that are listed."""
    return page.locator("#rows").get_by_role("row")


def switch(page: Page, name: str) -> Locator:
    return page.get_by_role("switch", name=name)


# ---------------------------------------------------------------- what it shows


def test_before_anything_has_arrived_it_says_where_to_send(page: Page, sandbox: Sandbox) -> None:
    expect(page.locator("#empty")).to_contain_text(f'base_url="{sandbox.url}"')
    expect(page.get_by_role("table")).to_be_hidden()


def test_events_appear_as_they_arrive_with_what_was_merged_into_which_request(page: Page, sandbox: Sandbox) -> None:
    send(sandbox, [("player123", {"place_order": {"total_amount": 100}, "review": {}}), ("player456", {"review": {}})])

    expect(rows(page)).to_have_count(2)
    expect(rows(page).nth(0)).to_contain_text("player456 review 200")
    expect(rows(page).nth(1)).to_contain_text("player123 place_orderreview2 merged 200")
    expect(figure(page, "events")).to_have_text("3")
    expect(figure(page, "merged")).to_have_text("1.50")
    expect(page.get_by_role("status")).to_have_text("2 requests, 3 events held, 0 not applied.")
    expect(page.locator("#empty")).to_be_hidden()


def test_a_player_is_shown_with_each_event_by_request(page: Page, sandbox: Sandbox) -> None:
    send(sandbox, [("player123", {"place_order": {"total_amount": 100}, "review": {}}), ("player123", {"review": {}})])

    page.get_by_role("button", name="player123 3 events in 2 requests").click()

    heading = page.get_by_role("heading", name="player123")
    expect(heading).to_be_focused()
    held = page.locator("#held > li")
    expect(held).to_have_count(2)
    expect(held.nth(0).locator("li")).to_have_text(["review"])
    expect(held.nth(1).locator("li")).to_have_text(['place_order"total_amount": 100', "review"])
    send(sandbox, [("player123", {"reserve": {}})])
    expect(held).to_have_count(3)
    page.get_by_role("button", name="All players").click()
    expect(page.get_by_role("heading", name="Players")).to_be_focused()


def test_a_player_is_found_by_a_part_of_the_id(page: Page, sandbox: Sandbox) -> None:
    send(sandbox, [(f"player{number}", {"review": {}}) for number in range(60)])
    players = page.locator("#standings").get_by_role("button")
    expect(players).to_have_count(50)

    page.get_by_role("searchbox", name="Find a player").fill("R17")
    expect(players).to_have_text(["player171 event in 1 request"])
    page.get_by_role("searchbox", name="Find a player").fill("nobody")
    expect(page.get_by_text("No player's id holds this.")).to_be_visible()


def test_an_error_is_shown_with_its_code_and_its_words(page: Page, sandbox: Sandbox) -> None:
    sandbox.script(Fault.status(422, code=3003, words="No such rating.", players={"player123"}))
    nameless: dict[str, object] = {"": {}}
    send(sandbox, [("player123", {"review": {}}), ("player456", nameless)])

    expect(rows(page).nth(0)).to_contain_text("422not applied, code 12: The name of an event is empty.")
    expect(rows(page).nth(1)).to_contain_text("422not applied, code 3003: No such rating. (as scripted)")
    expect(figure(page, "unapplied")).to_have_text("2")
    expect(figure(page, "violations")).to_have_text("1")
    expect(page.locator("#others")).to_have_text("status 422: players player123, code 3003, words No such rating.")


def test_the_rate_windows_are_shown_filling(context: BrowserContext) -> None:
    with Sandbox(limits=Limits(3, 5)) as sandbox, opened(context, sandbox) as page:
        send(sandbox, [("player123", {"review": {}}) for _ in range(5)])
        meter = page.get_by_role("meter", name="Last 30 seconds")

        expect(meter).to_have_attribute("aria-valuetext", "3 requests of 5")
        expect(rows(page).nth(0)).to_contain_text("429not applied: More than 3 requests in 1 s.")
        expect(page.get_by_role("img", name="At most")).to_be_visible()


def test_without_limits_it_says_so(page: Page) -> None:
    expect(page.get_by_text("No rate limit")).to_be_visible()
    expect(page.get_by_role("meter")).to_have_count(0)


def test_a_hostile_name_is_shown_as_the_text_that_it_is(page: Page, sandbox: Sandbox) -> None:
    sandbox.script(Fault.status(422, code=3003, words=HOSTILE, players={"player123"}))
    send(sandbox, [(HOSTILE, {HOSTILE: {HOSTILE: HOSTILE}}), ("player123", {HOSTILE: {}})])

    expect(rows(page).nth(1).locator(".event")).to_have_text(HOSTILE)
    expect(rows(page).nth(0).locator(".words")).to_contain_text(HOSTILE)
    expect(page.locator("#others")).to_contain_text(HOSTILE)
    page.locator("#standings").get_by_role("button", name="img src=x").click()
    expect(page.locator("#held .metadata")).to_contain_text("onerror")
    expect(page.locator("main img, main script")).to_have_count(0)
    expect(page).to_have_title("Gameball sandbox")


def test_ten_thousand_events_of_two_thousand_players_leave_the_page_small_and_quick(
    page: Page, sandbox: Sandbox
) -> None:
    names: dict[str, object] = {f"event_{number}": {} for number in range(5)}
    send(sandbox, [(f"player{number}", names) for number in range(2000)])

    expect(figure(page, "events")).to_have_text("10,000")
    expect(rows(page)).to_have_count(25)
    page.get_by_role("button", name="Show more").click()
    expect(rows(page)).to_have_count(100)
    expect(rows(page).first).to_contain_text("player1999")
    assert page.locator("*").count() < 3000


@pytest.mark.parametrize("width", [PHONE[0], 681, 1181, DESK[0]])
def test_the_number_of_a_request_is_beside_its_time_however_long_it_is(
    page: Page, sandbox: Sandbox, width: int
) -> None:
    sandbox._handler.memory._number = 999_998
    page.set_viewport_size({"width": width, "height": DESK[1]})
    events = dict[str, object](place_order={})
    send(sandbox, [("a player with a rather long id", events)] * 2)
    cell = page.locator("tr", has_text="#1000000").locator(".when")
    expect(cell).to_be_visible()
    tops = cell.evaluate("cell => [...cell.children].flatMap(part => [...part.getClientRects()].map(box => box.top))")
    assert len(tops) == 2
    assert max(tops) - min(tops) < 8
    assert cell.evaluate("cell => cell.scrollWidth <= cell.clientWidth")


def test_the_list_can_be_held_and_chosen_from(page: Page, sandbox: Sandbox) -> None:
    hold, shown = page.get_by_role("button", name="Hold", exact=True), page.locator("#shown")
    send(sandbox, [("a", {"review": {}}), ("b", {"review": {}, "reserve": {}})])
    expect(rows(page)).to_have_count(2)
    hold.click()
    sandbox.script(Fault.reset_after())
    with pytest.raises(httpx.TransportError), client(sandbox) as http:
        track(http, "c")
    expect(shown).to_have_text("Held: 1 newer request not shown.")
    expect(rows(page)).to_have_count(2)
    hold.click()
    expect(shown).to_have_text("The latest 3 of 3.")

    for kind, player in (("merged", "b"), ("answer lost", "c")):
        page.get_by_label("Show", exact=True).select_option(kind)
        expect(rows(page).get_by_role("button")).to_have_text([player])
    page.get_by_label("Show", exact=True).select_option("not applied")
    expect(page.get_by_text("None of the latest requests")).to_be_visible()


# ---------------------------------------------------------------- what its buttons do


def test_a_switch_makes_requests_fail_until_it_is_switched_off(page: Page, sandbox: Sandbox) -> None:
    with client(sandbox) as http:
        switch(page, "Outage").click()
        expect(page.get_by_role("link", name="1 fault on")).to_be_visible()
        assert track(http).status_code == 503
        expect(rows(page)).to_contain_text(["503not applied (as scripted)"])
        expect(switch(page, "Outage")).to_contain_text("1 request so far")

        switch(page, "Outage").click()
        expect(page.get_by_role("link", name="1 fault on")).to_be_hidden()
        assert track(http).status_code == 200


def test_everything_is_switched_off_by_one_button(page: Page, sandbox: Sandbox) -> None:
    sandbox.script(Fault.status(500, probability=0.1))
    switch(page, "Slow").click()
    expect(page.get_by_role("link", name="2 faults on")).to_be_visible()

    page.get_by_role("button", name="Switch everything off").click()

    expect(switch(page, "Slow")).not_to_be_checked()
    expect(page.get_by_role("button", name="Switch everything off")).to_be_hidden()
    assert sandbox.faults == ()


def test_starting_over_is_asked_about_first(page: Page, sandbox: Sandbox) -> None:
    send(sandbox, [("player123", {"review": {}})])
    expect(rows(page)).to_have_count(1)

    page.get_by_role("button", name="Start over").click()
    page.keyboard.press("Escape")
    page.get_by_role("button", name="Start over").click()
    page.get_by_role("dialog", name="Start over?").get_by_role("button", name="Keep everything").click()
    expect(rows(page)).to_have_count(1)
    page.get_by_role("button", name="Start over").click()
    page.get_by_role("button", name="Forget everything").click()

    expect(figure(page, "requests")).to_have_text("0")
    expect(page.locator("#empty")).to_be_visible()
    assert sandbox.requests == []


def test_a_sandbox_that_refuses_connections_is_waited_for(context: BrowserContext, sandbox: Sandbox) -> None:
    send(sandbox, [("player123", {"review": {}})])
    with context.new_page() as page:
        page.route("**/page/leave", lambda route: route.continue_(post_data='{"seconds":0.2}'))
        open_page(page, sandbox)

        page.get_by_role("button", name="Refuse connections").click()

        expect(page.locator("#state-words")).to_have_text("Refusing connections")
        expect(page.locator("#state-words")).to_have_text("Live")
        expect(rows(page)).to_have_count(1)


@contextlib.contextmanager
def foreign(html: str) -> Generator[int]:
    """Another web server of this machine, such as a developer has many; yields its port."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.end_headers()
            self.wfile.write(html.encode())

        def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
            del code, size

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server.server_port
        server.shutdown()
        thread.join()


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1"])
def test_no_foreign_page_can_use_the_buttons_or_listen(context: BrowserContext, sandbox: Sandbox, host: str) -> None:
    send(sandbox, [("player123", {"review": {}})])
    control = f"{sandbox.url}/_sandbox"
    attack = f"""<!doctype html><iframe name="frame"></iframe>
      <form method="post" enctype="text/plain" target="frame" action="{control}/page/switch">
      <input name='{{"name":"outage","on":true,"x":"' value='"}}'></form>
      <script>
        const post = (path, body) => fetch("{control}/" + path, {{ method: "POST", mode: "no-cors", body }});
        const source = new EventSource("{control}/page/news");
        source.onmessage = () => {{ document.title = "heard"; }};
        source.onerror = async () => {{
          source.close();
          await Promise.allSettled([post("page/switch", '{{"name":"outage","on":true}}'), post("reset", "")]);
          document.querySelector("iframe").onload = () => {{ document.title = "done"; }};
          document.querySelector("form").submit();
        }};
      </script>"""
    with foreign(attack) as port, context.new_page() as page:
        page.goto(f"http://{host}:{port}/")

        expect(page).to_have_title("done")

    assert (sandbox.faults, sandbox.stats().events) == ((), 1)


# ---------------------------------------------------------------- for everybody


def test_the_page_asks_for_nothing_but_the_sandbox(context: BrowserContext, sandbox: Sandbox) -> None:
    asked: list[str] = []

    def note(request: Request) -> None:
        asked.append(request.url)

    with context.new_page() as page:
        page.on("request", note)
        open_page(page, sandbox)

    assert len(asked) >= 5
    assert [url for url in asked if not url.startswith(f"{sandbox.url}/")] == []


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_nothing_stands_in_the_way_of_anybody(browser: Browser, sandbox: Sandbox, theme: Any) -> None:
    sandbox.script(Fault.reset_after(times=1), Fault.status(503, players={"player123"}))
    with pytest.raises(httpx.TransportError), client(sandbox) as http:
        track(http)
    long = "w" * 300
    send(sandbox, [("player123", {"review": {}}), (long, {long: {long: 1}, "review": {}}), ("a", {"review": {}})])
    with browser.new_context(color_scheme=theme) as context, opened(context, sandbox) as page:
        expect(rows(page)).to_have_count(4)
        page.get_by_role("button", name=long).first.click()
        expect(page.locator("#held > li")).to_have_count(1)
        for width, height in (DESK, PHONE):
            page.set_viewport_size({"width": width, "height": height})

            assert barriers(page) == []
            assert page.evaluate("document.documentElement.scrollWidth") == width


def test_the_page_has_landmarks_and_every_part_has_a_heading(page: Page) -> None:
    for role in ("banner", "main", "status"):
        expect(page.get_by_role(role)).to_have_count(1)
    for name in ("In numbers", "Pace", "Faults", "Requests", "Players"):
        expect(page.get_by_role("region", name=name)).to_have_count(1)
        expect(page.get_by_role("heading", name=name, exact=True, level=2)).to_have_count(1)
    expect(page.get_by_role("heading", level=1)).to_have_text("Gameball sandbox")


def test_everything_can_be_done_with_the_keyboard(page: Page, sandbox: Sandbox) -> None:
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to the requests")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="Requests")).to_be_focused()
    page.keyboard.press("Shift+Tab")
    expect(page.get_by_role("button", name="Refuse connections")).to_be_focused()
    page.keyboard.press("Shift+Tab")
    expect(switch(page, "Events refused")).to_be_focused()
    page.keyboard.press("Space")
    expect(switch(page, "Events refused")).to_be_checked()
    outline = "getComputedStyle(document.activeElement).outlineStyle"
    assert page.evaluate(outline) == "solid"
    expect(page.get_by_role("link", name="1 fault on")).to_be_visible()  # the sandbox itself has said so
    assert sandbox.faults[0].http_status == 422


def test_the_theme_follows_the_system_until_one_is_chosen_and_kept(context: BrowserContext, sandbox: Sandbox) -> None:
    ground = "getComputedStyle(document.body).backgroundColor"
    with opened(context, sandbox) as page:
        page.emulate_media(color_scheme="dark")
        dark = page.evaluate(ground)
        page.get_by_label("Theme").select_option("Light")
        light = page.evaluate(ground)
        page.reload()
        assert page.evaluate(ground) == light != dark
        page.get_by_label("Theme").select_option("System")
        assert page.evaluate(ground) == dark


def test_nothing_moves_for_who_asks_for_less_motion(page: Page) -> None:
    knob = "getComputedStyle(document.querySelector('#switches [role=switch] .knob'), '::before').transitionDuration"
    assert page.evaluate(knob) != "0s"

    page.emulate_media(reduced_motion="reduce")

    assert page.evaluate(knob) == "0s"


def test_what_has_the_focus_keeps_it_while_requests_arrive(page: Page, sandbox: Sandbox) -> None:
    send(sandbox, [("player123", {"review": {}})])
    player = rows(page).get_by_role("button", name="player123")
    player.focus()
    send(sandbox, [(f"player{number}", {"review": {}}) for number in range(20)])

    expect(rows(page)).to_have_count(21)
    expect(player).to_be_focused()
