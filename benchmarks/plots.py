"""The plots for the docs, drawn from the kept results: ``docs/images/*.svg``."""

from __future__ import annotations

import json
import re
from importlib import import_module
from typing import Any

from . import auto, call, growth, linger, pipeline
from .drain import least
from .harness import ROOT
from .report import RESULTS

FOLDER = ROOT / "docs" / "images"

_OURS, _OTHERS = "#0b6e4f", "#9aa5b1"
_SHADES = ("#d98e04", _OURS, "#3b5b92")
_SETTINGS = {
    "font.size": 9,
    "svg.fonttype": "none",  # text stays text: small files, and the reader can search them
    "svg.hashsalt": "gameball_async",  # else the same picture differs from run to run
    "axes.spines.top": False,
    "axes.spines.right": False,
}

Results = dict[str, Any]


def draw() -> None:
    """Draw every plot whose results are kept."""
    kept: Results = json.loads(RESULTS.read_text(encoding="utf-8"))["benchmarks"]
    FOLDER.mkdir(parents=True, exist_ok=True)
    if "call" in kept:
        _bars(kept, call.BENCHMARK.name, "median", "One call with five keys of metadata, median µs", "call")
    if "pipeline" in kept:
        _bars(kept, pipeline.BENCHMARK.name, "cpu", "CPU per event, from call to answer, µs", "pipeline")
    if "growth" in kept:
        _growth(kept)
    if "drain" in kept:
        _drain(kept)
    if "linger" in kept:
        _linger(kept)
    if auto.KEPT.exists():
        draw_auto()


def _library() -> Any:  # noqa: ANN401 matplotlib is not where the types are checked
    matplotlib = import_module("matplotlib")
    matplotlib.use("svg")
    matplotlib.rcParams.update(_SETTINGS)
    return import_module("matplotlib.pyplot")


def _save(figure: Any, name: str) -> None:  # noqa: ANN401 likewise
    file = FOLDER / f"{name}.svg"
    figure.savefig(file, metadata={"Date": None}, bbox_inches="tight")
    file.write_text(re.sub(r"[ \t]+$", "", file.read_text(encoding="utf-8"), flags=re.MULTILINE), encoding="utf-8")


def _bars(kept: Results, benchmark: str, figure: str, title: str, name: str) -> None:
    """One bar for each row, on a logarithmic scale: from the cheapest to the dearest the factor is hundreds."""
    rows: Results = kept[benchmark]["rows"]
    labels = sorted(
        (label for label in rows if figure in rows[label]), key=lambda label: -rows[label][figure]["median"]
    )
    medians = [rows[label][figure]["median"] for label in labels]
    drawn, axes = _library().subplots(figsize=(6.4, 0.34 * len(labels) + 0.7))
    colours = [_OURS if label.startswith(("gameball_async", "await")) else _OTHERS for label in labels]
    bars = axes.barh(labels, medians, color=colours)
    axes.bar_label(bars, [f"{median:,.3g}" if median < 100 else f"{median:,.0f}" for median in medians], padding=3)  # noqa: PLR2004 three digits
    axes.set(title=title, xscale="log", xlim=(min(medians) / 2, max(medians) * 3))
    _save(drawn, name)


def _growth(kept: Results) -> None:
    rows: Results = kept["growth"]["rows"]
    drawn, axes = _library().subplots(figsize=(5.4, 2.8))
    for figure, style in (("track", "o-"), ("drain", "s--")):
        medians = [rows[growth.label(size)][figure]["median"] for size in growth.SIZES]
        axes.plot(growth.SIZES, medians, style, color=_OURS, label="call" if figure == "track" else "delivery")
    axes.set(title="CPU per event, µs", xlabel="events in the buffer", xscale="log", ylim=(0, None))
    axes.legend(frameon=False)
    _save(drawn, "growth")


def _drain(kept: Results) -> None:
    """What was delivered over time, beside the staircase that the limits allow."""
    (row,) = kept["drain"]["rows"].values()
    course = sorted((float(second), figure["median"]) for second, figure in row.items() if second.isdigit())
    if not course:
        return
    seconds, requests = zip(*course, strict=True)
    drawn, axes = _library().subplots(figsize=(5.4, 2.8))
    allowed = [sum(least(number) <= second for number in range(1, int(requests[-1]) + 1)) for second in seconds]
    axes.step(seconds, allowed, where="post", color=_OTHERS, label="what the limits allow")
    axes.plot(seconds, requests, color=_OURS, label="delivered")
    axes.set(title="Draining a backlog under 100 a second and 1,200 in 30 seconds", xlabel="seconds", ylabel="requests")
    axes.legend(frameon=False)
    _save(drawn, "drain")


def _linger(kept: Results) -> None:
    """The delay by visits per second, a panel for each gap."""
    rows: Results = kept["linger"]["rows"]
    drawn, panels = _library().subplots(1, len(linger.GAPS), figsize=(8.4, 2.9), sharey=True)
    for gap, axes in zip(linger.GAPS, panels, strict=True):
        for seconds, colour in zip(linger.LINGERS, _SHADES, strict=True):
            row = rows[linger.label(seconds, gap)]
            for figure, style in (("p99", "o-"), ("p50", "o:")):
                delays = [row[f"{figure} at {rate}"]["median"] for rate in linger.RATES]
                label = f"linger {seconds:g} s, {figure}"
                axes.plot(linger.RATES, delays, style, color=colour, markersize=3, label=label)
        axes.set(title=f"about {gap:g} s between events", xlabel="visits per second", ylim=(0, 40))
    panels[0].set(ylabel="delay of an event, s")
    panels[0].legend(frameon=False, fontsize=7)
    _save(drawn, "linger")


def draw_auto() -> None:
    """Draw the delay by players per second, a panel for each length of jobs."""
    kept: Results = json.loads(auto.KEPT.read_text(encoding="utf-8"))
    drawn, panels = _library().subplots(1, len(auto.LATENCIES), figsize=(9.6, 2.9), sharey=True)
    styles = {"single": ("s:", _OTHERS), "bulk": ("^:", _SHADES[0]), "auto": ("o-", _OURS)}
    for latency, axes in zip(auto.LATENCIES, panels, strict=True):
        for mode in auto.MODES:
            means = [kept[auto.key(mode, rate, latency)]["mean"] for rate in auto.RATES]
            style, colour = styles[mode]
            axes.plot(auto.RATES, means, style, color=colour, markersize=3, label=mode)
        axes.set(title=f"jobs of {latency:g} s", xlabel="players per second", xscale="log", yscale="log")
    panels[0].set(ylabel="mean delay of an event, s", ylim=(0.3, 3000))
    panels[0].legend(frameon=False, fontsize=7)
    _save(drawn, "auto")
