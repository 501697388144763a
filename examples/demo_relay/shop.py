"""The shop of the demo: places real orders in PostgreSQL, each with its events in the same transaction."""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from itertools import count, groupby
from typing import TYPE_CHECKING

import attrs
from sqlalchemy import ForeignKey
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship

from examples.demo.demo import COLUMNS, EXCERPT, Shop
from gameball_async.cli._files import Files, ReadFailure, ReadOptions
from gameball_async.cli._lines import Draft
from gameball_async.outbox.sqlalchemy import event

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_REFUSED = 8  # every eighth payment is refused


class PaymentRefused(Exception):
    """The order is rolled back."""


class Base(DeclarativeBase):
    """The shop's own tables."""


class Order(Base):
    """An order of a customer."""

    __tablename__ = "shop_order"
    id: Mapped[int] = mapped_column(primary_key=True)
    customer: Mapped[str]
    invoice: Mapped[str]
    lines: Mapped[list[OrderLine]] = relationship()


class OrderLine(Base):
    """What the customer did: bought or returned a product, or went through the checkout."""

    __tablename__ = "shop_order_line"
    id: Mapped[int] = mapped_column(primary_key=True)
    order_id: Mapped[int] = mapped_column(ForeignKey("shop_order.id"))
    kind: Mapped[str]
    product: Mapped[str]


@attrs.frozen
class PlacedOrder:
    """An order of the data.

    Attributes:
        customer: who placed it.
        invoice: its number.
        drafts: its events.
    """

    customer: str
    invoice: str
    drafts: Sequence[Draft]


def orders(most_rows: int | None = None) -> Iterator[PlacedOrder]:
    """Yield the orders of the excerpt, up to a number of order lines."""
    rows = Files([str(EXCERPT)], ReadOptions(columns=COLUMNS)).rows()
    limited = (row for row, _ in zip(rows, count() if most_rows is None else range(most_rows), strict=False))
    drafts = (_draft(row) for row in Shop(limited).events())
    for (customer, invoice), found in groupby(drafts, key=lambda draft: (draft.player, _text(draft, "invoice"))):
        yield PlacedOrder(customer, invoice, list(found))


def _draft(row: object) -> Draft:
    if isinstance(row, ReadFailure):
        raise RuntimeError(row.reason)  # noqa: TRY004 of the data, not of a type
    content = getattr(row, "content", None)
    assert isinstance(content, Draft), "the excerpt has no other rows"  # noqa: S101 an invariant
    return content


def _text(draft: Draft, key: str) -> str:
    return str((draft.metadata or {}).get(key, ""))


async def place(session: AsyncSession, order: PlacedOrder, first_id: int, *, is_refused: bool) -> None:
    """Place one order: its rows and its events commit together, or not at all.

    Raises:
        PaymentRefused: if the payment is refused.
    """
    async with session.begin():
        session.add(Order(id=first_id, customer=order.customer, invoice=order.invoice))
        for line_id, draft in enumerate(order.drafts, first_id):
            session.add(OrderLine(id=line_id, order_id=first_id, kind=draft.name, product=_text(draft, "product")))
            await session.execute(event(draft.player, draft.name, {**(draft.metadata or {}), "line": line_id}))
        if is_refused:
            raise PaymentRefused


async def run(dsn: str, most_rows: int | None, pause: float) -> list[int]:
    """Place all orders, and return the ids of the lines that were rolled back."""
    engine = create_async_engine(dsn.replace("postgresql://", "postgresql+psycopg://", 1))
    sessions = async_sessionmaker(engine)
    rolled_back: list[int] = []
    next_id = 1
    for number, order in enumerate(orders(most_rows), 1):
        ids = range(next_id, next_id + len(order.drafts))
        async with sessions() as session:
            try:
                await place(session, order, next_id, is_refused=number % _REFUSED == 0)
            except PaymentRefused:
                rolled_back += ids
        next_id = ids.stop
        await asyncio.sleep(pause)
    await engine.dispose()
    return rolled_back


def main() -> None:
    """Place the orders, and print the lines that were rolled back as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("dsn")
    parser.add_argument("--rows", type=int)
    parser.add_argument("--pause", type=float, default=0.1)
    options = parser.parse_args()
    json.dump(asyncio.run(run(options.dsn, options.rows, options.pause)), sys.stdout)


if __name__ == "__main__":
    main()
