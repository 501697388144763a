"""What can be made to go wrong and when: a script of faults, seeded; what each one does is told in `_effects`."""

from __future__ import annotations

import inspect
import math
from typing import TYPE_CHECKING, Any, TypedDict, Unpack, cast, get_args
from typing import Literal as _Literal

import attrs

if TYPE_CHECKING:
    import random
    from collections.abc import Collection, Iterable, Mapping, Sequence


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


class When(TypedDict, total=False):
    """The keyword arguments all faults share, as `Fault` explains them."""

    probability: float
    start: float
    duration: float
    times: int | None
    players: Collection[str] | None
    events: Collection[str] | None


# informational answers are not final, and beyond 599 there is no status
_LOWEST_STATUS, _HIGHEST_STATUS = 200, 599
_BODILESS = (204, 304)

_MOST_BYTES = 2**30  # of an answer, which is made in memory

_PLAIN = "one line of ASCII, with no space around it"

_text = attrs.validators.instance_of(str)
_whole_number = attrs.validators.optional(attrs.validators.instance_of(int))
_header = attrs.validators.optional(attrs.validators.instance_of((int, float, str)))


def _names(value: Iterable[str] | str | None) -> frozenset[str] | None:
    # a lone string is a collection of its letters, which nobody means
    return frozenset([value]) if isinstance(value, str) else None if value is None else frozenset(value)


