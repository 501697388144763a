"""A shop's backend whose client stands in the module and tracks while it is imported, before any fork."""

from __future__ import annotations

from . import book
from .shop import make_app

gameball = book.client()
for number in range(3):
    gameball.track_nowait("parent", *book.event(number))
    book.accepted("parent", number)

app = make_app(lambda: gameball)
