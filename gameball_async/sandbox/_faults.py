"""Faults and when they apply: a seeded script. Their effects are in `_responses`."""

from __future__ import annotations

import inspect
import math
import random
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, TypedDict, Unpack, cast, get_args
from typing import Literal as _Literal

import attrs

Kind = _Literal[
    "status",
    "busy",
    "success_false",
    "html",
    "redirect",
    "reset_before",
    "reset_after",
    "fail_after_applying",
    "hang",
    "truncate",
    "drip",
    "huge",
    "latency",
]

_KINDS = ", ".join(get_args(Kind))

RouteName = _Literal["events", "batch", "status", "stop", "preview"]
"""What a request asks of the API, in any version: to track events, or one of the requests beside that."""

_ROUTES = ", ".join(get_args(RouteName))


class When(TypedDict, total=False):
    """The keyword arguments of all faults; see `Fault`."""

    probability: float
    start: float
    duration: float
    times: int | None
    players: Collection[str] | None
    events: Collection[str] | None
    routes: Collection[RouteName] | None


# informational answers are not final, and there is no status above 599
_LOWEST_STATUS, _HIGHEST_STATUS = 200, 599
_BODILESS = (204, 304)

_MOST_BYTES = 2**30  # of an answer, which is held in memory

_PLAIN = "one line of ASCII without surrounding spaces"

_text = attrs.validators.instance_of(str)
_whole_number = attrs.validators.optional(attrs.validators.instance_of(int))
_header = attrs.validators.optional(attrs.validators.instance_of((int, float, str)))


def _names(value: Iterable[str] | str | None) -> frozenset[str] | None:
    # a single string would be a collection of its letters
    return frozenset([value]) if isinstance(value, str) else None if value is None else frozenset(value)


