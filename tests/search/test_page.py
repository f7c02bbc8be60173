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


NAMES = ("onnxruntime", "litert")


def beside(found: dict[str, Any]) -> list[dict[str, Any]]:
    """Return what choices of each runtime are worth beside those of the other."""
    return [found[name]["beside_choices_of_the_other"] for name in NAMES]


def test_what_the_page_says_of_choices_is_in_the_results() -> None:
    found, again, third = (result(name) for name in ("choices", "choices_again", "choices_third"))
    assert all(found[name]["measured_within"] == found[name]["searches"] == 20 for name in NAMES)
    kept = [sum(one[name]["lower_limit_within"] for name in NAMES) for one in (again, third)]
    measured = sum(third[name]["measured_within"] for name in NAMES)
    assert f"the lower limits of {kept[0]} of 40 did" in PAGE
    assert f"those of {kept[1]} of 40 did, and {measured} of 40 measured values" in PAGE
    own = beside(found)
    assert all(f"{one['mean_points']:.1f} points better" in PAGE for one in own)
    assert all(f"{one['better']} of {one['compared']}" in PAGE for one in own)
    assert " and ".join(f"{one['median_latency_saved_pct']:.0f}" for one in own) + " % faster" in PAGE
    said = [
        " and ".join(f"{one['mean_points']:.1f} points ({one['better']} of {one['compared']})" for one in beside(noisy))
        for noisy in (again, third)
    ]
    assert f"Of the second demo it is {said[0]}, of the third {said[1]}." in PAGE


def test_what_the_page_says_of_intervals_on_picked_networks_is_in_the_results() -> None:
    found = result("picked")
    first, second = (result(name)["intervals_on_picked_networks"] for name in ("choices", "choices_again"))
    rows = found["supernets"]
    held = [row["held_pct"] for row in rows]
    flattered = sum(row["flattered_by_points"] * row["networks"] for row in rows) / found["networks"]
    assert (
        f"on four supernets of other seeds, labelled as the demo does it, searches picked {found['networks']}" in PAGE
    )
    assert len(rows) == 4 and f"({min(held):.0f} to {max(held):.0f} % by supernet)" in PAGE
    assert f"{found['held_pct']:.0f} % lay inside the twin's 90 % interval" in PAGE
    assert f"predictions flattered by {flattered:.1f} points on average" in PAGE
    assert f"without what was foretold it was {found['held_without_what_was_foretold_pct']:.0f} %" in PAGE
    assert f"it was {first['held_pct']:.0f} % of {first['networks']} on one demo" in PAGE
    assert f"and {second['held_pct']:.0f} % of {second['networks']} on another" in PAGE
