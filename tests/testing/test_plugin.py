"""The plugin, in users' suites that real pytest processes run: fixtures for whoever asks, nothing for the others."""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import entry_points

import pytest

pytest_plugins = ["pytester"]

SUITE = """
    import pytest

    from gameball_async import AsyncGameball, Batching, Rejected, Retry
    from gameball_async.sandbox import Fault


    async def checkout(gameball):
        receipt = await gameball.track("player123", "place_order", {"total_amount": 100})
        return await receipt


    async def check_recorder(gameball_recorder):
        assert (await checkout(gameball_recorder)).attempts == 1
        await gameball_recorder.send("player123", {"review": None})
        gameball_recorder.assert_tracked("player123", "place_order", total_amount=100, times=1)


    async def check_sandbox(gameball_sandbox):
        gameball_sandbox.script(Fault.status(503, times=2))
        settings = {"batching": Batching(linger=0), "retry": Retry(initial=0.01, maximum=0.02)}
        async with AsyncGameball("any-key", base_url=gameball_sandbox.url, **settings) as gameball:
            assert (await checkout(gameball)).attempts == 3
        assert [event.name for event in gameball_sandbox.holdings()["player123"]] == ["place_order"]
        assert gameball_sandbox.violations == []


    def test_without_a_loop(gameball_recorder, gameball_sandbox):
        gameball_recorder.track_nowait("player123", "review")
        gameball_recorder.assert_tracked("player123", "review")
        assert gameball_sandbox.requests == []


    def test_each_test_has_its_own(gameball_recorder):
        gameball_recorder.assert_nothing_tracked()
"""

ASYNCIO = """
    @pytest.mark.asyncio
    async def test_recorder(gameball_recorder):
        await check_recorder(gameball_recorder)


    @pytest.mark.asyncio
    async def test_sandbox(gameball_sandbox):
        await check_sandbox(gameball_sandbox)
"""

AUTO = ASYNCIO.replace("    @pytest.mark.asyncio\n", "")

ANYIO = ASYNCIO.replace("    @pytest.mark.asyncio\n", "    @pytest.mark.anyio\n")

STYLES = {
    "pytest-asyncio, strict": (ASYNCIO, "--asyncio-mode=strict", 4),
    "pytest-asyncio, auto": (AUTO, "--asyncio-mode=auto", 4),
    "anyio, asyncio and trio": (ANYIO, "--asyncio-mode=strict", 6),
}


@pytest.fixture(autouse=True)
def _settings(pytester: pytest.Pytester) -> None:
    """Warnings are errors in every suite here; pytest-asyncio warns where its scope is not set."""
    pytester.makeini("""
        [pytest]
        asyncio_default_fixture_loop_scope = function
        filterwarnings = error
    """)


@pytest.mark.parametrize("style", STYLES)
def test_both_fixtures_work_in_every_style_of_tests(style: str, pytester: pytest.Pytester) -> None:
    tests, mode, count = STYLES[style]
    pytester.makepyfile(SUITE + tests)
    pytester.runpytest_subprocess(mode).assert_outcomes(passed=count)


def test_a_failure_shows_the_tests_own_line_and_the_nearest_event(pytester: pytest.Pytester) -> None:
    pytester.makepyfile("""
        def test_order(gameball_recorder):
            gameball_recorder.track_nowait("player123", "place_order", {"total_amount": 99})
            gameball_recorder.assert_tracked("player123", "place_order", total_amount=100)
    """)
    result = pytester.runpytest_subprocess()
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(
        [
            ">*gameball_recorder.assert_tracked(*",
            "E*AssertionError: event 'place_order' of player 'player123' with {'total_amount': 100} was not tracked.",
            "E*The nearest, number 1, differs:",
            "E*key 'total_amount': expected 100, tracked 99",
            "test_a_failure_*.py:3: AssertionError",
        ]
    )
    result.stdout.no_fnmatch_line("*_recorder.py*")


def test_without_the_extra_the_sandbox_names_it_and_the_recorder_works(pytester: pytest.Pytester) -> None:
    pytester.makeconftest("import sys; sys.modules['uvicorn'] = None")
    pytester.makepyfile("""
        def test_recorder(gameball_recorder):
            gameball_recorder.assert_nothing_tracked()

        def test_sandbox(gameball_sandbox):
            pass
    """)
    result = pytester.runpytest_subprocess()
    result.assert_outcomes(passed=1, errors=1)
    result.stdout.fnmatch_lines(['E*The sandbox needs uvicorn: pip install "gameball-async?sandbox?"'])


def test_a_suite_that_does_not_ask_for_it_imports_nothing_of_it(pytester: pytest.Pytester) -> None:
    pytester.makepyfile("""
        import sys

        def test_nothing(request):
            assert request.config.pluginmanager.has_plugin("gameball_async")
            assert "_gameball_async_pytest" in sys.modules
            assert not {"gameball_async", "starlette", "uvicorn"} & sys.modules.keys()
    """)
    pytester.runpytest_subprocess("-p", "no:respx").assert_outcomes(passed=1)


def test_beside_pytest_the_plugin_imports_itself_alone() -> None:
    script = "import sys, pytest; before = set(sys.modules); import _gameball_async_pytest; "
    script += "print(sorted(set(sys.modules) - before))"
    printed = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=100)
    assert printed.stdout.strip() == "['_gameball_async_pytest']"


def test_it_can_be_switched_off_by_its_name(pytester: pytest.Pytester) -> None:
    (plugin,) = [point for point in entry_points(group="pytest11") if point.value == "_gameball_async_pytest"]
    pytester.makepyfile("def test_recorder(gameball_recorder): pass")
    result = pytester.runpytest_subprocess("-p", f"no:{plugin.name}")
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*fixture 'gameball_recorder' not found*"])
