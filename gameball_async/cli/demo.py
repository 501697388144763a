"""`make demo`: real shop data through an embedded sandbox, with faults on the way, compared one by one at the end."""

from __future__ import annotations

import asyncio
import sys
from collections import Counter
from decimal import Decimal
from importlib import resources
from typing import TYPE_CHECKING

import attrs

from gameball_async import AsyncGameball, Batching, RateLimit, Retry
from gameball_async.sandbox import Fault, Sandbox

from ._columns import Columns, MetadataColumn
from ._compare import Sent
from ._display import Spoken, display_for
from ._files import Files, Reading, Trouble
from ._ledger import Ledger
from ._report import print_line, print_table, requests_in_words, sandbox_in_words
from ._rows import Draft, MetadataValue, Row
from ._sending import How, Job, Sending
from ._signals import Interrupts
from ._words import counted

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from ._compare import Comparison
    from ._sending import Ending

EXCERPT = "online_retail_excerpt.csv.gz"
_BULK = 12  # pieces of one product, from which on a shop would call it wholesale

COLUMNS = Columns(
    player="CustomerID",
    event="buy",
    metadata=tuple(
        map(
            MetadataColumn.parse,
            [
                "InvoiceNo=invoice",
                "StockCode=product",
                "Description=description",
                "Quantity:int=quantity",
                "UnitPrice:decimal=unit_price",
                "InvoiceDate=date",
                "Country=country",
            ],
        )
    ),
)

FAULTS = (
    Fault.status(500, start=2.0, duration=1.0),
    Fault.status(429, retry_after=2, start=8.0, times=1),
    Fault.reset_before(probability=0.02),
    Fault.busy(probability=0.02),
    Fault.html(502, probability=0.01),
    Fault.truncate(probability=0.01),
)
"""What goes wrong on the way. Truncated answers come after the events were applied; the others before."""

_IN_WORDS = {
    "status": "it fails, or asks to wait",
    "reset_before": "the connection is reset",
    "busy": "it is busy with the customer",
    "html": "a gateway answers instead",
    "truncate": "its answer is cut short",
}


@attrs.define
class Tally:
    """What the excerpt holds.

    Attributes:
        rows: line items.
        without_customer: of these, those nobody can be rewarded for.
        events: what was made of the others.
    """

    rows: int = 0
    without_customer: int = 0
    events: int = 0


class Shop:
    """What this shop tells Gameball: each product bought or returned, bulk buys, and each checkout.

    The name of an event is what a campaign is tied to, so there are four names and not one for each
    product; the product is metadata. A customer's `buy` follows on a `buy`, and no request may
    hold a name twice: what merges is what a row, or the end of an invoice, adds to its `buy`.

    Args:
        rows: the line items, in order.

    Attributes:
        tally: what they held so far.
    """

    def __init__(self, rows: Iterator[Row | Trouble]) -> None:
        self.tally = Tally()
        self._rows = rows
        self._invoice: list[Row] = []

    def events(self) -> Iterator[Row | Trouble]:
        """Make the events; each carries the row it comes from."""
        for row in self._rows:
            if isinstance(row, Trouble):
                yield row
                continue
            yield from self._close_invoice(row)
            self.tally.rows += 1
            if isinstance(row.content, Draft):
                yield from self._counted(_events_of(row, row.content))
                self._invoice.append(row)
            else:
                self.tally.without_customer += 1
                yield row
        yield from self._close_invoice(None)

    def _close_invoice(self, following: Row | None) -> Iterator[Row]:
        if not self._invoice or (following is not None and _invoice(following) == _invoice(self._invoice[0])):
            return
        yield from self._counted([_checkout(self._invoice)])
        self._invoice = []

    def _counted(self, events: Sequence[Row]) -> Iterator[Row]:
        self.tally.events += len(events)
        yield from events


def _metadata(row: Row) -> dict[str, object]:
    return dict(row.content.metadata or {}) if isinstance(row.content, Draft) else {}


def _invoice(row: Row) -> object:
    return _metadata(row).get("invoice")