@attrs.frozen(kw_only=True)
class Fault:
    """One fault. Create it with its classmethods, which also take the first seven arguments.

    Args:
        probability: the share of the matching requests that it affects, 0 to 1.
        start: seconds after the script was set when it begins.
        duration: seconds until it ends.
        times: the maximum number of requests that it affects, or None.
        players: it affects only requests for one of these players; None for all.
        events: it affects only requests with one of these event names; None for all.
        routes: it affects only these requests: `"events"`, `"batch"` (a bulk request),
            `"status"` and `"stop"` (of a job), `"preview"`; None for all.
        kind: the name of its classmethod.
        http_status: the status of the answer, if the kind has one.
        code: Gameball's code in the answer; None leaves the body empty.
        words: Gameball's message next to the code.
        retry_after: the Retry-After header: seconds, or a text to send as it is.
        seconds: the minimum latency; for a drip, the pause between two bytes.
        up_to: the maximum latency.
        size: the minimum size of the answer's body in bytes, for `drip` and `huge`.
        location: the target of a redirect.

    Raises:
        ValueError: if a value cannot work.
        TypeError: if a value is of the wrong type.
    """

    probability: float = 1.0
    start: float = 0.0
    duration: float = math.inf
    times: int | None = attrs.field(default=None, validator=_whole_number)
    players: frozenset[str] | None = attrs.field(default=None, converter=_names)
    events: frozenset[str] | None = attrs.field(default=None, converter=_names)
    routes: frozenset[str] | None = attrs.field(default=None, converter=_names)
    kind: Kind
    http_status: int = attrs.field(default=500, validator=attrs.validators.instance_of(int))
    code: int | None = attrs.field(default=None, validator=_whole_number)
    words: str = attrs.field(default="This answer was scripted.", validator=_text)
    retry_after: float | str | None = attrs.field(default=None, validator=_header)
    seconds: float = 0.0
    up_to: float = 0.0
    size: int = attrs.field(default=0, validator=attrs.validators.instance_of(int))
    location: str = attrs.field(default="", validator=_text)

    def __attrs_post_init__(self) -> None:
        _require(self.kind in get_args(Kind), f"kind={self.kind!r}", f"one of {_KINDS}")
        _require(0 <= self.probability <= 1, f"probability={self.probability!r}", "a share from 0 to 1")
        _require(0 <= self.start < math.inf, f"start={self.start!r}", "seconds of at least 0")
        _require(self.duration > 0, f"duration={self.duration!r}", "seconds above 0")
        unknown = (self.routes or frozenset()) - frozenset(get_args(RouteName))
        _require(not unknown, f"routes={sorted(self.routes or ())!r}", f"some of {_ROUTES}")
        _require(self.times is None or self.times > 0, f"times={self.times!r}", "a count of at least 1, or None")
        _require(
            _LOWEST_STATUS <= self.http_status <= _HIGHEST_STATUS,
            f"http_status={self.http_status!r}",
            "a status from 200 to 599",
        )
        _require(0 <= self.seconds <= self.up_to < math.inf, f"seconds={self.seconds!r}", "0 or more, not above up_to")
        _require(0 <= self.size <= _MOST_BYTES, f"size={self.size!r}", f"bytes from 0 to {_MOST_BYTES:,}")
        bare = self.http_status in _BODILESS and self.code is not None
        _require(not bare, f"code={self.code!r}", "None with a status that has no body")
        bare = self.http_status in _BODILESS and self.kind == "html"
        _require(not bare, f"http_status={self.http_status!r}", "a status that has a body, which the HTML page needs")
        _require(_fits_a_header(self.retry_after), f"retry_after={self.retry_after!r}", _PLAIN)
        _require(_fits_a_header(self.location), f"location={self.location!r}", _PLAIN)

    @classmethod
    def status(
        cls,
        status: int,
        *,
        code: int | None = None,
        words: str = "This answer was scripted.",
        retry_after: float | str | None = None,
        **when: Unpack[When],
    ) -> Fault:
        """Answer with a status and apply nothing. The body is empty without a code."""
        return cls(kind="status", http_status=status, code=code, words=words, retry_after=retry_after, **when)

    @classmethod
    def busy(cls, **when: Unpack[When]) -> Fault:
        """Answer 422 with code 2001: another request of the player is being processed."""
        return cls(kind="busy", http_status=422, code=2001, words="Another request is in progress.", **when)

    @classmethod
    def success_false(cls, *, words: str = "This answer was scripted.", **when: Unpack[When]) -> Fault:
        """Answer 200 with `success: false` in the body, as v1 did, and apply nothing."""
        return cls(kind="success_false", http_status=200, words=words, **when)

    @classmethod
    def html(cls, status: int = 502, *, retry_after: float | str | None = None, **when: Unpack[When]) -> Fault:
        """Answer with a gateway's HTML page, and apply nothing."""
        return cls(kind="html", http_status=status, retry_after=retry_after, **when)

    @classmethod
    def redirect(
        cls, location: str = "https://elsewhere.invalid/", *, status: int = 307, **when: Unpack[When]
    ) -> Fault:
        """Redirect the client to another address, and apply nothing."""
        return cls(kind="redirect", http_status=status, location=location, **when)

    @classmethod
    def reset_before(cls, **when: Unpack[When]) -> Fault:
        """Reset the connection (TCP RST), and apply nothing."""
        return cls(kind="reset_before", **when)

    @classmethod
    def reset_after(cls, **when: Unpack[When]) -> Fault:
        """Apply the events, then reset the connection (TCP RST) instead of answering."""
        return cls(kind="reset_after", **when)

    @classmethod
    def fail_after_applying(
        cls,
        status: int = 500,
        *,
        code: int | None = None,
        words: str = "This answer was scripted.",
        **when: Unpack[When],
    ) -> Fault:
        """Apply the events, then answer with a failure."""
        return cls(kind="fail_after_applying", http_status=status, code=code, words=words, **when)

    @classmethod
    def hang(cls, **when: Unpack[When]) -> Fault:
        """Do not answer until the client disconnects or the sandbox stops, and apply nothing."""
        return cls(kind="hang", **when)

    @classmethod
    def truncate(cls, **when: Unpack[When]) -> Fault:
        """Apply the events, then send half of the answer, less than its Content-Length, and close the connection."""
        return cls(kind="truncate", **when)

    @classmethod
    def drip(cls, pause: float = 0.05, *, size: int = 20, **when: Unpack[When]) -> Fault:
        """Apply the events, then send a body of `size` bytes one by one, every `pause` seconds."""
        return cls(kind="drip", seconds=pause, up_to=pause, size=size, **when)

    @classmethod
    def huge(cls, size: int = 16 * 1024 * 1024, **when: Unpack[When]) -> Fault:
        """Apply the events, then answer with a body of `size` bytes, padded with white space."""
        return cls(kind="huge", size=size, **when)

    @classmethod
    def latency(cls, shortest: float, longest: float | None = None, **when: Unpack[When]) -> Fault:
        """Delay the request by random seconds between both arguments, in addition to any other fault.

        Half of the delay comes before the request is counted and judged, half before the answer, as in a slow network.
        """
        return cls(kind="latency", seconds=shortest, up_to=shortest if longest is None else longest, **when)

    @classmethod
    def from_json(cls, value: object) -> Fault:
        """Create a fault from a JSON object: `kind`, and the arguments of that classmethod or the fields of a fault.

        Raises:
            ValueError: if the object is invalid.
        """
        arguments = cast("dict[str, Any]", value) if isinstance(value, dict) else {}
        kind = arguments.get("kind", "")
        if kind not in get_args(Kind):
            raise ValueError(f'a fault is a JSON object such as {{"kind": "hang"}} with kind one of {_KINDS}.')
        given = {name: argument for name, argument in arguments.items() if name != "kind"}
        try:
            return cls._from_fields(kind, given) if cls._are_fields(kind, given) else cls._from_arguments(kind, given)
        except TypeError as error:
            raise ValueError(
                f"invalid arguments for Fault.{kind}: {str(error.args[0]).rstrip('.')}. Check its arguments."
            ) from error

    @classmethod
    def _are_fields(cls, kind: str, given: Mapping[str, object]) -> bool:
        """Whether these are the fields of a fault, as in `to_json`, and not a classmethod's arguments."""
        arguments = inspect.signature(getattr(cls, kind)).parameters.keys() | When.__annotations__.keys()
        return given.keys() <= attrs.fields_dict(cls).keys() and not given.keys() <= arguments

    @classmethod
    def _from_fields(cls, kind: str, given: Mapping[str, Any]) -> Fault:
        made: Fault = getattr(cls, kind)(*_FIRST_ARGUMENTS.get(kind, ()))
        if "duration" in given and given["duration"] is None:
            given = {**given, "duration": math.inf}
        return attrs.evolve(made, **given)

    @classmethod
    def _from_arguments(cls, kind: str, given: Mapping[str, Any]) -> Fault:
        # null means the default: JSON cannot express an infinite duration
        arguments = {name: argument for name, argument in given.items() if argument is not None}
        made: Fault = getattr(cls, kind)(**arguments)
        return made

    def to_json(self) -> dict[str, object]:
        """Return its fields as JSON values; `from_json` creates an equal fault from them."""
        return attrs.asdict(self, value_serializer=_json_value)


