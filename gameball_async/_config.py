"""The settings of a client: frozen, checked when they are made, each default with its reason."""

from __future__ import annotations

import math
import re
import sys
from collections.abc import Callable
from typing import Any, Literal, Protocol, cast

import attrs

from .errors import ConfigurationError

WhenFull = Literal["wait", "raise", "drop_oldest", "drop_newest"]
Ambiguous = Literal["resend", "report"]
Mode = Literal["single", "bulk", "auto"]


_Validator = Callable[[object, "attrs.Attribute[Any]", object], None]


def _number(minimum: float, *, above: bool = False, below_infinity: bool = True) -> _Validator:
    """A validator: a real number of at least (or above) `minimum`."""

    def check(instance: object, attribute: attrs.Attribute[Any], value: object) -> None:
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            highest = sys.float_info.max if below_infinity else math.inf
            if (value > minimum if above else value >= minimum) and value <= highest:
                return
        bound = f"above {minimum:g}" if above else f"of at least {minimum:g}"
        raise _refusal(instance, attribute, value, f"give a number {bound}.")

    return check


def _refusal(instance: object, attribute: attrs.Attribute[Any], value: object, remedy: str) -> ConfigurationError:
    try:
        shown = f"is {value!r}"
    except ValueError:  # an int of more than 4,300 digits
        shown = f"is of type {type(value).__name__}"
    return ConfigurationError(f"{type(instance).__name__}({attribute.name}=...) {shown}: {remedy}")


def _count(instance: object, attribute: attrs.Attribute[Any], value: object) -> None:
    """A validator: a whole number of at least 1."""
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise _refusal(instance, attribute, value, "give a whole number of at least 1.")


def _one_of(*choices: str) -> _Validator:
    """A validator: one of the given words."""

    def check(instance: object, attribute: attrs.Attribute[Any], value: object) -> None:
        if value not in choices:
            raise _refusal(instance, attribute, value, f"give one of {', '.join(choices)}.")

    return check


MOST_ITEMS = 1000
"""Items of one bulk request, at most ("Batch Creation" in Gameball's documentation)."""


def _items(instance: object, attribute: attrs.Attribute[Any], value: object) -> None:
    """A validator: a number of items that one bulk request may have."""
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= MOST_ITEMS:
        raise _refusal(instance, attribute, value, f"give a whole number from 1 to {MOST_ITEMS:,}.")


_PATH = re.compile(r"(?!\.)([\w.~-]|\{job\})+(/(?!\.)([\w.~-]|\{job\})+)*", re.ASCII)


def _path(instance: object, attribute: attrs.Attribute[Any], value: object) -> None:
    """A validator: a relative path, with the place of the job's id if the attribute's name asks for it."""
    needed = "" if attribute.name == "submit" else "{job}"
    is_path = isinstance(value, str) and needed in value and _PATH.fullmatch(value)
    if not is_path:
        example = "batch/events" if not needed else "batches/{job}/status"
        raise _refusal(instance, attribute, value, f"give a path such as {example!r}.")


def _paths(instance: object, attribute: attrs.Attribute[Any], value: object) -> None:
    """A validator: one or two such paths."""
    if not isinstance(value, tuple) or not value:
        raise _refusal(instance, attribute, cast("Any", value), "give a tuple of paths.")
    for path in cast("tuple[object, ...]", value):
        _path(instance, attribute, path)


@attrs.frozen(kw_only=True)
class JobOptions:
    """How the jobs of bulk requests are followed.

    Gameball documents two ways to ask for a job's status and to stop it, and which of them is live is unknown
    (the API reference and the tutorial "Batch APIs" differ). So both are tried, and every path can be set. All are
    relative to ``/api/<version>/integrations/``.

    Args:
        submit: the path that takes a bulk request.
        status: the paths of a job's status, in the order in which they are tried.
        stop: the path that a POST stops a job at, and then the one that a DELETE does.
        poll_interval: seconds between two looks at a job, at least; for a job that takes long it is 5 % of its age.
        patience: seconds without progress after which a job is not followed any more, and its events count as
            delivered without confirmation. Half an hour: Gameball documents no duration. Pauses of the client do
            not count.

    Raises:
        ConfigurationError: if a value cannot work.
    """

    submit: str = attrs.field(default="batch/events", validator=_path)
    status: tuple[str, ...] = attrs.field(default=("batches/{job}/status", "batch/{job}"), validator=_paths)
    stop: tuple[str, ...] = attrs.field(default=("batches/{job}/stop", "batch/{job}"), validator=_paths)
    poll_interval: float = attrs.field(default=1.0, validator=_number(0, above=True))
    patience: float = attrs.field(default=1800.0, validator=_number(0, above=True, below_infinity=False))


def _jobs(instance: object, attribute: attrs.Attribute[Any], value: object) -> None:
    """A validator: settings of jobs."""
    if not isinstance(value, JobOptions):
        raise _refusal(instance, attribute, value, "give JobOptions(...).")