@attrs.frozen(kw_only=True)
class Fault:
    """One thing that goes wrong. Made by its classmethods, which take the first six arguments too.

    Args:
        probability: the share of the matching requests it strikes, 0 to 1.
        start: seconds after the script was given from which on it strikes.
        duration: seconds it goes on striking.
        times: how often it strikes at most, or None for any number.
        players: the only players it strikes, or None for all.
        events: it strikes only requests that hold one of these event names; None for all.
        kind: what goes wrong, by the name of its classmethod.
        http_status: the status answered, where the kind answers one.
        code: Gameball's code in the answer; None leaves the body bare.
        words: Gameball's message beside the code.
        retry_after: the Retry-After header: seconds, or a text to send as it is.
        seconds: the shortest latency; for a drip, the pause between two bytes.
        up_to: the longest latency.
        size: bytes of the answer's body, where the kind stretches it.
        location: where a redirect points.

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
        _require(self.times is None or self.times > 0, f"times={self.times!r}", "a count of at least 1, or None")
        _require(
            _LOWEST_STATUS <= self.http_status <= _HIGHEST_STATUS,
            f"http_status={self.http_status!r}",
            "a status from 200 to 599",
        )
        _require(0 <= self.seconds <= self.up_to < math.inf, f"seconds={self.seconds!r}", "0 or more, not above up_to")
        _require(0 <= self.size <= _MOST_BYTES, f"size={self.size!r}", f"bytes from 0 to {_MOST_BYTES:,}")
        bare = self.http_status in _BODILESS and self.code is not None
        _require(not bare, f"code={self.code!r}", "no code with a status that has no body")
        bare = self.http_status in _BODILESS and self.kind == "html"
        _require(not bare, f"http_status={self.http_status!r}", "a status that has a body, which a page needs")
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
        """Answer a status; nothing is applied. With a code, in the version's shape, else bare."""
        return cls(kind="status", http_status=status, code=code, words=words, retry_after=retry_after, **when)

    @classmethod
    def busy(cls, **when: Unpack[When]) -> Fault:
        """Answer 422 with code 2001, as if another request of the player were being processed."""
        return cls(kind="busy", http_status=422, code=2001, words="Another request is in progress.", **when)

    @classmethod
    def success_false(cls, *, words: str = "This answer was scripted.", **when: Unpack[When]) -> Fault:
        """Answer 200 with `success: false` in the body, as v1 did; nothing is applied."""
        return cls(kind="success_false", http_status=200, words=words, **when)

    @classmethod
    def html(cls, status: int = 502, *, retry_after: float | str | None = None, **when: Unpack[When]) -> Fault:
        """Answer a gateway's HTML page; nothing is applied."""
        return cls(kind="html", http_status=status, retry_after=retry_after, **when)

    @classmethod
    def redirect(
        cls, location: str = "https://elsewhere.invalid/", *, status: int = 307, **when: Unpack[When]
    ) -> Fault:
        """Send the client to another address; nothing is applied."""
        return cls(kind="redirect", http_status=status, location=location, **when)

    @classmethod
    def reset_before(cls, **when: Unpack[When]) -> Fault:
        """Reset the connection (a TCP RST); nothing is applied."""
        return cls(kind="reset_before", **when)

    @classmethod
    def reset_after(cls, **when: Unpack[When]) -> Fault:
        """Apply the events, then reset the connection (a TCP RST) instead of answering."""
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
        """Apply the events, then answer a failure."""
        return cls(kind="fail_after_applying", http_status=status, code=code, words=words, **when)

    @classmethod
    def hang(cls, **when: Unpack[When]) -> Fault:
        """Never answer: until the client leaves or the sandbox stops; nothing is applied."""
        return cls(kind="hang", **when)

    @classmethod
    def truncate(cls, **when: Unpack[When]) -> Fault:
        """Apply the events, then send half an answer, shorter than its Content-Length, and close."""
        return cls(kind="truncate", **when)

    @classmethod
    def drip(cls, pause: float = 0.05, *, size: int = 20, **when: Unpack[When]) -> Fault:
        """Apply the events, then send a body of `size` bytes one by one, with `pause` seconds between."""
        return cls(kind="drip", seconds=pause, up_to=pause, size=size, **when)

    @classmethod
    def huge(cls, size: int = 16 * 1024 * 1024, **when: Unpack[When]) -> Fault:
        """Apply the events, then answer with a body of `size` bytes: the true one and white space."""
        return cls(kind="huge", size=size, **when)

    @classmethod
    def latency(cls, shortest: float, longest: float | None = None, **when: Unpack[When]) -> Fault:
        """Delay the request by seconds, drawn evenly between both; adds to every other fault.

        Half passes before the request is counted and judged, half before it is answered, as on a
        long way through the network.
        """
        return cls(kind="latency", seconds=shortest, up_to=shortest if longest is None else longest, **when)

    @classmethod
    def from_json(cls, value: object) -> Fault:
        """Make one of a JSON object: `kind` names the classmethod, the rest are its arguments, or a fault's fields.

        Raises:
            ValueError: if it cannot be made.
        """
        arguments = cast("dict[str, Any]", value) if isinstance(value, dict) else {}
        kind = arguments.get("kind", "")
        if kind not in get_args(Kind):
            raise ValueError(f'A fault is a JSON object such as {{"kind": "hang"}}, and kind one of {_KINDS}.')
        given = {name: argument for name, argument in arguments.items() if name != "kind"}
        try:
            return cls._from_fields(kind, given) if cls._are_fields(kind, given) else cls._from_arguments(kind, given)
        except TypeError as error:
            raise ValueError(
                f"Fault.{kind} cannot be made of these fields: {str(error.args[0]).rstrip('.')}. See its arguments."
            ) from error

    @classmethod
    def _are_fields(cls, kind: str, given: Mapping[str, object]) -> bool:
        """Whether these are the fields of a fault, as `to_json` gives them, and not a classmethod's arguments."""
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
        # null stands for the default: JSON has no other way to write an infinite duration
        arguments = {name: argument for name, argument in given.items() if argument is not None}
        made: Fault = getattr(cls, kind)(**arguments)
        return made

    def to_json(self) -> dict[str, object]:
        """Return its fields as JSON knows them, from which `from_json` makes an equal fault."""
        return attrs.asdict(self, value_serializer=_json_value)


_FIRST_ARGUMENTS: Mapping[str, tuple[float, ...]] = {"status": (500,), "latency": (0.0,)}
"""What the classmethods need that have no default for it."""


def _json_value(_: object, field: attrs.Attribute[object] | None, value: object) -> object:
    if isinstance(value, frozenset):
        return sorted(cast("frozenset[str]", value))
    if isinstance(value, float) and not math.isfinite(value):
        return None if field is not None and field.name == "duration" else str(value)
    return value


def _fits_a_header(value: float | str | None) -> bool:
    text = str(value)
    return text.isascii() and text.isprintable() and text == text.strip()


def _require(condition: bool, what: str, remedy: str) -> None:  # noqa: FBT001 - an assertion that speaks
    if not condition:
        raise ValueError(f"Fault({what}) cannot work: give {remedy}.")


