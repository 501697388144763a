"""The tree of errors: as it is drawn, exported as a whole, each with what its documentation promises."""

from __future__ import annotations

import builtins
import re

import pytest

import gameball_async
from gameball_async import (
    ClientHalted,
    DeliveryError,
    Dropped,
    DropReason,
    FlushTimeout,
    GameballError,
    OutcomeUnknown,
    Rejected,
    errors,
)

DRAWN_LINE = re.compile(r"^    (?P<branches>[ │├└─]*)(?P<name>[A-Z]\w+)(?: \((?P<builtin>\w+)\))?", re.MULTILINE)


def drawn() -> dict[str, tuple[str, ...]]:
    """The bases of each error by its name, as the module's docstring draws them."""
    bases: dict[str, tuple[str, ...]] = {}
    path: list[str] = []
    for line in DRAWN_LINE.finditer(errors.__doc__ or ""):
        depth = len(line["branches"]) // 4
        path[depth:] = [line["name"]]
        parent = path[depth - 1] if depth else "Exception"
        bases[line["name"]] = (parent, line["builtin"]) if line["builtin"] else (parent,)
    return bases


def defined() -> dict[str, tuple[str, ...]]:
    return {
        name: tuple(base.__name__ for base in value.__bases__)
        for name, value in vars(errors).items()
        if isinstance(value, type) and issubclass(value, BaseException)
    }


def test_the_tree_is_as_it_is_drawn() -> None:
    assert len(drawn()) == 20
    assert drawn() == defined()


@pytest.mark.parametrize("name", defined())
def test_every_error_can_be_imported_from_the_front_door(name: str) -> None:
    assert name in gameball_async.__all__
    assert getattr(gameball_async, name) is getattr(errors, name)


@pytest.mark.parametrize("name", gameball_async.__all__)
def test_every_public_name_is_there_and_documented(name: str) -> None:
    public = getattr(gameball_async, name)

    assert name in ("__version__", "Metadata") or public.__doc__


@pytest.mark.parametrize(("name", "bases"), defined().items(), ids=defined())
def test_an_error_is_also_the_builtin_that_callers_may_expect(name: str, bases: tuple[str, ...]) -> None:
    for base in bases:
        builtin = getattr(builtins, base, None)
        assert builtin is None or issubclass(getattr(errors, name), builtin)


def test_a_flush_that_ran_out_of_time_says_how_much_is_unsettled() -> None:
    error = FlushTimeout("later", unsettled=3)

    assert (str(error), error.unsettled) == ("later", 3)


def test_a_halt_says_what_gameball_answered() -> None:
    error = ClientHalted("no", status=401, code=1000)

    assert (str(error), error.status, error.code) == ("no", 401, 1000)


def facts(error: DeliveryError) -> tuple[int | None, int | None, bool]:
    return error.status, error.code, error.may_have_arrived


def test_a_rejection_says_what_gameball_answered() -> None:
    assert facts(Rejected("no")) == (None, None, False)
    assert facts(Rejected("no", status=422, code=3003, may_have_arrived=True)) == (422, 3003, True)


@pytest.mark.parametrize("reason", DropReason)
def test_a_drop_says_its_reason(reason: DropReason) -> None:
    error = Dropped("no", reason=reason, may_have_arrived=True)

    assert error.reason is reason
    assert facts(error) == (None, None, True)
    assert facts(Dropped("no", reason=reason)) == (None, None, False)


def test_an_unknown_outcome_may_always_have_arrived() -> None:
    assert facts(OutcomeUnknown("who knows")) == (None, None, True)
    assert facts(OutcomeUnknown("who knows", status=500)) == (500, None, True)
    assert OutcomeUnknown("who knows").job is None
    assert OutcomeUnknown("who knows", job=7).job == 7


def test_one_except_catches_the_family() -> None:
    for name in defined():
        assert issubclass(getattr(errors, name), GameballError)
