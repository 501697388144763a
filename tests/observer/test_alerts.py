"""The alert rules: valid, over metrics that exist, and each fires when it should."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client import CollectorRegistry, generate_latest

from examples.prometheus.collector import GameballCollector
from examples.prometheus.observer import PrometheusObserver
from gameball_async import AsyncGameball

RULES = Path(__file__).parents[2] / "docs" / "alerts.yml"
PROMTOOL = shutil.which("promtool")

FIRING = {
    "GameballRefusesTheClient": ("gameball_client_halted", "0x10 1x20"),
    "GameballEventsAreLost": ("gameball_client_dropped_events_total", "0x20 5x10"),
    "GameballEventsAreLate": ("gameball_client_oldest_age_seconds", "0+60x30"),
    "GameballBufferFillsUp": ("gameball_client_buffered_events", "0+2000x30"),
    "GameballJournalFillsUp": ("gameball_client_journal_bytes", "0x10 3000000000x20"),
    "GameballEventsAreRejected": ("gameball_client_rejected_events_total", "0x20 1x10"),
    "GameballOutcomesAreUnknown": ("gameball_client_unknown_events_total", "0x20 1x10"),
    "GameballJobsAreLost": ("gameball_client_unconfirmed_events_total", "0x20 1x10"),
    "GameballIsPausedOften": ("gameball_client_paused", "0 1 0 0 1 0 0 1 0x30"),
}
"""For each alert: a metric, and its values minute by minute, with which it fires half an hour later."""

QUIET = {
    "gameball_client_halted": "0x30",
    "gameball_client_paused": "0x10 1x5 0x30",
    "gameball_client_oldest_age_seconds": "0x10 600x30",
    "gameball_client_buffered_events": "40000x30",
    "gameball_client_journal_bytes": "1000000x30",
    "gameball_client_dropped_events_total": "7x30",
}


def rules() -> list[dict[str, Any]]:
    (group,) = yaml.safe_load(RULES.read_text("utf-8"))["groups"]
    found: list[dict[str, Any]] = group["rules"]
    return found


def test_every_metric_of_the_rules_exists_in_both_ways_to_export() -> None:
    collector, observer = CollectorRegistry(), CollectorRegistry()
    collector.register(GameballCollector(AsyncGameball("any-key")))
    PrometheusObserver(observer)
    wanted = {name for rule in rules() for name in re.findall(r"gameball_client_\w+", rule["expr"])}
    assert len(wanted) == 9
    for registry in (collector, observer):
        exported = set(re.findall(r"^(gameball_client_\w+) ", generate_latest(registry).decode(), re.MULTILINE))
        assert wanted - exported == set()


def test_every_alert_is_tested() -> None:
    assert [rule["alert"] for rule in rules()] == list(FIRING)


@pytest.mark.skipif(PROMTOOL is None, reason="promtool is not installed; Debian's package prometheus has it")
def test_each_alert_fires_when_it_should_and_no_other_does(tmp_path: Path) -> None:
    severity = {rule["alert"]: rule["labels"]["severity"] for rule in rules()}

    def of(name: str) -> dict[str, object]:
        labels = f'alertname="{name}", alertstate="firing", instance="shop", severity="{severity[name]}"'
        return {"labels": f"ALERTS{{{labels}}}", "value": 1}

    def case(series: dict[str, str], firing: list[str]) -> dict[str, object]:
        return {
            "interval": "1m",
            "input_series": [{"series": f'{name}{{instance="shop"}}', "values": each} for name, each in series.items()],
            "promql_expr_test": [
                {"expr": 'ALERTS{alertstate="firing"}', "eval_time": "30m", "exp_samples": list(map(of, firing))}
            ],
        }

    tests = [case({metric: values}, [alert]) for alert, (metric, values) in FIRING.items()] + [case(QUIET, [])]
    path = tmp_path / "tests.yml"
    path.write_text(json.dumps({"rule_files": [str(RULES)], "evaluation_interval": "1m", "tests": tests}))
    assert PROMTOOL is not None
    done = subprocess.run([PROMTOOL, "test", "rules", path], check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