def _events_of(row: Row, draft: Draft) -> list[Row]:
    quantity = (draft.metadata or {}).get("quantity", 0)
    pieces = quantity if isinstance(quantity, int) else 0
    names = ["return"] if pieces < 0 else ["buy", "buy_in_bulk"] if pieces >= _BULK else ["buy"]
    return [attrs.evolve(row, content=attrs.evolve(draft, name=name)) for name in names]


def _checkout(items: Sequence[Row]) -> Row:
    last = items[-1]
    assert isinstance(last.content, Draft)  # noqa: S101 only rows with a customer are kept
    total = Decimal(0)
    for item in map(_metadata, items):
        total += Decimal(str(item["unit_price"])) * Decimal(str(item["quantity"]))
    metadata: dict[str, MetadataValue] = {
        "invoice": str(_invoice(last)),
        "total": total,
        "products": [str(_metadata(item)["product"]) for item in items],
    }
    return attrs.evolve(last, content=Draft(last.content.player, "checkout", metadata))


def main() -> None:
    """Run the demo.

    Raises:
        SystemExit: with 0 if the sandbox holds exactly what was sent, else with 1.
    """
    path = resources.files("gameball_async.cli") / "data" / EXCERPT
    with resources.as_file(path) as file, Sandbox() as sandbox:
        sandbox.script(*FAULTS)
        is_equal = asyncio.run(run(str(file), sandbox))
    sys.exit(0 if is_equal else 1)


async def run(path: str, sandbox: Sandbox) -> bool:
    """Send the line items of a file to a sandbox, print the table, and return whether it holds exactly these events."""
    files = Files([path], Reading(columns=COLUMNS))
    shop, sent, rate = Shop(files.rows()), Sent(), RateLimit()
    ledger = Ledger(names=[EXCERPT], on_delivered=sent.add)
    display = display_for("real orders of a gift shop")
    gameball = AsyncGameball(
        "demo", base_url=sandbox.url, rate=rate, batching=Batching(wait_timeout=60), retry=Retry(initial=0.2)
    )
    with Interrupts() as interrupts, display, Spoken(display):
        display.say(
            "2,000 real line items go through an embedded sandbox, at Gameball's own limits of 100 requests a second "
            "and 1,200 in 30 seconds. On the way it fails, resets, asks to wait and cuts answers short."
        )
        async with gameball:
            job = Job(rows=shop.events(), ledger=ledger, display=display, expected=lambda: None, windows=rate.windows())
            sending = Sending(gameball, job)
            ending = await sending.run(interrupts)
    return _tell(shop.tally, sending, sandbox, sent.compare(sandbox.holdings()), ending)


def _tell(tally: Tally, sending: Sending, sandbox: Sandbox, comparison: Comparison, ending: Ending) -> bool:
    faults = Counter(record.fault for record in sandbox.requests if record.fault)
    lines = [
        ("Rows in", f"{tally.rows:,}"),
        ("without a customer", f"{tally.without_customer:,}"),
        ("Events made of the others", f"{tally.events:,}"),
        ("answered with success", f"{sending.stats.delivered:,}"),
        *requests_in_words(sending.stats, sending.seconds),
        ("Failures on the way", f"{faults.total():,}"),
        *((_IN_WORDS.get(kind, kind), f"{count:,}") for kind, count in faults.most_common()),
        *sandbox_in_words(comparison, sandbox),
    ]
    print_table("Real orders of a gift shop, through a sandbox", lines)
    print_line("Data: D. Chen, Online Retail, UCI Machine Learning Repository, 2015, doi 10.24432/C5BW33, CC BY 4.0.")
    for difference in comparison.differences[:5]:
        print_line(difference)
    is_equal = (
        ending.how is How.FINISHED
        and not sending.troubles
        and tally.events > 0
        and not comparison.differences
        and comparison.held == tally.events
        and not sandbox.violations
    )
    if is_equal:
        print_line(
            f"Nothing lost, nothing twice, nothing out of order: {counted(comparison.held, 'event')} of "
            f"{counted(comparison.players, 'customer')}, compared one by one."
        )
    else:
        print_line(f"NOT EQUAL: the run has {ending.how}, see the table. {ending.reason}".rstrip())
    return is_equal


if __name__ == "__main__":
    main()
