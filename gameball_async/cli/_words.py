"""How the command line writes things for people: quoted, counted, and never with a control character."""

from __future__ import annotations

import os
import re
import shlex

_LONGEST_QUOTE = 60  # characters
_MINUTE, _HOUR = 60, 3600  # seconds
_KIB = 1024


def quoted(text: str) -> str:
    """Quote a name from a file: shortened, and with escapes instead of control characters."""
    shortened = text if len(text) <= _LONGEST_QUOTE else text[: _LONGEST_QUOTE - 1] + "…"
    return f'"{shortened}"' if shortened.isprintable() else ascii(shortened)


def argument(text: str) -> str:
    """Return an argument of a command to type; double quotes work in every shell, Windows' included."""
    if re.fullmatch(r"[\w./\\:~@%+=,-]+", text):
        return text
    return shlex.quote(text) if re.search(r'["$`\\]', text) and os.sep == "/" else f'"{text}"'


def printable(text: str) -> str:
    """Return the text with every character that could steer a terminal written as an escape."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape", "replace").decode() for c in text)


def counted(count: int, noun: str) -> str:
    """Return `1 row`, `2 rows`, `10,000 rows`."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


def duration(seconds: float) -> str:
    """Return a duration as people say it: `8 s`, `2 min 05 s`, `3 h 20 min`."""
    whole = round(seconds)
    if whole < _MINUTE:
        return f"{whole} s"
    if whole < _HOUR:
        return f"{whole // _MINUTE} min {whole % _MINUTE:02} s"
    return f"{whole // _HOUR} h {whole % _HOUR // _MINUTE:02} min"


def bytes_in_words(size: int) -> str:
    """Return a number of bytes as people say it: `512 B`, `1.5 KiB`, `2.0 GiB`."""
    if size < _KIB:
        return f"{size} B"
    amount = size / _KIB
    for unit in ("KiB", "MiB"):
        if amount < _KIB:
            return f"{amount:,.1f} {unit}"
        amount /= _KIB
    return f"{amount:,.1f} GiB"
