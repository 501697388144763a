"""`make demo`: real shop data through an embedded sandbox, with faults on the way, compared one by one at the end."""

from __future__ import annotations

import asyncio
import sys
from collections import Counter
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING

import attrs
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from _gameball_async_cli import EXIT_CODE
from gameball_async import AsyncGameball, Batching, RateLimit, Retry
from gameball_async._log import counted
from gameball_async.cli._columns import Columns, MetadataColumn
from gameball_async.cli._files import Files, ReadFailure, ReadOptions
from gameball_async.cli._lines import Draft, InputRow, MetadataValue
from gameball_async.cli._outcomes import RunTracker, Sent, Shape, shape_of
from gameball_async.cli._run import Run, StopReason
from gameball_async.cli._terminal import duration, print_wrapped
from gameball_async.sandbox import Fault, Sandbox

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from gameball_async.cli._run import RunResult

EXCERPT = Path(__file__).parent / "data" / "online_retail_excerpt.csv.gz"
_TOO_MANY = 429
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
"""The faults. Truncated answers come after the events were applied, the others before."""

_CAUSES = {
    "status": "server error or limit",
    "reset_before": "connection reset",
    "busy": "customer busy",
    "html": "gateway error",
    "truncate": "answer cut short",
}

_EVENTS = {
    "buy": "products bought",
    "return": "products returned",
    "buy_in_bulk": "bulk purchases",
    "checkout": "checkouts",
}


@attrs.define
class Tally:
    """What the shop made of its order lines.

    Attributes:
        rows: order lines read.
        without_customer: of these, lines that name no customer, so there is no player to reward.
        events: events made of the others, by name.
        sent: these events, to compare with what arrived.
    """

    rows: int = 0
    without_customer: int = 0
    events: Counter[str] = attrs.field(factory=Counter[str])
    sent: Sent = attrs.field(factory=Sent)

    def add(self, draft: Draft) -> None:
        """Count one event."""
        self.events[draft.name] += 1
        self.sent.add(draft)


class Shop:
    """The events of this shop: each product bought or returned, bulk buys, and each checkout.

    The name of an event is what a campaign is tied to, so there are four names and not one for each
    product; the product is metadata. A customer's `buy` follows on a `buy`, and no request may
    hold a name twice: what merges is what a row, or the end of an invoice, adds to its `buy`.

    Args:
        rows: the line items, in order.

    Attributes:
        tally: what they held so far.
    """

    def __init__(self, rows: Iterator[InputRow | ReadFailure]) -> None:
        self.tally = Tally()
        self._rows = rows
        self._invoice: list[InputRow] = []

    def events(self) -> Iterator[InputRow | ReadFailure]:
        """Make the events; each carries the row it comes from."""
        for row in self._rows:
            if isinstance(row, ReadFailure):
                yield row
                continue
            yield from self._close_invoice(row)
            self.tally.rows += 1
            if isinstance(row.content, Draft):
                yield from self._counted(_events_of(row, row.content))
                self._invoice.append(row)
            elif _names_no_customer(row.content):
                self.tally.without_customer += 1
            else:
                yield row
        yield from self._close_invoice(None)

    def _close_invoice(self, following: InputRow | None) -> Iterator[InputRow]:
        if not self._invoice or (following is not None and _invoice(following) == _invoice(self._invoice[0])):
            return
        yield from self._counted([_checkout(self._invoice)])
        self._invoice = []

    def _counted(self, events: Sequence[InputRow]) -> Iterator[InputRow]:
        for event in events:
            if isinstance(event.content, Draft):
                self.tally.add(event.content)
            yield event


def _names_no_customer(reason: str) -> bool:
    return str(COLUMNS.player) in reason


def _metadata(row: InputRow) -> dict[str, object]:
    return dict(row.content.metadata or {}) if isinstance(row.content, Draft) else {}


def _invoice(row: InputRow) -> object:
    return _metadata(row).get("invoice")


def _events_of(row: InputRow, draft: Draft) -> list[InputRow]:
    quantity = (draft.metadata or {}).get("quantity", 0)
    pieces = quantity if isinstance(quantity, int) else 0
    names = ["return"] if pieces < 0 else ["buy", "buy_in_bulk"] if pieces >= _BULK else ["buy"]
    return [attrs.evolve(row, content=attrs.evolve(draft, name=name)) for name in names]


def _checkout(items: Sequence[InputRow]) -> InputRow:
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
    with Sandbox() as sandbox:
        sandbox.script(*FAULTS)
        is_equal = asyncio.run(run(str(EXCERPT), sandbox))
    sys.exit(0 if is_equal else 1)


async def run(path: str, sandbox: Sandbox) -> bool:
    """Send order lines to a sandbox, print the table, and return whether it holds exactly their events."""
    files = Files([path], ReadOptions(columns=COLUMNS))
    shop, rate = Shop(files.rows()), RateLimit()
    tracker = RunTracker(names=[EXCERPT.name])
    gameball = AsyncGameball(
        "demo", base_url=sandbox.url, rate=rate, batching=Batching(wait_timeout=60), retry=Retry(initial=0.2)
    )
    sending = Run(gameball, shop.events(), tracker, title="real orders of a gift shop", windows=rate.windows())
    result = await sending.run(
        "Real order lines of a gift shop go through an embedded sandbox, at Gameball's own limits of 100 requests "
        "a second and 1,200 in 30 seconds. On the way it fails, resets, asks to wait and cuts answers short."
    )
    return _report(shop.tally, result, sandbox)