@attrs.frozen(kw_only=True)
class Batching:
    """How events are merged into requests and how many are held.

    Args:
        linger: seconds a batch waits for more events of its player. Half a second gathers what one
            visit to a shop's backend causes and is not felt by a customer who waits for points.
        max_events: events in one request, at most. The API states no limit; 100 keeps a request
            small enough to be split quickly when Gameball refuses one event of it.
        max_bytes: bytes of one request's body, at most, and so of one event. The API states no
            limit; 256 KiB is far below what web servers commonly refuse.
        buffer_events: events held in memory, at most, those in flight included. 100,000 is 42
            minutes of the sustained rate limit (40 requests a second) even if nothing merges.
        buffer_bytes: bytes of memory for the events, at most. Each counts with its encoding, its name, its player's
            id and 450 bytes for the rest, and each batch with its contact; so the default holds 100,000 events of
            usual size. Requests being sent hold their bodies besides. An empty buffer takes any request.
        when_full: what `track` does without room. `"wait"` (the default: nothing is lost silently)
            waits up to `wait_timeout`, in order of arrival, then raises `BufferFull`; `"raise"`
            raises at once; `"drop_oldest"` gives up the oldest event whose request was not tried yet,
            `"drop_newest"` the one at hand. What is dropped is counted and goes to `on_failure`.
        wait_timeout: seconds `track` waits for room. One second: Gameball's outage must not become the application's.
        mode: how batches are sent. `"single"` (the default), one player in each request: that ends at 40 players per
            second. `"bulk"`: up to 1,000 players in each request. Gameball only accepts such a request, as a job, and
            processes it later; outcomes come when the job is completed. `"auto"`: single requests, and bulk ones while
            more players wait than single requests can serve. Both need v4.0 or v4.1 and both keys.
        bulk_items: players in one bulk request, at most. Gameball allows 1,000.
        jobs: how jobs are followed, see `JobOptions`.

    Raises:
        ConfigurationError: if a value cannot work.
    """

    linger: float = attrs.field(default=0.5, validator=_number(0))
    max_events: int = attrs.field(default=100, validator=_count)
    max_bytes: int = attrs.field(default=256 * 1024, validator=_count)
    buffer_events: int = attrs.field(default=100_000, validator=_count)
    buffer_bytes: int = attrs.field(default=64 * 1024 * 1024, validator=_count)
    when_full: WhenFull = attrs.field(default="wait", validator=_one_of("wait", "raise", "drop_oldest", "drop_newest"))
    wait_timeout: float = attrs.field(default=1.0, validator=_number(0))
    mode: Mode = attrs.field(default="single", validator=_one_of("single", "bulk", "auto"))
    bulk_items: int = attrs.field(default=MOST_ITEMS, validator=_items)
    jobs: JobOptions = attrs.field(default=JobOptions(), validator=_jobs)

    def __attrs_post_init__(self) -> None:
        if self.buffer_bytes < self.max_bytes:
            raise ConfigurationError(
                f"Batching(buffer_bytes={self.buffer_bytes}) is less than max_bytes={self.max_bytes}: "
                "the buffer must hold at least one full request, raise buffer_bytes or lower max_bytes."
            )


@attrs.frozen(kw_only=True)
class Retry:
    """When and how long a failed request is tried again.

    Args:
        initial: seconds before the first retry. Half a second outlives a dropped connection.
        maximum: seconds between two tries of one batch, at most. A minute: after an outage
            everything moves again within it. While `flush` or `aclose` waits, at most 1 s.
        multiplier: by how much the wait grows from one retry to the next.
        jitter: the share of each wait that is random, 0 to 1, so that processes which failed
            together do not come back together.
        max_attempts: 5xx answers to a batch *while other players' requests succeed* before it is split, or its last
            event given up. A general outage is not counted, nor is a broken connection. Eight: if one request in five
            fails at random, an innocent batch is taken for a guilty one in 400,000 cases.
        give_up_after: seconds after which an event that could not be delivered is dropped, with the reason. A day
            covers an outage over night; `math.inf` never gives up. It must be more than the batching's linger.
        ambiguous: what to do when a request was sent and its answer got lost. The API knows no
            event id, so: `"resend"` (the default) never loses and may count twice, `"report"`
            never counts twice and may lose: the event fails as `OutcomeUnknown`.

    Raises:
        ConfigurationError: if a value cannot work.
    """

    initial: float = attrs.field(default=0.5, validator=_number(0, above=True))
    maximum: float = attrs.field(default=60.0, validator=_number(0, above=True))
    multiplier: float = attrs.field(default=2.0, validator=_number(1))
    jitter: float = attrs.field(default=0.5, validator=_number(0))
    max_attempts: int = attrs.field(default=8, validator=_count)
    give_up_after: float = attrs.field(default=86_400.0, validator=_number(0, above=True, below_infinity=False))
    ambiguous: Ambiguous = attrs.field(default="resend", validator=_one_of("resend", "report"))

    def __attrs_post_init__(self) -> None:
        if self.maximum < self.initial:
            raise ConfigurationError(
                f"Retry(maximum={self.maximum:g}) is less than initial={self.initial:g}: raise maximum."
            )
        if self.jitter > 1:
            raise ConfigurationError(f"Retry(jitter={self.jitter:g}) is above 1: give a share from 0 to 1.")


