"""The events of a file as they lie there: their columns, right or not, and what is found around damage."""

from __future__ import annotations

import sqlite3
import struct
from collections.abc import Generator, Iterator
from contextlib import closing
from typing import Any

from . import _schema
from ._rows import StoredEvent

Record = tuple[Any, ...]
"""An event's columns, right or not."""

_COLUMNS = "seq, player, name, encoded, mobile, email, accepted_at, together, checksum"

_SINGLE_STEPS = 1000  # seqs that are tried one by one behind damage, before the steps grow
_GREATEST = 2**63 - 1


def records(db: sqlite3.Connection, condition: str, *parameters: int) -> Generator[Record, None, None]:
    """The events of a file as they lie there; the statement is ended with the iteration."""
    cursor = db.execute(f"SELECT {_COLUMNS} FROM events WHERE {condition}", parameters)  # noqa: S608 no value is in it
    try:
        yield from cursor
    finally:
        cursor.close()


def row_of(record: Record) -> StoredEvent | None:
    """The event that a record holds; None if its checksum is wrong."""
    seq, player, name, encoded, mobile, email, accepted_at, together, checksum = record
    try:
        mobile = None if mobile is None else mobile.decode()
        email = None if email is None else email.decode()
        row = StoredEvent(seq, player.decode(), name.decode(), encoded, mobile, email, accepted_at, together)
        return row if _schema.checksum_of_row(row) == checksum else None
    except (
        AttributeError,
        TypeError,
        ValueError,
        struct.error,
    ):  # damage can give a column another type, or break its UTF-8
        return None


def readable(source: sqlite3.Connection) -> Iterator[StoredEvent]:
    """Every event that is whole: what lies before the damage, what lies behind it, then what lies between."""
    low = yield from _run(source, 0, _GREATEST)
    if low is None:
        return
    high = yield from _run(source, low, _GREATEST, backwards=True)
    at, step, failures = low, 1, 0
    while high is not None and at <= high:
        reached = yield from _run(source, at, high)
        if reached is None:
            return
        failures = 0 if reached > at else failures + 1
        step = 1 if failures <= _SINGLE_STEPS else step * 2
        at = reached + step
        if step > 1:  # what the step jumped over and lies behind the damage
            yield from _run(source, reached + 1, min(at - 1, high), backwards=True)


def _run(
    source: sqlite3.Connection, low: int, high: int, *, backwards: bool = False
) -> Generator[StoredEvent, None, int | None]:
    """The events from one seq to another, up to the first damage.

    Returns:
        The first seq in its direction that could not be read; None if there was no damage.
    """
    order, step, at = ("DESC", -1, high) if backwards else ("ASC", 1, low)
    try:
        with closing(records(source, f"seq BETWEEN ? AND ? ORDER BY seq {order}", low, high)) as found:
            for record in found:
                if (record[0] - at) * step < 0 or not low <= record[0] <= high:
                    return at  # a damaged tree can lead to a place where we were already
                at = record[0] + step
                row = row_of(record)
                if row is not None:
                    yield row
    except sqlite3.DatabaseError:
        return at
    return None