_FIRST_ARGUMENTS: Mapping[str, tuple[float, ...]] = {"status": (500,), "latency": (0.0,)}
"""The required arguments of classmethods."""


def _json_value(_: object, field: attrs.Attribute[object] | None, value: object) -> object:
    if isinstance(value, frozenset):
        return sorted(cast("frozenset[str]", value))
    if isinstance(value, float) and not math.isfinite(value):
        return None if field is not None and field.name == "duration" else str(value)
    return value


def _fits_a_header(value: float | str | None) -> bool:
    text = str(value)
    return text.isascii() and text.isprintable() and text == text.strip()


def _require(condition: bool, given: str, remedy: str) -> None:  # noqa: FBT001 an assertion with a message
    if not condition:
        raise ValueError(f"Fault({given}) is invalid: use {remedy}.")


@attrs.frozen
class Plan:
    """What happens to one request: the fault that determines its answer, and seconds of latency."""

    fault: Fault | None = None
    delay: float = 0.0


@attrs.define(eq=False)
class _Entry:
    """A fault of the script, when it was added, and how many requests it has affected."""

    fault: Fault
    since: float
    hits: int = 0

    @property
    def is_used_up(self) -> bool:
        return self.fault.times is not None and self.hits >= self.fault.times


class FaultScript:
    """A list of faults: the first one that matches a request applies, and latencies add up.

    Args:
        faults: in order of precedence.
        generator: random numbers for probabilities and latencies, in the order of arrival.
        now: when the faults' clocks start, in seconds.
    """

    def __init__(self, faults: Sequence[Fault], generator: random.Random, now: float) -> None:
        self._entries = tuple(_Entry(fault, now) for fault in faults)
        self._generator = generator

    @property
    def faults(self) -> tuple[Fault, ...]:
        return tuple(entry.fault for entry in self._entries)

    def add_first(self, fault: Fault, now: float) -> None:
        """Add a fault before the others, and remove equal ones."""
        self.remove(fault)
        self._entries = (_Entry(fault, now), *self._entries)

    def remove(self, fault: Fault) -> None:
        """Remove all faults that are equal to this one."""
        self._entries = tuple(entry for entry in self._entries if entry.fault != fault)

    def hits(self, fault: Fault) -> int | None:
        """Return how many requests a fault has affected, or None if it is not in the script or used up."""
        return next((entry.hits for entry in self._entries if entry.fault == fault and not entry.is_used_up), None)

    def plan(self, route: RouteName, players: Collection[str], events: Collection[str], now: float) -> Plan:
        """Decide what happens to a request that arrived at `now`, for these players with these event names."""
        fault, delay = None, 0.0
        for entry in self._entries:
            is_latency = entry.fault.kind == "latency"
            if (fault is not None and not is_latency) or not self._matches(entry, route, players, events, now):
                continue
            if is_latency:
                delay += self._generator.uniform(entry.fault.seconds, entry.fault.up_to)
            else:
                fault = entry.fault
        return Plan(fault, delay)

    def _matches(
        self, entry: _Entry, route: RouteName, players: Collection[str], events: Collection[str], now: float
    ) -> bool:
        fault = entry.fault
        matches = (
            fault.start <= now - entry.since < fault.start + fault.duration
            and not entry.is_used_up
            and (fault.routes is None or route in fault.routes)
            and (fault.players is None or not fault.players.isdisjoint(players))
            and (fault.events is None or not fault.events.isdisjoint(events))
            and (fault.probability >= 1 or self._generator.random() < fault.probability)
        )
        entry.hits += matches
        return matches