@attrs.frozen(kw_only=True)
class Conversion:
    """What becomes of metadata that Gameball does not document: each is refused, or converted in one documented way.

    Args:
        booleans: ``"0/1"`` sends False as 0 and True as 1.
        none: ``"omit"`` leaves out keys whose value is None, and items of arrays that are None.
        nested: ``"flatten"`` sends the fields of a dict or a record as keys of their own: `address.city`.

    Raises:
        ConfigurationError: if a value cannot work.
    """

    booleans: Literal["reject", "0/1"] = attrs.field(default="reject", validator=_one_of("reject", "0/1"))
    none: Literal["reject", "omit"] = attrs.field(default="reject", validator=_one_of("reject", "omit"))
    nested: Literal["reject", "flatten"] = attrs.field(default="reject", validator=_one_of("reject", "flatten"))


REJECTING = Conversion()


class PathLike(Protocol):
    """A path as an object, such as `pathlib.Path`."""

    def __fspath__(self) -> str:
        """The path as a string."""
        ...


_LEAST_JOURNAL = 1024 * 1024


def _journal_size(instance: object, attribute: attrs.Attribute[Any], value: object) -> None:
    """A validator: a whole number of bytes that a journal can work with."""
    if isinstance(value, bool) or not isinstance(value, int) or value < _LEAST_JOURNAL:
        raise _refusal(instance, attribute, value, f"give a whole number of bytes, at least {_LEAST_JOURNAL:,}.")


def _folder(instance: object, attribute: attrs.Attribute[Any], value: object) -> None:
    """A validator: the path of a folder."""
    if not value or not (isinstance(value, str) or hasattr(value, "__fspath__")):
        raise _refusal(instance, attribute, value, "give the path of a folder.")


@attrs.frozen
class Journal:
    """Where events are kept on disk until they have their outcome: they survive the process.

    Args:
        folder: the path of a folder of this client's account alone; it is made if it is missing.
            Several processes may share it. It must lie on a disk of this machine: a network's file
            systems promise too little about locks and syncing.
        max_bytes: bytes of one process's file, at most; without room `track` waits as it does for
            a full buffer. 4 GiB hold a week's outage at ten events a second more than twice.
        adopt: which leftover files this client sends: "same" are those that were written with its own
            base_url and API key, "any" are all. Start a client with "any" once when the key was replaced:
            it sends what was written with the old one, to the account of its own key.

    Raises:
        ConfigurationError: if a value cannot work.
    """

    folder: str | PathLike = attrs.field(validator=_folder)
    max_bytes: int = attrs.field(default=4 * 1024**3, kw_only=True, validator=_journal_size)
    adopt: Literal["same", "any"] = attrs.field(default="same", kw_only=True, validator=_one_of("same", "any"))


@attrs.frozen(kw_only=True)
class RateLimit:
    """The two windows of Gameball's rate limit for events, kept at once; and those for all other requests.

    Args:
        per_second: requests in any one second, at most (100 in Gameball's "Rate Limiting" page).
        per_30_seconds: requests in any thirty seconds, at most (1200 in the same page).
        others_per_second: the same for bulk requests, the status of their jobs, and previews together (30 for "Others"
            in the same page, which does not name batches; so this is inferred).
        others_per_30_seconds: likewise (360).
        share: the part of all of them that this client may use, above 0 up to 1. The limit is taken to
            be the account's: with four workers give each `share=1/4`.

    Raises:
        ConfigurationError: if a value cannot work, or the share leaves no request in a window.
    """

    per_second: int = attrs.field(default=100, validator=_count)
    per_30_seconds: int = attrs.field(default=1200, validator=_count)
    others_per_second: int = attrs.field(default=30, validator=_count)
    others_per_30_seconds: int = attrs.field(default=360, validator=_count)
    share: float = attrs.field(default=1.0, validator=_number(0, above=True))

    def __attrs_post_init__(self) -> None:
        if self.share > 1:
            raise ConfigurationError(f"RateLimit(share={self.share:g}) is above 1: give a share from 0 to 1.")
        if min(count for count, _ in self.windows()) < 1:
            raise ConfigurationError(
                f"RateLimit(share={self.share:g}) leaves less than one request in a window: raise share or the limits."
            )

    def windows(self) -> tuple[tuple[int, float], tuple[int, float]]:
        """Both windows after the share, as (requests, seconds); a fraction of a request is not used."""
        return ((_whole_part(self.per_second * self.share), 1.0), (_whole_part(self.per_30_seconds * self.share), 30.0))

    def others(self) -> tuple[tuple[int, float], tuple[int, float]]:
        """The windows for bulk requests and all else that is no event, likewise; at least one request in each."""
        seconds = max(1, _whole_part(self.others_per_second * self.share))
        return ((seconds, 1.0), (max(1, _whole_part(self.others_per_30_seconds * self.share)), 30.0))


def _whole_part(value: float) -> int:
    # 100 * 0.29 is 28.999999999999996 in binary: rounding first gives the 29 that was meant
    return math.floor(round(value, 9))