def _report(tally: Tally, result: RunResult, sandbox: Sandbox) -> bool:
    comparison = tally.sent.compare(sandbox.holdings())
    answers = _answers(tally, result, sandbox)
    _print_answers("Real orders of a gift shop, through a sandbox", answers)
    for failure in result.failures:
        print_wrapped(f"The order lines were not read to their end: {failure.reason}")
    for difference in comparison.differences[:5]:
        print_wrapped(difference)
    if result.how is StopReason.INTERRUPTED:
        print_wrapped("Interrupted.")
        raise SystemExit(EXIT_CODE)
    print_wrapped(
        "Data: D. Chen, Online Retail, UCI Machine Learning Repository, 2015, doi 10.24432/C5BW33, CC BY 4.0."
    )
    is_equal = (
        result.how is StopReason.FINISHED
        and not result.failures
        and comparison.sent > 0
        and not comparison.differences
        and not sandbox.violations
    )
    if is_equal:
        print_wrapped(
            f"Nothing lost, nothing twice, nothing out of order: {counted(comparison.held, 'event')} of "
            f"{counted(comparison.players, 'customer')}, compared one by one."
        )
    else:
        print_wrapped(f"NOT EQUAL: the run has {result.how}, see the table. {result.reason}".rstrip())
    return is_equal


@attrs.frozen
class Match:
    """Differences between a sandbox's events and the sent ones."""

    missing: int
    extra: int
    misordered: int


def _match(sent: Sent, sandbox: Sandbox) -> Match:
    """Count a sandbox's missing, duplicate and misordered events."""
    missing = extra = misordered = 0
    holdings = sandbox.holdings()
    for player in {**sent.shapes, **holdings}:
        shapes, held = sent.shapes.get(player, []), [shape_of(event) for event in holdings.get(player, ())]
        if shapes == held:
            continue
        arrived, expected = _common(shapes, held), _common(held, shapes)
        missing += len(shapes) - len(arrived)
        extra += len(held) - len(expected)
        misordered += arrived != expected
    return Match(missing, extra, misordered)


def _common(shapes: Sequence[Shape], others: Sequence[Shape]) -> list[Shape]:
    """Return the shapes that are also in `others`, each at most as often."""
    left, common = list(others), list[Shape]()
    for shape in shapes:
        if shape in left:
            left.remove(shape)
            common.append(shape)
    return common


def _print_answers(title: str, answers: Sequence[tuple[str, str]]) -> None:
    """Print a table of questions and answers."""
    table = Table(title=Text(title), title_justify="left", show_header=False)
    table.box = box.ROUNDED if sys.stdout.isatty() else None
    for _ in ("question", "answer"):
        table.add_column(overflow="fold")
    for question, answer in answers:
        table.add_row(Text(question), Text(answer))
    Console(highlight=False).print(table)


def _answers(tally: Tally, result: RunResult, sandbox: Sandbox) -> list[tuple[str, str]]:
    """Answer what a shop owner would ask; every sum is the sum of the parts that stand next to it."""
    stats, match = result.stats, _match(tally.sent, sandbox)
    rows, nameless, events = tally.rows, tally.without_customer, tally.events.total()
    made = ", ".join(f"{tally.events[name]:,} {words}" for name, words in _EVENTS.items())
    first = stats.requests - stats.retries
    too_fast = sum(record.status == _TOO_MANY and record.fault is None for record in sandbox.requests)
    failures, consequences = _failures(sandbox, stats.retries)
    return [
        ("How many order lines?", f"{rows:,}: {rows - nameless:,} with a customer, {nameless:,} without"),
        ("How many events are that?", f"{events:,}: {made}"),
        ("Did every event arrive?", f"no, {match.missing:,} are missing" if match.missing else f"yes, all {events:,}"),
        ("Was any counted twice?", f"yes, {match.extra:,}" if match.extra else "no"),
        (
            "Are they in order?",
            f"no, not for {counted(match.misordered, 'customer')}" if match.misordered else "yes, for every customer",
        ),
        (
            "How many requests?",
            f"{stats.requests:,}: {first:,} for the events, {stats.retries:,} to repeat what failed",
        ),
        ("What failed on the way?", failures),
        ("What became of that?", consequences),
        ("Were the limits kept?", f"no, {counted(too_fast, 'request')} came too fast" if too_fast else "yes"),
        ("How long did it take?", duration(result.seconds)),
    ]


def _failures(sandbox: Sandbox, repeated: int) -> tuple[str, str]:
    """Return which requests failed, and what became of them."""
    failures = [record for record in sandbox.requests if record.fault]
    causes = Counter(_CAUSES.get(str(record.fault), str(record.fault)) for record in failures)
    causes["other"] = max(0, repeated - len(failures))
    if not (failed := causes.total()):
        return "nothing", "-"
    arrived = min(failed - repeated, sum(record.applied for record in failures))
    consequences = {
        "sent again": repeated,
        "had arrived, only the answer was lost": arrived,
        "not repeated": failed - repeated - arrived,
    }
    listed = ", ".join(f"{cause} {count:,}" for cause, count in causes.most_common() if count)
    became = "; ".join(f"{count:,} {words}" for words, count in consequences.items() if count)
    return f"{counted(failed, 'request')}: {listed}", became
