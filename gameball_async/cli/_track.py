"""The command `track`: send one event by hand, wait for its outcome, and print where to see it."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Sequence
from typing import Any

import attrs
import click

from _gameball_async_cli import EXIT_CODE

from .. import AsyncGameball, Batching, Delivered, validate_event
from ..errors import ClientHalted, DeliveryError, Dropped, InvalidEvent, Rejected
from ._json import parse_value
from ._lines import Draft, MetadataValue, RowError
from ._options import ClientOptions, access_options, examples, reported_errors, required_keys
from ._progress import LineDisplay, WarningsHandler
from ._terminal import Interrupts, UsageProblem, argument, exiting, print_wrapped, printable, quoted

_LOG = "the Events Log of Gameball's dashboard"
_KEPT = " Events are kept."  # the end of the client's message; this process ends, and keeps nothing


@click.command(
    "track",
    short_help="Send one event, and wait for its outcome.",
    epilog=examples(
        "track player123 review",
        "track player123 place_order currency=EUR total_amount:=99.5",
        """track player123 reserve rooms:=2 'extras:=["breakfast", "parking"]'""",
        "track player123 review --base-url http://127.0.0.1:8765",
    ),
)
@click.argument("player")
@click.argument("event")
@click.argument("metadata", nargs=-1, metavar="[METADATA]...")
@click.option("--mobile", metavar="NUMBER", help="The mobile number, if your account merges by it.")
@click.option("--email", metavar="ADDRESS", help="The e-mail address, if your account merges by it.")
@click.option(
    "--timeout",
    type=click.FloatRange(min=0, min_open=True),
    default=30.0,
    show_default=True,
    metavar="SECONDS",
    help="How long to wait for the outcome; then the event is given up.",
)
@access_options
def track(*, player: str, event: str, metadata: tuple[str, ...], **options: Any) -> None:  # noqa: ANN401 as parsed
    """Send one EVENT of PLAYER to Gameball now, and wait for its outcome.

    METADATA is KEY=VALUE for a string, or KEY:=JSON for a number or an array.

    PLAYER is the player's id. Gameball creates a profile for an unknown player, and rewards cannot be taken back.

    Exit codes: 0 Gameball accepted the event, 1 it did not, 2 wrong usage, 130 interrupted.
    """
    with reported_errors():
        if math.isnan(options["timeout"]):
            raise UsageProblem("--timeout is not a number: give seconds.")
        draft = Draft(player, event, parse_metadata(metadata), options["mobile"], options["email"])
        _check(draft)
        keys = required_keys(options["keys_file"], remedy=" A sandbox accepts any key.")
        client = ClientOptions.with_access(options, keys)
        single = SingleEvent(client, draft, options["timeout"])
        try:
            asyncio.run(single.run())
        except InvalidEvent as error:  # it is too large, which only the client knows
            raise UsageProblem(str(error)) from None
        with exiting(EXIT_CODE if single.is_interrupted else None):
            single.report()


def parse_metadata(arguments: Sequence[str]) -> dict[str, MetadataValue]:
    """Convert `KEY=VALUE` and `KEY:=JSON` to metadata."""
    metadata: dict[str, MetadataValue] = {}
    for text in arguments:
        key, equals, value = text.partition("=")
        if not equals:
            raise UsageProblem(
                f"{quoted(text)} is not metadata: write KEY=VALUE for a string, or KEY:=JSON for a number or an array."
            )
        is_json = key.endswith(":")
        key = key.removesuffix(":")
        if key in metadata:
            raise UsageProblem(f"key {quoted(key)} is given twice: give it once, or an array with {key}:='[...]'.")
        metadata[key] = _json_value(key, value) if is_json else value
    return metadata


def _json_value(key: str, text: str) -> Any:  # noqa: ANN401 any JSON; the client refuses what metadata cannot hold
    try:
        return parse_value(text)
    except RowError as error:
        shown = f"{printable(key)}={argument(text)}"
        raise UsageProblem(f"key {quoted(key)}: {error} For a string, write one colon less: {shown}") from None


def _check(draft: Draft) -> None:
    try:
        validate_event(draft.player, draft.name, draft.metadata, mobile=draft.mobile, email=draft.email)
    except InvalidEvent as error:
        raise UsageProblem(str(error)) from None


@attrs.define
class SingleEvent:
    """One event from the call to its outcome."""

    client: ClientOptions
    draft: Draft
    timeout: float
    outcome: Delivered | DeliveryError | None = None
    is_interrupted: bool = False

    async def run(self) -> None:
        """Send the event and wait for its outcome, for the timeout or until a signal.

        Raises:
            click.ClickException: if Gameball refuses the client.
        """
        # the client's warnings, such as that of an outage, are shown while it waits
        with Interrupts() as interrupts, WarningsHandler(LineDisplay()):
            async with self.client.gameball(Batching(linger=0)) as gameball:
                await self._deliver(gameball, interrupts)

    async def _deliver(self, gameball: AsyncGameball, interrupts: Interrupts) -> None:
        draft = self.draft
        receipt = await gameball.track(draft.player, draft.name, draft.metadata, mobile=draft.mobile, email=draft.email)
        flush = asyncio.create_task(gameball.flush(self.timeout))
        interrupted = asyncio.create_task(interrupts.first.wait())
        await asyncio.wait({flush, interrupted}, return_when=asyncio.FIRST_COMPLETED)
        is_interrupted = not flush.done()
        flush.cancel()
        interrupted.cancel()
        ended, _ = await asyncio.gather(flush, interrupted, return_exceptions=True)
        await gameball.aclose(timeout=0)
        if isinstance(ended, ClientHalted):
            raise click.ClickException(f"{str(ended).removesuffix(_KEPT)} The event was not delivered.")
        try:
            self.outcome = await receipt
        except DeliveryError as error:
            self.outcome = error
        self.is_interrupted = is_interrupted and not isinstance(self.outcome, (Delivered, Rejected))

    def report(self) -> None:
        """Print what has become of the event.

        Raises:
            click.ClickException: if it was not delivered.
        """
        if isinstance(self.outcome, Delivered):
            return print_wrapped(self.delivered_line(self.outcome))
        assert self.outcome is not None, "it was waited for"  # noqa: S101 an invariant
        text = self._undelivered_text(self.outcome)
        if self.is_interrupted:
            return print_wrapped(f"Interrupted: {text}")
        raise click.ClickException(printable(text))

    def delivered_line(self, outcome: Delivered) -> str:
        """Return the line for an accepted event, with where to see it."""
        attempts = f" at attempt {outcome.attempts}" if outcome.attempts > 1 else ""
        twice = " An earlier attempt had no answer, so it may count twice." if outcome.maybe_duplicate else ""
        sandbox = f"A sandbox shows it at {self.client.destination}/_sandbox/"
        where = f"See it in {_LOG}" if self.client.is_gameball else sandbox
        accepted = f"{self.client.destination} accepted {quoted(self.draft.name)} (HTTP {outcome.status}{attempts})."
        return f"{accepted}{twice} {where}."

    def _undelivered_text(self, error: DeliveryError) -> str:
        if error.may_have_arrived:
            where = f"look into {_LOG}" if self.client.is_gameball else f"ask {self.client.destination}"
            return f"the event was sent and no answer came, so it may have arrived: {where} before you send it again."
        if not isinstance(error, Dropped):
            return str(error)
        if self.is_interrupted:
            return "the event was not delivered."
        why = f" ({error.last_failure})" if error.last_failure else ""
        address = self.client.address.get("base_url")
        doctor = "gameball-async doctor" + (f" --base-url {argument(address)}" if address else "")
        return (
            f"{self.client.destination} did not accept the event within {self.timeout:g} s{why}, so it was not "
            f"delivered. Check the address and the network: {doctor}"
        )
