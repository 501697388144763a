"""Files as people have them: the presets and the mapping of JSON fields, each on a small file of that shape."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import pytest

from gameball_async.cli._columns import MetadataColumn
from gameball_async.cli._fields import Fields, flattened
from gameball_async.cli._files import Files, ReadOptions
from gameball_async.cli._lines import InputRow, RowError
from gameball_async.cli._presets import PRESETS
from gameball_async.sandbox import Fault, Sandbox

from .conftest import Process, invoke, rejected, written
from .test_page import EXAMPLES, PAGE, Example, cells, check

if TYPE_CHECKING:
    from collections.abc import Callable

    from click.testing import Result

DATA = Path(__file__).parent / "data"
FILES = ("segment.ndjson", "shopify_orders.csv", "klaviyo.ndjson", "gameball.ndjson", "erp.csv", "visits.ndjson")
RECIPES = [example for example in EXAMPLES if any(f" {name} " in f"{example.line} " for name in FILES)]

ORDER = {
    "order_id": "o-1",
    "total": 99.5,
    "currency": "EUR",
    "gift": 1,
    "shipping_method": "express",
    "shipping_cost": 4.9,
    "products_sku": ["s-1", "s-2"],
    "products_price": [40, 54.6],
}
ARRIVES: dict[str, dict[str, list[tuple[str, dict[str, Any]]]]] = {
    "segment.ndjson": {"u-17": [("Order Completed", ORDER)], "u-18": [("Review Written", {"rating": 5})]},
    "shopify_orders.csv": {
        "ada@example.com": [
            (
                "purchase",
                {
                    "order": "#1001",
                    "ordered_at": "2026-01-05T10:00:20+02:00",
                    "total_amount": 99.5,
                    "currency": "EUR",
                    "discount_code": "WELCOME10",
                },
            )
        ],
        "bob@example.com": [
            (
                "purchase",
                {
                    "order": "#1002",
                    "ordered_at": "2026-01-05T11:29:55+02:00",
                    "total_amount": 12.0,
                    "currency": "EUR",
                },
            )
        ],
    },
    "klaviyo.ndjson": {
        "u-17": [
            (
                "Placed Order",
                {
                    "ItemNames": ["Lantern", "Card"],
                    "$value": 99.5,
                    "First": 0,
                    "occurred_at": "2026-01-05 10:00:00+00:00",
                },
            )
        ],
        "u-18": [("Placed Order", {"occurred_at": "2026-01-05 10:01:00+00:00"})],
    },
    "gameball.ndjson": {"u-17": [("reserve", {"rooms": 2, "total": 99.5}), ("review", {})], "u-18": [("review", {})]},
    "erp.csv": {
        "17": [("purchase", {"receipt": "R-1", "bought_at": "2026-01-05T10:00:00", "total": 1234.5, "news": 1})],
        "18": [("purchase", {"receipt": "R-2", "bought_at": "2025-12-31", "total": 12.0, "news": 0})],
    },
    "visits.ndjson": {
        "17": [("page", {"path": "/lanterns", "seconds": 12.5, "at": "2026-01-05T10:00:00+00:00"})],
        "18": [("search", {"words": ["red", "lantern"], "at": "2026-01-05T10:01:00+00:00"})],
    },
}
"""What arrives of each file with the options of the page."""


@pytest.fixture(autouse=True)
def _files(tmp_path: Path) -> None:
    for name in FILES:
        shutil.copy(DATA / name, tmp_path)


# ------------------------------------------------------------------ the recipes of the page


@pytest.mark.parametrize("example", RECIPES, ids=lambda example: example.args[2])
def test_a_recipe_prints_what_the_page_shows_and_sends_what_the_file_has(
    example: Example, sandbox: Sandbox, send: Callable[..., Result]
) -> None:
    result = send(*example.args[2:])
    assert result.exception is None or isinstance(result.exception, SystemExit)
    check(example, result.stdout)
    held = sandbox.holdings()
    arrived = {player: [(event.name, event.metadata) for event in events] for player, events in held.items()}
    assert arrived == ARRIVES[example.args[2]]
    assert sandbox.violations == []


def test_every_file_has_a_recipe() -> None:
    assert sorted(example.args[2] for example in RECIPES) == sorted(FILES)


def test_every_preset_is_in_the_table() -> None:
    assert [row[0] for row in cells("Preset") if row] == list(PRESETS)


def test_a_page_of_klaviyo_s_answers_names_what_splits_it() -> None:
    shutil.copy(DATA / "klaviyo.json", "klaviyo.json")
    result = invoke("send", "klaviyo.json", "--preset", "klaviyo", "--event", "order", "--dry-run")
    assert result.exit_code == 2
    assert 'its events are under the key "data": write one event per line, for example with jq' in result.stderr


@pytest.mark.skipif(shutil.which("jq") is None, reason="jq is not installed")
def test_the_jq_command_of_the_page_makes_the_file_of_the_recipe() -> None:
    shutil.copy(DATA / "klaviyo.json", "klaviyo.json")
    (script,) = [block for block in PAGE.split("```") if "jq -c" in block]
    command = script.removeprefix("text\n").removeprefix("$ ").partition(" > ")[0]
    made = subprocess.run(["bash", "-c", command], check=True, capture_output=True, text=True).stdout
    expected = (DATA / "klaviyo.ndjson").read_text("utf-8")
    assert list(map(json.loads, made.splitlines())) == list(map(json.loads, expected.splitlines()))


# ------------------------------------------------------------------ lines, entries, resuming


def rows(name: str, reading: ReadOptions) -> list[InputRow]:
    return [row for row in Files([str(DATA / name)], reading).rows() if isinstance(row, InputRow)]


def test_a_skipped_line_belongs_to_the_next_row_as_a_blank_one_does() -> None:
    found = rows("segment.ndjson", ReadOptions(fields=PRESETS["segment"].fields))
    assert [(row.line, row.position) for row in found] == [(1, (1, 1)), (3, (2, 3)), (5, (4, 5))]


def test_each_event_of_a_line_has_a_number_of_its_own() -> None:
    found = rows("gameball.ndjson", ReadOptions(fields=PRESETS["gameball"].fields))
    assert [(row.line, row.entry) for row in found] == [(1, 1), (1, 2), (2, 3), (3, 4)]


def test_of_a_body_with_several_events_the_refused_one_is_kept_alone_and_exactly(
    sandbox: Sandbox, send: Callable[..., Result]
) -> None:
    text = (
        '{"playerUniqueId": "p", "events": {"good": {}, "bad": {"n": 12345678901234567.125}}, "email": "a@b.example"}'
    )
    Path("bodies.ndjson").write_text(text + "\n")
    sandbox.script(Fault.status(422, code=3003, events={"bad"}))
    assert send("bodies.ndjson", "--preset", "gameball").exit_code == 1
    (entry,) = rejected(Path("bodies.ndjson.rejects.ndjson"))
    assert entry["line"] == 1
    assert entry["row"] == (
        '{"playerUniqueId": "p", "events": {"bad": {"n": 12345678901234567.125}}, "email": "a@b.example"}'
    )
    sandbox.script()
    Path("again.ndjson").write_text(entry["row"])
    assert send("again.ndjson", "--preset", "gameball").exit_code == 0
    assert [event.name for event in sandbox.holdings()["p"]] == ["good", "bad"]


def test_a_body_whose_second_event_is_not_one_is_not_sent_in_part(
    sandbox: Sandbox, send: Callable[..., Result]
) -> None:
    Path("bodies.ndjson").write_text('{"playerUniqueId": "p", "events": {"good": {}, "bad": 5}}\n')
    result = send("bodies.ndjson", "--preset", "gameball")
    assert 'Line 1: the metadata of event "bad" is a number: it must be an object or null.' in result.stdout
    assert sandbox.holdings() == {}


def test_an_interrupted_run_of_bodies_is_resumed_without_a_loss(
    sandbox: Sandbox, tmp_path: Path, send: Callable[..., Result]
) -> None:
    bodies = [{"playerUniqueId": f"p{n}", "events": {"a": {"n": n}, "b": {"n": n}}} for n in range(60)]
    path = written(tmp_path / "bodies", bodies)
    slow = ("--per-second", "40", "--per-30-seconds", "100000")
    process = Process("send", path, "--preset", "gameball", "--base-url", sandbox.url, *slow, "--drain", "30")
    sandbox.wait_for(lambda tally: tally.applied >= 10, timeout=100)
    process.interrupt()
    assert process.end() == 130
    assert sandbox.stats().events < 120
    other = send(path, "--resume")
    assert other.exit_code == 2
    assert "cannot be resumed" in other.stderr
    assert send(path, "--preset", "gameball", "--resume").exit_code == 0
    held = sandbox.holdings()
    assert {player: [event.name for event in events] for player, events in held.items()} == {
        f"p{n}": ["a", "b"] for n in range(60)
    }


# ------------------------------------------------------------------ options


def test_a_preset_whose_rows_have_no_name_asks_for_one() -> None:
    result = invoke("send", "shopify_orders.csv", "--preset", "shopify", "--dry-run")
    assert result.exit_code == 2
    assert "--preset shopify: its rows have no event's name, give one with --event." in result.stderr


def test_two_sources_of_the_name_are_refused() -> None:
    result = invoke("send", "visits.ndjson", "--event", "visit", "--name-field", "kind", "--dry-run")
    assert result.exit_code == 2
    assert "--event and --name-field: give one of them." in result.stderr


def test_the_name_may_contain_fields(sandbox: Sandbox, send: Callable[..., Result]) -> None:
    send("visits.ndjson", "--player-field", "user.id", "--event", "visit_{kind}", "-m", "data.seconds:int=s")
    assert [event.name for events in sandbox.holdings().values() for event in events] == ["visit_search"]
    assert (
        '"data.seconds": "12.5" is not a whole number.' in rejected(Path("visits.ndjson.rejects.ndjson"))[0]["reason"]
    )


@pytest.mark.parametrize(
    ("name", "options", "note"),
    [
        ("visits.ndjson", ["--player-column", "id"], "is JSON: the options for the columns of CSV do not apply to it."),
        ("erp.csv", ["--player-field", "id"], "is CSV: the options for the fields of JSON do not apply to it."),
    ],
)
def test_options_for_the_other_format_are_noted(name: str, options: list[str], note: str) -> None:
    rest = ["--player-column", "Kunde", "--event", "e"] if name == "erp.csv" else ["--player-field", "user.id"]
    assert note in invoke("send", name, "--dry-run", *rest, *options).stdout


# ------------------------------------------------------------------ the mapping itself


def test_flattening_keeps_what_metadata_can_hold_and_converts_the_rest() -> None:
    metadata = {
        "text": "a",
        "number": 1.5,
        "words": ["a", None, True],
        "nothing": None,
        "yes": True,
        "outer": {"inner": {"deep": 1}, "none": None},
        "items": [{"id": 1, "tag": "x"}, {"id": 2}],
    }
    assert flattened(metadata) == {
        "text": "a",
        "number": 1.5,
        "words": ["a", 1],
        "yes": 1,
        "outer_inner_deep": 1,
        "items_id": [1, 2],
        "items_tag": ["x"],
    }


def test_two_values_for_one_flattened_key_are_refused() -> None:
    with pytest.raises(RowError, match='key "a_b" occurs twice after inner objects were flattened: rename one'):
        flattened({"a_b": 1, "a": {"b": 2}})


@pytest.mark.parametrize(
    ("fields", "entry", "reason"),
    [
        (
            Fields(player="user.id"),
            {"user": 5, "event": "e"},
            '"user.id" is missing or empty: an event needs a player.',
        ),
        (Fields(player="id"), {"id": 1.5, "event": "e"}, '"id" is a number: it must be a string.'),
        (Fields(player="id"), {"id": "", "event": "e"}, '"id" is missing or empty: an event needs a player.'),
        (Fields(player="id"), {"id": "p"}, '"event" or "name" is missing or empty: give --event or --name-field.'),
        (
            Fields(metadata="data"),
            {"player": "p", "event": "e", "data": []},
            '"data" is an array: it must be an object.',
        ),
        (Fields(bodies=True), {"events": {"e": {}}}, '"playerUniqueId" or "customerId" is missing or empty: a request'),
        (Fields(bodies=True), {"customerId": "p", "events": []}, '"events" is an array: it must have an event by its'),
    ],
)
def test_an_object_that_does_not_fit_says_why(fields: Fields, entry: dict[str, Any], reason: str) -> None:
    with pytest.raises(RowError) as caught:
        list(fields.events(entry))
    assert str(caught.value).startswith(reason)


def test_a_typed_field_is_converted_and_an_untyped_one_stays() -> None:
    picked = tuple(map(MetadataColumn.parse, ("n:string", "m", "flags:bool=f", "none:int")))
    fields = Fields(player="id", event="e", picked=picked)
    (found,) = fields.events({"id": 7, "n": 5, "m": 5, "flags": [True, "no"], "none": None})
    assert found.draft.player == "7"
    assert found.draft.metadata == {"n": "5", "m": 5, "f": [1, 0]}


def test_a_key_with_dots_comes_before_a_path() -> None:
    (found,) = Fields(player="a.b", event="e").events({"a.b": "key", "a": {"b": "path"}})
    assert found.draft.player == "key"


def test_the_help_lists_the_presets() -> None:
    option = next(each for each in click_options() if each.name == "preset")
    assert isinstance(option.type, click.Choice)
    assert list(option.type.choices) == list(PRESETS)


def click_options() -> list[click.Parameter]:
    from gameball_async.cli._main import app  # noqa: PLC0415 only here

    return app.commands["send"].params
