"""The page on twins tells the committed results, and its Python runs."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "twins.md"


def result(name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((ROOT / "benchmarks" / "results" / f"{name}.json").read_text())["result"]
    return found


def accuracy_lines() -> Iterator[str]:
    """Yield the page's rows of accuracy twins."""
    for row, entry in result("twins_accuracy").items():
        if ", n = " in row and "coverage_of_90_pct" in entry:
            name, count = row.split(", n = ")
            scored = [entry[model] for model in ("ridge", "ridge + xgboost residual", "xgboost", "twin")]
            cells = [
                f"{one['spearman']:.3f} ({one['within_resolution']:.3f}) / {one['rmse_points']:.2f}" for one in scored
            ]
            yield f"| {name} | {count} | {' | '.join(cells)} | {100 * entry['coverage_of_90_pct']:.0f} % |"


def latency_lines() -> Iterator[str]:
    """Yield the page's rows of latency twins on our own spaces."""
    for row, entry in result("twins_latency").items():
        if row.startswith("ofa_mbv3"):
            _, device, count = row.split(", ")
            cells = [
                f"{entry[model]['mape_pct']:.2f}"
                for model in ("MACs", "ridge, genes", "xgboost", "ridge, work", "twin")
            ]
            held = f"{100 * entry['upper_bound_of_90_pct_held']:.0f} %"
            ranks = f"{entry['twin']['spearman']:.3f}"
            yield f"| {device} | {count.removeprefix('n = ')} | {' | '.join(cells)} | {ranks} | {held} |"


def transfer_lines() -> Iterator[str]:
    """Yield the page's rows of devices left out."""
    for row, entry in result("twins_transfer").items():
        if ", models of others, n = " in row:
            space, _, count = row.split(", ")
            mean = entry["mean"]
            yield (
                f"| {space} | {count.removeprefix('n = ')} | {mean['ridge over devices']:.3f} | {mean['twin']:.3f} |"
                f" {mean['mape_pct']:.1f} % | {100 * mean['coverage_of_90_pct']:.0f} % |"
            )


@pytest.mark.parametrize("lines", [accuracy_lines, latency_lines, transfer_lines], ids=lambda lines: lines.__name__)
def test_the_page_tells_the_committed_results(lines: Any) -> None:
    found = list(lines())
    assert len(found) >= 6
    text = PAGE.read_text()
    for line in found:
        assert line in text, line


def test_the_page_says_where_bounds_held_less_or_more_often() -> None:
    whole = result("twins_latency")
    held, outside = whole["promises"]["upper bound of 90 %"], whole["promises"]["rows outside 86 to 94 %"]
    text = " ".join(PAGE.read_text().split())
    assert f"held for {100 * held['least']:.1f} to {100 * held['most']:.1f} %" in text
    assert not outside
    assert whole["splits"] == {"own spaces": 20, "others": 8}
    ahead = {}
    for row, entry in whole.items():
        if ", n = " in row and not row.startswith("ofa_mbv3"):
            best = min(("MACs", "ridge, genes", "xgboost"), key=lambda model: entry[model]["mape_pct"])
            if entry[best]["mape_pct"] < entry["twin"]["mape_pct"]:
                ahead[row] = best
    assert [row for row in ahead if row.endswith("n = 900")] == ["nb201_help, pixel3, n = 900"]
    fbnet = {row: best for row, best in ahead.items() if row.startswith("fbnet")}
    phones = {f"fbnet_help, {name}, n = 100" for name in ("essential_ph_1", "samsung_a50", "samsung_s7")}
    assert {row for row, best in fbnet.items() if best == "MACs"} == phones and len(fbnet) == 8


def test_what_the_results_promise_is_kept() -> None:
    accuracy = result("twins_accuracy")["promises"]
    floors = [entry for entry in accuracy.values() if isinstance(entry, dict) and "floor" in entry]
    assert len(floors) == 4 and all(entry["kept"] and entry["value"] >= entry["floor"] for entry in floors)
    latency = {row: entry for row, entry in result("twins_latency").items() if row.startswith("ofa_mbv3_help")}
    assert len(latency) == 18
    for row, entry in latency.items():
        most = 0.95 if row.endswith("n = 900") else 1.0
        assert entry["twin"]["mape_pct"] <= most * entry["ridge, work"]["mape_pct"], row
        assert 0.86 <= entry["upper_bound_of_90_pct_held"] <= 0.94
    transfer = result("twins_transfer")["promises"]
    assert min(transfer["gain in Spearman"].values()) >= 0.0 and transfer["mean gain"] >= 0.01
