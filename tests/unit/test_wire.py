"""Requests as Gameball documents them: paths, headers, and bodies equal to every documented example."""

from __future__ import annotations

import json
from collections.abc import Callable
from decimal import Decimal
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gameball_async import Batching, ConfigurationError, InvalidEvent
from gameball_async._core.batch import Batch
from gameball_async._core.buffer import _LONGEST_ESCAPE, _MOST_OVERHEAD, Buffer
from gameball_async._core.events import EncodedEvent, encode_event
from gameball_async._core.wire import ApiVersion, dialect

from .documented import PLAYER, REFUSED, USAGE_EXAMPLE_ONE, USAGE_EXAMPLE_THREE, USAGE_EXAMPLE_TWO, V3, V4
from .strategies import examples, metadata, names

VERSIONS = ["v3.0", "v4.0", "v4.1"]


def request_body(spoken: ApiVersion, player: str, events: dict[str, Any], **contact: str) -> bytes:
    """Let each event be tracked on its own; the buffer must merge them into the documented request."""
    buffer = Buffer(Batching(), spoken.overhead, lambda _: None)
    for name, event_metadata in events.items():
        encoded = encode_event(name, event_metadata)
        assert buffer.offer(EncodedEvent(player, name, encoded, contact.get("mobile"), contact.get("email")), 0.0)
    batch = cast("Batch", buffer.take(1.0))
    body = spoken.body(batch.player_unique_id, batch.events.values(), batch.mobile, batch.email)
    assert batch.size == len(body)
    return body


def example_body(version: str, text: str, number: Callable[[str], Any]) -> bytes:
    """The body that the example's data make, with its numbers given as `number`."""
    spoken = dialect(version)
    fields: dict[str, Any] = json.loads(text, parse_float=number)
    player, events = fields.pop(spoken.id_field, PLAYER), fields.pop("events")
    return request_body(spoken, player, events, **fields)


def canonical(document: bytes | str) -> str:
    """One text for all orders of fields and all spacings; numbers stay as they are written."""
    parsed = json.loads(document, parse_float="float {}".format, parse_int="int {}".format)
    return json.dumps(parsed, sort_keys=True)


def with_player(version: str, text: str) -> str:
    field = dialect(version).id_field
    return text if field in text else f'{text[:-1]},"{field}":"{PLAYER}"}}'


GOLDEN = [("v3.0", row) for row in V3] + [(version, row) for version in ("v4.0", "v4.1") for row in V4]
golden = pytest.mark.parametrize(
    ("version", "text"),
    [pytest.param(version, *row.values, id=f"{version}-{row.id}") for version, row in GOLDEN],
)


@golden
def test_a_documented_example_is_sent_as_it_is_documented(version: str, text: str) -> None:
    assert canonical(example_body(version, text, Decimal)) == canonical(with_player(version, text))


@golden
def test_the_events_of_a_documented_example_are_sent_byte_by_byte(version: str, text: str) -> None:
    events, _, _ = example_body(version, text, Decimal).partition(f'}},"{dialect(version).id_field}"'.encode())

    assert events.removeprefix(b"{").decode() in text


@golden
def test_a_documented_example_with_plain_floats_is_the_same_numbers(version: str, text: str) -> None:
    body = example_body(version, text, float)

    assert json.loads(body, parse_float=Decimal) == json.loads(with_player(version, text), parse_float=Decimal)


@pytest.mark.parametrize("text", [USAGE_EXAMPLE_ONE, USAGE_EXAMPLE_TWO, USAGE_EXAMPLE_THREE])
def test_the_usage_examples_are_sent_byte_by_byte(text: str) -> None:
    assert example_body("v3.0", text, Decimal).decode() == text


@pytest.mark.parametrize(("given_metadata", "message"), REFUSED)
def test_a_documented_example_against_the_rules_is_refused(given_metadata: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidEvent) as caught:
        encode_event("purchase", given_metadata)

    assert str(caught.value).startswith(message)


