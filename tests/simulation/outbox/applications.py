"""Applications: they insert events in transactions, which overlap, commit in any order, or roll back."""

from __future__ import annotations

import json

from .plan import Append, Writing
from .postgres import Aborted, Transaction, Version
from .tables import EventRow, Tables
from .truth import Truth, Truths
from .world import Script

RETRY = 0.5
"""Seconds after which an application tries again to connect."""


def write(writing: Writing, tables: Tables, truths: Truths) -> Script:
    """Run one transaction; if the database aborts it, the application gives it up."""
    server = tables.server
    inserted: list[Truth] = []
    try:
        while server.is_down:
            yield RETRY
        transaction = server.begin()
        if not writing.appends:
            server.xid(transaction)
        for append in writing.appends:
            yield append.after
            truth, version = _insert(append, tables, truths, transaction)
            if append.is_undone:
                server.delete(transaction, version)
            else:
                inserted.append(truth)
        yield writing.ends_after
        if writing.commits:
            transaction.on_commit.append(lambda: truths.commit(inserted))
            server.commit(transaction)
        else:
            server.abort(transaction)
    except Aborted:
        pass
    finally:
        truths.writing -= 1


def _insert(
    append: Append, tables: Tables, truths: Truths, transaction: Transaction
) -> tuple[Truth, Version[EventRow]]:
    metadata = json.dumps(append.metadata, ensure_ascii=False).encode()
    version = tables.append(transaction, append.player, append.name, metadata, append.mobile, append.email)
    return truths.insert(append, version.values.seq), version
