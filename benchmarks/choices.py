"""What was chosen between: the encoder of an event's metadata, and how a batch's attributes are kept.

The three layouts have the same attributes with the same values, and their own dict of events and outcome each. Bytes
are those that a kept batch adds, by `tracemalloc`.
"""

from __future__ import annotations

import gc
import json
import time
import tracemalloc
from collections.abc import Callable
from functools import partial
from importlib import import_module
from typing import Any

import attrs
import msgspec

from gameball_async._core.batch import Batch, BatchState, new_batch
from gameball_async._core.receipts import SharedOutcome

from .harness import Benchmark, Column, Figures, Measurement, Setting
from .shop import METADATA

_ENCODINGS = 100_000
_BATCHES = 20_000

_Layout = Callable[[int], object]


def _timed(count: int, call: Callable[[int], object]) -> float:
    """Microseconds that one call takes."""
    begun = time.perf_counter()
    for number in range(count):
        call(number)
    return 1e6 * (time.perf_counter() - begun) / count


# ---------------------------------------------------------------- encoders


def _msgspec() -> Callable[[int], object]:
    encode = msgspec.json.Encoder().encode
    return lambda _: encode(METADATA)


def _orjson() -> Callable[[int], object]:
    encode: Callable[[object], bytes] = import_module("orjson").dumps
    return lambda _: encode(METADATA)


def _json() -> Callable[[int], object]:
    encode = json.JSONEncoder(separators=(",", ":")).encode
    return lambda _: encode(METADATA).encode()


def _encode(make: Callable[[], Callable[[int], object]], setting: Setting) -> Figures:
    return {"time": _timed(setting.of(_ENCODINGS), make())}


# ---------------------------------------------------------------- layouts


_NAMES = Batch.__struct_fields__


def _struct() -> _Layout:
    return partial(new_batch, player_unique_id="player", overhead=60, opened_at=1.0, epoch=0)


def _attrs(*, slots: bool) -> _Layout:
    """The same attributes, in a class of attrs."""
    values: dict[str, object] = {
        "number": 0,
        **dict.fromkeys(_NAMES, 0),
    }  # the number is the first argument, as in Batch
    values |= {"ambiguous": False, "is_recorded": False, "stage": BatchState.OPEN, "seqs": (), "_boundaries": ()}
    values |= {"mobile": None, "email": None, "body": None, "following": None, "successes_seen": None}
    fields = {name: attrs.field(default=value) for name, value in values.items()}
    fields |= {"events": attrs.field(factory=dict), "shared": attrs.field(factory=SharedOutcome)}
    kind: Any = attrs.make_class("Batch", fields, slots=slots, eq=False)
    return partial(kind, player_unique_id="player", size=59, opened_at=1.0, epoch=0)


def _make(layout: Callable[[], _Layout], setting: Setting) -> Figures:
    make, count = layout(), setting.of(_BATCHES)
    seconds = _timed(count, make)
    gc.collect()
    tracemalloc.start()
    kept = [make(number) for number in range(count)]
    size, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return {"time": seconds, "bytes": size / len(kept)}


BENCHMARK = Benchmark(
    name="choices",
    title="Encoders and layouts",
    columns=(
        Column(figure="time", heading="µs", digits=2),
        Column(figure="bytes", heading="bytes/batch", digits=0),
    ),
    measurements=(
        Measurement("metadata by msgspec", partial(_encode, _msgspec)),
        Measurement("metadata by orjson", partial(_encode, _orjson), ("metadata by msgspec",), needs="orjson"),
        Measurement("metadata by json", partial(_encode, _json), ("metadata by msgspec",)),
        Measurement("a batch with slots", partial(_make, _struct)),
        Measurement(
            "a batch of attrs with slots", partial(_make, partial(_attrs, slots=True)), ("a batch with slots",)
        ),
        Measurement("a batch with a dict", partial(_make, partial(_attrs, slots=False)), ("a batch with slots",)),
    ),
)
