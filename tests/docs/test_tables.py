"""What the docs list in tables is what the code has: settings, defaults, errors, verdicts, conversions."""

from __future__ import annotations

import ast
import dataclasses
import inspect
import json
import math
from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from typing import Any
from uuid import UUID

import attrs
import pydantic
import pytest

import gameball_async
from gameball_async import (
    AsyncGameball,
    Batching,
    Conversion,
    DropReason,
    GameballError,
    InvalidEvent,
    JobOptions,
    Journal,
    RateLimit,
    Retry,
    errors,
    validate_event,
)
from gameball_async._core.events import encode_event
from gameball_async._core.outcome import _BY_CODE, read_answer
from gameball_async._core.pacing import HALT_PROBE_INTERVAL, LONGEST_PAUSE, OUTAGE_PLAYERS
from gameball_async._core.wire import LONGEST_ANSWER
from gameball_async._engine.backoff import _SHORTEST_PAUSE
from gameball_async._engine.flusher import CONNECTIONS
from gameball_async._engine.network import KEEP_ALIVE
from gameball_async._journal.commands import ACK_LAG
from gameball_async._journal.journal_storage import _LONGEST_CLOSE
from gameball_async._journal.segment import RETRY_AFTER
from gameball_async._journal.segment_set import MAX_RECOVERED

from .pages import DOCS, README, code_in

CONFIGURATION = DOCS["configuration"].tables()
ERRORS = DOCS["errors"].tables()
EVENTS = DOCS["events"].tables()
DELIVERY = DOCS["delivery"].tables()

SETTINGS = {
    "AsyncGameball": AsyncGameball,
    "Batching": Batching,
    "JobOptions": JobOptions,
    "Retry": Retry,
    "RateLimit": RateLimit,
    "Journal": Journal,
    "Conversion": Conversion,
}


def value_of(text: str) -> Any:
    """What a documented expression says."""
    return eval(text, {**SETTINGS, "math": math, "inspect": inspect})  # the page is ours


# ---------------------------------------------------------------- configuration


@pytest.mark.parametrize("name", SETTINGS)
def test_every_setting_stands_with_its_default_in_the_order_of_the_code(name: str) -> None:
    documented = {
        code_in(row["Setting"])[0]: value_of(*code_in(row["Default"]) or ["inspect.Parameter.empty"])
        for row in CONFIGURATION[f"{name}/Setting"]
    }
    parameters = inspect.signature(SETTINGS[name]).parameters
    assert list(documented.items()) == [(parameter.name, parameter.default) for parameter in parameters.values()]


def test_no_table_of_settings_is_about_anything_else() -> None:
    assert {table.partition("/")[0] for table in CONFIGURATION if table.endswith("/Setting")} == SETTINGS.keys()


def test_the_choices_of_a_setting_are_all_named() -> None:
    meanings = {
        code_in(row["Setting"])[0]: row["Meaning"]
        for rows in CONFIGURATION.values()
        for row in rows
        if "Setting" in row
    }
    for setting, choices in {
        "when_full": ("wait", "raise", "drop_oldest", "drop_newest"),
        "ambiguous": ("resend", "report"),
        "booleans": ("0/1",),
        "none": ("omit",),
        "nested": ("flatten",),
        "on_invalid": ("raise", "report"),
        "api_version": ("v3.0", "v4.0", "v4.1"),
    }.items():
        for choice in choices:
            assert f'"{choice}"' in code_in(meanings[setting])


def test_the_fixed_values_are_those_of_the_code() -> None:
    documented = [value_of(code_in(row["Default"])[0]) for row in CONFIGURATION["Fixed values/Value"]]
    close_timeout = inspect.signature(AsyncGameball.aclose).parameters["timeout"].default
    assert documented == [
        CONNECTIONS,
        LONGEST_PAUSE,
        _SHORTEST_PAUSE,
        HALT_PROBE_INTERVAL,
        OUTAGE_PLAYERS,
        LONGEST_ANSWER,
        KEEP_ALIVE,
        close_timeout,
        _LONGEST_CLOSE,
        ACK_LAG,
        RETRY_AFTER,
        MAX_RECOVERED,
    ]


