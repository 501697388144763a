"""Redaction of foreign text, such as a server's message, before it reaches a log or an error."""

from __future__ import annotations

import base64
import binascii
import re
import unicodedata
from collections.abc import Collection, Iterable, Iterator

LONGEST_WORDS = 200
"""Characters of the server's own words that are kept for a message."""

_EXAMINED = 20 * LONGEST_WORDS
"""Characters that are decoded: an encoded character may take a dozen."""

_MOST_ROUNDS = 10
"""Encodings inside each other that are undone; what is wrapped deeper is hidden as a whole."""

_SHORTEST_SECRET = 3  # a player's id may be "1", and masking every 1 would make messages unreadable

_MASK = "***"

_DATE_AND_TIME = (
    r"(?<![\d+(])(?:19|20)\d\d-(?:0[1-9]|1[0-2])-(?:0[1-9]|[12]\d|3[01])(?:[T ]\d\d:\d\d(?::\d\d(?:\.\d+)?)?)?"
    r"(?![\s().\-/+]{0,4}\d)"
)
_EMAIL = r"(?:\"[^\"@]{1,64}\"|[^\s\"'<>(),;:@][^\s\"<>(),;:@]{0,255}+) ?@ ?[^\s\"'<>(),;:]+"
_PHONE = r"\+?\d(?:[\s().\-/\\+·•_~*|]{0,4}\d){6,}"

_PERSONAL = re.compile(rf"(?P<date>{_DATE_AND_TIME})|{_EMAIL}|{_PHONE}")
"""What looks like an e-mail address or a phone number; a date with dashes does not."""

_PERCENT = re.compile(r"(?:%[0-9A-Fa-f]{2})+")
_ESCAPE = re.compile(r"(?:\\u|%u|\\U0000)([0-9A-Fa-f]{4})|\\[ux]\{([0-9A-Fa-f]{1,6})\}|\\x([0-9A-Fa-f]{2})")
_TOKEN = re.compile(r"[A-Za-z0-9+/_-]{8,}={0,2}", re.ASCII)
_ORDINARY_WORD = re.compile(r"[A-Z]?[a-z]{1,15}", re.ASCII)  # too short and too uniform to be an encoded key
_URL_SAFE = str.maketrans("-_", "+/")


def redact_message(words: str, secrets: Iterable[str] = ()) -> str:
    """Make foreign words fit for a log: short, on one line, without keys and personal data.

    Args:
        words: any text.
        secrets: what must not appear, in upper or lower case and in common encodings: percent-encoding, HTML
            entities, the escapes of JSON, base64 and hexadecimal digits.
    """
    secrets = [secret for secret in secrets if len(secret) >= _SHORTEST_SECRET]
    secrets = list(dict.fromkeys([*secrets, *map(_normalized, secrets)]))
    words = _plain(_hide(words, secrets)[:_EXAMINED], secrets)
    lower = [secret.lower() for secret in secrets]
    words = _TOKEN.sub(lambda token: _MASK if _holds_secret(token[0], lower) else token[0], words)
    words = _PERSONAL.sub(lambda found: found["date"] or _MASK, words)
    return words if len(words) <= LONGEST_WORDS else words[: LONGEST_WORDS - 1] + "…"


def _plain(words: str, secrets: Collection[str]) -> str:
    """The words on one line, without encodings and secrets."""
    for _ in range(_MOST_ROUNDS):
        decoded = _hide(_decoded(_normalized(words)), secrets)
        if decoded == words:
            if not words.isprintable():
                words = "".join(char if char.isprintable() else " " for char in words)
            return " ".join(words.split())
        words = decoded
    return _MASK


def _hide(words: str, secrets: Collection[str]) -> str:
    for secret in secrets:
        words = re.sub(re.escape(secret), _MASK, words, flags=re.IGNORECASE)
    return words


def _normalized(words: str) -> str:
    """One spelling of each character: digits of any width, dashes of any length, nothing invisible between."""
    if words.isascii():
        return words
    words = unicodedata.normalize("NFKC", words)
    categories = ((char, unicodedata.category(char)) for char in words)
    return "".join("-" if category == "Pd" else char for char, category in categories if category != "Cf")


def _decoded(words: str) -> str:
    words = _PERCENT.sub(lambda found: bytes.fromhex(found[0].replace("%", "")).decode("utf-8", "replace"), words)
    words = _ESCAPE.sub(_character, words)
    from html import unescape  # noqa: PLC0415 it has two thousand names, and few programs meet an error with one

    return unescape(words)


def _character(found: re.Match[str]) -> str:
    code = int(found[1] or found[2] or found[3], 16)
    return chr(code) if code <= 0x10FFFF else " "  # noqa: PLR2004 the last of Unicode


def _holds_secret(token: str, secrets: Collection[str]) -> bool:
    """Whether a token is an encoding of bytes that contain a secret or personal data."""
    if _ORDINARY_WORD.fullmatch(token):
        return False
    for decoded in _readings(token):
        lower = decoded.lower()
        if any(secret in lower for secret in secrets):
            return True
        if decoded.isprintable() and any(not found["date"] for found in _PERSONAL.finditer(decoded)):
            return True
    return False


def _readings(token: str) -> Iterator[str]:
    """What a token may mean as base64 of either alphabet, or as hexadecimal digits, wherever they begin in it."""
    token = token.rstrip("=").translate(_URL_SAFE)
    for start in range(4):
        part = token[start:]
        part = part[: len(part) - (len(part) % 4 == 1)]
        with_padding = part + "=" * (-len(part) % 4)
        try:
            yield base64.b64decode(with_padding).decode("utf-8", "replace")
        except binascii.Error:
            continue
    for found in re.findall(r"(?:[0-9A-Fa-f]{2}){4,}", token):
        yield bytes.fromhex(found).decode("utf-8", "replace")
