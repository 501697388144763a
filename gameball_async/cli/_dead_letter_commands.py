"""Dead letters for people and for files: chosen, put into words, JSON and NDJSON."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from decimal import Decimal
from typing import TYPE_CHECKING, Any, cast

import attrs

from ._send_options import UsageProblem
from ._terminal import counted, printable

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path
    from typing import BinaryIO

    from .. import DeadLetter, DeadLetters


_LONGEST_REASON = 100  # characters of a reason in a line
_MASK = "***"


@attrs.frozen(kw_only=True)
class Choice:
    """Which dead letters are meant.

    Attributes:
        ids: these, if any is given; else all of the kind and name.
        kind: only those of this kind.
        name: only those of this event.
    """

    ids: tuple[int, ...] = ()
    kind: str | None = None
    name: str | None = None

    def of(self, letters: DeadLetters) -> Iterator[DeadLetter]:
        """Read them, in order of their burial.

        Raises:
            UsageProblem: if an id is not there.
            JournalError: if they cannot be read.
        """
        for letter in self._read(letters):
            if self.kind in {None, letter.kind} and self.name in {None, letter.event and letter.event.name}:
                yield letter

    def _read(self, letters: DeadLetters) -> Iterable[DeadLetter]:
        return (found(letters, letter_id) for letter_id in sorted(set(self.ids))) if self.ids else letters


def found(letters: DeadLetters, letter_id: int) -> DeadLetter:
    """Return one letter.

    Raises:
        UsageProblem: if there is none of this id.
        JournalError: if it cannot be read.
    """
    letter = letters.get(letter_id)
    if letter is None:
        raise UsageProblem(f"there is no dead letter {letter_id}: look for its id with 'dead-letters list'.")
    return letter


def line(letter: DeadLetter, *, with_players: bool) -> str:
    """Return one letter as one line."""
    event = letter.event
    player = f"  {event.player_unique_id}" if event and with_players else ""
    reason = letter.reason if len(letter.reason) <= _LONGEST_REASON else letter.reason[: _LONGEST_REASON - 1] + "…"
    return f"{letter.id:>6}  {_when(letter)}  {letter.kind:<8}  {event.name if event else '-'}{player}  {reason}"


def in_json(letter: DeadLetter, *, with_players: bool) -> str:
    """Return one letter as one line of JSON."""
    event = letter.event
    fields: dict[str, Any] = {
        "id": letter.id,
        "buried_at": letter.buried_at.isoformat(),
        "kind": letter.kind,
        "event": event and event.name,
        "reason": letter.reason,
        "status": letter.status,
        "code": letter.code,
        "may_have_arrived": letter.may_have_arrived,
    }
    if event and with_players:
        fields |= {"player_unique_id": event.player_unique_id, "mobile": event.mobile, "email": event.email}
    return json.dumps(fields, ensure_ascii=False)


def in_full(letter: DeadLetter, *, with_contacts: bool) -> list[tuple[str, str]]:
    """Return everything about a letter, in words; contact data as stars unless wanted."""
    lines = [("id", str(letter.id)), ("kind", str(letter.kind)), ("buried at", _when(letter))]
    if event := letter.event:
        lines += [("event", event.name), ("player", event.player_unique_id)]
        contacts = (("mobile", event.mobile), ("email", event.email))
        lines += [(what, contact if with_contacts else _MASK) for what, contact in contacts if contact is not None]
    lines += [("reason", letter.reason)]
    lines += [(what, str(value)) for what, value in (("status", letter.status), ("code", letter.code)) if value]
    lines += [("may have arrived", "yes" if letter.may_have_arrived else "no")]
    if letter.event:
        lines += [("metadata", exact_json(letter.metadata))]
    if letter.raw is not None:
        # nobody can tell what in it is a contact
        lines += [
            ("raw", repr(letter.raw) if with_contacts else f"{counted(len(letter.raw), 'byte')}, see --with-contacts")
        ]
    return lines


def as_row(letter: DeadLetter) -> bytes | None:
    """Return the line of NDJSON that `send` reads back; None if the letter holds no event."""
    event = letter.event
    if event is None:
        return None
    fields: dict[str, Any] = {"player_unique_id": event.player_unique_id, "event": event.name}
    fields |= {"metadata": letter.metadata} if letter.metadata else {}
    contacts = (("mobile", event.mobile), ("email", event.email))
    fields |= {what: contact for what, contact in contacts if contact is not None}
    return exact_json(fields).encode() + b"\n"


def exact_json(value: object) -> str:
    """Return JSON in which a `Decimal` is a number with its exact digits, which the json module cannot write."""
    match value:
        case Decimal():
            return format(value, "f")
        case Mapping():
            members = cast("Mapping[str, object]", value).items()
            return "{" + ", ".join(f"{exact_json(key)}: {exact_json(member)}" for key, member in members) + "}"
        case list():
            return "[" + ", ".join(map(exact_json, cast("list[object]", value))) + "]"
        case _:
            return json.dumps(value, ensure_ascii=False)


def export(letters: Iterable[DeadLetter], file: BinaryIO) -> tuple[int, int]:
    """Write letters as `send` reads them.

    Args:
        letters: the letters.
        file: where to; it stays open.

    Returns:
        How many were written, and how many hold no event.

    Raises:
        OSError: if there is no room.
    """
    written = without = 0
    for letter in letters:
        row = as_row(letter)
        if row is None:
            without += 1
        else:
            file.write(row)
            written += 1
    return written, without


def new_private_file(path: Path) -> BinaryIO:
    """Make a file that only its owner can read, and open it.

    Raises:
        UsageProblem: if it is there already.
        OSError: if it cannot be made.
    """
    try:
        return os.fdopen(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "wb")
    except FileExistsError:
        raise UsageProblem(f"{printable(str(path))} is there already: name another file, or delete it.") from None


def _when(letter: DeadLetter) -> str:
    return f"{letter.buried_at:%Y-%m-%d %H:%M:%S}Z"
