"""The page on search tells the committed results."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
PAGE = " ".join((ROOT / "docs" / "search.md").read_text(encoding="utf-8").split())


def result(name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((ROOT / "benchmarks" / "results" / f"{name}.json").read_text())["result"]
    return found


def note10_lines() -> Iterator[str]:
    found = result("search_note10")
    for limit, default in found["default"].items():
        thorough, other = found["thorough"][limit], found["reference"][limit]
        cells = [
            f"{default['mean']:.3f} ± {default['sd']:.3f} | {default['cpu_s_most']:.2f}",
            f"{thorough['mean']:.3f} ± {thorough['sd']:.3f} | {thorough['cpu_s_most']:.1f}",
            f"{other['mean']:.3f} ± {other['sd']:.3f} | {other['best']:.3f} | {other['cpu_s_most']:.1f}",
        ]
        yield f"| {limit} | {' | '.join(cells)} |"


def test_the_table_on_public_tables_is_the_committed_result() -> None:
    for line in note10_lines():
        assert line in PAGE, line
    tens = result("search_note10")["default_further_seeds"]["30"]["sd_of_tens"]
    assert len(tens) == 5 and f"groups of ten scatter by {min(tens):.3f} to {max(tens):.3f} at 30 ms" in PAGE
    counts = {entry["seeds"] for entry in result("search_note10")["default"].values()}
    assert counts == {10} and {entry["seeds"] for entry in result("search_note10")["thorough"].values()} == {5}


def test_what_the_page_says_of_bounds_optima_fronts_and_choices_is_in_the_results() -> None:
    gaps = [gap for entry in result("search_bound").values() if isinstance(entry, dict) for gap in entry["gaps_points"]]
    assert f"the bound is {median(gaps):.2f} points above the answer in the median and {max(gaps):.2f} at most" in PAGE
    seeds = [one for each in result("search_optimum").values() for one in each.values() if isinstance(one, dict)]
    assert len(seeds) == 6 and all(one["seeds_that_found_it"] == one["seeds"] == 10 for one in seeds)
    assert f"the best of its {result('search_optimum')['litert']['networks']:,} networks" in PAGE
    fronts = result("search_nsga2")
    assert f"after as many evaluations with {fronts['wins']} of {len(fronts['rows'])} seeds" in PAGE
    found = result("choices")
    assert all(found[name]["measured_within"] == found[name]["searches"] == 20 for name in ("onnxruntime", "litert"))
    again = result("choices_again")
    within = sum(again[name]["lower_limit_within"] for name in ("onnxruntime", "litert"))
    noisy = again["intervals_on_picked_networks"]
    assert f"the lower limits of {within} of 40 did" in PAGE
    assert f"it was {noisy['held_pct']:.0f} % of {noisy['networks']}, whose predictions flattered by" in PAGE
    assert f"flattered by {noisy['flattered_by_points']:.1f} points on average" in PAGE
    picked = found["intervals_on_picked_networks"]
    assert f"of {picked['networks']} networks that the forty searches picked, {picked['held_pct']:.0f} % had" in PAGE
    own = {name: found[name]["beside_choices_of_the_other"] for name in ("onnxruntime", "litert")}
    said = [f"{one['mean_points']:.1f} points" for one in own.values()]
    assert all(text in PAGE for text in said)
    assert all(f"{one['better']} of {one['compared']}" in PAGE for one in own.values())
    assert " and ".join(f"{one['median_latency_saved_pct']:.0f}" for one in own.values()) + " % faster" in PAGE