@pytest.mark.parametrize(
    ("version", "path"),
    [
        ("v3.0", "/api/v3.0/integrations/event"),
        ("v4.0", "/api/v4.0/integrations/events"),
        ("v4.1", "/api/v4.1/integrations/events"),
    ],
)
def test_each_version_has_its_path(version: str, path: str) -> None:
    assert dialect(version).path == path


@pytest.mark.parametrize(
    ("version", "field"), [("v3.0", "playerUniqueId"), ("v4.0", "customerId"), ("v4.1", "customerId")]
)
def test_each_version_has_its_word_for_the_player(version: str, field: str) -> None:
    assert json.loads(dialect(version).body("player123", [], None, None)) == {"events": {}, field: "player123"}


@pytest.mark.parametrize("version", VERSIONS)
def test_the_api_key_is_sent_with_every_version(version: str) -> None:
    assert dialect(version).headers("key", None) == {"APIKey": "key", "Content-Type": "application/json"}


@pytest.mark.parametrize("version", VERSIONS)
def test_the_secret_key_is_sent_whenever_there_is_one(version: str) -> None:
    assert dialect(version).headers("key", "secret")["SecretKey"] == "secret"


@pytest.mark.parametrize(("version", "needed"), [("v3.0", False), ("v4.0", False), ("v4.1", True)])
def test_only_v4_1_needs_the_secret_key(version: str, needed: bool) -> None:  # noqa: FBT001 a column of the table
    assert dialect(version).needs_secret is needed


@pytest.mark.parametrize("version", ["v3", "v4", "3.0", "V3.0", "v2.0", "", None, 3.0, ["v3.0"]])
def test_an_unknown_version_is_refused_with_the_known_ones(version: Any) -> None:
    with pytest.raises(ConfigurationError) as caught:
        dialect(version)

    assert str(caught.value) == f"api_version is {version!r}: give one of 'v3.0', 'v4.0', 'v4.1'."


contacts = st.none() | names


@examples(200)
@given(st.sampled_from(VERSIONS), names, st.dictionaries(names, metadata, min_size=1, max_size=4), contacts, contacts)
def test_any_request_is_sound_json_of_the_length_that_was_reckoned(
    version: str, player: str, events: dict[str, dict[str, Any]], mobile: str | None, email: str | None
) -> None:
    spoken = dialect(version)
    encoded = [encode_event(name, event_metadata) for name, event_metadata in events.items()]

    body = spoken.body(player, encoded, mobile, email)

    pairs = dict(cast("list[tuple[str, Any]]", json.loads(body, object_pairs_hook=list)))
    assert [name for name, _ in pairs["events"]] == list(events)
    assert pairs[spoken.id_field] == player
    assert (pairs.get("mobile"), pairs.get("email")) == (mobile, email)
    assert len(body) == spoken.overhead(player, mobile, email) + sum(map(len, encoded)) + len(encoded) - 1


def test_an_absent_contact_is_not_sent_at_all() -> None:
    body = dialect("v3.0").body("p", [b'"e":{}'], None, None)

    assert b"mobile" not in body
    assert b"email" not in body


@pytest.mark.parametrize("version", VERSIONS)
@given(player=names, mobile=st.none() | names, email=st.none() | names)
def test_the_quick_bound_of_a_requests_overhead_holds(
    version: str, player: str, mobile: str | None, email: str | None
) -> None:
    bound = _MOST_OVERHEAD + _LONGEST_ESCAPE * len(player + (mobile or "") + (email or ""))
    assert dialect(version).overhead(player, mobile, email) <= bound


def test_the_quick_bound_holds_for_the_longest_escapes() -> None:
    assert (
        dialect("v3.0").overhead("\x1f" * 1000, "\x1f" * 1000, "\x1f" * 1000) <= _MOST_OVERHEAD + _LONGEST_ESCAPE * 3000
    )
