"""What `docs/sandbox.md` lists is what the sandbox has."""

from __future__ import annotations

from typing import get_args

import attrs
from docs.pages import DOCS, code_in

from gameball_async.sandbox import Fault, JobSettings
from gameball_async.sandbox._faults import SWITCHES, Kind, RouteName
from gameball_async.sandbox._responses import EFFECTS

TABLES = DOCS["sandbox"].tables()


def test_every_switch_is_listed_with_its_fault() -> None:
    listed = [(row["Switch"], eval(code_in(row["As a fault in Python"])[0])) for row in TABLES["In the browser/Switch"]]

    assert listed == [(switch.title, switch.fault) for switch in SWITCHES.values()]


def test_every_setting_of_jobs_is_listed_with_its_default() -> None:
    defaults = {field.name: field.default for field in attrs.fields(JobSettings)}
    rows = [(code_in(row["Argument"]), code_in(row["Default"])) for row in TABLES["Bulk requests and jobs/Argument"]]

    listed: dict[str, object] = {
        name: eval(default[0]) if default else frozenset() for names, default in rows for name in names
    }
    assert listed == defaults


def test_every_route_is_listed() -> None:
    text = DOCS["sandbox"].text

    assert [route for route in get_args(RouteName) if f"`{route}`" not in text] == []


def test_every_fault_is_listed_with_whether_the_events_are_applied() -> None:
    listed = {code_in(row["Fault"])[0]: row["Applied"] for row in TABLES["Faults/Fault"]}

    assert listed.keys() == set(get_args(Kind))
    assert all(hasattr(Fault, kind) for kind in listed)
    for kind, effect in EFFECTS.items():
        assert listed[kind] == ("yes" if effect.applies else "no")
