"""The page about bulk requests names tests that exist, and figures that are those of the code."""

from __future__ import annotations

import itertools
import json
import re
from pathlib import Path

import pytest

from benchmarks import auto
from gameball_async import Batching, JobOptions, RateLimit
from gameball_async._core import bulk_jobs
from gameball_async._core.job_answers import read_status
from gameball_async._engine import bulk

from .pages import DOCS, code_in

PAGE = DOCS["bulk"]
TEXT = " ".join(PAGE.text.split())
ROWS = PAGE.tables()["What can happen to a job/What happens"]
TESTS = "\n".join(path.read_text("utf-8") for path in sorted((Path(__file__).parents[1] / "client").glob("test_*.py")))
RATE = RateLimit().per_30_seconds / 30
OTHERS = RateLimit().others_per_30_seconds / 30

FIGURES = {
    "players per second of single requests": f"{RATE:.0f} players per second in the long run",
    "items": f"up to {Batching().bulk_items:,} players",
    "requests of others": f"{OTHERS:.0f} of such requests per second",
    "jobs": f"{OTHERS / 2:.0f} jobs, or {OTHERS / 2 * Batching().bulk_items:,.0f} players, per second",
    "windows of others": "30 per second and 360 per 30 seconds",
    "age between two looks": f"after another {bulk_jobs._AGE_SHARE:.0%} of the job's age".replace("%", " %"),
    "auto switches on": f"in {bulk_jobs.SHORTEST_WAIT:.0f} s if that is longer: "
    f"{bulk_jobs.AutoMode(RATE, 1000).threshold(0):.0f} players at {RATE:.0f} per second",
    "proof": f"First a job with {bulk_jobs.PROOF_ITEMS} players",
    "distrust": {600.0: "no bulk request is sent for ten minutes"}[bulk_jobs.DISTRUST],
    "size": f"At most {bulk._MOST_BYTES / 1024**2:.0f} MiB",
    "patience": {1800.0: "half an hour without progress"}[JobOptions().patience],
}


@pytest.mark.parametrize("name", sorted({name for row in ROWS for name in code_in(row["Test"])}))
def test_a_test_that_the_page_names_exists(name: str) -> None:
    assert re.search(rf"^(async )?def {name}\(", TESTS, re.MULTILINE)


@pytest.mark.parametrize("name", FIGURES)
def test_a_figure_is_that_of_the_code(name: str) -> None:
    assert FIGURES[name] in TEXT


def test_every_path_and_word_that_is_not_verified_is_one_that_the_client_knows() -> None:
    (paths, *_) = [row for row in PAGE.tables()["What is not verified/What"] if "paths" in row["What"]]
    assert [f"GET {path}" for path in JobOptions().status] == code_in(paths["What"])
    words = re.search(r"Which words the status uses: (.+?) \|", TEXT)
    assert words is not None
    for word in re.split(r"[,;] (?:or )?", words[1]):
        status = read_status({"status": word})
        assert status is not None
        assert (status.state is None) == (word in {"pending", "processing", "queued", "running"}), word


@pytest.mark.parametrize("row", PAGE.tables()["Auto/Players per second"], ids=lambda row: row["Players per second"])
def test_the_delays_are_those_of_the_kept_grid(row: dict[str, str]) -> None:
    kept = json.loads(auto.KEPT.read_text("utf-8"))
    rate = int(row.pop("Players per second").replace(",", ""))
    for heading, cell in row.items():
        mode, _, latency = heading.partition(", jobs of ")
        mean = kept[f"{mode}, {rate}/s, {latency or '2 s'}"]["mean"]
        assert cell == ("grows" if mode == "single" and rate > RATE else f"{mean:,.1f}")


def test_auto_is_never_more_than_a_fifth_slower_than_the_better_mode() -> None:
    kept = json.loads(auto.KEPT.read_text("utf-8"))
    for rate, latency in itertools.product(auto.RATES, auto.LATENCIES):
        single, bulk, of_auto = (kept[auto.key(mode, rate, latency)]["mean"] for mode in auto.MODES)
        assert of_auto <= 1.2 * min(single, bulk), (rate, latency)