@attrs.frozen
class Plan:
    """What the script has in store for one request.

    Args:
        fault: what decides its answer, or None.
        delay: seconds of latency.
    """

    fault: Fault | None = None
    delay: float = 0.0


@attrs.define(eq=False)
class _Entry:
    """A fault of the script and how far it has come."""

    fault: Fault
    since: float
    struck: int = 0

    @property
    def is_used_up(self) -> bool:
        return self.fault.times is not None and self.struck >= self.fault.times


class FaultScript:
    """Several faults at work together: the first that strikes wins, latency adds up.

    Args:
        faults: in the order in which they are asked.
        generator: draws for the probabilities and latencies, in the order of arrival.
        now: when the faults' clocks start, in seconds.
    """

    def __init__(self, faults: Sequence[Fault], generator: random.Random, now: float) -> None:
        self._entries = tuple(_Entry(fault, now) for fault in faults)
        self._generator = generator

    @property
    def faults(self) -> tuple[Fault, ...]:
        """The faults, in the order in which they are asked."""
        return tuple(entry.fault for entry in self._entries)

    def put_first(self, fault: Fault, now: float) -> None:
        """Add a fault before the others, whose clocks and counts go on; one that is equal is replaced."""
        self.take_out(fault)
        self._entries = (_Entry(fault, now), *self._entries)

    def take_out(self, fault: Fault) -> None:
        """Remove the faults that are equal to this one, if there are any."""
        self._entries = tuple(entry for entry in self._entries if entry.fault != fault)

    def struck(self, fault: Fault) -> int | None:
        """How many requests a fault has struck, or None if it is not in the script or has struck its last."""
        return next((entry.struck for entry in self._entries if entry.fault == fault and not entry.is_used_up), None)

    def plan(self, player: str | None, events: Collection[str], now: float) -> Plan:
        """Decide what happens to a request.

        Args:
            player: whose it is, if that can be made out.
            events: its event names.
            now: when it arrived, in seconds.
        """
        fault, delay = None, 0.0
        for entry in self._entries:
            is_latency = entry.fault.kind == "latency"
            if (fault is not None and not is_latency) or not self._strikes(entry, player, events, now):
                continue
            if is_latency:
                delay += self._generator.uniform(entry.fault.seconds, entry.fault.up_to)
            else:
                fault = entry.fault
        return Plan(fault, delay)

    def _strikes(self, entry: _Entry, player: str | None, events: Collection[str], now: float) -> bool:
        fault = entry.fault
        strikes = (
            fault.start <= now - entry.since < fault.start + fault.duration
            and not entry.is_used_up
            and (fault.players is None or player in fault.players)
            and (fault.events is None or not fault.events.isdisjoint(events))
            and (fault.probability >= 1 or self._generator.random() < fault.probability)
        )
        entry.struck += strikes
        return strikes


@attrs.frozen
class FaultToggle:
    """A fault with a name for people.

    Args:
        title: the name.
        detail: what happens while it is on.
        fault: put into the script when it is switched on, taken out when it is switched off.
    """

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
    "refused": FaultToggle(
        "Events refused", "422, code 3003.", Fault.status(422, code=3003, words="The value is invalid.")
    ),
}


def in_words(fault: Fault) -> str:
    """A fault that is none of the switches: its kind, and what differs from what the kind is made of by itself."""
    kind = f"status {fault.http_status}" if fault.kind == "status" else fault.kind
    values: dict[str, object] = attrs.asdict(fault, value_serializer=_plain)
    usual: dict[str, object] = attrs.asdict(_usual(fault), value_serializer=_plain)
    details = ", ".join(f"{name} {value}" for name, value in values.items() if value != usual[name])
    return f"{kind}: {details}" if details else kind


def _usual(fault: Fault) -> Fault:
    if fault.kind == "status":
        return Fault.status(fault.http_status)
    if fault.kind == "latency":
        return Fault.latency(0.0)
    made: Fault = getattr(Fault, fault.kind)()
    return made


def _plain(_: object, __: object, value: object) -> object:
    return " or ".join(sorted(cast("frozenset[str]", value))) if isinstance(value, frozenset) else value
