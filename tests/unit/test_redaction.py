"""Foreign words without keys and personal data, in whichever encoding a server echoes them."""

from __future__ import annotations

import base64
import html
from urllib.parse import quote

import pytest

from gameball_async._core.redaction import redact_message

KEY = "live-key-7f3a9c+/x=1"
PLAYER = "player of/the north"
SECRETS = [KEY, PLAYER]

EMAILS = [
    "jon%40example.com",
    "jon%2540example.com",
    "jon&#64;example.com",
    "jon&#x40;example.com",
    "jon&commat;example.com",
    "jon&amp;#64;example.com",
    "jon%26%2364%3Bexample.com",
    "jon\\u0040example.com",
    "jon\\x40example.com",
    "jon\\u{40}example.com",
    "jon%u0040example.com",
    "JON\uff20EXAMPLE.COM",
    "o'brien@example.com",
    '"jon snow"@example.com',
    "jon @ example.com",
    base64.b64encode(b"jon@example.com").decode(),
]

PHONES = [
    "030/1234567",
    "+49/30/123456",
    "+20.100.123.4567",
    "+20 (0) 100 - 123 - 4567",
    "+20\u2013100\u2013123\u20134567",
    "+20\u2011100\u2011123\u20114567",
    "\uff0b\uff12\uff10\uff11\uff10\uff10\uff11\uff12\uff13\uff14\uff15\uff16\uff17",
    "+20\u00a0100\u00a0123\u00a04567",
    "0100\u200b123\u200b4567",
    "\u0660\u0661\u0662\u0663\u0664\u0665\u0666\u0667\u0668\u0669",
    "%2B201001234567",
    "&#43;20&#49;001234567",
    "+20\\u002d100-1234567",
]

KEYS = {
    "as it is": KEY,
    "in capitals": KEY.upper(),
    "percent-encoded": quote(KEY, safe=""),
    "percent-encoded in lower case": quote(KEY, safe="").lower(),
    "percent-encoded twice": quote(quote(KEY, safe=""), safe=""),
    "each character percent-encoded": "".join(f"%{ord(char):02x}" for char in KEY),
    "in entities": "".join(f"&#{ord(char)};" for char in KEY),
    "in escapes": "".join(f"\\u{ord(char):04x}" for char in KEY),
    "in base64": base64.b64encode(KEY.encode()).decode(),
    "in base64 for URLs": base64.urlsafe_b64encode(KEY.encode()).decode().rstrip("="),
    "in base64 behind something": "x/" + base64.b64encode(KEY.encode()).decode(),
    "in base64 with a user": base64.b64encode(f"user:{KEY}".encode()).decode(),
    "in base64, percent-encoded": quote(base64.b64encode(KEY.encode()).decode(), safe=""),
    "in hexadecimal digits": KEY.encode().hex(),
    "a percent-encoded id": quote(PLAYER),
    "an id percent-encoded as a whole": quote(PLAYER, safe=""),
    "an id in capitals": PLAYER.upper(),
    "an id in entities": html.escape("".join(f"&#x{ord(char):x};" for char in PLAYER)),
}


@pytest.mark.parametrize("words", [*EMAILS, *PHONES, *KEYS.values()], ids=[*EMAILS, *map(ascii, PHONES), *KEYS])
def test_what_is_private_is_hidden_in_any_common_encoding(words: str) -> None:
    assert redact_message(f"id {words} is bad", SECRETS) == "id *** is bad"


READABLE = [
    "The PlayerUniqueId field is required.",
    "code 3008, 15 of 100 in 2026",
    "Gameball 4.1.0 since 2026-01-31 at 12:00:30",
    "until 2026-01-31T12:00:30.123Z",
    "100% of 50%, a & b < c",
    "requestId 12345abcde",
    "https://docs.gameball.co/errors/3000",
    "total_amount must be 1,234,567.89",
    "The field 'events.place_order.total_amount' is invalid (line 3, column 17)",
    "InvalidMetadata: order_reference_number",
    "Ungültige Größe €",
]


@pytest.mark.parametrize("words", READABLE)
def test_ordinary_words_stay_readable(words: str) -> None:
    assert redact_message(words, SECRETS) == words


def test_what_is_wrapped_too_often_is_hidden_as_a_whole() -> None:
    words = "jon@example.com"
    for _ in range(20):
        words = quote(words, safe="")
    assert redact_message(words) == "***"


@pytest.mark.parametrize("words", ["%25" * 20_000, "a@" * 20_000, "1 " * 20_000, "&amp;" * 10_000, "\\u005c" * 5_000])
def test_long_words_are_cleaned_as_well(words: str) -> None:
    assert len(redact_message(words, SECRETS)) <= 200