@attrs.frozen
class FaultToggle:
    """A switch of the page: its title, what it does, and the fault that it adds to the script."""

    title: str
    detail: str
    fault: Fault


SWITCHES: Mapping[str, FaultToggle] = {
    "outage": FaultToggle("Outage", "503 to every request.", Fault.status(503)),
    "limit": FaultToggle("Too many requests", "429, Retry-After: 5 s.", Fault.status(429, retry_after=5)),
    "slow": FaultToggle("Slow", "0.5 to 2 s an answer.", Fault.latency(0.5, 2.0)),
    "flaky": FaultToggle("Flaky", "500 to one in five.", Fault.status(500, probability=0.2)),
    "reset": FaultToggle("Connection reset", "Nothing is applied.", Fault.reset_before()),
    "lost": FaultToggle("Answer lost", "Applied, then reset.", Fault.reset_after()),
    "silent": FaultToggle("Silence", "No answer ever comes.", Fault.hang()),
    "no_status": FaultToggle("No job status", "404 to each poll.", Fault.status(404, routes={"status"})),
    "refused": FaultToggle(
        "Events refused", "422, code 3003.", Fault.status(422, code=3003, words="The value is invalid.")
    ),
}


def describe(fault: Fault) -> str:
    """Describe a fault: its kind, and the values that differ from the defaults of the kind."""
    kind, first = fault.kind, _FIRST_ARGUMENTS.get(fault.kind, ())
    if kind == "status":
        first = (fault.http_status,)
    values: dict[str, object] = attrs.asdict(fault, value_serializer=_plain)
    usual: dict[str, object] = attrs.asdict(getattr(Fault, kind)(*first), value_serializer=_plain)
    details = ", ".join(f"{name} {value}" for name, value in values.items() if value != usual[name])
    kind_and_status = f"status {fault.http_status}" if kind == "status" else kind
    return f"{kind_and_status}: {details}" if details else kind_and_status


def _plain(_: object, __: object, value: object) -> object:
    return " or ".join(sorted(cast("frozenset[str]", value))) if isinstance(value, frozenset) else value
