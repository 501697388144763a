"""Texts of an event: the player's id, names, keys and contacts, which must be visible and fit into UTF-8."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable

from ..errors import InvalidEvent
from . import remedies
from .remedies import is_missing, kind

PLAYER = "player_unique_id"
NAME = "the event's name"

_GUESTS = " A guest has no player id: do not track guests."
_INVISIBLE = frozenset("\u034f\u115f\u1160\u17b4\u17b5\u2800\u3164\uffa0")
"""Characters that show nothing, although Unicode counts them as letters, marks or symbols: fillers and the like."""

_PARTS_OF_EMOJI = frozenset(map(chr, [0x200D, 0xE007F, *range(0xFE00, 0xFE10), *range(0xE0100, 0xE01F0)]))
"""Joiners and variation selectors: they show nothing, but a text may well end with one."""

OnPadded = Callable[[str, str], object]
"""Called with what a text is for, and the characters around it that cannot be seen."""


def text(what: str, value: object, on_padded: OnPadded | None = None) -> str:
    """Return `value` as a plain string, if it is one that can be seen and that UTF-8 can carry.

    Args:
        what: what the value is for.
        value: the value.
        on_padded: called if there are spaces around it.

    Raises:
        InvalidEvent: otherwise; the message says what the value is for, never the value.
    """
    if type(value) is str and value.isascii() and value >= "!" and value[-1] > " ":  # nearly always
        return value
    if not isinstance(value, str):
        remedy = remedies.for_text(value, "value")
        raise InvalidEvent(f"{what} is {kind(value)}: {remedy}{_guests(what) if is_missing(value) else ''}")
    if not value:
        raise InvalidEvent(f"{what} is an empty string: give a non-empty one.{_guests(what)}")
    plain = str.__str__(value)
    if (advice := remedies.for_surrogates(plain, "value")) is not None:
        raise InvalidEvent(f"{what} holds a lone surrogate, which {advice}")
    if is_blank(plain):
        raise InvalidEvent(
            f"{what} is blank, it has only white space or invisible characters: give one that can be seen."
            f"{_guests(what)}"
        )
    if on_padded is not None and (padding := _padding(plain)):
        on_padded(what, padding)
    return plain


def _guests(what: str) -> str:
    return _GUESTS if what == PLAYER else ""


def contact(what: str, value: object, on_padded: OnPadded | None = None) -> str | None:
    """Return a mobile number or an e-mail address as a plain string; None stays None."""
    return None if value is None else text(f"{what} (omit it if unknown)", value, on_padded)


def is_blank(value: str) -> bool:
    """Whether nothing of a string can be seen."""
    is_plain = value.isascii() and value >= "!"  # nearly always
    return not is_plain and not any(map(_is_visible, value))


def _is_visible(character: str) -> bool:
    if character.isspace() or (unicodedata.category(character) in ("Cc", "Cf") and character != "\x7f"):
        return False  # DEL is let through: to look for it would cost every event more than it is worth
    return character not in _INVISIBLE and character not in _PARTS_OF_EMOJI


def _padding(value: str) -> str:
    """The characters at both ends of a string that cannot be seen, each once."""
    first = next(at for at, character in enumerate(value) if _is_visible(character))
    last = next(at for at in range(len(value) - 1, -1, -1) if _is_visible(value[at]))
    return "".join(sorted(set(value[:first] + value[last + 1 :]) - _PARTS_OF_EMOJI))


def without_surrogates(value: object) -> str | None:
    """Return a text as UTF-8 can carry it; None if it is no text."""
    return str.__str__(value).encode("utf-8", "replace").decode() if isinstance(value, str) else None