@pytest.mark.parametrize("variable", ["GAMEBALL_API_KEY", "GAMEBALL_SECRET_KEY"])
def test_a_key_comes_from_the_variable_that_is_named(variable: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert variable in [name for row in CONFIGURATION["Environment/Variable"] for name in code_in(row["Variable"])]
    for name in ("GAMEBALL_API_KEY", "GAMEBALL_SECRET_KEY"):
        monkeypatch.setenv(name, "k")
    AsyncGameball(api_version="v4.1")
    monkeypatch.delenv(variable)
    with pytest.raises(errors.ConfigurationError, match=variable):
        AsyncGameball(api_version="v4.1")


def test_the_limits_and_waits_that_the_readme_names_are_the_defaults() -> None:
    text = " ".join(README.text.split())
    assert (RateLimit().per_second, RateLimit().per_30_seconds) == (100, 1_200)
    assert "100 requests in 1 s and 1,200 in 30 s" in text
    assert (Retry().give_up_after, Batching().wait_timeout, HALT_PROBE_INTERVAL) == (24 * 3600, 1, 60)
    for words in ("for up to a day", "for one second at most", "one probe goes out each minute"):
        assert words in text


# ---------------------------------------------------------------- errors


def tree(root: type[GameballError]) -> Iterator[type[GameballError]]:
    yield root
    for below in root.__subclasses__():
        if below.__module__ == errors.__name__:
            yield from tree(below)


def test_every_error_stands_with_its_bases() -> None:
    documented = {code_in(row["Error"])[0]: code_in(row["Bases"]) for row in ERRORS["Errors/Error"]}
    assert documented == {error.__name__: [base.__name__ for base in error.__bases__] for error in tree(GameballError)}


def test_every_error_is_exported_and_explained() -> None:
    import gameball_async  # noqa: PLC0415 only here the package itself is the subject

    text = DOCS["errors"].text
    for error in tree(GameballError):
        assert getattr(gameball_async, error.__name__) is error
        assert f"### {error.__name__}" in text or f"`{error.__name__}`:" in text or error.__subclasses__()


def test_who_raises_an_error_is_a_call_of_the_client() -> None:
    calls = {name for name, _ in inspect.getmembers(AsyncGameball, inspect.isfunction)} | set(gameball_async.__all__)
    for row in ERRORS["Errors/Error"]:
        assert set(code_in(row["Raised by"])) - {"await receipt"} <= calls


def test_every_attribute_of_an_error_is_named() -> None:
    documented = {code_in(row["Error"])[0]: code_in(row["Attributes"]) for row in ERRORS["Attributes/Error"]}
    for error in tree(GameballError):
        given = {"unsettled": 1, "status": 422, "code": None, "reason": DropReason.CLOSED}
        parameters = inspect.signature(error.__init__).parameters.values()
        needed = {
            parameter.name: given[parameter.name]
            for parameter in parameters
            if parameter.kind is parameter.KEYWORD_ONLY and parameter.default is parameter.empty
        }
        made = error("words", **needed)
        assert vars(made).keys() <= set(documented.get(error.__name__, []))


def test_every_reason_for_a_drop_stands() -> None:
    assert [code_in(row["Reason"])[0] for row in ERRORS["Dropped/Reason"]] == [reason.name for reason in DropReason]


# ---------------------------------------------------------------- what an event may hold


class Color(Enum):
    RED = "red"


TYPES = {each.__name__: each for each in (Decimal, date, datetime, time, timedelta, UUID, Color)} | {"UTC": UTC}


class Missing(float):
    """A number that is not equal to itself."""

    def __ne__(self, other: object) -> bool:
        return True

    __hash__ = float.__hash__


class Model(pydantic.BaseModel):
    city: str


@dataclasses.dataclass
class City:
    name: str


DESCRIBED: dict[str, list[Any]] = {
    "`NaT` of pandas, and any other value that is not equal to itself": [Missing()],
    "a model of pydantic": [Model(city="Cairo")],
    "a dataclass, a class of attrs": [City("Cairo")],
}
"""Values that the table only describes. Those of numpy and pandas have tests with the real libraries."""


@pytest.mark.parametrize("row", EVENTS["Metadata/In Python"], ids=lambda row: row["In Python"])
def test_a_value_is_converted_or_refused_as_the_table_says(row: dict[str, str]) -> None:
    described = row["In Python"]
    if described.startswith("an array of numpy"):
        return
    values = DESCRIBED.get(described) or [eval(code_in(described)[0], dict(TYPES))]
    if "Sent as" in row:
        assert encode_event("e", {"k": values[0]}) == b'"e":{"k":%b}' % code_in(row["Sent as"])[0].encode()
        return
    with pytest.raises(InvalidEvent) as caught:
        validate_event("player123", "e", {"address": values[0]})
    remedy, code = row["The remedy"], code_in(row["The remedy"])
    assert not code or code[0] in str(caught.value)
    assert code or remedy in str(caught.value)


def test_both_tables_of_values_are_read() -> None:
    rows = EVENTS["Metadata/In Python"]
    assert {frozenset(row) for row in rows} == {
        frozenset({"In Python", "Sent as"}),
        frozenset({"In Python", "The remedy"}),
    }


# ---------------------------------------------------------------- what an answer means


@attrs.frozen
class Answered:
    """One answer that the table speaks of."""

    status: int
    code: int | None
    verdict: str

    def __str__(self) -> str:
        return f"{self.status}, code {self.code}: {self.verdict}"


def answers() -> Iterator[Answered]:
    for row in DELIVERY["What an answer means/Status"]:
        codes: list[int | None] = [int(code) for code in code_in(row["Code"])]
        codes += [None] if "none" in row["Code"] else []
        codes += [3003, 999_999] if "any other" in row["Code"] else []
        for status in map(int, code_in(row["Status"])):
            for code in codes:
                yield Answered(status, code, row["Verdict"])


@pytest.mark.parametrize("answered", list(answers()), ids=str)
def test_an_answer_means_what_the_table_says(answered: Answered) -> None:
    body = b"" if answered.code is None else json.dumps({"code": answered.code, "message": "words"}).encode()
    answer = read_answer(answered.status, {}, body, complete=True, wall_now=0)
    assert answer.verdict.name.lower().replace("_", " ") == answered.verdict


def test_every_code_with_a_meaning_of_its_own_stands() -> None:
    assert _BY_CODE.keys() <= {answered.code for answered in answers()}


def test_no_answer_stands_twice() -> None:
    asked = [(answered.status, answered.code) for answered in answers()]
    assert len(asked) == len(set(asked))


def test_the_choices_for_lost_answers_are_those_of_the_setting() -> None:
    choices = [code_in(row["`Retry(ambiguous=...)`"])[0] for row in DELIVERY["Lost answers/`Retry(ambiguous=...)`"]]
    assert [Retry(ambiguous=ast.literal_eval(choice)).ambiguous for choice in choices] == ["resend", "report"]
