"""The settings: their defaults, what they refuse and in which words, and the arithmetic of the share."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from fractions import Fraction
from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gameball_async import Batching, ConfigurationError, JobOptions, RateLimit, Retry

from .strategies import examples


def refusal(make: Callable[..., object], **arguments: Any) -> str:
    with pytest.raises(ConfigurationError) as caught:
        make(**arguments)
    return str(caught.value)


DEFAULTS: dict[type, dict[str, object]] = {
    Batching: {
        "linger": 0.5,
        "max_events": 100,
        "max_bytes": 262_144,
        "buffer_events": 100_000,
        "buffer_bytes": 67_108_864,
        "when_full": "wait",
        "wait_timeout": 1.0,
        "mode": "single",
        "bulk_items": 1000,
        "jobs": {
            "submit": "batch/events",
            "status": ("batches/{job}/status", "batch/{job}"),
            "stop": ("batches/{job}/stop", "batch/{job}"),
            "poll_interval": 1.0,
            "patience": 1800.0,
        },
    },
    Retry: {
        "initial": 0.5,
        "maximum": 60.0,
        "multiplier": 2.0,
        "jitter": 0.5,
        "max_attempts": 8,
        "give_up_after": 86_400.0,
        "ambiguous": "resend",
    },
    RateLimit: {
        "per_second": 100,
        "per_30_seconds": 1200,
        "others_per_second": 30,
        "others_per_30_seconds": 360,
        "share": 1.0,
    },
}


@pytest.mark.parametrize("settings", DEFAULTS)
def test_the_defaults_are_the_documented_ones(settings: type) -> None:
    assert attrs.asdict(settings()) == DEFAULTS[settings]


@pytest.mark.parametrize("settings", DEFAULTS)
def test_settings_are_frozen(settings: type) -> None:
    made = settings()

    for name, default in DEFAULTS[settings].items():
        with pytest.raises(AttributeError):
            setattr(made, name, default)


@pytest.mark.parametrize("settings", DEFAULTS)
def test_settings_take_their_arguments_by_name_only(settings: type) -> None:
    with pytest.raises(TypeError):
        settings(1)


@pytest.mark.parametrize("settings", DEFAULTS)
def test_the_documentation_explains_every_setting(settings: type) -> None:
    for name in DEFAULTS[settings]:
        assert f"{name}: " in (settings.__doc__ or "")


AT_LEAST_0 = [(Batching, "linger"), (Batching, "wait_timeout"), (Retry, "jitter")]
ABOVE_0 = [(Retry, "initial"), (Retry, "maximum"), (Retry, "give_up_after"), (RateLimit, "share")]
AT_LEAST_1 = [(Retry, "multiplier")]
COUNTS = [
    (Batching, "max_events"),
    (Batching, "max_bytes"),
    (Batching, "buffer_events"),
    (Batching, "buffer_bytes"),
    (Retry, "max_attempts"),
    (RateLimit, "per_second"),
    (RateLimit, "per_30_seconds"),
]
CHOICES = [
    (Batching, "when_full", "wait, raise, drop_oldest, drop_newest"),
    (Retry, "ambiguous", "resend, report"),
]
NO_NUMBERS: list[Any] = ["1", None, True, False, b"1", [1], 1j, float("nan"), object(), Fraction(1, 2)]


def rows(fields: Sequence[tuple[type, str]], bad: list[Any], demand: str) -> list[Any]:
    return [
        pytest.param(settings, name, value, demand, id=f"{settings.__name__}-{name}-{value!r:.20}")
        for settings, name in fields
        for value in bad
    ]


@pytest.mark.parametrize(
    ("settings", "name", "value", "demand"),
    rows(AT_LEAST_0, [-1, -0.001, -math.inf, *NO_NUMBERS], "give a number of at least 0.")
    + rows(AT_LEAST_0, [math.inf], "give a number of at least 0.")
    + rows(ABOVE_0, [0, 0.0, -0.0, -1, -math.inf, *NO_NUMBERS], "give a number above 0.")
    + rows([row for row in ABOVE_0 if row[1] != "give_up_after"], [math.inf], "give a number above 0.")
    + rows(AT_LEAST_1, [0, 0.999, -2, math.inf, *NO_NUMBERS], "give a number of at least 1.")
    + rows(COUNTS, [0, -1, 1.0, 2.5, math.inf, *NO_NUMBERS], "give a whole number of at least 1."),
)
def test_a_bad_number_is_refused_with_the_setting_and_what_would_work(
    settings: type, name: str, value: Any, demand: str
) -> None:
    assert refusal(settings, **{name: value}) == f"{settings.__name__}({name}=...) is {value!r}: {demand}"


@pytest.mark.parametrize(("settings", "name", "choices"), CHOICES)
@pytest.mark.parametrize("value", ["", "WAIT", None, 1, True, ["wait"], "resend ", "drop"])
def test_a_bad_choice_is_refused_with_the_good_ones(settings: type, name: str, choices: str, value: Any) -> None:
    assert refusal(settings, **{name: value}) == f"{settings.__name__}({name}=...) is {value!r}: give one of {choices}."


@pytest.mark.parametrize(
    ("settings", "name"), [(Batching, "linger"), (Retry, "initial"), (Retry, "multiplier"), (RateLimit, "share")]
)
def test_a_number_beyond_any_float_is_refused_like_any_other(settings: type, name: str) -> None:
    assert refusal(settings, **{name: 10**400}).startswith(f"{settings.__name__}({name}=...) is ")


@pytest.mark.parametrize(
    ("settings", "name"), [(Batching, "linger"), (Batching, "max_events"), (Retry, "max_attempts")]
)
def test_a_number_too_long_to_be_shown_is_refused_like_any_other(settings: type, name: str) -> None:
    assert refusal(settings, **{name: -(10**5000)}).startswith(f"{settings.__name__}({name}=...) is ")


@pytest.mark.parametrize(
    ("settings", "good"),
    [
        (Batching, {"linger": 0, "wait_timeout": 0.0}),
        (Batching, {"max_events": 1, "max_bytes": 1, "buffer_events": 1, "buffer_bytes": 1}),
        (Batching, {"max_bytes": 67_108_864}),
        (Retry, {"initial": 60.0}),
        (Retry, {"multiplier": 1, "jitter": 0, "max_attempts": 1}),
        (Retry, {"jitter": 1}),
        (Retry, {"give_up_after": math.inf}),
        (RateLimit, {"share": 0.01}),
        (RateLimit, {"per_second": 1, "per_30_seconds": 1}),
    ],
)
def test_values_at_the_edge_are_taken(settings: type, good: dict[str, Any]) -> None:
    made = settings(**good)

    assert {name: getattr(made, name) for name in good} == good


def test_a_buffer_smaller_than_one_request_is_refused() -> None:
    assert refusal(Batching, max_bytes=1001, buffer_bytes=1000) == (
        "Batching(buffer_bytes=1000) is less than max_bytes=1001: the buffer must hold at least one full request, "
        "raise buffer_bytes or lower max_bytes."
    )


def test_a_longest_wait_below_the_first_is_refused() -> None:
    assert refusal(Retry, initial=5, maximum=4.5) == "Retry(maximum=4.5) is less than initial=5: raise maximum."


def test_a_jitter_above_the_whole_wait_is_refused() -> None:
    assert refusal(Retry, jitter=1.5) == "Retry(jitter=1.5) is above 1: give a share from 0 to 1."


def test_a_share_above_the_whole_is_refused() -> None:
    assert refusal(RateLimit, share=2) == "RateLimit(share=2) is above 1: give a share from 0 to 1."


@pytest.mark.parametrize(
    "arguments",
    [{"share": 0.009}, {"share": 0.5, "per_second": 1}, {"share": 0.5, "per_30_seconds": 1}, {"share": 5e-324}],
)
def test_a_share_that_leaves_no_request_is_refused(arguments: dict[str, Any]) -> None:
    assert refusal(RateLimit, **arguments) == (
        f"RateLimit(share={arguments['share']:g}) leaves less than one request in a window: raise share or the limits."
    )


@pytest.mark.parametrize(
    ("share", "expected"),
    [
        (1.0, (100, 1200)),
        (1, (100, 1200)),
        (0.29, (29, 348)),  # 0.29 * 100 is 28.999999999999996 in binary
        (0.57, (57, 684)),
        (1 / 2, (50, 600)),
        (1 / 3, (33, 400)),
        (1 / 4, (25, 300)),
        (1 / 7, (14, 171)),
        (0.01, (1, 12)),
        (0.999, (99, 1198)),
    ],
)
def test_a_share_leaves_the_whole_requests_of_both_windows(share: float, expected: tuple[int, int]) -> None:
    assert RateLimit(share=share).windows() == ((expected[0], 1.0), (expected[1], 30.0))


@examples(200)
@given(st.integers(1, 100), st.integers(100, 2000), st.integers(1200, 20_000))
def test_equal_shares_together_never_exceed_the_limit(processes: int, per_second: int, per_30_seconds: int) -> None:
    windows = RateLimit(per_second=per_second, per_30_seconds=per_30_seconds, share=1 / processes).windows()

    for (share, _), whole in zip(windows, (per_second, per_30_seconds), strict=True):
        assert share == whole // processes


@pytest.mark.parametrize(
    "status",
    [
        ("../{job}",),
        ("a/{id}/{job}",),
        ("a//{job}",),
        ("/{job}",),
        ("{job}/",),
        ("a?b={job}",),
        ("batch",),
        (),
        "x/{job}",
    ],
)
def test_a_path_of_jobs_that_cannot_work_is_refused(status: Any) -> None:
    with pytest.raises(ConfigurationError, match=r"JobOptions\(status=\.\.\.\)"):
        JobOptions(status=status)


@pytest.mark.parametrize("status", [("v2/batches/{job}/status",), ("jobs-{job}", "a/b.c/{job}")])
def test_other_paths_of_jobs_are_possible(status: tuple[str, ...]) -> None:
    assert JobOptions(status=status).status == status
